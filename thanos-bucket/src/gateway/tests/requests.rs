//! What surrounds the reading of a request: hints, the gate, memory, tenants, metrics, label calls.

use std::time::Duration;

use futures::{FutureExt, StreamExt};
use prometheus_client::registry::Registry;
use thanos_storeapi::hints::{
    BLOCK_ID_LABEL, LabelsResponseHints, SeriesRequestHints, SeriesResponseHints,
};
use thanos_storeapi::testkit::Answer;

use super::bucket_e2e::{gateway, series_of};
use super::metrics::LazyReason;
use super::query::{Item, QueryStats};
use super::*;

const ALL_SIX: usize = 6;

/// Returns the lines of a family that have counted something.
pub(super) fn counted(metrics: &GatewayMetrics, name: &str) -> Vec<String> {
    let mut lines = exposed(metrics, name);
    lines.retain(|line| !line.ends_with(" 0"));
    lines
}

/// The lines of one metric as a scrape shows them, without its name, sorted.
pub(super) fn exposed(metrics: &GatewayMetrics, name: &str) -> Vec<String> {
    let mut registry = Registry::default();
    metrics.register(&mut registry);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    let mut lines: Vec<String> = text
        .lines()
        .filter_map(|line| line.strip_prefix(name))
        .filter(|line| line.starts_with(['{', ' ']))
        .map(|line| line.trim().to_owned())
        .collect();
    lines.sort();
    lines
}

/// The events of an answer: its series, and the hints after them.
async fn with_hints(
    gateway: &Gateway,
    request: SeriesRequest,
) -> (usize, Option<SeriesResponseHints>) {
    let stream = gateway.series(request).await.unwrap();
    let events: Vec<SeriesEvent> = stream.try_collect().await.unwrap();
    let mut series = 0;
    let mut hints = None;
    for event in events {
        assert!(hints.is_none(), "hints come last");
        match event {
            SeriesEvent::Batch(batch) => series += batch.len(),
            SeriesEvent::Hints(any) => hints = Some(SeriesResponseHints::decode(&any).unwrap()),
            other => panic!("{other:?}"),
        }
    }
    (series, hints)
}

fn hinted(request: SeriesRequest, block_matchers: Vec<Matcher>, stats: bool) -> SeriesRequest {
    let hints = SeriesRequestHints {
        block_matchers,
        enable_query_stats: stats,
    };
    SeriesRequest {
        hints: Some(hints.encode()),
        ..request
    }
}

/// ST-30: as Thanos' binary starts, an answer has no hints, but those of the request count.
#[tokio::test]
async fn without_the_option_an_answer_has_no_hints() {
    let gateway = gateway(GatewayOptions::default()).await;
    let request = hinted(series_of(&["a=1"]), Vec::new(), true);
    assert_eq!(with_hints(&gateway, request).await, (4, None));
    let only = vec![Matcher::equal("ext1", "value1")];
    let request = hinted(series_of(&["a=1"]), only, true);
    assert_eq!(with_hints(&gateway, request).await, (2, None));
    let broken = SeriesRequest {
        hints: Some(LabelsResponseHints::default().encode(LabelCall::Names)),
        ..series_of(&["a=1"])
    };
    let error = gateway.series(broken).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Invalid);
}

/// ST-30, ST-14: hints choose blocks by external labels and id, and tell which were read and what it cost.
#[tokio::test]
async fn hints_choose_blocks_and_tell_what_was_read() {
    let gateway = gateway(GatewayOptions {
        series_response_hints: true,
        ..Default::default()
    })
    .await;
    let (series, hints) = with_hints(&gateway, series_of(&["a=1"])).await;
    let all = hints.unwrap();
    assert_eq!((series, all.queried_blocks.len()), (4, ALL_SIX));
    assert_eq!(all.query_stats, None);

    let one = all.queried_blocks[3].clone();
    let by_id = |op, value: &str| vec![Matcher::new(op, BLOCK_ID_LABEL, value).unwrap()];
    let request = hinted(series_of(&["a=1"]), by_id(MatchOp::Equal, &one), true);
    let (series, hints) = with_hints(&gateway, request).await;
    let hints = hints.unwrap();
    assert_eq!((series, hints.queried_blocks), (2, vec![one.clone()]));
    let stats = hints.query_stats.unwrap();
    assert_eq!(
        (
            stats.blocks_queried,
            stats.merged_series,
            stats.merged_chunks
        ),
        (1, 2, 2)
    );
    assert_eq!((stats.postings.fetch_count, stats.postings.touched), (1, 1));
    assert_eq!((stats.series.touched, stats.chunks.touched), (2, 2));
    assert!(stats.series.fetched_bytes >= stats.series.touched_bytes);
    let bytes = |item: thanos_storeapi::hints::ItemStats| item.touched_bytes + item.fetched_bytes;
    let sum = bytes(stats.postings) + bytes(stats.series) + bytes(stats.chunks);
    assert_eq!(stats.data_downloaded_bytes, sum);
    assert!(!stats.get_all_duration.is_zero() && !stats.merge_duration.is_zero());

    let others = by_id(MatchOp::NotEqual, &one);
    let request = hinted(series_of(&["a=1"]), others.clone(), false);
    let hints = with_hints(&gateway, request).await.1.unwrap();
    assert_eq!(hints.queried_blocks.len(), ALL_SIX - 1);

    let names = LabelNamesRequest {
        hints: Some(
            LabelsRequestHints {
                block_matchers: vec![Matcher::equal("ext2", "value2")],
            }
            .encode(LabelCall::Names),
        ),
        ..Default::default()
    };
    let names = gateway.label_names(names).await.unwrap();
    assert_eq!(names.values, ["a", "c", "ext2"]);
    let hints = LabelsResponseHints::decode(&names.hints.unwrap(), LabelCall::Names).unwrap();
    assert_eq!(hints.queried_blocks.len(), 3);
    let values = LabelValuesRequest {
        label: "a".into(),
        matchers: vec![Matcher::equal("b", "1")],
        ..Default::default()
    };
    let values = gateway.label_values(values).await.unwrap();
    let hints = LabelsResponseHints::decode(&values.hints.unwrap(), LabelCall::Values).unwrap();
    assert_eq!(hints.queried_blocks.len(), ALL_SIX);
}

/// ST-36: COMPAT: matchers on external labels alone select all series of a block; Thanos answers with none, which looks
/// like no data.
#[tokio::test]
async fn matchers_on_external_labels_alone_select_all_series() {
    let gateway = gateway(GatewayOptions::default()).await;
    let stream = gateway.series(series_of(&["ext1=value1"])).await.unwrap();
    let answer = Answer::collect(stream).await.unwrap();
    assert_eq!(answer.series.len(), 4);
    assert!(
        answer
            .series
            .iter()
            .all(|series| series.chunks().count() == 3)
    );
}

/// ST-21: calls wait for a place, keep it until their stream is dropped, and give it back when they fail.
#[tokio::test]
async fn series_calls_wait_for_their_turn() {
    let options = GatewayOptions {
        series_concurrency: 1,
        ..Default::default()
    };
    let metrics = options.metrics.clone();
    let gateway = gateway(options).await;
    let in_flight = || {
        exposed(
            &metrics,
            "thanos_bucket_store_series_gate_queries_in_flight",
        )
    };
    let invalid = gateway.series(SeriesRequest::default()).await;
    assert!(invalid.is_err());

    let first = gateway.series(series_of(&["a=1"])).await.unwrap();
    let mut second = Box::pin(gateway.series(series_of(&["a=1"])));
    assert!((&mut second).now_or_never().is_none(), "waits");
    assert_eq!(in_flight(), ["1"]);
    let labels = gateway.label_names(LabelNamesRequest::default()).await;
    assert!(labels.is_ok(), "index-headers need no place");
    drop(first);
    let mut second = second.await.unwrap();
    while let Some(event) = second.next().await {
        event.unwrap();
    }
    // The stream is at its end, though it is not dropped.
    assert_eq!(in_flight(), ["0"]);
    let max = "thanos_bucket_store_series_gate_queries_max";
    assert_eq!(exposed(&metrics, max), ["1"]);
    let total = "thanos_bucket_store_series_gate_queries_total";
    assert_eq!(exposed(&metrics, total), ["3"]);
}

/// ST-34: what a request took is counted for its tenant, also when it is left early.
#[tokio::test]
async fn what_a_call_took_is_counted_for_its_tenant() {
    let options = GatewayOptions::default();
    let metrics = options.metrics.clone();
    let gateway = gateway(options).await;
    let of = |tenant: &str| SeriesRequest {
        tenant: TenantId::parse(tenant).unwrap(),
        ..series_of(&["a=1"])
    };
    let stream = gateway.series(of("team-a")).await.unwrap();
    let answer = Answer::collect(stream).await.unwrap();
    assert_eq!(answer.series.len(), 4);
    drop(gateway.series(of("team-b")).await.unwrap());

    let sums = exposed(&metrics, "thanos_bucket_store_series_data_touched_sum");
    let of_a: Vec<_> = sums.iter().filter(|line| line.contains("team-a")).collect();
    assert_eq!(
        of_a,
        [
            "{data_type=\"chunks\",tenant=\"team-a\"} 12.0",
            "{data_type=\"postings\",tenant=\"team-a\"} 6.0",
            "{data_type=\"series\",tenant=\"team-a\"} 12.0",
        ]
    );
    let counted = |name: &str| exposed(&metrics, &format!("thanos_bucket_store_{name}"));
    let each = ["{tenant=\"team-a\"} 4.0", "{tenant=\"team-b\"} 0.0"];
    assert_eq!(counted("series_result_series_sum"), each);
    let each = ["{tenant=\"team-a\"} 6.0", "{tenant=\"team-b\"} 6.0"];
    assert_eq!(counted("series_blocks_queried_sum"), each);
    let each = ["{tenant=\"team-a\"} 4"];
    assert_eq!(counted("sent_chunk_size_bytes_count"), each);
    let each = ["{tenant=\"team-a\"} 1"];
    assert_eq!(counted("series_get_all_duration_seconds_count"), each);
    let each = ["{tenant=\"team-a\"} 1", "{tenant=\"team-b\"} 1"];
    assert_eq!(counted("series_merge_duration_seconds_count"), each);
}

/// ST-34: tenants come from outside, so their number in labels is bounded.
#[test]
fn the_thousand_and_first_tenant_shares_a_label() {
    let metrics = GatewayMetrics::default();
    for i in 0..1100 {
        let tenant = TenantId::parse(&format!("tenant-{i}")).unwrap();
        metrics.empty_postings(&metrics.tenant_label(&tenant));
    }
    let lines = exposed(&metrics, "thanos_bucket_store_empty_postings_total");
    // 999 of these, the default tenant, whose label is there from the start, and the rest.
    assert_eq!(lines.len(), 1001);
    assert!(lines.contains(&"{tenant=\"[others]\"} 101".to_owned()));
    assert!(lines.contains(&"{tenant=\"tenant-998\"} 1".to_owned()));
}

/// ST-22: memory that is short is an error that names what to raise, and is counted.
#[tokio::test]
async fn memory_limits_name_themselves_and_are_counted() {
    let small = GatewayOptions {
        request_memory_bytes: 10,
        ..Default::default()
    };
    let metrics = small.metrics.clone();
    let gateway = gateway(small).await;
    for partial_response in [PartialResponse::Abort, PartialResponse::Warn] {
        let request = SeriesRequest {
            partial_response,
            ..series_of(&["a=1"])
        };
        let stream = gateway.series(request).await.unwrap();
        let error = Answer::collect(stream).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LimitExceeded, "{error}");
        assert!(
            error.to_string().contains("memory of one request"),
            "{error}"
        );
    }
    let dropped = counted(&metrics, "thanos_bucket_store_queries_dropped_total");
    assert_eq!(dropped, ["{reason=\"memory\",tenant=\"default-tenant\"} 2"]);
    let request = LabelNamesRequest::default();
    let error = gateway.label_names(request).await.unwrap_err();
    assert!(
        error.to_string().contains("memory of one request"),
        "{error}"
    );
}

/// ST-23: chunks count against their pool and the request alike, and come back to both.
#[test]
fn chunk_memory_is_taken_from_the_pool_and_the_request() {
    let query = |request_memory_bytes, pool_bytes| {
        let limits = QueryLimits {
            request: RequestLimits::default(),
            budget: MemoryBudget::new("store memory", 1000),
            request_memory_bytes,
            chunk_pool: MemoryBudget::new("chunk pool (--chunk-pool-size)", pool_bytes),
        };
        let metrics = GatewayMetrics::default();
        let tenant = TenantId::default();
        let query = QueryContext::new(Call::Series, tenant, 0, Vec::new(), &limits, &metrics);
        (query, limits)
    };
    let lease_chunks = |query: &QueryContext, bytes| {
        let pool = query.lease_of_chunk_pool(bytes)?;
        query.lease_chunks(pool, bytes)
    };
    let (of_pool, limits) = query(500, 100);
    let lease = lease_chunks(&of_pool, 60).unwrap();
    assert_eq!(
        (limits.chunk_pool.used_bytes(), limits.budget.used_bytes()),
        (60, 60)
    );
    let error = lease_chunks(&of_pool, 41).unwrap_err();
    assert!(error.to_string().contains("--chunk-pool-size"), "{error}");
    drop(lease);
    assert_eq!(
        (limits.chunk_pool.used_bytes(), limits.budget.used_bytes()),
        (0, 0)
    );

    let (of_request, limits) = query(50, 100);
    let _lease = lease_chunks(&of_request, 40).unwrap();
    let error = lease_chunks(&of_request, 20).unwrap_err();
    assert!(
        error.to_string().contains("memory of one request"),
        "{error}"
    );
    assert_eq!(
        (limits.chunk_pool.used_bytes(), limits.budget.used_bytes()),
        (40, 40)
    );
}

/// ST-29: a limit keeps the least values, external ones among them, and series are read only where they must be.
#[tokio::test]
async fn label_calls_read_no_more_than_they_need() {
    let gateway = gateway(GatewayOptions::default()).await;
    let bucket = gateway.shared.bucket.clone();
    let before = bucket.requests();
    for (limit, wanted) in [
        (1, &["a"][..]),
        (4, &["a", "b", "c", "ext1"]),
        (9, &["a", "b", "c", "ext1", "ext2"]),
    ] {
        let request = LabelNamesRequest {
            limit,
            ..Default::default()
        };
        let names = gateway.label_names(request).await.unwrap();
        assert_eq!(names.values, wanted);
    }
    let external = LabelValuesRequest {
        label: "b".into(),
        matchers: vec![Matcher::equal("ext1", "value1")],
        limit: 1,
        ..Default::default()
    };
    let values = gateway.label_values(external).await.unwrap();
    assert_eq!(values.values, ["1"]);
    assert_eq!(bucket.requests(), before, "answered from index-headers");

    // label_values(c{a="1"}, b) needs no postings of b: one list and the entries of each block.
    let matched = LabelValuesRequest {
        label: "c".into(),
        matchers: vec![Matcher::equal("a", "1")],
        ..Default::default()
    };
    let values = gateway.label_values(matched).await.unwrap();
    assert_eq!(values.values, ["1", "2"]);
    let gets = bucket.requests().gets - before.gets;
    assert!(gets <= 2 * ALL_SIX as u64, "{gets} requests");
}

/// ST-29: a block that cannot be read is named in a partial answer, and fails one that must be whole.
#[tokio::test]
async fn label_calls_name_blocks_that_cannot_be_read() {
    let gateway = gateway(GatewayOptions::default()).await;
    let bucket = gateway.shared.bucket.clone();
    let id = *gateway.loaded().blocks.keys().next().unwrap();
    bucket.delete(&format!("{id}/index")).await.unwrap();
    let request = |partial_response| LabelValuesRequest {
        label: "a".into(),
        matchers: vec![Matcher::equal("a", "1")],
        partial_response,
        ..Default::default()
    };
    let values = gateway
        .label_values(request(PartialResponse::Warn))
        .await
        .unwrap();
    assert_eq!(values.values, ["1"]);
    let missing = values.completeness.missing();
    assert_eq!(missing.len(), 1);
    assert_eq!(missing[0].source, format!("block {id}"));
    assert!(
        gateway
            .label_values(request(PartialResponse::Abort))
            .await
            .is_err()
    );
}

/// ST-34: the names of pkg/store/bucket.go (newBucketStoreMetrics) and pkg/gate/gate.go, as a scrape shows them.
#[test]
fn metrics_have_the_names_of_thanos() {
    let metrics = GatewayMetrics::default();
    let tenant = metrics.tenant_label(&TenantId::default());
    // A family shows itself with its first member.
    metrics.dropped_for_memory(&tenant);
    for item in Item::ALL {
        metrics.fetched(item, &tenant, Duration::ZERO);
        metrics.refetched(item, &tenant, 1);
    }
    metrics.got_all(&tenant, Duration::ZERO);
    metrics.sent_chunks(&tenant, [1].into_iter());
    metrics.empty_postings(&tenant);
    metrics.series_call(&QueryStats::default(), &tenant);
    metrics.lazy_group(LazyReason::KeysLimit, 1);
    metrics.postings_cached(&tenant, 2, 1);
    let mut registry = Registry::default();
    metrics.register(&mut registry);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    let mut found: Vec<String> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE thanos_bucket_store_"))
        .map(str::to_owned)
        .collect();
    found.sort();
    let mut wanted: Vec<String> = [
        "block_drop_failures counter",
        "block_drops counter",
        "block_load_duration_seconds histogram",
        "block_load_failures counter",
        "block_loads counter",
        "blocks_last_loaded_timestamp_seconds gauge",
        "blocks_loaded gauge",
        "cached_postings_compressed_size_bytes counter",
        "cached_postings_compression_errors counter",
        "cached_postings_compression_time_seconds counter",
        "cached_postings_compressions counter",
        "cached_postings_original_size_bytes counter",
        "chunk_refetches counter",
        "chunks_fetch_duration_seconds histogram",
        "chunks_fetch_duration_sum_seconds histogram",
        "empty_postings counter",
        "lazy_expanded_posting_groups counter",
        "lazy_expanded_posting_series_overfetched_size_bytes counter",
        "lazy_expanded_posting_size_bytes counter",
        "lazy_expanded_postings counter",
        "postings_fetch_duration_seconds histogram",
        "postings_size_bytes histogram",
        "queries_dropped counter",
        "sent_chunk_size_bytes histogram",
        "series_blocks_queried histogram",
        "series_data_fetched histogram",
        "series_data_size_fetched_bytes histogram",
        "series_data_size_touched_bytes histogram",
        "series_data_touched histogram",
        "series_fetch_duration_seconds histogram",
        "series_fetch_duration_sum_seconds histogram",
        "series_gate_queries counter",
        "series_gate_queries_duration_seconds histogram",
        "series_gate_queries_in_flight gauge",
        "series_gate_queries_max gauge",
        "series_get_all_duration_seconds histogram",
        "series_merge_duration_seconds histogram",
        "series_refetches counter",
        "series_result_series histogram",
    ]
    .map(str::to_owned)
    .to_vec();
    wanted.sort();
    assert_eq!(found, wanted);
}

/// ST-22: bytes that a cache has count as those that are fetched.
#[tokio::test]
async fn bytes_of_caches_count_too() {
    use crate::cache::{InMemoryOptions, IndexCache};

    let options = || GatewayOptions {
        index_cache: Some(IndexCache::in_memory(InMemoryOptions::default()).unwrap()),
        ..Default::default()
    };
    let cold = options();
    let (cache, metrics) = (cold.index_cache.clone(), cold.metrics.clone());
    let gateway = gateway(cold).await;
    let stream = gateway.series(series_of(&["a=1"])).await.unwrap();
    Answer::collect(stream).await.unwrap();
    let encoded = "{op=\"encode\",tenant=\"default-tenant\"} 6".to_owned();
    let compressions = "thanos_bucket_store_cached_postings_compressions_total";
    assert!(exposed(&metrics, compressions).contains(&encoded));
    let original = "thanos_bucket_store_cached_postings_original_size_bytes_total";
    let two_series_of_six_blocks = ["{tenant=\"default-tenant\"} 48"];
    assert_eq!(exposed(&metrics, original), two_series_of_six_blocks);

    // The same blocks behind the cache that is warm now.
    let bucket = gateway.shared.bucket.clone();
    let limited = GatewayOptions {
        index_cache: cache,
        limits: RequestLimits {
            downloaded_bytes: 1,
            ..Default::default()
        },
        ..options()
    };
    let limited = Gateway::new(bucket, limited);
    limited.sync().await.unwrap();
    let stream = limited.series(series_of(&["a=1"])).await.unwrap();
    let error = Answer::collect(stream).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LimitExceeded);
    let text = error.to_string();
    assert!(
        text.contains("exceeded bytes limit while loading"),
        "{text}"
    );
}

/// ST-22: a fan-out that may answer in part names the gateway that refused, and why; one that may not fails.
#[tokio::test]
async fn a_fan_out_names_the_gateway_that_refused() {
    use thanos_storeapi::proxy::{Endpoint, EndpointSet, Proxy, ProxyOptions};

    let refusing = gateway(GatewayOptions {
        limits: RequestLimits {
            series: 1,
            ..Default::default()
        },
        ..Default::default()
    })
    .await;
    let answering = gateway(GatewayOptions::default()).await;
    let endpoints = EndpointSet::new([
        Endpoint::local("refusing", Arc::new(refusing)),
        Endpoint::local("answering", Arc::new(answering)),
    ]);
    let proxy = Proxy::new(endpoints, ProxyOptions::default());
    let request = |partial_response| SeriesRequest {
        partial_response,
        ..series_of(&["a=1"])
    };
    let stream = proxy.series(request(PartialResponse::Warn)).await.unwrap();
    let answer = Answer::collect(stream).await.unwrap();
    assert_eq!(answer.series.len(), 4);
    let [missing] = &answer.missing[..] else {
        panic!("{:?}", answer.missing);
    };
    assert_eq!(missing.source, "refusing");
    assert!(
        missing.reason.contains("exceeded series limit"),
        "{missing:?}"
    );
    let stream = proxy.series(request(PartialResponse::Abort)).await.unwrap();
    let error = Answer::collect(stream).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LimitExceeded);
}

/// the blocks that a request would read are told, and no fewer series than it then gives.
#[tokio::test]
async fn what_a_request_would_read_is_told() {
    let gateway = gateway(GatewayOptions::default()).await;
    for (matchers, blocks) in [
        (&["a=1"][..], 6),
        (&["a=1", "b=1"], 6),
        (&["a=~1|2"], 6),
        (&["a=~.+"], 6),
        (&["a=nobody"], 6),
        // Series of the blocks without the label could have it themselves.
        (&["a=1", "ext1=value1"], 6),
        (&["a=1", "ext1=nobody"], 3),
    ] {
        let request = series_of(matchers);
        let plans = gateway.sources(&request).await.unwrap();
        assert_eq!(plans.len(), blocks, "{matchers:?}");
        let (series, _) = with_hints(&gateway, request).await;
        let told = thanos_core::query::known_cost(&plans);
        assert!(told.series >= series as u64, "{matchers:?}: {told:?}");
        assert_eq!(told.bytes == 0, told.series == 0, "{matchers:?}: {told:?}");
        assert!(told.series <= 24, "{matchers:?}: {told:?}");
    }
    let far = SeriesRequest {
        range: TimeRange::from_millis(0, 1),
        ..series_of(&["a=1"])
    };
    assert!(gateway.sources(&far).await.unwrap().is_empty());
}
