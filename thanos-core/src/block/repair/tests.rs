use super::*;
use crate::block::{Blocks, ThanosMeta, verify_index};
use crate::chunk::{self, Aggregate, XorEncoder};
use crate::error::ErrorKind;
use crate::labels::Labels;
use crate::query::Select;
use crate::testkit::{LabelPairs, TempDir, label_pairs, malformed_block};
use crate::time::{TimeRange, Timestamp};

const OLD: &str = "01M81JDC7R8JKP7SEW1VN2HAQ9";
const NEW: &str = "01M81M50C1GHABPQN27M3727VX";
const MIN: Timestamp = Timestamp::from_millis(1_000);
const MAX: Timestamp = Timestamp::from_millis(2_000);

/// A chunk with samples at these times, each with its time as value and `shift` added.
fn chunk(times: &[i64], shift: f64) -> SeriesChunk {
    let mut encoder = XorEncoder::new();
    for ms in times {
        encoder.append(Timestamp::from_millis(*ms), *ms as f64 + shift);
    }
    let [min, max] = [times[0], times[times.len() - 1]].map(Timestamp::from_millis);
    SeriesChunk::raw(min, max, encoder.finish())
}

fn options(faults: RepairedFaults) -> RepairOptions {
    RepairOptions {
        id: NEW.parse().unwrap(),
        source: "bucket.repair".to_owned(),
        faults,
        budget: MemoryBudget::unlimited(),
    }
}

fn malformed(dir: &TempDir, series: &[(LabelPairs, Vec<SeriesChunk>)]) -> Block {
    let thanos = ThanosMeta {
        source: "sidecar".to_owned(),
        ..ThanosMeta::default()
    };
    malformed_block(
        dir.path(),
        OLD.parse().unwrap(),
        (MIN, MAX),
        Some(thanos),
        series,
    );
    Block::open(&dir.path().join(OLD)).unwrap()
}

/// All series of a block with the times and values of their samples.
fn contents(block: &Block) -> Vec<(Labels, Vec<(i64, f64)>)> {
    let mut found = Vec::new();
    for batch in block.select(&Select::default()).unwrap() {
        for series in batch.unwrap().iter() {
            let mut samples = Vec::new();
            for part in series.chunks {
                let decoded = chunk::samples(part.get(Aggregate::Raw).unwrap()).unwrap();
                let times = decoded.times().iter().copied();
                samples.extend(times.zip(decoded.values().iter().copied()));
            }
            found.push((series.labels.to_labels(), samples));
        }
    }
    found
}

fn at(times: &[i64]) -> Vec<(i64, f64)> {
    times.iter().map(|ms| (*ms, *ms as f64)).collect()
}

/// T-12: outsiders, exact duplicates and chunks of issue 347 go, labels and series are sorted, and no series is there
/// twice.
#[test]
fn what_nobody_loses_by_is_repaired() {
    let dir = TempDir::new("repair");
    let block = malformed(
        &dir,
        &[
            (
                label_pairs(&[("a", "1")]),
                vec![
                    chunk(&[1_500, 1_600], 0.0),
                    chunk(&[1_500, 1_600], 0.0),
                    chunk(&[1_000, 1_400], 0.0),
                    chunk(&[10, 20], 0.0),
                    chunk(&[2_000, 2_100], 0.0),
                ],
            ),
            // Sorted, these labels come before the series above.
            (
                label_pairs(&[("b", "1"), ("a", "0")]),
                vec![chunk(&[1_100], 0.0)],
            ),
            (
                label_pairs(&[("c", "1")]),
                vec![chunk(&[2_000, 2_100], 0.0)],
            ),
            // The same series twice once its labels are sorted, with a sample in common.
            (
                label_pairs(&[("d", "1"), ("e", "1")]),
                vec![chunk(&[1_100, 1_300], 0.0)],
            ),
            (
                label_pairs(&[("e", "1"), ("d", "1")]),
                vec![chunk(&[1_200, 1_300], 0.0)],
            ),
        ],
    );
    let out = TempDir::new("repair-out");
    let repaired = repair_block(&block, out.path(), &options(RepairedFaults::ALL)).unwrap();
    let meta = repaired.meta.clone().unwrap();
    let counts = (
        repaired.complete_outside_chunks,
        repaired.issue_347_chunks,
        repaired.duplicated_chunks,
        repaired.sorted_label_sets,
        repaired.merged_series,
    );
    assert_eq!(counts, (1, 2, 1, 2, 1));
    let new = Block::open(&out.path().join(NEW)).unwrap();
    verify_index(&new).unwrap();
    let expected = [
        (&[("a", "0"), ("b", "1")][..], at(&[1_100])),
        (&[("a", "1")], at(&[1_000, 1_400, 1_500, 1_600])),
        (&[("d", "1"), ("e", "1")], at(&[1_100, 1_200, 1_300])),
    ];
    let expected =
        expected.map(|(labels, samples)| (Labels::from_pairs(labels.iter().copied()), samples));
    assert_eq!(contents(&new), expected);
    assert_eq!(
        (new.meta(), meta.min_time, meta.max_time),
        (&meta, MIN, MAX)
    );
    assert_eq!(meta.stats.num_samples, 8);
    assert_eq!(meta.compaction, block.meta().compaction);
    assert_eq!(meta.thanos.unwrap().source, "bucket.repair");
}

/// T-12: chunks that overlap with other data, chunks partly outside and downsampled blocks are refused.
#[test]
fn what_is_not_clear_is_refused() {
    let cases = [
        (
            vec![chunk(&[1_000, 1_400], 0.0), chunk(&[1_300, 1_500], 0.0)],
            r#"{a="1"}: non-sequential chunks not equal: [1000, 1400] and [1300, 1500]"#,
        ),
        (
            vec![chunk(&[1_000, 1_400], 0.0), chunk(&[1_000, 1_400], 1.0)],
            r#"{a="1"}: non-sequential chunks not equal: [1000, 1400] and [1000, 1400]"#,
        ),
        (
            vec![chunk(&[1_900, 2_100], 0.0)],
            "repaired block is invalid: found 1 chunks non-completely outside the block time range",
        ),
    ];
    for (chunks, expected) in cases {
        let dir = TempDir::new("repair");
        let block = malformed(&dir, &[(label_pairs(&[("a", "1")]), chunks)]);
        let out = TempDir::new("repair-out");
        let error = repair_block(&block, out.path(), &options(RepairedFaults::ALL)).unwrap_err();
        assert_eq!(
            (error.kind(), error.message()),
            (ErrorKind::Corrupt, expected)
        );
        assert_eq!(std::fs::read_dir(out.path()).unwrap().count(), 0);
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/thanos-golden/downsample");
    let blocks = Blocks::open_dir(&folder).unwrap();
    let block = blocks
        .blocks()
        .iter()
        .find(|block| block.meta().resolution_ms() > 0);
    let out = TempDir::new("repair-out");
    let error =
        repair_block(block.unwrap(), out.path(), &options(RepairedFaults::ALL)).unwrap_err();
    assert_eq!(error.message(), "cannot repair downsampled block");
}

/// C-07: a compactor repairs issue 347 alone.
#[test]
fn only_what_was_asked_for_is_left_out() {
    let dir = TempDir::new("repair");
    let series = |chunks| vec![(label_pairs(&[("a", "1")]), chunks)];
    let block = malformed(
        &dir,
        &series(vec![
            chunk(&[1_000, 1_400], 0.0),
            chunk(&[2_000, 2_100], 0.0),
        ]),
    );
    let out = TempDir::new("repair-out");
    let repaired = repair_block(&block, out.path(), &options(RepairedFaults::ISSUE_347)).unwrap();
    assert_eq!(repaired.issue_347_chunks, 1);
    let new = Block::open(&out.path().join(NEW)).unwrap();
    assert_eq!(contents(&new)[0].1, at(&[1_000, 1_400]));

    let dir = TempDir::new("repair");
    let block = malformed(
        &dir,
        &series(vec![chunk(&[10, 20], 0.0), chunk(&[1_000], 0.0)]),
    );
    let out = TempDir::new("repair-out");
    let error = repair_block(&block, out.path(), &options(RepairedFaults::ISSUE_347)).unwrap_err();
    assert!(error.message().contains("completely outside"), "{error}");
}

#[test]
fn deleted_samples_stay_deleted_and_nothing_left_is_no_block() {
    let dir = TempDir::new("repair");
    let block = malformed(
        &dir,
        &[(
            label_pairs(&[("a", "1")]),
            vec![chunk(&[1_000, 1_400, 1_500], 0.0)],
        )],
    );
    let series = block.index().all_postings().unwrap().iter().next().unwrap();
    let mut stones = block.tombstones().clone();
    stones.add(series.into(), TimeRange::from_millis(1_400, 1_400));
    stones.write_dir(block.dir()).unwrap();
    let reopened = Block::open(block.dir()).unwrap();
    let out = TempDir::new("repair-out");
    repair_block(&reopened, out.path(), &options(RepairedFaults::ALL)).unwrap();
    let new = Block::open(&out.path().join(NEW)).unwrap();
    assert_eq!(contents(&new)[0].1, at(&[1_000, 1_500]));

    stones.add(series.into(), TimeRange::ALL);
    stones.write_dir(block.dir()).unwrap();
    let reopened = Block::open(block.dir()).unwrap();
    let out = TempDir::new("repair-out");
    let repaired = repair_block(&reopened, out.path(), &options(RepairedFaults::ALL)).unwrap();
    assert_eq!(repaired, Repaired::default());
    assert_eq!(std::fs::read_dir(out.path()).unwrap().count(), 0);
}
