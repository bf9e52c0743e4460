//! The float encoding: delta-of-delta times and XOR-ed values.
//!
//! ```text
//! BE16 number of samples
//! sample 0    varint time, 64 bits of value
//! sample 1    uvarint delta, value
//! sample n    delta of delta, value
//!
//! delta of delta   0 | 10 + 14 bits | 110 + 17 | 1110 + 20 | 1111 + 64
//! value            0 (same) | 10 + bits within the last window | 11 + 5 bits leading + 6 bits length + bits
//! ```
//!
//! The window of a value is the run of bits between the leading and trailing zeros of its XOR with the value
//! before; a length of 0 means 64. Source: Prometheus chunkenc, xor.

use super::xor_value::{XorValue, split_window};
use super::{Chunk, Encoding};
use crate::encoding::bits::{BitReader, BitWriter, be_word};
use crate::encoding::varbit::{fits_signed, signed_field};
use crate::encoding::varint::{encode_uvarint, read_uvarint, read_varint, zigzag};
use crate::error::{Error, Result};
use crate::time::Timestamp;

/// The size of the sample count.
const HEADER_BYTES: usize = 2;
/// What is written at once for a run; one loaded word shows up to 28 samples.
const RUN_BLOCK: usize = 28;
/// From this length on a run is written as a block.
const RUN_LONG: usize = 12;
/// The most samples that fit the count.
const SAMPLES_MAX: u16 = u16::MAX;

/// Appends the samples of an XOR chunk to two columns; after an error the columns are as before.
///
/// # Errors
///
/// [`Corrupt`](crate::ErrorKind::Corrupt) when the data contradicts the encoding.
pub fn decode_into(data: &[u8], times: &mut Vec<i64>, values: &mut Vec<f64>) -> Result<()> {
    let count = sample_count(data)?;
    let start = times.len();
    let values_start = values.len();
    times.resize(start + count, 0);
    values.resize(values_start + count, 0.0);
    let decoded = decode_slices(data, &mut times[start..], &mut values[values_start..]);
    if decoded.is_err() {
        times.truncate(start);
        values.truncate(values_start);
    }
    decoded
}

/// Returns the number of samples of an XOR chunk, after a check that its bytes can hold so many.
///
/// # Errors
///
/// [`Corrupt`](crate::ErrorKind::Corrupt) when they cannot.
pub fn sample_count(data: &[u8]) -> Result<usize> {
    let Some(&[high, low]) = data.get(..HEADER_BYTES) else {
        return Err(Error::corrupt("XOR chunk has no header").at(0));
    };
    let count = usize::from(u16::from_be_bytes([high, low]));
    // Sample 0 takes 9 bytes, sample 1 a byte and a bit, the others two bits.
    let bits_min = match count {
        0 => 0,
        1 => 72,
        more => 81 + 2 * (more - 2),
    };
    let bits = (data.len() - HEADER_BYTES) * 8;
    if bits_min > bits {
        return Err(Error::corrupt(format!(
            "XOR chunk of {} bytes cannot hold {count} samples",
            data.len()
        ))
        .at(0));
    }
    Ok(count)
}

/// Decodes into slices whose length is the sample count.
fn decode_slices(data: &[u8], times: &mut [i64], values: &mut [f64]) -> Result<()> {
    if times.is_empty() {
        return Ok(());
    }
    let mut state = State::default();
    start(data, &mut state, times, values)?;
    run(data, &mut state, times, values)?;
    if state.done < times.len() {
        return run_tail(data, &mut state, times, values);
    }
    check_end(data, state.position)
}

/// Decodes the first two samples, which have a form of their own.
fn start(data: &[u8], state: &mut State, times: &mut [i64], values: &mut [f64]) -> Result<()> {
    let (time, len) = read_varint(&data[HEADER_BYTES..]).map_err(|e| e.shifted(2))?;
    let mut reader = BitReader::new(data, HEADER_BYTES + len);
    state.value = XorValue::first(reader.read(64)?);
    state.time = time;
    state.done = 1;
    times[0] = time;
    values[0] = state.value.value();
    if times.len() > 1 {
        let byte = reader.position() / 8;
        let (delta, len) = read_uvarint(&data[byte..]).map_err(|e| e.shifted(byte as u64))?;
        reader = BitReader::new(data, byte + len);
        state.value.read(&mut reader)?;
        state.delta = delta.cast_signed();
        state.time = time.wrapping_add(state.delta);
        state.done = 2;
        times[1] = state.time;
        values[1] = state.value.value();
    }
    state.position = reader.position();
    Ok(())
}

/// The state between two samples.
#[derive(Debug, Clone, Copy, Default)]
struct State {
    /// How many samples are decoded.
    done: usize,
    /// Where the next one starts, in bits.
    position: usize,
    time: i64,
    delta: i64,
    value: XorValue,
}

/// Decodes samples until all are done or the next one is too close to the end of `data` for a word load.
///
/// The loop keeps its state in locals and stores a sample only when all of it was readable, so that the caller
/// can go on from `state` with a padded copy of the tail.
fn run(data: &[u8], state: &mut State, times: &mut [i64], values: &mut [f64]) -> Result<()> {
    let State {
        mut done,
        mut position,
        mut time,
        mut delta,
        value,
    } = *state;
    let (mut bits, mut trailing, mut window) = value.parts();
    let count = times.len();
    let values = &mut values[..count];
    while done < count {
        let Some(word) = load(data, position) else {
            break;
        };
        if word >> 62 == 0 {
            // A run of samples with the same delta and the same value: two zero bits each. The loaded word has
            // 57 stream bits, so the guard bit ends the run before the others.
            let zeros = (word | 1 << 7).leading_zeros() as usize;
            let mut same = (zeros / 2).min(count - done);
            if same == RUN_BLOCK {
                // Constant series dominate real fleets: look for the end of the run beyond the word.
                same = (zero_bits(data, position) / 2).min(count - done);
            }
            let value = f64::from_bits(bits);
            fill_same(
                (&mut times[done..], &mut values[done..]),
                same,
                (time, delta),
                value,
            );
            time = time.wrapping_add(delta.wrapping_mul(same as i64));
            done += same;
            position += 2 * same;
            continue;
        }
        let (delta_of_delta, time_bits) = if word >> 63 == 0 {
            (0, 1)
        } else if word >> 62 == 0b10 {
            (signed_field(word << 2 >> 50, 14), 16)
        } else if word >> 61 == 0b110 {
            (signed_field(word << 3 >> 47, 17), 20)
        } else if word >> 60 == 0b1110 {
            (signed_field(word << 4 >> 44, 20), 24)
        } else if let Some(raw) = load_64(data, position + 4) {
            (raw.cast_signed(), 68)
        } else {
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
        if head >> 63 == 0 {
            at += 1;
        } else {
            let (next_trailing, next_window) = if head >> 62 == 0b10 {
                at += 2;
                (trailing, window)
            } else {
                at += 13;
                split_window(head).ok_or_else(|| bad_window(position))?
            };
            let Some(raw) = load_64(data, at) else {
                break;
            };
            (trailing, window) = (next_trailing, next_window);
            bits ^= raw >> (64 - window) << trailing;
            at += window as usize;
        }
        delta = delta.wrapping_add(delta_of_delta);
        time = time.wrapping_add(delta);
        times[done] = time;
        values[done] = f64::from_bits(bits);
        done += 1;
        position = at;
    }
    *state = State {
        done,
        position,
        time,
        delta,
        value: XorValue::from_parts(bits, trailing, window),
    };
    Ok(())
}

/// Returns how many zero bits follow from bit `position`, up to the end of `data`.
fn zero_bits(data: &[u8], position: usize) -> usize {
    let Some((first, rest)) = data.get(position / 8..).and_then(<[u8]>::split_first) else {
        return 0;
    };
    let used = position % 8;
    let first = first << used;
    if first != 0 {
        return first.leading_zeros() as usize;
    }
    let (words, bytes) = rest.as_chunks::<8>();
    let mut zeros = 8 - used;
    for word in words.iter().map(|word| u64::from_be_bytes(*word)) {
        if word != 0 {
            return zeros + word.leading_zeros() as usize;
        }
        zeros += 64;
    }
    for byte in bytes {
        if *byte != 0 {
            return zeros + byte.leading_zeros() as usize;
        }
        zeros += 8;
    }
    zeros
}

/// Writes the samples of a run at the beginning of two columns.
///
/// Not inlined: what the fast loops for it prepare would be prepared for every sample.
#[inline(never)]
fn fill_same(
    (times, values): (&mut [i64], &mut [f64]),
    same: usize,
    (time, delta): (i64, i64),
    value: f64,
) {
    let is_block = (RUN_LONG..=RUN_BLOCK).contains(&same);
    if !is_block || !fill_block(times, values, time, delta, value) {
        fill_run(&mut times[..same], &mut values[..same], time, delta, value);
    }
}

/// Writes the samples of a run.
#[inline(always)]
pub(super) fn fill_run(
    times: &mut [i64],
    values: &mut [f64],
    mut time: i64,
    delta: i64,
    value: f64,
) {
    for slot in times {
        time = time.wrapping_add(delta);
        *slot = time;
    }
    values.fill(value);
}

/// Writes a whole block of samples, if there is room, of which the ones after the run are overwritten later:
/// a loop of fixed length costs less than a jump that is not foreseen.
#[inline(always)]
fn fill_block(times: &mut [i64], values: &mut [f64], time: i64, delta: i64, value: f64) -> bool {
    let (Some(times), Some(values)) = (
        times.first_chunk_mut::<RUN_BLOCK>(),
        values.first_chunk_mut::<RUN_BLOCK>(),
    ) else {
        return false;
    };
    fill_run(times, values, time, delta, value);
    true
}

/// Decodes the last samples from a copy of their bytes with zeros behind, so that the same loop can load words.
#[cold]
fn run_tail(data: &[u8], state: &mut State, times: &mut [i64], values: &mut [f64]) -> Result<()> {
    // A sample takes at most 145 bits and a load 9 bytes, so `run` stops at most 28 bytes before the end,
    // and from there a second sample of that size still finds 9 readable bytes.
    let mut padded = [0; 64];
    let from = state.position / 8;
    let rest = data.get(from..).ok_or_else(|| cut_short(data))?;
    padded
        .get_mut(..rest.len())
        .expect("the tail is shorter than 28 bytes")
        .copy_from_slice(rest);
    state.position -= from * 8;
    run(&padded, state, times, values).map_err(|e| e.shifted(from as u64))?;
    if state.done < times.len() {
        return Err(cut_short(data));
    }
    check_end(data, state.position + from * 8)
}

/// Checks that the samples did not end in the padding.
fn check_end(data: &[u8], position: usize) -> Result<()> {
    if position > data.len() * 8 {
        return Err(cut_short(data));
    }
    Ok(())
}

#[cold]
fn cut_short(data: &[u8]) -> Error {
    Error::corrupt("XOR chunk is cut short").at(data.len() as u64)
}

#[cold]
fn bad_window(position: usize) -> Error {
    Error::corrupt("XOR window is wider than 64 bits").at((position / 8) as u64)
}

/// Returns at least 57 bits from bit `position` at the top of a word, if eight bytes are left.
#[inline(always)]
pub(super) fn load(data: &[u8], position: usize) -> Option<u64> {
    let byte = position / 8;
    let bytes = data.get(byte..byte + 8)?;
    Some(be_word(bytes) << (position % 8))
}

/// Returns the 64 bits from bit `position`, if nine bytes are left.
#[inline(always)]
pub(super) fn load_64(data: &[u8], position: usize) -> Option<u64> {
    let byte = position / 8;
    let shift = position % 8;
    let bytes = data.get(byte..byte + 9)?;
    Some(be_word(&bytes[..8]) << shift | u64::from(bytes[8]) << shift >> 8)
}

/// Writes an XOR chunk, bit for bit as Prometheus does.
///
/// # Example
///
/// ```
/// use thanos_core::chunk::{self, XorEncoder};
/// use thanos_core::time::Timestamp;
///
/// let mut encoder = XorEncoder::new();
/// encoder.append(Timestamp::from_millis(1_000), 1.5);
/// encoder.append(Timestamp::from_millis(16_000), 1.5);
/// let samples = chunk::samples(&encoder.finish())?;
/// assert_eq!(samples.times(), [1_000, 16_000]);
/// assert_eq!(samples.values(), [1.5, 1.5]);
/// # Ok::<(), thanos_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct XorEncoder {
    writer: BitWriter,
    count: u16,
    time: i64,
    delta: i64,
    value: XorValue,
}

impl Default for XorEncoder {
    fn default() -> Self {
        Self::new()
    }
}

impl XorEncoder {
    /// Returns an encoder of an empty chunk.
    pub fn new() -> Self {
        Self {
            writer: BitWriter::with_header(HEADER_BYTES),
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
        self.count == SAMPLES_MAX
    }

    /// Returns the size of the chunk so far.
    pub fn len_bytes(&self) -> usize {
        self.writer.len_bytes()
    }

    /// Returns the last sample.
    pub fn last(&self) -> Option<(Timestamp, f64)> {
        (self.count > 0).then(|| (Timestamp::from_millis(self.time), self.value.value()))
    }

    /// Appends a sample; the caller keeps the times in order.
    ///
    /// # Panics
    ///
    /// When the chunk [is full](XorEncoder::is_full).
    #[inline]
    pub fn append(&mut self, time: Timestamp, value: f64) {
        let time = time.as_millis();
        match self.count {
            0 => self.put_first(time, value),
            1 => self.put_second(time, value),
            SAMPLES_MAX => panic!("an XOR chunk holds at most 65535 samples"),
            _ => {
                let delta = time.wrapping_sub(self.time);
                let change = delta.wrapping_sub(self.delta);
                put_next(&mut self.writer, change, &mut self.value, value);
                self.delta = delta;
            }
        }
        self.time = time;
        self.count += 1;
    }

    /// Appends samples from columns of the same length; the caller keeps the times in order.
    ///
    /// # Panics
    ///
    /// When the columns differ in length or the chunk cannot count so many samples.
    pub fn extend(&mut self, times: &[i64], values: &[f64]) {
        assert_eq!(times.len(), values.len(), "each time has a value");
        let alone = times.len().min(2_usize.saturating_sub(self.num_samples()));
        for (&time, &value) in times[..alone].iter().zip(values) {
            self.append(Timestamp::from_millis(time), value);
        }
        let (times, values) = (&times[alone..], &values[alone..]);
        let count = u16::try_from(times.len()).ok();
        let count = count.and_then(|count| self.count.checked_add(count));
        self.count = count.expect("an XOR chunk holds at most 65535 samples");
        // The state of the loop stays in registers only in locals.
        let mut writer = std::mem::take(&mut self.writer);
        let (mut last, mut last_delta, mut last_value) = (self.time, self.delta, self.value);
        for (&time, &value) in times.iter().zip(values) {
            let delta = time.wrapping_sub(last);
            put_next(
                &mut writer,
                delta.wrapping_sub(last_delta),
                &mut last_value,
                value,
            );
            (last, last_delta) = (time, delta);
        }
        (self.time, self.delta, self.value) = (last, last_delta, last_value);
        self.writer = writer;
    }

    fn put_first(&mut self, time: i64, value: f64) {
        self.put_uvarint(zigzag(time));
        self.value = XorValue::write_first(&mut self.writer, value);
    }

    fn put_second(&mut self, time: i64, value: f64) {
        self.delta = time.wrapping_sub(self.time);
        self.put_uvarint(self.delta.cast_unsigned());
        self.value.write(&mut self.writer, value);
    }

    fn put_uvarint(&mut self, value: u64) {
        let (bytes, len) = encode_uvarint(value);
        for &byte in &bytes[..len] {
            self.writer.put(u64::from(byte), 8);
        }
    }

    /// Returns the chunk so far, for readers of an open chunk.
    pub fn to_chunk(&self) -> Chunk {
        Self::chunk(self.writer.to_vec(), self.count)
    }

    /// Returns the chunk.
    pub fn finish(self) -> Chunk {
        Self::chunk(self.writer.finish(), self.count)
    }

    fn chunk(mut data: Vec<u8>, count: u16) -> Chunk {
        data[..HEADER_BYTES].copy_from_slice(&count.to_be_bytes());
        Chunk {
            encoding: Encoding::XOR,
            data: data.into(),
        }
    }
}

/// Writes a sample after the second.
#[inline(always)]
fn put_next(writer: &mut BitWriter, delta_of_delta: i64, last: &mut XorValue, value: f64) {
    if delta_of_delta == 0 && last.is(value) {
        return writer.put(0, 2);
    }
    put_delta_of_delta(writer, delta_of_delta);
    last.write(writer, value);
}

#[inline]
fn put_delta_of_delta(writer: &mut BitWriter, dod: i64) {
    let raw = dod.cast_unsigned();
    if dod == 0 {
        writer.put(0, 1);
    } else if fits_signed(dod, 14) {
        writer.put(0b10 << 14 | raw & 0x3FFF, 16);
    } else if fits_signed(dod, 17) {
        writer.put(0b110 << 17 | raw & 0x1_FFFF, 20);
    } else if fits_signed(dod, 20) {
        writer.put(0b1110 << 20 | raw & 0xF_FFFF, 24);
    } else {
        writer.put(0b1111, 4);
        writer.put(raw, 64);
    }
}

#[cfg(test)]
mod tests;
