//! Sums, differences and multiples of histograms, and the search for counter resets.
//!
//! Two histograms that differ in resolution, zero bucket or custom bounds are brought to what they have in
//! common first. Source: Prometheus model/histogram, FloatHistogram.Add, Sub, Mul, Div and DetectReset.
//! The compensated sums of PromQL's aggregations are not here.

use std::cmp::Ordering;
use std::sync::Arc;

use super::bounds::exponential_bound;
use super::resolution::reduce_side;
use super::spans::{Span, SpanBuilder, indices, pairs};
use super::{BucketLayout, CounterResetHint, FloatHistogram, SideBuckets};
use crate::error::{Error, Result};

/// What the user should hear of after two histograms were combined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Combined {
    /// One histogram said that the counter was reset and the other that it was not.
    pub hint_collision: bool,
    /// The custom bounds differed, and only those of both were kept.
    pub bounds_reconciled: bool,
}

/// One side of a histogram while it is being computed.
type Buckets = (Vec<Span>, Vec<f64>);

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
        let custom = self.layout().has_custom_buckets();
        if custom != other.layout().has_custom_buckets() {
            return Err(Error::invalid(
                "cannot apply this operation on histograms with a mix of exponential and custom bucket schemas",
            ));
        }
        let hint_collision = self.combine_hints(other.counter_reset_hint);
        self.count += sign * other.count;
        self.sum += sign * other.sum;
        if self.can_zip(other) {
            self.zero_count += sign * other.zero_count;
            for (count, other) in self.buckets_mut().iter_mut().zip(other.buckets()) {
                *count += sign * other;
            }
            return Ok(Combined {
                hint_collision,
                bounds_reconciled: false,
            });
        }
        let bounds_reconciled =
            custom && self.layout().custom_values != other.layout().custom_values;
        if bounds_reconciled {
            self.combine_bounds(other, sign);
        } else if custom {
            self.combine_buckets(other, sign, None);
        } else {
            let other_zero_count = self.reconcile_zero_buckets(other);
            self.zero_count += sign * other_zero_count;
            let schema = self.layout().schema.min(other.layout().schema);
            self.reduce_resolution(schema)?;
            self.combine_buckets(other, sign, Some(schema));
        }
        Ok(Combined {
            hint_collision,
            bounds_reconciled,
        })
    }

    /// Takes the hint that is true of both operands and reports a contradiction.
    fn combine_hints(&mut self, other: CounterResetHint) -> bool {
        use CounterResetHint::{Gauge, Unknown};
        let own = self.counter_reset_hint;
        if own == other || own == Gauge || own == Unknown && other != Gauge {
            return false;
        }
        if other == Gauge || other == Unknown {
            self.counter_reset_hint = other;
            return false;
        }
        self.counter_reset_hint = Unknown;
        true
    }

    /// Reports whether bucket lists can be added one to one: same layout, and no bucket inside the zero bucket,
    /// where the other histogram's counts would not be added.
    fn can_zip(&self, other: &Self) -> bool {
        let layout = self.layout();
        let outside = |spans: &[Span]| {
            indices(spans).next().is_none_or(|first| {
                layout.has_custom_buckets()
                    || exponential_bound(first, layout.schema) > layout.zero_threshold
            })
        };
        (Arc::ptr_eq(layout, other.layout()) || layout == other.layout())
            && outside(&layout.positive_spans)
            && outside(&layout.negative_spans)
    }

    /// Adds buckets of the same kind of bounds; exponential ones of `other` come down to `schema`.
    fn combine_buckets(&mut self, other: &Self, sign: f64, schema: Option<i32>) {
        let own = Arc::clone(self.layout());
        let theirs = other.layout();
        let side = |spans: &[Span], counts: &[f64], other_spans: &[Span], other: &[f64]| {
            let (other_spans, other) = match schema {
                Some(schema) if schema < theirs.schema => {
                    reduce_side(other_spans, other, (theirs.schema, schema), |a, b| a + b)
                }
                _ => (other_spans.to_vec(), other.to_vec()),
            };
            let hidden = schema.map_or(0, |schema| {
                inside_zero_bucket(&other_spans, schema, own.zero_threshold)
            });
            add_side((spans, counts), (&other_spans, &other), hidden, sign)
        };
        let (positive, mut buckets) = side(
            &own.positive_spans,
            self.positive_buckets(),
            &theirs.positive_spans,
            other.positive_buckets(),
        );
        let (negative, rest) = side(
            &own.negative_spans,
            self.negative_buckets(),
            &theirs.negative_spans,
            other.negative_buckets(),
        );
        buckets.extend(rest);
        if buckets.len() == self.buckets().len() {
            // No bucket is new, so the layout stays shared.
            return self.buckets_mut().copy_from_slice(&buckets);
        }
        let layout = BucketLayout {
            positive_spans: positive,
            negative_spans: negative,
            ..BucketLayout::clone(&own)
        };
        self.set_buckets(Arc::new(layout), buckets);
    }

    /// Adds buckets with other custom bounds, over the bounds that both have.
    fn combine_bounds(&mut self, other: &Self, sign: f64) {
        let bounds = common_bounds(&self.layout().custom_values, &other.layout().custom_values);
        let mut counts = vec![0.0; bounds.len() + 1];
        self.add_to_bounds(&bounds, &mut counts, 1.0);
        other.add_to_bounds(&bounds, &mut counts, sign);
        let mut builder = SpanBuilder::default();
        let mut kept = Vec::new();
        for (index, count) in (0..).zip(counts) {
            if count != 0.0 {
                builder.push(index);
                kept.push(count);
            }
        }
        let layout = BucketLayout {
            positive_spans: builder.finish(),
            custom_values: bounds,
            ..BucketLayout::clone(self.layout())
        };
        self.set_buckets(Arc::new(layout), kept);
    }

    /// Adds each bucket to the first of `bounds` that is not below its own, or to the last count.
    fn add_to_bounds(&self, bounds: &[f64], counts: &mut [f64], sign: f64) {
        for bucket in self.positive() {
            let target = bounds.partition_point(|&bound| bound < bucket.upper);
            if let Some(count) = counts.get_mut(target) {
                *count += sign * bucket.count;
            }
        }
    }

    /// Returns what the zero count would be with a larger zero threshold, and that threshold: it grows to the
    /// end of a bucket with observations that it would cut.
    fn zero_count_for(&self, mut threshold: f64) -> (f64, f64) {
        if threshold == self.layout().zero_threshold {
            return (self.zero_count, threshold);
        }
        'grown: loop {
            let mut count = self.zero_count;
            for side in [self.positive(), self.negative()] {
                let is_negative = side.is_negative();
                for bucket in side {
                    let (inner, outer) = if is_negative {
                        (-bucket.upper, -bucket.lower)
                    } else {
                        (bucket.lower, bucket.upper)
                    };
                    if inner >= threshold {
                        break;
                    }
                    count += bucket.count;
                    if outer > threshold {
                        if bucket.count != 0.0 {
                            threshold = outer;
                            if is_negative {
                                // The positive side was summed up to the smaller threshold.
                                continue 'grown;
                            }
                        }
                        break;
                    }
                }
            }
            return (count, threshold);
        }
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
        let mut layout = BucketLayout::clone(self.layout());
        layout.zero_threshold = threshold;
        let mut counts = self.buckets().to_vec();
        let (positive, negative) = counts.split_at_mut(layout.positive_len());
        for (spans, counts) in [
            (&layout.positive_spans, positive),
            (&layout.negative_spans, negative),
        ] {
            for (index, count) in indices(spans).zip(counts) {
                if exponential_bound(index - 1, layout.schema) < threshold {
                    *count = 0.0;
                }
            }
        }
        self.set_buckets(Arc::new(layout), counts);
        self.compact(0);
    }

    /// Reports whether a counter was reset between `previous` and this histogram.
    ///
    /// A definite hint decides. Otherwise every count must have grown or stayed, also after the previous
    /// histogram is brought to this one's resolution and zero bucket; a higher resolution or a smaller zero
    /// bucket only come with a reset.
    pub fn detect_reset(&self, previous: &Self) -> bool {
        match self.counter_reset_hint {
            CounterResetHint::CounterReset => return true,
            CounterResetHint::NotCounterReset => return false,
            CounterResetHint::Unknown | CounterResetHint::Gauge => {}
        }
        if self.count < previous.count {
            return true;
        }
        let (own, before) = (self.layout(), previous.layout());
        if own.has_custom_buckets() {
            if !before.has_custom_buckets() {
                return true;
            }
            if own.custom_values != before.custom_values {
                return self.has_lower_common_bucket(previous);
            }
        }
        if own.schema > before.schema || own.zero_threshold < before.zero_threshold {
            return true;
        }
        let (zero_count, threshold) = previous.zero_count_for(own.zero_threshold);
        if threshold != own.zero_threshold || self.zero_count < zero_count {
            return true;
        }
        self.has_lower_bucket(previous)
    }

    fn has_lower_common_bucket(&self, previous: &Self) -> bool {
        let bounds = common_bounds(
            &self.layout().custom_values,
            &previous.layout().custom_values,
        );
        let mut now = vec![0.0; bounds.len() + 1];
        let mut before = now.clone();
        self.add_to_bounds(&bounds, &mut now, 1.0);
        previous.add_to_bounds(&bounds, &mut before, 1.0);
        now.iter().zip(&before).any(|(now, before)| now < before)
    }

    fn has_lower_bucket(&self, previous: &Self) -> bool {
        let (own, before) = (self.layout(), previous.layout());
        let lower = |spans: &[Span], counts: &[f64], before_spans: &[Span], old: &[f64]| {
            let (before_spans, old) = if own.schema < before.schema {
                reduce_side(before_spans, old, (before.schema, own.schema), |a, b| a + b)
            } else {
                (before_spans.to_vec(), old.to_vec())
            };
            // COMPAT: with a threshold of zero no bucket is passed over, not even one that ends at zero.
            let hidden = if own.has_custom_buckets() || own.zero_threshold == 0.0 {
                0
            } else {
                inside_zero_bucket(&before_spans, own.schema, own.zero_threshold)
            };
            pairs(spans, &before_spans).any(|pair| match (pair.a, pair.b) {
                (_, Some(at)) if at < hidden => false,
                (Some(now), Some(at)) => counts[now] < old[at],
                (None, Some(at)) => old[at] != 0.0,
                (_, None) => false,
            })
        };
        lower(
            &own.positive_spans,
            self.positive_buckets(),
            &before.positive_spans,
            previous.positive_buckets(),
        ) || lower(
            &own.negative_spans,
            self.negative_buckets(),
            &before.negative_spans,
            previous.negative_buckets(),
        )
    }
}

impl SideBuckets<'_> {
    fn is_negative(&self) -> bool {
        self.side == super::buckets::Side::Negative
    }
}

/// Returns how many of the first buckets end inside the zero bucket.
fn inside_zero_bucket(spans: &[Span], schema: i32, threshold: f64) -> usize {
    indices(spans)
        .take_while(|&index| exponential_bound(index, schema) <= threshold)
        .count()
}

/// Returns the buckets of both sides; the first `hidden` of the other side are left out.
fn add_side(
    (spans, counts): (&[Span], &[f64]),
    (other_spans, other): (&[Span], &[f64]),
    hidden: usize,
    sign: f64,
) -> Buckets {
    let mut builder = SpanBuilder::default();
    let mut sums = Vec::with_capacity(counts.len());
    for pair in pairs(spans, other_spans) {
        let own = pair.a.map(|at| counts[at]);
        let theirs = pair.b.filter(|&at| at >= hidden).map(|at| sign * other[at]);
        let sum = match (own, theirs) {
            (Some(own), Some(theirs)) => own + theirs,
            (Some(only), None) | (None, Some(only)) => only,
            (None, None) => continue,
        };
        builder.push(pair.index);
        sums.push(sum);
    }
    (builder.finish(), sums)
}

/// Returns the bounds that both sorted lists have.
fn common_bounds(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter()
        .copied()
        .filter(|bound| b.binary_search_by(|other| other.total_cmp(bound)).is_ok())
        .collect()
}

#[cfg(test)]
mod tests;
