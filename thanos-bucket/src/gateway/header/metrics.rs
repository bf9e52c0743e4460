//! What is counted about index-headers, under the names of Thanos.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Source: `NewBinaryReaderMetrics` and `NewLazyBinaryReaderMetrics` of Thanos' `pkg/block/indexheader`.
const LOAD_SECONDS: [f64; 15] = [
    0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 15.0, 30.0, 60.0, 90.0, 120.0, 300.0,
];

/// What is counted about index-headers.
#[derive(Debug, Clone)]
pub struct HeaderMetrics {
    pub(super) loads: Counter,
    pub(super) failed_loads: Counter,
    pub(super) unloads: Counter,
    /// Closing cannot fail here; the name is there for those who alert on it.
    failed_unloads: Counter,
    pub(super) lazy_load_seconds: Histogram,
    pub(super) load_seconds: Histogram,
    pub(super) download_seconds: Histogram,
}

impl Default for HeaderMetrics {
    fn default() -> Self {
        // Downloads have the same buckets without the shortest.
        let download = LOAD_SECONDS.into_iter().filter(|bound| *bound >= 0.1);
        Self {
            loads: Counter::default(),
            failed_loads: Counter::default(),
            unloads: Counter::default(),
            failed_unloads: Counter::default(),
            lazy_load_seconds: Histogram::new(LOAD_SECONDS),
            load_seconds: Histogram::new(LOAD_SECONDS),
            download_seconds: Histogram::new(download),
        }
    }
}

impl HeaderMetrics {
    /// Registers everything as `thanos_bucket_store_indexheader_...`.
    pub fn register(&self, registry: &mut Registry) {
        let headers = registry.sub_registry_with_prefix("thanos_bucket_store_indexheader");
        let counters = [
            (
                "lazy_load",
                "Total number of index-header lazy load operations",
                &self.loads,
            ),
            (
                "lazy_load_failed",
                "Total number of failed index-header lazy load operations",
                &self.failed_loads,
            ),
            (
                "lazy_unload",
                "Total number of index-header lazy unload operations",
                &self.unloads,
            ),
            (
                "lazy_unload_failed",
                "Total number of failed index-header lazy unload operations",
                &self.failed_unloads,
            ),
        ];
        for (name, help, counter) in counters {
            headers.register(name, help, counter.clone());
        }
        let histograms = [
            (
                "lazy_load_duration_seconds",
                "Duration of the index-header lazy loading in seconds",
                &self.lazy_load_seconds,
            ),
            (
                "load_duration_seconds",
                "Duration of the index-header loading in seconds",
                &self.load_seconds,
            ),
            (
                "download_duration_seconds",
                "Duration of the index-header download from objstore in seconds",
                &self.download_seconds,
            ),
        ];
        for (name, help, histogram) in histograms {
            headers.register(name, help, histogram.clone());
        }
    }
}
