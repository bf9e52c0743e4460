//! What `thanos sidecar` counts, by part.

use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use thanos_core::time::Clock;
use thanos_storeapi::limits::SelectLimitMetrics;
use thanos_storeapi::net::http_client::HttpClientMetrics;
use thanos_storeapi::prometheus::PrometheusStoreMetrics;
use thanos_storeapi::prometheus::reloader::ReloaderMetrics;

use super::upload::UploadMetrics;

/// The metrics of all parts.
#[derive(Debug, Clone, Default)]
pub(super) struct SidecarMetrics {
    pub(super) heartbeat: HeartbeatMetrics,
    pub(super) http: HttpClientMetrics,
    pub(super) limits: SelectLimitMetrics,
    pub(super) reload: ReloaderMetrics,
    pub(super) store: PrometheusStoreMetrics,
    pub(super) upload: UploadMetrics,
}

impl SidecarMetrics {
    /// Registers all of them.
    pub(super) fn register(&self, registry: &mut Registry) {
        self.heartbeat.register(registry);
        self.http.register(registry);
        self.limits.register(registry);
        self.reload
            .register(registry.sub_registry_with_prefix("thanos_sidecar"));
        self.store.register(registry);
        self.upload.bucket.register(registry);
        self.upload.shipper.register(registry);
    }
}

/// Whether Prometheus answers.
#[derive(Debug, Clone, Default)]
pub(super) struct HeartbeatMetrics {
    up: Gauge,
    last_success_secs: Gauge<f64, AtomicU64>,
}

impl HeartbeatMetrics {
    fn register(&self, registry: &mut Registry) {
        registry.register(
            "thanos_sidecar_prometheus_up",
            "Boolean indicator whether the sidecar can reach its Prometheus peer",
            self.up.clone(),
        );
        registry.register(
            "thanos_sidecar_last_heartbeat_success_time_seconds",
            "Timestamp of the last successful heartbeat in seconds",
            self.last_success_secs.clone(),
        );
    }

    /// Counts an answer.
    pub(super) fn beat(&self, clock: &dyn Clock) {
        self.up.set(1);
        self.last_success_secs
            .set(clock.now().as_millis() as f64 / 1000.0);
    }

    /// Counts that there was none.
    pub(super) fn miss(&self) {
        self.up.set(0);
    }
}
