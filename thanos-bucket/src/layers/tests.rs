use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    Attribute, CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt as _, PutMultipartOptions, PutOptions, PutPayload, PutResult,
    RenameOptions, Result,
};
use thanos_core::time::{FixedClock, Timestamp};

use super::*;
use crate::Bucket;

/// A store in memory whose reads take as long as a test says.
#[derive(Debug)]
struct Slow {
    inner: InMemory,
    reads: AtomicUsize,
    /// The delay of the read with this number.
    delay: fn(usize) -> Duration,
    running: Arc<AtomicUsize>,
}

impl Slow {
    fn new(delay: fn(usize) -> Duration) -> Arc<Self> {
        Arc::new(Self {
            inner: InMemory::new(),
            reads: AtomicUsize::new(0),
            delay,
            running: Arc::default(),
        })
    }
}

struct Running(Arc<AtomicUsize>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl fmt::Display for Slow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Slow")
    }
}

#[async_trait]
impl ObjectStore for Slow {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        self.inner.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let number = self.reads.fetch_add(1, Ordering::SeqCst);
        self.running.fetch_add(1, Ordering::SeqCst);
        let _running = Running(Arc::clone(&self.running));
        tokio::time::sleep((self.delay)(number)).await;
        self.inner.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.inner.get_ranges(location, ranges).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.inner.rename_opts(from, to, options).await
    }
}

const HEDGED: HedgingOptions = HedgingOptions {
    enabled: true,
    up_to: 3,
    quantile: 0.9,
};

/// After so many reads it is known what late means.
const LEARNED: usize = 20;

async fn hedged_after_learning(store: &Arc<Slow>, options: HedgingOptions) -> Hedged {
    let hedged = Hedged::new(Arc::clone(store) as Arc<dyn ObjectStore>, options);
    hedged.put(&Path::from("x"), "data".into()).await.unwrap();
    for _ in 0..LEARNED {
        hedged.get(&Path::from("x")).await.unwrap();
    }
    assert_eq!(store.reads.load(Ordering::SeqCst), LEARNED);
    hedged
}

/// ST-27, X-35: a slow store sees duplicate requests, and the first answer is taken.
#[tokio::test(start_paused = true)]
async fn a_late_answer_is_asked_for_again() {
    let store = Slow::new(|number| match number {
        LEARNED => Duration::from_secs(60),
        _ => Duration::from_millis(10),
    });
    let hedged = hedged_after_learning(&store, HEDGED).await;
    let started = tokio::time::Instant::now();
    let answer = hedged.get(&Path::from("x")).await.unwrap();
    assert_eq!(answer.bytes().await.unwrap(), "data");
    assert_eq!(started.elapsed().as_millis(), 20);
    assert_eq!(store.reads.load(Ordering::SeqCst), LEARNED + 2);
    // The late request has been given up.
    assert_eq!(store.running.load(Ordering::SeqCst), 0);
}

/// ST-27, X-35: `up_to` bounds the requests for one answer.
#[tokio::test(start_paused = true)]
async fn no_more_requests_are_made_than_allowed() {
    for up_to in [1, 2, 3] {
        let store = Slow::new(|number| match number < LEARNED {
            true => Duration::from_millis(10),
            false => Duration::from_secs(60),
        });
        let options = HedgingOptions { up_to, ..HEDGED };
        let hedged = hedged_after_learning(&store, options).await;
        hedged.get(&Path::from("x")).await.unwrap();
        assert_eq!(store.reads.load(Ordering::SeqCst), LEARNED + up_to);
    }
}

#[tokio::test(start_paused = true)]
async fn a_missing_object_is_not_asked_for_again() {
    let store = Slow::new(|_| Duration::from_millis(10));
    let hedged = hedged_after_learning(&store, HEDGED).await;
    let error = hedged.get(&Path::from("y")).await.unwrap_err();
    assert!(matches!(error, object_store::Error::NotFound { .. }));
    assert_eq!(store.reads.load(Ordering::SeqCst), LEARNED + 1);
}

/// Dropping a read gives up all requests that run for it.
#[tokio::test(start_paused = true)]
async fn a_dropped_read_stops_its_requests() {
    let store = Slow::new(|number| match number < LEARNED {
        true => Duration::from_millis(10),
        false => Duration::from_secs(60),
    });
    let hedged = hedged_after_learning(&store, HEDGED).await;
    let path = Path::from("x");
    let read = tokio::time::timeout(Duration::from_secs(1), hedged.get(&path));
    assert!(read.await.is_err());
    assert_eq!(store.reads.load(Ordering::SeqCst), LEARNED + 3);
    assert_eq!(store.running.load(Ordering::SeqCst), 0);
}

/// Returns the value of the series, or `None` when it is not there.
fn value(registry: &prometheus_client::registry::Registry, series: &str) -> Option<String> {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry).unwrap();
    let line = text.lines().find(|line| line.starts_with(series));
    line.map(|line| line[series.len()..].trim().to_owned())
}

/// names, labels and meaning of the metrics are Thanos' own.
#[tokio::test]
async fn operations_are_counted_as_thanos_does() {
    let metrics = BucketMetrics::with_clock(Arc::new(FixedClock(Timestamp::from_millis(1_500))));
    let mut registry = prometheus_client::registry::Registry::default();
    metrics.register(&mut registry);
    let bucket = Bucket::with_metrics(Arc::new(InMemory::new()), metrics, "blocks");
    let labels = |operation: &str| format!("{{bucket=\"blocks\",operation=\"{operation}\"}}");
    let count = |metric: &str, operation: &str| {
        let name = format!(
            "thanos_objstore_bucket_operation{metric}{}",
            labels(operation)
        );
        value(&registry, &name)
    };
    for operation in [
        "iter",
        "get",
        "get_range",
        "exists",
        "upload",
        "delete",
        "attributes",
    ] {
        assert_eq!(
            count("s_total", operation).as_deref(),
            Some("0"),
            "{operation}"
        );
        assert_eq!(count("_failures_total", operation).as_deref(), Some("0"));
        let has_bytes = ["get", "get_range", "upload"].contains(&operation);
        assert_eq!(
            count("_fetched_bytes_total", operation).is_some(),
            has_bytes
        );
    }

    bucket
        .put("x", Bytes::from_static(b"0123456789"))
        .await
        .unwrap();
    bucket.read("x", 100).await.unwrap();
    bucket.read_range("x", 2..5).await.unwrap();
    bucket.size("x").await.unwrap();
    assert!(!bucket.exists("y").await.unwrap());
    assert!(bucket.read("y", 10).await.is_err());
    assert!(
        bucket
            .clone()
            .expecting_missing()
            .read("y", 10)
            .await
            .is_err()
    );
    bucket.objects_under("").await.unwrap();
    bucket.delete("x").await.unwrap();

    let expected = [
        ("iter", "1", "0"),
        ("get", "3", "1"),
        ("get_range", "1", "0"),
        ("exists", "1", "0"),
        ("upload", "1", "0"),
        ("delete", "1", "0"),
        ("attributes", "1", "0"),
    ];
    for (operation, operations, failures) in expected {
        assert_eq!(
            count("s_total", operation).as_deref(),
            Some(operations),
            "{operation}"
        );
        assert_eq!(
            count("_failures_total", operation).as_deref(),
            Some(failures),
            "{operation}"
        );
    }
    assert_eq!(count("_fetched_bytes_total", "get").as_deref(), Some("10"));
    assert_eq!(
        count("_fetched_bytes_total", "get_range").as_deref(),
        Some("3")
    );
    assert_eq!(
        count("_transferred_bytes_sum", "upload").as_deref(),
        Some("10.0")
    );
    assert_eq!(
        count("_duration_seconds_count", "get").as_deref(),
        Some("1")
    );
    let name = "thanos_objstore_bucket_last_successful_upload_time{bucket=\"blocks\"}";
    assert_eq!(value(&registry, name).as_deref(), Some("1.5"));
}

/// what a layer above answers is no request.
#[tokio::test]
async fn layers_above_are_not_counted() {
    let bucket = Bucket::new(Arc::new(InMemory::new()));
    let elsewhere = InMemory::new();
    elsewhere
        .put(&Path::from("x"), "cached".into())
        .await
        .unwrap();
    let cached = bucket.layered(|_| Arc::new(elsewhere));
    assert_eq!(cached.read("x", 100).await.unwrap(), "cached");
    assert_eq!(cached.requests(), RequestCounts::default());
}

/// A read that is given up is no failure, and its bytes are counted as far as they came.
#[tokio::test]
async fn a_read_that_is_given_up_is_no_failure() {
    let store = Slow::new(|_| Duration::from_secs(60));
    let metrics = BucketMetrics::default();
    let mut registry = prometheus_client::registry::Registry::default();
    metrics.register(&mut registry);
    let bucket = Bucket::with_metrics(store, metrics, "b");
    let read = tokio::time::timeout(Duration::from_millis(5), bucket.read("x", 10));
    assert!(read.await.is_err());
    let series = "{bucket=\"b\",operation=\"get\"}";
    let failures = format!("thanos_objstore_bucket_operation_failures_total{series}");
    assert_eq!(value(&registry, &failures).as_deref(), Some("0"));
    assert_eq!(bucket.requests().gets, 1);
}

/// `part_size` splits what is larger, and nothing else.
#[tokio::test]
async fn only_large_objects_without_condition_are_split() {
    let metrics = BucketMetrics::default();
    let counted = Arc::new(Instrumented::new(Arc::new(InMemory::new()), &metrics, ""));
    let uploads = Uploads::new(Arc::clone(&counted) as Arc<dyn ObjectStore>, 4);
    let path = Path::from("x");
    let puts = |counted: &Instrumented| counted.requests().puts;
    uploads.put(&path, "1234".into()).await.unwrap();
    assert_eq!(puts(&counted), 1);
    uploads.put(&path, "123456789".into()).await.unwrap();
    // A start, three parts, an end.
    assert_eq!(puts(&counted), 1 + 5);
    let data = uploads.get(&path).await.unwrap().bytes().await.unwrap();
    assert_eq!(data, "123456789");
    let absent = PutOptions::from(object_store::PutMode::Create);
    let other = Path::from("y");
    uploads
        .put_opts(&other, "123456789".into(), absent)
        .await
        .unwrap();
    assert_eq!(puts(&counted), 1 + 5 + 1);
}

/// `put_user_metadata`, one name of which is the storage class.
#[tokio::test]
async fn written_objects_carry_the_metadata() {
    let metadata = BTreeMap::from([
        ("team".to_owned(), "a".to_owned()),
        ("X-Amz-Storage-Class".to_owned(), "STANDARD_IA".to_owned()),
    ]);
    let store = PutAttributes::new(Arc::new(InMemory::new()), &metadata);
    let path = Path::from("x");
    store.put(&path, "data".into()).await.unwrap();
    let attributes = store.get(&path).await.unwrap().attributes;
    let get = |attribute: Attribute| attributes.get(&attribute).map(|value| value.to_string());
    assert_eq!(
        get(Attribute::Metadata("team".into())).as_deref(),
        Some("a")
    );
    assert_eq!(get(Attribute::StorageClass).as_deref(), Some("STANDARD_IA"));
}

/// Embedders can put a bound on concurrent requests under a bucket.
#[tokio::test(start_paused = true)]
async fn a_limit_bounds_concurrent_requests() {
    let store = Slow::new(|_| Duration::from_secs(1));
    store.inner.put(&Path::from("x"), "x".into()).await.unwrap();
    let bucket = Bucket::new(Arc::new(LimitStore::new(Arc::clone(&store), 2)));
    let started = tokio::time::Instant::now();
    let reads = (0..6).map(|_| bucket.read("x", 10));
    let answers: Vec<_> = futures::stream::iter(reads)
        .buffer_unordered(6)
        .collect()
        .await;
    assert!(answers.iter().all(thanos_core::Result::is_ok));
    assert_eq!(started.elapsed().as_secs(), 3);
}
