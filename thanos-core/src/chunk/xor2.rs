//! The later float encoding: time and value share their control bits, and samples can have a start timestamp.
//!
//! ```text
//! BE16 number of samples | 1 byte header of the starts
//! sample 0    varint time, 64 bits of value, start
//! sample 1    uvarint delta, value, start
//! sample n    control, start
//!
//! control   0                    the same delta and value
//!           10, changed value    the same delta
//!           110 + 13 bits, value | 1110 + 20, value | 11110 + 64, value      delta of delta
//!           11111                the same delta, the stale marker
//! value     0 (same) | 10 + bits within the last window | 110 + window + bits | 111 (the stale marker)
//! changed   0 + bits within the last window | 1 + window + bits
//! ```
//!
//! A window is 5 bits of leading zeros and 6 bits of length, as in the older encoding. The stale marker leaves the
//! value that the next one is compared to. Source: Prometheus chunkenc, xor2.

use super::samples::Samples;
use super::starts::{StartDecoder, StartEncoder};
use super::xor_value::XorValue;
use super::{Chunk, Encoding};
use crate::encoding::bits::{BitReader, BitWriter, PEEK_BITS};
use crate::encoding::varint::{encode_uvarint, read_uvarint, read_varint, zigzag};
use crate::error::{Error, Result};
use crate::histogram::{STALE_NAN, is_stale_nan};
use crate::time::Timestamp;

/// The sample count and the header of the starts.
const HEADER_BYTES: usize = 3;
/// Where the header of the starts is.
const STARTS_AT: usize = 2;

/// Appends the samples of an XOR2 chunk; after an error `out` is as before.
///
/// # Errors
///
/// [`Corrupt`](crate::ErrorKind::Corrupt) when the data contradicts the encoding.
pub fn decode_into(data: &[u8], out: &mut Samples) -> Result<()> {
    let count = sample_count(data)?;
    if count == 0 {
        return Ok(());
    }
    let starts = StartDecoder::new(data[STARTS_AT]);
    let before = out.len();
    if starts.is_any() {
        out.starts.resize(before + count, 0);
    }
    out.times.resize(before + count, 0);
    out.values.resize(before + count, 0.0);
    out.pad_starts();
    let mut decoder = Decoder {
        data,
        reader: BitReader::new(data, HEADER_BYTES),
        time: 0,
        delta: 0,
        value: XorValue::NONE,
    };
    let columns = Out {
        times: &mut out.times[before..],
        values: &mut out.values[before..],
        starts: if starts.is_any() {
            &mut out.starts[before..]
        } else {
            &mut []
        },
    };
    let decoded = decoder.read_all(starts, columns);
    if decoded.is_err() {
        out.truncate(before);
    }
    decoded
}

/// Returns the number of samples of an XOR2 chunk, after a check that its bytes can hold so many.
///
/// # Errors
///
/// [`Corrupt`](crate::ErrorKind::Corrupt) when they cannot.
pub fn sample_count(data: &[u8]) -> Result<usize> {
    let Some(&[high, low, _]) = data.get(..HEADER_BYTES) else {
        return Err(Error::corrupt("XOR2 chunk has no header").at(0));
    };
    let count = usize::from(u16::from_be_bytes([high, low]));
    // Sample 0 takes 9 bytes, sample 1 a byte and a bit, the others a bit.
    let bits_min = match count {
        0 => 0,
        1 => 72,
        more => 81 + (more - 2),
    };
    if bits_min > (data.len() - HEADER_BYTES) * 8 {
        return Err(Error::corrupt(format!(
            "XOR2 chunk of {} bytes cannot hold {count} samples",
            data.len()
        ))
        .at(0));
    }
    Ok(count)
}

/// The columns of a chunk's samples; that of the starts is empty when there are none.
struct Out<'a> {
    times: &'a mut [i64],
    values: &'a mut [f64],
    starts: &'a mut [i64],
}

struct Decoder<'a> {
    data: &'a [u8],
    reader: BitReader<'a>,
    time: i64,
    delta: i64,
    /// The last value that was no stale marker.
    value: XorValue,
}

impl Decoder<'_> {
    fn read_all(&mut self, mut starts: StartDecoder, out: Out<'_>) -> Result<()> {
        let count = out.times.len();
        let mut index = 0;
        while index < count {
            let before = self.time;
            let same = self.same_ahead(&starts, index).min(count - index);
            if same > 0 {
                self.fill(&mut out.times[index..index + same]);
                out.values[index..index + same].fill(self.value.value());
                if let Some(column) = out.starts.get_mut(index..index + same) {
                    column.fill(starts.read(&mut self.reader, index, (before, self.time))?);
                }
                self.reader
                    .skip(u32::try_from(same).expect("no more than one word shows"))?;
                index += same;
                continue;
            }
            out.values[index] = match index {
                0 => self.read_first()?,
                1 => self.read_second()?,
                _ => self.read_next()?,
            };
            out.times[index] = self.time;
            if let Some(start) = out.starts.get_mut(index) {
                *start = starts.read(&mut self.reader, index, (before, self.time))?;
            }
            index += 1;
        }
        Ok(())
    }

    /// Returns how many samples follow of one zero bit each: the same delta, the same value and no start.
    #[inline]
    fn same_ahead(&self, starts: &StartDecoder, index: usize) -> usize {
        if index < 2 {
            return 0;
        }
        let zeros = self.reader.peek().leading_zeros().min(PEEK_BITS) as usize;
        zeros.min(starts.absent_from(index))
    }

    fn fill(&mut self, times: &mut [i64]) {
        for slot in times {
            self.time = self.time.wrapping_add(self.delta);
            *slot = self.time;
        }
    }

    fn read_first(&mut self) -> Result<f64> {
        let offset = HEADER_BYTES as u64;
        let (time, len) = read_varint(&self.data[HEADER_BYTES..]).map_err(|e| e.shifted(offset))?;
        self.time = time;
        self.reader = BitReader::new(self.data, HEADER_BYTES + len);
        let value = f64::from_bits(self.reader.read(64)?);
        let base = if is_stale_nan(value) { 0.0 } else { value };
        self.value = XorValue::first(base.to_bits());
        Ok(value)
    }

    fn read_second(&mut self) -> Result<f64> {
        // The sample before ends at the end of a byte.
        let byte = self.reader.position() / 8;
        let (delta, len) = read_uvarint(&self.data[byte..]).map_err(|e| e.shifted(byte as u64))?;
        self.reader = BitReader::new(self.data, byte + len);
        self.delta = delta.cast_signed();
        self.time = self.time.wrapping_add(self.delta);
        self.read_value()
    }

    #[inline]
    fn read_next(&mut self) -> Result<f64> {
        let head = self.reader.peek();
        let delta_of_delta = match head.leading_ones() {
            0 => {
                self.reader.skip(1)?;
                self.time = self.time.wrapping_add(self.delta);
                return Ok(self.value.value());
            }
            1 => {
                self.reader.skip(2)?;
                self.time = self.time.wrapping_add(self.delta);
                return self.read_changed_value();
            }
            2 => {
                self.reader.skip(3 + 13)?;
                (head << 3).cast_signed() >> (64 - 13)
            }
            3 => {
                self.reader.skip(4 + 20)?;
                (head << 4).cast_signed() >> (64 - 20)
            }
            4 => {
                self.reader.skip(5)?;
                self.reader.read(64)?.cast_signed()
            }
            _ => {
                self.reader.skip(5)?;
                self.time = self.time.wrapping_add(self.delta);
                return Ok(STALE_NAN);
            }
        };
        self.delta = self.delta.wrapping_add(delta_of_delta);
        self.time = self.time.wrapping_add(self.delta);
        self.read_value()
    }

    fn read_value(&mut self) -> Result<f64> {
        match self.reader.peek().leading_ones() {
            0 => self.reader.skip(1)?,
            1 => {
                self.reader.skip(2)?;
                self.value.read_in_window(&mut self.reader)?;
            }
            2 => {
                self.reader.skip(3)?;
                self.value.read_with_window(&mut self.reader)?;
            }
            _ => {
                self.reader.skip(3)?;
                return Ok(STALE_NAN);
            }
        }
        Ok(self.value.value())
    }

    fn read_changed_value(&mut self) -> Result<f64> {
        if self.reader.read(1)? == 0 {
            self.value.read_in_window(&mut self.reader)?;
        } else {
            self.value.read_with_window(&mut self.reader)?;
        }
        Ok(self.value.value())
    }
}

/// Writes XOR2 chunks bit for bit as Prometheus does.
///
/// # Example
///
/// ```
/// use thanos_core::chunk::{self, Xor2Encoder};
/// use thanos_core::time::Timestamp;
///
/// let [start, time] = [500, 1_000].map(Timestamp::from_millis);
/// let mut encoder = Xor2Encoder::new();
/// encoder.append(start, time, 0.5);
/// let samples = chunk::samples(&encoder.finish())?;
/// assert_eq!((samples.starts(), samples.values()), (&[500][..], &[0.5][..]));
/// # Ok::<(), thanos_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Xor2Encoder {
    writer: BitWriter,
    starts: StartEncoder,
    count: u16,
    time: i64,
    delta: i64,
    /// The last value that was no stale marker.
    value: XorValue,
}

impl Default for Xor2Encoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Xor2Encoder {
    /// Returns an encoder of an empty chunk.
    pub fn new() -> Self {
        Self {
            writer: BitWriter::with_header(HEADER_BYTES),
            starts: StartEncoder::default(),
            count: 0,
            time: 0,
            delta: 0,
            value: XorValue::NONE,
        }
    }

    /// Returns the number of samples so far.
    pub fn num_samples(&self) -> usize {
        usize::from(self.count)
    }

    /// Reports whether the chunk holds as many samples as its header can count.
    pub fn is_full(&self) -> bool {
        self.count == u16::MAX
    }

    /// Returns the size of the chunk so far.
    pub fn len_bytes(&self) -> usize {
        self.writer.len_bytes()
    }

    /// Appends a sample with its start timestamp, 0 when none is known; the caller keeps the times in order.
    ///
    /// # Panics
    ///
    /// When the chunk [is full](Xor2Encoder::is_full).
    pub fn append(&mut self, start: Timestamp, time: Timestamp, value: f64) {
        assert!(!self.is_full(), "an XOR2 chunk holds at most 65535 samples");
        let (before, time) = (self.time, time.as_millis());
        let delta = time.wrapping_sub(before);
        match self.count {
            0 => self.put_first(time, value),
            1 => {
                self.put_uvarint(delta.cast_unsigned());
                self.put_value(value);
                self.delta = delta;
            }
            _ => {
                self.put_next(delta.wrapping_sub(self.delta), value);
                self.delta = delta;
            }
        }
        self.starts.put(
            &mut self.writer,
            self.count,
            start.as_millis(),
            (before, time),
        );
        self.time = time;
        self.count += 1;
    }

    fn put_first(&mut self, time: i64, value: f64) {
        self.put_uvarint(zigzag(time));
        let first = XorValue::write_first(&mut self.writer, value);
        // COMPAT: after a stale marker the values begin with a difference to zero.
        if !is_stale_nan(value) {
            self.value = first;
        }
    }

    fn put_next(&mut self, delta_of_delta: i64, value: f64) {
        let raw = delta_of_delta.cast_unsigned();
        if delta_of_delta == 0 {
            return self.put_value_in_step(value);
        }
        if fits_twos_complement(delta_of_delta, 13) {
            self.writer.put(0b110 << 13 | raw & 0x1FFF, 16);
        } else if fits_twos_complement(delta_of_delta, 20) {
            self.writer.put(0b1110 << 20 | raw & 0xF_FFFF, 24);
        } else {
            self.writer.put(0b11110, 5);
            self.writer.put(raw, 64);
        }
        self.put_value(value);
    }

    /// Writes a value whose time is where it was expected.
    fn put_value_in_step(&mut self, value: f64) {
        if self.value.is(value) {
            self.writer.put(0, 1);
        } else if is_stale_nan(value) {
            self.writer.put(0b11111, 5);
        } else {
            self.value
                .write_change(&mut self.writer, value, (0b100, 3), (0b101, 3));
        }
    }

    fn put_value(&mut self, value: f64) {
        if self.value.is(value) {
            self.writer.put(0, 1);
        } else if is_stale_nan(value) {
            self.writer.put(0b111, 3);
        } else {
            self.value
                .write_change(&mut self.writer, value, (0b10, 2), (0b110, 3));
        }
    }

    fn put_uvarint(&mut self, value: u64) {
        let (bytes, len) = encode_uvarint(value);
        for &byte in &bytes[..len] {
            self.writer.put(u64::from(byte), 8);
        }
    }

    /// Returns the chunk so far, for readers of an open chunk.
    pub fn to_chunk(&self) -> Chunk {
        self.chunk(self.writer.to_vec())
    }

    /// Returns the chunk.
    pub fn finish(mut self) -> Chunk {
        let data = std::mem::take(&mut self.writer).finish();
        self.chunk(data)
    }

    fn chunk(&self, mut data: Vec<u8>) -> Chunk {
        data[..STARTS_AT].copy_from_slice(&self.count.to_be_bytes());
        data[STARTS_AT] = self.starts.header();
        Chunk {
            encoding: Encoding::XOR2,
            data: data.into(),
        }
    }
}

/// Reports whether a field of `bits` bits can hold `value` in two's complement.
#[inline]
fn fits_twos_complement(value: i64, bits: u32) -> bool {
    let limit = 1_i64 << (bits - 1);
    (-limit..limit).contains(&value)
}

#[cfg(test)]
mod tests;
