//! Counts of requests over HTTP, as Thanos has them (Go pkg/extprom/http).

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::exemplar::HistogramWithExemplars;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

const DURATION_SECS: [f64; 17] = [
    0.001, 0.01, 0.1, 0.3, 0.6, 1.0, 3.0, 6.0, 9.0, 20.0, 30.0, 60.0, 90.0, 120.0, 240.0, 360.0,
    720.0,
];
/// How many tenants have labels of their own; anybody can name another one.
const TENANTS_MAX: usize = 1000;
/// The label of all others. No tenant can have this name.
const OTHER_TENANTS: &str = "<other>";

/// Code, handler and method, and the tenant where there are tenants.
pub(super) type AnswerLabels = Vec<(&'static str, String)>;
type OpenLabels = Vec<(&'static str, String)>;
type Bytes = Family<AnswerLabels, Histogram, fn() -> Histogram>;
type TraceLabels = [(&'static str, String); 1];
type Seconds = HistogramWithExemplars<TraceLabels>;

/// Counts of requests.
#[derive(Debug)]
pub(super) struct HttpMetrics {
    requests: Family<AnswerLabels, Counter>,
    seconds: Family<AnswerLabels, Seconds, fn() -> Seconds>,
    request_bytes: Bytes,
    response_bytes: Bytes,
    open: Family<OpenLabels, Gauge>,
    tenants: Mutex<HashSet<String>>,
}

impl Default for HttpMetrics {
    fn default() -> Self {
        let bytes: fn() -> Histogram = || Histogram::new(exponential_buckets(64.0, 2.0, 10));
        Self {
            requests: Family::default(),
            seconds: Family::new_with_constructor(|| Seconds::new(DURATION_SECS.into_iter())),
            request_bytes: Family::new_with_constructor(bytes),
            response_bytes: Family::new_with_constructor(bytes),
            open: Family::default(),
            tenants: Mutex::default(),
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

    /// Counts a request as open until what is returned is dropped.
    pub(super) fn open(&self, handler: &str, method: &str) -> Open {
        let labels = vec![
            ("handler", handler.to_owned()),
            ("method", method.to_owned()),
        ];
        let open = self.open.get_or_create(&labels).clone();
        open.inc();
        Open(open)
    }

    /// Counts an answer; returns what its size is to be told to.
    pub(super) fn answered(&self, answer: &Answered) -> Histogram {
        let mut labels = vec![
            ("code", answer.code.to_string()),
            ("handler", answer.handler.to_owned()),
            ("method", answer.method.to_ascii_lowercase()),
        ];
        if let Some(tenant) = &answer.tenant {
            labels.push(("tenant", self.known(tenant)));
        }
        self.requests.get_or_create(&labels).inc();
        let trace = answer.trace_id.clone().map(|id| [("traceID", id)]);
        let secs = answer.took.as_secs_f64();
        self.seconds
            .get_or_create(&labels)
            .observe(secs, trace, None);
        let bytes = answer.request_bytes as f64;
        self.request_bytes.get_or_create(&labels).observe(bytes);
        self.response_bytes.get_or_create(&labels).clone()
    }

    /// Returns the label for `tenant`.
    fn known(&self, tenant: &str) -> String {
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        if !tenants.contains(tenant) {
            if tenants.len() >= TENANTS_MAX {
                return OTHER_TENANTS.to_owned();
            }
            tenants.insert(tenant.to_owned());
        }
        tenant.to_owned()
    }
}

/// What is counted of an answer.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) code: u16,
    pub(super) handler: &'static str,
    pub(super) method: &'static str,
    pub(super) tenant: Option<String>,
    pub(super) trace_id: Option<String>,
    pub(super) took: Duration,
    pub(super) request_bytes: u64,
}

/// Takes back the request from the open ones, also when its client goes away.
#[derive(Debug)]
pub(super) struct Open(Gauge);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// the number of labels is bounded.
    #[test]
    fn many_tenants_share_a_label() {
        let metrics = HttpMetrics::default();
        for i in 0..TENANTS_MAX {
            assert_eq!(metrics.known(&i.to_string()), i.to_string());
        }
        assert_eq!(metrics.known("one-more"), OTHER_TENANTS);
        assert_eq!(metrics.known("7"), "7");
    }
}
