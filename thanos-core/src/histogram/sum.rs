//! Sums and means of many histograms, as PromQL's aggregations compute them.
//!
//! Both are compensated for rounding. Nothing is compacted here; the aggregations over series do that with the
//! result, those over time do not. Source: Prometheus promql, evaluator.aggregation and funcAvgOverTime.

use std::sync::Arc;

use super::compensated::CompensatedHistogram;
use super::{Combined, CounterResetHint, FloatHistogram};
use crate::error::Result;

/// Which definite hints were seen.
#[derive(Debug, Clone, Copy, Default)]
struct Hints {
    reset: bool,
    no_reset: bool,
}

impl Hints {
    fn see(&mut self, hint: CounterResetHint) {
        match hint {
            CounterResetHint::CounterReset => self.reset = true,
            CounterResetHint::NotCounterReset => self.no_reset = true,
            CounterResetHint::Unknown | CounterResetHint::Gauge => {}
        }
    }
}

/// One histogram as it is, or several as sums.
#[derive(Debug, Clone)]
enum State {
    One(Arc<FloatHistogram>),
    Many(Box<CompensatedHistogram>),
}

impl State {
    fn sums(&mut self) -> &mut CompensatedHistogram {
        if let Self::One(first) = self {
            *self = Self::Many(Box::new(CompensatedHistogram::new(first)));
        }
        match self {
            Self::Many(sums) => sums,
            Self::One(_) => unreachable!("replaced above"),
        }
    }
}

/// The sum of histograms.
///
/// # Example
///
/// ```
/// use std::sync::Arc;
/// use thanos_core::histogram::{FloatHistogram, HistogramSum};
///
/// let mut histogram = FloatHistogram::new(Arc::default(), &[], &[])?;
/// histogram.count = 2.0;
/// let mut sum = HistogramSum::new(Arc::new(histogram.clone()));
/// sum.add(&histogram)?;
/// assert_eq!(sum.total().count, 4.0);
/// # Ok::<_, thanos_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct HistogramSum {
    state: State,
    hints: Hints,
}

impl HistogramSum {
    /// Returns the sum of one histogram.
    pub fn new(first: Arc<FloatHistogram>) -> Self {
        let mut hints = Hints::default();
        hints.see(first.counter_reset_hint);
        Self {
            state: State::One(first),
            hints,
        }
    }

    /// Adds a histogram.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) when only one of the two has custom buckets; the sum is as before.
    pub fn add(&mut self, other: &FloatHistogram) -> Result<Combined> {
        self.hints.see(other.counter_reset_hint);
        self.state.sums().add(other)
    }

    /// Reports whether one histogram said that the counter was reset and another that it was not.
    pub fn hints_collide(&self) -> bool {
        self.hints.reset && self.hints.no_reset
    }

    /// Returns the sum.
    pub fn total(&self) -> Arc<FloatHistogram> {
        match &self.state {
            State::One(first) => Arc::clone(first),
            State::Many(sums) => Arc::new(sums.total()),
        }
    }

    /// Returns about how many bytes the sum holds.
    pub fn size_bytes(&self) -> usize {
        match &self.state {
            State::One(first) => first.size_bytes(),
            State::Many(sums) => sums.size_bytes(),
        }
    }
}

/// The mean of histograms: a sum and its number, until the sum would overflow; from there on a mean that each
/// histogram moves.
#[derive(Debug, Clone)]
pub struct HistogramMean {
    state: State,
    hints: Hints,
    count: f64,
    is_incremental: bool,
}

/// Two sums of numbers below this do not overflow, even when all buckets of a histogram fall into one.
const LARGE: f64 = 1e300;

impl HistogramMean {
    /// Returns the mean of one histogram.
    pub fn new(first: Arc<FloatHistogram>) -> Self {
        let HistogramSum { state, hints } = HistogramSum::new(first);
        Self {
            state,
            hints,
            count: 1.0,
            is_incremental: false,
        }
    }

    /// Adds a histogram.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) when only one of the two has custom buckets; the mean is then of no
    /// use.
    pub fn add(&mut self, other: &FloatHistogram) -> Result<Combined> {
        self.hints.see(other.counter_reset_hint);
        self.count += 1.0;
        let before = self.count - 1.0;
        let sums = self.state.sums();
        if !self.is_incremental {
            let is_large = |value: f64| value.abs() >= LARGE;
            if !sums.any(is_large) && !other.any(is_large) {
                return sums.add(other);
            }
            let mut next = sums.clone();
            let combined = next.add(other)?;
            if !next.any(f64::is_infinite) {
                *sums = next;
                return Ok(combined);
            }
            self.is_incremental = true;
            sums.scale(|value| value / before);
        }
        let share = before / self.count;
        sums.scale(|value| value * share);
        let mut part = other.clone();
        part.divide(self.count);
        sums.add(&part)
    }

    /// Reports whether one histogram said that the counter was reset and another that it was not.
    pub fn hints_collide(&self) -> bool {
        self.hints.reset && self.hints.no_reset
    }

    /// Returns the mean.
    pub fn mean(&self) -> Arc<FloatHistogram> {
        match &self.state {
            State::One(first) => Arc::clone(first),
            State::Many(sums) if self.is_incremental => Arc::new(sums.total()),
            State::Many(sums) => {
                let mut sums = sums.clone();
                sums.scale(|value| value / self.count);
                Arc::new(sums.total())
            }
        }
    }

    /// Returns about how many bytes the mean holds.
    pub fn size_bytes(&self) -> usize {
        match &self.state {
            State::One(first) => first.size_bytes(),
            State::Many(sums) => sums.size_bytes(),
        }
    }
}

#[cfg(test)]
mod tests;
