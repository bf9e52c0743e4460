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
use crate::cache::{Backend, InMemoryCache, InMemoryMetrics, InMemoryOptions};
use crate::gateway::{Gateway, GatewayOptions};

const TENANT: &str = "default-tenant";

async fn gateway_with(cache: Option<IndexCache>) -> (Bucket, Gateway) {
    let directory =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../thanos-core/testdata/block-1k-2h");
    let bucket = crate::directory::open(directory).unwrap();
    let options = GatewayOptions {
        index_cache: cache,
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

#[tokio::test]
async fn who_wants_the_same_bytes_waits_for_the_same_request() {
    let (bucket, gateway) = gateway_with(None).await;
    let loaded = gateway.loaded();
    let block = loaded.blocks.values().next().unwrap();
    let query = Arc::new(QueryContext::unlimited());
    let source = source(block, &query);
    let before = bucket.requests().gets;
    let wanted = [100..200, 300..310];
    let other = [100..201, 300..311];
    let reads = futures::join!(
        read_ranges(source, &wanted),
        read_ranges(source, &wanted),
        read_ranges(source, &other),
    );
    assert_eq!(reads.0.unwrap().bytes, reads.1.unwrap().bytes);
    assert_eq!(reads.2.unwrap().bytes[0].len(), 101);
    assert_eq!(bucket.requests().gets - before, 2);
    assert_eq!(query.budget.used_bytes(), 0);
    let flights = format!("{:?}", block.reads().flights);
    assert!(flights.contains("under_way: 0"), "{flights}");
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
