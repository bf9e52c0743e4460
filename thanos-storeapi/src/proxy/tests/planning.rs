//! Which stores are asked, and for what.

use thanos_core::labels::MatchOp;

use super::*;
use crate::testkit::{Fault, MemSeries};

fn store(external: &[(&str, &str)], from_ms: i64, to_ms: i64) -> Arc<MemStore> {
    let series = DatasetSeries {
        labels: Labels::from_pairs([("__name__", "up")]),
        samples: vec![
            (Timestamp::from_millis(from_ms), 1.0),
            (Timestamp::from_millis(to_ms), 1.0),
        ],
    };
    let external = Labels::from_pairs(external.iter().copied());
    Arc::new(Dataset::new(external, vec![series]).to_mem_store())
}

fn matcher(op: MatchOp, name: &str, value: &str) -> Matcher {
    Matcher::new(op, name, value).unwrap()
}

/// Q-13, X-42.
#[tokio::test]
async fn stores_that_cannot_hold_anything_are_skipped_with_a_reason() {
    use MatchOp::{Equal, NotEqual, NotRegex, Regex};
    use SkipReason::{ExternalLabels, TimeRange as OutOfRange};
    let eu = store(&[("region", "eu"), ("replica", "a")], 1000, 2000);
    let plain = store(&[], 1500, 3000);
    let proxy = proxy_over([Endpoint::local("eu", eu), Endpoint::local("plain", plain)]);
    let wide = TimeRange::ALL;
    let range = TimeRange::from_millis;
    for (range, matchers, wanted) in [
        (wide, vec![], [None, None]),
        (range(0, 999), vec![], [Some(OutOfRange), Some(OutOfRange)]),
        (range(0, 1000), vec![], [None, Some(OutOfRange)]),
        (range(2001, 9000), vec![], [Some(OutOfRange), None]),
        (wide, vec![matcher(Equal, "region", "eu")], [None, None]),
        (
            wide,
            vec![matcher(Equal, "region", "us")],
            [Some(ExternalLabels), None],
        ),
        (
            wide,
            vec![matcher(NotEqual, "region", "eu")],
            [Some(ExternalLabels), None],
        ),
        (wide, vec![matcher(Regex, "region", "e.|us")], [None, None]),
        (
            wide,
            vec![matcher(NotRegex, "replica", "a|b")],
            [Some(ExternalLabels), None],
        ),
        (
            wide,
            vec![matcher(Equal, "region", "")],
            [Some(ExternalLabels), None],
        ),
        (wide, vec![matcher(Equal, "job", "api")], [None, None]),
    ] {
        let plan = proxy.plan(range, &matchers).await;
        let skipped: Vec<_> = plan.iter().map(|decision| decision.skipped).collect();
        assert_eq!(skipped, wanted, "{range:?} {matchers:?}");
    }
}

/// X-42: a store of several databases is asked when one of them fits in time and labels.
#[tokio::test]
async fn time_and_labels_are_judged_database_by_database() {
    let inner = proxy_over([
        Endpoint::local("old", store(&[("region", "eu")], 0, 1000)),
        Endpoint::local("new", store(&[("region", "us")], 5000, 6000)),
    ]);
    let proxy = proxy_over([Endpoint::local("inner", dyn_store(inner))]);
    let eu = [matcher(MatchOp::Equal, "region", "eu")];
    let reason = |plan: Vec<Decision>| plan[0].skipped;
    assert_eq!(
        reason(proxy.plan(TimeRange::from_millis(0, 10), &eu).await),
        None
    );
    assert_eq!(
        reason(proxy.plan(TimeRange::from_millis(5000, 6000), &eu).await),
        Some(SkipReason::TimeRangeAndExternalLabels)
    );
    assert_eq!(
        reason(proxy.plan(TimeRange::from_millis(2000, 3000), &eu).await),
        Some(SkipReason::TimeRange)
    );
}

/// `storeMatch[]` (Q-13).
#[tokio::test]
async fn addresses_can_be_chosen() {
    let proxy = proxy_over([
        Endpoint::local("here", store(&[], 0, 1)),
        Endpoint::remote("10.0.0.1:10901", store(&[], 0, 1)),
        Endpoint::remote("10.0.0.2:10901", store(&[], 0, 1)),
    ]);
    let sets = vec![
        vec![matcher(MatchOp::Equal, "__address__", "10.0.0.2:10901")],
        vec![
            matcher(MatchOp::Regex, "__address__", "10.0.0.9.*"),
            matcher(MatchOp::Equal, "job", "x"),
        ],
    ];
    let plan = proxy.restricted_to(sets).plan(TimeRange::ALL, &[]).await;
    let asked: Vec<_> = plan
        .iter()
        .map(|decision| decision.skipped.is_none())
        .collect();
    assert_eq!(asked, [false, false, true]);
    assert_eq!(
        plan[0].skipped.unwrap().to_string(),
        "__address__ does not match debug store metadata matchers"
    );
    assert!(
        proxy
            .plan(TimeRange::ALL, &[])
            .await
            .iter()
            .all(|decision| decision.skipped.is_none())
    );
}

/// Info of a remote store is that of the last refresh; a failed refresh makes the store one that is always asked.
#[tokio::test]
async fn the_info_of_remote_stores_is_refreshed() {
    let remote = store(&[("region", "eu")], 1000, 2000);
    let proxy = proxy_over([Endpoint::remote("r:1", remote.clone())]);
    let reason = async || proxy.plan(TimeRange::from_millis(0, 10), &[]).await[0].skipped;
    let endpoint = &proxy.endpoints().current()[0];
    assert!(matches!(endpoint.info(), EndpointInfo::Unknown));
    assert_eq!(reason().await, None);
    proxy.endpoints().refresh(None).await;
    assert_eq!(reason().await, Some(SkipReason::TimeRange));
    assert_eq!(
        endpoint.to_string(),
        "Addr: r:1 MinTime: 1000 MaxTime: 2000"
    );
    remote.set_faults([Fault::FailInfo]);
    proxy.endpoints().refresh(None).await;
    assert!(
        matches!(endpoint.info(), EndpointInfo::Failed { reason } if reason == "injected failure")
    );
    assert_eq!(reason().await, None);
}

#[tokio::test]
async fn what_is_announced_covers_all_stores() {
    let options = ProxyOptions {
        selector_labels: Labels::from_pairs([("tier", "1")]),
        ..Default::default()
    };
    let failing = store(&[("region", "us")], 0, 1);
    let endpoints = EndpointSet::new([
        Endpoint::local("b", store(&[("region", "eu")], 1000, 2000)),
        Endpoint::local("a", store(&[("region", "eu")], 1000, 2000)),
        Endpoint::local("c", failing.clone()),
    ]);
    let proxy = Proxy::new(endpoints, options);
    let tsdbs = |info: StoreInfo| {
        let text = |tsdb: &crate::store::TsdbInfo| {
            format!(
                "{} {} {}",
                tsdb.external_labels, tsdb.range.min, tsdb.range.max
            )
        };
        info.tsdbs.iter().map(text).collect::<Vec<_>>()
    };
    assert_eq!(
        tsdbs(proxy.info().await.unwrap()),
        [
            r#"{region="eu", tier="1"} 1000 2000"#,
            r#"{region="us", tier="1"} 0 1"#
        ]
    );
    // A store of unknown content must not be skipped by those who ask this proxy.
    failing.set_faults([Fault::FailInfo]);
    assert_eq!(
        tsdbs(proxy.info().await.unwrap()),
        [
            r#"{region="eu", tier="1"} 1000 2000"#,
            r#"{tier="1"} -9223372036854775808 9223372036854775807"#
        ]
    );
}

/// Q-27.
#[tokio::test]
async fn selector_labels_are_matched_and_not_passed_on() {
    let store = store(&[], 0, 1);
    let options = ProxyOptions {
        selector_labels: Labels::from_pairs([("tier", "1")]),
        ..Default::default()
    };
    let proxy = Proxy::new(
        EndpointSet::new([Endpoint::local("a", store.clone())]),
        options,
    );
    let request = |matchers: Vec<Matcher>| SeriesRequest {
        matchers,
        ..Default::default()
    };
    let up = || Matcher::equal("__name__", "up");
    let tier = |value| Matcher::equal("tier", value);
    drop(proxy.series(request(vec![up(), tier("2")])).await.unwrap());
    assert!(store.requests().is_empty());
    let error = proxy.series(request(vec![tier("1")])).await.err().unwrap();
    assert_eq!(
        error.to_string(),
        "no matchers specified (excluding selector labels)"
    );
    let stream = proxy.series(request(vec![up(), tier("1")])).await.unwrap();
    assert_eq!(stream.count().await, 1);
    assert_eq!(store.requests()[0].matchers, [up()]);
}

/// A store that does not do the proxy's work must not stop at the limit of the proxy.
#[tokio::test]
async fn the_limit_is_passed_on_only_to_stores_that_count_the_same_series() {
    let series = || {
        let labels = Labels::from_pairs([("__name__", "up")]);
        vec![MemSeries {
            labels,
            chunks: vec![],
        }]
    };
    let new = Arc::new(MemStore::new(Labels::empty(), series()));
    let unsharded = Arc::new(MemStore::new(Labels::empty(), series()).without_sharding());
    let unstripped =
        Arc::new(MemStore::new(Labels::empty(), series()).without_replica_label_removal());
    let stores = [new.clone(), unsharded.clone(), unstripped.clone()];
    let proxy = proxy_over(stores.map(|store| Endpoint::local("s", store)));
    let shard = crate::store::ShardInfo {
        shard_index: 0,
        total_shards: 2,
        by: false,
        labels: vec![],
    };
    let request = SeriesRequest {
        limit: 5,
        shard: Some(shard),
        ..all_pods()
    };
    assert_eq!(proxy.series(request).await.unwrap().count().await, 0);
    let limit = |store: &MemStore| store.requests()[0].limit;
    assert_eq!(
        (limit(&new), limit(&unsharded), limit(&unstripped)),
        (5, 0, 0)
    );
}
