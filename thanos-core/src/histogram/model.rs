//! The two histogram samples: integer counts and float counts over a shared layout.

use std::sync::Arc;

use super::{BucketLayout, STALE_NAN, is_stale_nan};
use crate::error::Result;

/// What is known about a counter reset between a histogram and its predecessor; numbered as on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum CounterResetHint {
    /// Nothing: compare the counts.
    #[default]
    Unknown = 0,
    /// The counter was reset before this sample.
    CounterReset = 1,
    /// The counter was not reset.
    NotCounterReset = 2,
    /// The histogram is a gauge: there are no resets.
    Gauge = 3,
}

/// A native histogram with integer counts, as scraped.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    /// What is known about a reset before this sample.
    pub counter_reset_hint: CounterResetHint,
    /// The number of observations.
    pub count: u64,
    /// The number of observations in the zero bucket.
    pub zero_count: u64,
    /// The sum of observations; the stale NaN here marks the end of the series.
    pub sum: f64,
    layout: Arc<BucketLayout>,
    /// Positive, then negative buckets; each side is a first count and differences to the count before.
    deltas: Vec<i64>,
}

impl Histogram {
    /// Returns an empty-valued histogram over `layout` with the given buckets: on each side the first
    /// is a count and the others are differences to the bucket before.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) when the number of buckets differs from the spans'.
    pub fn new(layout: Arc<BucketLayout>, positive: &[i64], negative: &[i64]) -> Result<Self> {
        layout.check_lengths(positive.len(), negative.len())?;
        Ok(Self::from_parts(layout, [positive, negative].concat()))
    }

    /// Returns the marker of the end of a series of histograms.
    pub fn stale() -> Self {
        Self {
            sum: STALE_NAN,
            ..Self::from_parts(Arc::default(), Vec::new())
        }
    }

    pub(crate) fn from_parts(layout: Arc<BucketLayout>, deltas: Vec<i64>) -> Self {
        Self {
            counter_reset_hint: CounterResetHint::Unknown,
            count: 0,
            zero_count: 0,
            sum: 0.0,
            layout,
            deltas,
        }
    }

    /// Reports whether this is the marker of the end of the series.
    pub fn is_stale(&self) -> bool {
        is_stale_nan(self.sum)
    }

    /// Returns the buckets' layout.
    pub fn layout(&self) -> &Arc<BucketLayout> {
        &self.layout
    }

    /// Returns the positive buckets: a count, then differences.
    pub fn positive_deltas(&self) -> &[i64] {
        &self.deltas[..self.layout.positive_len()]
    }

    /// Returns the negative buckets: a count, then differences.
    pub fn negative_deltas(&self) -> &[i64] {
        &self.deltas[self.layout.positive_len()..]
    }

    /// Returns the positive buckets and then the negative ones: on each side a count, then differences.
    pub fn deltas(&self) -> &[i64] {
        &self.deltas
    }

    /// Replaces layout and buckets, which must fit.
    pub(crate) fn set_deltas(&mut self, layout: Arc<BucketLayout>, deltas: Vec<i64>) {
        debug_assert_eq!(layout.positive_len() + layout.negative_len(), deltas.len());
        (self.layout, self.deltas) = (layout, deltas);
    }

    /// Returns the same histogram with float counts.
    pub fn to_float(&self) -> FloatHistogram {
        let mut buckets = Vec::with_capacity(self.deltas.len());
        push_counts(self.positive_deltas(), &mut buckets);
        push_counts(self.negative_deltas(), &mut buckets);
        FloatHistogram {
            counter_reset_hint: self.counter_reset_hint,
            count: count_to_float(self.count),
            zero_count: count_to_float(self.zero_count),
            sum: self.sum,
            layout: Arc::clone(&self.layout),
            buckets,
        }
    }
}

/// A native histogram with float counts, as PromQL computes with it.
#[derive(Debug, Clone, PartialEq)]
pub struct FloatHistogram {
    /// What is known about a reset before this sample.
    pub counter_reset_hint: CounterResetHint,
    /// The number of observations.
    pub count: f64,
    /// The number of observations in the zero bucket.
    pub zero_count: f64,
    /// The sum of observations; the stale NaN here marks the end of the series.
    pub sum: f64,
    layout: Arc<BucketLayout>,
    /// Positive, then negative counts.
    buckets: Vec<f64>,
}

impl FloatHistogram {
    /// Returns an empty-valued histogram over `layout` with the given bucket counts.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) when the number of buckets differs from the spans'.
    pub fn new(layout: Arc<BucketLayout>, positive: &[f64], negative: &[f64]) -> Result<Self> {
        layout.check_lengths(positive.len(), negative.len())?;
        Ok(Self::from_parts(layout, [positive, negative].concat()))
    }

    /// Returns the marker of the end of a series of histograms.
    pub fn stale() -> Self {
        Self {
            sum: STALE_NAN,
            ..Self::from_parts(Arc::default(), Vec::new())
        }
    }

    pub(crate) fn from_parts(layout: Arc<BucketLayout>, buckets: Vec<f64>) -> Self {
        Self {
            counter_reset_hint: CounterResetHint::Unknown,
            count: 0.0,
            zero_count: 0.0,
            sum: 0.0,
            layout,
            buckets,
        }
    }

    /// Reports whether this is the marker of the end of the series.
    pub fn is_stale(&self) -> bool {
        is_stale_nan(self.sum)
    }

    /// Returns the buckets' layout.
    pub fn layout(&self) -> &Arc<BucketLayout> {
        &self.layout
    }

    /// Returns the counts of the positive buckets.
    pub fn positive_buckets(&self) -> &[f64] {
        &self.buckets[..self.layout.positive_len()]
    }

    /// Returns the counts of the negative buckets.
    pub fn negative_buckets(&self) -> &[f64] {
        &self.buckets[self.layout.positive_len()..]
    }

    /// Returns the counts of the positive buckets and then of the negative ones.
    pub fn buckets(&self) -> &[f64] {
        &self.buckets
    }

    /// Reports whether a number fulfills `test`: a count, the sum or a custom bound.
    pub(super) fn any(&self, test: impl Fn(f64) -> bool) -> bool {
        [self.count, self.zero_count, self.sum]
            .into_iter()
            .any(&test)
            || self
                .buckets
                .iter()
                .fold(false, |found, &count| found | test(count))
            || self.layout.custom_values.iter().any(|&bound| test(bound))
    }

    /// Returns the size in memory by Prometheus' count, by which it limits the samples of a query.
    pub fn size_bytes(&self) -> usize {
        // Source: Prometheus model/histogram, FloatHistogram.Size: a struct of 168 bytes and five lists.
        let layout = &self.layout;
        let items = layout.positive_spans.len()
            + layout.negative_spans.len()
            + layout.custom_values.len()
            + self.buckets.len();
        168 + 8 * items
    }

    /// Replaces layout and buckets, which must fit.
    pub(crate) fn set_buckets(&mut self, layout: Arc<BucketLayout>, buckets: Vec<f64>) {
        debug_assert_eq!(layout.positive_len() + layout.negative_len(), buckets.len());
        (self.layout, self.buckets) = (layout, buckets);
    }

    /// Returns layout and buckets to change both.
    pub(super) fn parts_mut(&mut self) -> (&mut Arc<BucketLayout>, &mut Vec<f64>) {
        (&mut self.layout, &mut self.buckets)
    }

    /// Returns the counts to change them in place, the positive ones first.
    pub fn buckets_mut(&mut self) -> &mut [f64] {
        &mut self.buckets
    }
}

/// Appends the counts of buckets that are given as differences.
pub(crate) fn push_counts(deltas: &[i64], out: &mut Vec<f64>) {
    let mut count = 0_i64;
    out.extend(deltas.iter().map(|&delta| {
        count = count.wrapping_add(delta);
        count as f64
    }));
}

/// Returns a count as the nearest float.
pub(crate) fn count_to_float(count: u64) -> f64 {
    count as f64
}
