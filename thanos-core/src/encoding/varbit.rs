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

use super::bits::{BitReader, BitWriter, PEEK_BITS};
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
        if prefix + bits <= PEEK_BITS {
            self.skip(prefix + bits)?;
            // Two shifts, because the field may be empty.
            return Ok((word << prefix >> 1 >> (63 - bits), bits));
        }
        self.skip(prefix)?;
        Ok((self.read(bits)?, bits))
    }

    /// Reads a signed varbit integer for each item of `large`: small ones go to the beginning of `small`, the others
    /// are added to `large` and are zero in `small`.
    ///
    /// This is the inner loop of histogram chunks, whose integers are mostly small: a step of a table takes several
    /// from the next bits, and several steps share one loaded word.
    ///
    /// # Errors
    ///
    /// [`Corrupt`](crate::ErrorKind::Corrupt) when the stream ends before.
    ///
    /// # Panics
    ///
    /// When `small` is not longer than `large` by [`SMALL_SLACK`].
    #[inline]
    pub(crate) fn read_varbit_ints(&mut self, large: &mut [i64], small: &mut [i8]) -> Result<()> {
        let count = large.len();
        assert_eq!(small.len(), count + SMALL_SLACK, "the slack is there");
        let mut at = 0;
        while at < count {
            if self.remaining() >= 64 {
                let from = at;
                at = self.read_small_ints(at, count, small)?;
                if at > from {
                    continue;
                }
            }
            let value = self.read_varbit_int()?;
            small[at] = 0;
            large[at] = large[at].wrapping_add(value);
            at += 1;
        }
        Ok(())
    }

    /// Reads the small integers among the next bits; returns the index of the integer after them.
    #[inline]
    fn read_small_ints(&mut self, mut at: usize, count: usize, small: &mut [i8]) -> Result<usize> {
        let mut word = self.peek();
        let zeros = (word.leading_zeros().min(PEEK_BITS) as usize).min(count - at);
        if zeros >= MANY_ZEROS {
            small[at..at + zeros].fill(0);
            self.skip(u32::try_from(zeros).expect("no more than one word shows"))?;
            return Ok(at + zeros);
        }
        let mut used = 0;
        for _ in 0..PEEK_BITS / STEP_BITS {
            let step = STEPS[(word >> (64 - STEP_BITS)) as usize];
            if step == 0 {
                break;
            }
            let mut taken = (step >> 48 & 0xFF) as usize;
            let mut bits = (step >> 56) as u32;
            if taken > count - at {
                // The last ones come one by one; what follows them may look like one of them.
                taken = usize::from(at < count);
                bits = (1 + 4 * word.leading_ones()) * u32::from(at < count);
            }
            // What is written beyond the integers of the step is overwritten by the next one.
            small[at..at + SMALL_SLACK].copy_from_slice(&step.to_le_bytes().map(u8::cast_signed));
            at += taken;
            word <<= bits;
            used += bits;
        }
        self.skip(used)?;
        Ok(at)
    }
}

/// How many items an array for small integers is longer than their number.
pub(crate) const SMALL_SLACK: usize = 8;
/// From this number on zeros are not taken in steps.
const MANY_ZEROS: usize = 24;
/// The bits that decide a step.
const STEP_BITS: u32 = 11;
/// The most integers of a step.
const STEP_INTS_MAX: u32 = 6;

/// What whole integers of up to nine bits each the next bits of a stream begin with: six bytes of values, a byte with
/// their number and one with their size in bits.
static STEPS: [u64; 1 << STEP_BITS] = {
    let mut steps = [0; 1 << STEP_BITS];
    let mut index = 0;
    while index < steps.len() {
        steps[index] = step_of(index as u64);
        index += 1;
    }
    steps
};

const fn step_of(bits: u64) -> u64 {
    let word = bits << (64 - STEP_BITS);
    let (mut values, mut count, mut used) = (0, 0, 0);
    while count < STEP_INTS_MAX {
        let rest = word << used;
        let ones = rest.leading_ones();
        // A field of a small integer has three bits for each one of the prefix.
        let size = 1 + 4 * ones;
        if ones > 2 || used + size > STEP_BITS {
            break;
        }
        if ones > 0 {
            let field = rest << (ones + 1) >> (64 - 3 * ones);
            let above = field > 1 << (3 * ones - 1);
            let value = field.wrapping_sub((above as u64) << (3 * ones));
            values |= (value & 0xFF) << (8 * count);
        }
        count += 1;
        used += size;
    }
    values | (count as u64) << 48 | (used as u64) << 56
}

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
            let mut large = vec![0; values.len()];
            let mut small = vec![7; values.len() + SMALL_SLACK];
            reader.read_varbit_ints(&mut large, &mut small).unwrap();
            let read = large.iter().zip(&small);
            let read: Vec<i64> = read.map(|(large, small)| large + i64::from(*small)).collect();
            prop_assert_eq!(&read, &values);
            prop_assert_eq!(reader.read(3).unwrap(), 0b101);

            let cut_data = &data[..data.len().saturating_sub(cut + 1)];
            let mut one_by_one = BitReader::new(cut_data, 0);
            let all = values.iter().all(|_| one_by_one.read_varbit_int().is_ok());
            let mut reader = BitReader::new(cut_data, 0);
            prop_assert_eq!(reader.read_varbit_ints(&mut large, &mut small).is_ok(), all);
        }
    }
}
