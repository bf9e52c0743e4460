//! A gateway whose caches are in real servers.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use thanos_core::labels::Matcher;
use thanos_core::postings::Postings;
use thanos_storeapi::store::{SeriesRequest, Store};

use crate::Bucket;
use crate::cache::index::codec::encode_postings;
use crate::cache::index::keys::expanded_key;
use crate::cache::{
    Backend, CacheMetrics, CachingBucketConfig, IndexCacheConfig, MemcachedCache, MemcachedOptions,
    RemoteMetrics,
};
use crate::compute::Compute;
use crate::gateway::{Gateway, GatewayOptions};
use crate::testkit::cache_servers::CacheServer;

fn bucket() -> Bucket {
    let directory =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../thanos-core/testdata/block-1k-2h");
    crate::directory::open(directory).unwrap()
}

async fn gateway_over(bucket: Bucket, options: GatewayOptions) -> Gateway {
    let gateway = Gateway::new(bucket, options);
    gateway.sync().await.unwrap();
    gateway
}

fn matchers() -> Vec<Matcher> {
    vec![Matcher::equal("__name__", "edge")]
}

async fn ask(gateway: &Gateway) -> String {
    let request = SeriesRequest {
        matchers: matchers(),
        ..SeriesRequest::default()
    };
    let series = gateway.series(request).await.unwrap();
    let events: Vec<_> = series.try_collect().await.unwrap();
    format!("{events:?}")
}

/// Returns the value of the one series of `metrics` that starts with `series`.
fn value_of(metrics: &CacheMetrics, series: &str) -> f64 {
    let mut registry = Registry::default();
    metrics.register(&mut registry);
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(series));
    let line = line.unwrap_or_else(|| panic!("{series} is not in\n{text}"));
    line.trim().parse().unwrap()
}

/// Waits until what was put is there: writes happen behind our back.
async fn until(condition: impl AsyncFn() -> bool) {
    for _ in 0..200 {
        if condition().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the server did not get there");
}

/// E-86: chunks and metadata come from memcached the second time, for whichever gateway asks.
#[tokio::test]
async fn a_bucket_cached_in_memcached_is_a_miss_and_then_a_hit() {
    let Some(server) = CacheServer::memcached() else {
        return;
    };
    let yaml = format!(
        "type: MEMCACHED\nconfig:\n  addresses: [\"{}\"]\n",
        server.address()
    );
    let config = CachingBucketConfig::from_yaml(&yaml, "").unwrap();
    let open = async || {
        let (below, metrics) = (bucket(), CacheMetrics::default());
        let cached = config.open(below, &metrics).await.unwrap();
        (
            gateway_over(cached, GatewayOptions::default()).await,
            metrics,
        )
    };
    let hits =
        "thanos_store_bucket_cache_operation_hits_total{operation=\"get_range\",config=\"chunks\"}";
    let plain = ask(&gateway_over(bucket(), GatewayOptions::default()).await).await;
    let (first, metrics) = open().await;
    assert_eq!(ask(&first).await, plain);
    assert!(value_of(&metrics, hits) < 1.0);
    until(async || {
        let (again, metrics) = open().await;
        let answer = ask(&again).await;
        assert_eq!(answer, plain);
        value_of(&metrics, hits) >= 1.0
    })
    .await;
}

/// E-90: requests and hits of expanded postings in memcached: one and none, then two and one.
#[tokio::test]
async fn expanded_postings_in_memcached_are_a_miss_and_then_a_hit() {
    let Some(server) = CacheServer::memcached() else {
        return;
    };
    let yaml = format!(
        "type: MEMCACHED\nconfig:\n  addresses: [\"{}\"]\nenabled_items: [ExpandedPostings]\n",
        server.address()
    );
    let metrics = CacheMetrics::default();
    let cache = IndexCacheConfig::from_yaml(&yaml).unwrap();
    let options = GatewayOptions {
        index_cache: Some(cache.open(&metrics).await.unwrap()),
        ..GatewayOptions::default()
    };
    let gateway = gateway_over(bucket(), options).await;
    let count = |what: &str| {
        let labels = "{item_type=\"ExpandedPostings\",tenant=\"default-tenant\"}";
        value_of(
            &metrics,
            &format!("thanos_store_index_cache_{what}_total{labels}"),
        )
    };
    let first = ask(&gateway).await;
    assert_eq!((count("requests"), count("hits")), (1.0, 0.0));

    let reader = client(&server).await;
    let id = gateway.loaded().blocks.values().next().unwrap().id();
    let key = [expanded_key(id, &matchers())];
    until(async || reader.get_many(&key).await[0].is_some()).await;
    assert_eq!(ask(&gateway).await, first);
    assert_eq!((count("requests"), count("hits")), (2.0, 1.0));
}

async fn client(server: &CacheServer) -> MemcachedCache {
    let options = MemcachedOptions {
        addresses: vec![server.address().to_owned()],
        ..MemcachedOptions::default()
    };
    MemcachedCache::new("test", options, RemoteMetrics::memcached())
        .await
        .unwrap()
}

/// ST-24: what other gateways put into the server is used, and what cannot be right is not.
#[tokio::test]
async fn values_of_others_are_used_when_they_can_be_right() {
    let Some(server) = CacheServer::memcached() else {
        return;
    };
    let yaml = format!(
        "type: MEMCACHED\nconfig:\n  addresses: [\"{}\"]\n",
        server.address()
    );
    let metrics = CacheMetrics::default();
    let cache = IndexCacheConfig::from_yaml(&yaml)
        .unwrap()
        .open(&metrics)
        .await
        .unwrap();
    let plain_bucket = gateway_over(bucket(), GatewayOptions::default()).await;
    let (id, end) = {
        let loaded = plain_bucket.loaded();
        let block = loaded.blocks.values().next().unwrap();
        (block.id(), block.index_bytes() / 16)
    };
    let writer = client(&server).await;
    let compute = Compute::new(1);
    for (i, (value, is_used)) in [
        (encode_postings(&Postings::from_sorted(vec![1, 2, 5])), true),
        (b"dvs\x04\x0c\x01\x01\x03\x01".to_vec(), true),
        (
            encode_postings(&Postings::from_sorted(vec![1, u32::MAX])),
            false,
        ),
        (b"dss\xff\x06\0\0sNaPpX".to_vec(), false),
        (b"\0\0\0\x02\0\0\0\x05\0\0\0\x04".to_vec(), false),
    ]
    .into_iter()
    .enumerate()
    {
        let matchers = [Matcher::equal("i", &i.to_string())];
        let key = [expanded_key(id, &matchers)];
        writer.put(key[0].clone(), Bytes::from(value), Duration::from_secs(60));
        until(async || writer.get_many(&key).await[0].is_some()).await;
        let known = cache
            .expanded(id, &matchers, end, "default-tenant", &compute)
            .await
            .unwrap();
        let known = matches!(known, crate::cache::Expanded::Known { .. });
        assert_eq!(known, is_used, "value {i}");
    }
}

/// A cache server that dies while queries run is misses: the same answers, in time.
#[tokio::test]
async fn a_gateway_goes_on_without_its_cache_server() {
    let Some(mut server) = CacheServer::memcached() else {
        return;
    };
    let yaml = format!(
        "type: MEMCACHED\nconfig:\n  addresses: [\"{}\"]\n",
        server.address()
    );
    let metrics = CacheMetrics::default();
    let cache = IndexCacheConfig::from_yaml(&yaml)
        .unwrap()
        .open(&metrics)
        .await
        .unwrap();
    let config = CachingBucketConfig::from_yaml(&yaml, "").unwrap();
    let cached = config.open(bucket(), &metrics).await.unwrap();
    let options = GatewayOptions {
        index_cache: Some(cache),
        ..GatewayOptions::default()
    };
    let gateway = Arc::new(gateway_over(cached, options).await);
    let expected = ask(&gateway).await;
    for round in 0..6 {
        if round == 2 {
            server.stop();
        }
        let asked = tokio::time::timeout(Duration::from_secs(20), ask(&gateway));
        assert_eq!(
            asked.await.expect("an answer in time"),
            expected,
            "round {round}"
        );
    }
}
