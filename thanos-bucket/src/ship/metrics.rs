//! What a shipper counts.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The metrics of a shipper, with Thanos' names.
#[derive(Debug, Clone, Default)]
pub struct ShipperMetrics {
    pub(super) dir_syncs: Counter,
    pub(super) dir_sync_failures: Counter,
    pub(super) uploads: Counter,
    pub(super) upload_failures: Counter,
    pub(super) corrupted_blocks: Counter,
    pub(super) upload_compacted_done: Gauge,
}

impl ShipperMetrics {
    /// Adds the metrics to `registry`.
    pub fn register(&self, registry: &mut Registry) {
        let counters = [
            ("dir_syncs", "Total number of dir syncs", &self.dir_syncs),
            (
                "dir_sync_failures",
                "Total number of failed dir syncs",
                &self.dir_sync_failures,
            ),
            ("uploads", "Total number of uploaded blocks", &self.uploads),
            (
                "upload_failures",
                "Total number of block upload failures",
                &self.upload_failures,
            ),
            (
                "corrupted_blocks",
                "Total number of corrupted blocks",
                &self.corrupted_blocks,
            ),
        ];
        for (name, help, counter) in counters {
            registry.register(format!("thanos_shipper_{name}"), help, counter.clone());
        }
        registry.register(
            "thanos_shipper_upload_compacted_done",
            "If 1 it means shipper uploaded all compacted blocks from the filesystem",
            self.upload_compacted_done.clone(),
        );
    }

    /// Returns how many blocks were uploaded.
    pub fn uploads(&self) -> u64 {
        self.uploads.get()
    }
}
