//! Offset-value codes: how a key differs from a smaller one, in one integer.
//!
//! A key is seen as blocks of four bytes, big-endian, with zeros after its end. Its code relative to a smaller
//! key, the base, holds the first block in which they differ and what stands there:
//!
//! ```text
//! code = (NOT block index) << 32 | block        0 when the keys are equal
//! ```
//!
//! Of two keys with codes relative to the same base, the one with the smaller code is smaller, and if the codes
//! differ, the larger key's code relative to the smaller key is the same as before. Only equal codes make it
//! necessary to look at the keys, and only behind the known block. Zeros after the end can not be mistaken for
//! a longer key: a label has a name, and NULs inside text are escaped.
//! Source: Graefe and Do, "Offset-value coding in database query processing".

use std::cmp::Ordering;

/// The code of a key that equals its base.
pub(super) const EQUAL: u64 = 0;

/// Larger than every code: the code of a source without further keys.
pub(super) const EXHAUSTED: u64 = u64::MAX;

const BLOCK_BYTES: usize = 4;

/// The stride in which equal parts are passed over.
const STRIDE_BYTES: usize = 32;

/// Compares two keys that are known to agree before byte `from`, and returns the code of the larger one
/// relative to the smaller one.
pub(super) fn compare(a: &[u8], b: &[u8], from: usize) -> (Ordering, u64) {
    let Some(at) = first_different_block(a, b, from) else {
        return (Ordering::Equal, EQUAL);
    };
    let (block_a, block_b) = (block(a, at), block(b, at));
    (block_a.cmp(&block_b), encode(at, block_a.max(block_b)))
}

/// Returns the first byte behind the block that `code` is about.
pub(super) fn known_bytes(code: u64) -> usize {
    let index = !u32::try_from(code >> 32).expect("the upper half");
    (index as usize + 1) * BLOCK_BYTES
}

fn encode(at: usize, block: u32) -> u64 {
    let index = u32::try_from(at / BLOCK_BYTES).expect("a key is shorter than 4 GiB");
    let code = u64::from(!index) << 32 | u64::from(block);
    // Only bytes that are no UTF-8 could reach the mark.
    code.min(EXHAUSTED - 1)
}

/// Returns where the first block lies in which the keys differ; `from` is the start of a block.
fn first_different_block(a: &[u8], b: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    while let (Some(x), Some(y)) = (stride(a, at), stride(b, at)) {
        if x != y {
            break;
        }
        at += STRIDE_BYTES;
    }
    let end = a.len().max(b.len());
    while at < end {
        let different = word(a, at) ^ word(b, at);
        if different != 0 {
            let is_first_half = different.leading_zeros() < 32;
            return Some(if is_first_half { at } else { at + BLOCK_BYTES });
        }
        at += 2 * BLOCK_BYTES;
    }
    None
}

fn stride(key: &[u8], at: usize) -> Option<&[u8; STRIDE_BYTES]> {
    key.get(at..)?.first_chunk()
}

/// Returns the eight bytes at `at`, with zeros after the end.
fn word(key: &[u8], at: usize) -> u64 {
    let rest = key.get(at..).unwrap_or_default();
    match rest.first_chunk() {
        Some(bytes) => u64::from_be_bytes(*bytes),
        None => {
            let mut bytes = [0; 8];
            bytes[..rest.len()].copy_from_slice(rest);
            u64::from_be_bytes(bytes)
        }
    }
}

fn block(key: &[u8], at: usize) -> u32 {
    u32::try_from(word(key, at) >> 32).expect("the upper half")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn codes_order_keys_as_bytes_do(
            mut keys in prop::collection::vec("[ab]{0,3}(b{40}){0,2}[ab\u{10ffff}]{0,6}", 3)
        ) {
            keys.sort_unstable();
            let [base, low, high] = [0, 1, 2].map(|i| keys[i].as_bytes());
            let (order, low_code) = compare(low, base, 0);
            prop_assert_eq!(order, low.cmp(base));
            let (order, high_code) = compare(high, base, 0);
            prop_assert_eq!(order, high.cmp(base));
            prop_assert!(low_code <= high_code);
            if low_code != high_code {
                prop_assert_eq!(compare(high, low, 0), (Ordering::Greater, high_code));
            } else if low_code != EQUAL {
                prop_assert_eq!(compare(high, low, known_bytes(low_code)), compare(high, low, 0));
            }
        }
    }

    #[test]
    fn a_longer_key_comes_after_its_prefix() {
        let long = b"0123456789abcdef0123456789abcdef0123456789abcdef";
        for len in 0..long.len() {
            assert_eq!(compare(&long[..len], long, 0).0, Ordering::Less, "{len}");
            assert_eq!(
                compare(&long[..len], &long[..len], 0),
                (Ordering::Equal, EQUAL)
            );
        }
    }
}
