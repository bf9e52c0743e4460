//! Variable-length integers of seven bits per byte, as Go's `encoding/binary` writes them.

use crate::error::{Error, Result};

/// The longest encoding of a 64-bit integer.
pub const VARINT_BYTES_MAX: usize = 10;

/// Returns the unsigned integer at the start of `data` and the number of bytes it takes.
///
/// # Errors
///
/// [`Corrupt`](crate::ErrorKind::Corrupt) when `data` ends within the integer or it does not fit 64 bits.
#[inline]
pub fn read_uvarint(data: &[u8]) -> Result<(u64, usize)> {
    if let Some(&first) = data.first()
        && first < 0x80
    {
        return Ok((u64::from(first), 1));
    }
    read_long_uvarint(data)
}

/// The top bit of every byte: set in all bytes of a varint but its last.
const GOES_ON: u64 = 0x8080_8080_8080_8080;

fn read_long_uvarint(data: &[u8]) -> Result<(u64, usize)> {
    match read_uvarint_of_word(data) {
        Some(found) => Ok(found),
        None => read_uvarint_bytewise(data),
    }
}

/// Reads an integer below 2^56 at the start of `data`, which goes on for at least eight bytes; `None` where it is larger or
/// `data` is shorter.
#[inline]
pub(crate) fn read_uvarint_of_word(data: &[u8]) -> Option<(u64, usize)> {
    let word = u64::from_le_bytes(*data.first_chunk::<8>()?);
    let ends = !word & GOES_ON;
    if ends == 0 {
        return None;
    }
    let len = ends.trailing_zeros() / 8 + 1;
    let groups = word & (u64::MAX >> (64 - 8 * len));
    Some((join_groups(groups), len as usize))
}

/// Joins the seven low bits of each byte of a little-endian word.
#[inline]
fn join_groups(word: u64) -> u64 {
    let sevens = word & !GOES_ON;
    let fourteens = (sevens & 0x007F_007F_007F_007F) | (sevens & 0x7F00_7F00_7F00_7F00) >> 1;
    let halves = (fourteens & 0x0000_3FFF_0000_3FFF) | (fourteens & 0x3FFF_0000_3FFF_0000) >> 2;
    (halves & 0x0FFF_FFFF) | (halves >> 32) << 28
}

/// Returns the number of bytes that the first `count` integers of `data` take, or `None` when it ends before.
///
/// Nothing is said about whether they fit 64 bits.
#[inline]
pub(crate) fn skip_uvarints(data: &[u8], mut count: usize) -> Option<usize> {
    let mut at = 0;
    while let Some(word) = data.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        let ends = !u64::from_le_bytes(*word) & GOES_ON;
        let found = ends.count_ones() as usize;
        if found >= count {
            break;
        }
        count -= found;
        at += 8;
    }
    while count > 0 {
        count -= usize::from(*data.get(at)? < 0x80);
        at += 1;
    }
    Some(at)
}

/// Returns the unsigned integer at the start of `data` and the number of bytes it takes, when it fits 32 bits and eight
/// bytes are there; without a branch on its length, which nobody can predict where references of all lengths follow each
/// other.
#[inline]
pub(crate) fn read_short_uvarint32(data: &[u8]) -> Option<(u32, usize)> {
    let word = u64::from_le_bytes(*data.first_chunk::<8>()?);
    let ends = !word & GOES_ON;
    // All up to the first byte that ends a number.
    let value = join_groups(word & (ends ^ ends.wrapping_sub(1)));
    let len = ends.trailing_zeros() as usize / 8 + 1;
    match u32::try_from(value) {
        Ok(value) if len <= 5 => Some((value, len)),
        _ => None,
    }
}

fn read_uvarint_bytewise(data: &[u8]) -> Result<(u64, usize)> {
    let mut value = 0_u64;
    for (at, &byte) in data.iter().take(VARINT_BYTES_MAX).enumerate() {
        if at == VARINT_BYTES_MAX - 1 && byte > 1 {
            break;
        }
        value |= u64::from(byte & 0x7F) << (7 * at);
        if byte < 0x80 {
            return Ok((value, at + 1));
        }
    }
    Err(if data.len() < VARINT_BYTES_MAX {
        Error::corrupt("varint is cut short").at(0)
    } else {
        Error::corrupt("varint does not fit 64 bits").at(0)
    })
}

/// Returns the signed integer (zigzag) at the start of `data` and the number of bytes it takes.
///
/// # Errors
///
/// [`Corrupt`](crate::ErrorKind::Corrupt) when `data` ends within the integer or it does not fit 64 bits.
#[inline]
pub fn read_varint(data: &[u8]) -> Result<(i64, usize)> {
    let (raw, len) = read_uvarint(data)?;
    Ok((unzigzag(raw), len))
}

/// Appends an unsigned integer.
#[inline]
pub fn put_uvarint(out: &mut Vec<u8>, value: u64) {
    let (bytes, len) = encode_uvarint(value);
    out.extend_from_slice(&bytes[..len]);
}

/// Appends a signed integer (zigzag).
#[inline]
pub fn put_varint(out: &mut Vec<u8>, value: i64) {
    put_uvarint(out, zigzag(value));
}

/// Returns the encoding in the first bytes of an array, and their number.
#[inline]
pub fn encode_uvarint(mut value: u64) -> ([u8; VARINT_BYTES_MAX], usize) {
    let mut bytes = [0; VARINT_BYTES_MAX];
    let mut len = 0;
    while value >= 0x80 {
        bytes[len] = value.to_le_bytes()[0] | 0x80;
        value >>= 7;
        len += 1;
    }
    bytes[len] = value.to_le_bytes()[0];
    (bytes, len + 1)
}

/// Returns the number of bytes that [`put_uvarint`] writes.
#[inline]
pub fn uvarint_len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros()).div_ceil(7) as usize
}

/// Returns the unsigned form of a signed integer, in which small magnitudes are small.
#[inline]
pub fn zigzag(value: i64) -> u64 {
    (value << 1 ^ value >> 63).cast_unsigned()
}

/// Returns the signed integer of a [`zigzag`] form.
#[inline]
pub fn unzigzag(raw: u64) -> i64 {
    (raw >> 1).cast_signed() ^ -(raw & 1).cast_signed()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_bytes() {
        let table: [(i64, &[u8]); 6] = [
            (0, &[0]),
            (-1, &[1]),
            (1, &[2]),
            (-64, &[0x7F]),
            (64, &[0x80, 0x01]),
            (
                i64::MIN,
                &[0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01],
            ),
        ];
        for (value, bytes) in table {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            assert_eq!(out, bytes);
            assert_eq!(read_varint(bytes).unwrap(), (value, bytes.len()));
        }
    }

    #[test]
    fn cut_short_and_overlong_are_corrupt() {
        assert!(read_uvarint(&[]).is_err());
        assert!(read_uvarint(&[0x80, 0x80]).is_err());
        assert!(read_uvarint(&[0xFF; 12]).is_err());
        let mut overflow = [0xFF; 10];
        overflow[9] = 2;
        assert!(read_uvarint(&overflow).is_err());
    }

    proptest! {
        #[test]
        fn any_integer_comes_back(value in any::<u64>(), shift in 0_u32..64, rest in any::<[u8; 2]>()) {
            let value = value >> shift;
            let mut out = Vec::new();
            put_uvarint(&mut out, value);
            let len = out.len();
            prop_assert_eq!(len, uvarint_len(value));
            out.extend_from_slice(&rest);
            prop_assert_eq!(read_uvarint(&out).unwrap(), (value, len));
            out.extend_from_slice(&[0x80; 6]);
            let short = u32::try_from(value).ok().map(|value| (value, len));
            prop_assert_eq!(read_short_uvarint32(&out), short);
            prop_assert_eq!(unzigzag(zigzag(value.cast_signed())), value.cast_signed());
        }
    }
}
