//! The two histogram encodings: all samples of a chunk share one bucket layout, which the chunk starts with.
//!
//! ```text
//! BE16 number of samples | 1 byte, top two bits: counter reset header
//! layout      zero threshold, varbit schema, positive spans, negative spans, custom bounds
//! sample 0    varbit time, count, zero count, 64 bits of sum, buckets
//! sample n    varbit delta of delta of the time, count, zero count, XOR sum, buckets
//! ```
//!
//! Integer histograms code counts and bucket differences as varbit deltas of deltas; float histograms code
//! every number as the float chunk codes values. A sample whose sum is the stale NaN has no buckets.
//! Source: Prometheus chunkenc, histogram and float_histogram.

mod decode;
mod encode;
mod kind;
mod layout;

pub use decode::{decode_float_into, decode_integer_into};
pub use encode::{Encoder, FloatHistogramEncoder, HistogramEncoder};
pub use kind::{Float, Integer, Kind};

use super::{Chunk, Encoding};
use crate::error::{Error, Result};
use crate::histogram::CounterResetHint;

/// The sample count and the byte of flags.
const HEADER_BYTES: usize = 3;
/// Where the flags are.
const FLAGS_AT: usize = 2;
/// The least bits of sample 0 with its layout: threshold, schema, two span counts, time, two counts, sum.
const FIRST_SAMPLE_BITS: usize = 8 + 1 + 1 + 1 + 1 + 1 + 1 + 64;
/// The least bits of any other sample: time, two counts, sum.
const NEXT_SAMPLE_BITS: usize = 4;

/// Returns the number of samples of a histogram chunk, after a check that its bytes can hold so many.
///
/// # Errors
///
/// [`Corrupt`](crate::ErrorKind::Corrupt) when they cannot.
pub fn sample_count(data: &[u8]) -> Result<usize> {
    let Some(&[high, low, _]) = data.get(..HEADER_BYTES) else {
        return Err(Error::corrupt("histogram chunk has no header").at(0));
    };
    let count = usize::from(u16::from_be_bytes([high, low]));
    let bits_min = match count {
        0 => 0,
        more => FIRST_SAMPLE_BITS + NEXT_SAMPLE_BITS * (more - 1),
    };
    if bits_min > (data.len() - HEADER_BYTES) * 8 {
        return Err(Error::corrupt(format!(
            "histogram chunk of {} bytes cannot hold {count} samples",
            data.len()
        ))
        .at(0));
    }
    Ok(count)
}

/// Returns what the header of a histogram chunk says about a reset before its first sample.
pub fn counter_reset_header(chunk: &Chunk) -> Option<CounterResetHint> {
    if !matches!(
        chunk.encoding,
        Encoding::HISTOGRAM | Encoding::FLOAT_HISTOGRAM
    ) {
        return None;
    }
    chunk.data.get(FLAGS_AT).map(|&flags| header_hint(flags))
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
