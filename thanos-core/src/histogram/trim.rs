//! Histograms without the observations on one side of a number, for PromQL's `</` and `>/`.
//!
//! Source: Prometheus model/histogram, FloatHistogram.TrimBuckets.

use super::buckets::Bucket;
use super::statistics::Spread;
use super::{FloatHistogram, SideBuckets};

/// Which observations to keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Those below the number (`</`).
    Below,
    /// Those above the number (`>/`).
    Above,
}

/// The part of a bucket that is kept, with the number that stands for its observations.
#[derive(Debug, Clone, Copy)]
struct Part {
    count: f64,
    middle: f64,
}

const NOTHING: Part = Part {
    count: 0.0,
    middle: 0.0,
};

/// The sums over what is kept.
#[derive(Debug, Default)]
struct Kept {
    count: f64,
    sum: f64,
    changed: bool,
}

impl Kept {
    fn add(&mut self, part: Part) {
        self.count += part.count;
        self.sum += part.middle * part.count;
    }
}

impl FloatHistogram {
    /// Removes the observations below or above a number. In the bucket that holds the number they are shared out
    /// as they are taken to be spread; count and sum are estimated anew when a bucket changed.
    pub fn trim(&mut self, keep: Keep, at: f64) {
        let mut kept = Kept::default();
        let mut counts = Vec::with_capacity(self.buckets().len());
        let any = |counts: &[f64]| counts.iter().any(|&count| count != 0.0);
        let (has_positive, has_negative) =
            (any(self.positive_buckets()), any(self.negative_buckets()));
        kept.trim_side(self.positive(), (keep, at), &mut counts);
        kept.trim_side(self.negative(), (keep, at), &mut counts);
        self.buckets_mut().copy_from_slice(&counts);
        if self.zero_count > 0.0 {
            let mut zero = self.zero_bucket();
            if has_negative && !has_positive {
                zero.upper = 0.0;
            }
            if has_positive && !has_negative {
                zero.lower = 0.0;
            }
            let part = zero_part(&zero, keep, at);
            kept.changed |= part.count != self.zero_count;
            self.zero_count = part.count;
            kept.add(part);
        }
        if kept.changed {
            (self.count, self.sum) = (kept.count, kept.sum);
            self.compact(0);
        }
    }
}

impl Kept {
    /// Appends what remains of each bucket.
    fn trim_side(&mut self, side: SideBuckets<'_>, (keep, at): (Keep, f64), counts: &mut Vec<f64>) {
        let is_custom = side.is_custom();
        let middle = if is_custom {
            arithmetic_middle
        } else if side.is_negative() {
            |lower, upper| -geometric_middle(lower, upper)
        } else {
            geometric_middle
        };
        let spread = if is_custom {
            Spread::Linear
        } else {
            Spread::Exponential
        };
        for bucket in side {
            if bucket.count == 0.0 {
                counts.push(bucket.count);
                continue;
            }
            let (inside, across) = match keep {
                Keep::Below => (bucket.upper <= at, bucket.lower < at),
                Keep::Above => (bucket.lower >= at, bucket.upper > at),
            };
            let part = if inside {
                Part {
                    count: bucket.count,
                    middle: middle_of(bucket.lower, bucket.upper, middle),
                }
            } else {
                let part = if across {
                    part(&bucket, (keep, at), spread, middle)
                } else {
                    NOTHING
                };
                self.changed |= part.count != bucket.count;
                part
            };
            self.add(part);
            counts.push(part.count);
        }
    }
}

/// Returns what remains of a bucket that holds the number.
fn part(
    bucket: &Bucket,
    (keep, at): (Keep, f64),
    spread: Spread,
    middle: impl Fn(f64, f64) -> f64,
) -> Part {
    if bucket.lower == f64::NEG_INFINITY {
        return part_without_start(bucket, keep, at);
    }
    if bucket.upper == f64::INFINITY {
        return part_without_end(bucket, keep, at);
    }
    let below = if at <= bucket.lower {
        0.0
    } else if at >= bucket.upper {
        bucket.count
    } else {
        bucket.count * bucket.fraction_below(at, spread)
    };
    match keep {
        Keep::Below => Part {
            count: below,
            middle: middle_of(bucket.lower, at, middle),
        },
        Keep::Above => Part {
            count: bucket.count - below,
            middle: middle_of(at, bucket.upper, middle),
        },
    }
}

/// Returns what remains of a bucket that begins at minus infinity. One that ends at a positive number is taken to
/// begin at zero; of any other nothing is known, so it stays or goes as a whole.
fn part_without_start(bucket: &Bucket, keep: Keep, at: f64) -> Part {
    let Bucket { upper, count, .. } = *bucket;
    let (count, middle) = match keep {
        Keep::Below if at >= upper => (count, 0.0),
        Keep::Below if at > 0.0 && upper > 0.0 && upper.is_finite() => {
            (count * at / upper, at / 2.0)
        }
        Keep::Below if upper <= 0.0 => (count, at),
        Keep::Above if at == f64::NEG_INFINITY => (count, 0.0),
        Keep::Above if at >= 0.0 && upper > at && upper.is_finite() => {
            (count * (1.0 - at / upper), (at + upper) / 2.0)
        }
        Keep::Below | Keep::Above => return NOTHING,
    };
    Part { count, middle }
}

/// Returns what remains of a bucket that ends at infinity: it stays as a whole only when it can lie above.
fn part_without_end(bucket: &Bucket, keep: Keep, at: f64) -> Part {
    if keep == Keep::Above && at >= bucket.lower {
        return Part {
            count: bucket.count,
            middle: at,
        };
    }
    NOTHING
}

fn zero_part(zero: &Bucket, keep: Keep, at: f64) -> Part {
    let Bucket {
        lower,
        upper,
        count,
        ..
    } = *zero;
    let whole = Part {
        count,
        middle: (lower + upper) / 2.0,
    };
    let (fraction, middle) = match keep {
        Keep::Below if at <= lower => return NOTHING,
        Keep::Below if at >= upper => return whole,
        Keep::Below => ((at - lower) / (upper - lower), (lower + at) / 2.0),
        Keep::Above if at <= lower => return whole,
        Keep::Above if at >= upper => return NOTHING,
        Keep::Above => ((upper - at) / (upper - lower), (at + upper) / 2.0),
    };
    Part {
        count: count * fraction,
        middle,
    }
}

/// Returns what stands for the observations between two bounds; without one of them, the other.
fn middle_of(lower: f64, upper: f64, middle: impl Fn(f64, f64) -> f64) -> f64 {
    match (lower.is_infinite(), upper.is_infinite()) {
        (true, true) => 0.0,
        (true, false) if upper > 0.0 => upper / 2.0,
        (true, false) => upper,
        (false, true) => lower,
        (false, false) => middle(lower, upper),
    }
}

fn arithmetic_middle(lower: f64, upper: f64) -> f64 {
    (lower + upper) / 2.0
}

fn geometric_middle(lower: f64, upper: f64) -> f64 {
    (lower * upper).abs().sqrt()
}
