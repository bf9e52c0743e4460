//! `anchored` and `smoothed` windows of floats.
//!
//! An anchored window begins with the last sample before it; a smoothed one ends on both sides with values
//! interpolated between the samples inside and outside.
//!
//! Source: Prometheus `promql/functions.go`, `extendedRate`; `promql/engine.go`, `extendFloats`.

use super::Kernel;
use super::columns::{Columns, Window};
use super::rate::{RateKind, lower_samples};
use crate::parser::ast::RangeExtension;

/// The samples of an extended window that matter, and the indices of the first and last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ends {
    pub(super) first: usize,
    pub(super) last: usize,
}

impl Ends {
    /// Returns the first sample, at or before the start if there is one, and the last one, at or after the end
    /// if the window is smoothed; nothing when no sample is inside.
    pub(super) fn find(
        times: &[i64],
        (start_ms, end_ms): (i64, i64),
        extension: RangeExtension,
    ) -> Option<Self> {
        let before_last = &times[..times.len().checked_sub(1)?];
        let after_start = before_last.partition_point(|time| *time <= start_ms);
        let first = after_start.saturating_sub(1);
        let last = match extension {
            RangeExtension::Anchored => before_last.len(),
            RangeExtension::Smoothed => before_last.partition_point(|time| *time < end_ms),
        };
        (times[last] > start_ms).then_some(Self { first, last })
    }
}

/// Returns the value at `time_ms` on the line between two samples.
///
/// A counter that was reset in between is taken to have begun at zero at the first sample.
pub(super) fn interpolate(
    samples: Columns<'_>,
    left: usize,
    time_ms: i64,
    is_counter: bool,
) -> f64 {
    let (&[t0, t1], &[v0, v1]) = (
        &samples.times[left..left + 2],
        &samples.values[left..left + 2],
    ) else {
        return f64::NAN;
    };
    let v0 = if is_counter && v1 < v0 { 0.0 } else { v0 };
    v0 + (v1 - v0) * millis(time_ms - t0) / millis(t1 - t0)
}

/// Returns a difference of times as a float.
#[expect(
    clippy::cast_precision_loss,
    reason = "samples that are looked at together are less than 2^53 ms apart"
)]
pub(super) fn millis(ms: i64) -> f64 {
    ms as f64
}

/// Returns the values at both ends of a window.
fn values_at(
    samples: Columns<'_>,
    ends: Ends,
    (start_ms, end_ms): (i64, i64),
    extension: RangeExtension,
    is_counter: bool,
) -> [f64; 2] {
    let is_smoothed = extension == RangeExtension::Smoothed;
    let Ends { first, last } = ends;
    let left = if is_smoothed && samples.times[first] < start_ms {
        interpolate(samples, first, start_ms, is_counter)
    } else {
        samples.values[first]
    };
    let right = if is_smoothed && last > 0 && samples.times[last] > end_ms {
        interpolate(samples, last - 1, end_ms, is_counter)
    } else {
        samples.values[last]
    };
    [left, right]
}

/// Returns the samples between the ends, those on the borders left out.
fn inner(samples: Columns<'_>, ends: Ends, (start_ms, end_ms): (i64, i64)) -> (usize, usize) {
    let from = ends.first + usize::from(samples.times[ends.first] <= start_ms);
    let to = ends.last + usize::from(samples.times[ends.last] < end_ms);
    (from, to.max(from))
}

/// Returns how far before and after its borders a window reaches.
pub(crate) fn reach(extension: Option<RangeExtension>, lookback_ms: i64) -> (i64, i64) {
    match extension {
        None => (0, 0),
        Some(RangeExtension::Anchored) => (lookback_ms, 0),
        Some(RangeExtension::Smoothed) => (lookback_ms, lookback_ms),
    }
}

/// Returns times and values of a range selector with `extension`: those at both borders and what is between.
pub(crate) fn extend(
    samples: Columns<'_>,
    borders: (i64, i64),
    extension: RangeExtension,
) -> (Vec<i64>, Vec<f64>) {
    let Some(ends) = Ends::find(samples.times, borders, extension) else {
        return (Vec::new(), Vec::new());
    };
    let [left, right] = values_at(samples, ends, borders, extension, false);
    let (from, to) = inner(samples, ends, borders);
    let between = samples.slice(from, to);
    std::iter::once((borders.0, left))
        .chain(between.iter())
        .chain(std::iter::once((borders.1, right)))
        .unzip()
}

/// `rate`, `increase` and `delta` over extended windows.
#[derive(Debug)]
pub(super) struct ExtendedRate {
    kind: RateKind,
    extension: RangeExtension,
    /// The samples that are lower than their predecessor.
    lower: Vec<usize>,
}

impl ExtendedRate {
    pub(super) fn new(kind: RateKind, extension: RangeExtension) -> Self {
        Self {
            kind,
            extension,
            lower: Vec::new(),
        }
    }

    /// Returns what the counter had counted at the resets that the values at the borders do not account for.
    fn correction(&self, window: &Window<'_>, ends: Ends, [left, right]: [f64; 2]) -> f64 {
        let samples = window.samples();
        let (from, to) = inner(samples, ends, (window.start_ms, window.end_ms));
        let values = &samples.values[from..to];
        let (Some(first), Some(last)) = (values.first(), values.last()) else {
            return if right < left { left } else { 0.0 };
        };
        let mut correction = if *first < left { left } else { 0.0 };
        let inner = Window {
            from: window.from + from,
            to: window.from + to,
            ..*window
        };
        for &at in inner.later(&self.lower) {
            correction += window.series.values[at - 1];
        }
        if right < *last {
            correction += last;
        }
        correction
    }
}

impl Kernel for ExtendedRate {
    type Out = f64;

    fn prepare(&mut self, series: Columns<'_>) {
        if self.kind.is_counter() {
            self.lower = lower_samples(series.values);
        }
    }

    fn eval(&mut self, window: &Window<'_>) -> Option<f64> {
        let samples = window.samples();
        let borders = (window.start_ms, window.end_ms);
        let ends = Ends::find(samples.times, borders, self.extension)?;
        if self.extension == RangeExtension::Smoothed && samples.times[ends.first] > window.end_ms {
            return None;
        }
        let is_counter = self.kind.is_counter();
        let values = values_at(samples, ends, borders, self.extension, is_counter);
        let mut result = values[1] - values[0];
        if is_counter {
            result += self.correction(window, ends, values);
        }
        if self.kind == RateKind::Rate {
            result /= window.range_secs();
        }
        Some(result)
    }
}
