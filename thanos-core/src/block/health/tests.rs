use std::path::PathBuf;

use proptest::prelude::*;

use super::*;
use crate::block::Blocks;
use crate::error::ErrorKind;
use crate::index::ChunkRef;
use crate::testkit::{LabelPairs, label_pairs, malformed_index};

/// The time of the block in these tests.
const MIN: Timestamp = Timestamp::from_millis(1_000);
const MAX: Timestamp = Timestamp::from_millis(2_000);

fn testdata(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("testdata")
        .join(path)
}

/// Chunks with these times, a hundred bytes each.
fn chunks(times: &[(i64, i64)]) -> Vec<ChunkMeta> {
    let chunk = |(place, (min, max)): (u32, &(i64, i64))| ChunkMeta {
        reference: ChunkRef::new(0, 8 + 100 * place),
        min_time: Timestamp::from_millis(*min),
        max_time: Timestamp::from_millis(*max),
    };
    (0..).zip(times).map(chunk).collect()
}

fn series(labels: &[(&str, &str)], times: &[(i64, i64)]) -> (LabelPairs, Vec<ChunkMeta>) {
    (label_pairs(labels), chunks(times))
}

fn health(series: &[(LabelPairs, Vec<ChunkMeta>)]) -> Result<HealthStats> {
    let index = IndexReader::open("index", malformed_index(series))?;
    HealthStats::of_index(&index, MIN, MAX)
}

/// One series with chunks of these times.
fn health_of(times: &[(i64, i64)]) -> HealthStats {
    health(&[series(&[("a", "1")], times)]).unwrap()
}

fn text(result: Result<()>) -> String {
    result.map_or_else(|error| error.to_string(), |()| "sound".to_owned())
}

#[test]
fn blocks_of_prometheus_and_thanos_are_sound() {
    for folder in [
        "block-1k-2h",
        "live-ha-blocks/replica-a",
        "thanos-golden/downsample",
    ] {
        for block in Blocks::open_dir(&testdata(folder)).unwrap().blocks() {
            verify_index(block).unwrap();
            let health = HealthStats::of_index_in(block.dir(), block.meta()).unwrap();
            assert_eq!(health.total_series, block.meta().stats.num_series);
            assert_eq!(health.total_chunks, block.meta().stats.num_chunks);
            assert_eq!(health, HealthStats::of_block(block).unwrap());
        }
    }
}

/// What Thanos says of the same block (its `tools bucket verify` and compactor fill meta.json from these).
#[test]
fn sizes_are_those_that_thanos_writes_into_meta_json() {
    let mut seen = 0;
    for folder in ["thanos-golden/downsample", "thanos-golden/compact"] {
        let Ok(blocks) = Blocks::open_dir(&testdata(folder)) else {
            continue;
        };
        for block in blocks.blocks() {
            let Some(thanos) = &block.meta().thanos else {
                continue;
            };
            let stats = &thanos.index_stats;
            if stats.series_max_size == 0 {
                continue;
            }
            let health = HealthStats::of_block(block).unwrap();
            assert_eq!(
                health.series_bytes.max(),
                Some(to_i64(stats.series_max_size))
            );
            assert_eq!(
                health.chunk_bytes.max().unwrap_or(0),
                to_i64(stats.chunk_max_size)
            );
            seen += 1;
        }
    }
    assert!(seen > 0, "no fixture has index statistics");
}

/// T-11, C-07: each disorder of chunks is counted as what it is, in Thanos' words.
#[test]
fn disorder_of_chunks_is_told_apart() {
    let cases: [(&[(i64, i64)], &str); 8] = [
        (&[(1_000, 1_500), (1_501, 2_000)], "sound"),
        (
            &[(1_000, 1_500), (1_500, 1_999)],
            "1/1 series have an average of 1.000 out-of-order chunks: 0.000 of these are exact duplicates \
             (in terms of data and time range)",
        ),
        // A duplicate alone is no error, but it is told where there is disorder as well.
        (&[(1_000, 1_500), (1_000, 1_500)], "sound"),
        (
            &[
                (1_100, 1_500),
                (1_100, 1_500),
                (1_000, 1_050),
                (1_040, 1_060),
            ],
            "1/1 series have an average of 2.000 out-of-order chunks: 0.500 of these are exact duplicates \
             (in terms of data and time range)",
        ),
        (
            &[(0, 999), (1_000, 1_500)],
            "found 1 chunks completely outside the block time range",
        ),
        (
            &[(1_500, 2_001), (2_002, 2_003)],
            "found 1 chunks non-completely outside the block time range, \
             found 1 chunks completely outside the block time range",
        ),
        (
            &[(1_500, 1_900), (2_000, 2_100)],
            "found 1 chunks outside the block time range introduced by \
             https://github.com/prometheus/tsdb/issues/347",
        ),
        // The first time after the block is still let through as the last of a chunk.
        (&[(2_000, 2_000)], "sound"),
    ];
    for (times, expected) in cases {
        assert_eq!(text(health_of(times).check_any()), expected, "{times:?}");
    }
}

#[test]
fn each_check_looks_at_its_own_faults() {
    let stats = health(&[
        series(
            &[("a", "1")],
            &[(1_500, 1_900), (1_600, 1_700), (2_000, 2_100)],
        ),
        series(&[("b", "1"), ("a", "2")], &[(0, 10)]),
    ])
    .unwrap();
    assert_eq!(
        text(stats.check_critical()),
        "found 1 chunks completely outside the block time range"
    );
    assert!(text(stats.check_issue_347()).starts_with("found 1 chunks outside"));
    assert_eq!(
        text(stats.check_label_order()),
        "index contains 1 postings with out of order labels"
    );
    assert!(text(stats.check_chunk_order()).starts_with("1/2 series have"));
    assert_eq!(stats.check_any().unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(text(stats.check_any()).matches(", found").count(), 1);
    let examples = stats.examples;
    assert_eq!(examples.out_of_order_chunks.as_deref(), Some(r#"{a="1"}"#));
    assert_eq!(
        examples.out_of_order_labels.as_deref(),
        Some(r#"{b="1", a="2"}"#)
    );
}

/// T-11: labels out of order are counted; series out of order, without labels or without chunks are errors.
#[test]
fn what_no_index_may_have_is_an_error() {
    let one = &[(1_000, 1_000)][..];
    let cases = [
        (
            vec![series(&[("a", "2")], one), series(&[("a", "1")], one)],
            r#"series {a="1"} out of order; previous {a="2"}"#,
        ),
        (
            vec![series(&[("a", "2")], one), series(&[("a", "2")], one)],
            r#"series {a="2"} out of order; previous {a="2"}"#,
        ),
        (
            vec![series(&[], one)],
            "empty label set detected for series 2",
        ),
        (
            vec![series(&[("a", "2")], &[])],
            "empty chunks for series 2",
        ),
    ];
    for (series, expected) in cases {
        let error = health(&series).unwrap_err();
        assert_eq!(
            (error.kind(), error.message()),
            (ErrorKind::Corrupt, expected)
        );
    }
}

#[test]
fn statistics_count_what_is_there() {
    let health = health(&[
        series(&[("__name__", "up")], &[(1_000, 1_000)]),
        series(
            &[("__name__", "up"), ("x", "y")],
            &[(1_000, 1_100), (1_200, 1_200), (1_300, 1_600)],
        ),
    ])
    .unwrap();
    let spread = |spread: Spread| (spread.min(), spread.mean(), spread.max());
    assert_eq!(
        spread(health.series_life_ms),
        (Some(0), Some(200), Some(400))
    );
    let without = health.series_life_ms_without_single_samples;
    assert_eq!(spread(without), (Some(400), Some(400), Some(400)));
    assert_eq!(spread(health.series_chunks), (Some(1), Some(2), Some(3)));
    assert_eq!(
        spread(health.chunk_duration_ms),
        (Some(0), Some(100), Some(300))
    );
    assert_eq!(
        spread(health.chunk_bytes),
        (Some(100), Some(100), Some(100))
    );
    assert_eq!(spread(health.series_bytes), (Some(16), Some(16), Some(16)));
    assert_eq!(
        (health.single_sample_series, health.single_sample_chunks),
        (1, 2)
    );
    assert_eq!((health.label_names, health.metric_names), (2, 1));
    assert_eq!(spread(Spread::default()), (None, None, None));
}

proptest! {
    /// However the chunks lie, every one is counted once, and a sorted list inside the block is sound.
    #[test]
    fn faults_add_up(times in prop::collection::vec((900_i64..2_100, 0_i64..200), 1..12)) {
        let times: Vec<_> = times.into_iter().map(|(min, len)| (min, min + len)).collect();
        let health = health_of(&times);
        let inside = times.iter().filter(|(min, max)| *min >= 1_000 && *max <= 2_000).count();
        prop_assert_eq!(health.outside_chunks, (times.len() - inside) as u64);
        prop_assert!(health.complete_outside_chunks + health.issue_347_outside_chunks <= health.outside_chunks);
        let ordered = times.windows(2).filter(|two| two[1].0 > two[0].1).count() as u64;
        let disordered = health.out_of_order_chunks + health.duplicated_chunks;
        prop_assert_eq!(ordered + disordered + 1, times.len() as u64);
        let sound = inside == times.len() && health.out_of_order_chunks == 0;
        prop_assert_eq!(health.check_any().is_ok(), sound);
    }

    /// Damage is an error or is not met, and nothing panics.
    #[test]
    fn damage_never_panics(at in 0_usize..400, mask in 1_u8..) {
        let sound = [series(&[("a", "1"), ("b", "2")], &[(1_000, 1_100)]), series(&[("a", "2")], &[(1_000, 1_100)])];
        let mut bytes = malformed_index(&sound).to_vec();
        let at = at % bytes.len();
        bytes[at] ^= mask;
        let read = IndexReader::open("index", bytes.into())
            .and_then(|index| HealthStats::of_index(&index, MIN, MAX));
        if let Ok(read) = read {
            prop_assert_eq!(read, health(&sound).unwrap());
        }
    }
}
