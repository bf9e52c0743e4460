//! Downsampled chunks that overlap.

use super::*;
use crate::chunk::{Chunk, ChunkPayload, Encoding};
use crate::downsample::{CounterTotal, FIVE_MINUTES_MS, RAW_MS, downsample};
use crate::histogram::Histogram;

const SCRAPE_MS: i64 = 15_000;

fn five_minutes(samples: &[(i64, f64)]) -> Vec<SeriesChunk> {
    downsample(&chunks(samples), RAW_MS, FIVE_MINUTES_MS).unwrap()
}

fn column(chunks: &[SeriesChunk], aggregate: Aggregate) -> Floats {
    let mut all = Samples::new();
    for part in chunks {
        chunk::decode(part.get(aggregate).unwrap(), &mut all).unwrap();
    }
    let pairs = all.times().iter().zip(all.values());
    pairs.map(|(time, value)| (*time, *value)).collect()
}

/// What a counter grew by as a reader of its chunks sees it.
fn increase(chunks: &[SeriesChunk]) -> f64 {
    let mut total = CounterTotal::default();
    let shown = column(chunks, Aggregate::Counter).into_iter();
    let shown = shown.filter_map(|(time, value)| total.add(Timestamp::from_millis(time), value));
    let shown: Vec<f64> = shown.collect();
    shown.last().unwrap() - shown[0]
}

/// A counter: by how much it grows from scrape to scrape, and where it is reset.
fn counter() -> impl Strategy<Value = Vec<f64>> {
    let step = prop_oneof![30 => (0_u8..50).prop_map(Some), 1 => Just(None)];
    proptest::collection::vec(step, 300..4_000).prop_map(|steps| {
        let mut value = 100.0;
        let grow = |step: Option<u8>| {
            value = step.map_or(0.0, |step| value + f64::from(step));
            value
        };
        steps.into_iter().map(grow).collect()
    })
}

fn scraped(values: &[f64], scrapes: std::ops::Range<usize>) -> Floats {
    let scrape = |at: usize| (i64::try_from(at).unwrap() * SCRAPE_MS, values[at]);
    scrapes.map(scrape).collect()
}

fn total_of(values: &[f64]) -> f64 {
    let grown = |two: &[f64]| {
        if two[1] >= two[0] {
            two[1] - two[0]
        } else {
            two[1]
        }
    };
    values.windows(2).map(grown).sum()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// One replica has it all, the other begins later: counters grow as they did, and no window is there twice.
    #[test]
    fn a_replica_that_has_it_all_is_the_answer(values in counter(), from in 1_usize..250) {
        let whole = five_minutes(&scraped(&values, 0..values.len()));
        let late = five_minutes(&scraped(&values, from..values.len()));
        for overlaps in [MergeOverlaps::Penalty, MergeOverlaps::Chain] {
            let merged = merge_chunks(vec![whole.clone(), late.clone()], overlaps).unwrap();
            let difference = (increase(&merged) - total_of(&values)).abs();
            prop_assert!(difference < 1e-6, "{difference}");
            prop_assert!(merged.windows(2).all(|two| two[0].max_time < two[1].min_time));
            let times = |chunks: &[SeriesChunk]| -> Vec<i64> {
                column(chunks, Aggregate::Count).iter().map(|(time, _)| *time).collect()
            };
            prop_assert_eq!(times(&merged), times(&whole));
            if overlaps == MergeOverlaps::Penalty {
                for aggregate in [Aggregate::Count, Aggregate::Sum, Aggregate::Min, Aggregate::Max] {
                    prop_assert_eq!(column(&merged, aggregate), column(&whole, aggregate));
                }
            }
        }
    }

    /// Where one replica has a gap the other one helps out: at most what grew in the windows at its ends is missing.
    #[test]
    fn gaps_are_filled(values in counter(), start in 50_usize..150, len in 25_usize..100) {
        let whole = scraped(&values, 0..values.len());
        let with_gap: Floats =
            [&whole[..start], &whole[start + len..]].concat();
        // The first one decides where the windows begin.
        let sources = vec![five_minutes(&with_gap), five_minutes(&whole[1..])];
        let merged = merge_chunks(sources, MergeOverlaps::Penalty).unwrap();
        let (found, truth) = (increase(&merged), total_of(&values));
        let window = 20;
        let around = |at: usize| {
            let (from, to) = (at.saturating_sub(2 * window), at + 2 * window);
            total_of(&values[from..to.min(values.len())])
        };
        let slack = around(start) + around(start + len) + 1e-6;
        prop_assert!((found - truth).abs() <= slack, "{found} {truth} {slack}");
    }
}

#[test]
fn histograms_keep_their_windows() {
    let histogram = |scrape: i64| {
        let mut histogram = Histogram::new(
            std::sync::Arc::new(crate::histogram::BucketLayout {
                positive_spans: vec![crate::histogram::Span {
                    offset: 0,
                    length: 2,
                }],
                ..Default::default()
            }),
            &[scrape, 0],
            &[],
        )
        .unwrap();
        (histogram.count, histogram.sum) = (2 * scrape.unsigned_abs(), scrape as f64);
        histogram
    };
    let replica = |scrapes: std::ops::Range<i64>| {
        let mut samples = Samples::new();
        for scrape in scrapes {
            let time = Timestamp::from_millis(scrape * SCRAPE_MS);
            samples.push_histogram(time, &histogram(scrape));
        }
        downsample(&chunk::encode(&samples), RAW_MS, FIVE_MINUTES_MS).unwrap()
    };
    let (whole, late) = (replica(1..900), replica(100..800));
    for overlaps in [MergeOverlaps::Penalty, MergeOverlaps::Chain] {
        let merged = merge_chunks(vec![whole.clone(), late.clone()], overlaps).unwrap();
        let windows = |chunks: &[SeriesChunk]| -> Vec<i64> {
            column(chunks, Aggregate::Count)
                .iter()
                .map(|(time, _)| *time)
                .collect()
        };
        assert_eq!(windows(&merged), windows(&whole));
        for aggregate in [Aggregate::Sum, Aggregate::Counter] {
            assert_eq!(column(&merged, aggregate).len(), windows(&whole).len());
        }
    }
}

#[test]
fn raw_and_downsampled_chunks_do_not_mix() {
    let raw = chunks(&[(1_000, 1.0), (400_000, 2.0)]);
    let coarse = five_minutes(&[(1_000, 1.0), (400_000, 2.0)]);
    let error = merge_chunks(vec![raw, coarse], MergeOverlaps::Penalty).unwrap_err();
    assert!(error.to_string().contains("raw and downsampled"), "{error}");
}

/// Two copies of what Thanos made are one, and parts of it by hash are all of it.
#[test]
fn copies_and_parts_of_a_downsampled_block_are_that_block() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/thanos-golden/downsample");
    let golden = Block::open(&golden.join("01M81NXXCYF2E0R3VCTW4QEBJN")).unwrap();
    let dir = TempDir::new("merge-downsampled");
    let id = options(1).id;
    let copy = dir.path().join(id.to_string());
    crate::testkit::copy_dir(golden.dir(), &copy);
    let mut meta = golden.meta().clone();
    meta.ulid = id;
    meta.write_dir(&copy).unwrap();
    let both = [golden.clone(), Block::open(&copy).unwrap()];
    let out = dir.path().join("out");
    let ids = [options(2).id, options(3).id];
    let parts =
        merge_blocks_into_parts(&both, &out, &ids, options(2), MergeOverlaps::Penalty).unwrap();
    assert_eq!(parts.len(), 2);
    let parts = ids.map(|id| Block::open(&out.join(id.to_string())).unwrap());
    let mut whole = options(4);
    whole.thanos.clone_from(&golden.meta().thanos);
    let merged = merge_blocks(&parts, &out, whole, MergeOverlaps::Chain);
    let merged = merged.unwrap().unwrap();
    assert_eq!(merged.stats.num_samples, golden.meta().stats.num_samples);
    let merged = Block::open(&out.join(merged.ulid.to_string())).unwrap();
    let chunks = |block: &Block| std::fs::read(block.dir().join("chunks/000001")).unwrap();
    assert!(chunks(&merged) == chunks(&golden));
    assert_eq!(series_of(&merged), series_of(&golden));
}

proptest! {
    /// Chunks that are damaged, and pass for none, are merged into something or refused.
    #[test]
    fn damage_does_no_harm(at in any::<prop::sample::Index>(), flip in 1_u8..=255, from in 1_usize..90) {
        let values: Vec<f64> = (0..600).map(|number| f64::from(number * number % 977)).collect();
        let whole = five_minutes(&scraped(&values, 0..600));
        let mut late = five_minutes(&scraped(&values, from..600));
        let ChunkPayload::Aggregates(set) = &late[0].payload else {
            unreachable!("downsampled chunks are aggregates");
        };
        let mut data = chunk::encode_aggregates(set).unwrap().data.to_vec();
        let at = at.index(data.len());
        data[at] ^= flip;
        let damaged = Chunk { encoding: Encoding::AGGREGATES, data: data.into() };
        if let Ok(payload) = chunk::payload(damaged) {
            late[0].payload = payload;
            if let Ok(merged) = merge_chunks(vec![whole, late], MergeOverlaps::Penalty) {
                let follow = |two: &[SeriesChunk]| two[0].max_time < two[1].min_time;
                prop_assert!(merged.windows(2).all(follow));
            }
        }
    }
}
