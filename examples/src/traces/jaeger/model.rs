//! Spans as Jaeger knows them.
//!
//! Source: github.com/jaegertracing/jaeger-idl, thrift/jaeger.thrift, for the numbers of fields; Go
//! go.opentelemetry.io/otel/exporters/jaeger, for what becomes of the spans of OpenTelemetry.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry::trace::{Event, SpanId, SpanKind, Status, TraceId};
use opentelemetry::{KeyValue, Value as Attribute};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SpanData;

use super::thrift::{Fields, Value};

const SERVICE_NAME: &str = "service.name";

/// Returns the struct `Process`.
pub(super) fn process(resource: &Resource) -> Fields {
    let mut name = String::new();
    let mut tags = Vec::new();
    for (key, value) in resource {
        match key.as_str() {
            SERVICE_NAME => name = value.to_string(),
            key => tags.push((key.to_owned(), attribute(key, value))),
        }
    }
    tags.sort_by(|(a, _), (b, _)| a.cmp(b));
    let mut fields = vec![(1, Value::Text(name))];
    if !tags.is_empty() {
        let tags = tags.into_iter().map(|(_, tag)| tag);
        fields.push((2, Value::List(tags.collect())));
    }
    fields
}

/// Returns the struct `Batch`.
pub(super) fn batch(process: &Fields, spans: Vec<Fields>) -> Fields {
    vec![(1, Value::Struct(process.clone())), (2, Value::List(spans))]
}

/// Returns the struct `Span`.
pub(super) fn span(span: &SpanData) -> Fields {
    let context = &span.span_context;
    let (high, low) = halves(context.trace_id());
    let took = span.end_time.duration_since(span.start_time);
    let mut fields = vec![
        (1, Value::I64(low)),
        (2, Value::I64(high)),
        (3, Value::I64(id(context.span_id()))),
        (4, Value::I64(id(span.parent_span_id))),
        (5, Value::Text(span.name.to_string())),
    ];
    if !span.links.is_empty() {
        fields.push((6, Value::List(references(span))));
    }
    fields.push((7, Value::I32(context.trace_flags().to_u8().into())));
    fields.push((8, Value::I64(micros_of(span.start_time))));
    fields.push((9, Value::I64(micros(took.unwrap_or_default()))));
    fields.push((10, Value::List(tags(span))));
    if !span.events.is_empty() {
        let logs = span.events.iter().map(log);
        fields.push((11, Value::List(logs.collect())));
    }
    fields
}

fn references(span: &SpanData) -> Vec<Fields> {
    /// `SpanRefType`: a link says that one came after the other.
    const FOLLOWS_FROM: i32 = 1;
    let links = span.links.iter().map(|link| {
        let (high, low) = halves(link.span_context.trace_id());
        vec![
            (1, Value::I32(FOLLOWS_FROM)),
            (2, Value::I64(low)),
            (3, Value::I64(high)),
            (4, Value::I64(id(link.span_context.span_id()))),
        ]
    });
    links.collect()
}

fn tags(span: &SpanData) -> Vec<Fields> {
    let mut tags = attributes(&span.attributes);
    let scope = &span.instrumentation_scope;
    if !scope.name().is_empty() {
        tags.push(text("otel.library.name", scope.name()));
    }
    if let Some(version) = scope.version().filter(|version| !version.is_empty()) {
        tags.push(text("otel.library.version", version));
    }
    let kind = match span.span_kind {
        SpanKind::Internal => None,
        SpanKind::Client => Some("client"),
        SpanKind::Server => Some("server"),
        SpanKind::Producer => Some("producer"),
        SpanKind::Consumer => Some("consumer"),
    };
    tags.extend(kind.map(|kind| text("span.kind", kind)));
    match &span.status {
        Status::Unset => {}
        Status::Ok => tags.push(text("otel.status_code", "OK")),
        Status::Error { description } => {
            tags.push(tag("error", BOOL, (5, Value::Bool(true))));
            tags.push(text("otel.status_code", "ERROR"));
            if !description.is_empty() {
                tags.push(text("otel.status_description", description));
            }
        }
    }
    tags
}

/// Returns the struct `Log`.
fn log(event: &Event) -> Fields {
    let mut fields = Vec::new();
    if !event.name.is_empty() {
        fields.push(text("event", &event.name));
    }
    fields.extend(attributes(&event.attributes));
    if event.dropped_attributes_count != 0 {
        let key = "otel.event.dropped_attributes_count";
        let count = Value::I64(event.dropped_attributes_count.into());
        fields.push(tag(key, LONG, (6, count)));
    }
    vec![
        (1, Value::I64(micros_of(event.timestamp))),
        (2, Value::List(fields)),
    ]
}

/// `TagType`.
const STRING: i32 = 0;
const DOUBLE: i32 = 1;
const BOOL: i32 = 2;
const LONG: i32 = 3;

fn attributes(attributes: &[KeyValue]) -> Vec<Fields> {
    let tags = attributes
        .iter()
        .map(|pair| attribute(pair.key.as_str(), &pair.value));
    tags.collect()
}

fn attribute(key: &str, value: &Attribute) -> Fields {
    match value {
        Attribute::Bool(value) => tag(key, BOOL, (5, Value::Bool(*value))),
        Attribute::I64(value) => tag(key, LONG, (6, Value::I64(*value))),
        Attribute::F64(value) => tag(key, DOUBLE, (4, Value::Double(*value))),
        // Lists are written as JSON.
        other => text(key, &other.as_str()),
    }
}

fn text(key: &str, value: &str) -> Fields {
    tag(key, STRING, (3, Value::Text(value.to_owned())))
}

/// Returns the struct `Tag`.
fn tag(key: &str, kind: i32, value: (i16, Value)) -> Fields {
    vec![
        (1, Value::Text(key.to_owned())),
        (2, Value::I32(kind)),
        value,
    ]
}

fn halves(id: TraceId) -> (i64, i64) {
    let id = u128::from_be_bytes(id.to_bytes());
    let [high, low] = [id >> 64, id & u128::from(u64::MAX)];
    let half = |bits: u128| u64::try_from(bits).unwrap_or_default().cast_signed();
    (half(high), half(low))
}

fn id(id: SpanId) -> i64 {
    i64::from_be_bytes(id.to_bytes())
}

fn micros_of(time: SystemTime) -> i64 {
    micros(time.duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
