//! Samples in memory made into chunks, cut where Prometheus cuts them.
//!
//! The encoders write one chunk each and know nothing of the others; what ends a chunk is decided here.

use super::{
    Chunk, Encoding, FloatHistogramEncoder, HistogramCounts, HistogramEncoder, SampleRef, Samples,
    SeriesChunk, Xor2Encoder, XorEncoder,
};
use crate::error::{Error, Result};
use crate::time::{TimeRange, Timestamp};

/// The samples of a full chunk.
const CHUNK_SAMPLES: usize = 120;

/// Returns the samples of a series as chunks, which [`ChunkBuilder`] cuts.
///
/// # Example
///
/// ```
/// use thanos_core::chunk::{self, Aggregate, Encoding, SampleRef, Samples};
/// use thanos_core::time::Timestamp;
///
/// let [start, time, later] = [500, 1_000, 2_000].map(Timestamp::from_millis);
/// let mut samples = Samples::new();
/// samples.push_float(time, 1.0);
/// samples.push_with_start(start, later, SampleRef::Float(2.0));
/// let chunks = chunk::encode(&samples);
/// let encodings = chunks.iter().filter_map(|part| part.get(Aggregate::Raw));
/// let encodings: Vec<Encoding> = encodings.map(|chunk| chunk.encoding).collect();
/// assert_eq!(encodings, [Encoding::XOR, Encoding::XOR2]);
/// ```
pub fn encode(samples: &Samples) -> Vec<SeriesChunk> {
    let mut builder = ChunkBuilder::new();
    if samples.is_float_only() && samples.starts().is_empty() {
        builder.push_floats(samples);
    } else {
        for (index, (time, sample)) in samples.iter().enumerate() {
            builder.push(samples.start(index), time, sample);
        }
    }
    builder.finish()
}

/// Makes chunks of samples that come one by one.
///
/// A chunk ends after 120 samples, where the kind of the samples changes, where a histogram can not join it (as
/// after a counter reset), and where its encoding can not hold the sample: a start timestamp calls for one of the
/// encodings that have them, and a histogram without for one that has not.
/// Source: Prometheus `storage/series.go`, `seriesToChunkEncoder`.
#[derive(Debug, Default)]
pub struct ChunkBuilder {
    open: Option<OpenChunk>,
    chunks: Vec<SeriesChunk>,
}

impl ChunkBuilder {
    /// Returns a builder without samples.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a sample with its start timestamp, 0 when none is known; the caller keeps the times in order.
    pub fn push(&mut self, start: Timestamp, time: Timestamp, sample: SampleRef<'_>) {
        let wanted = encoding_of(sample, start);
        let fits = |open: &OpenChunk| {
            open.num_samples() < CHUNK_SAMPLES
                && (open.encoding() == wanted
                    || (open.encoding(), wanted) == (Encoding::XOR2, Encoding::XOR))
        };
        if !self.open.as_ref().is_some_and(fits) {
            self.end_chunk();
        }
        let open = self.open.get_or_insert_with(|| OpenChunk::of_known(wanted));
        let ended = open
            .append(start, time, sample)
            .expect("the chunk is of the kind of the sample");
        self.chunks.extend(ended);
    }

    /// Appends floats without start timestamps.
    fn push_floats(&mut self, samples: &Samples) {
        self.end_chunk();
        let columns = samples.times().chunks(CHUNK_SAMPLES);
        for (times, values) in columns.zip(samples.values().chunks(CHUNK_SAMPLES)) {
            let mut encoder = XorEncoder::new();
            encoder.extend(times, values);
            let [first, last] = [times[0], times[times.len() - 1]].map(Timestamp::from_millis);
            self.chunks
                .push(SeriesChunk::raw(first, last, encoder.finish()));
        }
    }

    fn end_chunk(&mut self) {
        let ended = self.open.take().and_then(OpenChunk::finish);
        self.chunks.extend(ended);
    }

    /// Returns the chunks.
    pub fn finish(mut self) -> Vec<SeriesChunk> {
        self.end_chunk();
        self.chunks
    }
}

/// The encoding of a new chunk that begins with this sample.
fn encoding_of(sample: SampleRef<'_>, start: Timestamp) -> Encoding {
    let has_start = start.as_millis() != 0;
    let [plain, with_starts] = match sample {
        SampleRef::Float(_) => [Encoding::XOR, Encoding::XOR2],
        SampleRef::Histogram(histogram) => match histogram.counts {
            HistogramCounts::Integer { .. } => [Encoding::HISTOGRAM, Encoding::HISTOGRAM_ST],
            HistogramCounts::Float { .. } => {
                [Encoding::FLOAT_HISTOGRAM, Encoding::FLOAT_HISTOGRAM_ST]
            }
        },
    };
    if has_start { with_starts } else { plain }
}

/// A chunk in the making, of any encoding that this crate writes.
#[derive(Debug)]
pub struct OpenChunk {
    encoder: Encoder,
    encoding: Encoding,
    /// The first and last time in the encoder.
    range: Option<TimeRange>,
}

#[derive(Debug)]
enum Encoder {
    Xor(XorEncoder),
    Xor2(Xor2Encoder),
    Histogram(HistogramEncoder),
    FloatHistogram(FloatHistogramEncoder),
}

impl Encoder {
    fn new(encoding: Encoding) -> Option<Self> {
        Some(match encoding {
            Encoding::XOR => Self::Xor(XorEncoder::new()),
            Encoding::XOR2 => Self::Xor2(Xor2Encoder::new()),
            Encoding::HISTOGRAM => Self::Histogram(HistogramEncoder::new()),
            Encoding::HISTOGRAM_ST => Self::Histogram(HistogramEncoder::with_starts()),
            Encoding::FLOAT_HISTOGRAM => Self::FloatHistogram(FloatHistogramEncoder::new()),
            Encoding::FLOAT_HISTOGRAM_ST => {
                Self::FloatHistogram(FloatHistogramEncoder::with_starts())
            }
            _ => return None,
        })
    }
}

impl OpenChunk {
    /// Returns an empty chunk.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) when the encoding is not one of samples that this crate writes.
    pub fn new(encoding: Encoding) -> Result<Self> {
        let encoder = Encoder::new(encoding).ok_or_else(|| {
            Error::invalid(format!("chunks of encoding {encoding} can not be written"))
        })?;
        Ok(Self {
            encoder,
            encoding,
            range: None,
        })
    }

    fn of_known(encoding: Encoding) -> Self {
        Self::new(encoding).expect("samples have encodings that this crate writes")
    }

    /// Returns the encoding.
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// Returns the number of samples so far.
    pub fn num_samples(&self) -> usize {
        match &self.encoder {
            Encoder::Xor(encoder) => encoder.num_samples(),
            Encoder::Xor2(encoder) => encoder.num_samples(),
            Encoder::Histogram(encoder) => encoder.num_samples(),
            Encoder::FloatHistogram(encoder) => encoder.num_samples(),
        }
    }

    /// Appends a sample with its start timestamp, 0 when none is known; the caller keeps the times in order. An
    /// encoding without start timestamps loses it.
    ///
    /// When a histogram cannot join the chunk, the finished chunk is returned and the sample begins the next.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) when the sample is of another kind than the chunk.
    ///
    /// # Panics
    ///
    /// When the chunk holds as many samples as its header can count.
    pub fn append(
        &mut self,
        start: Timestamp,
        time: Timestamp,
        sample: SampleRef<'_>,
    ) -> Result<Option<SeriesChunk>> {
        let ended = match (&mut self.encoder, sample) {
            (Encoder::Xor(encoder), SampleRef::Float(value)) => {
                encoder.append(time, value);
                None
            }
            (Encoder::Xor2(encoder), SampleRef::Float(value)) => {
                encoder.append(start, time, value);
                None
            }
            (Encoder::Histogram(encoder), SampleRef::Histogram(histogram)) => {
                let histogram = histogram.to_integer().ok_or_else(mixed)?;
                encoder.append_with_start(start, time, &histogram)
            }
            (Encoder::FloatHistogram(encoder), SampleRef::Histogram(histogram)) => {
                encoder.append_with_start(start, time, &histogram.to_float())
            }
            (Encoder::Xor(_) | Encoder::Xor2(_), SampleRef::Histogram(_))
            | (Encoder::Histogram(_) | Encoder::FloatHistogram(_), SampleRef::Float(_)) => {
                return Err(mixed());
            }
        };
        let before = self.range;
        let min = before
            .filter(|_| ended.is_none())
            .map_or(time, |range| range.min);
        self.range = Some(TimeRange { min, max: time });
        Ok(ended
            .zip(before)
            .map(|(chunk, range)| SeriesChunk::raw(range.min, range.max, chunk)))
    }

    /// Returns the chunk, unless it has no samples.
    pub fn finish(self) -> Option<SeriesChunk> {
        let range = self.range?;
        let chunk: Chunk = match self.encoder {
            Encoder::Xor(encoder) => encoder.finish(),
            Encoder::Xor2(encoder) => encoder.finish(),
            Encoder::Histogram(encoder) => encoder.finish(),
            Encoder::FloatHistogram(encoder) => encoder.finish(),
        };
        Some(SeriesChunk::raw(range.min, range.max, chunk))
    }
}

#[cold]
fn mixed() -> Error {
    Error::invalid("the sample is of another kind than its chunk")
}

#[cfg(test)]
mod tests;
