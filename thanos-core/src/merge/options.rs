//! How blocks are merged, and how far it has come.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::MergeOverlaps;
use crate::error::{Error, Result};

/// How blocks are merged. [`MergeOverlaps`] alone is one too.
#[derive(Debug, Clone, Default)]
pub struct MergeOptions {
    /// What becomes of samples of the same series where chunks overlap.
    pub overlaps: MergeOverlaps,
    /// Of parts, the only one that is written, counted from 0: with less memory and disk for each, and one after the
    /// other. Such parts name themselves as their source until [`seal_parts`](super::seal_parts) was called for all.
    pub only_part: Option<usize>,
    /// How many threads merge series ahead of the one that writes them, beside one that reads; none with 0 or 1. The
    /// result does not depend on it.
    pub threads: usize,
    /// What counts the series and can stop the merge.
    pub progress: MergeProgress,
}

impl From<MergeOverlaps> for MergeOptions {
    fn from(overlaps: MergeOverlaps) -> Self {
        Self {
            overlaps,
            ..Self::default()
        }
    }
}

/// How far a merge has come; clones speak of the same one.
///
/// # Example
///
/// ```
/// use thanos_core::merge::MergeProgress;
///
/// let progress = MergeProgress::default();
/// let seen_elsewhere = progress.clone();
/// assert_eq!(seen_elsewhere.series(), 0);
/// ```
#[derive(Debug, Clone, Default)]
pub struct MergeProgress {
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    series: AtomicU64,
    is_stopped: AtomicBool,
}

impl MergeProgress {
    /// Returns the number of series that are merged.
    pub fn series(&self) -> u64 {
        self.state.series.load(Ordering::Relaxed)
    }

    /// Ends the merge with the next series, which is an error of it.
    pub fn stop(&self) {
        self.state.is_stopped.store(true, Ordering::Relaxed);
    }

    /// Counts a series.
    pub(super) fn count_series(&self) -> Result<()> {
        self.state.series.fetch_add(1, Ordering::Relaxed);
        match self.state.is_stopped.load(Ordering::Relaxed) {
            true => Err(Error::cancelled("merge was stopped")),
            false => Ok(()),
        }
    }
}
