//! The store passes the conformance suite over blocks of all shapes and answers recorded requests as Thanos did.

mod damage;
#[cfg(any(feature = "client", feature = "server"))]
mod recorded;

use thanos_core::chunk::{Aggregate, ChunkPayload};
use thanos_core::labels::LabelsBuilder;
use thanos_core::testkit::TempDir;
use thanos_core::time::TimeRange;

use super::*;
use crate::testkit::{Answer, Dataset, DatasetSeries, conformance, write_block};

/// Opens the blocks that `write` puts into a new directory; the files stay mapped when the directory goes.
fn store_of(write: impl FnOnce(&Path)) -> LocalStore {
    let dir = TempDir::new("local-store");
    write(dir.path());
    LocalStore::open(dir.path(), LocalStoreOptions::default()).unwrap()
}

/// Writes `data` as a block, unless there is nothing to write.
fn put(dir: &Path, data: &Dataset, number: u32) {
    if data.time_bounds().is_some() {
        write_block(dir, data, number).unwrap();
    }
}

fn with_replica(data: &Dataset, replica: &str) -> Dataset {
    let mut builder = LabelsBuilder::from_labels(data.external_labels.as_ref());
    builder.set("replica", replica);
    Dataset::new(builder.build(), data.series.clone())
}

/// Returns the data with the samples that `keep` wants, by their place in the series.
fn samples_where(data: &Dataset, keep: impl Fn(usize, usize) -> bool) -> Dataset {
    let mut part = data.clone();
    for series in &mut part.series {
        let len = series.samples.len();
        let mut place = 0;
        series.samples.retain(|_| {
            place += 1;
            keep(place - 1, len)
        });
    }
    part.series.retain(|series| !series.samples.is_empty());
    part
}

#[test]
fn a_store_over_one_block_passes_the_conformance_suite() {
    futures::executor::block_on(conformance::run(async |data: Dataset| {
        Arc::new(store_of(|dir| put(dir, &data, 1))) as Arc<dyn Store>
    }));
}

/// Two replicas; one in two blocks that overlap, the other in one block and, of its first series, another.
#[test]
fn a_store_over_overlapping_blocks_and_replicas_passes_the_conformance_suite() {
    futures::executor::block_on(conformance::run(async |data: Dataset| {
        let store = store_of(|dir| {
            let (one, other) = (with_replica(&data, "r1"), with_replica(&data, "r2"));
            put(
                dir,
                &samples_where(&one, |place, len| place <= len * 2 / 3),
                1,
            );
            put(dir, &samples_where(&one, |place, len| place >= len / 3), 2);
            put(dir, &other, 3);
            let mut first = other.clone();
            first.series.truncate(3);
            put(dir, &first, 4);
        });
        Arc::new(store) as Arc<dyn Store>
    }));
}

fn series(labels: &[(&str, &str)]) -> DatasetSeries {
    DatasetSeries {
        labels: Labels::from_pairs(labels.iter().copied()),
        samples: vec![(thanos_core::time::Timestamp::from_millis(1000), 1.0)],
    }
}

fn ask(store: &LocalStore, request: SeriesRequest) -> Result<Answer> {
    futures::executor::block_on(async { Answer::collect(store.series(request).await?).await })
}

/// Only labels that the series themselves have make the store hold them all.
#[test]
fn blocks_are_streamed_unless_labels_of_series_change() {
    let external = Labels::from_pairs([("region", "eu"), ("replica", "a")]);
    let data = Dataset::new(
        external,
        vec![series(&[("a", "1"), ("pod", "x")]), series(&[("a", "2")])],
    );
    let store = store_of(|dir| put(dir, &data, 1));
    let counts = || {
        (
            store.counters().blocks_streamed(),
            store.counters().blocks_sorted(),
        )
    };
    let ask_without = |without: &[&str]| {
        let request = SeriesRequest {
            matchers: vec![Matcher::new(thanos_core::labels::MatchOp::NotEqual, "a", "").unwrap()],
            without_replica_labels: without.iter().map(|name| (*name).to_owned()).collect(),
            ..Default::default()
        };
        assert_eq!(ask(&store, request).unwrap().series.len(), 2);
        counts()
    };
    assert_eq!(ask_without(&[]), (1, 0));
    assert_eq!(ask_without(&["replica", "region", "nowhere"]), (2, 0));
    assert_eq!(ask_without(&["replica", "pod"]), (2, 1));
}

/// Prometheus' own blocks name no external labels: they get those of the options. Others keep theirs.
#[test]
fn external_labels_come_from_the_options_where_the_block_has_none() {
    let dir = TempDir::new("local-store");
    put(
        dir.path(),
        &Dataset::new(Labels::empty(), vec![series(&[("a", "1")])]),
        1,
    );
    let own = Labels::from_pairs([("region", "us")]);
    put(
        dir.path(),
        &Dataset::new(own, vec![series(&[("a", "2")])]),
        2,
    );
    let options = LocalStoreOptions {
        component: "sidecar".into(),
        external_labels: Labels::from_pairs([("region", "eu")]),
        ..Default::default()
    };
    let store = LocalStore::open(dir.path(), options).unwrap();
    let request = SeriesRequest {
        matchers: vec![Matcher::new(thanos_core::labels::MatchOp::Regex, "a", ".+").unwrap()],
        ..Default::default()
    };
    let labels: Vec<_> = ask(&store, request)
        .unwrap()
        .labels()
        .iter()
        .map(Labels::to_string)
        .collect();
    assert_eq!(
        labels,
        [r#"{a="1", region="eu"}"#, r#"{a="2", region="us"}"#]
    );
    let info = futures::executor::block_on(store.info()).unwrap();
    assert_eq!(info.component, "sidecar");
    let regions: Vec<_> = info
        .tsdbs
        .iter()
        .map(|tsdb| tsdb.external_labels.to_string())
        .collect();
    assert_eq!(regions, [r#"{region="eu"}"#, r#"{region="us"}"#]);
}

#[test]
fn replaced_blocks_are_served_at_once_and_old_streams_go_on() {
    let dir = TempDir::new("local-store");
    put(
        dir.path(),
        &Dataset::new(Labels::empty(), vec![series(&[("a", "1")])]),
        1,
    );
    let store = LocalStore::open(dir.path(), LocalStoreOptions::default()).unwrap();
    let request = || SeriesRequest {
        matchers: vec![Matcher::new(thanos_core::labels::MatchOp::Regex, "a", ".+").unwrap()],
        ..Default::default()
    };
    let old = futures::executor::block_on(store.series(request())).unwrap();
    store.replace(&Blocks::default());
    assert_eq!(ask(&store, request()).unwrap().series.len(), 0);
    let old = futures::executor::block_on(Answer::collect(old)).unwrap();
    assert_eq!(old.series.len(), 1);
}

fn downsampled() -> LocalStore {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/downsampled");
    LocalStore::open(dir.as_ref(), LocalStoreOptions::default()).unwrap()
}

/// ST-14, ST-15: the coarsest resolution that will do, and of its chunks the wanted aggregates.
#[test]
fn resolution_and_aggregates_are_those_of_the_request() {
    let store = downsampled();
    let chunks = |max_resolution_window_ms, aggregates: &[Aggregate]| {
        let request = SeriesRequest {
            matchers: vec![Matcher::equal("case", "sin")],
            max_resolution_window_ms,
            aggregates: aggregates.to_vec(),
            ..Default::default()
        };
        let answer = ask(&store, request).unwrap();
        assert_eq!(answer.series.len(), 1);
        let chunks: Vec<_> = answer.series[0].chunks().cloned().collect();
        chunks
    };
    let raw = chunks(0, &[Aggregate::Sum]);
    assert!(
        raw.iter()
            .all(|chunk| matches!(chunk.payload, ChunkPayload::Raw(_)))
    );
    assert_eq!(chunks(299_999, &[Aggregate::Sum]).len(), raw.len());
    let minutes = chunks(300_000, &[Aggregate::Sum, Aggregate::Count]);
    let hours = chunks(10_000_000, &[]);
    assert!(hours.len() < minutes.len() && minutes.len() < raw.len());
    let present = |chunk: &thanos_core::chunk::SeriesChunk| {
        let all = [Aggregate::Raw].into_iter().chain(Aggregate::DOWNSAMPLED);
        all.filter(|aggregate| chunk.get(*aggregate).is_some())
            .collect::<Vec<_>>()
    };
    assert!(
        minutes
            .iter()
            .all(|chunk| present(chunk) == [Aggregate::Count, Aggregate::Sum])
    );
    assert!(
        hours
            .iter()
            .all(|chunk| present(chunk) == Aggregate::DOWNSAMPLED)
    );
}

/// A series of nothing but NaN has no downsampled chunk; its labels are known all the same.
#[test]
fn label_calls_see_blocks_of_all_resolutions() {
    let store = downsampled();
    let request = LabelValuesRequest {
        label: "case".into(),
        range: TimeRange::ALL,
        ..Default::default()
    };
    let values = futures::executor::block_on(store.label_values(request)).unwrap();
    assert_eq!(values.values, ["counter_5_resets", "nan", "sin"]);
}

/// What a block will give is told without reading it: the series of its postings, with the share of the chunks that the
/// range has of the block's times.
#[test]
fn the_cost_of_a_request_is_estimated() {
    let dir = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../thanos-core/testdata/block-1k-2h"
    );
    let store = LocalStore::open(dir.as_ref(), LocalStoreOptions::default());
    // The directory is that of a block itself, or of blocks.
    let store = store.unwrap();
    let blocks = store.served().groups()[0].blocks().to_vec();
    let (all_bytes, range) = (
        blocks[0].chunks().len_bytes(),
        blocks[0].meta().time_range(),
    );
    let cost = |matchers: &[Matcher], range: TimeRange, skip_chunks: bool| {
        let request = SeriesRequest {
            matchers: matchers.to_vec(),
            range,
            skip_chunks,
            ..SeriesRequest::default()
        };
        let plans = futures::executor::block_on(store.sources(&request)).unwrap();
        let names: Vec<_> = plans.iter().map(|plan| plan.source.clone()).collect();
        (names, thanos_core::query::known_cost(&plans))
    };
    let any = [Matcher::new(thanos_core::labels::MatchOp::Regex, "__name__", ".+").unwrap()];
    let (names, whole) = cost(&any, TimeRange::ALL, false);
    assert_eq!(names, [format!("block {}", blocks[0].id())]);
    assert_eq!(whole.series, blocks[0].meta().stats.num_series);
    assert_eq!(whole.bytes, all_bytes);

    let half = TimeRange {
        min: range.min,
        max: range.min.saturating_add_millis((range.max - range.min) / 2),
    };
    let (_, found) = cost(&any, half, false);
    assert!(
        found.bytes.abs_diff(all_bytes / 2) < all_bytes / 100,
        "{found:?} of {all_bytes}"
    );
    assert_eq!(cost(&any, TimeRange::ALL, true).1.bytes, 0);

    let one = [Matcher::equal("__name__", "go_goroutines")];
    let (_, found) = cost(&one, TimeRange::ALL, false);
    assert!(
        found.series > 0 && found.bytes < all_bytes / 10,
        "{found:?}"
    );
    let far = TimeRange::from_millis(0, 1);
    assert_eq!(cost(&any, far, false), (Vec::new(), Cost::default()));
}
