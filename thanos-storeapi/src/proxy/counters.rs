//! What a proxy counts about its stores.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

/// Counts of the series streams of a proxy's stores since its start.
#[derive(Debug, Default)]
pub struct ProxyCounters {
    pub(super) asked: Counter,
    pub(super) empty: Counter,
    pub(super) failed: Counter,
    pub(super) sorted: Counter,
}

impl ProxyCounters {
    /// Registers what Thanos shows of them.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "thanos_proxy_store_empty_stream_responses",
            "Total number of empty responses received",
            self.empty.clone(),
        );
    }

    /// Returns how many streams were asked for.
    pub fn streams_asked(&self) -> u64 {
        self.asked.get()
    }

    /// Returns how many ended without sending anything (`thanos_proxy_store_empty_stream_responses_total`).
    pub fn streams_empty(&self) -> u64 {
        self.empty.get()
    }

    /// Returns how many failed or did not answer in time.
    pub fn streams_failed(&self) -> u64 {
        self.failed.get()
    }

    /// Returns how many were held and sorted here because the store does not remove replica labels.
    pub fn streams_sorted(&self) -> u64 {
        self.sorted.get()
    }
}
