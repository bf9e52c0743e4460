//! The XOR coding of one float after another, shared by the float chunk and the histogram chunks.

use crate::encoding::bits::{BitReader, BitWriter};
use crate::error::Result;

/// No window was written yet; larger than any number of leading zeros, so that it is never reused.
const NO_WINDOW: u32 = 255;

/// A float that is coded as the difference to its predecessor.
#[derive(Debug, Clone, Copy)]
pub(super) struct XorValue {
    bits: u64,
    leading: u32,
    trailing: u32,
}

impl Default for XorValue {
    fn default() -> Self {
        Self::NONE
    }
}

impl XorValue {
    /// The state of a writer before the first value.
    pub(super) const NONE: Self = Self {
        bits: 0,
        leading: NO_WINDOW,
        trailing: 0,
    };

    pub(super) fn value(self) -> f64 {
        f64::from_bits(self.bits)
    }

    /// Returns the value's bits, the zeros after the window and its width.
    pub(super) fn parts(self) -> (u64, u32, u32) {
        (self.bits, self.trailing, 64 - self.leading - self.trailing)
    }

    pub(super) fn from_parts(bits: u64, trailing: u32, window: u32) -> Self {
        Self {
            bits,
            leading: 64 - window - trailing,
            trailing,
        }
    }

    /// Returns the state of a reader after a value that stands alone: its window is the whole word.
    pub(super) fn first(bits: u64) -> Self {
        Self::from_parts(bits, 0, 64)
    }

    /// Reads a value that stands alone.
    pub(super) fn read_first(reader: &mut BitReader<'_>) -> Result<Self> {
        Ok(Self::first(reader.read(64)?))
    }

    /// Reports whether the last value was `value`, bit by bit.
    #[inline]
    pub(super) fn is(self, value: f64) -> bool {
        self.bits == value.to_bits()
    }

    /// Reads the next value.
    #[inline]
    pub(super) fn read(&mut self, reader: &mut BitReader<'_>) -> Result<()> {
        let head = reader.peek();
        if head >> 63 == 0 {
            return reader.skip(1);
        }
        if head >> 62 == 0b10 {
            reader.skip(2)?;
        } else {
            let (trailing, window) = split_window(head)
                .ok_or_else(|| reader.corrupt("XOR window is wider than 64 bits"))?;
            reader.skip(13)?;
            *self = Self::from_parts(self.bits, trailing, window);
        }
        let window = 64 - self.leading - self.trailing;
        self.bits ^= reader.read(window)? << self.trailing;
        Ok(())
    }

    /// Reads the next value, which differs from the last one within the last window.
    #[inline]
    pub(super) fn read_in_window(&mut self, reader: &mut BitReader<'_>) -> Result<()> {
        let window = 64 - self.leading - self.trailing;
        self.bits ^= reader.read(window)? << self.trailing;
        Ok(())
    }

    /// Reads a window, and the next value that differs from the last one within it.
    #[inline]
    pub(super) fn read_with_window(&mut self, reader: &mut BitReader<'_>) -> Result<()> {
        let (trailing, window) = split_window(reader.peek() >> 2)
            .ok_or_else(|| reader.corrupt("XOR window is wider than 64 bits"))?;
        reader.skip(11)?;
        *self = Self::from_parts(self.bits, trailing, window);
        self.read_in_window(reader)
    }

    /// Writes a value that stands alone.
    pub(super) fn write_first(writer: &mut BitWriter, value: f64) -> Self {
        writer.put(value.to_bits(), 64);
        Self {
            bits: value.to_bits(),
            ..Self::NONE
        }
    }

    /// Writes the next value.
    #[inline]
    pub(super) fn write(&mut self, writer: &mut BitWriter, value: f64) {
        if self.is(value) {
            return writer.put(0, 1);
        }
        self.write_change(writer, value, (0b10, 2), (0b11, 2));
    }

    /// Writes the next value, which is another one, after the prefix of one within the last window or after that of
    /// one with a window.
    #[inline(always)]
    pub(super) fn write_change(
        &mut self,
        writer: &mut BitWriter,
        value: f64,
        within: (u64, u32),
        anew: (u64, u32),
    ) {
        let bits = value.to_bits();
        let change = bits ^ self.bits;
        self.bits = bits;
        // The field has five bits.
        let leading = change.leading_zeros().min(31);
        let trailing = change.trailing_zeros();
        if leading >= self.leading && trailing >= self.trailing {
            let window = 64 - self.leading - self.trailing;
            return put_joined(writer, within.0, within.1, change >> self.trailing, window);
        }
        (self.leading, self.trailing) = (leading, trailing);
        let window = 64 - leading - trailing;
        // A width of 64 does not fit six bits and is written as 0, which is not a width otherwise.
        let prefix = anew.0 << 11 | u64::from(leading) << 6 | u64::from(window & 63);
        put_joined(writer, prefix, anew.1 + 11, change >> trailing, window);
    }
}

/// Returns trailing zeros and width of the window that starts with the prefix `11` at the top of `head`.
#[inline(always)]
pub(super) fn split_window(head: u64) -> Option<(u32, u32)> {
    let leading = (head >> 57 & 0x1F) as u32;
    let width = (head >> 51 & 0x3F) as u32;
    let window = if width == 0 { 64 } else { width };
    Some(((64 - leading).checked_sub(window)?, window))
}

#[inline]
fn put_joined(writer: &mut BitWriter, prefix: u64, prefix_bits: u32, field: u64, bits: u32) {
    if prefix_bits + bits <= 64 {
        writer.put(prefix << bits | field, prefix_bits + bits);
    } else {
        writer.put(prefix, prefix_bits);
        writer.put(field, bits);
    }
}
