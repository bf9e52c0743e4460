use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::block::{Blocks, verify_index};
use crate::chunk::{self, Aggregate, Encoding, SampleRef, Samples};
use crate::histogram::Histogram;
use crate::labels::{MatchOp, Matcher};
use crate::query::Select;
use crate::testkit::TempDir;
use crate::time::Timestamp;

const OLD: &str = "01M81JDC7R8JKP7SEW1VN2HAQ9";
const NEW: &str = "01M81M50C1GHABPQN27M3727VX";

type Series = BTreeMap<Labels, BTreeMap<i64, String>>;

fn options() -> RewriteOptions {
    RewriteOptions {
        block: BlockWriterOptions::new(NEW.parse().unwrap()),
        source: "bucket.rewrite".to_owned(),
        budget: MemoryBudget::unlimited(),
    }
}

/// All series with a text for each sample.
fn contents(block: &Block) -> Series {
    let mut found = Series::new();
    for batch in block.select(&Select::default()).unwrap() {
        for series in batch.unwrap().iter() {
            let samples = found.entry(series.labels.to_labels()).or_default();
            for part in series.chunks {
                let decoded = chunk::samples(part.get(Aggregate::Raw).unwrap()).unwrap();
                for (time, sample) in decoded.iter() {
                    let text = match sample {
                        SampleRef::Float(value) => value.to_bits().to_string(),
                        SampleRef::Histogram(histogram) => {
                            format!("{:?}", histogram.to_float().count)
                        }
                    };
                    assert!(samples.insert(time.as_millis(), text).is_none());
                }
            }
        }
    }
    found
}

/// A block in which the series `n` has the samples `times`, in chunks of three.
fn block(dir: &TempDir, series: &[(Labels, Vec<i64>)]) -> Block {
    let mut sorted = series.to_vec();
    sorted.sort();
    let symbols: BTreeSet<String> = (sorted.iter())
        .flat_map(|(labels, _)| {
            labels
                .iter()
                .flat_map(|(n, v)| [n.into_owned(), v.into_owned()])
        })
        .collect();
    let mut writer = BlockWriter::create(
        dir.path(),
        BlockWriterOptions::new(OLD.parse().unwrap()),
        symbols,
    )
    .unwrap();
    for (labels, times) in &sorted {
        let mut chunks = Vec::new();
        for part in times.chunks(3) {
            let mut samples = Samples::new();
            for ms in part {
                samples.push_float(Timestamp::from_millis(*ms), *ms as f64);
            }
            chunks.extend(chunk::encode(&samples));
        }
        writer.add_series(labels.as_ref(), &chunks).unwrap();
    }
    writer.finish().unwrap();
    Block::open(&dir.path().join(OLD)).unwrap()
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    Labels::from_pairs(pairs.iter().copied())
}

fn rewrite(block: &Block, rules: &RewriteRules) -> (Series, String, Option<Meta>, RewriteStats) {
    let out = TempDir::new("rewrite");
    let mut log = ChangeLog::new(Vec::new());
    let (meta, stats) = rewrite_block(block, out.path(), &options(), rules, &mut log).unwrap();
    let mut previewed = ChangeLog::new(Vec::new());
    let preview =
        preview_rewrite(block, rules, &MemoryBudget::unlimited(), &mut previewed).unwrap();
    let log = String::from_utf8(log.into_inner()).unwrap();
    assert_eq!(preview, stats);
    assert_eq!(String::from_utf8(previewed.into_inner()).unwrap(), log);
    let found = match &meta {
        None => {
            assert_eq!(std::fs::read_dir(out.path()).unwrap().count(), 0);
            Series::new()
        }
        Some(meta) => {
            let new = Block::open(&out.path().join(NEW)).unwrap();
            verify_index(&new).unwrap();
            assert_eq!(new.meta(), meta);
            contents(&new)
        }
    };
    (found, log, meta, stats)
}

fn deletion(matchers: Vec<Matcher>, intervals: &[(i64, i64)]) -> DeletionRequest {
    let range = |(min, max): &(i64, i64)| TimeRange::from_millis(*min, *max);
    DeletionRequest {
        matchers,
        intervals: intervals.iter().map(range).collect(),
        request_id: String::new(),
    }
}

fn relabel(yaml: serde_json::Value) -> RelabelConfig {
    serde_json::from_value(yaml).unwrap()
}

/// T-26: a series must have every matched label; no intervals are the whole series; intervals of several requests are
/// united; a chunk that is hit in part keeps the rest.
#[test]
fn deletions_take_what_they_name() {
    let dir = TempDir::new("rewrite-in");
    let all: Vec<i64> = (1..=9).collect();
    let series = [
        (labels(&[("a", "1"), ("b", "x")]), all.clone()),
        (labels(&[("a", "2")]), all.clone()),
        (labels(&[("a", "3"), ("b", "y")]), all.clone()),
        (labels(&[("a", "4"), ("b", "z")]), all),
    ];
    let block = block(&dir, &series);
    let rules = RewriteRules {
        deletions: vec![
            // Would match the series without `b` elsewhere.
            deletion(
                vec![Matcher::new(MatchOp::NotRegex, "b", "x|y").unwrap()],
                &[],
            ),
            deletion(vec![Matcher::equal("a", "1")], &[(2, 3), (8, 100)]),
            deletion(vec![Matcher::equal("b", "x")], &[(4, 4)]),
            deletion(vec![Matcher::equal("a", "3")], &[(1, 6)]),
            // Ends before it begins: nothing, and not the whole series.
            deletion(vec![Matcher::equal("a", "2")], &[(6, 1)]),
        ],
        ..RewriteRules::default()
    };
    let (found, log, meta, stats) = rewrite(&block, &rules);
    let times: Vec<(String, Vec<i64>)> = found
        .iter()
        .map(|(labels, samples)| (labels.to_string(), samples.keys().copied().collect()))
        .collect();
    assert_eq!(
        times,
        [
            (r#"{a="1", b="x"}"#.to_owned(), vec![1, 5, 6, 7]),
            (r#"{a="2"}"#.to_owned(), (1..=9).collect()),
            (r#"{a="3", b="y"}"#.to_owned(), vec![7, 8, 9]),
        ]
    );
    // T-28: the lines of the change log.
    assert_eq!(
        log,
        "Deleted {a=\"1\", b=\"x\"} [{2 4} {8 9}]\n\
         Deleted {a=\"3\", b=\"y\"} [{1 6}]\n\
         Deleted {a=\"4\", b=\"z\"} [{1 9}]\n"
    );
    assert_eq!(
        (stats.series, stats.cut_series, stats.deleted_series),
        (4, 2, 1)
    );
    // T-25: what the new block says of itself.
    let meta = meta.unwrap();
    assert_eq!(meta.stats.num_samples, 16);
    assert_eq!(meta.compaction.sources, [NEW.parse().unwrap()]);
    assert_eq!(
        (meta.min_time, meta.max_time),
        (block.meta().min_time, block.meta().max_time)
    );
    let thanos = meta.thanos.unwrap();
    assert_eq!(thanos.source, "bucket.rewrite");
    assert_eq!(thanos.rewrites[0].sources, [OLD.parse().unwrap()]);
    assert_eq!(
        thanos.rewrites[0].deletions_applied[1].to_string(),
        r#"{"intervals":[{"Maxt":3,"Mint":2},{"Maxt":100,"Mint":8}],"matchers":[{"Name":"a","Type":0,"Value":"1"}]}"#
    );
}

/// T-27: series left with no labels are dropped, series that become equal are merged with one sample for each time, and
/// symbols and order follow.
#[test]
fn relabelling_drops_merges_and_sorts() {
    let dir = TempDir::new("rewrite-in");
    let block = block(
        &dir,
        &[
            (labels(&[("a", "1"), ("r", "A")]), vec![1, 2, 3, 4]),
            (labels(&[("a", "1"), ("r", "B")]), vec![3, 4, 5]),
            (labels(&[("a", "2")]), vec![1]),
            (labels(&[("r", "C")]), vec![7, 8]),
            (labels(&[("z", "9")]), vec![9]),
        ],
    );
    let rules = RewriteRules {
        relabels: vec![
            relabel(serde_json::json!({"action": "labeldrop", "regex": "r"})),
            relabel(serde_json::json!({"source_labels": ["a"], "regex": "2", "action": "drop"})),
            relabel(
                serde_json::json!({"source_labels": ["z"], "regex": "9", "target_label": "a", "replacement": "0"}),
            ),
        ],
        // Deletions see the new labels.
        deletions: vec![deletion(vec![Matcher::equal("a", "1")], &[(4, 4)])],
    };
    let (found, log, meta, stats) = rewrite(&block, &rules);
    let times: Vec<(String, Vec<i64>)> = found
        .iter()
        .map(|(labels, samples)| (labels.to_string(), samples.keys().copied().collect()))
        .collect();
    assert_eq!(
        times,
        [
            (r#"{a="0", z="9"}"#.to_owned(), vec![9]),
            (r#"{a="1"}"#.to_owned(), vec![1, 2, 3, 5]),
        ]
    );
    assert_eq!(
        log,
        "Relabelled {a=\"1\", r=\"A\"} {a=\"1\"}\n\
         Relabelled {a=\"1\", r=\"B\"} {a=\"1\"}\n\
         Deleted {a=\"2\"} [{1 1}]\n\
         Deleted {r=\"C\"} [{7 8}]\n\
         Relabelled {z=\"9\"} {a=\"0\", z=\"9\"}\n\
         Deleted {a=\"1\"} [{4 4}]\n"
    );
    assert_eq!(
        (
            stats.relabelled_series,
            stats.deleted_series,
            stats.merged_series
        ),
        (3, 2, 1)
    );
    let meta = meta.unwrap();
    assert_eq!((meta.stats.num_series, meta.stats.num_samples), (2, 5));
    assert_eq!(meta.thanos.unwrap().rewrites[0].relabels_applied.len(), 3);
}

/// T-26: histograms keep their type, other than with Thanos, which writes what is left as floats.
#[test]
fn histograms_stay_histograms() {
    let dir = TempDir::new("rewrite-in");
    let mut writer = BlockWriter::create(
        dir.path(),
        BlockWriterOptions::new(OLD.parse().unwrap()),
        ["a", "h"],
    )
    .unwrap();
    let mut samples = Samples::new();
    for ms in 1_i64..=4 {
        let mut histogram = Histogram::new(std::sync::Arc::default(), &[], &[]).unwrap();
        (histogram.count, histogram.zero_count) = (ms.unsigned_abs(), ms.unsigned_abs());
        samples.push_histogram(Timestamp::from_millis(ms), &histogram);
    }
    writer
        .add_series(labels(&[("a", "h")]).as_ref(), &chunk::encode(&samples))
        .unwrap();
    writer.finish().unwrap();
    let block = Block::open(&dir.path().join(OLD)).unwrap();
    let rules = RewriteRules {
        deletions: vec![deletion(vec![Matcher::equal("a", "h")], &[(2, 2)])],
        ..RewriteRules::default()
    };
    let out = TempDir::new("rewrite");
    let rewritten = rewrite_block(&block, out.path(), &options(), &rules, &mut NoLog);
    assert_eq!(rewritten.unwrap().0.unwrap().stats.num_histogram_samples, 3);
    let new = Block::open(&out.path().join(NEW)).unwrap();
    for batch in new.select(&Select::default()).unwrap() {
        for series in batch.unwrap().iter() {
            let chunk = series.chunks[0].get(Aggregate::Raw).unwrap();
            assert_eq!(chunk.encoding, Encoding::HISTOGRAM);
        }
    }
    assert_eq!(
        contents(&new)[&labels(&[("a", "h")])]
            .keys()
            .copied()
            .collect::<Vec<_>>(),
        [1, 3, 4]
    );
}

#[test]
fn nothing_left_is_no_block_and_downsampled_chunks_lose_whole_windows() {
    let dir = TempDir::new("rewrite-in");
    let only = block(&dir, &[(labels(&[("a", "1")]), vec![1, 2])]);
    let rules = RewriteRules {
        deletions: vec![deletion(vec![Matcher::equal("a", "1")], &[])],
        ..RewriteRules::default()
    };
    let (found, log, meta, _) = rewrite(&only, &rules);
    assert!(found.is_empty() && meta.is_none());
    assert_eq!(log, "Deleted {a=\"1\"} [{1 2}]\n");

    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/thanos-golden/downsample");
    let blocks = Blocks::open_dir(&folder).unwrap();
    let downsampled = blocks
        .blocks()
        .iter()
        .find(|block| block.meta().resolution_ms() > 0)
        .unwrap();
    let end = downsampled.meta().max_time.as_millis();
    let rules = RewriteRules {
        deletions: vec![deletion(
            vec![Matcher::new(MatchOp::Regex, "__name__", ".+").unwrap()],
            &[(end - 400_000, end)],
        )],
        ..RewriteRules::default()
    };
    let out = TempDir::new("rewrite");
    let rewritten = rewrite_block(downsampled, out.path(), &options(), &rules, &mut NoLog);
    let (meta, stats) = rewritten.unwrap();
    assert!(
        stats.cut_series > 0 && stats.deleted_series == 0,
        "{stats:?}"
    );
    let meta = meta.unwrap();
    assert_eq!(meta.resolution_ms(), downsampled.meta().resolution_ms());
    assert!(meta.stats.num_samples < downsampled.meta().stats.num_samples);
    verify_index(&Block::open(&out.path().join(NEW)).unwrap()).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// What is left is what a naive walk over all samples leaves.
    #[test]
    fn a_rewrite_equals_its_definition(
        series in prop::collection::btree_map((0_u8..4, 0_u8..4), prop::collection::btree_set(0_i64..60, 1..15), 1..8),
        drop_b in any::<bool>(),
        deleted in prop::collection::vec((0_u8..4, prop::collection::vec((0_i64..60, 0_i64..20), 0..3)), 0..3),
    ) {
        let dir = TempDir::new("rewrite-in");
        let given: Vec<(Labels, Vec<i64>)> = series.iter().map(|((a, b), times)| {
            (labels(&[("a", &a.to_string()), ("b", &b.to_string())]), times.iter().copied().collect())
        }).collect();
        let block = block(&dir, &given);
        let requests = deleted.iter().map(|(a, ranges)| {
            let ranges: Vec<_> = ranges.iter().map(|(min, len)| (*min, min + len)).collect();
            deletion(vec![Matcher::equal("a", &a.to_string())], &ranges)
        });
        let mut rules = RewriteRules { deletions: requests.collect(), ..RewriteRules::default() };
        if drop_b {
            rules.relabels.push(relabel(serde_json::json!({"action": "labeldrop", "regex": "b"})));
        }
        let mut expected = BTreeMap::<Labels, BTreeSet<i64>>::new();
        for ((a, b), times) in &series {
            let (a, b) = (a.to_string(), b.to_string());
            let mut new = vec![("a", &*a)];
            if !drop_b {
                new.push(("b", &b));
            }
            for ms in times {
                let is_gone = deleted.iter().any(|(wanted, ranges)| {
                    wanted.to_string() == a
                        && (ranges.is_empty() || ranges.iter().any(|(min, len)| (*min..=min + len).contains(ms)))
                });
                if !is_gone {
                    expected.entry(labels(&new)).or_default().insert(*ms);
                }
            }
        }
        let found = rewrite(&block, &rules).0;
        let found: BTreeMap<_, BTreeSet<i64>> =
            found.into_iter().map(|(labels, samples)| (labels, samples.into_keys().collect())).collect();
        prop_assert_eq!(found, expected);
    }
}
