//! Damage to any file of a block is an error that names file and offset, or does not touch the data that is read.

#![expect(clippy::unwrap_used, reason = "test code outside of test functions")]

use std::path::{Path, PathBuf};

use thanos_core::block::{Block, Intervals};
use thanos_core::chunk::ChunkPayload;
use thanos_core::encoding::crc;
use thanos_core::query::Select;
use thanos_core::testkit::damage::assert_damage_is_seen;
use thanos_core::testkit::{K8sSpec, TempDir, copy_dir};
use thanos_core::time::{TimeRange, Timestamp};
use thanos_core::{Error, ErrorKind, Result};

/// Everything that a reader of the block gets: a checksum over labels, times and chunks, and the number of series.
fn contents(dir: &Path) -> Result<(u32, usize)> {
    let (mut checksum, mut series_len) = (0, 0);
    for batch in Block::open(dir)?.select(&Select::default())? {
        for series in batch?.iter() {
            series_len += 1;
            checksum = crc::extend(checksum, series.labels.key());
            for part in series.chunks {
                for time in [part.min_time, part.max_time] {
                    checksum = crc::extend(checksum, &time.as_millis().to_be_bytes());
                }
                let ChunkPayload::Raw(chunk) = &part.payload else {
                    continue;
                };
                checksum = crc::extend(checksum, &[chunk.encoding.0]);
                checksum = crc::extend(checksum, &chunk.data);
            }
        }
    }
    Ok((checksum, series_len))
}

/// A number that was damaged into a version that nobody knows is `Invalid`, as a file of a newer writer is.
fn version_as_damage(error: Error) -> Error {
    let is_version = error.kind() == ErrorKind::Invalid && error.message().contains("version");
    match (is_version, error.file(), error.offset()) {
        (true, Some(file), Some(offset)) => {
            Error::corrupt(error.message()).at(offset).in_file(file)
        }
        _ => error,
    }
}

/// Damages every `step`th byte of `file` of the block in `dir`, which is left damaged.
fn damage(dir: &Path, file: &str, step: usize) -> (usize, usize) {
    let path = dir.join(file);
    let good = std::fs::read(&path).unwrap();
    let found = assert_damage_is_seen(&good, step, |bytes| {
        // A new file, as writers make them: the old one may still be mapped.
        std::fs::remove_file(&path)?;
        std::fs::write(&path, bytes)?;
        contents(dir).map_err(version_as_damage)
    });
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, good).unwrap();
    found
}

/// A block of a few series, small enough to damage every byte, with some deletions.
fn small_block(parent: &Path) -> PathBuf {
    let spec = K8sSpec {
        series: 6,
        samples: 130,
        ..K8sSpec::default()
    };
    let dir = spec.write_block(parent);
    let block = Block::open(&dir).unwrap();
    let mut stones = block.tombstones().clone();
    let start = block.meta().min_time;
    for (series, from_ms) in block
        .index()
        .all_postings()
        .unwrap()
        .iter()
        .zip([0, 60_000, 300_000])
    {
        let min = start + from_ms;
        stones.add(
            series.into(),
            TimeRange {
                min,
                max: min + 90_000,
            },
        );
        stones.add(
            series.into(),
            TimeRange {
                min: min + 600_000,
                max: min + 700_000,
            },
        );
    }
    stones.write_dir(&dir).unwrap();
    dir
}

#[test]
fn every_byte_of_a_small_block() {
    let parent = TempDir::new("damaged-small");
    let dir = small_block(parent.path());
    let (_, series) = contents(&dir).unwrap();
    assert_eq!(series, 6);
    for file in ["chunks/000001", "tombstones"] {
        let (refused, same) = damage(&dir, file, 1);
        assert!(
            refused > 0 && same == 0,
            "{file}: {same} damaged copies go unseen"
        );
    }
    for file in ["meta.json", "index"] {
        let (refused, _same) = damage(&dir, file, 1);
        assert!(refused > 0, "{file}");
    }
}

#[test]
fn some_bytes_of_a_real_block() {
    let parent = TempDir::new("damaged-real");
    let name = "01M81M8JDW22H3NMWT3BD73N4P";
    let dir = parent.path().join(name);
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/compaction/vertical-out");
    copy_dir(&from.join(name), &dir);
    for (file, step) in [
        ("chunks/000001", 1999),
        ("index", 997),
        ("meta.json", 7),
        ("tombstones", 1),
    ] {
        let (refused, _same) = damage(&dir, file, step);
        assert!(refused > 0, "{file}");
    }
}

#[test]
fn stones_beyond_all_times_do_no_harm() {
    let parent = TempDir::new("damaged-stones");
    let dir = small_block(parent.path());
    let block = Block::open(&dir).unwrap();
    let mut stones = block.tombstones().clone();
    for series in &block.index().all_postings().unwrap() {
        stones.add(series.into(), TimeRange::ALL);
        stones.add(
            series.into(),
            TimeRange {
                min: Timestamp::MAX,
                max: Timestamp::MAX,
            },
        );
    }
    assert!(
        stones
            .iter()
            .all(|(_, all)| *all == Intervals::from_ranges(vec![TimeRange::ALL]))
    );
    stones.write_dir(&dir).unwrap();
    assert_eq!(contents(&dir).unwrap(), (0, 0));
}
