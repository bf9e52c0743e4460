use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use futures::TryStreamExt;
use parking_lot::Mutex;
use proptest::prelude::*;
use thanos_core::labels::{MatchOp, Matcher};
use thanos_core::query::SeriesEvent;
use thanos_storeapi::store::{SeriesRequest, Store};

use super::*;
use crate::Bucket;
use crate::cache::store::keys::{content, subrange};
use crate::cache::{
    Backend, CachingStore, CachingStoreMetrics, CachingStoreOptions, InMemoryCache,
    InMemoryMetrics, InMemoryOptions, ShortReads,
};
use crate::gateway::{Gateway, GatewayOptions};
use crate::testkit::{LatencyModel, LatencyStore};

const TENANT: &str = "default-tenant";

async fn gateway_with(cache: Option<IndexCache>) -> (Bucket, Gateway) {
    gateway_with_gaps(cache, GatewayOptions::default().gap_bytes_max).await
}

async fn gateway_with_gaps(cache: Option<IndexCache>, gap_bytes_max: u64) -> (Bucket, Gateway) {
    let directory =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../thanos-core/testdata/block-1k-2h");
    let bucket = crate::directory::open(directory).unwrap();
    let options = GatewayOptions {
        index_cache: cache,
        gap_bytes_max,
        ..GatewayOptions::default()
    };
    let gateway = Gateway::new(bucket.clone(), options);
    gateway.sync().await.unwrap();
    (bucket, gateway)
}

fn in_memory() -> IndexCache {
    IndexCache::in_memory(InMemoryOptions::default()).unwrap()
}

async fn ask(gateway: &Gateway, name: &str, value: &str) -> Vec<SeriesEvent> {
    let request = SeriesRequest {
        matchers: vec![Matcher::new(MatchOp::Regex, name, value).unwrap()],
        ..SeriesRequest::default()
    };
    let series = gateway.series(request).await.unwrap();
    series.try_collect().await.unwrap()
}

fn text_of(events: &[SeriesEvent]) -> String {
    format!("{events:?}")
}

/// E-90, ST-24: requests and hits of the index cache, for each type of item, grow on the second query.
#[tokio::test]
async fn the_second_query_finds_what_the_first_one_read() {
    let cache = in_memory();
    let (bucket, gateway) = gateway_with(Some(cache.clone())).await;
    let counts = |item| cache.metrics().requests_and_hits(item, TENANT);

    let first = ask(&gateway, "__name__", "edge|other").await;
    assert_eq!(counts(ItemType::ExpandedPostings), (1, 0));
    let (series, hits) = counts(ItemType::Series);
    assert!(series > 0 && hits == 0, "{series} {hits}");
    let before = bucket.requests();

    let second = ask(&gateway, "__name__", "edge|other").await;
    assert_eq!(counts(ItemType::ExpandedPostings), (2, 1));
    assert_eq!(counts(ItemType::Series), (2 * series, series));
    assert_eq!(text_of(&first), text_of(&second));
    let chunk_reads = bucket.requests().gets - before.gets;
    assert_eq!(chunk_reads, 1, "only the chunks are read again");

    // Other matchers that need the same lists.
    let (requests, hits) = counts(ItemType::Postings);
    assert!(requests > 0 && hits == 0);
    ask(&gateway, "__name__", "edge").await;
    assert_eq!(counts(ItemType::Postings), (requests + 1, 1));
}

/// A cold cache costs no byte and no request.
#[tokio::test]
async fn a_cold_query_reads_the_same_with_a_cache_and_without() {
    let mut reads = Vec::new();
    for cache in [None, Some(in_memory())] {
        let (bucket, gateway) = gateway_with(cache).await;
        let before = bucket.requests();
        ask(&gateway, "__name__", ".+").await;
        let after = bucket.requests();
        reads.push((
            after.gets - before.gets,
            after.bytes_read - before.bytes_read,
        ));
    }
    assert_eq!(reads[0], reads[1]);
}

#[tokio::test]
async fn items_that_are_switched_off_are_not_kept() {
    let backend = InMemoryCache::new(InMemoryOptions::default(), InMemoryMetrics::index()).unwrap();
    let options = crate::cache::IndexCacheOptions {
        enabled_items: vec![ItemType::Series],
        ..Default::default()
    };
    let cache = IndexCache::new(Arc::new(backend), options, Default::default());
    let (_, gateway) = gateway_with(Some(cache.clone())).await;
    ask(&gateway, "__name__", "edge").await;
    ask(&gateway, "__name__", "edge").await;
    let counts = |item| cache.metrics().requests_and_hits(item, TENANT);
    assert_eq!(counts(ItemType::ExpandedPostings), (0, 0));
    assert_eq!(counts(ItemType::Postings), (0, 0));
    assert!(counts(ItemType::Series).1 > 0);
}

#[tokio::test(start_paused = true)]
async fn who_wants_the_same_bytes_waits_for_the_same_request() {
    // A fast one may have answered the first before the second asks.
    let (store, gateway) = slow_gateway().await;
    let loaded = gateway.loaded();
    let block = loaded.blocks.values().next().unwrap();
    let query = Arc::new(QueryContext::unlimited());
    let source = source(block, &query);
    let wanted = [100..200, 300..310];
    let other = [100..201, 300..311];
    let reads = futures::join!(
        read_ranges(source, &wanted),
        read_ranges(source, &wanted),
        read_ranges(source, &other),
    );
    assert_eq!(reads.0.unwrap().bytes, reads.1.unwrap().bytes);
    assert_eq!(reads.2.unwrap().bytes[0].len(), 101);
    assert_eq!(store.take_trace().requests.len(), 2);
    assert_eq!(query.budget.used_bytes(), 0);
    let flights = format!("{:?}", block.reads().flights);
    assert!(flights.contains("under_way: 0"), "{flights}");
}

/// Returns how many requests a read of `ranges` takes when nothing between them is read.
async fn requests_of(bucket: &Bucket, block: &GatewayBlock, ranges: &[Range<u64>]) -> u64 {
    let query = Arc::new(QueryContext::unlimited());
    let before = bucket.requests().gets;
    let read = read_ranges(source(block, &query), ranges).await.unwrap();
    assert!(
        ranges
            .iter()
            .zip(&read.bytes)
            .all(|(range, bytes)| range.end - range.start == bytes.len() as u64)
    );
    bucket.requests().gets - before
}

/// ST-24: what lies scattered in pages is all kept, whoever read it, and in whatever order.
#[tokio::test]
async fn scattered_ranges_are_there_again() {
    let (bucket, gateway) = gateway_with_gaps(Some(in_memory()), 0).await;
    let loaded = gateway.loaded();
    let block = loaded.blocks.values().next().unwrap();
    let scattered = |first: u64| -> Vec<Range<u64>> {
        (0..60)
            .map(|i| first + i * 1600..first + i * 1600 + 100)
            .collect()
    };
    let questions = [scattered(0), scattered(400), scattered(800)];
    for ranges in &questions {
        assert_eq!(requests_of(&bucket, block, ranges).await, 60);
    }
    for ranges in questions.iter().chain(questions.iter().rev()) {
        assert_eq!(requests_of(&bucket, block, ranges).await, 0);
    }
    let all: Vec<_> = questions.concat();
    let mut all: Vec<_> = all.into_iter().collect();
    all.sort_by_key(|range| range.start);
    assert_eq!(requests_of(&bucket, block, &all).await, 0);
}

/// Reads that run at the same time and end in one page do not overwrite each other's part.
#[tokio::test]
async fn reads_at_the_same_time_add_to_the_same_page() {
    let (bucket, gateway) = gateway_with_gaps(Some(in_memory()), 0).await;
    let loaded = gateway.loaded();
    let block = loaded.blocks.values().next().unwrap();
    let query = Arc::new(QueryContext::unlimited());
    let ranges: Vec<Range<u64>> = (0..20).map(|i| i * 500..i * 500 + 100).collect();
    let reads = ranges
        .iter()
        .map(|range| read_ranges(source(block, &query), std::slice::from_ref(range)));
    futures::future::try_join_all(reads).await.unwrap();
    assert_eq!(requests_of(&bucket, block, &ranges).await, 0);
}

/// What a cache got damaged, with a checksum that fits, is read again from the bucket, once, and replaced.
#[tokio::test]
async fn damage_in_the_cache_is_healed() {
    let (bucket, plain) = gateway_with(None).await;
    let wanted = text_of(&ask(&plain, "__name__", "edge|go_goroutines").await);
    for item in [ItemType::Postings, ItemType::Series] {
        let cache = in_memory();
        let (below, gateway) = gateway_with(Some(cache.clone())).await;
        let loaded = gateway.loaded();
        let block = loaded.blocks.values().next().unwrap();
        let index = bucket.read(block.index_object(), 1 << 30).await.unwrap();
        let damaged: Bytes = index.iter().map(|byte| byte ^ 0x10).collect();
        for number in pages_of(&(0..index.len() as u64)) {
            let page = Page::of(number, &[(0, damaged.clone())], true).unwrap();
            cache.replace_page(item, block.id(), &page, TENANT);
        }
        assert_eq!(
            text_of(&ask(&gateway, "__name__", "edge|go_goroutines").await),
            wanted
        );
        let healed = gateway_metrics(&gateway);
        let of_item = format!(
            "damaged_reads_total{{data_type=\"{}\",outcome=\"healed\"}} ",
            item.as_str().to_lowercase()
        );
        assert!(healed.contains(&of_item), "{of_item} is not in {healed}");
        // From here on the cache is right.
        let before = below.requests().gets;
        assert_eq!(
            text_of(&ask(&gateway, "__name__", "edge|go_goroutines").await),
            wanted
        );
        assert_eq!(gateway_metrics(&gateway), healed);
        assert_eq!(below.requests().gets - before, 1, "the chunks alone");
    }
}

/// Damage in the bucket is an error, after a second look.
#[tokio::test]
async fn damage_in_the_bucket_is_an_error() {
    let query = QueryContext::unlimited();
    let attempts = Mutex::new(Vec::new());
    let attempt = |trust| {
        attempts.lock().push(trust);
        std::future::ready(Err::<(), _>(Error::corrupt("damaged")))
    };
    let error = look_twice(&query, Item::Series, attempt).await.unwrap_err();
    assert_eq!(error.kind(), thanos_core::ErrorKind::Corrupt);
    assert_eq!(*attempts.lock(), [Trust::Caches, Trust::Bucket]);
    let attempt = |_| std::future::ready(Err::<(), _>(Error::unavailable("away")));
    let error = look_twice(&query, Item::Series, attempt).await.unwrap_err();
    assert_eq!(error.kind(), thanos_core::ErrorKind::Unavailable);
}

/// A damaged part of a chunk file in the caching bucket is read again, and replaced.
#[tokio::test]
async fn damage_in_the_caching_bucket_is_healed() {
    let (_, plain) = gateway_with(None).await;
    let wanted = text_of(&ask(&plain, "__name__", "edge").await);
    let backend = Arc::new(
        InMemoryCache::new(InMemoryOptions::default(), InMemoryMetrics::default()).unwrap(),
    );
    let directory =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../thanos-core/testdata/block-1k-2h");
    let below = crate::directory::open(directory).unwrap();
    let cached = below.clone().layered(|store| {
        let (options, metrics) = (
            CachingStoreOptions {
                short_reads: ShortReads::WholeParts,
                ..CachingStoreOptions::default()
            },
            CachingStoreMetrics::default(),
        );
        Arc::new(CachingStore::new(store, backend.clone(), options, metrics))
    });
    let gateway = Gateway::new(cached, GatewayOptions::default());
    gateway.sync().await.unwrap();
    assert_eq!(text_of(&ask(&gateway, "__name__", "edge").await), wanted);
    let id = gateway.loaded().blocks.values().next().unwrap().id();
    let keys: Vec<String> = (0..100)
        .map(|i| subrange(&format!("{id}/chunks/000001"), i * 16_000, (i + 1) * 16_000))
        .collect();
    let mut damaged = 0;
    for (key, value) in keys.iter().zip(backend.get_many(&keys).await) {
        if let Some(value) = value {
            damaged += 1;
            let value = value.iter().map(|byte| byte ^ 1).collect();
            backend.put(key.clone(), value, Duration::from_secs(60));
        }
    }
    assert!(damaged > 0);
    let reads = async || {
        let before = below.requests().gets;
        assert_eq!(text_of(&ask(&gateway, "__name__", "edge").await), wanted);
        below.requests().gets - before
    };
    let (healing, after) = (reads().await, reads().await);
    assert!(healing > after, "{healing} {after}");
    let metrics = gateway_metrics(&gateway);
    let healed = "damaged_reads_total{data_type=\"chunks\",outcome=\"healed\"} 1";
    assert!(metrics.contains(healed), "{metrics}");
}

/// A damaged `meta.json` in the caching bucket does not keep a block away.
#[tokio::test]
async fn a_damaged_meta_in_the_caching_bucket_is_healed() {
    let options = InMemoryOptions::default();
    let backend = Arc::new(InMemoryCache::new(options, InMemoryMetrics::default()).unwrap());
    let (below, plain) = gateway_with(None).await;
    let id = plain.loaded().blocks.values().next().unwrap().id();
    let key = content(&format!("{id}/meta.json"));
    for damaged in ["{", "{\"versiom\":1}"] {
        backend.put(key.clone(), damaged.into(), Duration::from_secs(60));
        let cached = below.clone().layered(|store| {
            let (options, metrics) = (CachingStoreOptions::default(), Default::default());
            Arc::new(CachingStore::new(store, backend.clone(), options, metrics))
        });
        let gateway = Gateway::new(cached, GatewayOptions::default());
        assert_eq!(gateway.sync().await.unwrap().loaded, 1, "{damaged}");
        let kept = backend.get_many(std::slice::from_ref(&key)).await;
        assert!(
            kept[0].as_ref().unwrap().len() > 100,
            "{damaged} is still there"
        );
    }
}

/// A gateway over a bucket of which each request takes ten seconds, in simulated time, once it is synced.
async fn slow_gateway() -> (Arc<LatencyStore>, Gateway) {
    let directory =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../thanos-core/testdata/block-1k-2h");
    let below = crate::directory::open(directory).unwrap();
    let mut store = None;
    let bucket = below.layered(|inner| {
        let slow = LatencyModel::of_requests(Duration::from_secs(10));
        store
            .insert(Arc::new(LatencyStore::new(inner, slow)))
            .clone()
    });
    let gateway = Gateway::new(bucket, GatewayOptions::default());
    gateway.sync().await.unwrap();
    let store = store.unwrap();
    store.take_trace();
    (store, gateway)
}

/// A call that is given up stops its fetches at once, whatever it was waiting for.
#[tokio::test(start_paused = true)]
async fn a_cancelled_call_stops_its_fetches() {
    let (store, gateway) = slow_gateway().await;
    // Postings, entries, chunks.
    for after_secs in [5, 15, 25] {
        let call = ask(&gateway, "__name__", "edge|go_goroutines");
        let given_up = tokio::time::timeout(Duration::from_secs(after_secs), call).await;
        assert!(given_up.is_err(), "{after_secs}");
        let stopping = tokio::time::Instant::now();
        while store.in_flight() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(
            stopping.elapsed() < Duration::from_millis(200),
            "{after_secs}"
        );
        let begun = store.take_trace().requests.len();
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(
            store.take_trace().requests.len(),
            0,
            "after {begun} none begins"
        );
    }
    let flights = format!(
        "{:?}",
        gateway
            .loaded()
            .blocks
            .values()
            .next()
            .unwrap()
            .reads()
            .flights
    );
    assert!(flights.contains("under_way: 0"), "{flights}");
}

/// Who waits for the fetch of another call gets it, although that call is given up.
#[tokio::test(start_paused = true)]
async fn a_cancelled_call_takes_nothing_from_those_that_wait_for_its_fetches() {
    let (store, gateway) = slow_gateway().await;
    let wanted = text_of(&ask(&gateway, "__name__", "edge").await);
    let alone = store.take_trace().requests.len();
    for after_secs in [5, 15, 25] {
        let first = tokio::time::timeout(
            Duration::from_secs(after_secs),
            ask(&gateway, "__name__", "edge"),
        );
        let others = async {
            // It does not lead: the other call has begun.
            tokio::time::sleep(Duration::from_secs(1)).await;
            let started = tokio::time::Instant::now();
            let others = futures::join!(
                ask(&gateway, "__name__", "edge"),
                ask(&gateway, "__name__", "edge"),
            );
            (others, started.elapsed())
        };
        let (first, ((second, third), took)) = futures::join!(first, others);
        assert!(first.is_err());
        assert_eq!(
            (text_of(&second), text_of(&third)),
            (wanted.clone(), wanted.clone())
        );
        let requests = store.take_trace().requests.len();
        assert_eq!(requests, alone, "given up after {after_secs} s");
        assert!(
            took < Duration::from_secs(30),
            "no fetch began anew: {took:?}"
        );
    }
    assert_eq!(store.in_flight(), 0);
}

fn gateway_metrics(gateway: &Gateway) -> String {
    let mut registry = prometheus_client::registry::Registry::default();
    gateway.options.metrics.register(&mut registry);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    let damaged: Vec<_> = text
        .lines()
        .filter(|line| line.contains("damaged_reads"))
        .collect();
    damaged.join("\n")
}

/// A backend that returns some values with one bit flipped, and keeps nothing of others.
#[derive(Debug)]
struct Damaging {
    inner: InMemoryCache,
    turn: Mutex<usize>,
}

#[async_trait]
impl Backend for Damaging {
    async fn get_many(&self, keys: &[String]) -> Vec<Option<Bytes>> {
        let values = self.inner.get_many(keys).await;
        let mut turn = self.turn.lock();
        let damaged = values.into_iter().map(|value| {
            *turn += 1;
            let mut bytes = value?.to_vec();
            if turn.is_multiple_of(3) {
                let at = *turn * 31 % bytes.len();
                bytes[at] ^= 1 << (*turn % 8);
            }
            Some(Bytes::from(bytes))
        });
        damaged.collect()
    }

    fn put(&self, key: String, value: Bytes, ttl: Duration) {
        let mut turn = self.turn.lock();
        *turn += 1;
        if !turn.is_multiple_of(5) {
            self.inner.put(key, value, ttl);
        }
    }
}

fn source<'a>(block: &'a GatewayBlock, query: &'a Arc<QueryContext>) -> RangeSource<'a> {
    RangeSource {
        block,
        object: block.index_object(),
        item: Item::Series,
        part_bytes_max: 1 << 20,
        query,
        items: &[],
        trust: Trust::Caches,
    }
}

/// Returns how many bytes of an object of `len` bytes lie in any of `ranges`, which are sorted by start: bytes that lie
/// in several are held, and leased, once.
fn bytes_covered(ranges: &[Range<u64>], len: u64) -> u64 {
    let mut end = 0;
    let covered = ranges.iter().map(|range| {
        let new = range.start.max(end)..range.end.min(len);
        end = end.max(new.end);
        new.end.saturating_sub(new.start)
    });
    covered.sum()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn reads_through_any_cache_are_reads_of_the_object(
        reads in proptest::collection::vec(
            proptest::collection::vec((0_u64..130_000, 1_u64..40_000), 1..6), 1..12
        ),
        bytes_max in 20_000_u64..300_000,
        damage: bool,
    ) {
        let limits = InMemoryOptions { bytes_max, item_bytes_max: 20_000 };
        let inner = InMemoryCache::new(limits, InMemoryMetrics::index()).unwrap();
        let backend: Arc<dyn Backend> = if damage {
            Arc::new(Damaging { inner, turn: Mutex::new(0) })
        } else {
            Arc::new(inner)
        };
        let cache = IndexCache::new(backend, Default::default(), Default::default());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (bucket, gateway) = gateway_with(Some(cache)).await;
            let loaded = gateway.loaded();
            let block = loaded.blocks.values().next().unwrap();
            let index = bucket.read(block.index_object(), 1 << 30).await.unwrap();
            let len = index.len() as u64;
            let query = Arc::new(QueryContext::unlimited());
            for read in reads {
                let mut ranges: Vec<Range<u64>> = read
                    .into_iter()
                    .map(|(start, len_wanted)| start % len..start % len + len_wanted)
                    .collect();
                ranges.sort_by_key(|range| range.start);
                let fetched = read_ranges(source(block, &query), &ranges).await.unwrap();
                for (range, bytes) in ranges.iter().zip(&fetched.bytes) {
                    assert_eq!(bytes, &cut(&index, 0, range), "{range:?}");
                }
                let held = bytes_covered(&ranges, len);
                assert!(fetched.lease.bytes() >= held, "{} < {held}", fetched.lease.bytes());
            }
            assert_eq!(query.budget.used_bytes(), 0);
        });
    }
}
