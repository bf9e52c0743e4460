//! What a store over a Prometheus counts, with Thanos' names.

use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

const FRAMES: [f64; 5] = [10.0, 100.0, 1_000.0, 10_000.0, 100_000.0];

/// The metrics of a store over a Prometheus.
#[derive(Debug, Clone)]
pub struct PrometheusStoreMetrics {
    pub(super) frames: Histogram,
}

impl Default for PrometheusStoreMetrics {
    fn default() -> Self {
        Self {
            frames: Histogram::new(FRAMES),
        }
    }
}

impl PrometheusStoreMetrics {
    /// Registers the metrics.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "prometheus_store_received_frames",
            "Number of frames received per streamed response",
            self.frames.clone(),
        );
    }
}
