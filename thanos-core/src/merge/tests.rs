mod aggregates;
mod damage;
mod parts;
mod replicas;

use std::path::PathBuf;

use proptest::prelude::*;

use super::*;
use crate::block::tombstones::Tombstones;
use crate::block::{BlockWriter, Blocks, Downsample, ThanosMeta};
use crate::budget::MemoryBudget;
use crate::chunk::{self, Aggregate, Samples, SeriesChunk};
use crate::index::{LabelIndices, SeriesRef};
use crate::labels::Labels;
use crate::query::{Select, SeriesBatch};
use crate::testkit::TempDir;
use crate::time::{TimeRange, Timestamp};

fn testdata(path: &str) -> PathBuf {
    let testdata = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    testdata.join("compaction").join(path)
}

/// Compacts the blocks of `from`; returns them, what was made of them, and what Prometheus made of them.
fn compacted(from: &str, of_prometheus: &str, dir: &TempDir) -> (Blocks, Block, Block) {
    let sources = Blocks::open_dir(&testdata(from)).unwrap();
    let theirs = Blocks::open_dir(&testdata(of_prometheus)).unwrap();
    let theirs = theirs.blocks()[0].clone();
    let mut options = BlockWriterOptions::new(theirs.id());
    options.label_indices = LabelIndices::Write;
    let chain = MergeOverlaps::Chain;
    merge_blocks(sources.blocks(), dir.path(), options, chain)
        .unwrap()
        .unwrap();
    let ours = Blocks::open_dir(dir.path()).unwrap().blocks()[0].clone();
    (sources, ours, theirs)
}

fn assert_same_files(ours: &Block, theirs: &Block) {
    for file in ["index", "chunks/000001", "tombstones"] {
        let read = |block: &Block| std::fs::read(block.dir().join(file)).unwrap();
        assert!(read(ours) == read(theirs), "{file}");
    }
    let (ours, theirs) = (ours.meta(), theirs.meta());
    let counts = |meta: &Meta| {
        let stats = &meta.stats;
        [stats.num_samples, stats.num_series, stats.num_chunks]
    };
    assert_eq!(counts(ours), counts(theirs));
    // Theirs came about in two steps.
    assert_eq!(ours.compaction.sources, theirs.compaction.sources);
    assert_eq!(ours.time_range(), theirs.time_range());
}

/// What Prometheus' own compactor made of six blocks, file by file.
#[test]
fn blocks_that_follow_each_other_become_the_block_of_prometheus() {
    let dir = TempDir::new("merge-horizontal");
    let (_, ours, theirs) = compacted("horizontal-in", "horizontal-out", &dir);
    assert_same_files(&ours, &theirs);
}

/// However many threads merge, the same files come out, and no thread changes which error is met.
#[test]
fn threads_change_nothing() {
    for (from, overlaps) in [
        ("horizontal-in", MergeOverlaps::Chain),
        ("vertical-in", MergeOverlaps::Chain),
        ("vertical-in", MergeOverlaps::Penalty),
    ] {
        let sources = Blocks::open_dir(&testdata(from)).unwrap();
        let merged = |threads: usize, ids: u8| {
            let dir = TempDir::new("merge-threads");
            let ids: Vec<BlockId> = (0..ids).map(|id| options(id).id).collect();
            let budget = MemoryBudget::new("merge", 64 << 20);
            let mut block = BlockWriterOptions::new(ids[0]);
            block.budget = budget.clone();
            let merge = MergeOptions {
                overlaps,
                threads,
                ..MergeOptions::default()
            };
            let blocks = sources.blocks();
            merge_blocks_into_parts(blocks, dir.path(), &ids, block, merge).unwrap();
            assert_eq!(budget.used_bytes(), 0);
            let files = ids.iter().flat_map(|id| {
                let block = dir.path().join(id.to_string());
                ["index", "chunks/000001", "meta.json"].map(|file| block.join(file))
            });
            let contents: Vec<Vec<u8>> = files.map(|file| std::fs::read(file).unwrap()).collect();
            contents
        };
        for parts in [1, 3] {
            let alone = merged(1, parts);
            for threads in [2, 3, 8] {
                assert!(merged(threads, parts) == alone, "{from} by {threads}");
            }
        }
    }
}

/// A merge on threads ends when it is stopped, and leaves nothing.
#[test]
fn threads_end_with_the_merge() {
    let sources = Blocks::open_dir(&testdata("vertical-in")).unwrap();
    let dir = TempDir::new("merge-threads-stopped");
    let merge = MergeOptions {
        threads: 3,
        ..MergeOptions::default()
    };
    merge.progress.stop();
    let outcome = merge_blocks(sources.blocks(), dir.path(), options(1), merge);
    assert_eq!(outcome.unwrap_err().kind(), crate::ErrorKind::Cancelled);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

type SeriesList = Vec<(Labels, Vec<SeriesChunk>)>;

fn series_of(block: &Block) -> SeriesList {
    let batches = block.select(&Select::default()).unwrap();
    let batches: Vec<SeriesBatch> = batches.map(Result::unwrap).collect();
    let series = batches.iter().flat_map(SeriesBatch::iter);
    series
        .map(|series| (series.labels.to_labels(), series.chunks.to_vec()))
        .collect()
}

fn raw(chunk: &SeriesChunk) -> &[u8] {
    &chunk.get(Aggregate::Raw).unwrap().data
}

/// What Prometheus' own compactor made of two blocks of the same time, down to which of two samples at the same time it
/// keeps.
#[test]
fn blocks_that_overlap_become_the_block_of_prometheus() {
    let dir = TempDir::new("merge-vertical");
    let (_, ours, theirs) = compacted("vertical-in", "vertical-out", &dir);
    assert_eq!(ours.meta().compaction, theirs.meta().compaction);
    let (ours, theirs) = (series_of(&ours), series_of(&theirs));
    assert_eq!(ours.len(), theirs.len());
    let mut exact = 0;
    for ((labels, ours), (their_labels, theirs)) in ours.iter().zip(&theirs) {
        assert_eq!(labels, their_labels);
        assert_eq!(ours.len(), theirs.len(), "{labels}");
        for (our, their) in ours.iter().zip(theirs) {
            assert_eq!(our.time_range(), their.time_range(), "{labels}");
            // Prometheus 2.42 ended a chunk of whole bytes with an empty byte; later versions do not.
            let with_byte = [raw(our), &[0]].concat();
            assert!(
                raw(our) == raw(their) || with_byte == raw(their),
                "{labels}"
            );
            exact += usize::from(raw(our) == raw(their));
        }
    }
    assert!(exact > 300, "{exact}");
}

fn chunks(samples: &[(i64, f64)]) -> Vec<SeriesChunk> {
    let mut columns = Samples::new();
    for (time, value) in samples {
        columns.push_float(Timestamp::from_millis(*time), *value);
    }
    chunk::encode(&columns)
}

fn samples(chunks: &[SeriesChunk]) -> Vec<(i64, f64)> {
    let mut all = Samples::new();
    for part in chunks {
        chunk::decode(part.get(Aggregate::Raw).unwrap(), &mut all).unwrap();
    }
    let pairs = all.times().iter().zip(all.values());
    pairs.map(|(time, value)| (*time, *value)).collect()
}

/// Writes a block of one series for each list of samples.
fn block(dir: &TempDir, number: u8, series: &[&[(i64, f64)]]) -> Block {
    let id = BlockId::from_parts(Timestamp::from_millis(1_000), u128::from(number));
    let names: Vec<String> = (0..series.len()).map(|name| format!("m{name}")).collect();
    let symbols = std::iter::once("__name__").chain(names.iter().map(String::as_str));
    let mut writer = BlockWriter::create(dir.path(), BlockWriterOptions::new(id), symbols).unwrap();
    for (name, samples) in names.iter().zip(series) {
        let labels = Labels::from_pairs([("__name__", name.as_str())]);
        if !samples.is_empty() {
            writer
                .add_series(labels.as_ref(), &chunks(samples))
                .unwrap();
        }
    }
    writer.finish().unwrap();
    Block::open(&dir.path().join(id.to_string())).unwrap()
}

fn options(number: u8) -> BlockWriterOptions {
    let random = u128::from(number);
    BlockWriterOptions::new(BlockId::from_parts(Timestamp::from_millis(2_000), random))
}

#[test]
fn replicas_become_one_of_them() {
    let dir = TempDir::new("merge-replicas");
    let replica = |phase: i64, lost: std::ops::Range<i64>| -> Vec<(i64, f64)> {
        let scrapes = (0..400).filter(|scrape| !lost.contains(scrape));
        scrapes
            .map(|scrape| (scrape * 15_000 + phase, phase as f64))
            .collect()
    };
    let (a, b) = (replica(0, 100..150), replica(3_000, 300..400));
    let sources = [block(&dir, 1, &[&a]), block(&dir, 2, &[&b])];
    let out = TempDir::new("merge-replicas-out");
    merge_blocks(&sources, out.path(), options(3), MergeOverlaps::Penalty).unwrap();
    let made = Blocks::open_dir(out.path()).unwrap();
    let merged = samples(&series_of(&made.blocks()[0])[0].1);
    // Neither the gap of one nor the end of the other shows, and nothing is there twice.
    assert!((396..=400).contains(&merged.len()), "{}", merged.len());
    let step = |two: &[(i64, f64)]| two[1].0 - two[0].0;
    assert!(
        merged
            .windows(2)
            .all(|two| (12_000..=45_000).contains(&step(two)))
    );
    let chain = merge_blocks(&sources, out.path(), options(4), MergeOverlaps::Chain).unwrap();
    assert_eq!(chain.unwrap().stats.num_samples, (a.len() + b.len()) as u64);
}

/// Every chunk of three replicas ends somewhere, and nothing is lost there.
#[test]
fn chunks_that_end_are_no_reason_to_change_the_replica() {
    let replica = |phase: i64, from: i64| -> Vec<(i64, f64)> {
        (from..480)
            .map(|scrape| (scrape * 15_000 + phase, scrape as f64))
            .collect()
    };
    let (a, b, c) = (replica(0, 0), replica(4_000, 50), replica(2_000, 7));
    let sources = [&a, &b, &c].map(|replica| chunks(replica)).to_vec();
    let merged = merge_chunks(sources, MergeOverlaps::Penalty).unwrap();
    assert_eq!(samples(&merged), a);
}

#[test]
fn samples_that_run_backwards_are_refused() {
    let good = chunks(&[(10, 1.0), (20, 2.0)]);
    let mut bad = chunks(&[(30, 1.0), (5, 2.0)]);
    (bad[0].min_time, bad[0].max_time) = (good[0].min_time, good[0].max_time);
    for overlaps in [MergeOverlaps::Chain, MergeOverlaps::Penalty] {
        let error = merge_chunks(vec![good.clone(), bad.clone()], overlaps).unwrap_err();
        assert_eq!(error.kind(), crate::error::ErrorKind::Corrupt, "{error}");
    }
}

#[test]
fn what_can_not_be_compacted_leaves_nothing() {
    let dir = TempDir::new("merge-refused");
    let out = TempDir::new("merge-refused-out");
    let chain = MergeOverlaps::Chain;
    let error = merge_blocks(&[], out.path(), options(1), chain).unwrap_err();
    assert!(error.to_string().contains("no block"), "{error}");
    let empty = block(&dir, 1, &[]);
    assert_eq!(
        merge_blocks(&[empty], out.path(), options(1), chain).unwrap(),
        None
    );
    let raw = block(&dir, 2, &[&[(0, 1.0)]]);
    let mut downsampled = options(3);
    downsampled.thanos = Some(ThanosMeta {
        downsample: Downsample {
            resolution_ms: 300_000,
        },
        ..ThanosMeta::default()
    });
    let id = downsampled.id;
    merge_blocks(std::slice::from_ref(&raw), dir.path(), downsampled, chain).unwrap();
    let coarse = Block::open(&dir.path().join(id.to_string())).unwrap();
    let error = merge_blocks(&[raw, coarse], out.path(), options(4), chain).unwrap_err();
    assert!(
        error.to_string().contains("different resolutions"),
        "{error}"
    );
    assert_eq!(std::fs::read_dir(out.path()).unwrap().count(), 0);
}

#[test]
fn deleted_samples_are_left_out() {
    let dir = TempDir::new("merge-deleted");
    let source = block(&dir, 1, &[&[(1, 1.0), (2, 2.0), (3, 3.0)], &[(1, 1.0)]]);
    let mut deleted = Tombstones::default();
    let postings = source.index().all_postings().unwrap().into_vec();
    for series in &postings {
        deleted.add(SeriesRef::from(*series), TimeRange::from_millis(0, 2));
    }
    deleted.write_dir(source.dir()).unwrap();
    let source = Block::open(source.dir()).unwrap();
    let out = TempDir::new("merge-deleted-out");
    let chain = MergeOverlaps::Chain;
    let meta = merge_blocks(&[source], out.path(), options(2), chain)
        .unwrap()
        .unwrap();
    assert_eq!((meta.stats.num_series, meta.stats.num_samples), (1, 1));
    let made = Blocks::open_dir(out.path()).unwrap();
    assert_eq!(samples(&series_of(&made.blocks()[0])[0].1), [(3, 3.0)]);
    assert!(made.blocks()[0].tombstones().is_empty());
}

type Floats = Vec<(i64, f64)>;

/// A history, and the parts of it that some blocks have.
fn split_history() -> impl Strategy<Value = (Floats, Vec<Floats>)> {
    let steps = proptest::collection::vec((1_i64..20, 0_u8..8), 1..400);
    (steps, 1_usize..4).prop_map(|(steps, count)| {
        let mut time = 0;
        let mut all = Vec::new();
        let mut parts = vec![Vec::new(); count];
        for (step, owners) in steps {
            time += step;
            let sample = (time, f64::from(owners) + time as f64);
            all.push(sample);
            let owned = |part: usize| {
                part == usize::try_from(time).unwrap() % count || owners >> part & 1 == 1
            };
            for (_, part) in parts
                .iter_mut()
                .enumerate()
                .filter(|(part, _)| owned(*part))
            {
                part.push(sample);
            }
        }
        (all, parts)
    })
}

proptest! {
    /// merge(split(x)) = x, whatever overlaps and in whichever order.
    #[test]
    fn what_was_split_is_made_whole((all, parts) in split_history(), rotation in 0_usize..4) {
        let mut parts: Vec<Vec<SeriesChunk>> = parts.iter().map(|part| chunks(part)).collect();
        let rotation = rotation % parts.len();
        parts.rotate_left(rotation);
        let merged = merge_chunks(parts, MergeOverlaps::Chain).unwrap();
        prop_assert!(merged.windows(2).all(|two| two[0].max_time < two[1].min_time));
        prop_assert_eq!(samples(&merged), all);
    }

    /// Equal chunks are one, and nothing is encoded anew.
    #[test]
    fn copies_are_dropped((all, _) in split_history(), count in 1_usize..5) {
        let one = chunks(&all);
        for overlaps in [MergeOverlaps::Chain, MergeOverlaps::Penalty] {
            let merged = merge_chunks(vec![one.clone(); count], overlaps).unwrap();
            prop_assert_eq!(&merged, &one);
        }
    }

    #[test]
    fn penalty_keeps_samples_that_were_recorded((all, parts) in split_history()) {
        let parts = parts.iter().map(|part| chunks(part)).collect();
        let merged = samples(&merge_chunks(parts, MergeOverlaps::Penalty).unwrap());
        prop_assert!(merged.windows(2).all(|two| two[0].0 < two[1].0));
        prop_assert!(merged.iter().all(|sample| all.contains(sample)));
        prop_assert_eq!(merged.first(), all.first());
    }
}
