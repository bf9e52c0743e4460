use futures::TryStreamExt;
use futures::executor::block_on;

use super::*;
use crate::chunk::SeriesChunk;
use crate::query::{SelectHints, SeriesView};
use crate::testkit::{TempDir, copy_dir};

fn testdata(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("testdata")
        .join(path)
}

fn collect(blocks: &Blocks, select: &Select) -> Vec<SeriesBatch> {
    blocks.select(select).unwrap().map(Result::unwrap).collect()
}

fn views(batches: &[SeriesBatch]) -> Vec<SeriesView<'_>> {
    batches.iter().flat_map(SeriesBatch::iter).collect()
}

#[test]
fn consecutive_and_overlapping_blocks_are_merged() {
    for (folder, blocks_len) in [
        ("compaction/horizontal-in", 6),
        ("compaction/vertical-in", 2),
        ("live-ha-blocks/replica-a", 3),
    ] {
        let blocks = Blocks::open_dir(&testdata(folder)).unwrap();
        assert_eq!(
            (blocks.blocks().len(), blocks.refused().len()),
            (blocks_len, 0)
        );
        let batches = collect(&blocks, &Select::default());
        let series = views(&batches);
        assert!(
            series
                .windows(2)
                .all(|pair| pair[0].labels < pair[1].labels),
            "{folder}"
        );
        let chunks_len: usize = series.iter().map(|series| series.chunks.len()).sum();
        let stats = blocks.blocks().iter().map(|block| &block.meta().stats);
        assert_eq!(
            chunks_len as u64,
            stats.map(|stats| stats.num_chunks).sum::<u64>(),
            "{folder}"
        );
        for series in &series {
            assert!(
                series
                    .chunks
                    .is_sorted_by_key(|chunk| (chunk.min_time, chunk.max_time))
            );
        }
    }
}

#[test]
fn blocks_outside_the_range_are_not_asked() {
    let blocks = Blocks::open_dir(&testdata("compaction/horizontal-in")).unwrap();
    let second = blocks.blocks()[1].meta().time_range();
    assert!(second.overlaps(blocks.time_range()));
    let batches = collect(
        &blocks,
        &Select {
            range: second,
            ..Select::default()
        },
    );
    let alone: Vec<SeriesBatch> = blocks.blocks()[1]
        .select(&Select::default())
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let chunks = |batches: &[SeriesBatch]| -> Vec<SeriesChunk> {
        views(batches)
            .iter()
            .flat_map(|series| series.chunks.to_vec())
            .collect()
    };
    assert_eq!(chunks(&batches), chunks(&alone));
    let nothing = Select {
        range: TimeRange::from_millis(0, 1),
        ..Select::default()
    };
    assert!(collect(&blocks, &nothing).is_empty());
    assert!(blocks.label_names(&[], nothing.range).unwrap().is_empty());
}

#[test]
fn limit_counts_merged_series() {
    let blocks = Blocks::open_dir(&testdata("compaction/horizontal-in")).unwrap();
    let hints = SelectHints {
        limit: 7,
        ..SelectHints::default()
    };
    let batches = collect(
        &blocks,
        &Select {
            hints,
            ..Select::default()
        },
    );
    let all = collect(&blocks, &Select::default());
    let labels = |batches: &[SeriesBatch], n: usize| -> Vec<String> {
        views(batches)
            .iter()
            .take(n)
            .map(|series| series.labels.to_string())
            .collect()
    };
    assert_eq!(labels(&batches, 100), labels(&all, 7));
}

#[test]
fn a_bad_block_is_put_aside_and_every_answer_says_so() {
    let dir = TempDir::new("blocks-bad");
    copy_dir(&testdata("compaction/vertical-in"), dir.path());
    let bad = dir.path().join("01M81M6Q71372MMAMY3DPEBTMD");
    std::fs::write(bad.join("index"), b"not an index").unwrap();
    // Neither of these is a block: half written, and a leftover of a writer.
    for name in [
        "01M81M8JDW22H3NMWT3BD73N4P/chunks",
        "01M81M6Q71372MMAMY3DPEBTMD.tmp-for-creation",
    ] {
        std::fs::create_dir_all(dir.path().join(name)).unwrap();
    }
    let blocks = Blocks::open_dir(dir.path()).unwrap();
    assert_eq!((blocks.blocks().len(), blocks.refused().len()), (1, 1));
    assert_eq!(blocks.refused()[0].dir, bad);
    let (events, names) = block_on(async {
        let stream = Queryable::select(&blocks, Select::default()).await.unwrap();
        let events: Vec<SeriesEvent> = stream.try_collect().await.unwrap();
        let names = Queryable::label_names(&blocks, LabelQuery::default()).await;
        (events, names.unwrap())
    });
    let SeriesEvent::Missing(missing) = &events[0] else {
        panic!("{:?}", events[0]);
    };
    assert!(missing.reason.contains("index"), "{missing:?}");
    assert!(matches!(&events[1], SeriesEvent::Batch(_)));
    assert_eq!(names.completeness.missing().len(), 1);
    assert!(!names.values.is_empty());
}

#[test]
fn no_blocks_answer_nothing() {
    let dir = TempDir::new("blocks-none");
    let blocks = Blocks::open_dir(dir.path()).unwrap();
    assert!(blocks.time_range().is_empty());
    assert!(collect(&blocks, &Select::default()).is_empty());
    let error = Blocks::open_dir(&dir.path().join("missing")).unwrap_err();
    assert!(error.file().is_some());
}
