//! The histogram encodings: all samples of a chunk share one bucket layout, which the chunk starts with.
//!
//! ```text
//! BE16 number of samples | 1 byte, top two bits: counter reset header
//! layout      zero threshold, varbit schema, positive spans, negative spans, custom bounds
//! sample 0    varbit time, count, zero count, 64 bits of sum, buckets
//! sample n    varbit delta of delta of the time, count, zero count, XOR sum, buckets
//! ```
//!
//! With start timestamps, which follow the rest of a sample, the header is another one:
//!
//! ```text
//! BE16, top two bits: counter reset header, others: number of samples | 1 byte header of the starts
//! ```
//!
//! Integer histograms code counts and bucket differences as varbit deltas of deltas; float histograms code
//! every number as the float chunk codes values. A sample whose sum is the stale NaN has no buckets.
//! Source: Prometheus chunkenc, histogram and float_histogram, histogram_st and float_histogram_st.

mod decode;
mod encode;
mod kind;
mod layout;
mod numbers;

pub use decode::{StatsDecoder, decode_into};
pub use encode::{Encoder, FloatHistogramEncoder, HistogramEncoder};
pub use kind::{Float, Integer, Kind};

use super::{Chunk, Encoding};
use crate::error::{Error, Result};
use crate::histogram::CounterResetHint;

/// The sample count and the byte of flags, or of starts.
const HEADER_BYTES: usize = 3;
/// The bits of the sample count beside the counter reset header, in chunks with starts.
const COUNT_WITH_STARTS_MAX: u16 = 0x3FFF;
/// The least bits of sample 0 with its layout: threshold, schema, two span counts, time, two counts, sum.
const FIRST_SAMPLE_BITS: usize = 8 + 1 + 1 + 1 + 1 + 1 + 1 + 64;
/// The least bits of any other sample: time, two counts, sum.
const NEXT_SAMPLE_BITS: usize = 4;

/// Returns the number of samples of a histogram chunk, after a check that its bytes can hold so many.
///
/// # Errors
///
/// [`Corrupt`](crate::ErrorKind::Corrupt) when they cannot.
pub fn sample_count(chunk: &Chunk) -> Result<usize> {
    Ok(Header::read(chunk)?.count)
}

/// Returns what the header of a histogram chunk says about a reset before its first sample.
pub fn counter_reset_header(chunk: &Chunk) -> Option<CounterResetHint> {
    let flags_at = match chunk.encoding {
        Encoding::HISTOGRAM | Encoding::FLOAT_HISTOGRAM => 2,
        Encoding::HISTOGRAM_ST | Encoding::FLOAT_HISTOGRAM_ST => 0,
        _ => return None,
    };
    chunk.data.get(flags_at).map(|&flags| header_hint(flags))
}

/// What the first bytes of a chunk say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Header {
    count: usize,
    hint: CounterResetHint,
    /// The header of the starts, 0 when there are none.
    starts: u8,
}

impl Header {
    fn read(chunk: &Chunk) -> Result<Self> {
        let Some(&[first, second, third]) = chunk.data.get(..HEADER_BYTES) else {
            return Err(Error::corrupt("histogram chunk has no header").at(0));
        };
        let count = u16::from_be_bytes([first, second]);
        let header = if has_starts(chunk.encoding) {
            Self {
                count: usize::from(count & COUNT_WITH_STARTS_MAX),
                hint: header_hint(first),
                starts: third,
            }
        } else {
            Self {
                count: usize::from(count),
                hint: header_hint(third),
                starts: 0,
            }
        };
        header.check_count(chunk.data.len())?;
        Ok(header)
    }

    fn check_count(self, len: usize) -> Result<()> {
        let bits_min = match self.count {
            0 => 0,
            more => FIRST_SAMPLE_BITS + NEXT_SAMPLE_BITS * (more - 1),
        };
        if bits_min > (len - HEADER_BYTES) * 8 {
            return Err(Error::corrupt(format!(
                "histogram chunk of {len} bytes cannot hold {} samples",
                self.count
            ))
            .at(0));
        }
        Ok(())
    }
}

fn has_starts(encoding: Encoding) -> bool {
    matches!(
        encoding,
        Encoding::HISTOGRAM_ST | Encoding::FLOAT_HISTOGRAM_ST
    )
}

fn header_hint(flags: u8) -> CounterResetHint {
    match flags >> 6 {
        0b01 => CounterResetHint::NotCounterReset,
        0b10 => CounterResetHint::CounterReset,
        0b11 => CounterResetHint::Gauge,
        _ => CounterResetHint::Unknown,
    }
}

fn header_flags(hint: CounterResetHint) -> u8 {
    let bits = match hint {
        CounterResetHint::Unknown => 0b00,
        CounterResetHint::NotCounterReset => 0b01,
        CounterResetHint::CounterReset => 0b10,
        CounterResetHint::Gauge => 0b11,
    };
    bits << 6
}

#[cfg(test)]
mod tests;
