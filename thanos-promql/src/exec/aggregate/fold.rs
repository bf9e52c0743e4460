//! The folds of the streaming aggregations.
//!
//! Source: Prometheus `promql/engine.go`, `aggregation`.

use std::fmt::Debug;

use super::histogram::HistogramUse;
use crate::functions::sum::{CompensatedSum, Mean};

/// Folds the floats of a group at one step.
pub(crate) trait Fold: Copy + Default + Debug + Send + Sync + 'static {
    /// What becomes of native histograms.
    const HISTOGRAMS: HistogramUse;

    /// Returns the fold of one value.
    fn first(value: f64) -> Self;

    /// Adds a value.
    fn add(&mut self, value: f64);

    /// Returns the result.
    fn result(&self) -> f64;
}

/// `sum`
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sum(CompensatedSum);

impl Fold for Sum {
    const HISTOGRAMS: HistogramUse = HistogramUse::Sum;

    fn first(value: f64) -> Self {
        Self(CompensatedSum::of(value))
    }

    fn add(&mut self, value: f64) {
        self.0.add(value);
    }

    fn result(&self) -> f64 {
        self.0.total()
    }
}

/// `avg`
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Avg(Mean);

impl Fold for Avg {
    const HISTOGRAMS: HistogramUse = HistogramUse::Mean;

    fn first(value: f64) -> Self {
        Self(Mean::of(value))
    }

    fn add(&mut self, value: f64) {
        self.0.add(value);
    }

    fn result(&self) -> f64 {
        self.0.total()
    }
}

/// `count`
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Count(f64);

impl Fold for Count {
    const HISTOGRAMS: HistogramUse = HistogramUse::Count;

    fn first(_: f64) -> Self {
        Self(1.0)
    }

    fn add(&mut self, _: f64) {
        self.0 += 1.0;
    }

    fn result(&self) -> f64 {
        self.0
    }
}

/// `group`
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Group;

impl Fold for Group {
    const HISTOGRAMS: HistogramUse = HistogramUse::Count;

    fn first(_: f64) -> Self {
        Self
    }

    fn add(&mut self, _: f64) {}

    fn result(&self) -> f64 {
        1.0
    }
}

/// `max`: NaN only when there is nothing else.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Max(f64);

impl Fold for Max {
    const HISTOGRAMS: HistogramUse = HistogramUse::Ignore;

    fn first(value: f64) -> Self {
        Self(value)
    }

    fn add(&mut self, value: f64) {
        if self.0 < value || self.0.is_nan() {
            self.0 = value;
        }
    }

    fn result(&self) -> f64 {
        self.0
    }
}

/// `min`: NaN only when there is nothing else.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Min(f64);

impl Fold for Min {
    const HISTOGRAMS: HistogramUse = HistogramUse::Ignore;

    fn first(value: f64) -> Self {
        Self(value)
    }

    fn add(&mut self, value: f64) {
        if self.0 > value || self.0.is_nan() {
            self.0 = value;
        }
    }

    fn result(&self) -> f64 {
        self.0
    }
}

/// `stdvar`, by Welford's method.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Stdvar {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Fold for Stdvar {
    const HISTOGRAMS: HistogramUse = HistogramUse::Ignore;

    fn first(value: f64) -> Self {
        Self {
            count: 1.0,
            mean: value,
            squares: if value.is_finite() { 0.0 } else { f64::NAN },
        }
    }

    fn add(&mut self, value: f64) {
        self.count += 1.0;
        let delta = value - self.mean;
        self.mean += delta / self.count;
        self.squares += delta * (value - self.mean);
    }

    fn result(&self) -> f64 {
        self.squares / self.count
    }
}

/// `stddev`
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Stddev(Stdvar);

impl Fold for Stddev {
    const HISTOGRAMS: HistogramUse = HistogramUse::Ignore;

    fn first(value: f64) -> Self {
        Self(Stdvar::first(value))
    }

    fn add(&mut self, value: f64) {
        self.0.add(value);
    }

    fn result(&self) -> f64 {
        self.0.result().sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fold<F: Fold>(values: &[f64]) -> f64 {
        let mut fold = F::first(values[0]);
        values[1..].iter().for_each(|value| fold.add(*value));
        fold.result()
    }

    #[test]
    fn folds_of_plain_numbers() {
        let values = [2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0];
        assert_eq!(fold::<Sum>(&values), 40.0);
        assert_eq!(fold::<Avg>(&values), 5.0);
        assert_eq!(fold::<Count>(&values), 8.0);
        assert_eq!(fold::<Group>(&values), 1.0);
        assert_eq!(fold::<Max>(&values), 9.0);
        assert_eq!(fold::<Min>(&values), 2.0);
        assert_eq!(fold::<Stdvar>(&values), 4.0);
        assert_eq!(fold::<Stddev>(&values), 2.0);
    }

    #[test]
    fn nan_and_infinity() {
        assert_eq!(fold::<Max>(&[f64::NAN, 1.0]), 1.0);
        assert_eq!(fold::<Min>(&[1.0, f64::NAN]), 1.0);
        assert!(fold::<Sum>(&[1.0, f64::NAN]).is_nan());
        assert!(fold::<Stddev>(&[f64::INFINITY]).is_nan());
        assert_eq!(fold::<Avg>(&[f64::MAX, f64::MAX]), f64::MAX);
        assert!(fold::<Sum>(&[f64::INFINITY, f64::NEG_INFINITY]).is_nan());
    }
}
