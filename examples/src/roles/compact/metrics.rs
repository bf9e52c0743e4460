//! What `thanos compact` counts, by part.

use prometheus_client::registry::Registry;
use thanos_bucket::compact::CompactMetrics;
use thanos_bucket::fetch::FetchMetrics;
use thanos_bucket::layers::BucketMetrics;

/// The metrics of all parts.
#[derive(Debug, Clone, Default)]
pub(super) struct RoleMetrics {
    pub(super) bucket: BucketMetrics,
    pub(super) fetch: FetchMetrics,
    pub(super) compact: CompactMetrics,
}

impl RoleMetrics {
    /// Registers all of them.
    pub(super) fn register(&self, registry: &mut Registry) {
        self.bucket.register(registry);
        self.fetch.register(registry);
        self.compact.register(registry);
    }
}
