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
use super::xor::{fill_run, load, load_64};
use super::xor_value::{XorValue, split_window};
use super::{Chunk, Encoding};
use crate::encoding::bits::{BitReader, BitWriter};
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
    let columns = Out {
        times: &mut out.times[before..],
        values: &mut out.values[before..],
        starts: if starts.is_any() {
            &mut out.starts[before..]
        } else {
            &mut []
        },
    };
    let mut decoder = Decoder {
        out: columns,
        starts,
        done: 0,
        position: HEADER_BYTES * 8,
        time: 0,
        delta: 0,
        value: XorValue::NONE,
    };
    let decoded = decoder.read_all(data);
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

/// The size of a window in the stream.
const WINDOW_BITS: usize = 11;

/// The columns of a chunk's samples; that of the starts is empty when there are none.
struct Out<'a> {
    times: &'a mut [i64],
    values: &'a mut [f64],
    starts: &'a mut [i64],
}

/// The state between two samples.
struct Decoder<'a> {
    out: Out<'a>,
    starts: StartDecoder,
    /// How many samples are decoded.
    done: usize,
    /// Where the next one starts, in bits.
    position: usize,
    time: i64,
    delta: i64,
    /// The last value that was no stale marker.
    value: XorValue,
}

/// How a value is written.
#[derive(Clone, Copy)]
enum Form {
    Same,
    WithinWindow,
    WithWindow,
    Stale,
}

impl Decoder<'_> {
    fn read_all(&mut self, data: &[u8]) -> Result<()> {
        let count = self.out.times.len();
        self.read_first(data)?;
        if count > 1 {
            self.read_second(data)?;
        }
        self.run(data)?;
        if self.done < count {
            self.run_tail(data)?;
        }
        // The samples must not have ended in the padding.
        if self.done < count || self.position > data.len() * 8 {
            return Err(Error::corrupt("XOR2 chunk is cut short").at(data.len() as u64));
        }
        Ok(())
    }

    fn read_first(&mut self, data: &[u8]) -> Result<()> {
        let offset = HEADER_BYTES as u64;
        let (time, len) = read_varint(&data[HEADER_BYTES..]).map_err(|e| e.shifted(offset))?;
        let mut reader = BitReader::new(data, HEADER_BYTES + len);
        let value = f64::from_bits(reader.read(64)?);
        let base = if is_stale_nan(value) { 0.0 } else { value };
        self.value = XorValue::first(base.to_bits());
        self.time = time;
        self.end_sample(reader, 0, value)
    }

    fn read_second(&mut self, data: &[u8]) -> Result<()> {
        // The sample before ends at the end of a byte.
        let byte = self.position / 8;
        let (delta, len) = read_uvarint(&data[byte..]).map_err(|e| e.shifted(byte as u64))?;
        let mut reader = BitReader::new(data, byte + len);
        let head = reader.peek();
        let (form, prefix) = value_form(head);
        reader.skip(prefix)?;
        match form {
            Form::Same | Form::Stale => {}
            Form::WithinWindow => self.value.read_in_window(&mut reader)?,
            Form::WithWindow => self.value.read_with_window(&mut reader)?,
        }
        let value = match form {
            Form::Stale => STALE_NAN,
            _ => self.value.value(),
        };
        let before = self.time;
        self.delta = delta.cast_signed();
        self.time = before.wrapping_add(self.delta);
        self.end_sample(reader, before, value)
    }

    /// Reads the start of one of the first two samples and stores the sample.
    fn end_sample(&mut self, mut reader: BitReader<'_>, before: i64, value: f64) -> Result<()> {
        self.out.times[self.done] = self.time;
        self.out.values[self.done] = value;
        if let Some(start) = self.out.starts.get_mut(self.done) {
            let times = (before, self.time);
            *start = self.starts.read(&mut reader, self.done, times)?;
        }
        self.position = reader.position();
        self.done += 1;
        Ok(())
    }

    /// Decodes samples until all are done or the next one is too close to the end of `data` for a word load.
    ///
    /// The loop keeps its state in locals and stores a sample only when all of it was readable, so that the caller
    /// can go on with a padded copy of the tail.
    fn run(&mut self, data: &[u8]) -> Result<()> {
        let (mut done, mut position) = (self.done, self.position);
        let (mut time, mut delta) = (self.time, self.delta);
        let (mut bits, mut trailing, mut window) = self.value.parts();
        let count = self.out.times.len();
        let times = &mut self.out.times[..count];
        let values = &mut self.out.values[..count];
        while done < count {
            let Some(word) = load(data, position) else {
                break;
            };
            let absent = self.starts.absent_from(done);
            if word >> 63 == 0 && absent > 0 {
                // Samples of one zero bit each; the loaded word has 57 stream bits.
                let zeros = (word | 1 << 6).leading_zeros() as usize;
                let same = zeros.min(count - done).min(absent);
                fill_same(
                    &mut times[done..done + same],
                    &mut values[done..done + same],
                    (time, delta),
                    f64::from_bits(bits),
                );
                if let Some(column) = self.out.starts.get_mut(done..done + same) {
                    column.fill(self.starts.last());
                }
                time = time.wrapping_add(delta.wrapping_mul(same as i64));
                done += same;
                position += same;
                continue;
            }
            let Some((delta_of_delta, time_bits)) = read_control(data, position, word) else {
                break;
            };
            let mut at = position + time_bits;
            let head = if time_bits < 64 {
                word << time_bits
            } else if let Some(word) = load(data, at) {
                word
            } else {
                break;
            };
            let (form, prefix) = match time_bits {
                1 => (Form::Same, 0),
                2 if head >> 63 == 0 => (Form::WithinWindow, 1),
                2 => (Form::WithWindow, 1),
                5 => (Form::Stale, 0),
                _ => value_form(head),
            };
            at += prefix as usize;
            let (mut next_trailing, mut next_window) = (trailing, window);
            if let Form::WithWindow = form {
                // The window lies where it does behind a prefix of two bits.
                (next_trailing, next_window) =
                    split_window(head << prefix >> 2).ok_or_else(|| bad_window(position))?;
                at += WINDOW_BITS;
            }
            let mut next_bits = bits;
            if let Form::WithWindow | Form::WithinWindow = form {
                let Some(raw) = load_64(data, at) else {
                    break;
                };
                next_bits ^= raw >> (64 - next_window) << next_trailing;
                at += next_window as usize;
            }
            let next_delta = delta.wrapping_add(delta_of_delta);
            let next_time = time.wrapping_add(next_delta);
            if let Some(start) = self.out.starts.get_mut(done) {
                let mut reader = BitReader::at_bit(data, at);
                // Before the tail there are bytes for the longest start, and in it there is padding.
                let Ok(read) = self.starts.read(&mut reader, done, (time, next_time)) else {
                    break;
                };
                *start = read;
                at = reader.position();
            }
            (bits, trailing, window) = (next_bits, next_trailing, next_window);
            (time, delta, position) = (next_time, next_delta, at);
            times[done] = time;
            values[done] = match form {
                Form::Stale => STALE_NAN,
                _ => f64::from_bits(bits),
            };
            done += 1;
        }
        (self.done, self.position) = (done, position);
        (self.time, self.delta) = (time, delta);
        self.value = XorValue::from_parts(bits, trailing, window);
        Ok(())
    }

    /// Decodes the last samples from a copy of their bytes with zeros behind, so that the same loop can load words.
    #[cold]
    fn run_tail(&mut self, data: &[u8]) -> Result<()> {
        // A sample takes at most 219 bits and a load 9 bytes, so `run` stops at most 37 bytes before the end, and
        // from there a second sample of that size still finds 9 readable bytes.
        let mut padded = [0; 96];
        let from = self.position / 8;
        let rest = data.get(from..).unwrap_or_default();
        let room = padded.get_mut(..rest.len());
        room.expect("the tail is shorter than 37 bytes")
            .copy_from_slice(rest);
        self.position -= from * 8;
        let read = self.run(&padded);
        self.position += from * 8;
        read.map_err(|e| e.shifted(from as u64))
    }
}

/// Writes a run of samples; what the loops prepare must not be prepared for every sample.
#[inline(never)]
fn fill_same(times: &mut [i64], values: &mut [f64], (time, delta): (i64, i64), value: f64) {
    fill_run(times, values, time, delta, value);
}

/// Returns the delta of the delta and its bits; the stale marker with its five is one with the same delta.
#[inline(always)]
fn read_control(data: &[u8], position: usize, word: u64) -> Option<(i64, usize)> {
    Some(if word >> 63 == 0 {
        (0, 1)
    } else if word >> 62 == 0b10 {
        (0, 2)
    } else if word >> 61 == 0b110 {
        ((word << 3).cast_signed() >> (64 - 13), 3 + 13)
    } else if word >> 60 == 0b1110 {
        ((word << 4).cast_signed() >> (64 - 20), 4 + 20)
    } else if word >> 59 == 0b11110 {
        (load_64(data, position + 5)?.cast_signed(), 5 + 64)
    } else {
        (0, 5)
    })
}

/// Returns how a value behind a delta of delta is written, and the bits that say so.
#[inline(always)]
fn value_form(head: u64) -> (Form, u32) {
    match head >> 61 {
        0..=3 => (Form::Same, 1),
        4 | 5 => (Form::WithinWindow, 2),
        6 => (Form::WithWindow, 3),
        _ => (Form::Stale, 3),
    }
}

#[cold]
fn bad_window(position: usize) -> Error {
    Error::corrupt("XOR2 window is wider than 64 bits").at((position / 8) as u64)
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
