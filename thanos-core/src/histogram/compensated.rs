//! Sums of counts that remember their rounding errors, over one bucket layout.
//!
//! Layouts are reconciled as in `arithmetic`, and the errors move with the counts. `sum` gives this to PromQL.
//! Source: Prometheus model/histogram, FloatHistogram.KahanAdd, and util/kahansum; the order of operations is
//! kept so that the last bits agree.

use std::cmp::Ordering;
use std::sync::Arc;

use super::arithmetic::{Combined, bounds_differ, check_same_kind, combine_hints, merge_bounds};
use super::compact::compact_side;
use super::overlay::{add_sides, inside_zero_bucket};
use super::resolution::reduce_side;
use super::spans::Span;
use super::zero_bucket::{clear_below, zero_count_for};
use super::{BucketLayout, CounterResetHint, FloatHistogram};
use crate::error::Result;

/// A sum and what rounding took from it so far (Neumaier's variant of Kahan's sum).
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Compensated {
    pub(super) sum: f64,
    pub(super) low: f64,
}

impl Compensated {
    pub(super) fn of(sum: f64) -> Self {
        Self { sum, low: 0.0 }
    }

    #[inline]
    pub(super) fn add(&mut self, value: f64) {
        let total = self.sum + value;
        let lost = if self.sum.abs() >= value.abs() {
            (self.sum - total) + value
        } else {
            (value - total) + self.sum
        };
        self.low = if total.is_infinite() {
            0.0
        } else {
            self.low + lost
        };
        self.sum = total;
    }

    /// Adds both parts of another sum, one after the other.
    pub(super) fn add_both(&mut self, other: Self) {
        self.add(other.sum);
        self.add(other.low);
    }

    /// Adds both parts, but no part that is zero: that would turn a negative zero into a positive one.
    fn add_parts(&mut self, other: Self) {
        self.add(other.sum);
        if other.low != 0.0 {
            self.add(other.low);
        }
    }

    fn total(self) -> f64 {
        self.sum + self.low
    }
}

/// A histogram of compensated sums.
#[derive(Debug, Clone)]
pub(super) struct CompensatedHistogram {
    pub(super) hint: CounterResetHint,
    count: Compensated,
    zero_count: Compensated,
    sum: Compensated,
    layout: Arc<BucketLayout>,
    /// Positive, then negative counts.
    buckets: Vec<Compensated>,
}

impl CompensatedHistogram {
    pub(super) fn new(first: &FloatHistogram) -> Self {
        Self {
            hint: first.counter_reset_hint,
            count: Compensated::of(first.count),
            zero_count: Compensated::of(first.zero_count),
            sum: Compensated::of(first.sum),
            layout: Arc::clone(first.layout()),
            buckets: compensated(first.buckets()),
        }
    }

    /// Returns the sums, corrected by what rounding took.
    pub(super) fn total(&self) -> FloatHistogram {
        let mut total = FloatHistogram::from_parts(Arc::clone(&self.layout), Vec::new());
        let (positive, negative) = self.buckets.split_at(self.layout.positive_len());
        let mut buckets = Vec::with_capacity(self.buckets.len());
        for (spans, counts) in [
            (&self.layout.positive_spans, positive),
            (&self.layout.negative_spans, negative),
        ] {
            // COMPAT: the correction is added like a histogram, whose buckets inside the zero bucket are left out.
            let (hidden, shown) = counts.split_at(inside_zero_bucket(spans, &self.layout));
            buckets.extend(hidden.iter().map(|count| count.sum));
            buckets.extend(shown.iter().map(|count| count.total()));
        }
        total.counter_reset_hint = self.hint;
        total.count = self.count.total();
        total.zero_count = self.zero_count.total();
        total.sum = self.sum.total();
        total.set_buckets(Arc::clone(&self.layout), buckets);
        total
    }

    /// Returns about how many bytes this holds.
    pub(super) fn size_bytes(&self) -> usize {
        let layout = &self.layout;
        let spans = layout.positive_spans.len() + layout.negative_spans.len();
        size_of::<Self>()
            + 8 * (spans + layout.custom_values.len())
            + size_of::<Compensated>() * self.buckets.len()
    }

    /// Changes every sum and every correction.
    pub(super) fn scale(&mut self, change: impl Fn(f64) -> f64) {
        let scalars = [&mut self.count, &mut self.zero_count, &mut self.sum];
        for value in scalars.into_iter().chain(&mut self.buckets) {
            value.sum = change(value.sum);
            value.low = change(value.low);
        }
    }

    /// Reports whether a number fulfills `test`: a sum or a custom bound.
    pub(super) fn any(&self, test: impl Fn(f64) -> bool) -> bool {
        [self.count, self.zero_count, self.sum]
            .iter()
            .any(|value| test(value.sum))
            || self
                .buckets
                .iter()
                .fold(false, |found, value| found | test(value.sum))
            || self.layout.custom_values.iter().any(|&bound| test(bound))
    }

    /// Adds a histogram.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) when only one of the two has custom buckets.
    pub(super) fn add(&mut self, other: &FloatHistogram) -> Result<Combined> {
        check_same_kind(&self.layout, other.layout())?;
        let hint_collision = combine_hints(&mut self.hint, other.counter_reset_hint);
        self.count.add(other.count);
        self.sum.add(other.sum);
        if self.layout.has_custom_buckets() {
            let bounds_reconciled = bounds_differ(&self.layout, other.layout());
            if bounds_reconciled {
                self.add_bounds(other);
            } else {
                self.add_buckets(other);
            }
            return Ok(Combined {
                hint_collision,
                bounds_reconciled,
            });
        }
        let zero_count = self.reconcile_zero_buckets(other);
        self.zero_count.add_both(zero_count);
        if self.layout.schema == other.layout().schema {
            self.add_buckets(other);
        } else {
            self.add_at_lower_resolution(other);
        }
        Ok(Combined {
            hint_collision,
            bounds_reconciled: false,
        })
    }

    /// Adds buckets of the same schema or the same custom bounds.
    fn add_buckets(&mut self, other: &FloatHistogram) {
        let theirs = other.layout();
        add_sides(
            &mut self.layout,
            &mut self.buckets,
            [
                (&theirs.positive_spans, other.positive_buckets()),
                (&theirs.negative_spans, other.negative_buckets()),
            ],
            Compensated::of,
            Compensated::add,
        );
    }

    /// Adds buckets of another schema after joining the finer ones.
    fn add_at_lower_resolution(&mut self, other: &FloatHistogram) {
        let theirs = other.layout();
        let schemas = (theirs.schema, self.layout.schema);
        if schemas.0 < schemas.1 {
            self.reduce_resolution(theirs.schema);
            return self.add_buckets(other);
        }
        let counts = compensated(other.buckets());
        let (positive, negative) = counts.split_at(theirs.positive_len());
        let (positive_spans, positive) = join(&theirs.positive_spans, positive, schemas);
        let (negative_spans, negative) = join(&theirs.negative_spans, negative, schemas);
        add_sides(
            &mut self.layout,
            &mut self.buckets,
            [(&positive_spans, &positive), (&negative_spans, &negative)],
            |count| count,
            Compensated::add_parts,
        );
    }

    fn reduce_resolution(&mut self, schema: i32) {
        let own = Arc::clone(&self.layout);
        let (positive, negative) = self.buckets.split_at(own.positive_len());
        let (positive_spans, mut buckets) =
            join(&own.positive_spans, positive, (own.schema, schema));
        let (negative_spans, rest) = join(&own.negative_spans, negative, (own.schema, schema));
        buckets.extend(rest);
        self.layout = Arc::new(BucketLayout {
            schema,
            positive_spans,
            negative_spans,
            ..BucketLayout::clone(&own)
        });
        self.buckets = buckets;
    }

    /// Adds buckets with other custom bounds, over the bounds that both have.
    fn add_bounds(&mut self, other: &FloatHistogram) {
        let theirs = compensated(other.buckets());
        (self.layout, self.buckets) =
            merge_bounds((&self.layout, &self.buckets), (other.layout(), &theirs));
    }

    /// Widens the zero bucket until it cuts no bucket of either histogram; returns the other's count in it.
    fn reconcile_zero_buckets(&mut self, other: &FloatHistogram) -> Compensated {
        let mut count = Compensated::of(other.zero_count);
        let mut threshold = other.layout().zero_threshold;
        loop {
            let own = self.layout.zero_threshold;
            match own.partial_cmp(&threshold) {
                Some(Ordering::Greater) => {
                    let buckets = other.buckets().iter().copied().map(Compensated::of);
                    let zero = Compensated::of(other.zero_count);
                    (count, threshold) = zero_count_for(other.layout(), zero, buckets, own);
                }
                Some(Ordering::Less) => self.widen_zero_bucket(threshold),
                // A threshold that is not a number is never reached.
                Some(Ordering::Equal) | None => return count,
            }
        }
    }

    /// Moves the buckets below a larger threshold into the zero bucket.
    fn widen_zero_bucket(&mut self, threshold: f64) {
        let buckets = self.buckets.iter().copied();
        let (zero_count, threshold) =
            zero_count_for(&self.layout, self.zero_count, buckets, threshold);
        self.zero_count = zero_count;
        clear_below(&self.layout, &mut self.buckets, threshold);
        let own = &self.layout;
        let (positive, negative) = self.buckets.split_at(own.positive_len());
        let (positive_spans, mut buckets) = compact_side(&own.positive_spans, positive, 0);
        let (negative_spans, rest) = compact_side(&own.negative_spans, negative, 0);
        buckets.extend(rest);
        self.layout = Arc::new(BucketLayout {
            zero_threshold: threshold,
            positive_spans,
            negative_spans,
            ..BucketLayout::clone(own)
        });
        self.buckets = buckets;
    }
}

fn compensated(counts: &[f64]) -> Vec<Compensated> {
    counts.iter().copied().map(Compensated::of).collect()
}

fn join(
    spans: &[Span],
    counts: &[Compensated],
    schemas: (i32, i32),
) -> (Vec<Span>, Vec<Compensated>) {
    reduce_side(spans, counts, schemas, |mut count, value| {
        count.add_both(value);
        count
    })
}
