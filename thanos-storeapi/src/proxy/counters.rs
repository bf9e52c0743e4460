//! What a proxy counts about its stores.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts of the series streams of a proxy's stores since its start.
#[derive(Debug, Default)]
pub struct ProxyCounters {
    pub(super) asked: Count,
    pub(super) empty: Count,
    pub(super) failed: Count,
    pub(super) sorted: Count,
}

/// A number that only grows.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    pub(super) fn add_one(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl ProxyCounters {
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
