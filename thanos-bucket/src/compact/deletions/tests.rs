//! From the request to the record, with real blocks, jobs and leases.

use std::sync::atomic::{AtomicI64, Ordering};

use futures::TryStreamExt;
use object_store::memory::InMemory;
use thanos_core::chunk::{Aggregate, SeriesChunk, XorEncoder};
use thanos_core::labels::{Labels, Matcher};
use thanos_core::query::SeriesEvent;
use thanos_core::testkit::TempDir;
use thanos_core::time::{Clock, SystemClock, TimeRange, Timestamp};
use thanos_storeapi::store::{SeriesRequest, Store};

use super::*;
use crate::Bucket;
use crate::compact::job::{JobOptions, JobRunner};
use crate::compact::lease::{LeaseOptions, Leases};
use crate::compact::{CompactorOptions, Downsampling, Retention, ViewOptions};
use crate::fetch::FetchOptions;
use crate::gateway::{Gateway, GatewayOptions};
use crate::testkit::{
    BlockData, BlockSpec, FaultPlan, FaultyStore, LatencyModel, LatencyStore, RequestKind,
    StoreFault, block_id,
};
use crate::tombstones::TombstoneStore;

const HOUR: i64 = 3_600_000;
const START: i64 = 1_000 * HOUR;

/// The time of the system, which tests can move on.
#[derive(Debug, Default)]
struct TestClock(AtomicI64);

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        SystemClock.now() + self.0.load(Ordering::Relaxed)
    }
}

/// A series with a sample a minute, for an hour from `start`.
fn series(name: &str, start: i64) -> (Labels, Vec<SeriesChunk>) {
    let times: Vec<Timestamp> = (0..60)
        .map(|minute| Timestamp::from_millis(start + minute * 60_000))
        .collect();
    let mut encoder = XorEncoder::new();
    times.iter().for_each(|time| encoder.append(*time, 1.0));
    let chunk = SeriesChunk::raw(times[0], times[59], encoder.finish());
    (Labels::from_pairs([("__name__", name)]), vec![chunk])
}

async fn upload(bucket: &Bucket, number: u32, start: i64, names: &[&str]) -> BlockId {
    let series: Vec<_> = names.iter().map(|name| series(name, start)).collect();
    let spec = BlockSpec {
        id: block_id(number),
        labels: vec![("cluster".to_owned(), "eu1".to_owned())],
        ..BlockSpec::default()
    };
    let data = BlockData::of_series(&series).unwrap();
    data.upload(bucket, &spec).await.unwrap();
    spec.id
}

/// The name of each series that a gateway shows, with the times of its first and last sample.
async fn seen(bucket: &Bucket) -> Vec<(String, i64, i64)> {
    let gateway = Gateway::new(bucket.clone(), GatewayOptions::default());
    gateway.sync().await.unwrap();
    let request = SeriesRequest {
        matchers: vec![Matcher::equal("cluster", "eu1")],
        aggregates: vec![Aggregate::Raw],
        ..SeriesRequest::default()
    };
    let stream = gateway.series(request).await.unwrap();
    let events: Vec<SeriesEvent> = stream.try_collect().await.unwrap();
    let mut seen = Vec::new();
    for event in events {
        let SeriesEvent::Batch(batch) = event else {
            panic!("{event:?}")
        };
        for series in batch.iter() {
            let (first, last) = (series.chunks.first(), series.chunks.last());
            seen.push((
                series.labels.get("__name__").unwrap().into_owned(),
                first.unwrap().min_time.as_millis(),
                last.unwrap().max_time.as_millis(),
            ));
        }
    }
    seen
}

struct Rig {
    bucket: Bucket,
    clock: Arc<TestClock>,
    compactor: Compactor,
    _dir: TempDir,
}

async fn rig() -> Rig {
    rig_on(Bucket::new(Arc::new(InMemory::new()))).await
}

async fn rig_on(bucket: Bucket) -> Rig {
    let clock = Arc::new(TestClock::default());
    let dir = TempDir::new("deletions");
    let leases = LeaseOptions {
        clock: clock.clone(),
        ..LeaseOptions::default()
    };
    let leases = Leases::open(bucket.clone(), leases).await.unwrap();
    let jobs = JobOptions {
        clock: clock.clone(),
        ..JobOptions::new(dir.path())
    };
    let runner = Arc::new(JobRunner::new(bucket.clone(), leases, jobs));
    let options = CompactorOptions {
        view: ViewOptions {
            fetch: FetchOptions {
                clock: clock.clone(),
                detail: crate::fetch::MetaDetail::Whole,
                ..FetchOptions::default()
            },
            consistency_delay_ms: 0,
            ..ViewOptions::default()
        },
        retention: Retention {
            downsampling: Downsampling::Off,
            ..Retention::default()
        },
        ..CompactorOptions::default()
    };
    Rig {
        compactor: Compactor::new(bucket.clone(), runner, options).unwrap(),
        bucket,
        clock,
        _dir: dir,
    }
}

/// Pain 20: what is deleted is hidden at once, physically gone after the next compaction, and on record.
#[tokio::test]
async fn deleted_series_leave_the_blocks_and_a_record_stays() {
    let rig = rig().await;
    let (bucket, compactor) = (&rig.bucket, &rig.compactor);
    let with = upload(bucket, 1, START, &["a", "b"]).await;
    let clean = upload(bucket, 2, START + 100 * HOUR, &["b"]).await;
    let half = upload(bucket, 3, START + 200 * HOUR, &["a"]).await;
    let store = TombstoneStore::new(bucket.clone());
    let mut tombstone = Tombstone::new("ticket-1".parse().unwrap(), rig.clock.now());
    tombstone.selectors.push(vec![
        Matcher::equal("__name__", "a"),
        Matcher::equal("cluster", "eu1"),
    ]);
    let middle = START + 200 * HOUR + HOUR / 2;
    tombstone.range = TimeRange::from_millis(0, middle);
    store.add(&tombstone).await.unwrap();
    let later = middle + 60_000;
    let end = |start: i64| start + 59 * 60_000;
    let left = vec![
        ("a".to_owned(), later, end(START + 200 * HOUR)),
        ("b".to_owned(), START, end(START + 100 * HOUR)),
    ];
    assert_eq!(seen(bucket).await, left);

    compactor.iterate().await.unwrap();
    let blocks = compactor.all_blocks().await.unwrap();
    let marked = |id: BlockId| {
        let entry = blocks.iter().find(|entry| entry.meta.ulid == id);
        entry.unwrap().marks.deletion.is_some()
    };
    assert_eq!([with, clean, half].map(marked), [true, false, true]);
    assert_eq!(blocks.len(), 5);
    let new = blocks
        .iter()
        .filter(|entry| is_applied(&entry.meta, &tombstone.request_id));
    for entry in new.clone() {
        let meta = &entry.meta;
        assert!(meta.compaction.sources.contains(&tombstone.source()));
        assert_eq!(meta.thanos.as_ref().unwrap().source, "compactor");
        assert!([29, 60].contains(&meta.stats.num_samples), "{meta:?}");
    }
    assert_eq!(new.count(), 2);
    assert_eq!(seen(bucket).await, left);

    // Nothing is done twice, and the request stays for what is still on its way.
    compactor.iterate().await.unwrap();
    assert_eq!(compactor.all_blocks().await.unwrap().len(), 5);
    assert_eq!(store.list().await.unwrap().len(), 1);

    rig.clock.0.store(49 * HOUR, Ordering::Relaxed);
    compactor.iterate().await.unwrap();
    assert_eq!(compactor.all_blocks().await.unwrap().len(), 3);
    assert_eq!(store.list().await.unwrap().len(), 0);
    assert_eq!(seen(bucket).await, left, "without the help of a tombstone");
    let kept = bucket.objects_under("thanos-tombstones").await.unwrap();
    let names: Vec<&str> = kept.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["thanos-tombstones/v1/done/ticket-1.json"]);
}

/// A block all of whose samples are deleted is only marked.
#[tokio::test]
async fn a_block_with_nothing_left_goes() {
    let rig = rig().await;
    let gone = upload(&rig.bucket, 1, START, &["a"]).await;
    let mut tombstone = Tombstone::new("all".parse().unwrap(), rig.clock.now());
    tombstone
        .selectors
        .push(vec![Matcher::equal("cluster", "eu1")]);
    TombstoneStore::new(rig.bucket.clone())
        .add(&tombstone)
        .await
        .unwrap();
    rig.compactor.iterate().await.unwrap();
    let blocks = rig.compactor.all_blocks().await.unwrap();
    assert_eq!(blocks.len(), 1);
    assert_eq!(blocks[0].meta.ulid, gone);
    assert!(blocks[0].marks.deletion.is_some());
}

/// To learn that a block has nothing of what is deleted takes its index, however many chunks it has.
#[tokio::test]
async fn chunks_come_only_from_blocks_with_deleted_series() {
    let store = LatencyStore::new(Arc::new(InMemory::new()), LatencyModel::default());
    let store = Arc::new(store);
    let rig = rig_on(Bucket::new(store.clone())).await;
    let with = upload(&rig.bucket, 1, START, &["a", "b"]).await;
    let clean = upload(&rig.bucket, 2, START + 100 * HOUR, &["b"]).await;
    let elsewhen = upload(&rig.bucket, 3, START + 200 * HOUR, &["a"]).await;
    let mut tombstone = Tombstone::new("ticket-2".parse().unwrap(), rig.clock.now());
    let selector = vec![
        Matcher::equal("__name__", "a"),
        Matcher::equal("cluster", "eu1"),
    ];
    tombstone.selectors.push(selector);
    // The third block begins at this time, and its series later than that.
    tombstone.range = TimeRange::from_millis(0, START + 200 * HOUR - 1);
    let tombstones = TombstoneStore::new(rig.bucket.clone());
    tombstones.add(&tombstone).await.unwrap();
    store.take_trace();
    rig.compactor.iterate().await.unwrap();
    let trace = store.take_trace();
    let read_chunks = |id: BlockId| {
        let prefix = format!("{id}/chunks/");
        let mut reads = trace.requests.iter();
        reads.any(|read| read.kind == RequestKind::Get && read.object.starts_with(&prefix))
    };
    assert_eq!(
        [with, clean, elsewhen].map(read_chunks),
        [true, false, false]
    );
    let noted = tombstones.clean_blocks().await.unwrap();
    assert!(noted[&tombstone.request_id].contains(&clean));
}

/// What a block has that cannot be read now nobody knows: until then the request is not done.
#[tokio::test]
async fn a_block_that_cannot_be_read_keeps_the_request_active() {
    let store = Arc::new(FaultyStore::new(Arc::new(InMemory::new())));
    let rig = rig_on(Bucket::new(store.clone())).await;
    let mut tombstone = Tombstone::new("ticket-3".parse().unwrap(), rig.clock.now());
    let selector = vec![Matcher::equal("__name__", "a")];
    tombstone.selectors.push(selector);
    let tombstones = TombstoneStore::new(rig.bucket.clone());
    tombstones.add(&tombstone).await.unwrap();
    rig.clock.0.store(ACTIVE_MS_MIN + 1, Ordering::Relaxed);
    upload(&rig.bucket, 1, START, &["a", "b"]).await;
    store.start(FaultPlan {
        per_mille: vec![(StoreFault::SilentlyShortBody, 1000)],
        ..FaultPlan::default()
    });
    rig.compactor.end_if_done(&tombstone).await.unwrap();
    store.stop();
    assert_eq!(tombstones.list().await.unwrap().len(), 1);
    rig.compactor.iterate().await.unwrap();
    rig.compactor.end_if_done(&tombstone).await.unwrap();
    let still = tombstones.list().await.unwrap();
    assert_eq!(still.len(), 1, "the old block is still there");
}
