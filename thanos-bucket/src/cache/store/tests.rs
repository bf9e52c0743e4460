use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use parking_lot::Mutex;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use proptest::prelude::*;
use thanos_core::ErrorKind;
use thanos_core::time::{Clock, Timestamp};

use super::*;
use crate::Bucket;
use crate::cache::memory::{InMemoryCache, InMemoryMetrics, InMemoryOptions};
use crate::testkit::{LatencyModel, LatencyStore, RequestKind, Trace};

const BLOCK: &str = "01M81JDC7R8JKP7SEW1VN2HAQ9";

#[derive(Debug, Default)]
struct MovedClock(Mutex<i64>);

impl Clock for MovedClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(*self.0.lock())
    }
}

/// A bucket with a cache, what reached the store below, and what moves the time.
struct Rig {
    below: Arc<LatencyStore>,
    plain: Bucket,
    cached: Bucket,
    metrics: CachingStoreMetrics,
    backend: Arc<InMemoryCache>,
    clock: Arc<MovedClock>,
}

impl Rig {
    fn new(options: CachingStoreOptions) -> Self {
        let model = LatencyModel {
            request: Duration::ZERO,
            ..LatencyModel::default()
        };
        let memory = Arc::new(object_store::memory::InMemory::new());
        let below = Arc::new(LatencyStore::new(memory, model));
        let clock = Arc::new(MovedClock::default());
        let backend = InMemoryCache::with_clock(
            InMemoryOptions::default(),
            InMemoryMetrics::named("test"),
            Arc::clone(&clock) as _,
        );
        let backend = Arc::new(backend.unwrap());
        let metrics = CachingStoreMetrics::default();
        let prefix = options.prefix.to_string();
        let plain = Bucket::new(Arc::clone(&below) as _)
            .with_prefix(&prefix)
            .unwrap();
        let cached = plain.clone().layered(|store| {
            let backend = Arc::clone(&backend) as _;
            Arc::new(CachingStore::new(store, backend, options, metrics.clone()))
        });
        Self {
            below,
            plain,
            cached,
            metrics,
            backend,
            clock,
        }
    }

    fn trace(&self) -> Trace {
        self.below.take_trace()
    }

    async fn has(&self, key: &str) -> Option<Bytes> {
        self.backend
            .get_many(&[key.to_owned()])
            .await
            .pop()
            .unwrap()
    }

    fn counts(&self, wanted: &[&str]) {
        let mut registry = Registry::default();
        self.metrics.register(&mut registry);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for line in wanted {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}

fn chunks(len: usize) -> Bytes {
    (0..len).map(|i| u8::try_from(i % 251).unwrap()).collect()
}

/// ST-25: the second read of chunks is answered by the cache, under the keys of Thanos.
#[tokio::test]
async fn chunks_are_kept_in_aligned_parts() {
    let rig = Rig::new(CachingStoreOptions {
        prefix: Path::from("tenant/a"),
        short_reads: ShortReads::WholeParts,
        ..CachingStoreOptions::default()
    });
    let (name, content) = (format!("{BLOCK}/chunks/000001"), chunks(50_000));
    rig.plain.put(&name, content.clone()).await.unwrap();
    rig.trace();

    let read = rig.cached.read_range(&name, 15_999..32_001).await.unwrap();
    assert_eq!(read, content.slice(15_999..32_001));
    let trace = rig.trace();
    assert_eq!(trace.requests.len(), 1, "{trace:?}");
    assert_eq!(trace.requests[0].range, Some(0..48_000));
    let first = rig.has(&format!("subrange:{name}:0:16000")).await;
    assert_eq!(first, Some(content.slice(..16_000)));
    let attributes = rig.has(&format!("attrs:{name}")).await.unwrap();
    assert!(attributes.starts_with(b"{\"size\":50000,\"last_modified\":\""));

    let read = rig.cached.read_range(&name, 100..40_000).await.unwrap();
    assert_eq!(read, content.slice(100..40_000));
    assert_eq!(rig.trace().requests.len(), 0);

    // The last part is shorter, and what is asked for ends after the object.
    let read = rig
        .cached
        .read_range_up_to(&name, 47_000..90_000)
        .await
        .unwrap();
    assert_eq!(read, content.slice(47_000..));
    assert_eq!(rig.trace().requests[0].range, Some(48_000..50_000));
    assert!(
        rig.has(&format!("subrange:{name}:48000:50000"))
            .await
            .is_some()
    );
    rig.cached
        .read_range_up_to(&name, 47_000..90_000)
        .await
        .unwrap();
    assert_eq!(rig.cached.size(&name).await.unwrap(), 50_000);
    assert_eq!(rig.trace().requests.len(), 0);
    rig.counts(&[
        "thanos_store_bucket_cache_operation_requests_total{operation=\"get_range\",config=\"chunks\"} 4",
        "thanos_store_bucket_cache_operation_hits_total{operation=\"get_range\",config=\"chunks\"} 2.5",
        "thanos_store_bucket_cache_operation_hits_total{operation=\"attributes\",config=\"chunks\"} 4",
        "thanos_store_bucket_cache_getrange_fetched_bytes_total{origin=\"bucket\",config=\"chunks\"} 50000",
        "thanos_store_bucket_cache_getrange_requested_bytes_total{config=\"chunks\"} 141902",
    ]);
}

/// ST-25, ST-19: a short read of chunks fetches what it wants, is known when it comes again, and becomes whole parts when
/// most of them is wanted. Each read fetched whole parts before: six times the bytes of scattered series.
#[tokio::test]
async fn short_reads_fetch_what_they_want() {
    let rig = Rig::new(CachingStoreOptions::default());
    let (name, content) = (format!("{BLOCK}/chunks/000001"), chunks(50_000));
    rig.plain.put(&name, content.clone()).await.unwrap();
    for (range, requested) in [
        (1000..3000, Some(1000..3000)),
        (1000..3000, None),
        // Over the border of two parts.
        (15_000..17_000, Some(15_000..17_000)),
        (1500..2500, Some(1500..2500)),
        // Now three quarters of the first part were wanted.
        (4000..12_500, Some(0..16_000)),
        (5000..6000, None),
        (15_000..17_000, None),
        // The last part, of which nobody knows better.
        (48_000..50_000, Some(48_000..50_000)),
    ] {
        rig.trace();
        let read = rig.cached.read_range(&name, range.clone()).await.unwrap();
        let at = |at: u64| usize::try_from(at).unwrap();
        assert_eq!(read, content.slice(at(range.start)..at(range.end)));
        let requests = rig.trace().requests;
        let ranges: Vec<_> = requests
            .iter()
            .map(|request| request.range.clone())
            .collect();
        let expected: Vec<_> = requested.into_iter().map(Some).collect();
        assert_eq!(ranges, expected, "{range:?}");
    }
    let whole = Rig::new(CachingStoreOptions {
        short_reads: ShortReads::WholeParts,
        ..CachingStoreOptions::default()
    });
    whole.plain.put(&name, content).await.unwrap();
    whole.trace();
    whole.cached.read_range(&name, 1000..3000).await.unwrap();
    assert_eq!(whole.trace().requests[0].range, Some(0..16_000));
}

/// Whoever finds a short read damaged reads past the cache, and later reads have what came of that.
#[tokio::test]
async fn a_damaged_short_read_is_replaced() {
    let rig = Rig::new(CachingStoreOptions::default());
    let (name, content) = (format!("{BLOCK}/chunks/000001"), chunks(50_000));
    rig.plain.put(&name, content.clone()).await.unwrap();
    rig.cached.read_range(&name, 100..200).await.unwrap();
    let key = format!("subrange:{name}:100:200");
    assert_eq!(rig.has(&key).await, Some(content.slice(100..200)));
    let damaged = Bytes::from_static(&[7; 100]);
    rig.backend
        .put(key.clone(), damaged.clone(), Duration::from_secs(60));
    let read = rig.cached.read_range(&name, 100..200).await.unwrap();
    assert_eq!(read, damaged, "who reads it finds out, not the cache");
    let past = rig.cached.clone().past_caches();
    for bucket in [&past, &rig.cached] {
        let read = bucket.read_range(&name, 100..200).await.unwrap();
        assert_eq!(read, content.slice(100..200));
    }
    // A value of another length is not what its key says.
    let other = format!("{BLOCK}/chunks/000002");
    rig.plain.put(&other, content.clone()).await.unwrap();
    let short = format!("subrange:{other}:100:200");
    rig.backend
        .put(short, damaged.slice(1..), Duration::from_secs(60));
    let read = rig.cached.read_range(&other, 100..200).await.unwrap();
    assert_eq!(read, content.slice(100..200));
}

/// An object may end where a part does: what lies behind it cannot be read, and its attributes may be gone from the cache.
#[tokio::test]
async fn a_read_over_the_end_needs_no_attributes() {
    let rig = Rig::new(CachingStoreOptions {
        short_reads: ShortReads::WholeParts,
        ..CachingStoreOptions::default()
    });
    let (name, content) = (format!("{BLOCK}/chunks/000001"), chunks(16_000));
    rig.plain.put(&name, content.clone()).await.unwrap();
    let key = format!("subrange:{name}:0:16000");
    let day = Duration::from_secs(24 * 3600);
    rig.backend.put(key, content.clone(), day);
    let read = rig.cached.read_range_up_to(&name, 100..20_000).await;
    assert_eq!(read.unwrap(), content.slice(100..));
    let read = rig.cached.read_range_up_to(&name, 15_000..50_000).await;
    assert_eq!(read.unwrap(), content.slice(15_000..));
}

#[tokio::test]
async fn a_read_is_at_most_as_many_requests_as_allowed() {
    let rig = Rig::new(CachingStoreOptions {
        subrange_bytes: 100,
        range_requests_max: 2,
        ..CachingStoreOptions::default()
    });
    let (name, content) = (format!("{BLOCK}/chunks/000001"), chunks(2_000));
    rig.plain.put(&name, content.clone()).await.unwrap();
    for start in [100, 300, 900] {
        rig.cached
            .read_range(&name, start..start + 100)
            .await
            .unwrap();
    }
    rig.trace();
    assert_eq!(
        rig.cached.read_range(&name, 0..1_100).await.unwrap(),
        content.slice(..1_100)
    );
    let trace = rig.trace();
    assert_eq!(trace.requests.len(), 1);
    assert_eq!(trace.requests[0].range, Some(0..1_100));
    rig.counts(&["thanos_store_bucket_cache_getrange_refetched_bytes_total{origin=\"cache\",config=\"chunks\"} 300"]);
}

/// ST-25: whether `meta.json` and `deletion-mark.json` exist, and what is in them.
#[tokio::test]
async fn metadata_is_kept_and_so_is_that_there_is_none() {
    let rig = Rig::new(CachingStoreOptions::default());
    let (meta, mark) = (
        format!("{BLOCK}/meta.json"),
        format!("{BLOCK}/deletion-mark.json"),
    );
    rig.plain.put(&meta, "{}".into()).await.unwrap();
    rig.trace();
    for _ in 0..2 {
        assert_eq!(rig.cached.read(&meta, 100).await.unwrap(), "{}");
        let error = rig.cached.read(&mark, 100).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert_eq!(rig.cached.size(&meta).await.unwrap(), 2);
    }
    assert_eq!(rig.trace().requests.len(), 2);
    assert_eq!(rig.has(&format!("content:{meta}")).await, Some("{}".into()));
    assert_eq!(
        rig.has(&format!("exists:{meta}")).await,
        Some("true".into())
    );
    assert_eq!(
        rig.has(&format!("exists:{mark}")).await,
        Some("false".into())
    );
    rig.counts(&[
        "thanos_store_bucket_cache_operation_requests_total{operation=\"get\",config=\"meta.jsons\"} 4",
        "thanos_store_bucket_cache_operation_hits_total{operation=\"get\",config=\"meta.jsons\"} 2.0",
    ]);

    // A mark that is written is seen a quarter of an hour later at the latest.
    rig.plain
        .put(&mark, "{\"version\":1}".into())
        .await
        .unwrap();
    assert!(rig.cached.read(&mark, 100).await.is_err());
    *rig.clock.0.lock() = 15 * 60 * 1000 + 1;
    assert!(rig.cached.read(&mark, 100).await.is_ok());
}

#[tokio::test]
async fn listings_of_the_root_are_kept_for_minutes() {
    let rig = Rig::new(CachingStoreOptions {
        prefix: Path::from("t"),
        listing_hash: "42".to_owned(),
        ..CachingStoreOptions::default()
    });
    let put = |name: String| {
        let plain = rig.plain.clone();
        async move { plain.put(&name, "x".into()).await.unwrap() }
    };
    put(format!("{BLOCK}/meta.json")).await;
    rig.trace();
    let names = || async { rig.cached.top_directories().await.unwrap() };
    let objects = || async {
        let listing = rig.cached.objects_after("");
        listing.try_collect::<Vec<_>>().await.unwrap()
    };
    let listed = objects().await;
    assert_eq!((names().await, listed.len()), (vec![BLOCK.to_owned()], 1));
    put("01M81JDC7R8JKP7SEW1VN2HAQA/index".to_owned()).await;
    assert_eq!((names().await.len(), objects().await), (1, listed));
    let trace = rig.trace();
    assert_eq!(
        trace.requests.len() - trace.count(RequestKind::Put),
        2,
        "{trace:?}"
    );
    let value = rig.has("iter::42").await.unwrap();
    assert_eq!(value, format!("[\"{BLOCK}/\"]"));

    *rig.clock.0.lock() = 5 * 60 * 1000 + 1;
    assert_eq!((names().await.len(), objects().await.len()), (2, 2));
}

#[tokio::test]
async fn reads_with_conditions_and_of_other_objects_go_through() {
    let rig = Rig::new(CachingStoreOptions::default());
    let (meta, index) = (format!("{BLOCK}/meta.json"), format!("{BLOCK}/index"));
    rig.plain.put(&meta, "{}".into()).await.unwrap();
    rig.plain.put(&index, chunks(100)).await.unwrap();
    rig.trace();
    for _ in 0..2 {
        rig.cached.read_range(&index, 0..10).await.unwrap();
        rig.cached.objects_under(BLOCK).await.unwrap();
    }
    assert_eq!(rig.trace().requests.len(), 4);
}

#[tokio::test]
async fn values_that_are_not_what_their_key_says_are_read_again() {
    let rig = Rig::new(CachingStoreOptions::default());
    let (name, content) = (format!("{BLOCK}/chunks/000001"), chunks(20_000));
    rig.plain.put(&name, content.clone()).await.unwrap();
    let hour = Duration::from_secs(3600);
    for (key, value) in [
        (format!("subrange:{name}:0:16000"), chunks(15_999)),
        (format!("subrange:{name}:16000:20000"), chunks(1)),
        (format!("attrs:{name}"), "{".into()),
        ("iter::".to_owned(), "[\"a\", 1]".into()),
        ("iter-recursive-attrs::".to_owned(), "[{}]".into()),
    ] {
        rig.backend.put(key, value, hour);
    }
    assert_eq!(
        rig.cached.read_range(&name, 0..20_000).await.unwrap(),
        content
    );
    assert_eq!(rig.cached.top_directories().await.unwrap(), [BLOCK]);
    // An object that is longer than the cache believes is read as far as the bucket has it.
    rig.backend.put(
        format!("attrs:{name}"),
        r#"{"size":10,"last_modified":"2024-05-01T10:00:00Z"}"#.into(),
        hour,
    );
    assert_eq!(
        rig.cached.read_range(&name, 10..20).await.unwrap(),
        content.slice(10..20)
    );
}

#[tokio::test]
async fn what_is_not_there_is_the_same_error_with_a_cache() {
    let rig = Rig::new(CachingStoreOptions::default());
    let name = format!("{BLOCK}/chunks/000001");
    let error = rig.cached.read_range(&name, 0..10).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    rig.plain.put(&name, chunks(100)).await.unwrap();
    for _ in 0..2 {
        let error = rig
            .cached
            .read_range_up_to(&name, 100..110)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn cached_reads_are_reads_of_the_object(
        len in 1_usize..3_000, part in 1_u64..400, requests_max in 0_usize..4,
        reads in proptest::collection::vec((0_u64..3_000, 1_u64..2_000), 1..20),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let rig = Rig::new(CachingStoreOptions {
                subrange_bytes: part,
                range_requests_max: requests_max,
                ..CachingStoreOptions::default()
            });
            let (name, content) = (format!("{BLOCK}/chunks/000001"), chunks(len));
            rig.plain.put(&name, content).await.unwrap();
            for (start, wanted) in reads {
                let range = start % len as u64..start % len as u64 + wanted;
                let plain = rig.plain.read_range_up_to(&name, range.clone()).await.unwrap();
                rig.trace();
                let cached = rig.cached.read_range_up_to(&name, range).await.unwrap();
                assert_eq!(plain, cached);
                let requests = rig.trace().requests.len();
                assert!(requests_max == 0 || requests <= requests_max.max(1), "{requests}");
            }
        });
    }
}
