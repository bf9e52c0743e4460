//! A seal on expanded postings: a checksum of the key and of all bytes, which Thanos skips.
//!
//! ```text
//! "dss" | stream identifier | 0xa7, le24 8, "thrs", le32 crc32c of the key and of all after | frames
//! ```
//!
//! The frames of a Snappy stream have checksums of their own, but they do not show that a frame is missing, or that the
//! list is that of another key. The seal is a frame of a type that decoders have to skip (framing_format.txt, section
//! 4.6), and Thanos' does (pkg/store/postings_codec.go readNextChunk). What has no seal comes from another gateway and is
//! believed as far as its own checksums go.

use thanos_core::encoding::crc;
use thanos_core::postings::Postings;
use thanos_core::{Error, Result};

use super::codec::decode_postings;

/// The front of every stream.
const FRONT: &[u8] = b"dss\xff\x06\0\0sNaPpY";
/// An empty list as the codec writes it.
const UNSEALED_EMPTY: &[u8] = b"dss";
/// The type of the frame, its length, and who made it.
const SEAL: &[u8] = b"\xa7\x08\0\0thrs";
const SUM_BYTES: usize = 4;
/// The types of frames with data: compressed or not.
const DATA_FRAMES: [u8; 2] = [0, 1];

/// Returns `encoded` postings with a seal of `key`.
pub(crate) fn sealed(key: &str, encoded: Vec<u8>) -> Vec<u8> {
    // An empty list is written without a stream.
    let frames = encoded.strip_prefix(FRONT).unwrap_or_default();
    debug_assert!(encoded.starts_with(FRONT) || encoded == UNSEALED_EMPTY);
    sealed_frames(key, frames)
}

pub(crate) fn sealed_frames(key: &str, frames: &[u8]) -> Vec<u8> {
    let sum = checksum(key, frames).to_le_bytes();
    [FRONT, SEAL, &sum, frames].concat()
}

/// Returns the postings in what a cache has under `key`, all of which are below `end`.
///
/// # Errors
///
/// `Corrupt` for what is damaged, and for what was put under another key.
pub(crate) fn open(key: &str, value: &[u8], end: u64) -> Result<Postings> {
    let corrupt = |message: &str| Error::corrupt(format!("cached postings: {message}"));
    // COMPAT: so Thanos writes an empty list, and so looks any list whose end is missing. It is quickly read again.
    if value == UNSEALED_EMPTY {
        return Err(corrupt("nothing but their prefix"));
    }
    let Some(stream) = value.strip_prefix(FRONT) else {
        return decode_postings(value, end);
    };
    let frames = match stream.strip_prefix(SEAL) {
        None if stream.is_empty() => return Err(corrupt("a stream without frames")),
        None => stream,
        Some(rest) => {
            let (sum, frames) = rest
                .split_first_chunk::<SUM_BYTES>()
                .ok_or_else(|| corrupt("shorter than their seal"))?;
            if checksum(key, frames) != u32::from_le_bytes(*sum) {
                return Err(corrupt("checksum mismatch"));
            }
            frames
        }
    };
    // One wrong bit makes a frame of data one that is skipped, or a damaged seal one that skips data.
    if !are_data(frames) {
        return Err(corrupt("frames that are no data"));
    }
    decode_postings(value, end)
}

/// Reports whether all `frames` have data.
fn are_data(mut frames: &[u8]) -> bool {
    while let Some(([kind, len @ ..], rest)) = frames.split_first_chunk::<4>() {
        let len = u32::from_le_bytes([len[0], len[1], len[2], 0]);
        let rest = usize::try_from(len).ok().and_then(|len| rest.get(len..));
        let Some(rest) = rest.filter(|_| DATA_FRAMES.contains(kind)) else {
            return false;
        };
        frames = rest;
    }
    frames.is_empty()
}

fn checksum(key: &str, frames: &[u8]) -> u32 {
    crc::extend(crc::checksum(key.as_bytes()), frames)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::codec::encode_postings;
    use super::*;

    fn encoded(list: &[u32]) -> Vec<u8> {
        encode_postings(&Postings::from_sorted(list.to_vec()))
    }

    /// ST-24: a list without a seal is one of Thanos.
    #[test]
    fn what_others_wrote_is_read() {
        let read = open("EP:a", &encoded(&[1, 5, 300]), 1000).unwrap();
        assert_eq!(read.into_vec(), [1, 5, 300]);
        assert!(
            open("EP:a", &encoded(&[]), 1000).is_err(),
            "it may have lost its end"
        );
    }

    /// Thanos' decoder skips frames of types 0x80 to 0xfd wherever they are, and begins with the identifier.
    #[test]
    fn the_bytes_of_a_seal_stay_as_they_are() {
        let value = sealed("EP:a", encoded(&[1, 5, 300, 70_000, 70_001]));
        let hex: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
        let expected = "647373ff060000734e61507059a7080000746872737589214a01\
                        0c000062a265250104a702c4a00401";
        assert_eq!(hex, expected);
        // Whoever knows nothing of seals reads the same list.
        let read = decode_postings(&value, 1 << 32).unwrap();
        assert_eq!(read.into_vec(), [1, 5, 300, 70_000, 70_001]);
        let empty = sealed("EP:a", encoded(&[]));
        assert_eq!(decode_postings(&empty, 10).unwrap().len(), 0);
        assert_eq!(open("EP:a", &empty, 10).unwrap().len(), 0);
    }

    /// Any single bit, of any short list: its frame may be as long as a damaged seal says that it is.
    #[test]
    fn no_single_bit_makes_another_list() {
        for count in 0..40 {
            let list: Vec<u32> = (1..=count).collect();
            for value in [sealed("EP:a", encoded(&list)), encoded(&list)] {
                for bit in 0..value.len() * 8 {
                    let mut damaged = value.clone();
                    damaged[bit / 8] ^= 1 << (bit % 8);
                    if let Ok(read) = open("EP:a", &damaged, 100_000) {
                        assert_eq!(read.into_vec(), list, "bit {bit}");
                    }
                }
            }
        }
    }

    proptest! {
        #[test]
        fn damage_and_the_list_of_another_key_are_found(
            list in proptest::collection::btree_set(0_u32..100_000, 0..500), at in any::<prop::sample::Index>(), bit in 0_u8..8
        ) {
            let list: Vec<u32> = list.into_iter().collect();
            let value = sealed("EP:a", encoded(&list));
            prop_assert_eq!(open("EP:a", &value, 100_000).unwrap().into_vec(), list.clone());
            prop_assert!(open("EP:b", &value, 100_000).is_err());
            let at = at.index(value.len());
            prop_assert!(open("EP:a", &value[..at], 100_000).is_err());
            let mut damaged = value;
            damaged[at] ^= 1 << bit;
            // A damaged seal is a frame to skip, and nothing else is damaged then.
            if let Ok(read) = open("EP:a", &damaged, 100_000) {
                prop_assert_eq!(read.into_vec(), list);
            }
        }
    }
}
