//! What Thanos (e103a81b) sent to a server of ours, over both transports, is read by decoders that know nothing of our
//! encoders; what we send is read by them too, and has the same fields.

use std::collections::BTreeSet;

use opentelemetry::InstrumentationScope;
use opentelemetry::trace::{
    Event, Link, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{Array, Value as Attribute};
use opentelemetry_sdk::trace::{SpanEvents, SpanLinks};

use super::thrift::{CALL, COMPACT, Value, binary, compact_call};
use super::*;

const BINARY: &[u8] = include_bytes!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/testdata/jaeger-batch.binary"
));
const COMPACT_CALL: &[u8] = include_bytes!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/testdata/jaeger-batch.compact"
));

/// Reads either protocol.
struct Reader<'a> {
    bytes: &'a [u8],
    is_compact: bool,
}

impl Reader<'_> {
    fn take(&mut self, count: usize) -> &[u8] {
        let (taken, rest) = self.bytes.split_at(count);
        self.bytes = rest;
        taken
    }

    fn fixed<const N: usize>(&mut self) -> [u8; N] {
        self.take(N).try_into().unwrap()
    }

    fn byte(&mut self) -> u8 {
        self.fixed::<1>()[0]
    }

    fn varint(&mut self) -> u64 {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte();
            value |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return value;
            }
        }
        panic!("a number without end");
    }

    fn signed(&mut self) -> i64 {
        let value = self.varint();
        (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
    }

    fn text(&mut self) -> String {
        let len = match self.is_compact {
            true => self.varint(),
            false => u32::from_be_bytes(self.fixed()).into(),
        };
        String::from_utf8(self.take(len.try_into().unwrap()).to_vec()).unwrap()
    }

    fn structs(&mut self, count: u64) -> Value {
        Value::List((0..count).map(|_| self.fields()).collect())
    }

    fn fields(&mut self) -> Fields {
        let mut fields = Fields::new();
        loop {
            let head = self.byte();
            if head == 0 {
                return fields;
            }
            let last = fields.last().map_or(0, |(id, _)| *id);
            let field = match self.is_compact {
                true => self.compact_field(head, last),
                false => self.binary_field(head),
            };
            assert!(field.0 > last);
            fields.push(field);
        }
    }

    fn binary_field(&mut self, kind: u8) -> (i16, Value) {
        let id = i16::from_be_bytes(self.fixed());
        let value = match kind {
            2 => Value::Bool(self.byte() == 1),
            4 => Value::Double(f64::from_be_bytes(self.fixed())),
            8 => Value::I32(i32::from_be_bytes(self.fixed())),
            10 => Value::I64(i64::from_be_bytes(self.fixed())),
            11 => Value::Text(self.text()),
            12 => Value::Struct(self.fields()),
            15 => {
                assert_eq!(self.byte(), 12);
                let count = u32::from_be_bytes(self.fixed());
                self.structs(count.into())
            }
            kind => panic!("kind {kind}"),
        };
        (id, value)
    }

    fn compact_field(&mut self, head: u8, last: i16) -> (i16, Value) {
        let id = match head >> 4 {
            0 => self.signed().try_into().unwrap(),
            step => last + i16::from(step),
        };
        let value = match head & 15 {
            1 => Value::Bool(true),
            2 => Value::Bool(false),
            5 => Value::I32(self.signed().try_into().unwrap()),
            6 => Value::I64(self.signed()),
            7 => Value::Double(f64::from_le_bytes(self.fixed())),
            8 => Value::Text(self.text()),
            9 => {
                let head = self.byte();
                assert_eq!(head & 15, 12);
                let count = match head >> 4 {
                    15 => self.varint(),
                    count => count.into(),
                };
                self.structs(count)
            }
            12 => Value::Struct(self.fields()),
            kind => panic!("kind {kind}"),
        };
        (id, value)
    }
}

fn decoded_binary(bytes: &[u8]) -> Fields {
    let mut reader = Reader {
        bytes,
        is_compact: false,
    };
    let fields = reader.fields();
    assert!(reader.bytes.is_empty());
    fields
}

/// Returns the batch in a call of `emitBatch`.
fn decoded_call(bytes: &[u8]) -> Fields {
    let mut reader = Reader {
        bytes,
        is_compact: true,
    };
    assert_eq!([reader.byte(), reader.byte()], [COMPACT, CALL]);
    assert_eq!(
        (reader.varint(), reader.text()),
        (1, "emitBatch".to_owned())
    );
    let mut arguments = reader.fields();
    assert!(reader.bytes.is_empty());
    match arguments.pop() {
        Some((1, Value::Struct(batch))) if arguments.is_empty() => batch,
        other => panic!("{other:?}"),
    }
}

/// The numbers of all fields with the kinds of their values, as paths.
fn shape(path: &str, fields: &Fields, found: &mut BTreeSet<String>) {
    for (id, value) in fields {
        let path = format!("{path}.{id}");
        let kind = match value {
            Value::Bool(_) => "bool",
            Value::I32(_) => "i32",
            Value::I64(_) => "i64",
            Value::Double(_) => "double",
            Value::Text(_) => "text",
            Value::Struct(fields) => {
                shape(&path, fields, found);
                "struct"
            }
            Value::List(structs) => {
                structs
                    .iter()
                    .for_each(|fields| shape(&path, fields, found));
                "list"
            }
        };
        found.insert(format!("{path} {kind}"));
    }
}

fn field(fields: &Fields, wanted: i16) -> &Value {
    let found = fields.iter().find(|(id, _)| *id == wanted);
    &found
        .unwrap_or_else(|| panic!("no field {wanted}: {fields:?}"))
        .1
}

fn spans_of(batch: &Fields) -> &[Fields] {
    match field(batch, 2) {
        Value::List(spans) => spans,
        other => panic!("{other:?}"),
    }
}

fn span(name: &'static str) -> SpanData {
    let context = |id: u8, flags| {
        let trace = TraceId::from_bytes([1, 2, 3, 4, 5, 6, 7, 8, 0xF9, 10, 11, 12, 13, 14, 15, id]);
        let span = SpanId::from_bytes([0x80, 0, 0, 0, 0, 0, 0, id]);
        SpanContext::new(trace, span, flags, false, TraceState::default())
    };
    let start = std::time::UNIX_EPOCH + Duration::from_micros(1_700_000_000_000_001);
    let array = Attribute::Array(Array::I64(vec![1, 2]));
    let mut events = SpanEvents::default();
    let attributes = vec![KeyValue::new("why", "because")];
    let event = Event::new("failed", start + Duration::from_micros(3), attributes, 2);
    events.events.push(event);
    let mut links = SpanLinks::default();
    let link = context(9, TraceFlags::default());
    links.links.push(Link::new(link, Vec::new(), 0));
    SpanData {
        span_context: context(1, TraceFlags::SAMPLED),
        parent_span_id: SpanId::from_bytes([0, 0, 0, 0, 0, 0, 0, 7]),
        parent_span_is_remote: false,
        span_kind: SpanKind::Server,
        name: name.into(),
        start_time: start,
        end_time: start + Duration::from_nanos(2_500_999),
        attributes: vec![
            KeyValue::new("text", "a"),
            KeyValue::new("whole", -5_i64),
            KeyValue::new("real", 0.5),
            KeyValue::new("is", true),
            KeyValue::new("list", array),
        ],
        dropped_attributes_count: 0,
        events,
        links,
        status: Status::error("broken"),
        instrumentation_scope: InstrumentationScope::builder("thanos").build(),
    }
}

fn process() -> Fields {
    let config: JaegerConfig =
        serde_saphyr::from_str("{service_name: ours, tags: 'zone=b,area=a'}").unwrap();
    model::process(&resource(&config))
}

/// what Thanos sends is what it says, and our encoders write it as it did, byte for byte.
#[test]
fn both_protocols_are_those_of_thanos() {
    let over_http = decoded_binary(BINARY);
    assert_eq!(binary(&over_http), BINARY);
    let over_udp = decoded_call(COMPACT_CALL);
    let arguments = vec![(1, Value::Struct(over_udp.clone()))];
    assert_eq!(compact_call("emitBatch", &arguments), COMPACT_CALL);
    for (batch, service) in [(over_http, "golden-http"), (over_udp, "golden-udp")] {
        let Value::Struct(process) = field(&batch, 1) else {
            panic!("no process");
        };
        assert_eq!(field(process, 1), &Value::Text(service.to_owned()));
        let name = Value::Text("/query HTTP[server]".to_owned());
        assert!(spans_of(&batch).iter().any(|span| *field(span, 5) == name));
    }
}

/// our spans have the fields that Thanos' have, with the same kinds, and no others but those that its had no use for.
#[test]
fn our_spans_have_the_fields_of_thanos() {
    let batch = model::batch(&process(), vec![model::span(&span("a"))]);
    let read = decoded_binary(&binary(&batch));
    assert_eq!(read, batch);
    let call = compact_call("emitBatch", &vec![(1, Value::Struct(batch))]);
    assert_eq!(decoded_call(&call), read);
    let (mut ours, mut theirs) = (BTreeSet::new(), BTreeSet::new());
    shape("", &read, &mut ours);
    shape("", &decoded_binary(BINARY), &mut theirs);
    shape("", &decoded_call(COMPACT_CALL), &mut theirs);
    let missing: Vec<_> = theirs.difference(&ours).collect();
    assert!(missing.is_empty(), "{missing:?}");
    let more: BTreeSet<_> = ours.difference(&theirs).map(String::as_str).collect();
    // References to other spans; attributes that are real or whole numbers.
    let unused = [
        ".2.6 list",
        ".2.6.1 i32",
        ".2.6.2 i64",
        ".2.6.3 i64",
        ".2.6.4 i64",
        ".2.10.4 double",
        ".2.10.6 i64",
        ".2.11.2.6 i64",
    ];
    assert!(more.is_subset(&unused.into()), "{more:?}");
}

/// each field says what the span says.
#[test]
fn spans_say_what_they_say() {
    let made = model::span(&span("a"));
    for (id, expected) in [
        (1, Value::I64(0xF90A_0B0C_0D0E_0F01_u64.cast_signed())),
        (2, Value::I64(0x0102_0304_0506_0708)),
        (3, Value::I64(0x8000_0000_0000_0001_u64.cast_signed())),
        (4, Value::I64(7)),
        (5, Value::Text("a".into())),
        (7, Value::I32(1)),
        (8, Value::I64(1_700_000_000_000_001)),
        (9, Value::I64(2500)),
    ] {
        assert_eq!(field(&made, id), &expected, "{id}");
    }
    let Value::List(tags) = field(&made, 10) else {
        panic!("no tags");
    };
    let tags: Vec<_> = tags
        .iter()
        .map(|tag| (field(tag, 1), field(tag, 2), &tag[2].1))
        .collect();
    let text = |text: &str| Value::Text(text.to_owned());
    for (key, kind, value) in [
        ("text", 0, text("a")),
        ("whole", 3, Value::I64(-5)),
        ("real", 1, Value::Double(0.5)),
        ("is", 2, Value::Bool(true)),
        ("list", 0, text("[1,2]")),
        ("otel.library.name", 0, text("thanos")),
        ("span.kind", 0, text("server")),
        ("error", 2, Value::Bool(true)),
        ("otel.status_code", 0, text("ERROR")),
        ("otel.status_description", 0, text("broken")),
    ] {
        let expected = (&text(key), &Value::I32(kind), &value);
        assert!(tags.contains(&expected), "{key}: {tags:?}");
    }
    let Value::List(logs) = field(&made, 11) else {
        panic!("no logs");
    };
    assert_eq!(field(&logs[0], 1), &Value::I64(1_700_000_000_000_004));
    // Tags of a process are sorted.
    let process = process();
    let Value::List(tags) = field(&process, 2) else {
        panic!("no tags");
    };
    let keys: Vec<_> = tags.iter().map(|tag| field(tag, 1).clone()).collect();
    assert_eq!(keys, [text("area"), text("zone")]);
}

/// no packet is too large for an agent, and what fits into none is dropped and counted.
#[test]
fn packets_are_small_enough() {
    let process = process();
    let spans: Vec<_> = (0..100).map(|_| model::span(&span("a"))).collect();
    let mut large = span("a");
    large
        .attributes
        .push(KeyValue::new("large", "x".repeat(5000)));
    let mut all = spans.clone();
    all.insert(50, model::span(&large));
    let (packets, dropped) = send::packets(&process, all, 4000);
    assert_eq!(dropped, 1);
    assert!(packets.len() > 5);
    let mut found = Vec::new();
    for packet in packets {
        assert!(packet.len() <= 4000 + 70, "{}", packet.len());
        found.extend(spans_of(&decoded_call(&packet)).to_vec());
    }
    assert_eq!(found, spans);
}
