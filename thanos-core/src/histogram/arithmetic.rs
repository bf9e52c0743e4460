//! Sums, differences and multiples of histograms.
//!
//! Two histograms that differ in resolution, zero bucket or custom bounds are brought to what they have in
//! common first. Source: Prometheus model/histogram, FloatHistogram.Add, Sub, Mul and Div.
//! The compensated sums of PromQL's aggregations are in `sum`.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::sync::Arc;

use super::compensated::Compensated;
use super::overlay::add_sides;
use super::resolution::reduce_side;
use super::spans::{Span, SpanBuilder};
use super::zero_bucket::{clear_below, zero_count_for};
use super::{BucketLayout, CounterResetHint, FloatHistogram};
use crate::error::{Error, Result};

/// What the user should hear of after two histograms were combined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Combined {
    /// One histogram said that the counter was reset and the other that it was not.
    pub hint_collision: bool,
    /// The custom bounds differed, and only those of both were kept.
    pub bounds_reconciled: bool,
}

/// The buckets of one side, with own or borrowed lists.
pub(super) type Buckets<'a> = (Cow<'a, [Span]>, Cow<'a, [f64]>);

impl FloatHistogram {
    /// Multiplies all counts and the sum. A negative factor makes a gauge.
    pub fn multiply(&mut self, factor: f64) {
        self.scale(factor, |count| count * factor);
    }

    /// Divides all counts and the sum. A negative divisor makes a gauge, zero removes the buckets.
    pub fn divide(&mut self, divisor: f64) {
        self.scale(divisor, |count| count / divisor);
        if divisor == 0.0 {
            let layout = BucketLayout {
                positive_spans: Vec::new(),
                negative_spans: Vec::new(),
                ..BucketLayout::clone(self.layout())
            };
            self.set_buckets(Arc::new(layout), Vec::new());
        }
    }

    fn scale(&mut self, by: f64, change: impl Fn(f64) -> f64) {
        self.zero_count = change(self.zero_count);
        self.count = change(self.count);
        self.sum = change(self.sum);
        for count in self.buckets_mut() {
            *count = change(*count);
        }
        if by < 0.0 {
            self.counter_reset_hint = CounterResetHint::Gauge;
        }
    }

    /// Adds another histogram to this one.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) when only one of the two has custom buckets.
    pub fn add(&mut self, other: &Self) -> Result<Combined> {
        self.combine(other, 1.0)
    }

    /// Subtracts another histogram from this one. For the operator of PromQL the caller marks the result as a
    /// gauge.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) when only one of the two has custom buckets.
    pub fn subtract(&mut self, other: &Self) -> Result<Combined> {
        self.combine(other, -1.0)
    }

    fn combine(&mut self, other: &Self, sign: f64) -> Result<Combined> {
        check_same_kind(self.layout(), other.layout())?;
        let hint_collision = combine_hints(&mut self.counter_reset_hint, other.counter_reset_hint);
        self.count += sign * other.count;
        self.sum += sign * other.sum;
        let mut bounds_reconciled = false;
        if self.layout().has_custom_buckets() {
            bounds_reconciled = bounds_differ(self.layout(), other.layout());
            if bounds_reconciled {
                self.combine_bounds(other, sign);
            } else {
                self.combine_buckets(other, sign);
            }
        } else {
            let zero_count = self.reconcile_zero_buckets(other);
            self.zero_count += sign * zero_count;
            if other.layout().schema < self.layout().schema {
                self.reduce_resolution(other.layout().schema)?;
            }
            self.combine_buckets(other, sign);
        }
        Ok(Combined {
            hint_collision,
            bounds_reconciled,
        })
    }

    /// Adds buckets of the same kind of bounds and of the same or a finer resolution.
    fn combine_buckets(&mut self, other: &Self, sign: f64) {
        let schema = self.layout().schema;
        let (positive_spans, positive) = other.positive_at(schema);
        let (negative_spans, negative) = other.negative_at(schema);
        let (layout, buckets) = self.parts_mut();
        add_sides(
            layout,
            buckets,
            [(&positive_spans, &positive), (&negative_spans, &negative)],
            |count| sign * count,
            |sum, count| *sum += sign * count,
        );
    }

    /// Returns the positive side at the same or a lower resolution.
    pub(super) fn positive_at(&self, schema: i32) -> Buckets<'_> {
        at_schema(
            self.layout(),
            &self.layout().positive_spans,
            self.positive_buckets(),
            schema,
        )
    }

    /// Returns the negative side at the same or a lower resolution.
    pub(super) fn negative_at(&self, schema: i32) -> Buckets<'_> {
        at_schema(
            self.layout(),
            &self.layout().negative_spans,
            self.negative_buckets(),
            schema,
        )
    }

    /// Adds buckets with other custom bounds, over the bounds that both have.
    fn combine_bounds(&mut self, other: &Self, sign: f64) {
        let list = |counts: &[f64], sign: f64| -> Vec<_> {
            counts
                .iter()
                .map(|count| Compensated::of(sign * count))
                .collect()
        };
        let (layout, buckets) = merge_bounds(
            (self.layout(), &list(self.buckets(), 1.0)),
            (other.layout(), &list(other.buckets(), sign)),
        );
        let buckets = buckets.into_iter().map(|count| count.sum).collect();
        self.set_buckets(layout, buckets);
    }

    /// Returns what the zero count would be with a larger zero threshold, and that threshold: it grows to the
    /// end of a bucket with observations that it would cut.
    pub(super) fn zero_count_for(&self, threshold: f64) -> (f64, f64) {
        let buckets = self.buckets().iter().copied().map(Compensated::of);
        let zero_count = Compensated::of(self.zero_count);
        let (count, threshold) = zero_count_for(self.layout(), zero_count, buckets, threshold);
        (count.sum, threshold)
    }

    /// Widens the zero bucket until it cuts no bucket of either histogram; returns the other's count in it.
    fn reconcile_zero_buckets(&mut self, other: &Self) -> f64 {
        let mut count = other.zero_count;
        let mut threshold = other.layout().zero_threshold;
        loop {
            let own = self.layout().zero_threshold;
            match own.partial_cmp(&threshold) {
                Some(Ordering::Greater) => (count, threshold) = other.zero_count_for(own),
                Some(Ordering::Less) => self.widen_zero_bucket(threshold),
                // A threshold that is not a number is never reached.
                Some(Ordering::Equal) | None => return count,
            }
        }
    }

    /// Moves the buckets below a larger threshold into the zero bucket.
    fn widen_zero_bucket(&mut self, threshold: f64) {
        let (zero_count, threshold) = self.zero_count_for(threshold);
        self.zero_count = zero_count;
        let layout = BucketLayout {
            zero_threshold: threshold,
            ..BucketLayout::clone(self.layout())
        };
        clear_below(&layout, self.buckets_mut(), threshold);
        let counts = self.buckets().to_vec();
        self.set_buckets(Arc::new(layout), counts);
        self.compact(0);
    }
}

/// Checks that both layouts have custom bounds or neither.
pub(super) fn check_same_kind(own: &BucketLayout, other: &BucketLayout) -> Result<()> {
    if own.has_custom_buckets() == other.has_custom_buckets() {
        return Ok(());
    }
    Err(Error::invalid(
        "cannot apply this operation on histograms with a mix of exponential and custom bucket schemas",
    ))
}

/// Takes the hint that is true of both operands and reports a contradiction.
pub(super) fn combine_hints(own: &mut CounterResetHint, other: CounterResetHint) -> bool {
    use CounterResetHint::{Gauge, Unknown};
    if *own == other || *own == Gauge || *own == Unknown && other != Gauge {
        return false;
    }
    if other == Gauge || other == Unknown {
        *own = other;
        return false;
    }
    *own = Unknown;
    true
}

fn at_schema<'a>(
    layout: &BucketLayout,
    spans: &'a [Span],
    counts: &'a [f64],
    schema: i32,
) -> Buckets<'a> {
    if layout.schema <= schema {
        return (Cow::Borrowed(spans), Cow::Borrowed(counts));
    }
    let (spans, counts) = reduce_side(spans, counts, (layout.schema, schema), |a, b| a + b);
    (Cow::Owned(spans), Cow::Owned(counts))
}

/// Reports whether the custom bounds differ.
pub(super) fn bounds_differ(own: &BucketLayout, other: &BucketLayout) -> bool {
    !std::ptr::eq(own, other) && own.custom_values != other.custom_values
}

/// Returns the bounds that both sorted lists have.
pub(super) fn common_bounds(mut a: &[f64], mut b: &[f64]) -> Vec<f64> {
    let mut common = Vec::new();
    while let ([first, rest @ ..], [other, other_rest @ ..]) = (a, b) {
        if first == other {
            common.push(*first);
            (a, b) = (rest, other_rest);
        } else if first < other {
            a = rest;
        } else {
            b = other_rest;
        }
    }
    common
}

/// Sums buckets with different custom bounds over the bounds that both have, and drops the empty ones.
pub(super) fn merge_bounds(
    (own, counts): (&BucketLayout, &[Compensated]),
    (other, other_counts): (&BucketLayout, &[Compensated]),
) -> (Arc<BucketLayout>, Vec<Compensated>) {
    let bounds = common_bounds(&own.custom_values, &other.custom_values);
    let mut sums = vec![Compensated::default(); bounds.len() + 1];
    for (layout, counts) in [(own, counts), (other, other_counts)] {
        for (target, &count) in layout.targets(&bounds).zip(counts) {
            sums[target].add_both(count);
        }
    }
    let mut builder = SpanBuilder::default();
    let mut kept = Vec::new();
    for (index, count) in (0..).zip(sums) {
        if count != Compensated::default() {
            builder.push(index);
            kept.push(count);
        }
    }
    let layout = BucketLayout {
        positive_spans: builder.finish(),
        // A valid histogram with custom bounds has no negative side.
        negative_spans: Vec::new(),
        custom_values: bounds,
        ..BucketLayout::clone(own)
    };
    (Arc::new(layout), kept)
}

#[cfg(test)]
mod tests;
