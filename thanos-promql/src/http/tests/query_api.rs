//! Queries of other components.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use thanos_core::error::ErrorKind;
use thanos_core::labels::Labels;
use thanos_core::query::Missing;
use thanos_core::time::Timestamp;
use thanos_storeapi::apis::query::{QueryEvent, QueryRequest, QueryTimes};
use thanos_storeapi::store::PartialResponse;
use thanos_storeapi::tenant::TenantId;

use crate::Engine;
use crate::http::{Api, FixedSource};
use crate::testkit::MemoryQueryable;

fn data() -> MemoryQueryable {
    let mut data = MemoryQueryable::default();
    for instance in ["a", "b", "c"] {
        let labels = Labels::from_pairs([("__name__", "up"), ("instance", instance)]);
        data.push(labels, (0..100).map(|i| (i * 15_000, 1.0)));
    }
    data
}

fn request(query: &str, times: QueryTimes) -> QueryRequest {
    QueryRequest {
        query: query.to_owned(),
        plan: None,
        times,
        timeout: None,
        max_resolution_ms: 0,
        replica_labels: Vec::new(),
        store_matchers: Vec::new(),
        dedup: true,
        partial_response: PartialResponse::Abort,
        skip_chunks: false,
        shard: None,
        lookback_delta: None,
        response_batch_size: 2,
        tenant: TenantId::default(),
    }
}

fn instant(query: &str) -> QueryRequest {
    request(query, QueryTimes::Instant(Timestamp::from_millis(600_000)))
}

async fn events(
    data: MemoryQueryable,
    request: QueryRequest,
) -> thanos_core::Result<Vec<QueryEvent>> {
    let source = Arc::new(FixedSource(data.into_queryable()));
    let api = Api::new(Engine::default(), source).query_api();
    api.query(request).await?.try_collect().await
}

fn shape(events: &[QueryEvent]) -> Vec<String> {
    let shape = |event: &QueryEvent| match event {
        QueryEvent::Warning(text) => format!("warning {text}"),
        QueryEvent::Missing(missing) => format!("missing {}: {}", missing.source, missing.reason),
        QueryEvent::Series(series) => {
            let each = series.iter().map(|one| one.floats.len().to_string());
            format!("series {}", each.collect::<Vec<_>>().join(","))
        }
        QueryEvent::Stats(stats) => format!("stats {}", stats.samples_total),
    };
    events.iter().map(shape).collect()
}

/// Q-26, E-52: series in batches, and what was read at the end.
#[tokio::test]
async fn answers_come_in_batches_and_end_with_statistics() {
    let range = QueryTimes::Range {
        start: Timestamp::from_millis(0),
        end: Timestamp::from_millis(60_000),
        step_ms: 30_000,
    };
    for (request, expected) in [
        (instant("up"), &["series 1,1", "series 1", "stats 3"][..]),
        (instant("sum(up)"), &["series 1", "stats 3"]),
        (instant("1 + 1"), &["series 1", "stats 0"]),
        (instant("\"text\""), &["stats 0"]),
        (request("up", range), &["series 3,3", "series 3", "stats 9"]),
        (
            instant("rate(up[1m])"),
            &[
                "warning PromQL info: metric might not be a counter, name does not end in _total/_sum/_count/_bucket: \"up\" (1:6)",
                "series 1,1",
                "series 1",
                "stats 12",
            ],
        ),
    ] {
        let text = request.query.clone();
        assert_eq!(
            shape(&events(data(), request).await.unwrap()),
            expected,
            "{text}"
        );
    }
}

/// Q-26: a plan is evaluated if it is understood, else the text.
#[tokio::test]
async fn plans_count_before_texts() {
    let plan = r#"{"type":"number_literal","data":{"Val":7}}"#;
    for (plan, expected) in [(plan, 7.0), (r#"{"type":"noop"}"#, 3.0), ("", 3.0)] {
        let request = QueryRequest {
            plan: Some(plan.into()),
            ..instant("1 + 2")
        };
        let events = events(data(), request).await.unwrap();
        let QueryEvent::Series(series) = &events[0] else {
            panic!("{events:?}");
        };
        assert_eq!(series[0].floats[0].1, expected);
    }
}

/// Q-26: what fails is an error, or what is missing where an answer may be partial.
#[tokio::test]
async fn failures_are_errors_or_missing_data() {
    let mut broken = data();
    broken.push_missing(Missing {
        source: "store".into(),
        reason: "gone".into(),
    });
    let partial = |request| QueryRequest {
        partial_response: PartialResponse::Warn,
        ..request
    };
    let failing = "up * on () up";
    let found = events(data(), partial(instant(failing))).await.unwrap();
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        matches!(&found[0], QueryEvent::Missing(one) if one.reason.contains("duplicate series"))
    );
    assert!(events(data(), instant(failing)).await.is_err());
    let wrong = events(data(), partial(instant("sum("))).await.unwrap_err();
    assert_eq!(wrong.kind(), ErrorKind::Invalid);
    // Data that a store lacks.
    let found = events(broken.clone(), partial(instant("count(up)")))
        .await
        .unwrap();
    assert_eq!(
        shape(&found),
        ["missing store: gone", "series 1", "stats 3"]
    );
    assert!(events(broken, instant("count(up)")).await.is_err());
}

/// Dropping the stream ends the work, so that its place is free again.
#[tokio::test]
async fn a_dropped_answer_frees_its_place() {
    let source = Arc::new(FixedSource(data().into_queryable()));
    let options = crate::http::ApiOptions {
        queries_max: 1,
        ..crate::http::ApiOptions::default()
    };
    let api = Api::with_options(Engine::default(), source, options).query_api();
    for _ in 0..3 {
        let mut stream = api.query(instant("up")).await.unwrap();
        drop(stream.next().await);
    }
    let all: Vec<QueryEvent> = api
        .query(instant("up"))
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    assert_eq!(all.len(), 3);
}
