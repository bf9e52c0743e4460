//! Caches in real servers beside the store gateway.

use serde_json::Value;
use thanos_bucket::testkit::cache_servers::CacheServer;
use thanos_bucket::testkit::servers::ObjectServer;

use crate::blocks::{Kind, OLD_MS, Outside};
use crate::metrics;
use crate::programs::{Store, querier};

/// Serves one block of an S3 server with `flags`, asks for its series twice and calls `check` after each answer.
fn ask_twice(flags: &[&str], check: impl Fn(&Store, usize)) {
    let server = ObjectServer::s3();
    let yaml = server.config("blocks", "");
    let outside = Outside::open(&yaml);
    let series = [("a", "1"), ("b", "2")];
    outside.upload(&series, Kind::Float, &[("replica", "1")], OLD_MS);
    let store = Store::over(&yaml, flags);
    let querier = querier(&[&store.grpc_address], &[]);
    let time = outside.query_time();
    for times_asked in 1..=2 {
        let parameters = [("query", "{a=\"1\"}"), ("time", &time)];
        let answer = querier.query("/api/v1/query", &parameters);
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(body["data"]["result"][0]["metric"]["b"], "2", "{body}");
        check(&store, times_asked);
    }
}

fn check_caching_bucket(yaml: &str, hits_name: Option<&str>) {
    let flag = format!("--store.caching-bucket.config={yaml}\nblocks_iter_ttl: 0s\n");
    ask_twice(&[&flag], |store, times_asked| {
        let hits = "thanos_store_bucket_cache_operation_hits_total";
        let chunks = ["config=\"chunks\""];
        if times_asked == 1 {
            assert_eq!(metrics::sum(&store.http, hits, &chunks), 0.0);
            return;
        }
        metrics::wait_until(&store.http, hits, &chunks, |found| found > 0.0);
        if let Some(name) = hits_name {
            metrics::wait_until(&store.http, name, &[], |found| found > 0.0);
        }
    });
}

/// E-86: chunks come from memcached the second time.
#[test]
fn chunks_are_cached_in_memcached() {
    let Some(memcached) = CacheServer::memcached() else {
        return;
    };
    let address = memcached.address();
    let yaml = format!("type: MEMCACHED\nconfig:\n  addresses: [\"{address}\"]");
    check_caching_bucket(&yaml, Some("thanos_cache_memcached_hits_total"));
}

/// E-89: Redis keeps what is put there.
#[test]
fn chunks_are_cached_in_redis() {
    let Some(redis) = CacheServer::redis("") else {
        return;
    };
    let address = redis.address();
    check_caching_bucket(
        &format!("type: REDIS\nconfig:\n  addr: \"{address}\""),
        None,
    );
}

/// E-90: the postings of the same matchers are looked up once more and found.
#[test]
fn expanded_postings_are_cached_in_memcached() {
    let Some(memcached) = CacheServer::memcached() else {
        return;
    };
    let address = memcached.address();
    let flag =
        format!("--index-cache.config=type: MEMCACHED\nconfig:\n  addresses: [\"{address}\"]\n");
    ask_twice(&[&flag], |store, times_asked| {
        let expanded = ["item_type=\"ExpandedPostings\""];
        for (name, expected) in [("requests", times_asked), ("hits", times_asked - 1)] {
            let name = format!("thanos_store_index_cache_{name}_total");
            assert_eq!(
                metrics::sum(&store.http, &name, &expanded),
                expected as f64,
                "{name}"
            );
        }
    });
}
