//! Variable-length integers in a bit stream: a unary prefix names one of nine sizes.
//!
//! ```text
//! 0                       zero
//! 10        +  3 bits     11111 0      + 18 bits
//! 110       +  6 bits     111111 0     + 25 bits
//! 1110      +  9 bits     1111111 0    + 56 bits
//! 11110     + 12 bits     11111111     + 64 bits
//! ```
//!
//! A signed field of n bits holds -(2^(n-1) - 1) ..= 2^(n-1). Source: Prometheus chunkenc, varbit.

use super::bits::{BitReader, BitWriter};
use crate::error::Result;

/// The field sizes by the number of ones in the prefix.
const SIZES: [u32; 9] = [0, 3, 6, 9, 12, 18, 25, 56, 64];

/// The number of ones in the prefix by the number of bits that a field needs.
const ONES: [usize; 66] = {
    let mut ones = [0; 66];
    let mut needed: u32 = 0;
    while needed < 66 {
        let mut class = 0;
        while class < 8 && SIZES[class] < needed {
            class += 1;
        }
        ones[needed as usize] = class;
        needed += 1;
    }
    ones
};

/// Reports whether a signed field of `bits` bits can hold `value`.
#[inline]
pub(crate) fn fits_signed(value: i64, bits: u32) -> bool {
    let limit = 1_i64 << (bits - 1);
    -limit < value && value <= limit
}

/// Returns the value of a signed field of `bits` bits, whose range is shifted by one against two's complement.
#[inline]
pub(crate) fn signed_field(raw: u64, bits: u32) -> i64 {
    let unused = 64 - bits;
    ((raw.wrapping_sub(1) << unused).cast_signed() >> unused) + 1
}

impl BitReader<'_> {
    /// Returns a signed varbit integer.
    ///
    /// # Errors
    ///
    /// [`Corrupt`](crate::ErrorKind::Corrupt) when the stream ends before.
    #[inline]
    pub fn read_varbit_int(&mut self) -> Result<i64> {
        let (raw, bits) = self.read_varbit()?;
        Ok(match bits {
            0 => 0,
            64 => raw.cast_signed(),
            bits => signed_field(raw, bits),
        })
    }

    /// Returns an unsigned varbit integer.
    ///
    /// # Errors
    ///
    /// [`Corrupt`](crate::ErrorKind::Corrupt) when the stream ends before.
    #[inline]
    pub fn read_varbit_uint(&mut self) -> Result<u64> {
        Ok(self.read_varbit()?.0)
    }

    #[inline]
    fn read_varbit(&mut self) -> Result<(u64, u32)> {
        let word = self.peek();
        let ones = word.leading_ones().min(8);
        let bits = SIZES[ones as usize];
        let prefix = (ones + 1).min(8);
        if prefix + bits <= super::bits::PEEK_BITS {
            self.skip(prefix + bits)?;
            // Two shifts, because the field may be empty.
            return Ok((word << prefix >> 1 >> (63 - bits), bits));
        }
        self.skip(prefix)?;
        Ok((self.read(bits)?, bits))
    }

    /// Fills `out` with signed varbit integers.
    ///
    /// This is the inner loop of histogram chunks, whose integers are mostly small: one step of a table takes
    /// several from the next byte, and several steps share one loaded word.
    ///
    /// # Errors
    ///
    /// [`Corrupt`](crate::ErrorKind::Corrupt) when the stream ends before.
    #[inline]
    pub(crate) fn read_varbit_ints(&mut self, out: &mut [i64]) -> Result<()> {
        let mut at = 0;
        while at < out.len() {
            if self.remaining() < 64 {
                out[at] = self.read_varbit_int()?;
                at += 1;
                continue;
            }
            let mut word = self.peek();
            let mut left = super::bits::PEEK_BITS;
            while at < out.len() && left >= SMALL_BITS_MAX {
                let step = &STEPS[(word >> 56) as usize];
                if step.count > 0
                    && let Some(slots) = out.get_mut(at..at + STEP_MAX)
                {
                    // What is written beyond the count is overwritten by the next step.
                    slots.copy_from_slice(&step.values);
                    at += step.count as usize;
                    word <<= step.bits;
                    left -= step.bits;
                    continue;
                }
                let ones = word.leading_ones();
                if ones > SMALL_ONES_MAX {
                    break;
                }
                // For small integers a field has three bits for each one of the prefix.
                let bits = 3 * ones;
                let raw = word << (ones + 1) >> 1 >> (63 - bits);
                let above = u64::from(raw > 1 << bits >> 1);
                out[at] = raw.wrapping_sub(above << bits).cast_signed();
                at += 1;
                word <<= ones + 1 + bits;
                left -= ones + 1 + bits;
            }
            self.skip(super::bits::PEEK_BITS - left)?;
            if at < out.len() && left >= SMALL_BITS_MAX {
                out[at] = self.read_varbit_int()?;
                at += 1;
            }
        }
        Ok(())
    }
}

/// The most integers in one byte: zeros.
const STEP_MAX: usize = 8;

/// The integers that begin and end within a byte of the stream.
#[derive(Clone, Copy)]
struct Step {
    values: [i64; STEP_MAX],
    count: u32,
    bits: u32,
}

/// The step for each byte.
static STEPS: [Step; 256] = {
    let mut steps = [Step {
        values: [0; STEP_MAX],
        count: 0,
        bits: 0,
    }; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut step = steps[byte];
        while step.bits < 8 {
            let rest = (byte << step.bits) & 0xFF;
            if rest >> 7 == 0 {
                step.bits += 1;
            } else if rest >> 6 == 0b10 && step.bits + 5 <= 8 {
                let raw = (rest >> 3 & 0b111) as i64;
                step.values[step.count as usize] = if raw > 4 { raw - 8 } else { raw };
                step.bits += 5;
            } else {
                break;
            }
            step.count += 1;
        }
        steps[byte] = step;
        byte += 1;
    }
    steps
};

/// The most ones in the prefix of a small integer, one of up to 12 bits.
const SMALL_ONES_MAX: u32 = 4;
/// The most bits of a small integer with its prefix.
const SMALL_BITS_MAX: u32 = 17;

impl BitWriter {
    /// Appends a signed varbit integer.
    #[inline]
    pub fn put_varbit_int(&mut self, value: i64) {
        // A field of n bits holds up to 2^(n-1), so one less than the value must fit n - 1 bits.
        let magnitude = if value > 0 {
            value - 1
        } else {
            value.wrapping_neg()
        };
        let needed = match value {
            0 => 0,
            _ => 65 - magnitude.leading_zeros(),
        };
        self.put_varbit(value.cast_unsigned(), ONES[needed as usize]);
    }

    /// Appends an unsigned varbit integer.
    #[inline]
    pub fn put_varbit_uint(&mut self, value: u64) {
        let needed = 64 - value.leading_zeros();
        self.put_varbit(value, ONES[needed as usize]);
    }

    #[inline]
    fn put_varbit(&mut self, value: u64, ones: usize) {
        let bits = SIZES[ones];
        if ones == 0 {
            return self.put(0, 1);
        }
        if ones == 8 {
            self.put(0xFF, 8);
            return self.put(value, 64);
        }
        let prefix = (1_u64 << (ones + 1)) - 2;
        let field = value & ((1 << bits) - 1);
        self.put(
            prefix << bits | field,
            bits + u32::try_from(ones).expect("at most eight") + 1,
        );
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_change_at_the_documented_bounds() {
        let table = [
            (0, 1),
            (1, 5),
            (-3, 5),
            (4, 5),
            (-4, 9),
            (5, 9),
            (-31, 9),
            (32, 9),
            (33, 13),
            (256, 13),
            (257, 17),
            (2048, 17),
            (2049, 24),
            (131_072, 24),
            (131_073, 32),
            (16_777_216, 32),
            (16_777_217, 64),
            (36_028_797_018_963_968, 64),
            (36_028_797_018_963_969, 72),
            (i64::MIN, 72),
        ];
        for (value, bits) in table {
            let mut writer = BitWriter::default();
            writer.put_varbit_int(value);
            writer.put(1, 1);
            let data = writer.finish();
            let mut reader = BitReader::new(&data, 0);
            assert_eq!(reader.read_varbit_int().unwrap(), value);
            assert_eq!(reader.position(), bits, "{value}");
        }
    }

    proptest! {
        #[test]
        fn any_integer_comes_back(values in prop::collection::vec((any::<i64>(), 0_u32..64), 1..40)) {
            let mut writer = BitWriter::default();
            for &(value, shift) in &values {
                writer.put_varbit_int(value >> shift);
                writer.put_varbit_uint(value.cast_unsigned() >> shift);
            }
            let data = writer.finish();
            let mut reader = BitReader::new(&data, 0);
            for &(value, shift) in &values {
                prop_assert_eq!(reader.read_varbit_int().unwrap(), value >> shift);
                prop_assert_eq!(reader.read_varbit_uint().unwrap(), value.cast_unsigned() >> shift);
            }
        }

        #[test]
        fn many_at_once_are_the_same_as_one_by_one(
            values in prop::collection::vec(prop_oneof![Just(0_i64), -40_i64..40, -3000_i64..3000, any::<i64>()], 0..80),
            repeat in 1_usize..6,
            cut in 0_usize..40,
        ) {
            let values: Vec<i64> = values.iter().flat_map(|&value| vec![value; repeat]).collect();
            let mut writer = BitWriter::default();
            values.iter().for_each(|&value| writer.put_varbit_int(value));
            writer.put(0b101, 3);
            let data = writer.finish();
            let mut reader = BitReader::new(&data, 0);
            let mut read = vec![0; values.len()];
            reader.read_varbit_ints(&mut read).unwrap();
            prop_assert_eq!(&read, &values);
            prop_assert_eq!(reader.read(3).unwrap(), 0b101);

            let cut_data = &data[..data.len().saturating_sub(cut + 1)];
            let mut one_by_one = BitReader::new(cut_data, 0);
            let all = values.iter().all(|_| one_by_one.read_varbit_int().is_ok());
            let mut reader = BitReader::new(cut_data, 0);
            prop_assert_eq!(reader.read_varbit_ints(&mut read).is_ok(), all);
        }
    }
}
