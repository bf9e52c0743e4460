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
    unclamped: Option<Unclamped>,
}

/// The factor of the last window that was not cut off at zero.
///
/// Scrapes come at a steady pace, so that most windows lie around their samples as the window before did: then it
/// is the factor of this window too, and none of the divisions is needed.
#[derive(Debug, Clone, Copy)]
struct Unclamped {
    shape: Shape,
    sampled: f64,
    to_start: f64,
    factor: f64,
}

/// How samples lie in a window; times are in milliseconds.
#[derive(Debug, Clone, Copy)]
struct Shape {
    samples: usize,
    before: i64,
    between: i64,
    after: i64,
}

impl Shape {
    #[inline]
    fn of(window: &Window<'_>) -> Self {
        let times = window.series.times;
        let (first_ms, last_ms) = (times[window.from], times[window.to - 1]);
        Self {
            samples: window.len(),
            before: first_ms - window.start_ms,
            between: last_ms - first_ms,
            after: window.end_ms - last_ms,
        }
    }

    /// Compares field by field: as a whole they would be loaded wider than they were stored, which stalls.
    #[inline]
    fn is(&self, other: &Self) -> bool {
        self.samples == other.samples
            && self.before == other.before
            && self.between == other.between
            && self.after == other.after
    }
}

impl Unclamped {
    fn of(kind: RateKind, window: &Window<'_>, shape: Shape) -> Self {
        let (to_start, sampled) = (secs(shape.before), secs(shape.between));
        let between = sampled / count_of(shape.samples - 1);
        Self {
            shape,
            sampled,
            to_start: if to_start >= between * 1.1 {
                between / 2.0
            } else {
                to_start
            },
            // A difference of zero never cuts off.
            factor: factor(kind, window, None, 0.0, 0.0),
        }
    }

    /// Reports whether the counter was surely above zero where the window is extrapolated to.
    fn is_above_zero(&self, first: f64, difference: f64) -> bool {
        // Where it is close, the figures of Prometheus have to be compared.
        const MARGIN: f64 = 1.0 + 1e-9;
        self.sampled * first > self.to_start * difference * MARGIN
    }
}

impl Rate {
    pub(super) fn new(kind: RateKind) -> Self {
        Self {
            kind,
            resets: Vec::new(),
            overlaps: Vec::new(),
            windows_with_overlap: 0,
            unclamped: None,
        }
    }

    /// Returns the extrapolated difference, or nothing where the counter may have been zero inside the window.
    #[inline]
    fn unclamped(&mut self, window: &Window<'_>, first: f64, difference: f64) -> Option<f64> {
        let shape = Shape::of(window);
        let known = match &mut self.unclamped {
            Some(known) if known.shape.is(&shape) => known,
            place => place.insert(Unclamped::of(self.kind, window, shape)),
        };
        let may_clamp = self.kind.is_counter() && difference > 0.0 && first >= 0.0;
        let is_plain = !may_clamp || known.is_above_zero(first, difference);
        is_plain.then_some(difference * known.factor)
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

    #[inline]
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
        if since.is_none()
            && let Some(total) = self.unclamped(window, first, difference)
        {
            return Some(total);
        }
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn numbers() -> impl Strategy<Value = f64> {
        prop_oneof![
            Just(0.0),
            0.0..100.0_f64,
            0.0..1e9_f64,
            -10.0..10.0_f64,
            Just(f64::INFINITY),
            Just(f64::NAN),
            Just(1e308)
        ]
    }

    proptest! {
        #[test]
        fn a_known_factor_gives_what_a_new_one_does(
            gap in 1_i64..40_000,
            len in 2_usize..9,
            windows in proptest::collection::vec((0_i64..3, 0_i64..3, numbers(), numbers()), 1..12),
            kind in prop_oneof![Just(RateKind::Rate), Just(RateKind::Increase), Just(RateKind::Delta)],
        ) {
            let mut rate = Rate::new(kind);
            for (before, after, first, difference) in windows {
                let (before, after) = (before * gap / 2, after * gap / 2);
                let times: Vec<i64> = (0_i64..).take(len).map(|i| before + i * gap).collect();
                let values = vec![0.0; len];
                let end_ms = times[len - 1] + after;
                let window = Window {
                    series: Columns::floats(&times, &values),
                    from: 0,
                    to: len,
                    start_ms: 0,
                    end_ms,
                    step_ms: end_ms,
                    params: [0.0; 2],
                };
                let long = difference * factor(kind, &window, None, first, difference);
                if let Some(short) = rate.unclamped(&window, first, difference) {
                    prop_assert_eq!(short.to_bits(), long.to_bits(), "{} but {}", short, long);
                } else {
                    prop_assert!(kind.is_counter() && difference > 0.0);
                }
            }
        }
    }
}
