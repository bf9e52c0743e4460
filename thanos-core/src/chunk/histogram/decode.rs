//! Histogram chunks into the columns of [`Samples`], with their buckets or without.

use std::sync::Arc;

use super::layout::read_layout;
use super::numbers::{Floats, Integers, Numbers};
use super::{HEADER_BYTES, Header};
use crate::chunk::samples::{HistogramCounts, LayoutId, Samples};
use crate::chunk::starts::StartDecoder;
use crate::chunk::{self, Chunk, Encoding};
use crate::encoding::bits::BitReader;
use crate::error::Result;
use crate::histogram::{
    BucketLayout, CounterResetHint, EXPONENTIAL_SCHEMA_MAX, FloatHistogram, is_stale_nan,
};
use crate::time::Timestamp;

/// Appends the samples of a histogram chunk; after an error `out` is as before.
///
/// # Errors
///
/// [`Corrupt`](crate::ErrorKind::Corrupt) when the data contradicts the encoding.
pub fn decode_into(chunk: &Chunk, out: &mut Samples) -> Result<()> {
    let Some((mut frame, layout)) = Frame::open(chunk)? else {
        return Ok(());
    };
    if layout.schema > EXPONENTIAL_SCHEMA_MAX {
        return decode_high_resolution(&mut frame, &layout, out);
    }
    let before = out.len();
    let result = frame.read_into(&layout, out, Whole);
    if result.is_err() {
        out.truncate(before);
    }
    result
}

/// Joins the buckets of a resolution that only later versions write.
#[cold]
fn decode_high_resolution(
    frame: &mut Frame<'_>,
    layout: &Arc<BucketLayout>,
    out: &mut Samples,
) -> Result<()> {
    let mut samples = Samples::new();
    frame.read_into(layout, &mut samples, Whole)?;
    for index in 0..samples.len() {
        let time = Timestamp::from_millis(samples.times()[index]);
        let Some(view) = samples.histogram(index) else {
            continue;
        };
        let reducible = view.layout.schema > EXPONENTIAL_SCHEMA_MAX;
        if let Some(mut histogram) = view.to_integer() {
            if reducible {
                histogram.reduce_resolution(EXPONENTIAL_SCHEMA_MAX)?;
            }
            out.push_histogram(time, &histogram);
        } else {
            let mut histogram = view.to_float();
            if reducible {
                histogram.reduce_resolution(EXPONENTIAL_SCHEMA_MAX)?;
            }
            out.push_float_histogram(time, &histogram);
        }
        out.set_last_start(samples.start(index));
    }
    Ok(())
}

/// Decodes the chunks of a series for those who need no buckets: of histograms only the number of observations,
/// their sum and whether the counter was reset.
///
/// The histograms that it makes have float counts, a layout of nothing but the schema, and no buckets. Without
/// buckets a reset shows only in the number of observations, so the hint of each histogram says what its buckets
/// say: it is unknown for the first one of a series alone. Floats are as in [`chunk::decode`].
/// Source: Prometheus `promql/histogram_stats_iterator.go`.
///
/// # Example
///
/// ```
/// use thanos_core::chunk::{Aggregate, Samples, StatsDecoder, encode};
/// use thanos_core::histogram::CounterResetHint;
/// use thanos_core::testkit::shapes::HistogramSpec;
///
/// let mut decoder = StatsDecoder::new();
/// let mut samples = Samples::new();
/// for chunk in HistogramSpec::default().chunks() {
///     decoder.decode(&chunk, &mut samples)?;
/// }
/// let first = samples.histogram(0).expect("the series is one of histograms");
/// assert_eq!(first.counter_reset_hint, CounterResetHint::Unknown);
/// assert!(first.to_float().buckets().is_empty());
/// # Ok::<(), thanos_core::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct StatsDecoder {
    /// The last histogram that was no stale marker, with its buckets.
    last: Option<FloatHistogram>,
}

impl StatsDecoder {
    /// Returns a decoder at the start of a series.
    pub fn new() -> Self {
        Self::default()
    }

    /// Goes to the start of another series.
    pub fn reset(&mut self) {
        self.last = None;
    }

    /// Appends the samples of the next chunk; after an error `out` is as before.
    ///
    /// Chunks come in the order of their times and do not overlap. Where they do, decode them whole: which sample
    /// comes before which is not known before they are merged.
    ///
    /// # Errors
    ///
    /// As [`chunk::decode`].
    pub fn decode(&mut self, chunk: &Chunk, out: &mut Samples) -> Result<()> {
        if super::counter_reset_header(chunk).is_none() {
            return chunk::decode(chunk, out);
        }
        let Some((mut frame, layout)) = Frame::open(chunk)? else {
            return Ok(());
        };
        let before = out.len();
        let mut end = None;
        let stats = Stats {
            before: self.last.as_ref(),
            counts: None,
            end: &mut end,
        };
        match frame.read_into(&layout, out, stats) {
            Ok(()) => self.last = end.or_else(|| self.last.take()),
            Err(error) => {
                out.truncate(before);
                return Err(error);
            }
        }
        Ok(())
    }
}

/// What becomes of the samples.
trait Sink {
    /// Returns the layout of the samples to push.
    fn layout(&self, layout: &Arc<BucketLayout>, out: &mut Samples) -> LayoutId;

    /// Appends a sample that is no stale marker.
    fn push<N: Numbers>(&mut self, sample: Sample<'_, N>, out: &mut Samples) -> Result<()>;

    /// Sees the buckets of the last sample that was pushed.
    fn end<N: Numbers>(&mut self, numbers: &N, layout: &Arc<BucketLayout>) -> Result<()>;
}

/// A sample that was read, its numbers being the state of the reader.
struct Sample<'a, N> {
    time: Timestamp,
    hint: CounterResetHint,
    numbers: &'a N,
    layout: &'a Arc<BucketLayout>,
    id: LayoutId,
}

/// Samples with their buckets.
struct Whole;

impl Sink for Whole {
    fn layout(&self, layout: &Arc<BucketLayout>, out: &mut Samples) -> LayoutId {
        out.add_layout(layout)
    }

    #[inline]
    fn push<N: Numbers>(&mut self, sample: Sample<'_, N>, out: &mut Samples) -> Result<()> {
        let numbers = sample.numbers;
        out.push_row(
            sample.time,
            sample.id,
            sample.hint,
            numbers.sum(),
            numbers.counts(),
        );
        Ok(())
    }

    fn end<N: Numbers>(&mut self, _: &N, _: &Arc<BucketLayout>) -> Result<()> {
        Ok(())
    }
}

/// Samples without buckets.
struct Stats<'a> {
    /// The sample before the chunk.
    before: Option<&'a FloatHistogram>,
    /// The number of observations, that in the zero bucket and the sum of the last sample so far.
    counts: Option<[f64; 3]>,
    /// The last sample of the chunk.
    end: &'a mut Option<FloatHistogram>,
}

impl Sink for Stats<'_> {
    fn layout(&self, layout: &Arc<BucketLayout>, out: &mut Samples) -> LayoutId {
        out.add_layout(&Arc::new(BucketLayout {
            schema: layout.schema.min(EXPONENTIAL_SCHEMA_MAX),
            ..BucketLayout::default()
        }))
    }

    #[inline]
    fn push<N: Numbers>(&mut self, sample: Sample<'_, N>, out: &mut Samples) -> Result<()> {
        let mut hint = sample.hint;
        if hint == CounterResetHint::Unknown
            && let Some(before) = self.before
        {
            let reset = whole(sample.numbers, sample.layout)?.detect_reset(before);
            hint = if reset {
                CounterResetHint::CounterReset
            } else {
                CounterResetHint::NotCounterReset
            };
        }
        let [count, zero_count] = sample.numbers.float_counts();
        let sum = sample.numbers.sum();
        let counts = HistogramCounts::Float {
            count,
            zero_count: 0.0,
            buckets: &[],
        };
        out.push_row(sample.time, sample.id, hint, sum, counts);
        self.counts = Some([count, zero_count, sum]);
        Ok(())
    }

    fn end<N: Numbers>(&mut self, numbers: &N, layout: &Arc<BucketLayout>) -> Result<()> {
        let Some(counts) = self.counts else {
            return Ok(());
        };
        // A stale marker has counts of its own and leaves the buckets.
        let mut last = whole(numbers, layout)?;
        [last.count, last.zero_count, last.sum] = counts;
        *self.end = Some(last);
        Ok(())
    }
}

/// Returns a sample with its buckets, for a comparison.
#[cold]
fn whole(numbers: &impl Numbers, layout: &Arc<BucketLayout>) -> Result<FloatHistogram> {
    let mut histogram = numbers.to_float(layout);
    if layout.schema > EXPONENTIAL_SCHEMA_MAX {
        histogram.reduce_resolution(EXPONENTIAL_SCHEMA_MAX)?;
    }
    Ok(histogram)
}

/// What both encodings have in common around the samples.
struct Frame<'a> {
    reader: BitReader<'a>,
    header: Header,
    is_integer: bool,
    starts: StartDecoder,
}

impl<'a> Frame<'a> {
    /// Reads what comes before the samples, unless there are none.
    fn open(chunk: &'a Chunk) -> Result<Option<(Self, Arc<BucketLayout>)>> {
        let header = Header::read(chunk)?;
        if header.count == 0 {
            return Ok(None);
        }
        let mut frame = Self {
            reader: BitReader::new(&chunk.data, HEADER_BYTES),
            header,
            is_integer: matches!(chunk.encoding, Encoding::HISTOGRAM | Encoding::HISTOGRAM_ST),
            starts: StartDecoder::new(header.starts),
        };
        let layout = read_layout(&mut frame.reader)?;
        Ok(Some((frame, Arc::new(layout))))
    }

    fn read_into(
        &mut self,
        layout: &Arc<BucketLayout>,
        out: &mut Samples,
        sink: impl Sink,
    ) -> Result<()> {
        if self.is_integer {
            self.read_samples::<Integers>(layout, out, sink)
        } else {
            self.read_samples::<Floats>(layout, out, sink)
        }
    }

    fn read_samples<N: Numbers>(
        &mut self,
        layout: &Arc<BucketLayout>,
        out: &mut Samples,
        mut sink: impl Sink,
    ) -> Result<()> {
        let buckets = self.check_buckets(layout, N::BUCKET_BITS_MIN)?;
        let id = sink.layout(layout, out);
        let mut time = self.reader.read_varbit_int()?;
        let mut delta = 0_i64;
        let mut numbers = N::read_first(&mut self.reader, buckets)?;
        for index in 0..self.header.count {
            let before = time;
            if index > 0 {
                delta = delta.wrapping_add(self.reader.read_varbit_int()?);
                time = time.wrapping_add(delta);
                numbers.read_counts(&mut self.reader)?;
            }
            let at = Timestamp::from_millis(time);
            if is_stale_nan(numbers.sum()) {
                push_stale::<N>(out, at, numbers.sum());
            } else {
                if index > 0 {
                    numbers.read_buckets(&mut self.reader)?;
                }
                let sample = Sample {
                    time: at,
                    hint: self.hint(index),
                    numbers: &numbers,
                    layout,
                    id,
                };
                sink.push(sample, out)?;
            }
            self.read_start(index, before, time, out)?;
        }
        sink.end(&numbers, layout)
    }

    /// Returns the hint of a sample. The header speaks of the chunk before, which may be gone by now, so
    /// nothing is known about the first sample of a counter.
    fn hint(&self, index: usize) -> CounterResetHint {
        match self.header.hint {
            CounterResetHint::Gauge => CounterResetHint::Gauge,
            _ if index > 0 => CounterResetHint::NotCounterReset,
            _ => CounterResetHint::Unknown,
        }
    }

    /// Reads the start of the sample at `index`, which is the last one in `out`, after the rest of it.
    #[inline]
    fn read_start(
        &mut self,
        index: usize,
        before: i64,
        time: i64,
        out: &mut Samples,
    ) -> Result<()> {
        if self.starts.is_any() {
            let start = self.starts.read(&mut self.reader, index, (before, time))?;
            out.set_last_start(Timestamp::from_millis(start));
        }
        Ok(())
    }

    /// Checks that the buckets of sample 0 are there, before memory is taken for them.
    fn check_buckets(&self, layout: &BucketLayout, bits_each: usize) -> Result<usize> {
        let buckets = layout.positive_len() + layout.negative_len();
        if buckets.saturating_mul(bits_each) > self.reader.remaining() {
            return Err(self
                .reader
                .corrupt(format!("histogram chunk cannot hold {buckets} buckets")));
        }
        Ok(buckets)
    }
}

/// Appends a stale marker, which has no layout and no hint.
#[cold]
fn push_stale<N: Numbers>(out: &mut Samples, time: Timestamp, sum: f64) {
    let id = out.add_layout(&Arc::default());
    out.push_row(time, id, CounterResetHint::Unknown, sum, N::NO_COUNTS);
}
