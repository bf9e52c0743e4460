use futures::TryStreamExt;
use futures::executor::block_on;
use thanos_core::chunk::{Aggregate, Chunk, Encoding, SeriesChunk};
use thanos_core::labels::{Labels, MatchOp, Matcher};
use thanos_core::query::{Missing, SelectHints, SeriesEvent};
use thanos_core::time::{TimeRange, Timestamp};

use super::*;
use crate::testkit::{MemSeries, MemStore};

fn store() -> MemStore {
    let chunk = Chunk {
        encoding: Encoding::XOR,
        data: vec![0, 0].into(),
    };
    let at = Timestamp::from_millis;
    let series = |pod: &str| MemSeries {
        labels: Labels::from_pairs([("__name__", "up"), ("pod", pod)]),
        chunks: vec![SeriesChunk::raw(at(0), at(1000), chunk.clone())],
    };
    let external = Labels::from_pairs([("replica", "a"), ("region", "eu")]);
    MemStore::new(external, vec![series("1"), series("2")])
}

fn select(hints: SelectHints) -> Select {
    Select {
        matchers: vec![Matcher::equal("__name__", "up")],
        range: TimeRange::from_millis(0, 2000),
        hints,
    }
}

fn request_for(options: StoreQueryableOptions, hints: SelectHints) -> SeriesRequest {
    let store = Arc::new(store());
    let queryable = StoreQueryable::new(store.clone(), options);
    drop(block_on(queryable.select(select(hints))).unwrap());
    store.requests().remove(0)
}

/// Spec 2.12, aggregates by function.
#[test]
fn each_function_reads_its_aggregates() {
    use Aggregate::{Count, Counter, Max, Min, Sum};
    let average = vec![Count, Sum];
    for (func, wanted) in [
        ("min", vec![Min]),
        ("min_over_time", vec![Min]),
        ("minute", average.clone()),
        ("max", vec![Max]),
        ("max_over_time", vec![Max]),
        ("count", vec![Count]),
        ("count_over_time", vec![Count]),
        ("count_values", vec![Count]),
        ("sum_over_time", vec![Sum]),
        ("sum", average.clone()),
        ("rate", vec![Counter]),
        ("increase", vec![Counter]),
        ("irate", vec![Counter]),
        ("resets", vec![Counter]),
        ("xincrease", vec![Counter]),
        ("xrate", vec![Counter]),
        ("delta", average.clone()),
        ("", average),
    ] {
        assert_eq!(aggregates_for(func), wanted, "{func:?}");
    }
}

#[test]
fn functions_of_two_samples_get_two_windows() {
    const HOUR_MS: i64 = 3_600_000;
    for (max_ms, range_ms, func, wanted_ms) in [
        (HOUR_MS, 300_000, "rate", 150_000),
        (HOUR_MS, 300_000, "deriv", 150_000),
        (HOUR_MS, 300_000, "avg_over_time", HOUR_MS),
        (HOUR_MS, 0, "rate", HOUR_MS),
        (60_000, 300_000, "rate", 60_000),
    ] {
        assert_eq!(
            max_resolution_for(max_ms, range_ms, func),
            wanted_ms,
            "{func}"
        );
    }
}

#[test]
fn hints_and_options_travel_in_the_request() {
    let shard = ShardInfo {
        shard_index: 1,
        total_shards: 2,
        by: true,
        labels: vec!["pod".into()],
    };
    let options = StoreQueryableOptions {
        partial_response: PartialResponse::Warn,
        replica_labels: vec!["replica".into()],
        max_resolution_ms: 300_000,
        shard: Some(shard.clone()),
        response_batch_size: 10,
        tenant: TenantId::parse("team-a").unwrap(),
        enforced_matchers: Vec::new(),
    };
    let hints = SelectHints {
        step_ms: 15_000,
        range_ms: 60_000,
        func: Some("rate".into()),
        grouping: vec!["pod".into()],
        grouping_by: true,
        limit: 7,
        skip_chunks: false,
    };
    let request = request_for(options, hints);
    assert_eq!(request.range, TimeRange::from_millis(0, 2000));
    assert_eq!(request.matchers, [Matcher::equal("__name__", "up")]);
    assert_eq!(request.partial_response, PartialResponse::Warn);
    assert_eq!(request.without_replica_labels, ["replica"]);
    assert_eq!(request.max_resolution_window_ms, 30_000);
    assert_eq!(request.aggregates, [Aggregate::Counter]);
    assert_eq!(request.shard, Some(shard));
    assert_eq!((request.limit, request.response_batch_size), (7, 10));
    assert!(!request.skip_chunks);
    let advice = request.query_hints.unwrap();
    assert_eq!((advice.step_ms, advice.range_ms), (15_000, Some(60_000)));
    assert_eq!(advice.func.as_deref(), Some("rate"));
    assert_eq!(advice.grouping, Some((true, vec!["pod".into()])));
}

/// what is enforced replaces what the query says about the same label.
#[test]
fn enforced_matchers_cannot_be_left_out_or_changed() {
    let mine = Matcher::equal("tenant_id", "a");
    let options = StoreQueryableOptions {
        enforced_matchers: vec![mine.clone()],
        ..StoreQueryableOptions::default()
    };
    let store: Arc<dyn Store> = Arc::new(store());
    let queryable = StoreQueryable::new(store, options);
    let name = Matcher::equal("__name__", "up");
    for asked in [
        vec![name.clone()],
        vec![name.clone(), Matcher::equal("tenant_id", "b")],
        vec![
            name.clone(),
            Matcher::new(MatchOp::Regex, "tenant_id", ".*").unwrap(),
            mine.clone(),
        ],
    ] {
        assert_eq!(queryable.enforce(asked), [name.clone(), mine.clone()]);
    }
    assert_eq!(queryable.enforce(Vec::new()), [mine]);
}

/// which series exist is asked of blocks of all resolutions.
#[test]
fn series_without_chunks_are_wanted_at_any_resolution() {
    let hints = SelectHints {
        skip_chunks: true,
        ..SelectHints::default()
    };
    let request = request_for(StoreQueryableOptions::default(), hints);
    assert!(request.skip_chunks);
    assert_eq!(request.max_resolution_window_ms, i64::MAX);
}

#[test]
fn the_default_fails_closed_and_reads_raw_data() {
    let request = request_for(StoreQueryableOptions::default(), SelectHints::default());
    assert_eq!(request.partial_response, PartialResponse::Abort);
    assert_eq!(request.max_resolution_window_ms, 0);
    assert_eq!(request.response_batch_size, 64);
    assert!(request.without_replica_labels.is_empty() && request.limit == 0);
}

/// the replica label is gone from series, names and values.
#[test]
fn replica_labels_are_removed_everywhere() {
    let options = StoreQueryableOptions {
        replica_labels: vec!["replica".into()],
        ..Default::default()
    };
    let queryable = StoreQueryable::new(Arc::new(store()), options);
    let stream = block_on(queryable.select(select(SelectHints::default()))).unwrap();
    let events: Vec<_> = block_on(stream.try_collect()).unwrap();
    let mut pods = Vec::new();
    for event in events {
        let SeriesEvent::Batch(batch) = event else {
            panic!("{event:?}")
        };
        for series in batch.iter() {
            assert_eq!(series.labels.get("replica"), None);
            assert_eq!(series.labels.get("region").as_deref(), Some("eu"));
            pods.push(series.labels.get("pod").unwrap().into_owned());
        }
    }
    assert_eq!(pods, ["1", "2"]);
    let names = block_on(queryable.label_names(LabelQuery::default())).unwrap();
    assert_eq!(names.values, ["__name__", "pod", "region"]);
    let values = |name| block_on(queryable.label_values(name, LabelQuery::default())).unwrap();
    assert!(values("replica").values.is_empty());
    assert_eq!(values("pod").values, ["1", "2"]);
}

#[test]
fn warnings_and_missing_data_reach_the_query() {
    let missing = Missing {
        source: "store-b".into(),
        reason: "timed out".into(),
    };
    let store = store()
        .with_warning("careful")
        .with_missing(missing.clone());
    let queryable = StoreQueryable::new(Arc::new(store), StoreQueryableOptions::default());
    let names = block_on(queryable.label_names(LabelQuery {
        limit: 1,
        ..Default::default()
    }))
    .unwrap();
    assert_eq!(names.values, ["__name__"]);
    assert_eq!(names.warnings, ["careful"]);
    assert_eq!(names.completeness.missing(), [missing]);
}
