//! Thanos' `xrate`, `xincrease` and `xdelta`: differences to the last sample before the window.
//!
//! Source: promql-engine `ringbuffer/functions.go`, `extendedRate`, and `storage/prometheus/matrix_selector.go`.
//! That engine can lose a sample on the border of a window when the windows of a range query leave gaps; here a
//! window gives the same in every query.

use super::columns::{Columns, Window, count_of};
use super::extended::millis;
use super::rate::{RateKind, lower_samples};
use super::{Kernel, Sweep};

/// How far before a window the sample that it is measured by may be, in milliseconds.
pub(super) const LOOKBACK_MS: i64 = 3_600_000;

/// The kernel for floats.
#[derive(Debug)]
pub(super) struct ExtraRate {
    kind: RateKind,
    /// Samples up to this time are of no use to any window.
    open_ms: i64,
    /// The time of the first sample of use.
    appeared_ms: i64,
    /// The samples that are lower than their predecessor.
    lower: Vec<usize>,
}

impl ExtraRate {
    pub(super) fn new(kind: RateKind, sweep: &Sweep<'_>) -> Self {
        let first_end_ms = sweep.steps.first().map_or(0, |step| step.1);
        let start_ms = first_end_ms.saturating_sub(sweep.range_ms);
        Self {
            kind,
            open_ms: start_ms.saturating_sub(LOOKBACK_MS),
            appeared_ms: 0,
            lower: Vec::new(),
        }
    }

    /// Returns the counter's value when it has just appeared and not changed since: it has grown from zero.
    fn since_appearance(&self, window: &Window<'_>) -> Option<f64> {
        let values = window.samples().values;
        let range_ms = window.end_ms - window.start_ms;
        let is_new = window.end_ms <= range_ms.saturating_add(self.appeared_ms);
        let is_constant = || values.windows(2).all(|pair| pair[0] == pair[1]);
        (self.kind == RateKind::Increase && is_new && is_constant()).then(|| values[0])
    }

    /// Returns the difference between the ends, resets undone when this is a counter.
    fn difference(&self, window: &Window<'_>) -> f64 {
        let values = window.series.values;
        let mut correction = 0.0;
        for &at in window.later(&self.lower) {
            correction += values[at - 1];
        }
        values[window.to - 1] - values[window.from] + correction
    }
}

/// Returns the time between two samples on average, in milliseconds; NaN for one sample.
fn spacing(window: &Window<'_>) -> (f64, f64) {
    let times = window.series.times;
    let sampled = millis(times[window.to - 1] - times[window.from]);
    (sampled, sampled / count_of(window.len() - 1))
}

impl Kernel for ExtraRate {
    type Out = f64;

    fn prepare(&mut self, series: Columns<'_>) {
        let first = series.times.partition_point(|time| *time <= self.open_ms);
        self.appeared_ms = series.times.get(first).copied().unwrap_or(0);
        if self.kind.is_counter() {
            self.lower = lower_samples(series.values);
        }
    }

    fn eval(&mut self, window: &Window<'_>) -> Option<f64> {
        let times = window.samples().times;
        let inside = times.partition_point(|time| *time <= window.start_ms);
        let mut window = *window;
        window.from += inside.saturating_sub(1);
        if let Some(value) = self.since_appearance(&window) {
            return Some(value);
        }
        if self.kind == RateKind::Increase {
            return Some(self.difference(&window));
        }
        let times = window.series.times;
        let (mut sampled, mut between) = spacing(&window);
        if millis(window.start_ms - times[window.from]) > between {
            // The sample before the window is too far away.
            if window.len() < 3 {
                return Some(0.0);
            }
            window.from += 1;
            (sampled, between) = spacing(&window);
        }
        let mut result = self.difference(&window);
        // COMPAT: the range counts in whole seconds.
        let range_secs = millis((window.end_ms - window.start_ms) / 1000);
        let to_end = millis(window.end_ms - times[window.to - 1]);
        if times[window.from] <= window.start_ms && to_end < between {
            result *= range_secs / (sampled / 1000.0);
        }
        if self.kind == RateKind::Rate {
            result /= range_secs;
        }
        Some(result)
    }
}
