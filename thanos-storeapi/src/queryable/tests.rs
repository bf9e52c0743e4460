use futures::TryStreamExt;
use futures::executor::block_on;
use thanos_core::chunk::{Aggregate, Chunk, Encoding, SeriesChunk};
use thanos_core::dedup::Dedup;
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
        log: None,
    }
}

fn request_for(options: StoreQueryableOptions, hints: SelectHints) -> SeriesRequest {
    let store = Arc::new(store());
    let queryable = StoreQueryable::new(store.clone(), options);
    drop(block_on(queryable.select(select(hints))).unwrap());
    store.requests().remove(0)
}

/// which aggregates a function reads.
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
        ("count_values", average.clone()),
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
        dedup: DedupFunc::Chain,
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

///
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

/// what a batch says of replicas follows from the labels, the option and the function.
#[test]
fn each_function_reads_replicas_in_its_way() {
    let reading = |replica_labels: &[&str], dedup, func: &str| {
        let options = StoreQueryableOptions {
            replica_labels: replica_labels
                .iter()
                .map(|name| (*name).to_owned())
                .collect(),
            dedup,
            ..Default::default()
        };
        let hints = SelectHints {
            func: Some(func.to_owned()),
            ..SelectHints::default()
        };
        let queryable = StoreQueryable::new(Arc::new(store()), options);
        let stream = block_on(queryable.select(select(hints))).unwrap();
        let events: Vec<_> = block_on(stream.try_collect()).unwrap();
        let [SeriesEvent::Batch(batch)] = &events[..] else {
            panic!("{events:?}")
        };
        assert_eq!(batch.reading().range, TimeRange::from_millis(0, 2000));
        (batch.reading().windows, batch.reading().dedup)
    };
    let (penalty, chain) = (DedupFunc::Penalty, DedupFunc::Chain);
    let of_counter = (WindowValue::Total, Some(Dedup::Counter));
    for func in ["rate", "irate", "increase", "xrate", "xincrease"] {
        assert_eq!(reading(&["replica"], penalty, func), of_counter, "{func}");
    }
    let average = WindowValue::Average;
    for (labels, wanted, func, windows, dedup) in [
        (
            &["replica"][..],
            penalty,
            "resets",
            WindowValue::Total,
            Some(Dedup::Penalty),
        ),
        (&["replica"], penalty, "", average, Some(Dedup::Penalty)),
        (
            &["replica"],
            penalty,
            "delta",
            average,
            Some(Dedup::Penalty),
        ),
        (
            &["replica"],
            chain,
            "rate",
            WindowValue::Total,
            Some(Dedup::Chain),
        ),
        (
            &["replica"],
            chain,
            "min_over_time",
            WindowValue::Min,
            Some(Dedup::Chain),
        ),
        (&[], penalty, "rate", WindowValue::Total, None),
    ] {
        assert_eq!(reading(labels, wanted, func), (windows, dedup), "{func:?}");
    }
}

/// A store that has data of one resolution only, as one of Thanos that has lost its raw blocks.
#[derive(Debug)]
struct OneResolution {
    resolution_ms: Option<i64>,
    store: MemStore,
}

#[async_trait]
impl Store for OneResolution {
    async fn info(&self) -> Result<crate::store::StoreInfo> {
        self.store.info().await
    }

    async fn series(&self, request: SeriesRequest) -> Result<SeriesStream> {
        let allowed = request.max_resolution_window_ms;
        let is_allowed = self.resolution_ms.is_some_and(|own| allowed >= own);
        let series = self.store.series(request).await?;
        match is_allowed {
            true => Ok(series),
            // A stream that must not be asked again after its end, as many are.
            false => Ok(Box::pin(futures::stream::unfold((), |()| async { None }))),
        }
    }

    async fn label_names(&self, request: LabelNamesRequest) -> Result<LabelsResponse> {
        self.store.label_names(request).await
    }

    async fn label_values(&self, request: LabelValuesRequest) -> Result<LabelsResponse> {
        self.store.label_values(request).await
    }
}

/// Pain 12: no answer is empty while there is data of any resolution, and the finest is asked for first.
#[test]
fn data_that_is_only_there_coarser_is_found() {
    const FIVE_MINUTES: i64 = 300_000;
    const HOUR: i64 = 3_600_000;
    // Which resolutions are asked for; any of them without chunks, to see whether there is something.
    const ANY: i64 = i64::MAX;
    for (resolution_ms, max_ms, asked) in [
        (Some(0), 0, &[0][..]),
        (Some(FIVE_MINUTES), 0, &[0, ANY, FIVE_MINUTES]),
        (Some(HOUR), 0, &[0, ANY, FIVE_MINUTES, HOUR]),
        (Some(HOUR), FIVE_MINUTES, &[FIVE_MINUTES, ANY, HOUR]),
        (Some(HOUR), 2 * HOUR, &[2 * HOUR]),
        (None, 0, &[0, ANY]),
        (None, HOUR, &[HOUR]),
    ] {
        let store = Arc::new(OneResolution {
            resolution_ms,
            store: store(),
        });
        let options = StoreQueryableOptions {
            max_resolution_ms: max_ms,
            ..Default::default()
        };
        let queryable = StoreQueryable::new(store.clone(), options);
        let stream = block_on(queryable.select(select(SelectHints::default()))).unwrap();
        let events: Vec<_> = block_on(stream.try_collect()).unwrap();
        let series = events.iter().map(|event| match event {
            SeriesEvent::Batch(batch) => batch.len(),
            other => panic!("{other:?}"),
        });
        let expected = if resolution_ms.is_none() { 0 } else { 2 };
        assert_eq!(
            series.sum::<usize>(),
            expected,
            "{resolution_ms:?} at {max_ms}"
        );
        let requests = store.store.requests();
        let windows = requests
            .iter()
            .map(|request| request.max_resolution_window_ms);
        assert_eq!(windows.collect::<Vec<_>>(), asked);
        let is_probe = |request: &&SeriesRequest| request.skip_chunks && request.limit == 1;
        let is_asked = asked.contains(&ANY);
        assert_eq!(requests.iter().any(|request| is_probe(&request)), is_asked);
    }
}
