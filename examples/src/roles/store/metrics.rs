//! What `thanos store` counts, by part.

use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use thanos_bucket::fetch::FetchMetrics;
use thanos_bucket::gateway::{GatewayMetrics, HeaderMetrics};
use thanos_bucket::layers::BucketMetrics;

/// The metrics of all parts but the caches.
#[derive(Debug, Clone, Default)]
pub(super) struct StoreMetrics {
    pub(super) bucket: BucketMetrics,
    pub(super) fetch: FetchMetrics,
    pub(super) gateway: GatewayMetrics,
    pub(super) headers: HeaderMetrics,
    /// `--consistency-delay`, which Thanos shows as a metric.
    pub(super) consistency_delay_secs: Gauge<f64, AtomicU64>,
}

impl StoreMetrics {
    /// Registers all of them.
    pub(super) fn register(&self, registry: &mut Registry) {
        self.bucket.register(registry);
        self.fetch.register(registry);
        self.gateway.register(registry);
        self.headers.register(registry);
        registry.register(
            "thanos_consistency_delay_seconds",
            "Configured consistency delay in seconds",
            self.consistency_delay_secs.clone(),
        );
    }
}
