//! The other files of a block.

use bytes::Bytes;

use crate::block::Meta;
use crate::block::segment::check_segment;
use crate::block::tombstones::Tombstones;
use crate::encoding::crc;

/// Reads `data` as a meta.json, and what it says once more.
///
/// # Panics
///
/// When that is not the same.
pub fn meta(data: &[u8]) {
    if let Ok(meta) = Meta::parse(data) {
        let again = Meta::parse(&meta.to_json());
        assert!(
            again.is_ok_and(|again| again == meta),
            "what is written is read"
        );
    }
}

/// Reads `data` as tombstones, as a file and as the stones of one with a right checksum.
///
/// # Panics
///
/// When readable tombstones are not the same after they were written.
pub fn tombstones(data: &[u8]) {
    let mut file = Tombstones::default().to_bytes();
    file.truncate(5);
    file.extend_from_slice(data);
    file.extend_from_slice(&crc::checksum(data).to_be_bytes());
    for bytes in [data, &file] {
        if let Ok(stones) = Tombstones::parse(bytes) {
            let again = Tombstones::parse(&stones.to_bytes());
            assert!(
                again.is_ok_and(|again| again == stones),
                "what is written is read"
            );
        }
    }
}

/// Reads `data` as a chunk segment, as a file and as what comes after the header.
pub fn segment(data: &[u8]) {
    let header = [0x85, 0xBD, 0x40, 0xDD, 1, 0, 0, 0];
    for bytes in [data.to_vec(), [&header, data].concat()] {
        let _ = check_segment(Bytes::from(bytes));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn random_bytes_do_no_harm(data in prop::collection::vec(any::<u8>(), 0..200)) {
            meta(&data);
            tombstones(&data);
            segment(&data);
        }
    }
}
