//! How a trace, and the id of a request, goes on in the next process: W3C trace context and baggage, as Thanos' tracers for
//! OTLP send them, and `x-request-id`.

use std::fmt;

use axum::http::HeaderMap;
use opentelemetry::Context;
use opentelemetry::propagation::{
    Extractor, Injector, TextMapCompositePropagator, TextMapPropagator,
};
use opentelemetry::trace::TraceContextExt;
use opentelemetry_sdk::propagation::{BaggagePropagator, TraceContextPropagator};
use thanos_storeapi::client::{CallContext, SharedContext};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::layer::{Context as LayerContext, Layer};
use tracing_subscriber::registry::{LookupSpan, Registry};

/// The header, and the metadata, with the id of a request.
pub(crate) const REQUEST_ID: &str = "x-request-id";

fn propagator() -> TextMapCompositePropagator {
    TextMapCompositePropagator::new(vec![
        Box::new(TraceContextPropagator::new()),
        Box::new(BaggagePropagator::new()),
    ])
}

/// Returns the trace that `headers` say that a request is a part of.
pub fn parent_of(headers: &HeaderMap) -> Context {
    // Only what came counts, and not what this thread happens to be in.
    propagator().extract_with_context(&Context::new(), &Headers(headers))
}

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(axum::http::HeaderName::as_str).collect()
    }
}

/// Returns the id of the trace that `span` is a part of, if that is kept.
pub(crate) fn trace_id_of(span: &Span) -> Option<String> {
    let context = span.context();
    let span = context.span();
    let context = span.span_context();
    (context.is_valid() && context.is_sampled()).then(|| context.trace_id().to_string())
}

/// Returns what calls tell other components, for the settings of clients.
pub fn call_context() -> SharedContext {
    SharedContext::new(Propagation)
}

/// Tells other components which trace and which request a call is a part of.
#[derive(Debug, Clone, Copy)]
pub struct Propagation;

impl CallContext for Propagation {
    fn metadata(&self, span: &Span) -> Vec<(String, String)> {
        let mut metadata = Metadata(Vec::new());
        propagator().inject_context(&span.context(), &mut metadata);
        if let Some(RequestId(id)) = RequestIds::of(span) {
            metadata.0.push((REQUEST_ID.to_owned(), id));
        }
        metadata.0
    }
}

struct Metadata(Vec<(String, String)>);

impl Injector for Metadata {
    fn set(&mut self, key: &str, value: String) {
        if !value.is_empty() {
            self.0.push((key.to_owned(), value));
        }
    }
}

/// The id of the request that a span is a part of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(pub String);

/// A layer that keeps the ids of requests: the field `request_id` of a span holds for all spans inside.
#[derive(Debug, Clone, Copy)]
pub struct RequestIds;

impl RequestIds {
    /// Returns the id of the request that `span` is a part of.
    pub fn of(span: &Span) -> Option<RequestId> {
        let found = span.with_subscriber(|(id, dispatch)| {
            let registry = dispatch.downcast_ref::<Registry>()?;
            let mut scope = registry.span(id)?.scope();
            scope.find_map(|span| span.extensions().get::<RequestId>().cloned())
        });
        found.flatten()
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for RequestIds {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: LayerContext<'_, S>) {
        let mut found = FoundId(None);
        attributes.record(&mut found);
        if let (FoundId(Some(request)), Some(span)) = (found, context.span(id)) {
            span.extensions_mut().insert(RequestId(request));
        }
    }
}

struct FoundId(Option<String>);

impl Visit for FoundId {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "request_id" {
            self.0 = Some(format!("{value:?}"));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "request_id" {
            self.0 = Some(value.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    /// what a component is told, it tells the next one.
    #[test]
    fn a_trace_goes_on() {
        let headers = [
            ("traceparent", PARENT),
            ("baggage", "x-thanos-force-tracing=1"),
        ];
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect();
        let parent = parent_of(&headers);
        let span = parent.span();
        assert!(span.span_context().is_sampled() && span.span_context().is_remote());
        let mut told = Metadata(Vec::new());
        propagator().inject_context(&parent, &mut told);
        assert!(told.0.contains(&("traceparent".into(), PARENT.into())));
        assert!(told.0.iter().any(|(name, _)| name == "baggage"));
        assert!(
            !parent_of(&HeaderMap::new())
                .span()
                .span_context()
                .is_valid()
        );
    }

    ///
    #[test]
    fn spans_inside_know_the_request() {
        let subscriber = Registry::default().with(RequestIds);
        tracing::subscriber::with_default(subscriber, || {
            let outer = tracing::info_span!("outer", request_id = "abc");
            let inner = outer.in_scope(|| tracing::info_span!("inner"));
            assert_eq!(RequestIds::of(&inner), Some(RequestId("abc".into())));
            assert_eq!(RequestIds::of(&tracing::info_span!("other")), None);
            let told = Propagation.metadata(&inner);
            assert_eq!(told, [(REQUEST_ID.to_owned(), "abc".to_owned())]);
        });
    }
}
