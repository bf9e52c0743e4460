//! Chunks: opaque, reference-counted bytes with the name of their encoding.
//!
//! A chunk travels from the block file to the gRPC frame to the decoder without being copied or re-encoded.
//! Nothing but a decoder looks inside, and an encoding that this crate does not know passes through untouched.

pub mod aggr;
mod build;
pub mod histogram;
#[cfg(test)]
mod recorded;
mod samples;
mod starts;
pub mod xor;
pub mod xor2;
mod xor_value;

use std::cmp::Ordering;
use std::fmt;

use bytes::Bytes;

pub use self::aggr::{AggregateSet, decode_aggregates, encode_aggregates, payload};
pub use self::build::{ChunkBuilder, OpenChunk, encode};
pub use self::histogram::{
    FloatHistogramEncoder, HistogramEncoder, StatsDecoder, counter_reset_header,
};
pub use self::samples::{HistogramCounts, HistogramRef, SampleIter, SampleRef, Samples};
pub use self::xor::XorEncoder;
pub use self::xor2::Xor2Encoder;
use crate::error::{Error, Result};
use crate::time::{TimeRange, Timestamp};

/// The encoding byte of a chunk, an open set: unknown values are carried, not refused.
///
/// Source: the segment file format of Prometheus' TSDB; `0xFF` is Thanos' container of aggregates.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Encoding(pub u8);

impl Encoding {
    /// No data.
    pub const NONE: Self = Self(0);
    /// Floats, XOR compressed.
    pub const XOR: Self = Self(1);
    /// Integer native histograms.
    pub const HISTOGRAM: Self = Self(2);
    /// Float native histograms.
    pub const FLOAT_HISTOGRAM: Self = Self(3);
    /// Floats with start timestamps, a later and experimental form of [`Encoding::XOR`].
    pub const XOR2: Self = Self(4);
    /// Integer native histograms with start timestamps, experimental.
    pub const HISTOGRAM_ST: Self = Self(5);
    /// Float native histograms with start timestamps, experimental.
    pub const FLOAT_HISTOGRAM_ST: Self = Self(6);
    /// Thanos' container of up to five aggregate chunks.
    pub const AGGREGATES: Self = Self(0xFF);
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NONE => f.write_str("none"),
            Self::XOR => f.write_str("XOR"),
            Self::HISTOGRAM => f.write_str("histogram"),
            Self::FLOAT_HISTOGRAM => f.write_str("floathistogram"),
            Self::XOR2 => f.write_str("XOR2"),
            Self::HISTOGRAM_ST => f.write_str("histogramST"),
            Self::FLOAT_HISTOGRAM_ST => f.write_str("floathistogramST"),
            Self::AGGREGATES => f.write_str("aggregates"),
            Self(other) => write!(f, "<unknown {other}>"),
        }
    }
}

impl fmt::Debug for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One chunk: its encoding and its bytes, without the length prefix and checksum of the segment file.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Chunk {
    /// How `data` is encoded.
    pub encoding: Encoding,
    /// The encoded samples.
    pub data: Bytes,
}

impl fmt::Debug for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chunk({}, {} bytes)", self.encoding, self.data.len())
    }
}

/// Which value of a downsampled window a chunk holds, or the raw samples; numbered as on the StoreAPI wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Aggregate {
    /// Samples as scraped.
    Raw = 0,
    /// The number of samples in the window.
    Count = 1,
    /// Their sum.
    Sum = 2,
    /// The smallest.
    Min = 3,
    /// The largest.
    Max = 4,
    /// The running total with resets removed.
    Counter = 5,
}

impl Aggregate {
    /// The five aggregates in the order of the container.
    pub const DOWNSAMPLED: [Self; 5] =
        [Self::Count, Self::Sum, Self::Min, Self::Max, Self::Counter];
}

/// A chunk of a series with its time range: raw samples, or some aggregates of the same windows.
///
/// Mirrors `AggrChunk` of the StoreAPI, in which any subset of the six fields may be present.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeriesChunk {
    /// The time of the first sample.
    pub min_time: Timestamp,
    /// The time of the last sample.
    pub max_time: Timestamp,
    /// The samples.
    pub payload: ChunkPayload,
}

impl SeriesChunk {
    /// Returns a chunk of raw samples.
    pub fn raw(min_time: Timestamp, max_time: Timestamp, chunk: Chunk) -> Self {
        Self {
            min_time,
            max_time,
            payload: ChunkPayload::Raw(chunk),
        }
    }

    /// Returns the first and last sample time.
    pub fn time_range(&self) -> TimeRange {
        TimeRange {
            min: self.min_time,
            max: self.max_time,
        }
    }

    /// Compares by the time of the first and the last sample, and where these are equal by content: chunks of several
    /// sources are in one order, whichever came first.
    pub fn cmp_by_time(&self, other: &Self) -> Ordering {
        let times = |chunk: &Self| (chunk.min_time, chunk.max_time);
        let by_times = times(self).cmp(&times(other));
        by_times.then_with(|| self.payload.cmp(&other.payload))
    }

    /// Returns the chunk that holds `aggregate`.
    pub fn get(&self, aggregate: Aggregate) -> Option<&Chunk> {
        match (&self.payload, aggregate) {
            (ChunkPayload::Raw(chunk), Aggregate::Raw) => Some(chunk),
            (ChunkPayload::Aggregates(set), _) => set[aggregate as usize].as_ref(),
            (ChunkPayload::Raw(_), _) => None,
        }
    }

    /// Returns the number of bytes of chunk data.
    pub fn data_len(&self) -> usize {
        match &self.payload {
            ChunkPayload::Raw(chunk) => chunk.data.len(),
            ChunkPayload::Aggregates(set) => {
                set.iter().flatten().map(|chunk| chunk.data.len()).sum()
            }
        }
    }
}

/// What a [`SeriesChunk`] carries.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChunkPayload {
    /// Raw samples, by far the most common case.
    Raw(Chunk),
    /// Any subset of raw, count, sum, min, max, counter, indexed by [`Aggregate`].
    Aggregates(Box<AggregateSet>),
}

/// Appends the samples of a chunk to `out`; after an error `out` is as before.
///
/// A container of aggregates has no samples of its own: decode the chunks in it.
///
/// # Errors
///
/// [`Corrupt`](crate::ErrorKind::Corrupt) when the data contradicts its encoding,
/// [`Invalid`](crate::ErrorKind::Invalid) when the encoding is not one of floats or histograms that this crate
/// reads; the message names it.
pub fn decode(chunk: &Chunk, out: &mut Samples) -> Result<()> {
    match chunk.encoding {
        Encoding::XOR => {
            let decoded = xor::decode_into(&chunk.data, &mut out.times, &mut out.values);
            out.pad_starts();
            decoded
        }
        Encoding::XOR2 => xor2::decode_into(&chunk.data, out),
        Encoding::HISTOGRAM
        | Encoding::FLOAT_HISTOGRAM
        | Encoding::HISTOGRAM_ST
        | Encoding::FLOAT_HISTOGRAM_ST => histogram::decode_into(chunk, out),
        other => Err(unreadable(other)),
    }
}

/// Returns the samples of a chunk.
///
/// # Errors
///
/// As [`decode`].
pub fn samples(chunk: &Chunk) -> Result<Samples> {
    let mut out = Samples::new();
    decode(chunk, &mut out)?;
    Ok(out)
}

/// Returns the number of samples of a chunk from its header, after a check that its bytes can hold so many;
/// for a container of aggregates it is the number of windows.
///
/// # Errors
///
/// As [`decode`].
pub fn num_samples(chunk: &Chunk) -> Result<usize> {
    match chunk.encoding {
        Encoding::XOR => xor::sample_count(&chunk.data),
        Encoding::XOR2 => xor2::sample_count(&chunk.data),
        Encoding::HISTOGRAM
        | Encoding::FLOAT_HISTOGRAM
        | Encoding::HISTOGRAM_ST
        | Encoding::FLOAT_HISTOGRAM_ST => histogram::sample_count(chunk),
        Encoding::AGGREGATES => aggr::window_count(&chunk.data),
        other => Err(unreadable(other)),
    }
}

/// Returns the times of the first and last sample, for which the chunk is decoded.
///
/// # Errors
///
/// As [`decode`].
pub fn time_range(chunk: &Chunk) -> Result<Option<TimeRange>> {
    let samples = samples(chunk)?;
    Ok(samples
        .times()
        .first()
        .zip(samples.times().last())
        .map(|(&first, &last)| TimeRange::from_millis(first, last)))
}

#[cold]
fn unreadable(encoding: Encoding) -> Error {
    Error::invalid(format!("chunks of encoding {encoding} cannot be decoded"))
}

/// Returns the chunks of a segment file, in tests.
#[cfg(test)]
pub(crate) fn segment_chunks(file: &[u8]) -> Vec<Chunk> {
    use crate::encoding::varint::read_uvarint;

    let mut chunks = Vec::new();
    let mut at = 8;
    while at < file.len() {
        let (len, prefix) = read_uvarint(&file[at..]).unwrap();
        let encoding_at = at + prefix;
        let end = encoding_at + 1 + usize::try_from(len).unwrap();
        let crc = u32::from_be_bytes(file[end..end + 4].try_into().unwrap());
        assert_eq!(crc32c::crc32c(&file[encoding_at..end]), crc);
        chunks.push(Chunk {
            encoding: Encoding(file[encoding_at]),
            data: Bytes::copy_from_slice(&file[encoding_at + 1..end]),
        });
        at = end + 4;
    }
    chunks
}
