//! Native histograms as maps from bucket to count, and their arithmetic.
//!
//! Every count is a compensated sum, so there is no second, compensated kind of addition here.
//! Source: Prometheus `model/histogram/float_histogram.go`.

use std::collections::BTreeMap;
use std::sync::Arc;

use thanos_core::histogram::{BucketLayout, CounterResetHint, FloatHistogram, Span};

use super::sums::Sum;

/// The buckets of one side of zero by their index in the schema.
pub(super) type Side = BTreeMap<i32, Sum>;

/// A native histogram.
#[derive(Debug, Clone)]
pub(super) struct Hist {
    pub(super) hint: CounterResetHint,
    pub(super) schema: i32,
    /// The upper bounds of custom buckets.
    pub(super) custom: Vec<f64>,
    pub(super) zero_threshold: f64,
    pub(super) zero: Sum,
    pub(super) count: Sum,
    pub(super) sum: Sum,
    pub(super) positive: Side,
    pub(super) negative: Side,
}

/// A bucket with its bounds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bucket {
    pub(super) lower: f64,
    pub(super) upper: f64,
    pub(super) count: f64,
}

/// Only one of two histograms has custom buckets, so they cannot be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Incompatible;

/// What there is to tell about an addition.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Told {
    /// One said that the counter was reset, the other that it was not.
    pub(super) collision: bool,
    /// The custom bounds differed.
    pub(super) bounds_differ: bool,
}

impl Hist {
    pub(super) fn of(from: &FloatHistogram) -> Self {
        let layout = from.layout();
        let side = |buckets: thanos_core::histogram::SideBuckets<'_>| {
            buckets
                .map(|bucket| (bucket.index, Sum::of(bucket.count)))
                .collect()
        };
        Self {
            hint: from.counter_reset_hint,
            schema: layout.schema,
            custom: layout.custom_values.clone(),
            zero_threshold: layout.zero_threshold,
            zero: Sum::of(from.zero_count),
            count: Sum::of(from.count),
            sum: Sum::of(from.sum),
            positive: side(from.positive()),
            negative: side(from.negative()),
        }
    }

    /// Returns the histogram as the rest of the crate knows it, without empty buckets.
    pub(super) fn to_float(&self) -> FloatHistogram {
        let (positive_spans, positive) = spans(&self.positive);
        let (negative_spans, negative) = spans(&self.negative);
        let layout = BucketLayout {
            schema: self.schema,
            zero_threshold: self.zero_threshold,
            positive_spans,
            negative_spans,
            custom_values: self.custom.clone(),
        };
        let mut out = FloatHistogram::new(Arc::new(layout), &positive, &negative)
            .expect("the spans were made for these buckets");
        out.counter_reset_hint = self.hint;
        out.zero_count = self.zero.total();
        out.count = self.count.total();
        out.sum = self.sum.total();
        out
    }

    pub(super) fn is_custom(&self) -> bool {
        self.schema == thanos_core::histogram::CUSTOM_BUCKETS_SCHEMA
    }

    pub(super) fn is_gauge(&self) -> bool {
        self.hint == CounterResetHint::Gauge
    }

    /// Returns the upper bound of the positive bucket `index`.
    fn bound(&self, index: i32) -> f64 {
        bound_of(self.schema, &self.custom, index)
    }

    pub(super) fn positive_bucket(&self, index: i32, count: f64) -> Bucket {
        Bucket {
            lower: self.bound(index - 1),
            upper: self.bound(index),
            count,
        }
    }

    pub(super) fn negative_bucket(&self, index: i32, count: f64) -> Bucket {
        Bucket {
            lower: -self.bound(index),
            upper: -self.bound(index - 1),
            count,
        }
    }

    /// Returns all buckets in ascending order, those that overlap the zero bucket cut at its edge.
    pub(super) fn buckets(&self) -> Vec<Bucket> {
        let mut all = Vec::new();
        for (index, count) in self.negative.iter().rev() {
            let mut bucket = self.negative_bucket(*index, count.total());
            if bucket.upper < 0.0 && bucket.upper > -self.zero_threshold {
                bucket.upper = -self.zero_threshold;
            }
            all.push(bucket);
        }
        if self.zero.total() > 0.0 {
            all.push(Bucket {
                lower: -self.zero_threshold,
                upper: self.zero_threshold,
                count: self.zero.total(),
            });
        }
        for (index, count) in &self.positive {
            let mut bucket = self.positive_bucket(*index, count.total());
            if bucket.lower > 0.0 && bucket.lower < self.zero_threshold {
                bucket.lower = self.zero_threshold;
            }
            all.push(bucket);
        }
        all
    }

    /// Applies `change` to all counts and to the sum.
    fn change(&mut self, change: impl Fn(Sum) -> Sum) {
        self.sum = change(self.sum);
        self.count = change(self.count);
        self.zero = change(self.zero);
        let sides = self.positive.values_mut().chain(self.negative.values_mut());
        sides.for_each(|count| *count = change(*count));
    }

    pub(super) fn multiplied(&self, factor: f64) -> Self {
        let mut out = self.clone();
        out.change(|sum| sum.times(factor));
        if factor < 0.0 {
            out.hint = CounterResetHint::Gauge;
        }
        out
    }

    pub(super) fn divided(&self, divisor: f64) -> Self {
        let mut out = self.clone();
        out.change(|sum| sum.over(divisor));
        if divisor == 0.0 {
            out.positive.clear();
            out.negative.clear();
        } else if divisor < 0.0 {
            out.hint = CounterResetHint::Gauge;
        }
        out
    }

    /// Returns the histogram without empty buckets.
    pub(super) fn compacted(mut self) -> Self {
        self.positive.retain(|_, count| count.total() != 0.0);
        self.negative.retain(|_, count| count.total() != 0.0);
        self
    }

    /// Returns the histogram with what rounding has lost so far given back, or lost for good.
    pub(super) fn settled(mut self) -> Self {
        self.change(|sum| Sum::of(sum.total()));
        self
    }

    pub(super) fn plus(&self, other: &Self) -> Result<(Self, Told), Incompatible> {
        self.combined(other, 1.0)
    }

    pub(super) fn minus(&self, other: &Self) -> Result<(Self, Told), Incompatible> {
        self.combined(other, -1.0)
    }

    fn combined(&self, other: &Self, sign: f64) -> Result<(Self, Told), Incompatible> {
        if self.is_custom() != other.is_custom() {
            return Err(Incompatible);
        }
        let mut out = self.clone();
        let mut told = Told::default();
        (out.hint, told.collision) = combined_hint(self.hint, other.hint);
        out.count = add(out.count, other.count, sign);
        out.sum = add(out.sum, other.sum, sign);
        if out.is_custom() {
            told.bounds_differ = out.custom != other.custom;
            out.add_custom(other, sign);
        } else {
            out.add_exponential(other, sign);
        }
        Ok((out, told))
    }

    fn add_custom(&mut self, other: &Self, sign: f64) {
        let common: Vec<f64> = self
            .custom
            .iter()
            .copied()
            .filter(|bound| other.custom.contains(bound))
            .collect();
        let mut side = mapped(self, &common);
        for (index, count) in mapped(other, &common) {
            let own = side.entry(index).or_default();
            *own = add(*own, count, sign);
        }
        self.positive = side;
        self.custom = common;
    }

    fn add_exponential(&mut self, other: &Self, sign: f64) {
        let other_zero = self.reconcile_zero(other);
        self.zero = add(self.zero, other_zero, sign);
        let schema = self.schema.min(other.schema);
        self.reduce(schema);
        let (threshold, mut other) = (self.zero_threshold, other.clone());
        other.reduce(schema);
        let sides = [
            (&mut self.positive, other.positive),
            (&mut self.negative, other.negative),
        ];
        for (own, other) in sides {
            for (index, count) in above(other, schema, threshold) {
                let own = own.entry(index).or_default();
                *own = add(*own, count, sign);
            }
        }
    }

    /// Widens the own zero bucket until it and the other's agree; returns the other's count with that width.
    fn reconcile_zero(&mut self, other: &Self) -> Sum {
        let (mut count, mut threshold) = (other.zero, other.zero_threshold);
        while threshold != self.zero_threshold {
            if self.zero_threshold > threshold {
                (count, threshold) = other.zero_with(self.zero_threshold);
            }
            if threshold > self.zero_threshold {
                (self.zero, self.zero_threshold) = self.zero_with(threshold);
                self.cut_inside_zero();
            }
        }
        count
    }

    /// Returns the count of the zero bucket if it reached up to `threshold`, and how far it really must reach so
    /// that it cuts through no populated bucket.
    fn zero_with(&self, mut threshold: f64) -> (Sum, f64) {
        if threshold == self.zero_threshold {
            return (self.zero, threshold);
        }
        'again: loop {
            let mut count = self.zero;
            for (index, more) in &self.positive {
                let bucket = self.positive_bucket(*index, more.total());
                if bucket.lower >= threshold {
                    break;
                }
                count = add(count, *more, 1.0);
                if bucket.upper > threshold {
                    if bucket.count != 0.0 {
                        threshold = bucket.upper;
                    }
                    break;
                }
            }
            for (index, more) in &self.negative {
                let bucket = self.negative_bucket(*index, more.total());
                if bucket.upper <= -threshold {
                    break;
                }
                count = add(count, *more, 1.0);
                if bucket.lower < -threshold {
                    if bucket.count != 0.0 {
                        threshold = -bucket.lower;
                        continue 'again;
                    }
                    break;
                }
            }
            return (count, threshold);
        }
    }

    /// Removes the buckets that the zero bucket has swallowed.
    fn cut_inside_zero(&mut self) {
        let (schema, threshold) = (self.schema, self.zero_threshold);
        let is_outside = |index: &i32, _: &mut Sum| bound_of(schema, &[], index - 1) >= threshold;
        self.positive.retain(is_outside);
        self.negative.retain(is_outside);
        let copy = std::mem::take(self).compacted();
        *self = copy;
    }

    /// Merges neighbouring buckets until the resolution is that of `schema`.
    pub(super) fn reduce(&mut self, schema: i32) {
        let levels = self.schema - schema;
        if levels <= 0 {
            return;
        }
        for side in [&mut self.positive, &mut self.negative] {
            let mut merged = Side::new();
            for (index, count) in std::mem::take(side) {
                let place = merged.entry(((index - 1) >> levels) + 1).or_default();
                *place = add(*place, count, 1.0);
            }
            *side = merged;
        }
        self.schema = schema;
    }

    /// Reports whether any number is infinite.
    pub(super) fn overflows(&self) -> bool {
        let counts = self.positive.values().chain(self.negative.values());
        counts
            .chain([&self.zero, &self.count, &self.sum])
            .any(|count| count.value.is_infinite())
    }

    /// Reports whether the counter was reset between `previous` and this.
    pub(super) fn is_reset_after(&self, previous: &Self) -> bool {
        match self.hint {
            CounterResetHint::CounterReset => return true,
            CounterResetHint::NotCounterReset => return false,
            CounterResetHint::Unknown | CounterResetHint::Gauge => {}
        }
        if self.count.total() < previous.count.total() {
            return true;
        }
        if self.is_custom() {
            return !previous.is_custom() || self.is_custom_reset(previous);
        }
        if self.schema > previous.schema || self.zero_threshold < previous.zero_threshold {
            return true;
        }
        let (zero, threshold) = previous.zero_with(self.zero_threshold);
        if threshold != self.zero_threshold || self.zero.total() < zero.total() {
            return true;
        }
        let mut previous = previous.clone();
        previous.reduce(self.schema);
        let sides = [
            (&self.positive, previous.positive),
            (&self.negative, previous.negative),
        ];
        sides.into_iter().any(|(own, previous)| {
            let own = above(own.clone(), self.schema, self.zero_threshold);
            lost_any(&own, &above(previous, self.schema, self.zero_threshold))
        })
    }

    fn is_custom_reset(&self, previous: &Self) -> bool {
        if self.custom == previous.custom {
            return lost_any(&self.positive, &previous.positive);
        }
        let common: Vec<f64> = self
            .custom
            .iter()
            .copied()
            .filter(|bound| previous.custom.contains(bound))
            .collect();
        lost_any(&mapped(self, &common), &mapped(previous, &common))
    }

    /// Reports whether both hold the same, as `==` between histograms asks; the hint does not count.
    pub(super) fn equals(&self, other: &Self) -> bool {
        let same = |a: f64, b: f64| a.to_bits() == b.to_bits();
        let same_side = |a: &Side, b: &Side| {
            a.len() == b.len()
                && a.iter()
                    .zip(b)
                    .all(|((i, a), (j, b))| i == j && same(a.total(), b.total()))
        };
        self.schema == other.schema
            && same(self.count.total(), other.count.total())
            && same(self.sum.total(), other.sum.total())
            && self.custom == other.custom
            && self.zero_threshold == other.zero_threshold
            && same(self.zero.total(), other.zero.total())
            && same_side(&self.positive, &other.positive)
            && same_side(&self.negative, &other.negative)
    }
}

impl Default for Hist {
    fn default() -> Self {
        Self::of(&FloatHistogram::new(Arc::default(), &[], &[]).expect("no buckets fit no spans"))
    }
}

fn add(a: Sum, b: Sum, sign: f64) -> Sum {
    a.plus(sign * b.value).plus(sign * b.lost)
}

/// Returns the upper bound of the positive bucket `index`.
fn bound_of(schema: i32, custom: &[f64], index: i32) -> f64 {
    // The bounds of a schema are part of the format, not of the evaluation.
    let layout = BucketLayout {
        schema,
        custom_values: custom.to_vec(),
        ..BucketLayout::default()
    };
    layout.bound(index)
}

/// Leaves out the first buckets that lie within the zero bucket.
fn above(side: Side, schema: i32, threshold: f64) -> Side {
    let is_inside =
        |(index, _): &(i32, Sum)| threshold > 0.0 && bound_of(schema, &[], *index) <= threshold;
    side.into_iter().skip_while(is_inside).collect()
}

/// Returns custom buckets for fewer bounds.
fn mapped(histogram: &Hist, bounds: &[f64]) -> Side {
    let mut side = Side::new();
    for (index, count) in &histogram.positive {
        let upper = histogram.bound(*index);
        let place = bounds.iter().position(|bound| *bound >= upper);
        let place = i32::try_from(place.unwrap_or(bounds.len())).unwrap_or(i32::MAX);
        let own = side.entry(place).or_default();
        *own = add(*own, *count, 1.0);
    }
    side
}

/// Reports whether a bucket has gone or shrunk.
fn lost_any(now: &Side, before: &Side) -> bool {
    before.iter().any(|(index, before)| match now.get(index) {
        None => before.total() != 0.0,
        Some(now) => now.total() < before.total(),
    })
}

fn combined_hint(own: CounterResetHint, other: CounterResetHint) -> (CounterResetHint, bool) {
    use CounterResetHint::{Gauge, Unknown};
    match (own, other) {
        (own, other) if own == other => (own, false),
        (Gauge, _) | (_, Gauge) => (Gauge, false),
        (Unknown, _) | (_, Unknown) => (Unknown, false),
        _ => (Unknown, true),
    }
}

fn spans(side: &Side) -> (Vec<Span>, Vec<f64>) {
    let mut spans: Vec<Span> = Vec::new();
    let mut counts = Vec::new();
    let mut end = 0;
    for (index, count) in side {
        match spans.last_mut() {
            Some(last) if *index == end => last.length += 1,
            _ => spans.push(Span {
                offset: index - end,
                length: 1,
            }),
        }
        end = index + 1;
        counts.push(count.total());
    }
    (spans, counts)
}
