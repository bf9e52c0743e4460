use proptest::prelude::*;

use super::*;
use crate::testkit::TempDir;

fn fixture() -> Vec<u8> {
    let path = "testdata/block-1k-2h-tombstones/tombstones";
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

#[test]
fn real_tombstones_are_read_and_keep_their_length() {
    let file = fixture();
    let stones = Tombstones::parse(&file).unwrap();
    // As meta.json of that block says.
    assert_eq!(stones.total(), 72);
    // Prometheus writes the series in no order, so that only the set can be equal.
    let written = stones.to_bytes();
    assert_eq!(written.len(), file.len());
    assert_eq!(Tombstones::parse(&written).unwrap(), stones);
}

#[test]
fn no_stones_are_the_nine_bytes_of_prometheus() {
    let path = "testdata/block-1k-2h/01M81JDC7R8JKP7SEW1VN2HAQ9/tombstones";
    let file = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
    assert_eq!(Tombstones::default().to_bytes(), file);
    assert!(Tombstones::parse(&file).unwrap().is_empty());
}

#[test]
fn a_missing_file_deletes_nothing() {
    let dir = TempDir::new("tombstones");
    assert!(Tombstones::read_dir(dir.path()).unwrap().is_empty());
    let stones = Tombstones::parse(&fixture()).unwrap();
    stones.write_dir(dir.path()).unwrap();
    assert_eq!(Tombstones::read_dir(dir.path()).unwrap(), stones);
}

#[test]
fn every_flipped_byte_is_corrupt_and_names_file_and_offset() {
    let (good, dir) = (fixture(), TempDir::new("tombstones-flip"));
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x20;
        std::fs::write(dir.path().join(TOMBSTONES_FILE), bad).unwrap();
        let error = Tombstones::read_dir(dir.path()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.file().unwrap().ends_with(TOMBSTONES_FILE));
        assert!(error.offset().unwrap() <= at as u64, "byte {at}: {error}");
    }
}

#[test]
fn a_cut_file_is_corrupt() {
    let good = fixture();
    for len in 0..good.len() {
        let error = Tombstones::parse(&good[..len]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.offset().unwrap() <= len as u64, "{len}: {error}");
    }
}

#[test]
fn half_a_stone_under_a_right_checksum_is_corrupt_where_it_ends() {
    let mut bytes = MAGIC.to_be_bytes().to_vec();
    bytes.extend_from_slice(&[VERSION, 9, 2]);
    let checksum = crc::checksum(&bytes[HEADER_LEN..]);
    bytes.extend_from_slice(&checksum.to_be_bytes());
    let error = Tombstones::parse(&bytes).unwrap_err();
    assert_eq!(
        error.to_string(),
        "offset 7: last time of a stone is cut short"
    );
}

proptest! {
    #[test]
    fn what_is_written_is_read(stones in prop::collection::vec((0_u64..5, any::<i32>(), 0_i64..1000), 0..20)) {
        let mut written = Tombstones::default();
        for (series, min, len) in stones {
            let min = i64::from(min);
            written.add(SeriesRef(series), TimeRange::from_millis(min, min + len));
        }
        prop_assert_eq!(Tombstones::parse(&written.to_bytes()).unwrap(), written);
    }

    #[test]
    fn any_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = Tombstones::parse(&bytes);
        let checksum = crc::checksum(&bytes).to_be_bytes();
        let _ = Tombstones::parse(&[&MAGIC.to_be_bytes()[..], &[VERSION], &bytes, &checksum].concat());
    }
}
