//! What a histogram says about its observations: quantiles, fractions, mean and variance.
//!
//! Inside a bucket the observations are taken as evenly spread: on a logarithmic scale in exponential buckets,
//! on a linear one in custom buckets and the zero bucket. What the user should be told comes back as facts; the
//! texts are PromQL's. Source: Prometheus promql, HistogramQuantile, HistogramFraction and histogramVariance.

use super::FloatHistogram;
use super::buckets::{Bucket, Side};
use super::compensated::Compensated;
use super::spans::nth_index;

/// What observations that are not a number did to an [`Estimate`]: they are in the count but in no bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NanObservations {
    /// There are none.
    #[default]
    None,
    /// They moved the estimate.
    Skew,
    /// The estimate lies among them, so it is not a number either.
    Result,
}

/// A quantile or a fraction.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// The estimated number.
    pub value: f64,
    /// What observations that are not a number did to it.
    pub nan_observations: NanObservations,
}

impl From<f64> for Estimate {
    fn from(value: f64) -> Self {
        Self {
            value,
            nan_observations: NanObservations::None,
        }
    }
}

/// Where a bucket's count stands: on a side, or in the zero bucket.
#[derive(Debug, Clone, Copy)]
enum Place {
    On(Side, usize),
    Zero,
}

impl FloatHistogram {
    /// Returns the mean of the observations.
    pub fn average(&self) -> f64 {
        self.sum / self.count
    }

    /// Returns the variance of the observations, each taken to be in the middle of its bucket.
    pub fn variance(&self) -> f64 {
        let mean = self.average();
        let mut squares = Compensated::default();
        self.all_buckets()
            .filter(|bucket| bucket.count != 0.0)
            .for_each(|bucket| {
                let delta = self.middle(&bucket) - mean;
                squares.add(bucket.count * delta * delta);
            });
        (squares.sum + squares.low) / self.count
    }

    /// Returns the standard deviation of the observations, each taken to be in the middle of its bucket.
    pub fn standard_deviation(&self) -> f64 {
        self.variance().sqrt()
    }

    fn middle(&self, bucket: &Bucket) -> f64 {
        if self.layout().has_custom_buckets() {
            return (bucket.upper + bucket.lower) / 2.0;
        }
        if bucket.lower <= 0.0 && bucket.upper >= 0.0 {
            return 0.0;
        }
        let middle = (bucket.upper * bucket.lower).sqrt();
        if bucket.upper < 0.0 { -middle } else { middle }
    }

    /// Returns the number below which the fraction `q` of the observations lies.
    pub fn quantile(&self, q: f64) -> Estimate {
        if q < 0.0 {
            return f64::NEG_INFINITY.into();
        }
        if q > 1.0 {
            return f64::INFINITY.into();
        }
        if self.count == 0.0 || q.is_nan() {
            return f64::NAN.into();
        }
        // Observations that are not a number are in no bucket, so only the way from the lower end is true then.
        if self.sum.is_nan() || q < 0.5 {
            self.quantile_along(self.counts(), q * self.count, Way::Up)
        } else {
            self.quantile_along(self.counts().rev(), (1.0 - q) * self.count, Way::Down)
        }
    }

    /// Returns the number that `rank` observations lie before on the way along `counts`.
    fn quantile_along(
        &self,
        mut counts: impl Iterator<Item = (Place, f64)>,
        rank: f64,
        way: Way,
    ) -> Estimate {
        let (place, passed) = pass(&mut counts, rank);
        let mut bucket = place.map_or(NO_BUCKET, |place| self.bucket_at(place));
        if !self.layout().has_custom_buckets() {
            if bucket.lower < 0.0 && bucket.upper > 0.0 {
                self.narrow_at_zero(&mut bucket);
            }
        } else if bucket.lower == f64::NEG_INFINITY {
            if bucket.upper <= 0.0 {
                return bucket.upper.into();
            }
            bucket.lower = 0.0;
        } else if bucket.upper == f64::INFINITY {
            return bucket.lower.into();
        }
        // Rounding may give the buckets more observations than there are.
        let passed = if passed > self.count {
            self.count
        } else {
            passed
        };
        if passed < rank {
            return self.behind_all_buckets(&bucket);
        }
        let rank = match way {
            Way::Up => rank - (passed - bucket.count),
            Way::Down => passed - rank,
        };
        let mut nan_observations = NanObservations::None;
        if self.sum.is_nan() {
            let mut all = passed;
            for (place, count) in counts {
                all += count;
                // COMPAT: the walk over the rest moves the estimate into the last bucket.
                bucket = self.bucket_at((place, count));
            }
            if all < self.count {
                nan_observations = NanObservations::Skew;
            }
        }
        Estimate {
            value: self.interpolate(&bucket, rank / bucket.count),
            nan_observations,
        }
    }

    /// Returns the quantile when the buckets have too few observations; `last` is the last of them.
    fn behind_all_buckets(&self, last: &Bucket) -> Estimate {
        if self.sum.is_nan() {
            return Estimate {
                value: f64::NAN,
                nan_observations: NanObservations::Result,
            };
        }
        last.upper.into()
    }

    /// Returns the number at a fraction of the bucket's width.
    fn interpolate(&self, bucket: &Bucket, fraction: f64) -> f64 {
        let (lower, upper) = (bucket.lower, bucket.upper);
        if self.layout().has_custom_buckets() || lower <= 0.0 && upper >= 0.0 {
            return lower + (upper - lower) * fraction;
        }
        let (log_lower, log_upper) = (lower.abs().log2(), upper.abs().log2());
        if lower > 0.0 {
            (log_lower + (log_upper - log_lower) * fraction).exp2()
        } else {
            -(log_upper + (log_lower - log_upper) * (1.0 - fraction)).exp2()
        }
    }

    /// Returns the fraction of the observations that lie between `lower` and `upper`.
    pub fn fraction(&self, lower: f64, upper: f64) -> Estimate {
        if self.count == 0.0 || lower.is_nan() || upper.is_nan() {
            return f64::NAN.into();
        }
        if lower >= upper {
            return 0.0.into();
        }
        let (mut count, mut rank) = (0.0, 0.0);
        let (mut lower_rank, mut upper_rank) = (None, None);
        let mut buckets = self.all_buckets();
        for mut bucket in buckets.by_ref() {
            count += bucket.count;
            let holds_zero = bucket.lower <= 0.0 && bucket.upper >= 0.0;
            if holds_zero {
                // COMPAT: also of a custom bucket that reaches over zero.
                self.narrow_at_zero(&mut bucket);
            }
            let spread = if holds_zero || self.layout().has_custom_buckets() {
                Spread::Linear
            } else {
                Spread::Exponential
            };
            lower_rank = lower_rank.or_else(|| bucket.rank_at(lower, rank, spread));
            upper_rank = upper_rank.or_else(|| bucket.rank_at(upper, rank, spread));
            if lower_rank.is_some() && upper_rank.is_some() {
                break;
            }
            rank += bucket.count;
        }
        let mut nan_observations = NanObservations::None;
        if self.sum.is_nan() {
            count = buckets.fold(count, |count, bucket| count + bucket.count);
            if count < self.count {
                nan_observations = NanObservations::Skew;
            }
        } else {
            count = self.count;
        }
        // A bound behind all buckets has all observations before it; rounding must not make it more.
        let bounded = |rank: Option<f64>| match rank {
            Some(rank) if rank > count => count,
            Some(rank) => rank,
            None => count,
        };
        Estimate {
            value: (bounded(upper_rank) - bounded(lower_rank)) / self.count,
            nan_observations,
        }
    }

    /// Lets a bucket around zero end at zero when all other buckets are on one side.
    fn narrow_at_zero(&self, bucket: &mut Bucket) {
        match (self.negative_buckets(), self.positive_buckets()) {
            ([], [_, ..]) => bucket.lower = 0.0,
            ([_, ..], []) => bucket.upper = 0.0,
            ([], []) | ([_, ..], [_, ..]) => {}
        }
    }

    /// Returns the counts of all buckets in ascending order.
    fn counts(&self) -> impl DoubleEndedIterator<Item = (Place, f64)> {
        let zero = (self.zero_count > 0.0).then_some((Place::Zero, self.zero_count));
        side_counts(self.negative_buckets(), Side::Negative)
            .rev()
            .chain(zero)
            .chain(side_counts(self.positive_buckets(), Side::Positive))
    }

    fn bucket_at(&self, (place, count): (Place, f64)) -> Bucket {
        let layout = self.layout();
        let (side, spans, at) = match place {
            Place::Zero => return self.zero_bucket(),
            Place::On(Side::Positive, at) => (Side::Positive, &layout.positive_spans, at),
            Place::On(Side::Negative, at) => (Side::Negative, &layout.negative_spans, at),
        };
        let index =
            nth_index(spans, at).expect("a place in the list of counts, which fits the spans");
        layout.clip(layout.bucket(side, index, count))
    }
}

fn side_counts(counts: &[f64], side: Side) -> impl DoubleEndedIterator<Item = (Place, f64)> {
    let counts = counts.iter().enumerate();
    counts.map(move |(at, &count)| (Place::On(side, at), count))
}

/// From which end a quantile is looked for.
#[derive(Debug, Clone, Copy)]
enum Way {
    Up,
    Down,
}

/// What stands for the bucket of a histogram without buckets.
const NO_BUCKET: Bucket = Bucket {
    lower: 0.0,
    upper: 0.0,
    lower_inclusive: false,
    upper_inclusive: false,
    count: 0.0,
    index: 0,
};

/// Advances until `rank` observations were passed; returns the bucket there, or the last one, and their number.
fn pass(counts: &mut impl Iterator<Item = (Place, f64)>, rank: f64) -> (Option<(Place, f64)>, f64) {
    let mut passed = 0.0;
    let mut last = None;
    let found = counts.find(|&bucket| {
        last = Some(bucket);
        passed += bucket.1;
        bucket.1 != 0.0 && passed >= rank
    });
    (found.or(last), passed)
}

/// How observations are spread in a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spread {
    Linear,
    Exponential,
}

impl Bucket {
    /// Returns the rank of `value` when the bucket holds it or begins behind it; `rank` is that of its lower bound.
    fn rank_at(&self, value: f64, rank: f64, spread: Spread) -> Option<f64> {
        if self.lower >= value {
            return Some(rank);
        }
        if !(self.lower < value && self.upper > value) {
            return None;
        }
        if spread == Spread::Linear && self.lower == f64::NEG_INFINITY {
            // Nothing can be said about the place in an infinite bucket, so all of it lies before.
            return Some(self.count);
        }
        Some(rank + self.count * self.fraction_below(value, spread))
    }

    /// Returns the fraction of the bucket's width below `value`, which lies between its finite bounds.
    pub(super) fn fraction_below(&self, value: f64, spread: Spread) -> f64 {
        if spread == Spread::Linear {
            return (value - self.lower) / (self.upper - self.lower);
        }
        let log = |bound: f64| bound.abs().log2();
        if value > 0.0 {
            (log(value) - log(self.lower)) / (log(self.upper) - log(self.lower))
        } else {
            1.0 - (log(value) - log(self.upper)) / (log(self.lower) - log(self.upper))
        }
    }
}

#[cfg(test)]
mod tests;
