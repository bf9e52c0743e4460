//! Writes histogram chunks bit for bit as Prometheus does.
//!
//! A sample with new buckets makes the encoder write the chunk anew with the wider layout; a sample that lacks
//! buckets is written with zeros for them; one that cannot join (counter reset, other schema) ends the chunk.

use std::sync::Arc;

use super::kind::{Apart, Float, Gaps, Integer, Kind, gaps};
use super::layout::write_layout;
use super::{COUNT_WITH_STARTS_MAX, HEADER_BYTES, header_flags};
use crate::chunk::samples::{SampleRef, Samples};
use crate::chunk::starts::StartEncoder;
use crate::chunk::xor_value::XorValue;
use crate::chunk::{self, Chunk};
use crate::encoding::bits::BitWriter;
use crate::histogram::spans::{Span, pairs, spans_of};
use crate::histogram::{BucketLayout, CounterResetHint, is_stale_nan};
use crate::time::Timestamp;

/// Writes chunks of integer histograms.
///
/// # Example
///
/// ```
/// use std::sync::Arc;
/// use thanos_core::chunk::{self, HistogramEncoder};
/// use thanos_core::histogram::{BucketLayout, Histogram, Span};
/// use thanos_core::time::Timestamp;
///
/// let layout = Arc::new(BucketLayout {
///     positive_spans: vec![Span { offset: 0, length: 2 }],
///     ..BucketLayout::default()
/// });
/// let mut histogram = Histogram::new(layout, &[1, 2], &[])?;
/// histogram.count = 4;
/// histogram.sum = 5.5;
///
/// let mut encoder = HistogramEncoder::new();
/// assert!(encoder.append(Timestamp::from_millis(1_000), &histogram).is_none());
/// let samples = chunk::samples(&encoder.finish())?;
/// let read = samples.histogram(0).expect("a histogram was written");
/// assert_eq!(read.to_float().positive_buckets(), [1.0, 3.0]);
/// # Ok::<(), thanos_core::Error>(())
/// ```
pub type HistogramEncoder = Encoder<Integer>;

/// Writes chunks of float histograms.
pub type FloatHistogramEncoder = Encoder<Float>;

/// Writes chunks of histograms of one [`Kind`].
#[derive(Debug, Clone)]
pub struct Encoder<K: Kind> {
    writer: BitWriter,
    /// Present when the chunk is of the encoding with start timestamps.
    starts: Option<StartEncoder>,
    last: Last<K>,
    /// The end of the chunk before, to which the header of this one relates.
    before: Option<Box<Last<K>>>,
}

/// The end of a chunk, which decides what the next sample may be.
#[derive(Debug, Clone)]
struct Last<K> {
    samples: u16,
    header: CounterResetHint,
    layout: Arc<BucketLayout>,
    time: i64,
    time_delta: i64,
    sum: XorValue,
    numbers: K,
}

/// When a sample was taken, and since when it counts.
#[derive(Debug, Clone, Copy)]
struct Times {
    start: i64,
    time: i64,
}

impl<K: Kind> Default for Last<K> {
    fn default() -> Self {
        Self {
            samples: 0,
            header: CounterResetHint::Unknown,
            layout: Arc::default(),
            time: 0,
            time_delta: 0,
            sum: XorValue::NONE,
            numbers: K::default(),
        }
    }
}

impl<K: Kind> Default for Encoder<K> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Kind> Encoder<K> {
    /// Returns an encoder of an empty chunk that follows no other.
    pub fn new() -> Self {
        Self {
            writer: BitWriter::with_header(HEADER_BYTES),
            starts: None,
            last: Last::default(),
            before: None,
        }
    }

    /// Returns an encoder of an empty chunk, of the encoding with start timestamps, that follows no other.
    pub fn with_starts() -> Self {
        Self {
            starts: Some(StartEncoder::default()),
            ..Self::new()
        }
    }

    /// Returns an encoder of an empty chunk of the same encoding that follows no other.
    fn same_encoding(&self) -> Self {
        match self.starts {
            Some(_) => Self::with_starts(),
            None => Self::new(),
        }
    }

    /// Returns the number of samples so far.
    pub fn num_samples(&self) -> usize {
        usize::from(self.last.samples)
    }

    /// Reports whether the chunk holds as many samples as its header can count.
    pub fn is_full(&self) -> bool {
        self.last.samples
            == match self.starts {
                Some(_) => COUNT_WITH_STARTS_MAX,
                None => u16::MAX,
            }
    }

    /// Returns the size of the chunk so far.
    pub fn len_bytes(&self) -> usize {
        self.writer.len_bytes()
    }

    /// Returns the time of the last sample.
    pub fn last_time(&self) -> Option<Timestamp> {
        (self.last.samples > 0).then(|| Timestamp::from_millis(self.last.time))
    }

    /// Returns the chunk so far, for readers of an open chunk.
    pub fn to_chunk(&self) -> Chunk {
        self.chunk(self.writer.to_vec())
    }

    /// Returns the chunk.
    pub fn finish(mut self) -> Chunk {
        self.take_chunk()
    }

    /// Returns the chunk and begins one that continues it: its header will say whether the counter was reset.
    pub fn cut(&mut self) -> Chunk {
        let chunk = self.take_chunk();
        let last = std::mem::take(&mut self.last);
        *self = self.same_encoding();
        self.before = (last.samples > 0).then(|| Box::new(last));
        chunk
    }

    fn take_chunk(&mut self) -> Chunk {
        let data = std::mem::take(&mut self.writer).finish();
        self.chunk(data)
    }

    fn chunk(&self, mut data: Vec<u8>) -> Chunk {
        let [high, low] = self.last.samples.to_be_bytes();
        let flags = header_flags(self.last.header);
        let (encoding, header) = match &self.starts {
            None => (K::ENCODING, [high, low, flags]),
            Some(starts) => (
                K::ENCODING_WITH_STARTS,
                [high | flags, low, starts.header()],
            ),
        };
        data[..HEADER_BYTES].copy_from_slice(&header);
        Chunk {
            encoding,
            data: data.into(),
        }
    }

    /// Appends a sample without a start timestamp; the caller keeps the times in order.
    ///
    /// When the sample cannot join the chunk, the finished chunk is returned and the sample begins the next.
    ///
    /// # Panics
    ///
    /// When the chunk [is full](Encoder::is_full).
    pub fn append(&mut self, time: Timestamp, sample: &K::Sample) -> Option<Chunk> {
        self.append_with_start(Timestamp::default(), time, sample)
    }

    /// Appends a sample with its start timestamp, 0 when none is known, as [`Encoder::append`] does; a chunk of the
    /// [encoding without](Encoder::new) loses it.
    ///
    /// # Panics
    ///
    /// When the chunk [is full](Encoder::is_full).
    pub fn append_with_start(
        &mut self,
        start: Timestamp,
        time: Timestamp,
        sample: &K::Sample,
    ) -> Option<Chunk> {
        assert!(!self.is_full(), "the histogram chunk is full");
        let at = Times {
            start: start.as_millis(),
            time: time.as_millis(),
        };
        if self.last.samples == 0 {
            self.last.header = self.header_of_first(sample);
            self.put(at, sample);
            return None;
        }
        let is_gauge = K::common(sample).hint == CounterResetHint::Gauge;
        let relation = if is_gauge {
            self.last.join_gauge(sample)
        } else {
            self.last.join_counter(sample)
        };
        match relation {
            Ok((positive, negative)) => {
                self.put_joined(at, sample, positive, negative);
                None
            }
            Err(apart) => {
                let finished = self.take_chunk();
                *self = self.same_encoding();
                self.last.header = if is_gauge {
                    CounterResetHint::Gauge
                } else {
                    K::header_after(apart)
                };
                self.put(at, sample);
                Some(finished)
            }
        }
    }

    fn header_of_first(&mut self, sample: &K::Sample) -> CounterResetHint {
        let before = self.before.take();
        match (K::common(sample).hint, before) {
            (hint @ (CounterResetHint::Gauge | CounterResetHint::CounterReset), _) => hint,
            (_, Some(before)) => K::header_continued(before.join_counter(sample).map(|_gaps| ())),
            (_, None) => CounterResetHint::Unknown,
        }
    }

    /// Writes a sample that fits, after widening what lacks buckets.
    fn put_joined(&mut self, at: Times, sample: &K::Sample, positive: Gaps, negative: Gaps) {
        let in_sample = positive.in_sample || negative.in_sample;
        let in_chunk = positive.in_chunk || negative.in_chunk;
        if !in_chunk {
            if !in_sample {
                return self.put(at, sample);
            }
            let wider = K::spread(sample, &self.last.layout);
            return self.put(at, &wider);
        }
        let layout = if in_sample {
            Arc::new(self.union(sample, positive, negative))
        } else {
            Arc::clone(K::common(sample).layout)
        };
        self.widen(&layout);
        let wider = K::spread(sample, &layout);
        self.put(at, &wider);
    }

    /// Returns the layout of `sample` with the buckets of the chunk added.
    fn union(&self, sample: &K::Sample, positive: Gaps, negative: Gaps) -> BucketLayout {
        let own = K::common(sample).layout;
        let chunk = &self.last.layout;
        // COMPAT: a counter keeps its own form of the spans on a side that has all buckets of the chunk.
        let normalise_all = self.last.header == CounterResetHint::Gauge;
        let side = |chunk: &[Span], own: &[Span], gaps: Gaps| {
            if gaps.in_sample || normalise_all {
                spans_of(pairs(chunk, own).map(|pair| pair.index))
            } else {
                own.to_vec()
            }
        };
        BucketLayout {
            positive_spans: side(&chunk.positive_spans, &own.positive_spans, positive),
            negative_spans: side(&chunk.negative_spans, &own.negative_spans, negative),
            ..BucketLayout::clone(own)
        }
    }

    /// Writes the chunk anew with more buckets.
    fn widen(&mut self, layout: &Arc<BucketLayout>) {
        let samples =
            chunk::samples(&self.to_chunk()).expect("the encoder's own chunk is readable");
        let mut wider = self.same_encoding();
        wider.last.header = self.last.header;
        wider.put_all(&samples, |sample| K::spread(sample, layout));
        *self = wider;
    }

    fn put_all(&mut self, samples: &Samples, change: impl Fn(&K::Sample) -> K::Sample) {
        for (index, (time, sample)) in samples.iter().enumerate() {
            if let SampleRef::Histogram(view) = sample
                && let Some(sample) = K::from_ref(view)
            {
                let at = Times {
                    start: samples.start(index).as_millis(),
                    time: time.as_millis(),
                };
                self.put(at, &change(&sample));
            }
        }
    }

    /// Writes a sample whose buckets are those of the chunk.
    fn put(&mut self, at: Times, sample: &K::Sample) {
        if is_stale_nan(K::common(sample).sum) {
            self.put_as(at, &K::stale());
        } else {
            self.put_as(at, sample);
        }
    }

    fn put_as(&mut self, Times { start, time }: Times, sample: &K::Sample) {
        let (last, writer) = (&mut self.last, &mut self.writer);
        let common = K::common(sample);
        let mut delta = 0;
        if last.samples == 0 {
            last.layout = Arc::clone(common.layout);
            write_layout(writer, common.layout);
            writer.put_varbit_int(time);
            last.numbers.put_first_counts(writer, sample);
            last.sum = XorValue::write_first(writer, common.sum);
            last.numbers.put_first_buckets(writer, sample);
        } else {
            delta = time.wrapping_sub(last.time);
            writer.put_varbit_int(delta.wrapping_sub(last.time_delta));
            let stale = is_stale_nan(common.sum);
            last.numbers.put_counts(writer, sample, stale);
            last.sum.write(writer, common.sum);
            if !stale {
                last.numbers.put_buckets(writer, sample);
            }
        }
        if let Some(starts) = &mut self.starts {
            starts.put(writer, last.samples, start, (last.time, time));
        }
        (last.time, last.time_delta) = (time, delta);
        last.samples += 1;
    }
}

impl<K: Kind> Last<K> {
    fn is_stale(&self) -> bool {
        is_stale_nan(self.sum.value())
    }

    fn is_gauge(&self) -> bool {
        self.samples > 0 && self.header == CounterResetHint::Gauge
    }

    /// Returns whether a counter can follow, with the missing buckets on the positive and the negative side.
    ///
    /// The order of the questions decides the header of the next chunk.
    /// Source: Prometheus chunkenc, HistogramAppender.appendable and FloatHistogramAppender.appendable.
    fn join_counter(&self, sample: &K::Sample) -> Result<(Gaps, Gaps), Apart> {
        let common = K::common(sample);
        if self.is_gauge() {
            return Err(Apart::GaugeMismatch);
        }
        if common.hint == CounterResetHint::CounterReset {
            return Err(Apart::Reset);
        }
        if is_stale_nan(common.sum) {
            return Ok(Default::default());
        }
        if self.is_stale() {
            return Err(Apart::AfterStale);
        }
        if self.numbers.count_decreased(sample) {
            return Err(Apart::Reset);
        }
        if !self.same_scale(common.layout) {
            return Err(Apart::NewLayout);
        }
        if !self.same_bounds(common.layout) || self.numbers.zero_count_decreased(sample) {
            return Err(Apart::Reset);
        }
        self.numbers
            .counter_gaps(&self.layout, sample)
            .ok_or(Apart::Reset)
    }

    /// Returns whether a gauge can follow, with the missing buckets on the positive and the negative side.
    fn join_gauge(&self, sample: &K::Sample) -> Result<(Gaps, Gaps), Apart> {
        let common = K::common(sample);
        if !self.is_gauge() {
            return Err(Apart::GaugeMismatch);
        }
        if is_stale_nan(common.sum) {
            return Ok(Default::default());
        }
        if self.is_stale() {
            return Err(Apart::AfterStale);
        }
        if !self.same_scale(common.layout) || !self.same_bounds(common.layout) {
            return Err(Apart::NewLayout);
        }
        Ok((
            gaps(&self.layout.positive_spans, &common.layout.positive_spans),
            gaps(&self.layout.negative_spans, &common.layout.negative_spans),
        ))
    }

    fn same_scale(&self, other: &BucketLayout) -> bool {
        self.layout.schema == other.schema && self.layout.zero_threshold == other.zero_threshold
    }

    fn same_bounds(&self, other: &BucketLayout) -> bool {
        !other.has_custom_buckets() || self.layout.custom_values == other.custom_values
    }
}
