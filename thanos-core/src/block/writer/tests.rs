use bytes::Bytes;

use super::*;
use crate::block::{Block, Blocks};
use crate::chunk::{SampleRef, Samples};
use crate::error::ErrorKind;
use crate::histogram::Histogram;
use crate::labels::Labels;
use crate::query::Select;
use crate::testkit::TempDir;

fn testdata(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("testdata")
        .join(path)
}

fn options() -> BlockWriterOptions {
    BlockWriterOptions::new("01M81JDC7R8JKP7SEW1VN2HAQ9".parse().unwrap())
}

fn part(min_ms: i64, max_ms: i64) -> SeriesChunk {
    let mut encoder = chunk::XorEncoder::new();
    encoder.append(Timestamp::from_millis(min_ms), 1.0);
    if max_ms > min_ms {
        encoder.append(Timestamp::from_millis(max_ms), 2.0);
    }
    let (min, max) = (
        Timestamp::from_millis(min_ms),
        Timestamp::from_millis(max_ms),
    );
    SeriesChunk::raw(min, max, encoder.finish())
}

fn up() -> Labels {
    Labels::from_pairs([("__name__", "up")])
}

/// Writes the series of `block` again, into `parent`.
fn rewrite(block: &Block, parent: &Path, options: BlockWriterOptions) -> Meta {
    let symbols = block
        .index()
        .symbols()
        .iter()
        .map(|symbol| symbol.unwrap().1);
    let mut writer = BlockWriter::create(parent, options, symbols).unwrap();
    for batch in block.select(&Select::default()).unwrap() {
        for series in batch.unwrap().iter() {
            writer.add_series(series.labels, series.chunks).unwrap();
        }
    }
    writer.finish().unwrap()
}

#[test]
fn files_are_those_of_prometheus_byte_for_byte() {
    for folder in [
        "block-1k-2h",
        "compaction/horizontal-out",
        "live-ha-blocks/replica-b",
        // Written by Thanos: the containers of aggregates are taken apart and put together again.
        "thanos-golden/downsample",
    ] {
        for block in Blocks::open_dir(&testdata(folder)).unwrap().blocks() {
            let dir = TempDir::new("rewrite");
            let old = block.meta();
            let options = BlockWriterOptions {
                time: Some((old.min_time, old.max_time)),
                compaction: Some(old.compaction.clone()),
                thanos: old.thanos.clone(),
                // As Prometheus 2.42 wrote them.
                label_indices: LabelIndices::Write,
                ..BlockWriterOptions::new(old.ulid)
            };
            let new = rewrite(block, dir.path(), options);
            let new_dir = dir.path().join(old.ulid.to_string());
            for file in [INDEX_FILE, "chunks/000001"] {
                let read = |dir: &Path| std::fs::read(dir.join(file)).unwrap();
                assert!(
                    read(block.dir()) == read(&new_dir),
                    "{folder} {} {file}",
                    old.ulid
                );
            }
            let stats = Stats {
                num_float_samples: 0,
                ..new.stats.clone()
            };
            assert_eq!(
                Meta {
                    stats,
                    ..new.clone()
                },
                *old
            );
            assert_eq!(Meta::read_dir(&new_dir).unwrap(), new);
        }
    }
}

#[test]
fn histograms_are_counted_apart() {
    let folder = testdata("live-native-histograms");
    let blocks = Blocks::open_dir(&folder).unwrap();
    let dir = TempDir::new("rewrite-histograms");
    for (block, histograms) in blocks.blocks().iter().zip([2184, 288]) {
        let meta = rewrite(block, dir.path(), BlockWriterOptions::new(block.id()));
        assert_eq!(meta.stats.num_samples, block.meta().stats.num_samples);
        assert_eq!(meta.stats.num_histogram_samples, histograms);
        assert_eq!(
            meta.stats.num_float_samples,
            meta.stats.num_samples - histograms
        );
        assert!(block.meta().time_range().min <= meta.min_time);
        assert!(meta.max_time <= block.meta().max_time);
    }
}

#[test]
fn a_block_ends_just_after_its_last_sample_unless_told_otherwise() {
    let dir = TempDir::new("writer-time");
    let write = |options: BlockWriterOptions| {
        let mut writer = BlockWriter::create(dir.path(), options, ["__name__", "up"])?;
        writer.add_series(up().as_ref(), &[part(10, 20), part(30, 30)])?;
        writer.finish()
    };
    let at = |min, max| Some((Timestamp::from_millis(min), Timestamp::from_millis(max)));
    for time in [at(11, 40), at(0, 30), at(40, 0)] {
        let error = write(BlockWriterOptions { time, ..options() }).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert_eq!(
            std::fs::read_dir(dir.path()).unwrap().count(),
            0,
            "{time:?}"
        );
    }
    let meta = write(options()).unwrap();
    assert_eq!(meta.time_range(), TimeRange::from_millis(10, 30));
    assert_eq!(
        (
            meta.stats.num_samples,
            meta.stats.num_chunks,
            meta.stats.num_series
        ),
        (3, 2, 1)
    );
    assert_eq!(
        (meta.compaction.level, &meta.compaction.sources[..]),
        (1, &[meta.ulid][..])
    );
    let error = write(options()).unwrap_err();
    assert!(error.to_string().contains("exists already"), "{error}");
}

#[test]
fn nothing_is_visible_before_the_end_and_nothing_stays_after_an_error() {
    let dir = TempDir::new("writer-atomic");
    // What a killed writer left behind is no obstacle.
    let leftover = dir
        .path()
        .join("01M81JDC7R8JKP7SEW1VN2HAQ9.tmp-for-creation/chunks");
    std::fs::create_dir_all(&leftover).unwrap();
    std::fs::write(leftover.join("000001"), b"half").unwrap();
    let mut writer = BlockWriter::create(dir.path(), options(), ["__name__", "up"]).unwrap();
    writer.add_series(up().as_ref(), &[part(10, 20)]).unwrap();
    assert!(Blocks::open_dir(dir.path()).unwrap().blocks().is_empty());
    let unsorted = writer
        .add_series(up().as_ref(), &[part(30, 40)])
        .unwrap_err();
    assert_eq!(unsorted.kind(), ErrorKind::Invalid);
    drop(writer);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn chunks_of_unknown_encodings_pass_through() {
    let dir = TempDir::new("writer-unknown");
    let mut writer = BlockWriter::create(dir.path(), options(), ["__name__", "up"]).unwrap();
    let unknown = |encoding, data: &'static [u8], at| {
        let chunk = Chunk {
            encoding,
            data: Bytes::from_static(data),
        };
        SeriesChunk::raw(
            Timestamp::from_millis(at),
            Timestamp::from_millis(at),
            chunk,
        )
    };
    let parts = [
        unknown(Encoding(76), &[0, 7, 1, 2], 1),
        unknown(Encoding(77), b"anything", 3),
    ];
    writer.add_series(up().as_ref(), &parts).unwrap();
    let meta = writer.finish().unwrap();
    assert_eq!(
        (
            meta.stats.num_samples,
            meta.stats.num_float_samples,
            meta.stats.num_histogram_samples
        ),
        (0, 0, 0)
    );
    assert_eq!(chunks_of(&dir, &meta), parts);
}

fn chunks_of(dir: &TempDir, meta: &Meta) -> Vec<SeriesChunk> {
    let block = Block::open(&dir.path().join(meta.ulid.to_string())).unwrap();
    let batch = block
        .select(&Select::default())
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    batch.get(0).chunks.to_vec()
}

#[test]
fn chunks_with_start_timestamps_are_counted_and_come_back() {
    let dir = TempDir::new("writer-starts");
    let mut samples = Samples::new();
    for ms in 1..=3 {
        let time = Timestamp::from_millis(ms * 1000);
        samples.push_with_start(Timestamp::from_millis(500), time, SampleRef::Float(1.0));
    }
    let histogram = Histogram::stale();
    for ms in 4..=5 {
        let time = Timestamp::from_millis(ms * 1000);
        samples.push_histogram(time, &histogram);
        samples.set_last_start(Timestamp::from_millis(500));
    }
    let parts = chunk::encode(&samples);
    let mut writer = BlockWriter::create(dir.path(), options(), ["__name__", "up"]).unwrap();
    writer.add_series(up().as_ref(), &parts).unwrap();
    let meta = writer.finish().unwrap();
    assert_eq!(
        (
            meta.stats.num_float_samples,
            meta.stats.num_histogram_samples
        ),
        (3, 2)
    );
    assert_eq!(chunks_of(&dir, &meta), parts);
}

#[test]
fn damaged_chunks_are_not_written() {
    let dir = TempDir::new("writer-damaged");
    let mut writer = BlockWriter::create(dir.path(), options(), ["__name__", "up"]).unwrap();
    let chunk = Chunk {
        encoding: Encoding::XOR,
        data: Bytes::from_static(&[9, 9]),
    };
    let part = SeriesChunk::raw(Timestamp::from_millis(1), Timestamp::from_millis(2), chunk);
    let error = writer.add_series(up().as_ref(), &[part]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
}
