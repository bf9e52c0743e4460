//! Damage: every flipped byte and every cut is an error with file and offset, or provably changes nothing.

use super::*;
use crate::encoding::crc;
use crate::testkit::damage::assert_damage_is_seen;

/// All that can be read from an index.
fn read_all(bytes: Vec<u8>) -> Result<(Dump, Lists)> {
    let index = IndexReader::open("index", Bytes::from(bytes))?;
    Ok((dump(&index)?, dump_lists(&index)?))
}

#[test]
fn damage_to_a_block_of_prometheus_is_seen() {
    let (refused, same) = assert_damage_is_seen(&fixture(BLOCK_1K), 1999, read_all);
    // The label indices and the padding between series are not read.
    assert!(refused > 10 * same, "{refused} refused, {same} the same");
}

#[test]
fn damage_to_any_byte_of_version_1_is_seen() {
    let mut series = dump(&open(fixture(BLOCK_1K))).unwrap();
    series.truncate(6);
    let (refused, same) = assert_damage_is_seen(&v1_index(&series), 1, read_all);
    // Without padding and label indices every byte counts.
    assert!(refused > 0);
    assert_eq!(same, 0);
}

/// Right checksums over wrong content: what a faulty writer leaves.
#[test]
fn an_index_that_lies_about_its_lengths_is_corrupt() {
    let good = fixture(BLOCK_1K).to_vec();
    let toc = open(Bytes::from(good.clone())).toc();
    let read_be32 = |at: usize| u32::from_be_bytes(good[at..at + 4].try_into().unwrap());
    for start in [toc.symbols, toc.postings_table] {
        let start = usize::try_from(start).unwrap();
        let end = start + 4 + read_be32(start) as usize;
        for count in [u32::MAX, read_be32(start + 4) + 1] {
            let mut bad = good.clone();
            bad[start + 4..start + 8].copy_from_slice(&count.to_be_bytes());
            let checksum = crc::checksum(&bad[start + 4..end]);
            bad[end..end + 4].copy_from_slice(&checksum.to_be_bytes());
            let error = read_all(bad).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt);
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_are_no_index(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(read_all(bytes).is_err());
    }
}
