//! Damaged blocks: they are put aside with a reason, and everything else is done as if they were not there.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use object_store::memory::InMemory;
use thanos_bucket::Bucket;
use thanos_bucket::compact::job::ChunkTransfer;
use thanos_bucket::testkit::{LatencyModel, LatencyStore};
use thanos_core::block::BlockId;
use thanos_core::testkit::TempDir;
use tokio::time::Instant;

use crate::model::{Model, visible};
use crate::{Hands, Worker, is_long};

/// The ways in which an object is damaged: which, and what becomes of it; nothing when it is removed.
type Damage = (&'static str, fn(Bytes) -> Option<Bytes>);

const WAYS: [Damage; 12] = [
    ("index", |_| None),
    ("index", |_| Some(Bytes::new())),
    ("index", |bytes| Some(bytes.slice(..bytes.len() / 2))),
    ("index", |bytes| Some(flipped(&bytes, 5))),
    ("index", |bytes| Some(flipped(&bytes, bytes.len() / 4))),
    ("index", |bytes| Some(flipped(&bytes, bytes.len() - 20))),
    ("chunks/000001", |_| None),
    ("chunks/000001", |bytes| {
        Some(bytes.slice(..bytes.len() - 3))
    }),
    ("chunks/000001", |bytes| Some(flipped(&bytes, 1))),
    ("chunks/000001", |bytes| {
        Some(flipped(&bytes, bytes.len() / 2))
    }),
    ("meta.json", |bytes| Some(bytes.slice(..bytes.len() / 2))),
    ("meta.json", |bytes| {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        Some(text.replace("\"version\": 1", "\"version\": 7").into())
    }),
];

fn flipped(bytes: &Bytes, at: usize) -> Bytes {
    let mut bytes = bytes.to_vec();
    bytes[at] ^= 0x10;
    bytes.into()
}

async fn damage(bucket: &Bucket, id: BlockId, (object, how): Damage) {
    let object = format!("{id}/{object}");
    let bytes = bucket.read(&object, 1 << 20).await.unwrap();
    match how(bytes.clone()) {
        None => bucket.delete(&object).await.unwrap(),
        Some(damaged) => {
            assert_ne!(damaged, bytes, "{object} is damaged");
            bucket.put(&object, damaged).await.unwrap();
        }
    }
}

/// What it took to compact the healthy groups.
struct Cost {
    /// Requests for their objects.
    requests: usize,
    /// Simulated time until everything was done.
    time: Duration,
    put_aside: usize,
}

async fn compact(model: &Model, groups: u32, ways: &[Damage], transfer: ChunkTransfer) -> Cost {
    let latency = LatencyModel::of_requests(Duration::from_millis(10));
    let store = Arc::new(LatencyStore::new(Arc::new(InMemory::new()), latency));
    let bucket = Bucket::new(store.clone());
    let mut sick = BTreeSet::new();
    let mut healthy = BTreeSet::new();
    for group in 0..groups {
        let ids = model.upload(&bucket, group).await;
        match ways.get(group as usize) {
            Some(way) => {
                damage(&bucket, ids[1], *way).await;
                sick.extend(ids);
            }
            None => healthy.extend(ids),
        }
    }
    // Of all runs the same groups are looked at.
    let first = BlockId::from_parts(
        thanos_core::time::Timestamp::from_millis(1_700_000_000_000 + 10 * WAYS.len() as i64),
        0,
    );
    healthy.retain(|id| *id >= first);
    store.take_trace();
    let (dir, clock, start) = (TempDir::new("damaged"), Hands::new(), Instant::now());
    let worker = Worker::start_with(&bucket, "a".to_owned(), &dir, &clock, 4, transfer);
    let worker = worker.await.unwrap();
    worker.compactor.iterate().await.unwrap();
    let time = start.elapsed();
    let trace = store.take_trace();
    let of_healthy = |object: &str| {
        let id = object.split('/').next().and_then(|id| id.parse().ok());
        id.is_some_and(|id: BlockId| healthy.contains(&id))
    };
    let requests = trace
        .requests
        .iter()
        .filter(|request| of_healthy(&request.object));
    let requests = requests.count();

    let blocks = visible(&bucket).await;
    for group in ways.len()..groups as usize {
        let label = format!("{group:03}");
        let done = blocks.values().filter(|(meta, _)| {
            meta.compaction.level == 2
                && meta.external_labels().get("group").as_deref() == Some(&label[..])
        });
        assert_eq!(done.count(), 1, "group {group} is compacted");
    }
    let put_aside = worker.runner.quarantine().records().await.unwrap();
    for record in &put_aside {
        assert!(sick.contains(&record.id), "{record:?}");
        assert!(!record.error.is_empty());
        for mark in ["no-compact-mark.json", "no-downsample-mark.json"] {
            let object = format!("{}/{mark}", record.id);
            assert!(bucket.exists(&object).await.unwrap(), "{object}");
        }
    }
    Cost {
        requests,
        time,
        put_aside: put_aside.len(),
    }
}

/// C-07, C-10: no halt. One per cent of damaged blocks costs the healthy groups less than a tenth of their time.
#[tokio::test(start_paused = true)]
async fn healthy_groups_do_not_wait_for_damaged_blocks() {
    // Twelve of 1200 blocks are one per cent.
    let groups = if is_long() { 240 } else { 40 };
    let model = Model::new();
    for transfer in [ChunkTransfer::Streamed, ChunkTransfer::Files] {
        let clean = compact(&model, groups, &[], transfer).await;
        let damaged = compact(&model, groups, &WAYS, transfer).await;
        println!(
            "{transfer:?}: clean: {} requests, {:?}; damaged: {} requests, {:?}, {} put aside",
            clean.requests, clean.time, damaged.requests, damaged.time, damaged.put_aside
        );
        assert_eq!(clean.put_aside, 0);
        // What has no readable meta.json is no block, and nobody works with it.
        assert_eq!(damaged.put_aside, 10);
        assert!(damaged.requests * 10 <= clean.requests * 11);
        if is_long() {
            assert!(damaged.time * 10 <= clean.time * 11);
        }
    }
}
