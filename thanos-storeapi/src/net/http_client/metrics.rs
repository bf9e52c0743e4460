//! What HTTP clients count, with Thanos' names.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

const SECONDS: [f64; 7] = [0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0];

type ClientLabels = [(&'static str, String); 1];
type RequestLabels = [(&'static str, String); 3];

/// The metrics of all clients of a process.
#[derive(Debug, Clone)]
pub struct HttpClientMetrics {
    in_flight: Family<ClientLabels, Gauge>,
    requests: Family<RequestLabels, Counter>,
    seconds: Family<RequestLabels, Histogram>,
}

impl Default for HttpClientMetrics {
    fn default() -> Self {
        Self {
            in_flight: Family::default(),
            requests: Family::default(),
            seconds: Family::new_with_constructor(|| Histogram::new(SECONDS)),
        }
    }
}

impl HttpClientMetrics {
    /// Registers the metrics.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("http_client");
        let help = "A gauge of in-flight requests";
        registry.register("in_flight_requests", help, self.in_flight.clone());
        let help = "Total http client request by code and method";
        registry.register("request", help, self.requests.clone());
        let help = "A histogram of request latencies";
        registry.register("request_duration_seconds", help, self.seconds.clone());
    }

    /// Counts a request until the head of its answer.
    pub(super) fn start(&self, client: &str) -> Gauge {
        let gauge = self
            .in_flight
            .get_or_create(&[("client", client.to_owned())]);
        gauge.inc();
        gauge.clone()
    }

    /// Counts an answer.
    pub(super) fn answered(&self, client: &str, method: &str, code: u16, seconds: f64) {
        let labels = [
            ("client", client.to_owned()),
            ("code", code.to_string()),
            ("method", method.to_ascii_lowercase()),
        ];
        self.requests.get_or_create(&labels).inc();
        self.seconds.get_or_create(&labels).observe(seconds);
    }
}
