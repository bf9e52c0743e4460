//! The read pipeline: what is left to be looked up in series, shards before chunks, cancelled calls.

use futures::StreamExt;
use thanos_storeapi::store::ShardInfo;

use super::*;

const MATCHERS: [(MatchOp, &str, &str); 12] = [
    (MatchOp::Equal, "__name__", "http_requests_total"),
    (MatchOp::Regex, "__name__", "go_.*"),
    (MatchOp::NotEqual, "handler", ""),
    (MatchOp::Regex, "handler", ".+"),
    (MatchOp::Regex, "handler", "/a.*|"),
    (MatchOp::NotEqual, "handler", "/api/v1/query"),
    (MatchOp::NotRegex, "instance", "a.*"),
    (MatchOp::Regex, "instance", ".*0.*"),
    (MatchOp::Equal, "code", "200"),
    (MatchOp::NotEqual, "code", "200"),
    (MatchOp::Equal, "no_such_label", ""),
    (MatchOp::NotEqual, "no_such_label", ""),
];

async fn answer(gateway: &Gateway, matchers: Vec<Matcher>) -> Vec<(Labels, usize, usize)> {
    let request = SeriesRequest {
        matchers,
        ..Default::default()
    };
    shape_of(gateway.series(request).await.unwrap())
        .await
        .unwrap()
}

/// ST-18, E-92: whatever postings are not fetched, the answer is the same.
#[tokio::test]
async fn lazy_postings_do_not_change_an_answer() {
    let (bucket, eager) = gateway_over(&fixture("block-1k-2h")).await;
    let all = shape_of(eager.series(all_series()).await.unwrap())
        .await
        .unwrap();
    let mut lazy = Vec::new();
    for max_key_series_ratio in [0.0, 0.001, 100.0] {
        let options = GatewayOptions {
            lazy_postings: Some(LazyPostings {
                max_key_series_ratio,
            }),
            ..GatewayOptions::default()
        };
        let gateway = Gateway::new(bucket.clone(), options);
        gateway.sync().await.unwrap();
        lazy.push(gateway);
    }
    let matcher = |at: usize| {
        let (op, name, value) = MATCHERS[at];
        Matcher::new(op, name, value).unwrap()
    };
    let count = MATCHERS.len();
    for pair in 0..count * count {
        let matchers = vec![
            matcher(pair / count),
            matcher(pair % count),
            matcher((pair * 5 + 3) % count),
        ];
        let satisfies = |(labels, _, _): &&(Labels, usize, usize)| {
            matchers
                .iter()
                .all(|matcher| matcher.matches_labels(labels.as_ref()))
        };
        let expected: Vec<_> = all.iter().filter(satisfies).cloned().collect();
        assert_eq!(
            answer(&eager, matchers.clone()).await,
            expected,
            "{matchers:?}"
        );
        for gateway in &lazy {
            let found = answer(gateway, matchers.clone()).await;
            assert_eq!(found, expected, "{matchers:?}");
        }
    }
}

/// that a label has some value is looked up in the series.
#[tokio::test]
async fn a_matcher_for_any_value_fetches_no_postings() {
    let (bucket, gateway) = gateway_over(&fixture("block-1k-2h")).await;
    let metric = Matcher::equal("__name__", "http_requests_total");
    let any = Matcher::new(MatchOp::NotEqual, "handler", "").unwrap();
    let mut cost = Vec::new();
    for matchers in [vec![metric.clone()], vec![metric, any]] {
        let before = bucket.requests();
        assert!(!answer(&gateway, matchers).await.is_empty());
        let after = bucket.requests();
        cost.push((
            after.gets - before.gets,
            after.bytes_read - before.bytes_read,
        ));
    }
    assert_eq!(cost[0], cost[1]);
}

/// Shards split the answer, and each reads the chunks of its own series only.
#[tokio::test]
async fn a_shard_reads_no_chunks_of_others() {
    let (bucket, gateway) = gateway_over(&fixture("block-1k-2h")).await;
    let before = bucket.requests().bytes_read;
    let whole = shape_of(gateway.series(all_series()).await.unwrap())
        .await
        .unwrap();
    let whole_bytes = bucket.requests().bytes_read - before;
    let mut found = Vec::new();
    for shard_index in 0..4 {
        let request = SeriesRequest {
            shard: Some(ShardInfo {
                shard_index,
                total_shards: 4,
                by: true,
                labels: vec!["__name__".to_owned()],
            }),
            ..all_series()
        };
        let before = bucket.requests().bytes_read;
        found.extend(
            shape_of(gateway.series(request).await.unwrap())
                .await
                .unwrap(),
        );
        let bytes = bucket.requests().bytes_read - before;
        assert!(bytes < whole_bytes * 3 / 4, "{bytes} of {whole_bytes}");
    }
    found.sort();
    assert_eq!(found, whole);
}

/// Faults: a call that is cancelled gives everything back at once.
#[tokio::test]
async fn a_dropped_answer_holds_nothing() {
    let bucket = crate::directory::open(fixture("block-1k-2h")).unwrap();
    let budget = MemoryBudget::new("store memory", 64 << 20);
    let options = GatewayOptions {
        budget: budget.clone(),
        ..GatewayOptions::default()
    };
    let gateway = Gateway::new(bucket, options);
    gateway.sync().await.unwrap();
    for polls in 0..4 {
        let mut stream = gateway.series(all_series()).await.unwrap();
        for _ in 0..polls {
            assert!(stream.next().await.unwrap().is_ok());
        }
        drop(stream);
        // Work that the processor has begun ends by itself.
        let is_free = async {
            while budget.used_bytes() > 0 {
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_millis(200), is_free)
            .await
            .unwrap();
    }
}
