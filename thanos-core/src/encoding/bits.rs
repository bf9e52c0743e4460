//! Bit streams, most significant bit first, as the chunk encodings use them.
//!
//! The reader loads whole words: one unaligned big-endian load per field instead of a loop per bit. It is
//! checked everywhere; the float decoder in `chunk::xor` has its own loop on the same idea.

use crate::error::{Error, Result};

/// The number of bits of [`BitReader::peek`] that are certain to be stream content.
pub const PEEK_BITS: u32 = 57;

/// Reads bits from a slice.
#[derive(Debug, Clone)]
pub struct BitReader<'a> {
    data: &'a [u8],
    position: usize,
    end: usize,
}

impl<'a> BitReader<'a> {
    /// Returns a reader that stands at the byte `offset` of `data`; offsets in errors count from the start of `data`.
    pub fn new(data: &'a [u8], offset: usize) -> Self {
        Self {
            data,
            position: offset.saturating_mul(8),
            end: data.len().saturating_mul(8),
        }
    }

    /// Returns a reader that stands at the bit `position` of `data`.
    #[inline]
    pub(crate) fn at_bit(data: &'a [u8], position: usize) -> Self {
        Self {
            position,
            ..Self::new(data, 0)
        }
    }

    /// Returns the position in bits from the start of the slice.
    pub fn position(&self) -> usize {
        self.position
    }

    /// Returns the number of unread bits.
    pub fn remaining(&self) -> usize {
        self.end.saturating_sub(self.position)
    }

    /// Returns the next bits at the top of a word: at least [`PEEK_BITS`], with zeros after the end of the stream.
    #[inline]
    pub fn peek(&self) -> u64 {
        let byte = self.position / 8;
        let word = match self.data.get(byte..byte + 8) {
            Some(bytes) => be_word(bytes),
            None => self.peek_tail(byte),
        };
        word << (self.position % 8)
    }

    #[cold]
    fn peek_tail(&self, byte: usize) -> u64 {
        let rest = self.data.get(byte..).unwrap_or_default();
        let mut padded = [0; 8];
        padded[..rest.len()].copy_from_slice(rest);
        u64::from_be_bytes(padded)
    }

    /// Moves on by `bits`.
    ///
    /// # Errors
    ///
    /// [`Corrupt`](crate::ErrorKind::Corrupt) when the stream ends before.
    #[inline]
    pub fn skip(&mut self, bits: u32) -> Result<()> {
        let next = self.position + bits as usize;
        if next > self.end {
            return Err(self.cut_short());
        }
        self.position = next;
        Ok(())
    }

    /// Returns the next `bits` bits as the low bits of an integer.
    ///
    /// # Errors
    ///
    /// [`Corrupt`](crate::ErrorKind::Corrupt) when the stream ends before.
    ///
    /// # Panics
    ///
    /// In debug builds, when `bits` is above 64.
    #[inline]
    pub fn read(&mut self, bits: u32) -> Result<u64> {
        debug_assert!(bits <= 64, "a word has 64 bits");
        if bits > PEEK_BITS {
            let high = self.read(32)?;
            let low_bits = bits - 32;
            return Ok(high << low_bits | self.read(low_bits)?);
        }
        let word = self.peek();
        self.skip(bits)?;
        // Two shifts, because a shift by 64 is not defined when no bit is asked for.
        Ok(word >> 1 >> (63 - bits))
    }

    /// Returns the next eight bits.
    ///
    /// # Errors
    ///
    /// [`Corrupt`](crate::ErrorKind::Corrupt) when the stream ends before.
    #[inline]
    pub fn read_byte(&mut self) -> Result<u8> {
        let byte = self.read(8)?;
        Ok(u8::try_from(byte).expect("eight bits were read"))
    }

    /// Returns the error of a stream that ends too early, at the current byte.
    #[cold]
    pub fn cut_short(&self) -> Error {
        self.corrupt("bit stream is cut short")
    }

    /// Returns a corruption error at the current byte.
    #[cold]
    pub fn corrupt(&self, message: impl Into<String>) -> Error {
        Error::corrupt(message).at((self.position / 8) as u64)
    }
}

/// Returns the big-endian integer in a slice of exactly eight bytes.
#[inline]
pub(crate) fn be_word(bytes: &[u8]) -> u64 {
    u64::from_be_bytes(bytes.try_into().expect("the slice has eight bytes"))
}

/// Appends bits to a byte vector.
///
/// Complete words go to the vector eight bytes at a time; the rest waits in an accumulator until
/// [`BitWriter::finish`] or a copy by [`BitWriter::to_vec`].
#[derive(Debug, Clone, Default)]
pub struct BitWriter {
    bytes: Vec<u8>,
    /// The bits after `bytes`, at the top; the others are zero.
    pending: u64,
    /// How many bits of `pending` are used: always below 64.
    used: u32,
}

/// What a chunk mostly fits into.
const CAPACITY: usize = 128;

impl BitWriter {
    /// Returns a writer that continues after `bytes` zero bytes, to be set when their content is known.
    pub fn with_header(bytes: usize) -> Self {
        let mut prefix = Vec::with_capacity(CAPACITY);
        prefix.resize(bytes, 0);
        Self::with_prefix(prefix)
    }

    /// Returns a writer that continues after the whole bytes of `prefix`.
    pub fn with_prefix(prefix: Vec<u8>) -> Self {
        Self {
            bytes: prefix,
            pending: 0,
            used: 0,
        }
    }

    /// Appends the low `bits` bits of `value`, whose other bits must be zero.
    ///
    /// # Panics
    ///
    /// In debug builds, when `bits` is zero, above 64, or too few for `value`.
    #[inline]
    pub fn put(&mut self, value: u64, bits: u32) {
        debug_assert!((1..=64).contains(&bits) && value.leading_zeros() >= 64 - bits);
        let free = 64 - self.used;
        if bits < free {
            self.pending |= value << (free - bits);
            self.used += bits;
            return;
        }
        let rest = bits - free;
        let word = self.pending | value >> rest;
        self.bytes.extend_from_slice(&word.to_be_bytes());
        self.used = rest;
        // Two shifts, because `rest` may be zero.
        self.pending = value << 1 << (63 - rest);
    }

    /// Returns the number of bytes so far, the last one possibly not full.
    pub fn len_bytes(&self) -> usize {
        self.bytes.len() + (self.used as usize).div_ceil(8)
    }

    /// Returns the bytes that were complete words or the prefix, to update a header in place.
    pub fn prefix_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// Returns a copy of the bytes so far, the last one padded with zero bits.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut copy = Vec::with_capacity(self.len_bytes());
        copy.extend_from_slice(&self.bytes);
        copy.extend_from_slice(self.tail().0.get(..self.tail().1).unwrap_or_default());
        copy
    }

    /// Returns the bytes, the last one padded with zero bits.
    pub fn finish(mut self) -> Vec<u8> {
        let (tail, len) = self.tail();
        self.bytes.extend_from_slice(&tail[..len]);
        self.bytes
    }

    fn tail(&self) -> ([u8; 8], usize) {
        (self.pending.to_be_bytes(), (self.used as usize).div_ceil(8))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn field() -> impl Strategy<Value = (u64, u32)> {
        (any::<u64>(), 1_u32..=64).prop_map(|(value, bits)| (value >> (64 - bits), bits))
    }

    proptest! {
        #[test]
        fn fields_come_back_and_bytes_are_the_plain_bit_string(
            fields in prop::collection::vec(field(), 0..60),
            prefix in prop::collection::vec(any::<u8>(), 0..4),
        ) {
            let mut writer = BitWriter::with_prefix(prefix.clone());
            let mut plain: Vec<bool> = Vec::new();
            for &(value, bits) in &fields {
                writer.put(value, bits);
                plain.extend((0..bits).rev().map(|bit| value >> bit & 1 == 1));
            }
            let mut expected = prefix.clone();
            expected.extend(plain.chunks(8).map(|byte| {
                byte.iter().enumerate().fold(0_u8, |sum, (at, &bit)| sum | u8::from(bit) << (7 - at))
            }));
            prop_assert_eq!(writer.len_bytes(), expected.len());
            prop_assert_eq!(&writer.to_vec(), &expected);
            let data = writer.finish();
            prop_assert_eq!(&data, &expected);

            let mut reader = BitReader::new(&data, prefix.len());
            for &(value, bits) in &fields {
                prop_assert_eq!(reader.read(bits).unwrap(), value);
            }
            prop_assert!(reader.remaining() < 8);
            prop_assert!(reader.read(8).is_err());
        }
    }

    #[test]
    fn reading_past_the_end_is_corruption_at_the_byte() {
        let mut reader = BitReader::new(&[0xFF, 0x01], 1);
        assert_eq!(reader.read(3).unwrap(), 0);
        let error = reader.read(6).unwrap_err();
        assert_eq!(error.offset(), Some(1));
        assert_eq!(reader.read(5).unwrap(), 1);
        assert_eq!(reader.read(0).unwrap(), 0);
    }
}
