//! The other files of a block.

use bytes::Bytes;

use crate::block::Meta;
use crate::block::segment::{check_segment, decode_chunk};
use crate::block::tombstones::Tombstones;
use crate::chunk::{self, Samples};
use crate::encoding::crc;

/// Reads `data` as a `meta.json`; what is readable must be writable and readable again.
///
/// # Panics
///
/// When it is not.
pub fn meta(data: &[u8]) {
    if let Ok(meta) = Meta::parse(data) {
        let again = Meta::parse(&meta.to_json()).expect("a written meta.json is readable");
        assert_eq!(again, meta);
    }
}

/// Reads `data` as a tombstones file, and as the contents of one whose checksum is made right.
///
/// # Panics
///
/// When tombstones that were readable are not after they were written.
pub fn tombstones(data: &[u8]) {
    read_tombstones(data);
    let mut file = Tombstones::default().to_bytes();
    // The empty file is a header and a checksum of nothing.
    file.truncate(file.len() - size_of::<u32>());
    let header = 5.min(file.len());
    file.extend_from_slice(data);
    let checksum = crc::checksum(&file[header..]);
    file.extend_from_slice(&checksum.to_be_bytes());
    read_tombstones(&file);
}

fn read_tombstones(data: &[u8]) {
    if let Ok(tombstones) = Tombstones::parse(data) {
        let again =
            Tombstones::parse(&tombstones.to_bytes()).expect("written tombstones are readable");
        assert!(again.iter().eq(tombstones.iter()));
    }
}

/// Reads `data` as a segment of chunks, and as the content of a chunk whose checksum is made right.
pub fn segment(data: &[u8]) {
    let bytes = Bytes::copy_from_slice(data);
    let _ = check_segment(bytes.clone());
    let _ = decode_chunk(&bytes, 8);
    let Ok(len) = u8::try_from(data.len().saturating_sub(1)) else {
        return;
    };
    if data.is_empty() || len >= 0x80 {
        return;
    }
    let mut entry = vec![len];
    entry.extend_from_slice(data);
    entry.extend_from_slice(&crc::checksum(data).to_be_bytes());
    let (chunk, _) = decode_chunk(&entry.into(), 8).expect("length and checksum are right");
    let _ = chunk::decode(&chunk, &mut Samples::new());
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
