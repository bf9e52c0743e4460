//! Requests over HTTP: each gets an id, is a span, is counted, and is logged where the configuration wants it.

use std::sync::Arc;
use std::time::Instant;

use axum::body::{Body, HttpBody};
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use tracing::field::Empty;
use tracing::{Instrument, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use super::Watch;
use super::http_body::Measured;
use super::http_log::Told;
use super::http_metrics::{Answered, HttpMetrics};
use super::id;
use super::tenant::TenantOf;
use crate::traces::{parent_of, trace_id_of};

/// The request header that wants a trace to be kept, and the answer's header with the id of a trace that is.
const FORCE_TRACING: HeaderName = HeaderName::from_static("x-thanos-force-tracing");
const TRACE_ID: HeaderName = HeaderName::from_static("x-thanos-trace-id");

/// Counts and logs a request.
pub(super) async fn watch(
    State(watch): State<Arc<Watch<HttpMetrics>>>,
    mut request: Request,
    next: Next,
) -> Response {
    let request_id = id::name(request.headers_mut());
    let Some(handler) = handler_of(request.uri().path()) else {
        let span = tracing::info_span!("request", request_id);
        return next.run(request).instrument(span).await;
    };
    let started = Instant::now();
    let method = method_of(&request);
    let request_bytes = size_of_request(&request);
    let open = watch.metrics.open(handler, method);
    let told = Told::of(&request, handler);
    let rule = watch
        .log
        .as_ref()
        .filter(|rule| rule.covers(&told.path, told.port));
    if rule.is_some_and(|rule| rule.start && !rule.failures_only) {
        told.started();
    }
    let span = span_of(&request, handler, &request_id);
    let trace_id = trace_id_of(&span);

    let mut response = next.run(request).instrument(span.clone()).await;

    let status = response.status();
    if status.is_server_error() {
        span.record("otel.status_code", "ERROR");
    }
    span.record("http.status_code", status.as_u16());
    let id = trace_id.as_deref().map(HeaderValue::from_str);
    if let Some(Ok(id)) = id {
        response.headers_mut().insert(TRACE_ID, id);
    }
    let response_bytes = watch.metrics.answered(&Answered {
        code: status.as_u16(),
        handler,
        method,
        tenant: response
            .extensions()
            .get()
            .map(|TenantOf(name)| name.clone()),
        trace_id,
        took: started.elapsed(),
        request_bytes,
    });
    if let Some(rule) = rule {
        told.finished(rule, status, started.elapsed());
    }
    response.map(|body| Body::new(Measured::new(body, response_bytes, (open, span))))
}

/// Returns the span of a request, a part of the trace that its headers name.
///
/// Source: Go pkg/tracing/http.go.
fn span_of(request: &Request, handler: &str, request_id: &str) -> Span {
    let is_forced = request
        .headers()
        .get(FORCE_TRACING)
        .is_some_and(|value| !value.is_empty());
    let span = tracing::info_span!(
        "request",
        otel.name = format!("/{handler} HTTP[server]"),
        otel.kind = "server",
        otel.status_code = Empty,
        http.method = request.method().as_str(),
        http.url = %request.uri(),
        http.status_code = Empty,
        thanos.force_tracing = is_forced.then_some("true"),
        request_id,
    );
    // Without a layer for traces there is nobody to tell.
    let _ = span.set_parent(parent_of(request.headers()));
    span
}

/// Returns the method for a label; those that HTTP does not name are one.
fn method_of(request: &Request) -> &'static str {
    const KNOWN: [&str; 9] = [
        "CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE",
    ];
    let method = request.method().as_str();
    KNOWN
        .into_iter()
        .find(|known| *known == method)
        .unwrap_or("UNKNOWN")
}

/// What is counted, under Thanos' names; anybody can ask for other paths, and they do not become labels.
const HANDLERS: [(&str, &str); 38] = [
    ("/", "react-static"),
    ("/alerts", "react-static"),
    ("/blocks", "react-static"),
    ("/config", "react-static"),
    ("/flags", "react-static"),
    ("/global", "react-static"),
    ("/graph", "react-static"),
    ("/loaded", "react-static"),
    ("/rules", "react-static"),
    ("/service-discovery", "react-static"),
    ("/status", "react-static"),
    ("/stores", "react-static"),
    ("/targets", "react-static"),
    ("/tsdb-status", "react-static"),
    ("/-/reload", "reload"),
    ("/api/v1/alerts", "alerts"),
    ("/api/v1/blocks", "blocks"),
    ("/api/v1/blocks/mark", "blocks_mark"),
    ("/api/v1/format_query", "format_query"),
    ("/api/v1/labels", "label_names"),
    ("/api/v1/metadata", "metadata"),
    ("/api/v1/parse_query", "parse_query"),
    ("/api/v1/query", "query"),
    ("/api/v1/query_exemplars", "exemplars"),
    ("/api/v1/query_explain", "query_explain"),
    ("/api/v1/query_range", "query_range"),
    ("/api/v1/query_range_explain", "query_range_explain"),
    ("/api/v1/rules", "rules"),
    ("/api/v1/series", "series"),
    ("/api/v1/status/active_queries", "active_queries"),
    ("/api/v1/status/buildinfo", "status_build"),
    ("/api/v1/status/config", "status_config"),
    ("/api/v1/status/flags", "status_flags"),
    ("/api/v1/status/runtimeinfo", "status_runtime"),
    ("/api/v1/status/tsdb", "status_tsdb"),
    ("/api/v1/stores", "stores"),
    ("/api/v1/targets", "targets"),
    ("/static/page.css", "static"),
];

/// Returns the name of what answers a request for `path`.
fn handler_of(path: &str) -> Option<&'static str> {
    let values = path.strip_prefix("/api/v1/label/");
    if values.is_some_and(|rest| rest.ends_with("/values")) {
        return Some("label_values");
    }
    let mut handlers = HANDLERS.into_iter();
    handlers
        .find(|(known, _)| *known == path)
        .map(|(_, name)| name)
}

/// Returns about how many bytes the request has, counted as in Go: the path, the method, the headers and the body.
fn size_of_request(request: &Request) -> u64 {
    let head = request.uri().to_string().len() + request.method().as_str().len() + "HTTP/1.1".len();
    let headers = request.headers().iter();
    let headers: usize = headers
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum();
    let body = request.body().size_hint().exact().unwrap_or(0);
    (head + headers) as u64 + body
}
