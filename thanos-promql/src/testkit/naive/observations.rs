//! What a native histogram says about its observations: quantiles, fractions, statistics, trims.

use super::histogram::{Bucket, Hist};
use super::sums::Sum;
use crate::parser::FunctionId as Id;

impl Bucket {
    /// Returns the fraction of the observations at or below `value`, which lies within finite bounds.
    ///
    /// Source: Prometheus `model/histogram/generic.go`, `FractionBelow`.
    fn fraction_below(&self, value: f64, is_linear: bool) -> f64 {
        if is_linear {
            return (value - self.lower) / (self.upper - self.lower);
        }
        let [lower, upper, at] = [self.lower, self.upper, value].map(|bound| bound.abs().log2());
        if value > 0.0 {
            (at - lower) / (upper - lower)
        } else {
            1.0 - (at - upper) / (lower - upper)
        }
    }
}

/// Returns a quantile, and whether observations that are no numbers make it doubtful.
///
/// Source: Prometheus `promql/quantile.go`, `HistogramQuantile`.
pub(super) fn quantile(q: f64, histogram: &Hist) -> (f64, bool) {
    if q < 0.0 {
        return (f64::NEG_INFINITY, false);
    }
    if q > 1.0 {
        return (f64::INFINITY, false);
    }
    let total = histogram.count.total();
    if total == 0.0 || q.is_nan() {
        return (f64::NAN, false);
    }
    let has_nan = histogram.sum.total().is_nan();
    let is_forward = has_nan || q < 0.5;
    let mut buckets = histogram.buckets();
    if !is_forward {
        buckets.reverse();
    }
    let mut rank = if is_forward {
        q * total
    } else {
        (1.0 - q) * total
    };
    let mut count = 0.0;
    let mut bucket = Bucket {
        lower: 0.0,
        upper: 0.0,
        count: 0.0,
    };
    let mut rest = buckets.into_iter();
    for next in rest.by_ref() {
        bucket = next;
        count += next.count;
        if next.count != 0.0 && count >= rank {
            break;
        }
    }
    let (has_positive, has_negative) = (
        !histogram.positive.is_empty(),
        !histogram.negative.is_empty(),
    );
    if histogram.is_custom() {
        if bucket.lower == f64::NEG_INFINITY {
            if bucket.upper <= 0.0 {
                return (bucket.upper, false);
            }
            bucket.lower = 0.0;
        } else if bucket.upper == f64::INFINITY {
            return (bucket.lower, false);
        }
    } else if bucket.lower < 0.0 && bucket.upper > 0.0 {
        if has_positive && !has_negative {
            bucket.lower = 0.0;
        } else if has_negative && !has_positive {
            bucket.upper = 0.0;
        }
    }
    count = count.min(total);
    if count < rank {
        return if has_nan {
            (f64::NAN, true)
        } else {
            (bucket.upper, false)
        };
    }
    if is_forward {
        rank -= count - bucket.count;
    } else {
        rank = count - rank;
    }
    let mut is_skewed = false;
    if has_nan {
        // COMPAT: counting the rest forgets the bucket that was found (Prometheus `promql/quantile.go`,
        // `HistogramQuantile`), so that the last one is interpolated in.
        let mut counted = count;
        for next in rest {
            bucket = next;
            counted += next.count;
        }
        is_skewed = counted < total;
    }
    let share = rank / bucket.count;
    let is_linear = histogram.is_custom() || (bucket.lower <= 0.0 && bucket.upper >= 0.0);
    if is_linear {
        return (
            bucket.lower + (bucket.upper - bucket.lower) * share,
            is_skewed,
        );
    }
    let (lower, upper) = (bucket.lower.abs().log2(), bucket.upper.abs().log2());
    let value = if bucket.lower > 0.0 {
        (lower + (upper - lower) * share).exp2()
    } else {
        -(upper + (lower - upper) * (1.0 - share)).exp2()
    };
    (value, is_skewed)
}

/// Returns the fraction of observations between two values, and whether some observations are no numbers.
///
/// Source: Prometheus `promql/quantile.go`, `HistogramFraction`.
pub(super) fn fraction(lower: f64, upper: f64, histogram: &Hist) -> (f64, bool) {
    let total = histogram.count.total();
    if total == 0.0 || lower.is_nan() || upper.is_nan() {
        return (f64::NAN, false);
    }
    if lower >= upper {
        return (0.0, false);
    }
    let counted: f64 = histogram.buckets().iter().map(|bucket| bucket.count).sum();
    let has_nan = histogram.sum.total().is_nan();
    let most = if has_nan { counted } else { total };
    let rank = |value: f64| match rank_of(value, histogram) {
        Some(rank) if rank <= most || rank.is_nan() => rank,
        _ => most,
    };
    let value = (rank(upper) - rank(lower)) / total;
    (value, has_nan && counted < total)
}

/// Returns the observations up to `value`, or nothing when it lies beyond all buckets.
fn rank_of(value: f64, histogram: &Hist) -> Option<f64> {
    let mut rank = 0.0;
    for mut bucket in histogram.buckets() {
        let is_zero = bucket.lower <= 0.0 && bucket.upper >= 0.0;
        if is_zero && histogram.negative.is_empty() && !histogram.positive.is_empty() {
            bucket.lower = 0.0;
        } else if is_zero && histogram.positive.is_empty() && !histogram.negative.is_empty() {
            bucket.upper = 0.0;
        }
        if bucket.lower >= value {
            return Some(rank);
        }
        if bucket.upper > value {
            let is_linear = histogram.is_custom() || is_zero;
            if is_linear && bucket.lower == f64::NEG_INFINITY {
                return Some(bucket.count);
            }
            return Some(rank + bucket.count * bucket.fraction_below(value, is_linear));
        }
        rank += bucket.count;
    }
    None
}

/// Returns a number that describes a histogram.
pub(super) fn statistic(id: Id, histogram: &Hist) -> f64 {
    let (count, sum) = (histogram.count.total(), histogram.sum.total());
    match id {
        Id::HistogramCount => count,
        Id::HistogramSum => sum,
        Id::HistogramAvg => sum / count,
        Id::HistogramStddev => variance(histogram).sqrt(),
        _ => variance(histogram),
    }
}

fn variance(histogram: &Hist) -> f64 {
    let count = histogram.count.total();
    let mean = histogram.sum.total() / count;
    let mut squares = Sum::default();
    for bucket in histogram.buckets() {
        if bucket.count == 0.0 {
            continue;
        }
        let value = if histogram.is_custom() {
            (bucket.upper + bucket.lower) / 2.0
        } else if bucket.lower <= 0.0 && bucket.upper >= 0.0 {
            0.0
        } else {
            let middle = (bucket.upper * bucket.lower).sqrt();
            if bucket.upper < 0.0 { -middle } else { middle }
        };
        let delta = value - mean;
        squares = squares.plus(bucket.count * delta * delta);
    }
    squares.total() / count
}

/// Which observations a trim keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    Below,
    Above,
}

/// Drops the observations above or below `limit`.
///
/// Source: Prometheus `model/histogram/float_histogram.go`, `TrimBuckets`.
pub(super) fn trimmed(histogram: &Hist, limit: f64, keep: Keep) -> Hist {
    let mut out = histogram.clone();
    let mut was_trimmed = false;
    let (mut count, mut sum) = (0.0, 0.0);
    let populated = |side: &super::histogram::Side| side.values().any(|n| n.total() != 0.0);
    let (has_positive, has_negative) = (
        populated(&histogram.positive),
        populated(&histogram.negative),
    );
    for is_positive in [true, false] {
        let side = if is_positive {
            &mut out.positive
        } else {
            &mut out.negative
        };
        for (index, stored) in side.iter_mut() {
            if stored.total() == 0.0 {
                continue;
            }
            let bucket = if is_positive {
                histogram.positive_bucket(*index, stored.total())
            } else {
                histogram.negative_bucket(*index, stored.total())
            };
            let (kept, middle) = trimmed_bucket(&bucket, limit, keep, is_positive, histogram);
            count += kept;
            sum += middle * kept;
            if kept != bucket.count {
                *stored = Sum::of(kept);
                was_trimmed = true;
            }
        }
    }
    if histogram.zero.total() > 0.0 {
        let (kept, middle) = trimmed_zero(histogram, limit, keep, (has_negative, has_positive));
        if kept != histogram.zero.total() {
            out.zero = Sum::of(kept);
            was_trimmed = true;
        }
        count += kept;
        sum += middle * kept;
    }
    if !was_trimmed {
        return out;
    }
    out.count = Sum::of(count);
    out.sum = Sum::of(sum);
    out.compacted()
}

/// Returns how much of a bucket is kept, and where its middle is.
fn trimmed_bucket(
    bucket: &Bucket,
    limit: f64,
    keep: Keep,
    is_positive: bool,
    histogram: &Hist,
) -> (f64, f64) {
    let is_linear = histogram.is_custom();
    let middle = |lower: f64, upper: f64| middle(lower, upper, is_positive, is_linear);
    let is_kept = match keep {
        Keep::Below => bucket.upper <= limit,
        Keep::Above => bucket.lower >= limit,
    };
    if is_kept {
        return (bucket.count, middle(bucket.lower, bucket.upper));
    }
    let is_cut = match keep {
        Keep::Below => bucket.lower < limit,
        Keep::Above => bucket.upper > limit,
    };
    if !is_cut {
        return (0.0, 0.0);
    }
    if bucket.lower == f64::NEG_INFINITY || bucket.upper == f64::INFINITY {
        return trimmed_infinite(bucket, limit, keep);
    }
    let below = if limit <= bucket.lower {
        0.0
    } else if limit >= bucket.upper {
        bucket.count
    } else {
        bucket.count * bucket.fraction_below(limit, is_linear)
    };
    match keep {
        Keep::Below => (below, middle(bucket.lower, limit)),
        Keep::Above => (bucket.count - below, middle(limit, bucket.upper)),
    }
}

/// Source: Prometheus `model/histogram/float_histogram.go`, `handleInfinityBuckets`.
fn trimmed_infinite(bucket: &Bucket, limit: f64, keep: Keep) -> (f64, f64) {
    let Bucket {
        lower,
        upper,
        count,
    } = *bucket;
    let finite = |bound: f64| if bound.is_infinite() { 0.0 } else { bound };
    if lower == f64::NEG_INFINITY {
        return match keep {
            Keep::Below if limit >= upper => (count, 0.0),
            Keep::Below if limit > 0.0 && upper > 0.0 && upper != f64::INFINITY => {
                (count * limit / upper, limit / 2.0)
            }
            Keep::Below if upper <= 0.0 => (count, limit),
            Keep::Above if limit <= lower => (count, 0.0),
            Keep::Above if limit >= 0.0 && upper > limit && upper != f64::INFINITY => {
                (count * (1.0 - limit / upper), (limit + upper) / 2.0)
            }
            Keep::Below | Keep::Above => (0.0, finite(upper)),
        };
    }
    match keep {
        Keep::Above if limit >= lower => (count, limit),
        Keep::Below | Keep::Above => (0.0, finite(lower)),
    }
}

fn trimmed_zero(
    histogram: &Hist,
    limit: f64,
    keep: Keep,
    (has_negative, has_positive): (bool, bool),
) -> (f64, f64) {
    let threshold = histogram.zero_threshold;
    let lower = if has_positive && !has_negative {
        0.0
    } else {
        -threshold
    };
    let upper = if has_negative && !has_positive {
        0.0
    } else {
        threshold
    };
    let count = histogram.zero.total();
    let whole = (count, (lower + upper) / 2.0);
    match keep {
        Keep::Below if limit <= lower => (0.0, 0.0),
        Keep::Below if limit >= upper => whole,
        Keep::Below => {
            let share = (limit - lower) / (upper - lower);
            (count * share, (lower + limit) / 2.0)
        }
        Keep::Above if limit <= lower => whole,
        Keep::Above if limit >= upper => (0.0, 0.0),
        Keep::Above => {
            let share = (upper - limit) / (upper - lower);
            (count * share, (limit + upper) / 2.0)
        }
    }
}

fn middle(lower: f64, upper: f64, is_positive: bool, is_linear: bool) -> f64 {
    match (lower.is_infinite(), upper.is_infinite()) {
        (true, true) => 0.0,
        (true, false) if upper > 0.0 => upper / 2.0,
        (true, false) => upper,
        (false, true) => lower,
        (false, false) if is_linear => (lower + upper) / 2.0,
        (false, false) => {
            let geometric = (lower * upper).abs().sqrt();
            if is_positive { geometric } else { -geometric }
        }
    }
}
