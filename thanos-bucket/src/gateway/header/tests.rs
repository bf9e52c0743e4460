mod sparse;

use std::num::NonZeroUsize;

use object_store::memory::InMemory;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use thanos_core::ErrorKind;
use thanos_core::index::ListLocation;
use thanos_core::indexheader::{build_header, build_sparse_header};
use thanos_core::testkit::{K8sSpec, TempDir};

use thanos_core::time::Timestamp;

use super::build::ReadLengths;
use super::*;
use crate::testkit::{
    BlockData, BlockSpec, FaultPlan, FaultyStore, LatencyModel, LatencyStore, StoreFault, Trace,
    block_id,
};

const MINUTE_MS: i64 = 60_000;

#[derive(Debug, Default)]
struct MovedClock(AtomicI64);

impl Clock for MovedClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::Relaxed))
    }
}

fn block(series: usize) -> BlockData {
    let spec = K8sSpec {
        series,
        samples: 2,
        ..K8sSpec::default()
    };
    BlockData::wide(&spec).unwrap()
}

/// A bucket with one block, what was asked of it, and what moves the time.
struct Rig {
    bucket: Bucket,
    store: Arc<LatencyStore>,
    clock: Arc<MovedClock>,
    data: BlockData,
    dir: TempDir,
}

impl Rig {
    async fn new(series: usize) -> Self {
        let model = LatencyModel {
            request: Duration::from_millis(2),
            ..LatencyModel::default()
        };
        let store = Arc::new(LatencyStore::new(Arc::new(InMemory::new()), model));
        let bucket = Bucket::new(Arc::clone(&store) as Arc<dyn object_store::ObjectStore>);
        let data = block(series);
        let rig = Self {
            bucket,
            store,
            clock: Arc::default(),
            data,
            dir: TempDir::new("headers"),
        };
        rig.put_index().await;
        rig.store.take_trace();
        rig
    }

    async fn put_index(&self) {
        let spec = BlockSpec {
            id: block_id(1),
            ..BlockSpec::default()
        };
        self.data.upload(&self.bucket, &spec).await.unwrap();
    }

    fn headers(&self, options: HeaderOptions) -> Arc<Headers> {
        self.headers_in(Some(self.dir.path().to_owned()), options)
    }

    fn headers_in(&self, data_dir: Option<PathBuf>, headers: HeaderOptions) -> Arc<Headers> {
        let options = GatewayOptions {
            data_dir,
            headers,
            clock: Arc::clone(&self.clock) as Arc<dyn Clock>,
            ..GatewayOptions::default()
        };
        Headers::new(&self.bucket, &options)
    }

    fn header(&self, headers: &Arc<Headers>) -> Arc<BlockHeader> {
        self.header_published(headers, None)
    }

    fn header_published(
        &self,
        headers: &Arc<Headers>,
        published_len: Option<u64>,
    ) -> Arc<BlockHeader> {
        let objects = BlockObjects {
            index_bytes: self.data.index_bytes(),
            sparse_header_bytes: published_len,
            ..BlockObjects::default()
        };
        headers.of_block(block_id(1), &objects)
    }

    fn file(&self) -> PathBuf {
        self.folder().join(HEADER_FILE)
    }

    fn sparse_file(&self) -> PathBuf {
        self.folder().join(SPARSE_HEADER_FILE)
    }

    fn folder(&self) -> PathBuf {
        self.dir.path().join(block_id(1).to_string())
    }

    /// Returns the sparse header of the index.
    fn sparse(&self) -> Vec<u8> {
        sparse_of_index(self.data.index())
    }

    fn sparse_object(&self) -> String {
        format!("{}/{SPARSE_HEADER_FILE}", block_id(1))
    }

    fn trace(&self) -> Trace {
        self.store.take_trace()
    }

    fn pass(&self, minutes: i64) {
        self.clock
            .0
            .fetch_add(minutes * MINUTE_MS, Ordering::Relaxed);
    }
}

fn sparse_of_index(index: &Bytes) -> Vec<u8> {
    let header = Bytes::from(build_header(index).unwrap());
    let header = IndexHeader::open("index-header", header).unwrap();
    build_sparse_header(&header).unwrap()
}

fn with_sparse(sparse: SparseHeaders) -> HeaderOptions {
    HeaderOptions {
        sparse,
        ..HeaderOptions::default()
    }
}

fn at_use() -> HeaderOptions {
    HeaderOptions {
        download: HeaderDownload::AtUse,
        ..HeaderOptions::default()
    }
}

/// ST-04: one round trip for a short index; what is kept is what Thanos would write.
#[tokio::test]
async fn a_header_of_a_short_index_takes_one_request() {
    let rig = Rig::new(100).await;
    let headers = rig.headers(HeaderOptions::default());
    rig.header(&headers).prepare().await.unwrap();
    assert_eq!(rig.trace().requests.len(), 1);
    let expected = build_header(rig.data.index()).unwrap();
    assert!(std::fs::read(rig.file()).unwrap() == expected);
}

/// ST-04: two round trips for a long index, both sections at once, in parts.
#[tokio::test]
async fn a_header_of_a_long_index_takes_two_round_trips() {
    let rig = Rig::new(100).await;
    let (object, len) = (format!("{}/index", block_id(1)), rig.data.index_bytes());
    let expected = build_header(rig.data.index()).unwrap();
    for (end, part, trips, requests) in [
        (64, 1 << 20, Some(2), Some(4)),
        (64, 500, None, None),
        (300, 97, None, None),
        (len / 2, 1 << 20, None, None),
        (len, 1 << 20, Some(1), Some(2)),
    ] {
        let lengths = ReadLengths {
            whole_max: 0,
            end,
            part,
        };
        let built = build::build(&rig.bucket, &object, len, lengths).await;
        assert!(built.unwrap() == expected, "{lengths:?}");
        let trace = rig.trace();
        assert!(trips.is_none_or(|trips| trips == trace.dependent_round_trips()));
        assert!(requests.is_none_or(|requests| requests == trace.requests.len()));
    }
}

/// ST-04: a restart reads no index, whatever the block.
#[tokio::test]
async fn a_kept_header_needs_no_request() {
    let rig = Rig::new(100).await;
    let prepare = || async {
        let headers = rig.headers(with_sparse(SparseHeaders::Off));
        let header = rig.header(&headers);
        header.prepare().await.unwrap();
        (rig.trace().requests.len(), header)
    };
    assert_eq!(prepare().await.0, 1);
    let (requests, header) = prepare().await;
    assert_eq!(requests, 0);
    assert!(header.opened.read().is_none(), "nothing has asked yet");
    header.get().await.unwrap();
    assert_eq!(rig.trace().requests.len(), 0);

    // Cut off or of another index: seen at once. Damaged in the middle: seen at use.
    let kept = std::fs::read(rig.file()).unwrap();
    std::fs::write(rig.file(), &kept[..kept.len() - 1]).unwrap();
    assert_eq!(prepare().await.0, 1);
    std::fs::write(rig.file(), build_header(block(50).index()).unwrap()).unwrap();
    assert_eq!(prepare().await.0, 1);
    let mut damaged = kept.clone();
    damaged[100] ^= 0xFF;
    std::fs::write(rig.file(), damaged).unwrap();
    let (requests, header) = prepare().await;
    assert_eq!(requests, 0);
    header.get().await.unwrap();
    assert_eq!(rig.trace().requests.len(), 1);
    assert!(std::fs::read(rig.file()).unwrap() == kept);
}

/// ST-06: fetched at use, once for all who ask at once; closed when idle, and opened from the file again.
#[tokio::test]
async fn a_header_is_open_only_while_it_is_used() {
    let rig = Rig::new(100).await;
    let headers = rig.headers(at_use());
    let metrics = &headers.options.metrics;
    let header = rig.header(&headers);
    header.prepare().await.unwrap();
    assert_eq!(rig.trace().requests.len(), 0);
    assert!(!rig.file().exists());

    let all = futures::future::try_join_all((0..8).map(|_| header.get()));
    let all = all.await.unwrap();
    assert!(all.iter().all(|one| Arc::ptr_eq(one, &all[0])));
    assert_eq!((rig.trace().requests.len(), metrics.loads.get()), (1, 1));

    rig.pass(4);
    header.get().await.unwrap();
    rig.pass(4);
    headers.close_idle();
    assert_eq!(metrics.unloads.get(), 0, "used four minutes ago");
    rig.pass(1);
    headers.close_idle();
    assert_eq!(metrics.unloads.get(), 1);
    assert!(header.opened.read().is_none());
    assert!(headers.open.lock().is_empty());
    assert!(
        !all[0].label_names().is_empty(),
        "a request keeps what it has"
    );

    header.get().await.unwrap();
    assert_eq!((rig.trace().requests.len(), metrics.loads.get()), (0, 2));
}

/// ST-06: somebody looks every tenth of the timeout.
#[tokio::test(start_paused = true)]
async fn idle_headers_are_closed_unasked() {
    let rig = Rig::new(100).await;
    let headers = rig.headers(HeaderOptions::default());
    let header = rig.header(&headers);
    header.get().await.unwrap();
    rig.pass(5);
    tokio::time::sleep(Duration::from_secs(29)).await;
    assert_eq!(headers.options.metrics.unloads.get(), 0);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(headers.options.metrics.unloads.get(), 1);

    let never = rig.headers(HeaderOptions {
        idle_timeout: Duration::ZERO,
        ..HeaderOptions::default()
    });
    rig.header(&never).get().await.unwrap();
    assert!(never.watch.lock().is_none());
}

/// ST-05: no file is written, and what was fetched at sync stays.
#[tokio::test]
async fn headers_without_a_data_directory_live_in_memory() {
    let rig = Rig::new(100).await;
    for (options, closed) in [(HeaderOptions::default(), 0), (at_use(), 1)] {
        let headers = rig.headers_in(None, options);
        let header = rig.header(&headers);
        header.prepare().await.unwrap();
        header.get().await.unwrap();
        assert_eq!(rig.trace().requests.len(), 1);
        rig.pass(6);
        headers.close_idle();
        assert_eq!(headers.options.metrics.unloads.get(), closed);
        header.get().await.unwrap();
        assert_eq!(rig.trace().requests.len() as u64, closed);
    }
    assert_eq!(std::fs::read_dir(rig.dir.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_failed_load_names_the_object_and_is_tried_again() {
    let rig = Rig::new(100).await;
    let headers = rig.headers(at_use());
    let header = rig.header(&headers);
    let object = format!("{}/index", block_id(1));
    rig.bucket.delete(&object).await.unwrap();
    let error = header.get().await.unwrap_err();
    assert!(error.to_string().contains(&object), "{error}");

    let mut damaged = rig.data.index().to_vec();
    damaged[30] ^= 1;
    rig.bucket.put(&object, damaged.into()).await.unwrap();
    let error = header.get().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains(&object), "{error}");
    assert!(!rig.file().exists(), "what is not sound is not kept");

    rig.put_index().await;
    header.get().await.unwrap();
    let metrics = &headers.options.metrics;
    assert_eq!((metrics.loads.get(), metrics.failed_loads.get()), (3, 2));

    let mut registry = Registry::default();
    metrics.register(&mut registry);
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    for line in [
        "thanos_bucket_store_indexheader_lazy_load_total 3",
        "thanos_bucket_store_indexheader_lazy_load_failed_total 2",
        "thanos_bucket_store_indexheader_lazy_unload_total 0",
        "thanos_bucket_store_indexheader_lazy_unload_failed_total 0",
        "thanos_bucket_store_indexheader_lazy_load_duration_seconds_count 1",
        "thanos_bucket_store_indexheader_load_duration_seconds_count 2",
        "thanos_bucket_store_indexheader_download_duration_seconds_count 2",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in {text}");
    }
}

/// ST-07: answers do not depend on how many places are kept in memory.
#[tokio::test]
async fn every_sampling_finds_every_value() {
    let rig = Rig::new(300).await;
    let everything = |header: &IndexHeader| -> Vec<(String, Option<ListLocation>)> {
        let mut all = Vec::new();
        for name in header.label_names() {
            for value in header.label_values(&name).unwrap() {
                let location = header.postings_location(&name, &value).unwrap();
                assert!(location.is_some());
                all.push((format!("{name}={value}"), location));
            }
        }
        all
    };
    let (mut expected, mut memory_bytes) = (None, usize::MAX);
    for sampling in [1, 2, 7, 32, 100_000] {
        let headers = rig.headers(HeaderOptions {
            postings_sampling: NonZeroUsize::new(sampling).unwrap(),
            ..with_sparse(SparseHeaders::Off)
        });
        let header = rig.header(&headers).get().await.unwrap();
        let found = everything(&header);
        assert!(!found.is_empty());
        assert!(*expected.get_or_insert(found.clone()) == found);
        assert!(header.memory_bytes() <= memory_bytes);
        memory_bytes = header.memory_bytes();
    }
}
