//! `sum_over_time` and `avg_over_time` of floats, in constant time for each sample where that is exact enough.
//!
//! The samples of a window are split at a pivot: sums of everything from a sample up to the pivot are kept for all
//! samples before it, and one sum of everything behind it. Nothing is ever subtracted, so that an error cannot
//! stay behind. The sums are compensated; without cancellation their order changes nothing but the last bit. Where
//! values could cancel each other out, every window is summed anew in the order of the samples, as Prometheus
//! does.

use super::Kernel;
use super::columns::{Columns, Window, count_of};
use super::fold;
use crate::functions::sum::CompensatedSum;

/// Up to so many samples a window is summed faster anew.
const SHORT: usize = 24;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TotalKind {
    Sum,
    Mean,
}

/// The kernel.
#[derive(Debug)]
pub(super) struct FloatTotal {
    kind: TotalKind,
    can_slide: bool,
    /// The sums of the samples from `from + i` up to the pivot.
    front: Vec<CompensatedSum>,
    from: usize,
    pivot: usize,
    back: CompensatedSum,
    /// The end of the last window.
    next: usize,
}

impl FloatTotal {
    pub(super) fn new(kind: TotalKind) -> Self {
        Self {
            kind,
            can_slide: false,
            front: Vec::new(),
            from: 0,
            pivot: 0,
            back: CompensatedSum::default(),
            next: 0,
        }
    }

    fn fold(&self, window: &Window<'_>) -> Option<f64> {
        match self.kind {
            TotalKind::Sum => fold::sum(window),
            TotalKind::Mean => fold::avg(window),
        }
    }

    /// Returns the sum of a window that overlaps the last one.
    fn slide(&mut self, window: &Window<'_>) -> CompensatedSum {
        let values = window.series.values;
        if window.from < self.from || window.from >= self.pivot {
            self.turn(values, window);
        }
        for value in &values[self.next..window.to] {
            self.back.add(*value);
        }
        self.next = window.to;
        let mut total = self.front[window.from - self.from];
        total.add(self.back.sum);
        total.compensation += self.back.compensation;
        total
    }

    /// Makes the end of a window the pivot.
    fn turn(&mut self, values: &[f64], window: &Window<'_>) {
        let mut sum = CompensatedSum::default();
        self.front.clear();
        self.front
            .extend(values[window.from..window.to].iter().rev().map(|value| {
                sum.add(*value);
                sum
            }));
        self.front.reverse();
        (self.from, self.pivot, self.next) = (window.from, window.to, window.to);
        self.back = CompensatedSum::default();
    }
}

/// Reports whether values cannot cancel each other out, or only without any error.
fn can_slide(values: &[f64]) -> bool {
    /// The sum of 2^13 such numbers is exact.
    const LARGE: f64 = (1_u64 << 40) as f64;
    let all_between = |low: f64, high: f64| values.iter().all(|v| *v >= low && *v <= high);
    all_between(0.0, f64::MAX)
        || all_between(f64::MIN, 0.0)
        || values.len() <= 1 << 13
            && all_between(-LARGE, LARGE)
            && values.iter().all(|v| v.trunc() == *v)
}

impl Kernel for FloatTotal {
    type Out = f64;

    fn prepare(&mut self, series: Columns<'_>) {
        self.can_slide = can_slide(series.values);
    }

    fn eval(&mut self, window: &Window<'_>) -> Option<f64> {
        let is_apart = window.from >= self.next;
        if !self.can_slide || window.len() <= SHORT || is_apart {
            self.next = self.next.max(window.to);
            self.pivot = 0;
            return self.fold(window);
        }
        let total = self.slide(window);
        if total.sum.is_infinite() {
            return self.fold(window);
        }
        Some(match self.kind {
            TotalKind::Sum => total.total(),
            TotalKind::Mean => {
                let count = count_of(window.len());
                total.sum / count + total.compensation / count
            }
        })
    }
}
