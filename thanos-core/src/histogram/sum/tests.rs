//! Against what Prometheus computed, and against exact sums.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::histogram::golden::{self, FIELDS, parse};
use crate::histogram::{BucketLayout, CUSTOM_BUCKETS_SCHEMA, Span};

#[test]
fn sums_and_means_are_upstreams_to_the_last_bit() {
    let text = golden::read("histogram-sums.txt");
    let mut operands: Vec<Arc<FloatHistogram>> = Vec::new();
    let mut sum = None;
    let mut checked = 0;
    for (number, line) in text.lines().enumerate() {
        let fields: Vec<&str> = line.split(' ').collect();
        let histogram = parse(&fields[1..=FIELDS]);
        let found = match fields[0] {
            "h" => {
                operands.push(Arc::new(histogram));
                continue;
            }
            "sum" => {
                let (total, flags) = sum_of(&operands);
                assert_eq!(flags, fields[FIELDS + 1], "line {}", number + 1);
                sum = Some(total.clone());
                total
            }
            "compact" => {
                let mut compact = sum.take().unwrap();
                compact.compact(0);
                assert_eq!(compact.layout(), histogram.layout());
                compact
            }
            _ => mean_of(&std::mem::take(&mut operands)),
        };
        assert!(
            golden::agree(&found, &histogram),
            "line {}:\n{found:?}\n{histogram:?}",
            number + 1
        );
        assert_eq!(found.counter_reset_hint, histogram.counter_reset_hint);
        checked += 1;
    }
    assert!(operands.is_empty() && checked % 3 == 0 && checked >= 270);
}

fn sum_of(operands: &[Arc<FloatHistogram>]) -> (FloatHistogram, String) {
    let mut sum = HistogramSum::new(Arc::clone(&operands[0]));
    let mut flags = String::new();
    for operand in &operands[1..] {
        let combined = sum.add(operand).unwrap();
        flags.push(if combined.hint_collision { '1' } else { '0' });
        flags.push(if combined.bounds_reconciled { '1' } else { '0' });
    }
    if flags.is_empty() {
        flags.push('-');
    }
    (FloatHistogram::clone(&sum.total()), flags)
}

fn mean_of(operands: &[Arc<FloatHistogram>]) -> FloatHistogram {
    let mut mean = HistogramMean::new(Arc::clone(&operands[0]));
    for operand in &operands[1..] {
        mean.add(operand).unwrap();
    }
    FloatHistogram::clone(&mean.mean())
}

/// The counts of a histogram by side and bucket, without empty ones.
type Dense = BTreeMap<(bool, i32), f64>;

fn dense(histogram: &FloatHistogram) -> Dense {
    let negative = histogram
        .negative()
        .map(|bucket| ((true, bucket.index), bucket.count));
    let positive = histogram
        .positive()
        .map(|bucket| ((false, bucket.index), bucket.count));
    negative
        .chain(positive)
        .filter(|(_, count)| *count != 0.0)
        .collect()
}

/// Adds one observation after the other at the lowest resolution.
fn dense_sum(operands: &[Arc<FloatHistogram>]) -> Dense {
    let schema = operands
        .iter()
        .map(|operand| operand.layout().schema)
        .min()
        .unwrap();
    let mut sum = Dense::new();
    for operand in operands {
        let joined = 1 << (operand.layout().schema - schema);
        for ((side, index), count) in dense(operand) {
            let target = (index + joined - 1).div_euclid(joined);
            *sum.entry((side, target)).or_default() += count;
        }
    }
    sum
}

/// Returns a side with gaps whose buckets end above a bound.
fn side_of(first: i32, gaps: &[(i32, u32)]) -> (Vec<Span>, Vec<f64>) {
    let mut spans = Vec::new();
    let mut counts = Vec::new();
    for &(gap, length) in gaps {
        let offset = if spans.is_empty() { first + gap } else { gap };
        spans.push(Span { offset, length });
        counts.extend(
            (0..length)
                .map(|at| f64::from(at * 7 + length) - 3.0)
                .map(f64::abs),
        );
    }
    (spans, counts)
}

/// Zero thresholds are bounds of all resolutions that come with them: in between, upstream counts a joined bucket
/// of which only a part lies in the zero bucket twice.
fn exponential(with_threshold: bool) -> impl Strategy<Value = Arc<FloatHistogram>> {
    let side = || prop::collection::vec((0_i32..4, 0_u32..5), 0..5);
    let schemas = if with_threshold { 0_i32..=8 } else { -4..=8 };
    (schemas, 0_usize..4, side(), side(), 0_u32..9).prop_map(
        move |(schema, threshold, positive, negative, zeros)| {
            let threshold = if with_threshold { threshold } else { 0 };
            let mut layout = BucketLayout {
                schema,
                zero_threshold: [0.0, 0.25, 1.0, 2.0][threshold],
                ..BucketLayout::default()
            };
            let first = (-20..2000).find(|&index| layout.bound(index) > layout.zero_threshold);
            let (spans, positive) = side_of(first.unwrap(), &positive);
            layout.positive_spans = spans;
            let (spans, negative) = side_of(first.unwrap(), &negative);
            layout.negative_spans = spans;
            let mut histogram =
                FloatHistogram::new(Arc::new(layout), &positive, &negative).unwrap();
            histogram.zero_count = f64::from(zeros);
            histogram.count = histogram.buckets().iter().sum::<f64>() + histogram.zero_count;
            histogram.sum = histogram.count / 2.0;
            Arc::new(histogram)
        },
    )
}

fn custom() -> impl Strategy<Value = Arc<FloatHistogram>> {
    let bounds = prop::collection::btree_set(-3_i32..6, 0..6);
    (bounds, prop::collection::vec(0_u32..9, 7)).prop_map(|(bounds, counts)| {
        let layout = BucketLayout {
            schema: CUSTOM_BUCKETS_SCHEMA,
            positive_spans: vec![Span {
                offset: 0,
                length: u32::try_from(bounds.len() + 1).unwrap(),
            }],
            custom_values: bounds.iter().map(|&bound| f64::from(bound)).collect(),
            ..BucketLayout::default()
        };
        let counts: Vec<f64> = counts[..=bounds.len()]
            .iter()
            .copied()
            .map(f64::from)
            .collect();
        Arc::new(FloatHistogram::new(Arc::new(layout), &counts, &[]).unwrap())
    })
}

fn plain_sum(operands: &[Arc<FloatHistogram>]) -> FloatHistogram {
    let mut sum = FloatHistogram::clone(&operands[0]);
    for operand in &operands[1..] {
        sum.add(operand).unwrap();
    }
    sum
}

/// Returns how many observations are in all buckets up to `bound`.
fn count_up_to(histogram: &FloatHistogram, bound: f64) -> f64 {
    let buckets = histogram.positive().filter(|bucket| bucket.upper <= bound);
    buckets.map(|bucket| bucket.count).sum()
}

proptest! {
    #[test]
    fn sums_hold_all_observations_in_their_buckets(
        operands in prop::collection::vec(exponential(false), 1..8)
    ) {
        let expected = dense_sum(&operands);
        prop_assert_eq!(dense(&plain_sum(&operands)), expected.clone());
        prop_assert_eq!(dense(&sum_of(&operands).0), expected.clone());
        let mut mean = mean_of(&operands);
        mean.multiply(operands.len() as f64);
        let mean = dense(&mean);
        prop_assert!(mean.keys().eq(expected.keys()));
        prop_assert!(mean.values().zip(expected.values()).all(|(a, b)| (a - b).abs() < 1e-9));
    }

    #[test]
    fn no_observation_is_lost_to_the_zero_bucket(
        operands in prop::collection::vec(exponential(true), 1..8)
    ) {
        let all: f64 = operands.iter().map(|operand| operand.count).sum();
        for sum in [plain_sum(&operands), sum_of(&operands).0] {
            prop_assert_eq!(sum.count, all);
            prop_assert_eq!(sum.buckets().iter().sum::<f64>() + sum.zero_count, all);
        }
    }

    #[test]
    fn sums_over_common_bounds_count_up_to_each(
        operands in prop::collection::vec(custom(), 1..6)
    ) {
        for sum in [plain_sum(&operands), sum_of(&operands).0] {
            for bound in sum.layout().custom_values.iter().copied().chain([f64::INFINITY]) {
                let expected: f64 = operands.iter().map(|one| count_up_to(one, bound)).sum();
                prop_assert_eq!(count_up_to(&sum, bound), expected);
                let everywhere = |one: &Arc<FloatHistogram>| {
                    bound.is_infinite() || one.layout().custom_values.contains(&bound)
                };
                prop_assert!(operands.iter().all(everywhere));
            }
        }
    }

    #[test]
    fn a_difference_takes_back_what_a_sum_gave(
        a in exponential(false), b in exponential(false)
    ) {
        let mut sum = plain_sum(&[Arc::clone(&a), Arc::clone(&b)]);
        sum.subtract(&b).unwrap();
        prop_assert_eq!(dense(&sum), dense_sum(&[a, Arc::new({
            let mut nothing = FloatHistogram::clone(&b);
            nothing.multiply(0.0);
            nothing
        })]));
    }

    #[test]
    fn a_sum_is_no_reset_of_an_operand(a in exponential(true), b in exponential(true)) {
        let sum = plain_sum(&[Arc::clone(&a), b]);
        prop_assert!(!sum.detect_reset(&a));
        let lost = a.buckets().iter().any(|&count| count != 0.0);
        let mut less = sum.clone();
        less.multiply(0.0);
        less.count = sum.count;
        prop_assert!(!lost || less.detect_reset(&sum));
    }
}

#[test]
fn rounding_errors_are_corrected() {
    let one = |count: f64| {
        let layout = BucketLayout {
            positive_spans: vec![Span {
                offset: 0,
                length: 1,
            }],
            ..BucketLayout::default()
        };
        let mut histogram = FloatHistogram::new(Arc::new(layout), &[count], &[]).unwrap();
        (histogram.count, histogram.sum) = (count, -count);
        Arc::new(histogram)
    };
    let operands = [one(1e16), one(1.0), one(1.0), one(-1e16)];
    let (sum, _) = sum_of(&operands);
    assert_eq!((sum.count, sum.sum, sum.buckets()[0]), (2.0, -2.0, 2.0));
    assert_eq!(plain_sum(&operands).count, 0.0);
    let mean = mean_of(&[one(f64::MAX), one(f64::MAX), one(f64::MAX)]);
    assert!(mean.count.is_finite() && mean.count > 0.999 * f64::MAX);
}

#[test]
fn one_histogram_is_its_own_sum_and_mean() {
    let one = Arc::new(FloatHistogram::stale());
    assert!(Arc::ptr_eq(
        &HistogramSum::new(Arc::clone(&one)).total(),
        &one
    ));
    assert!(Arc::ptr_eq(
        &HistogramMean::new(Arc::clone(&one)).mean(),
        &one
    ));
}
