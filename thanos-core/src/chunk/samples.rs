//! Decoded samples in columns: times, float values, and histograms on the side.
//!
//! Decoders append whole chunks here, so the chunks of a series become one run of samples. Every sample has an
//! entry in the time and the value column. Histograms, which most series do not have, add a row to a third
//! table; code for floats asks [`Samples::is_float_only`] once and then works on two plain slices. Start
//! timestamps, which fewer have, are a column that does not exist until the first sample brings one.

use std::sync::Arc;

use crate::histogram::{
    BucketLayout, CounterResetHint, FloatHistogram, Histogram, count_to_float, push_counts,
};
use crate::time::Timestamp;

/// Samples in time order as columns.
#[derive(Debug, Clone, Default)]
pub struct Samples {
    pub(super) times: Vec<i64>,
    pub(super) values: Vec<f64>,
    /// Empty, or as long as `times`.
    pub(super) starts: Vec<i64>,
    rows: Vec<Row>,
    layouts: Vec<Arc<BucketLayout>>,
    deltas: Vec<i64>,
    counts: Vec<f64>,
}

/// A histogram: the sum is in the value column, the buckets lie in `deltas` or `counts` from `at`.
#[derive(Debug, Clone, Copy)]
struct Row {
    sample: usize,
    layout: usize,
    at: usize,
    numbers: Numbers,
    hint: CounterResetHint,
}

#[derive(Debug, Clone, Copy)]
enum Numbers {
    Integer { count: u64, zero_count: u64 },
    Float { count: f64, zero_count: f64 },
}

/// The place of a layout in the table of [`Samples`].
#[derive(Debug, Clone, Copy)]
pub(super) struct LayoutId(usize);

/// One sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum SampleRef<'a> {
    /// A float.
    Float(f64),
    /// A histogram.
    Histogram(HistogramRef<'a>),
}

/// A histogram in the columns of [`Samples`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HistogramRef<'a> {
    /// What is known about a reset before this sample.
    pub counter_reset_hint: CounterResetHint,
    /// The sum of observations; the stale NaN here marks the end of the series.
    pub sum: f64,
    /// The buckets' layout, shared by the samples of a chunk.
    pub layout: &'a Arc<BucketLayout>,
    /// The counts.
    pub counts: HistogramCounts<'a>,
}

/// The counts of a [`HistogramRef`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum HistogramCounts<'a> {
    /// Integer counts.
    Integer {
        /// The number of observations.
        count: u64,
        /// The number of observations in the zero bucket.
        zero_count: u64,
        /// The positive buckets, then the negative ones: on each side a count, then differences.
        deltas: &'a [i64],
    },
    /// Float counts.
    Float {
        /// The number of observations.
        count: f64,
        /// The number of observations in the zero bucket.
        zero_count: f64,
        /// The counts of the positive buckets, then of the negative ones.
        buckets: &'a [f64],
    },
}

impl<'a> From<&'a Histogram> for HistogramRef<'a> {
    fn from(histogram: &'a Histogram) -> Self {
        Self {
            counter_reset_hint: histogram.counter_reset_hint,
            sum: histogram.sum,
            layout: histogram.layout(),
            counts: HistogramCounts::Integer {
                count: histogram.count,
                zero_count: histogram.zero_count,
                deltas: histogram.deltas(),
            },
        }
    }
}

impl<'a> From<&'a FloatHistogram> for HistogramRef<'a> {
    fn from(histogram: &'a FloatHistogram) -> Self {
        Self {
            counter_reset_hint: histogram.counter_reset_hint,
            sum: histogram.sum,
            layout: histogram.layout(),
            counts: HistogramCounts::Float {
                count: histogram.count,
                zero_count: histogram.zero_count,
                buckets: histogram.buckets(),
            },
        }
    }
}

impl HistogramRef<'_> {
    /// Returns a copy with float counts.
    pub fn to_float(&self) -> FloatHistogram {
        match self.counts {
            HistogramCounts::Integer {
                count,
                zero_count,
                deltas,
            } => {
                let mut buckets = Vec::with_capacity(deltas.len());
                let (positive, negative) = deltas.split_at(self.layout.positive_len());
                push_counts(positive, &mut buckets);
                push_counts(negative, &mut buckets);
                let mut copy = FloatHistogram::from_parts(Arc::clone(self.layout), buckets);
                copy.counter_reset_hint = self.counter_reset_hint;
                copy.count = count_to_float(count);
                copy.zero_count = count_to_float(zero_count);
                copy.sum = self.sum;
                copy
            }
            HistogramCounts::Float {
                count,
                zero_count,
                buckets,
            } => {
                let mut copy =
                    FloatHistogram::from_parts(Arc::clone(self.layout), buckets.to_vec());
                copy.counter_reset_hint = self.counter_reset_hint;
                (copy.count, copy.zero_count, copy.sum) = (count, zero_count, self.sum);
                copy
            }
        }
    }

    /// Returns a copy with integer counts, unless the counts are floats.
    pub fn to_integer(&self) -> Option<Histogram> {
        let HistogramCounts::Integer {
            count,
            zero_count,
            deltas,
        } = self.counts
        else {
            return None;
        };
        let mut copy = Histogram::from_parts(Arc::clone(self.layout), deltas.to_vec());
        copy.counter_reset_hint = self.counter_reset_hint;
        (copy.count, copy.zero_count, copy.sum) = (count, zero_count, self.sum);
        Some(copy)
    }
}

impl Samples {
    /// Returns no samples.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the number of samples.
    pub fn len(&self) -> usize {
        self.times.len()
    }

    /// Reports whether there is no sample.
    pub fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    /// Returns the times in milliseconds.
    pub fn times(&self) -> &[i64] {
        &self.times
    }

    /// Returns the values, for histograms their sums: a stale marker is the stale NaN for both.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// Returns the start timestamps in milliseconds, 0 where none is known; empty when no sample has one.
    ///
    /// A start timestamp is the time since when a counter counts: the last reset before the sample.
    pub fn starts(&self) -> &[i64] {
        debug_assert!(self.starts.is_empty() || self.starts.len() == self.times.len());
        &self.starts
    }

    /// Returns the start timestamp of the sample at `index`, 0 when none is known.
    pub fn start(&self, index: usize) -> Timestamp {
        Timestamp::from_millis(self.starts.get(index).copied().unwrap_or(0))
    }

    /// Reports whether no sample is a histogram.
    pub fn is_float_only(&self) -> bool {
        self.rows.is_empty()
    }

    /// Returns the histogram of the sample at `index`, or nothing for a float.
    pub fn histogram(&self, index: usize) -> Option<HistogramRef<'_>> {
        // Without floats the row number is the sample number.
        let row = match self.rows.get(index) {
            Some(row) if row.sample == index => row,
            _ => {
                let found = self.rows.binary_search_by_key(&index, |row| row.sample);
                &self.rows[found.ok()?]
            }
        };
        Some(self.view(row))
    }

    /// Returns the sample at `index`.
    ///
    /// # Panics
    ///
    /// When `index` is not below [`Samples::len`].
    pub fn get(&self, index: usize) -> SampleRef<'_> {
        self.histogram(index)
            .map_or(SampleRef::Float(self.values[index]), SampleRef::Histogram)
    }

    /// Returns the samples in order.
    pub fn iter(&self) -> SampleIter<'_> {
        SampleIter {
            samples: self,
            next: 0,
            row: 0,
        }
    }

    /// Appends a float.
    #[inline]
    pub fn push_float(&mut self, time: Timestamp, value: f64) {
        self.times.push(time.as_millis());
        self.values.push(value);
        self.pad_starts();
    }

    /// Appends floats without start timestamps; of both slices as many as the shorter one has.
    pub(crate) fn extend_floats(&mut self, times: &[i64], values: &[f64]) {
        let len = times.len().min(values.len());
        self.times.extend_from_slice(&times[..len]);
        self.values.extend_from_slice(&values[..len]);
        self.pad_starts();
    }

    /// Appends a histogram with integer counts.
    pub fn push_histogram(&mut self, time: Timestamp, histogram: &Histogram) {
        self.push_ref(time, histogram.into());
    }

    /// Appends a histogram with float counts.
    pub fn push_float_histogram(&mut self, time: Timestamp, histogram: &FloatHistogram) {
        self.push_ref(time, histogram.into());
    }

    /// Appends a sample of either kind.
    pub fn push(&mut self, time: Timestamp, sample: SampleRef<'_>) {
        match sample {
            SampleRef::Float(value) => self.push_float(time, value),
            SampleRef::Histogram(histogram) => self.push_ref(time, histogram),
        }
    }

    /// Appends a sample of either kind with its start timestamp, 0 when none is known.
    ///
    /// # Example
    ///
    /// ```
    /// use thanos_core::chunk::{SampleRef, Samples};
    /// use thanos_core::time::Timestamp;
    ///
    /// let [start, time, later] = [500, 1_000, 2_000].map(Timestamp::from_millis);
    /// let mut samples = Samples::new();
    /// samples.push_float(time, 1.0);
    /// assert!(samples.starts().is_empty());
    /// samples.push_with_start(start, later, SampleRef::Float(2.0));
    /// assert_eq!(samples.starts(), [0, 500]);
    /// ```
    pub fn push_with_start(&mut self, start: Timestamp, time: Timestamp, sample: SampleRef<'_>) {
        self.push(time, sample);
        self.set_last_start(start);
    }

    /// Gives the last sample its start timestamp, 0 when none is known.
    ///
    /// # Panics
    ///
    /// When there is no sample.
    #[inline]
    pub fn set_last_start(&mut self, start: Timestamp) {
        let last = self.times.len().checked_sub(1).expect("there is a sample");
        if self.starts.is_empty() {
            if start.as_millis() == 0 {
                return;
            }
            self.starts.resize(self.times.len(), 0);
        }
        self.starts[last] = start.as_millis();
    }

    /// Adds the unknown start timestamps of samples that came without any.
    #[inline]
    pub(super) fn pad_starts(&mut self) {
        if !self.starts.is_empty() {
            self.starts.resize(self.times.len(), 0);
        }
    }

    fn push_ref(&mut self, time: Timestamp, histogram: HistogramRef<'_>) {
        let layout = self.add_layout(histogram.layout);
        let HistogramRef {
            counter_reset_hint,
            sum,
            counts,
            ..
        } = histogram;
        self.push_row(time, layout, counter_reset_hint, sum, counts);
    }

    /// Removes all samples and keeps the memory.
    pub fn clear(&mut self) {
        self.truncate(0);
    }

    /// Removes the samples from index `len` on.
    pub fn truncate(&mut self, len: usize) {
        self.times.truncate(len);
        self.values.truncate(len);
        self.starts.truncate(len);
        let keep = self.rows.partition_point(|row| row.sample < len);
        for row in self.rows.drain(keep..).rev() {
            match row.numbers {
                Numbers::Integer { .. } => self.deltas.truncate(row.at),
                Numbers::Float { .. } => self.counts.truncate(row.at),
            }
        }
        let layouts = self.rows.last().map_or(0, |row| row.layout + 1);
        self.layouts.truncate(layouts);
    }

    /// Returns the bytes that the columns hold.
    pub fn memory_bytes(&self) -> usize {
        self.times.len() * 16
            + self.starts.len() * 8
            + self.rows.len() * size_of::<Row>()
            + (self.deltas.len() + self.counts.len()) * 8
    }

    /// Enters a layout in the table, unless it is the last one there.
    pub(super) fn add_layout(&mut self, layout: &Arc<BucketLayout>) -> LayoutId {
        let same = self
            .layouts
            .last()
            .is_some_and(|last| Arc::ptr_eq(last, layout) || last == layout);
        if !same {
            self.layouts.push(Arc::clone(layout));
        }
        LayoutId(self.layouts.len() - 1)
    }

    /// Appends a histogram whose layout is in the table.
    #[inline]
    pub(super) fn push_row(
        &mut self,
        time: Timestamp,
        layout: LayoutId,
        hint: CounterResetHint,
        sum: f64,
        counts: HistogramCounts<'_>,
    ) {
        let (at, numbers) = match counts {
            HistogramCounts::Integer {
                count,
                zero_count,
                deltas,
            } => {
                let at = self.deltas.len();
                self.deltas.extend_from_slice(deltas);
                (at, Numbers::Integer { count, zero_count })
            }
            HistogramCounts::Float {
                count,
                zero_count,
                buckets,
            } => {
                let at = self.counts.len();
                self.counts.extend_from_slice(buckets);
                (at, Numbers::Float { count, zero_count })
            }
        };
        self.rows.push(Row {
            sample: self.times.len(),
            layout: layout.0,
            at,
            numbers,
            hint,
        });
        self.push_float(time, sum);
    }

    fn view(&self, row: &Row) -> HistogramRef<'_> {
        let layout = &self.layouts[row.layout];
        let end = row.at + layout.positive_len() + layout.negative_len();
        HistogramRef {
            counter_reset_hint: row.hint,
            sum: self.values[row.sample],
            layout,
            counts: match row.numbers {
                Numbers::Integer { count, zero_count } => HistogramCounts::Integer {
                    count,
                    zero_count,
                    deltas: &self.deltas[row.at..end],
                },
                Numbers::Float { count, zero_count } => HistogramCounts::Float {
                    count,
                    zero_count,
                    buckets: &self.counts[row.at..end],
                },
            },
        }
    }
}

/// Yields the samples of [`Samples`] one by one.
#[derive(Debug, Clone)]
pub struct SampleIter<'a> {
    samples: &'a Samples,
    next: usize,
    row: usize,
}

impl<'a> Iterator for SampleIter<'a> {
    type Item = (Timestamp, SampleRef<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let time = *self.samples.times.get(self.next)?;
        let sample = match self.samples.rows.get(self.row) {
            Some(row) if row.sample == self.next => {
                self.row += 1;
                SampleRef::Histogram(self.samples.view(row))
            }
            _ => SampleRef::Float(self.samples.values[self.next]),
        };
        self.next += 1;
        Some((Timestamp::from_millis(time), sample))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.samples.len() - self.next;
        (left, Some(left))
    }
}

impl ExactSizeIterator for SampleIter<'_> {}

impl<'a> IntoIterator for &'a Samples {
    type Item = (Timestamp, SampleRef<'a>);
    type IntoIter = SampleIter<'a>;

    fn into_iter(self) -> SampleIter<'a> {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    #[test]
    fn starts_exist_from_the_first_known_one_on() {
        let mut samples = Samples::new();
        samples.push_with_start(at(0), at(10), SampleRef::Float(1.0));
        assert!(samples.starts().is_empty());
        let without = samples.memory_bytes();
        samples.push_with_start(
            at(5),
            at(20),
            SampleRef::Histogram((&Histogram::stale()).into()),
        );
        samples.push_float(at(30), 3.0);
        assert_eq!(samples.starts(), [0, 5, 0]);
        assert_eq!(
            [0, 1, 2, 9].map(|index| samples.start(index).as_millis()),
            [0, 5, 0, 0]
        );
        assert!(samples.memory_bytes() >= 3 * without + 3 * 8);
        samples.truncate(2);
        assert_eq!(samples.starts(), [0, 5]);
        samples.clear();
        samples.push_float(at(40), 4.0);
        assert!(samples.starts().is_empty());
    }
}
