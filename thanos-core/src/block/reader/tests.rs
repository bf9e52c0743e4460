use futures::TryStreamExt;
use futures::executor::block_on;

use super::*;
use crate::chunk::{self, Aggregate};
use crate::error::ErrorKind;
use crate::labels::MatchOp;
use crate::query::SelectHints;
use crate::testkit::{TempDir, copy_dir};
use crate::time::Timestamp;

fn testdata(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("testdata")
        .join(path)
}

fn fixture() -> PathBuf {
    testdata("block-1k-2h/01M81JDC7R8JKP7SEW1VN2HAQ9")
}

fn edge(case: &str) -> Vec<Matcher> {
    vec![
        Matcher::equal("__name__", "edge"),
        Matcher::equal("case", case),
    ]
}

fn select(block: &Block, select: &Select) -> Vec<SeriesBatch> {
    block.select(select).unwrap().map(Result::unwrap).collect()
}

#[test]
fn all_series_come_once_in_label_order_in_batches() {
    let block = Block::open(&fixture()).unwrap();
    let batches = select(&block, &Select::default());
    assert!(batches.iter().all(|batch| batch.len() <= 128));
    let series: Vec<_> = batches.iter().flat_map(SeriesBatch::iter).collect();
    assert_eq!(series.len(), 1000);
    assert!(
        series
            .windows(2)
            .all(|pair| pair[0].labels < pair[1].labels)
    );
    assert_eq!(
        series
            .iter()
            .map(|series| series.chunks.len())
            .sum::<usize>(),
        3987
    );
}

#[test]
fn chunks_outside_the_range_are_left_out_and_so_are_series_without_any() {
    let block = Block::open(&fixture()).unwrap();
    let start = block.meta().min_time;
    let mut query = Select {
        matchers: edge("walk"),
        ..Select::default()
    };
    let chunks_in = |query: &Select| -> usize {
        let batches = select(&block, query);
        batches
            .iter()
            .flat_map(SeriesBatch::iter)
            .map(|series| series.chunks.len())
            .sum()
    };
    assert_eq!(chunks_in(&query), 4);
    query.range = TimeRange {
        min: start,
        max: start,
    };
    assert_eq!(chunks_in(&query), 1);
    query.range = TimeRange {
        min: Timestamp::MIN,
        max: start + (-1),
    };
    assert!(select(&block, &query).is_empty());
    query.hints = SelectHints {
        skip_chunks: true,
        ..SelectHints::default()
    };
    assert!(select(&block, &query).is_empty());
}

#[test]
fn limit_and_skip_chunks_are_heeded() {
    let block = Block::open(&fixture()).unwrap();
    let hints = SelectHints {
        limit: 130,
        skip_chunks: true,
        ..SelectHints::default()
    };
    let batches = select(
        &block,
        &Select {
            hints,
            ..Select::default()
        },
    );
    assert_eq!(batches.iter().map(SeriesBatch::len).sum::<usize>(), 130);
    assert!(
        batches
            .iter()
            .flat_map(SeriesBatch::iter)
            .all(|series| series.chunks.is_empty())
    );
}

#[test]
fn chunks_of_a_block_are_not_copied() {
    let block = Block::open(&fixture()).unwrap();
    let query = Select {
        matchers: edge("sin"),
        ..Select::default()
    };
    let data = || {
        let part = select(&block, &query)[0].get(0).chunks[0].clone();
        part.get(Aggregate::Raw).unwrap().data.clone()
    };
    assert_eq!(data().as_ptr(), data().as_ptr());
}

#[test]
fn labels_are_those_of_the_matching_series() {
    let block = Block::open(&fixture()).unwrap();
    assert_eq!(block.label_names(&[]).unwrap().len(), 14);
    assert_eq!(block.label_values("job", &[]).unwrap(), ["api"]);
    let matchers = [Matcher::new(MatchOp::Regex, "case", "si.*").unwrap()];
    assert_eq!(block.label_names(&matchers).unwrap(), ["__name__", "case"]);
    assert_eq!(
        block.label_values("case", &matchers).unwrap(),
        ["sin", "single_sample"]
    );
}

#[test]
fn a_block_is_queryable_without_a_runtime() {
    let block = Block::open(&fixture()).unwrap();
    let events: Vec<SeriesEvent> = block_on(async {
        let query = Select {
            matchers: edge("sin"),
            ..Select::default()
        };
        let stream = Queryable::select(&block, query).await.unwrap();
        stream.try_collect().await.unwrap()
    });
    assert!(matches!(&events[..], [SeriesEvent::Batch(batch)] if batch.len() == 1));
    let query = LabelQuery {
        limit: 3,
        ..LabelQuery::default()
    };
    let names = block_on(Queryable::label_names(&block, query)).unwrap();
    assert_eq!(names.values, ["__name__", "case", "cluster"]);
}

#[test]
fn deleted_samples_never_come() {
    // The fixture deleted all of `sin` and half an hour of `walk`.
    let dir = TempDir::new("block-tombstones");
    let copy = dir.path().join("01M81JDC7R8JKP7SEW1VN2HAQ9");
    copy_dir(&fixture(), &copy);
    copy_dir(&testdata("block-1k-2h-tombstones"), &copy);
    let block = Block::open(&copy).unwrap();
    assert_eq!(
        block.meta().stats.num_tombstones,
        block.tombstones().total()
    );
    for skip_chunks in [false, true] {
        let hints = SelectHints {
            skip_chunks,
            ..SelectHints::default()
        };
        let query = Select {
            matchers: edge("sin"),
            hints,
            ..Select::default()
        };
        assert!(select(&block, &query).is_empty());
    }
    let batches = select(
        &block,
        &Select {
            matchers: edge("walk"),
            ..Select::default()
        },
    );
    let gone = TimeRange::from_millis(1_793_493_000_000, 1_793_494_800_000);
    let mut kept = 0;
    for part in batches[0].get(0).chunks {
        let samples = chunk::samples(part.get(Aggregate::Raw).unwrap()).unwrap();
        for (time, _) in &samples {
            assert!(!gone.contains(time) && part.time_range().contains(time));
        }
        kept += samples.len();
    }
    // One of the two ends of the deleted half hour falls on a scrape at most.
    assert!((359..=360).contains(&kept), "{kept}");
}

#[test]
fn chunks_of_a_downsampled_block_come_apart() {
    let id = "01M81NXXCYF2E0R3VCTW4QEBJN";
    let block = Block::open(&testdata("thanos-golden/downsample").join(id)).unwrap();
    assert_eq!(block.meta().resolution_ms(), 3_600_000);
    let batches = select(&block, &Select::default());
    let mut windows = 0;
    for part in batches
        .iter()
        .flat_map(SeriesBatch::iter)
        .flat_map(|series| series.chunks)
    {
        assert!(part.get(Aggregate::Raw).is_none());
        for aggregate in Aggregate::DOWNSAMPLED {
            assert!(chunk::num_samples(part.get(aggregate).unwrap()).unwrap() > 0);
        }
        windows += chunk::num_samples(part.get(Aggregate::Count).unwrap()).unwrap();
    }
    assert_eq!(windows as u64, block.meta().stats.num_samples);
    let error = crate::block::dump(&[block], &mut Vec::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
}

#[test]
fn a_missing_or_foreign_file_names_itself() {
    let dir = TempDir::new("block-missing");
    for name in ["meta.json", "index", "chunks"] {
        let copy = dir.path().join(format!("without-{name}"));
        copy_dir(&fixture(), &copy);
        let path = copy.join(name);
        if path.is_dir() {
            std::fs::remove_dir_all(path).unwrap();
        } else {
            std::fs::remove_file(path).unwrap();
        }
        let error = Block::open(&copy).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.file().unwrap().ends_with(name), "{error}");
    }
    let renamed = dir.path().join("01M81JDC7R8JKP7SEW1VN2HAQ8");
    copy_dir(&fixture(), &renamed);
    let error = Block::open(&renamed).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
}

#[test]
fn without_a_tombstones_file_nothing_is_deleted() {
    let dir = TempDir::new("block-no-tombstones");
    let copy = dir.path().join("copy");
    copy_dir(&fixture(), &copy);
    std::fs::remove_file(copy.join("tombstones")).unwrap();
    assert!(Block::open(&copy).unwrap().tombstones().is_empty());
}

#[test]
fn a_damaged_chunk_ends_the_selection_with_file_and_offset() {
    let dir = TempDir::new("block-damaged");
    let copy = dir.path().join("copy");
    copy_dir(&fixture(), &copy);
    let segment = copy.join("chunks/000001");
    let mut bytes = std::fs::read(&segment).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let block = Block::open(&copy).unwrap();
    let mut results = block.select(&Select::default()).unwrap();
    let error = results.find_map(Result::err).unwrap();
    assert!(error.file().unwrap().ends_with("000001"));
    assert!(error.offset().is_some_and(|offset| offset <= middle as u64));
    assert!(results.next().is_none());
    assert!(error.message().contains("checksum mismatch"), "{error}");
}
