use parking_lot::Mutex;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use proptest::prelude::*;

use super::*;

#[derive(Debug, Default)]
struct MovedClock(Mutex<i64>);

impl Clock for MovedClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(*self.0.lock())
    }
}

fn options(bytes_max: u64, item_bytes_max: u64) -> InMemoryOptions {
    InMemoryOptions {
        bytes_max,
        item_bytes_max,
    }
}

fn put(cache: &InMemoryCache, key: &str, len: usize) {
    let value = Bytes::from(vec![b'x'; len]);
    cache.put(key.to_owned(), value, Duration::from_secs(1));
}

///
#[test]
fn an_item_larger_than_all_is_a_configuration_error() {
    let error = InMemoryCache::new(options(10, 11), InMemoryMetrics::index()).unwrap_err();
    assert!(error.to_string().contains("max item size (11)"), "{error}");
}

///
#[test]
fn items_go_when_their_time_is_over() {
    let clock = Arc::new(MovedClock::default());
    let metrics = InMemoryMetrics::named("test");
    let cache = InMemoryCache::with_clock(
        InMemoryOptions::default(),
        metrics.clone(),
        Arc::clone(&clock) as _,
    )
    .unwrap();
    put(&cache, "a", 3);
    *clock.0.lock() = 1000;
    assert!(cache.get("a").is_some());
    *clock.0.lock() = 1001;
    assert_eq!((cache.get("a"), cache.held_bytes()), (None, 0));
    let mut registry = Registry::default();
    metrics.register(&mut registry);
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    for line in [
        "thanos_cache_inmemory_requests_total{name=\"test\"} 2",
        "thanos_cache_inmemory_hits_total{name=\"test\"} 1",
        "thanos_cache_inmemory_hits_on_expired_data_total{name=\"test\"} 1",
        "thanos_cache_inmemory_items_added_total{name=\"test\"} 1",
        "thanos_cache_inmemory_items_evicted_total{name=\"test\"} 1",
        "thanos_cache_inmemory_items{name=\"test\"} 0",
        "thanos_cache_inmemory_total_size_bytes{name=\"test\"} 0",
        "thanos_cache_inmemory_max_size_bytes{name=\"test\"} 262144000",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}

///
#[test]
fn the_largest_item_fits_and_a_larger_one_does_not() {
    let metrics = InMemoryMetrics::index();
    let cache = InMemoryCache::new(options(2 << 20, 1 << 20), metrics.clone()).unwrap();
    put(&cache, "EP:a", 1 << 20);
    assert!(cache.get("EP:a").is_some());
    put(&cache, "EP:b", (1 << 20) + 1);
    assert!(cache.get("EP:b").is_none());
    let mut registry = Registry::default();
    metrics.register(&mut registry);
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    for line in [
        "thanos_store_index_cache_items_overflowed_total{item_type=\"ExpandedPostings\"} 1",
        "thanos_store_index_cache_items_overflowed_total{item_type=\"Postings\"} 0",
        "thanos_store_index_cache_items{item_type=\"ExpandedPostings\"} 1",
        "thanos_store_index_cache_items_size_bytes{item_type=\"ExpandedPostings\"} 1048576",
        "thanos_store_index_cache_max_item_size_bytes 1048576",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}

#[test]
fn a_kept_item_does_not_hold_the_buffer_it_came_from() {
    let cache = InMemoryCache::new(InMemoryOptions::default(), InMemoryMetrics::index()).unwrap();
    let large = Bytes::from(vec![7; 1 << 20]);
    cache.put("a".to_owned(), large.slice(5..8), Duration::from_secs(1));
    assert!(large.is_unique());
}

proptest! {
    #[test]
    fn what_is_held_never_passes_the_limit(
        puts in proptest::collection::vec((0_u8..40, 0_usize..3000), 1..200)
    ) {
        let metrics = InMemoryMetrics::named("test");
        let cache = InMemoryCache::new(options(20_000, 2_000), metrics.clone()).unwrap();
        let mut last = std::collections::HashMap::new();
        for (key, len) in puts {
            let key = format!("key{key}");
            put(&cache, &key, len);
            if len <= 2_000 {
                last.insert(key.clone(), len);
            }
            prop_assert!(cache.held_bytes() <= 20_000 + 16);
            if let Some(found) = cache.get(&key) {
                prop_assert_eq!(Some(&found.len()), last.get(&key));
            }
        }
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        let line = format!("thanos_cache_inmemory_total_size_bytes{{name=\"test\"}} {}\n", cache.held_bytes());
        prop_assert!(text.contains(&line), "{} is not in\n{}", line, text);
    }
}
