//! Quantiles and fractions of classic histograms.
//!
//! Source: Prometheus `promql/quantile.go`; the order of float operations is kept.

/// A cumulative bucket of a classic histogram.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Bucket {
    /// The upper bound, inclusive.
    pub(crate) upper: f64,
    /// The number of observations up to it.
    pub(crate) count: f64,
}

/// What had to be changed to make buckets monotonic.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Forced {
    pub(crate) min_bucket: f64,
    pub(crate) max_bucket: f64,
    pub(crate) max_diff: f64,
}

const SMALL_DELTA_TOLERANCE: f64 = 1e-12;

/// Returns the `q`-quantile, interpolated inside its bucket, and what had to be forced for it.
pub(crate) fn bucket_quantile(q: f64, buckets: &mut Vec<Bucket>) -> (f64, Option<Forced>) {
    if q.is_nan() {
        return (f64::NAN, None);
    }
    if q < 0.0 {
        return (f64::NEG_INFINITY, None);
    }
    if q > 1.0 {
        return (f64::INFINITY, None);
    }
    if !prepare(buckets) {
        return (f64::NAN, None);
    }
    let forced = make_monotonic(buckets);
    (interpolate_quantile(q, buckets), forced)
}

fn interpolate_quantile(q: f64, buckets: &[Bucket]) -> f64 {
    let last = buckets.len() - 1;
    let observations = buckets[last].count;
    if last == 0 || observations == 0.0 {
        return f64::NAN;
    }
    let mut rank = q * observations;
    let reaches_rank = |bucket: &Bucket| bucket.count >= rank;
    let found = buckets[..last].partition_point(|bucket| !reaches_rank(bucket));
    let bucket = buckets[found];
    if found == last {
        return buckets[last - 1].upper;
    }
    if found == 0 && bucket.upper <= 0.0 {
        return bucket.upper;
    }
    let (mut start, mut count) = (0.0, bucket.count);
    if let Some(before) = found.checked_sub(1).map(|before| buckets[before]) {
        start = before.upper;
        count -= before.count;
        rank -= before.count;
    }
    start + (bucket.upper - start) * (rank / count)
}

/// Returns the share of observations between `lower` and `upper`.
pub(crate) fn bucket_fraction(lower: f64, upper: f64, buckets: &mut Vec<Bucket>) -> f64 {
    if !prepare(buckets) {
        return f64::NAN;
    }
    let count = buckets[buckets.len() - 1].count;
    if count == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    let rank_at = |limit: f64| match rank_below(limit, buckets) {
        Some(rank) if rank > count => count,
        Some(rank) => rank,
        None => count,
    };
    (rank_at(upper) - rank_at(lower)) / count
}

/// Returns the interpolated number of observations below `limit`, nothing when it lies above all bounds.
fn rank_below(limit: f64, buckets: &[Bucket]) -> Option<f64> {
    let mut rank = 0.0;
    let mut bucket_start = if buckets[0].upper <= 0.0 {
        f64::NEG_INFINITY
    } else {
        0.0
    };
    for bucket in buckets {
        if bucket_start >= limit {
            return Some(rank);
        }
        if bucket.upper > limit {
            if bucket_start == f64::NEG_INFINITY {
                return Some(bucket.count);
            }
            // Multiplies before it divides, as Prometheus does, so that the last bits agree.
            let width = bucket.upper - bucket_start;
            return Some(rank + (bucket.count - rank) * (limit - bucket_start) / width);
        }
        rank = bucket.count;
        bucket_start = bucket.upper;
    }
    None
}

/// Sorts and joins equal bounds; reports whether all are numbers and the last one is +Inf.
fn prepare(buckets: &mut Vec<Bucket>) -> bool {
    // Prometheus sorts NaN to an unspecified place, and sorting here must have a total order not to panic.
    if buckets.iter().any(|bucket| bucket.upper.is_nan()) {
        return false;
    }
    buckets.sort_by(|a, b| a.upper.total_cmp(&b.upper));
    if buckets
        .last()
        .is_none_or(|last| last.upper != f64::INFINITY)
    {
        return false;
    }
    buckets.dedup_by(|later, kept| {
        let is_same = later.upper == kept.upper;
        if is_same {
            kept.count += later.count;
        }
        is_same
    });
    true
}

/// Raises counts that are below their predecessor; tiny differences are float noise and not reported.
fn make_monotonic(buckets: &mut [Bucket]) -> Option<Forced> {
    let mut forced: Option<Forced> = None;
    let mut previous = buckets[0].count;
    for bucket in &mut buckets[1..] {
        let current = bucket.count;
        if current == previous {
            continue;
        }
        if almost_equal(previous, current) {
            bucket.count = previous;
            continue;
        }
        if current < previous {
            bucket.count = previous;
            let known = forced.get_or_insert(Forced {
                min_bucket: f64::INFINITY,
                max_bucket: f64::NEG_INFINITY,
                max_diff: 0.0,
            });
            known.min_bucket = known.min_bucket.min(bucket.upper);
            known.max_bucket = known.max_bucket.max(bucket.upper);
            known.max_diff = known.max_diff.max(previous - current);
            continue;
        }
        previous = current;
    }
    forced
}

/// Source: Prometheus `util/almost`, `Equal`.
fn almost_equal(a: f64, b: f64) -> bool {
    const MIN_NORMAL: f64 = f64::MIN_POSITIVE;
    if a.is_nan() && b.is_nan() || a == b {
        return true;
    }
    let sum = a.abs() + b.abs();
    let diff = (a - b).abs();
    if a == 0.0 || b == 0.0 || sum < MIN_NORMAL {
        return diff < SMALL_DELTA_TOLERANCE * MIN_NORMAL;
    }
    diff / sum.min(f64::MAX) < SMALL_DELTA_TOLERANCE
}

/// Parses a bound as Go's `strconv.ParseFloat` does, but for hexadecimal numbers, which no exporter writes.
pub(crate) fn parse_bound(text: &str) -> Option<f64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let is_word = digits.eq_ignore_ascii_case("inf")
        || digits.eq_ignore_ascii_case("infinity")
        || text.eq_ignore_ascii_case("nan");
    let is_number = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    if !is_word && !is_number {
        return None;
    }
    let value: f64 = text.parse().ok()?;
    // Go reports a number that does not fit; Rust makes it infinite.
    (is_word || value.is_finite()).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets(pairs: &[(f64, f64)]) -> Vec<Bucket> {
        pairs
            .iter()
            .map(|(upper, count)| Bucket {
                upper: *upper,
                count: *count,
            })
            .collect()
    }

    const INF: f64 = f64::INFINITY;

    #[test]
    fn a_quantile_lies_inside_its_bucket() {
        for (q, pairs, expected) in [
            (0.5, &[(1.0, 10.0), (2.0, 20.0), (INF, 20.0)][..], 1.0),
            (0.75, &[(2.0, 20.0), (1.0, 10.0), (INF, 20.0)], 1.5),
            (0.25, &[(1.0, 10.0), (INF, 10.0)], 0.25),
            (0.9, &[(1.0, 1.0), (INF, 10.0)], 1.0),
            (0.1, &[(-1.0, 5.0), (INF, 10.0)], -1.0),
            (2.0, &[(INF, 1.0)], INF),
        ] {
            assert_eq!(bucket_quantile(q, &mut buckets(pairs)), (expected, None));
        }
        for pairs in [&[(1.0, 1.0)][..], &[(INF, 1.0)], &[(1.0, 0.0), (INF, 0.0)]] {
            assert!(bucket_quantile(0.5, &mut buckets(pairs)).0.is_nan());
        }
    }

    #[test]
    fn bounds_are_read_as_go_reads_them() {
        for (text, bound) in [
            ("0.5", Some(0.5)),
            ("+Inf", Some(f64::INFINITY)),
            ("-inf", Some(f64::NEG_INFINITY)),
            (".5", Some(0.5)),
            ("1e3", Some(1000.0)),
            ("", None),
            ("x", None),
            ("1e999", None),
            (" 1", None),
            ("infinity", Some(f64::INFINITY)),
        ] {
            assert_eq!(parse_bound(text), bound, "{text:?}");
        }
    }

    #[test]
    fn falling_counts_are_raised_and_reported() {
        let mut falling = buckets(&[(1.0, 10.0), (2.0, 7.0), (4.0, 9.0), (INF, 20.0)]);
        let (_, forced) = bucket_quantile(0.5, &mut falling);
        let expected = Forced {
            min_bucket: 2.0,
            max_bucket: 4.0,
            max_diff: 3.0,
        };
        assert_eq!(forced, Some(expected));
        let mut noise = buckets(&[(1.0, 10.0), (2.0, 10.0 - 1e-13), (INF, 20.0)]);
        assert_eq!(bucket_quantile(0.5, &mut noise).1, None);
    }

    #[test]
    fn a_fraction_is_the_share_between_two_limits() {
        let pairs = [(1.0, 10.0), (2.0, 20.0), (INF, 40.0)];
        for (lower, upper, expected) in [
            (0.0, 1.0, 0.25),
            (0.5, 1.5, 0.25),
            (f64::NEG_INFINITY, INF, 1.0),
            (1.0, 1.0, 0.0),
            (2.0, INF, 0.5),
        ] {
            assert_eq!(
                bucket_fraction(lower, upper, &mut buckets(&pairs)),
                expected,
                "{lower} {upper}"
            );
        }
    }

    #[test]
    fn a_bound_that_is_not_a_number_gives_nan() {
        for nan in [f64::NAN, -f64::NAN] {
            // Many bounds in falling order, so that sorting compares each with several others.
            let pairs: Vec<(f64, f64)> = (0..200)
                .map(|i| match i % 7 {
                    3 => (nan, 1.0),
                    _ => (f64::from(200 - i), f64::from(i)),
                })
                .chain([(INF, 300.0)])
                .collect();
            assert!(bucket_quantile(0.5, &mut buckets(&pairs)).0.is_nan());
            assert!(bucket_fraction(0.0, 1.0, &mut buckets(&pairs)).is_nan());
        }
    }
}
