//! `rate`, `increase` and `delta` of floats: the difference over the window, extrapolated to its borders.
//!
//! Source: Prometheus `promql/functions.go`, `extrapolatedRate`.

use super::Kernel;
use super::columns::{Columns, Window, count_of, secs};
use super::remarks::Remarks;
use crate::error::Result;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RateKind {
    Rate,
    Increase,
    Delta,
}

impl RateKind {
    pub(super) fn is_counter(self) -> bool {
        match self {
            Self::Rate | Self::Increase => true,
            Self::Delta => false,
        }
    }
}

/// The kernel for floats.
#[derive(Debug)]
pub(super) struct Rate {
    kind: RateKind,
    /// The samples before which the counter was reset.
    resets: Vec<usize>,
    overlaps: Vec<usize>,
    windows_with_overlap: u64,
}

impl Rate {
    pub(super) fn new(kind: RateKind) -> Self {
        Self {
            kind,
            resets: Vec::new(),
            overlaps: Vec::new(),
            windows_with_overlap: 0,
        }
    }

    /// Returns the difference between the ends, resets undone when this is a counter.
    fn difference(&self, window: &Window<'_>) -> f64 {
        let values = window.series.values;
        let mut difference = values[window.to - 1] - values[window.from];
        for &at in window.later(&self.resets) {
            difference += values[at - 1];
        }
        difference
    }
}

/// Returns the samples that are lower than their predecessor.
pub(super) fn lower_samples(values: &[f64]) -> Vec<usize> {
    let pairs = values.windows(2).enumerate();
    pairs
        .filter(|(_, pair)| pair[1] < pair[0])
        .map(|(i, _)| i + 1)
        .collect()
}

impl Kernel for Rate {
    type Out = f64;

    fn prepare(&mut self, series: Columns<'_>) {
        if !self.kind.is_counter() {
            return;
        }
        if series.starts.is_empty() {
            self.resets = lower_samples(series.values);
            return;
        }
        let is_reset =
            |at: &usize| series.values[*at] < series.values[at - 1] || series.has_start_reset(*at);
        self.resets = (1..series.values.len()).filter(is_reset).collect();
        self.overlaps = series.start_overlaps();
    }

    fn eval(&mut self, window: &Window<'_>) -> Option<f64> {
        let since = if self.kind.is_counter() {
            window.counts_since()
        } else {
            None
        };
        if window.len() < 2 && since.is_none() {
            return None;
        }
        if window.has_later(&self.overlaps) {
            self.windows_with_overlap += 1;
        }
        let first = window.series.values[window.from];
        let difference = self.difference(window);
        let factor = factor(self.kind, window, since, first, difference);
        let total = if since.is_some() {
            difference + first
        } else {
            difference
        };
        Some(total * factor)
    }

    fn finish(self, remarks: &mut Remarks) -> Result<()> {
        remarks.add_overlaps(self.windows_with_overlap);
        Ok(())
    }
}

/// Returns by what the difference over a window has to be multiplied.
///
/// `since` is the time inside the window at which the counter was zero, if that is known; without it the window
/// has two samples at least. `first` is the counter at the first sample, `difference` what it grew by.
pub(super) fn factor(
    kind: RateKind,
    window: &Window<'_>,
    since: Option<i64>,
    first: f64,
    difference: f64,
) -> f64 {
    let times = window.series.times;
    let (first_ms, last_ms) = (times[window.from], times[window.to - 1]);
    let mut sampled = secs(last_ms - first_ms);
    let between = match window.len() {
        1 => 0.0,
        len => sampled / count_of(len - 1),
    };
    // Samples that end this close to a border are taken to go on up to it.
    let threshold = between * 1.1;
    let mut to_start = 0.0;
    if let Some(since) = since {
        sampled = secs(last_ms - since);
    } else {
        to_start = secs(first_ms - window.start_ms);
        if to_start >= threshold {
            to_start = between / 2.0;
        }
        // A counter cannot be below zero: do not extrapolate to before it was.
        if kind.is_counter() && difference > 0.0 && first >= 0.0 {
            let to_zero = sampled * (first / difference);
            if to_zero < to_start {
                to_start = to_zero;
            }
        }
    }
    let mut to_end = secs(window.end_ms - last_ms);
    if to_end >= threshold {
        to_end = between / 2.0;
    }
    let mut factor = 1.0;
    if sampled != 0.0 {
        factor = (sampled + to_start + to_end) / sampled;
    }
    if kind == RateKind::Rate {
        factor /= window.range_secs();
    }
    factor
}
