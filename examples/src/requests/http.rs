//! Requests over HTTP, counted as Thanos counts them (Go pkg/extprom/http) and logged (Go pkg/logging/http.go).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::HttpBody;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use thanos_core::time::{Clock, SystemClock, UtcTime};

use super::Watch;
use super::config::Rule;

const DURATION_SECS: [f64; 17] = [
    0.001, 0.01, 0.1, 0.3, 0.6, 1.0, 3.0, 6.0, 9.0, 20.0, 30.0, 60.0, 90.0, 120.0, 240.0, 360.0,
    720.0,
];

type AnswerLabels = [(&'static str, String); 3];
type OpenLabels = [(&'static str, &'static str); 2];
type Histograms = Family<AnswerLabels, Histogram, fn() -> Histogram>;

/// Counts of requests.
#[derive(Debug)]
pub(super) struct HttpMetrics {
    requests: Family<AnswerLabels, Counter>,
    seconds: Histograms,
    request_bytes: Histograms,
    response_bytes: Histograms,
    open: Family<OpenLabels, Gauge>,
}

impl Default for HttpMetrics {
    fn default() -> Self {
        let bytes: fn() -> Histogram = || Histogram::new(exponential_buckets(64.0, 2.0, 10));
        Self {
            requests: Family::default(),
            seconds: Family::new_with_constructor(|| Histogram::new(DURATION_SECS)),
            request_bytes: Family::new_with_constructor(bytes),
            response_bytes: Family::new_with_constructor(bytes),
            open: Family::default(),
        }
    }
}

impl HttpMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "Tracks the number of HTTP requests";
        registry.register("http_requests", help, self.requests.clone());
        let help = "Tracks the latencies for HTTP requests";
        registry.register("http_request_duration_seconds", help, self.seconds.clone());
        let help = "Tracks the size of HTTP requests";
        registry.register("http_request_size_bytes", help, self.request_bytes.clone());
        let help = "Tracks the size of HTTP responses";
        registry.register(
            "http_response_size_bytes",
            help,
            self.response_bytes.clone(),
        );
        let help = "Current number of HTTP requests the handler is responding to";
        registry.register("http_inflight_requests", help, self.open.clone());
    }
}

/// Takes back the request from the open ones, also when its client goes away.
struct Open(Gauge);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Counts and logs a request.
pub(super) async fn watch(
    State(watch): State<Arc<Watch<HttpMetrics>>>,
    request: Request,
    next: Next,
) -> Response {
    let Some(handler) = handler_of(request.uri().path()) else {
        return next.run(request).await;
    };
    let started = Instant::now();
    let method = method_of(&request);
    let request_bytes = size_of_request(&request);
    let open = [("handler", handler), ("method", method)];
    let open = watch.metrics.open.get_or_create(&open).clone();
    open.inc();
    let _open = Open(open);
    let told = Told::of(&request, handler);
    let rule = watch
        .log
        .as_ref()
        .filter(|rule| rule.covers(&told.path, told.port));
    if rule.is_some_and(|rule| rule.start && !rule.failures_only) {
        told.started();
    }

    let response = next.run(request).await;

    let labels = [
        ("code", response.status().as_u16().to_string()),
        ("handler", handler.to_owned()),
        ("method", method.to_ascii_lowercase()),
    ];
    let metrics = &watch.metrics;
    metrics.requests.get_or_create(&labels).inc();
    let secs = started.elapsed().as_secs_f64();
    metrics.seconds.get_or_create(&labels).observe(secs);
    metrics
        .request_bytes
        .get_or_create(&labels)
        .observe(request_bytes as f64);
    // What is streamed has no size yet.
    if let Some(bytes) = response.body().size_hint().exact() {
        metrics
            .response_bytes
            .get_or_create(&labels)
            .observe(bytes as f64);
    }
    if let Some(rule) = rule {
        told.finished(rule, response.status(), started.elapsed());
    }
    response
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
const HANDLERS: [(&str, &str); 20] = [
    ("/", "root"),
    ("/blocks", "blocks_page"),
    ("/loaded", "loaded_page"),
    ("/api/v1/blocks", "blocks"),
    ("/api/v1/blocks/mark", "blocks_mark"),
    ("/api/v1/format_query", "format_query"),
    ("/api/v1/labels", "label_names"),
    ("/api/v1/metadata", "metric_metadata"),
    ("/api/v1/parse_query", "parse_query"),
    ("/api/v1/query", "query"),
    ("/api/v1/query_exemplars", "exemplars"),
    ("/api/v1/query_explain", "query_explain"),
    ("/api/v1/query_range", "query_range"),
    ("/api/v1/query_range_explain", "query_range_explain"),
    ("/api/v1/series", "series"),
    ("/api/v1/status/buildinfo", "status_build"),
    ("/api/v1/status/config", "status_config"),
    ("/api/v1/status/flags", "status_flags"),
    ("/api/v1/status/runtimeinfo", "status_runtime"),
    ("/api/v1/status/active_queries", "active_queries"),
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

/// What the log tells of a request.
struct Told {
    path: String,
    port: Option<u16>,
    method: String,
    name: &'static str,
    request_id: String,
    user_agent: String,
    remote: String,
}

impl Told {
    fn of(request: &Request, name: &'static str) -> Self {
        let text = |header: &str| text_of(request.headers(), header);
        let host = Some(text("host")).filter(|host| !host.is_empty());
        let host = host.or_else(|| Some(request.uri().authority()?.to_string()));
        let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
        let remote = match text("x-forwarded-for") {
            forwarded if forwarded.is_empty() => {
                peer.map(|peer| peer.0.to_string()).unwrap_or_default()
            }
            forwarded => forwarded,
        };
        Self {
            path: request.uri().path().to_owned(),
            port: host.and_then(|host| host.rsplit_once(':')?.1.parse().ok()),
            method: format!("{} {}", request.method(), request.uri()),
            name,
            request_id: text("x-request-id"),
            user_agent: text(header::USER_AGENT.as_str()),
            remote,
        }
    }

    fn started(&self) {
        tracing::debug!(
            protocol = "http",
            http.component = "server",
            http.start_time = %UtcTime::from_timestamp(SystemClock.now()),
            http.method = %self.method,
            http.request_id = %self.request_id,
            http.user_agent = %self.user_agent,
            thanos.method_name = %self.name,
            "started call"
        );
    }

    fn finished(&self, rule: &Rule, status: StatusCode, took: Duration) {
        // An event has one level, which is fixed where it is written.
        macro_rules! tell {
            ($level:ident) => {
                tracing::$level!(
                    protocol = "http",
                    http.component = "server",
                    http.method = %self.method,
                    http.request_id = %self.request_id,
                    http.user_agent = %self.user_agent,
                    http.status_code = %status.as_u16(),
                    http.time_ms = %millis(took),
                    http.remote_addr = %self.remote,
                    thanos.method_name = %self.name,
                    "finished call"
                )
            };
        }
        match (status.as_u16(), rule.failures_only) {
            (200..500, true) => {}
            (200..500, false) => tell!(debug),
            _ => tell!(error),
        }
    }
}

fn text_of(headers: &HeaderMap, name: &str) -> String {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    value.unwrap_or_default().to_owned()
}

/// Returns milliseconds down to the microsecond, as Go logs them.
pub(super) fn millis(took: Duration) -> f64 {
    took.as_micros() as f64 / 1000.0
}
