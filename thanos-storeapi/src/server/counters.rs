//! What a server counts, for metrics.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts of what was served since the start; read them when metrics are scraped.
#[derive(Debug, Default)]
pub struct ServerCounters {
    pub(super) series_calls: AtomicU64,
    pub(super) series_calls_open: AtomicU64,
    pub(super) label_calls: AtomicU64,
    pub(super) api_calls: AtomicU64,
    pub(super) failed_calls: AtomicU64,
    pub(super) panics: AtomicU64,
    pub(super) frames: AtomicU64,
    pub(super) series: AtomicU64,
}

impl ServerCounters {
    /// Returns the number of `Series` calls.
    pub fn series_calls(&self) -> u64 {
        self.series_calls.load(Ordering::Relaxed)
    }

    /// Returns the number of `Series` calls that are being answered now.
    pub fn series_calls_open(&self) -> u64 {
        self.series_calls_open.load(Ordering::Relaxed)
    }

    /// Returns the number of `LabelNames` and `LabelValues` calls.
    pub fn label_calls(&self) -> u64 {
        self.label_calls.load(Ordering::Relaxed)
    }

    /// Returns the number of calls for something else than series and labels.
    pub fn api_calls(&self) -> u64 {
        self.api_calls.load(Ordering::Relaxed)
    }

    /// Returns the number of calls that ended with an error.
    pub fn failed_calls(&self) -> u64 {
        self.failed_calls.load(Ordering::Relaxed)
    }

    /// Returns the number of calls in which the store panicked.
    pub fn panics(&self) -> u64 {
        self.panics.load(Ordering::Relaxed)
    }

    /// Returns the number of frames handed to connections.
    pub fn frames(&self) -> u64 {
        self.frames.load(Ordering::Relaxed)
    }

    /// Returns the number of series in those frames.
    pub fn series(&self) -> u64 {
        self.series.load(Ordering::Relaxed)
    }
}

/// Adds one.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
