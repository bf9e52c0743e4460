//! A gateway whose caches are in servers that lie.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use thanos_core::labels::{MatchOp, Matcher};
use thanos_storeapi::store::{SeriesRequest, Store};

use crate::cache::{
    Backend, CachingStore, CachingStoreMetrics, CachingStoreOptions, IndexCache, MemcachedCache,
    MemcachedOptions, RedisCache, RedisOptions, RemoteMetrics, Unsummed,
};
use crate::gateway::{Gateway, GatewayOptions};
use crate::testkit::{CacheProtocol, LyingCache};

async fn ask(gateway: &Gateway, value: &str) -> String {
    let request = SeriesRequest {
        matchers: vec![Matcher::new(MatchOp::Regex, "__name__", value).unwrap()],
        ..SeriesRequest::default()
    };
    let series = gateway.series(request).await.unwrap();
    let events: Vec<_> = series.try_collect().await.unwrap();
    format!("{events:?}")
}

async fn client(protocol: CacheProtocol, address: &str) -> Arc<dyn Backend> {
    let timeout = Duration::from_millis(100);
    match protocol {
        CacheProtocol::Memcached => {
            let options = MemcachedOptions {
                addresses: vec![address.to_owned()],
                timeout,
                ..MemcachedOptions::default()
            };
            let cache = MemcachedCache::new("test", options, RemoteMetrics::memcached()).await;
            Arc::new(cache.unwrap())
        }
        CacheProtocol::Redis => {
            let options = RedisOptions {
                addr: address.to_owned(),
                read_timeout: timeout,
                ..RedisOptions::default()
            };
            Arc::new(RedisCache::new("test", options, RemoteMetrics::redis()).unwrap())
        }
    }
}

/// Whatever servers of caches answer, answers to requests are right, and none fails.
#[tokio::test]
async fn no_server_of_a_cache_makes_an_answer_wrong() {
    const QUESTIONS: [&str; 4] = ["edge", "edge|go_goroutines", "go_.+", ".+"];
    let directory =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../thanos-core/testdata/block-1k-2h");
    let bucket = crate::directory::open(directory).unwrap();
    let plain = Gateway::new(bucket.clone(), GatewayOptions::default());
    plain.sync().await.unwrap();
    let mut wanted = Vec::new();
    for question in QUESTIONS {
        wanted.push(ask(&plain, question).await);
    }
    for protocol in [CacheProtocol::Memcached, CacheProtocol::Redis] {
        for (seed, per_mille) in [(1, 100), (2, 300), (3, 700)] {
            let server = LyingCache::start(protocol, seed, per_mille).await;
            let backend = client(protocol, server.address()).await;
            let options = CachingStoreOptions {
                unsummed: Unsummed::Missed,
                ..CachingStoreOptions::default()
            };
            let cached = bucket.clone().layered(|store| {
                let metrics = CachingStoreMetrics::default();
                Arc::new(CachingStore::new(store, backend.clone(), options, metrics))
            });
            let cache = IndexCache::new(backend, Default::default(), Default::default());
            let options = GatewayOptions {
                index_cache: Some(cache),
                ..GatewayOptions::default()
            };
            let gateway = Gateway::new(cached, options);
            gateway.sync().await.unwrap();
            for round in 0..6 {
                for (question, wanted) in QUESTIONS.iter().zip(&wanted) {
                    let found = ask(&gateway, question).await;
                    assert!(
                        found == *wanted,
                        "{protocol:?} {per_mille} {round} {question}"
                    );
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            assert!(
                server.lies() > 2,
                "{protocol:?} {per_mille}: {}",
                server.lies()
            );
        }
    }
}
