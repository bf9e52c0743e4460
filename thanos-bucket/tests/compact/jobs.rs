//! Single jobs: what becomes of each kind of source, and of what embedders say.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use object_store::memory::InMemory;
use thanos_bucket::Bucket;
use thanos_bucket::compact::job::{ChunkTransfer, JobOptions, JobRunner, OutOfOrderChunks};
use thanos_bucket::compact::lease::{LeaseOptions, Leases};
use thanos_bucket::compact::passes::Downsampling;
use thanos_bucket::compact::work::{Hooks, NoHooks, Outcome, Work};
use thanos_bucket::compact::{
    Compactor, CompactorOptions, DefaultGrouper, Group, Grouper, Plan, PlanKind, Resolution,
};
use thanos_bucket::testkit::{
    BlockData, BlockSpec, FaultyStore, LatencyModel, LatencyStore, RequestKind, RequestRecord,
    Trace, block_id,
};
use thanos_bucket::transfer::{HashFunc, UploadOptions, delete_block, upload_block};
use thanos_core::block::{BlockId, Meta, ThanosMeta};
use thanos_core::budget::MemoryBudget;
use thanos_core::chunk::{Samples, SeriesChunk, encode};
use thanos_core::testkit::{TempDir, label_pairs, malformed_block};
use thanos_core::time::Timestamp;
use thanos_core::{Error, ErrorKind, Result};
use tokio::sync::Notify;

use crate::Hands;
use crate::model::{HOUR_MS, Model, Seen, visible};

/// A bucket, what runs jobs on it, and where these work.
struct Rig {
    store: Arc<FaultyStore>,
    bucket: Bucket,
    dir: TempDir,
    clock: Arc<Hands>,
    /// After how many requests a job dies.
    requests: u64,
}

impl Rig {
    fn new() -> Self {
        let store = Arc::new(FaultyStore::new(Arc::new(InMemory::new())));
        Self {
            bucket: Bucket::new(store.clone()),
            store,
            dir: TempDir::new("jobs"),
            clock: Hands::new(),
            requests: 20,
        }
    }

    async fn runner(&self, change: impl FnOnce(&mut JobOptions)) -> JobRunner {
        let leases = LeaseOptions {
            clock: self.clock.clone(),
            ..LeaseOptions::default()
        };
        let leases = Leases::open(self.bucket.clone(), leases).await.unwrap();
        let mut options = JobOptions::new(self.dir.path());
        options.clock = self.clock.clone();
        change(&mut options);
        JobRunner::new(self.bucket.clone(), leases, options)
    }

    /// Returns the only group of the bucket, and a plan of all its blocks.
    async fn plan(&self, shards: u32) -> (Group, Plan) {
        let work = Arc::new(self.runner(|_| {}).await);
        let mut options = CompactorOptions::default();
        options.view.consistency_delay_ms = 0;
        let compactor = Compactor::new(self.bucket.clone(), work, options).unwrap();
        let view = compactor.sync().await.unwrap();
        let group = DefaultGrouper.groups(&view.unmarked()).pop().unwrap();
        let plan = Plan {
            blocks: group.blocks.clone(),
            kind: PlanKind::Range,
            shards,
        };
        (group, plan)
    }

    async fn compact(&self, runner: &JobRunner, hooks: impl Hooks) -> Result<Outcome> {
        let (group, plan) = self.plan(1).await;
        let hooks: Arc<dyn Hooks> = Arc::new(hooks);
        runner.compact(&group, &plan, &hooks).await
    }

    async fn text_of(&self, id: BlockId, object: &str) -> String {
        let object = format!("{id}/{object}");
        let text = self.bucket.read(&object, 1 << 20).await.unwrap();
        String::from_utf8(text.to_vec()).unwrap()
    }

    /// Uploads a block of two hours whose chunks of one series are those of `chunks`.
    async fn upload_malformed(&self, number: u32, chunks: Vec<SeriesChunk>) -> BlockId {
        let (dir, id) = (TempDir::new("malformed"), block_id(number));
        let thanos = ThanosMeta {
            version: 1,
            labels: [("group".to_owned(), "000".to_owned())].into(),
            ..ThanosMeta::default()
        };
        let time = (
            Timestamp::from_millis(0),
            Timestamp::from_millis(2 * HOUR_MS),
        );
        let series = [(label_pairs(&[("__name__", "up")]), chunks)];
        malformed_block(dir.path(), id, time, Some(thanos), &series);
        let block_dir = dir.path().join(id.to_string());
        upload_block(&self.bucket, &block_dir, &UploadOptions::default())
            .await
            .unwrap();
        id
    }
}

fn chunk(from_ms: i64, to_ms: i64) -> SeriesChunk {
    let mut samples = Samples::new();
    samples.push_float(Timestamp::from_millis(from_ms), 1.0);
    samples.push_float(Timestamp::from_millis(to_ms), 2.0);
    encode(&samples).pop().unwrap()
}

fn done(outcome: Outcome) -> (Vec<Meta>, u64) {
    match outcome {
        Outcome::Done { new, marked } => (new, marked),
        other => panic!("not done: {other:?}"),
    }
}

/// C-08, C-29: the output says what Thanos' says, and the sources are marked; nothing stays on disk.
#[tokio::test]
async fn a_compaction_replaces_its_sources() {
    let rig = Rig::new();
    let ids = Model::new().upload(&rig.bucket, 0).await;
    let runner = rig.runner(|options| options.hash = HashFunc::Sha256).await;
    let before = Seen::default().check(&rig.bucket, "before").await;
    let (new, marked) = done(rig.compact(&runner, NoHooks).await.unwrap());
    assert_eq!((new.len(), marked), (1, 5));
    let thanos = new[0].thanos.clone().unwrap();
    assert_eq!(thanos.source, "compactor");
    assert_eq!(thanos.labels["group"], "000");
    assert!(thanos.files[0].hash.is_some());
    assert!(thanos.index_stats.series_max_size > 0 && thanos.index_stats.chunk_max_size > 0);
    assert_eq!(new[0].compaction.level, 2);
    assert_eq!(new[0].compaction.sources, ids);
    for id in &ids {
        let mark = rig.text_of(*id, "deletion-mark.json").await;
        assert!(mark.contains("source of compacted block"), "{mark}");
    }
    assert_eq!(Seen::default().check(&rig.bucket, "after").await, before);
    let left = std::fs::read_dir(rig.dir.path().join("compact")).unwrap();
    assert_eq!(left.count(), 0);
}

/// Tells which files a job has when everything but the new index is in the bucket.
#[derive(Debug)]
struct LookAtDisk {
    dir: std::path::PathBuf,
    found: Arc<std::sync::Mutex<BTreeSet<String>>>,
}

fn files_under(dir: &std::path::Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files_under(&path, found),
            false => {
                let mut names = path.iter().rev().take(2).map(|name| name.to_string_lossy());
                let (name, parent) = (names.next().unwrap(), names.next().unwrap());
                let is_chunk = parent == "chunks";
                found.insert(if is_chunk {
                    format!("chunks/{name}")
                } else {
                    name.into()
                });
            }
        }
    }
}

impl Hooks for LookAtDisk {
    fn can_delete(&self, _: &Group, _: BlockId) -> bool {
        files_under(&self.dir, &mut self.found.lock().unwrap());
        true
    }
}

/// C-08: streamed or by way of files, the new blocks are the same; streamed, no chunk is ever on disk.
#[tokio::test]
async fn streamed_chunks_make_the_same_blocks_and_no_files() {
    let mut results = Vec::new();
    for transfer in [ChunkTransfer::Files, ChunkTransfer::Streamed] {
        for shards in [1, 3] {
            let rig = Rig::new();
            Model::new().upload(&rig.bucket, 0).await;
            let change = |options: &mut JobOptions| {
                options.chunk_transfer = transfer;
                options.hash = HashFunc::Sha256;
            };
            let runner = rig.runner(change).await;
            let (group, plan) = rig.plan(shards).await;
            let found = Arc::default();
            let hooks: Arc<dyn Hooks> = Arc::new(LookAtDisk {
                dir: rig.dir.path().to_owned(),
                found: Arc::clone(&found),
            });
            let (new, _) = done(runner.compact(&group, &plan, &hooks).await.unwrap());
            let found = std::mem::take(&mut *found.lock().unwrap());
            let has_chunks = found.contains("chunks/000001");
            assert_eq!(has_chunks, transfer == ChunkTransfer::Files, "{found:?}");
            assert!(found.contains("index"));
            let mut contents = Vec::new();
            for meta in new {
                let files = meta.thanos.unwrap().files;
                for file in files.iter().filter(|file| file.rel_path != "meta.json") {
                    let object = format!("{}/{}", meta.ulid, file.rel_path);
                    let bytes = rig.bucket.read(&object, 1 << 20).await.unwrap();
                    assert_eq!(bytes.len() as u64, file.size_bytes, "{object}");
                    contents.push((file.clone(), bytes));
                }
            }
            results.push(contents);
        }
    }
    assert!(results[0].len() == 2 && results[1].len() > 2);
    assert!(results[..2] == results[2..]);
}

/// Without memory for windows and parts a job works with files.
#[tokio::test]
async fn chunks_are_files_where_memory_is_short() {
    let rig = Rig::new();
    Model::new().upload(&rig.bucket, 0).await;
    let change = |options: &mut JobOptions| options.budget = MemoryBudget::new("job", 32 << 20);
    let runner = rig.runner(change).await;
    let found = Arc::default();
    let hooks = LookAtDisk {
        dir: rig.dir.path().to_owned(),
        found: Arc::clone(&found),
    };
    done(rig.compact(&runner, hooks).await.unwrap());
    assert!(found.lock().unwrap().contains("chunks/000001"));
}

/// C-09: blocks without samples vanish, and nothing comes of them.
#[tokio::test]
async fn empty_blocks_are_marked_and_make_none() {
    let rig = Rig::new();
    let empty = BlockData::of_series(&[]).unwrap();
    for number in 0..3 {
        let start = 2 * i64::from(number) * HOUR_MS;
        let spec = BlockSpec {
            id: block_id(number),
            labels: vec![("group".to_owned(), "000".to_owned())],
            time: Some((
                Timestamp::from_millis(start),
                Timestamp::from_millis(start + 2 * HOUR_MS),
            )),
            ..BlockSpec::default()
        };
        empty.upload(&rig.bucket, &spec).await.unwrap();
    }
    let runner = rig.runner(|_| {}).await;
    let (new, marked) = done(rig.compact(&runner, NoHooks).await.unwrap());
    assert_eq!((new.len(), marked), (0, 3));
}

/// A block whose index would be too large becomes several that Thanos leaves alone.
#[tokio::test]
async fn series_are_split_among_blocks_that_are_not_compacted_again() {
    let rig = Rig::new();
    let ids = Model::new().upload(&rig.bucket, 0).await;
    let before = Seen::default().check(&rig.bucket, "before").await;
    let (group, plan) = rig.plan(2).await;
    let hooks: Arc<dyn Hooks> = Arc::new(NoHooks);
    let runner = rig.runner(|_| {}).await;
    let (new, marked) = done(runner.compact(&group, &plan, &hooks).await.unwrap());
    assert_eq!((new.len(), marked), (2, 5));
    for meta in &new {
        let mark = rig.text_of(meta.ulid, "no-compact-mark.json").await;
        assert!(mark.contains("index-size-exceeding"), "{mark}");
    }
    let last = &new[1].compaction.sources;
    assert!(ids.iter().all(|id| last.contains(id)));
    let mut after = BTreeSet::new();
    for (id, (meta, is_marked)) in visible(&rig.bucket).await {
        assert_eq!(is_marked, ids.contains(&id));
        if !is_marked {
            after.insert(meta.stats.num_samples);
        }
    }
    assert_eq!(after.iter().sum::<u64>(), before.len() as u64);
}

/// C-07: chunks of the next block are left out, in a block that replaces the old one.
#[tokio::test]
async fn a_block_of_issue_347_is_repaired() {
    let rig = Rig::new();
    let chunks = vec![chunk(0, 1000), chunk(2 * HOUR_MS, 2 * HOUR_MS + 1)];
    let id = rig.upload_malformed(1, chunks).await;
    let runner = rig.runner(|_| {}).await;
    let (new, marked) = done(rig.compact(&runner, NoHooks).await.unwrap());
    assert_eq!((new.len(), marked), (1, 1));
    assert_eq!(new[0].thanos.as_ref().unwrap().source, "compactor.repair");
    assert_eq!(new[0].stats.num_samples, 2);
    let mark = rig.text_of(id, "deletion-mark.json").await;
    assert!(mark.contains("source of repaired block"), "{mark}");
}

/// C-07: chunks out of order fail the group, or the block is left alone.
#[tokio::test]
async fn chunks_out_of_order_are_an_error_or_a_mark() {
    let rig = Rig::new();
    let chunks = vec![chunk(5000, 6000), chunk(0, 1000)];
    let id = rig.upload_malformed(1, chunks).await;
    let runner = rig.runner(|_| {}).await;
    let error = rig.compact(&runner, NoHooks).await.unwrap_err();
    assert!(error.to_string().contains("out-of-order chunks"), "{error}");
    let runner = rig
        .runner(|options| options.out_of_order_chunks = OutOfOrderChunks::Mark)
        .await;
    let outcome = rig.compact(&runner, NoHooks).await.unwrap();
    assert!(matches!(outcome, Outcome::PutAside(ids) if ids == [id]));
    let mark = rig.text_of(id, "no-compact-mark.json").await;
    assert!(mark.contains("block-index-out-of-order-chunk"), "{mark}");
}

/// A chunk outside of its block is for somebody who knows the block: it is put aside with the reason.
#[tokio::test]
async fn a_block_with_chunks_outside_is_put_aside() {
    let rig = Rig::new();
    let chunks = vec![chunk(0, 1000), chunk(9 * HOUR_MS, 9 * HOUR_MS + 1)];
    let id = rig.upload_malformed(1, chunks).await;
    let runner = rig.runner(|_| {}).await;
    let outcome = rig.compact(&runner, NoHooks).await.unwrap();
    assert!(matches!(outcome, Outcome::PutAside(ids) if ids == [id]));
    let records = runner.quarantine().records().await.unwrap();
    assert!(records[0].error.contains("outside the block time range"));
    runner.quarantine().forget(id).await.unwrap();
    assert!(runner.quarantine().records().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_job_that_does_not_fit_is_refused_before_it_starts() {
    let rig = Rig::new();
    Model::new().upload(&rig.bucket, 0).await;
    let runner = rig
        .runner(|options| options.disk_bytes_max = Some(100))
        .await;
    let error = rig.compact(&runner, NoHooks).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LimitExceeded);
    assert!(error.to_string().contains("bytes on disk"), "{error}");
    let compacted = rig.dir.path().join("compact");
    let group = std::fs::read_dir(compacted)
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    assert_eq!(std::fs::read_dir(group.path()).unwrap().count(), 0);
}

/// C-34: embedders keep sources from being marked, and are asked again after they have failed.
#[derive(Debug)]
struct Stubborn {
    kept: BlockId,
    fails: Arc<AtomicBool>,
}

#[async_trait]
impl Hooks for Stubborn {
    fn can_delete(&self, _: &Group, id: BlockId) -> bool {
        id != self.kept
    }

    async fn after_compaction(&self, _: &Group, _: &Meta) -> Result<()> {
        match self.fails.swap(false, Ordering::Relaxed) {
            true => Err(Error::unavailable("not yet")),
            false => Ok(()),
        }
    }
}

#[tokio::test]
async fn embedders_are_asked_and_told() {
    let rig = Rig::new();
    let ids = Model::new().upload(&rig.bucket, 0).await;
    let runner = rig.runner(|_| {}).await;
    let (group, plan) = rig.plan(1).await;
    let fails = Arc::new(AtomicBool::new(true));
    let hooks: Arc<dyn Hooks> = Arc::new(Stubborn {
        kept: ids[2],
        fails,
    });
    let error = runner.compact(&group, &plan, &hooks).await.unwrap_err();
    assert!(error.to_string().contains("not yet"), "{error}");
    let is_marked = |blocks: &std::collections::BTreeMap<BlockId, (Meta, bool)>| {
        let marked = blocks.values().filter(|(_, is_marked)| *is_marked);
        marked.map(|(meta, _)| meta.ulid).collect::<Vec<_>>()
    };
    let blocks = visible(&rig.bucket).await;
    assert_eq!((blocks.len(), is_marked(&blocks)), (6, vec![]));
    // The next attempt carries out what was decided, and compacts nothing again.
    let (new, marked) = done(runner.compact(&group, &plan, &hooks).await.unwrap());
    assert_eq!((new.len(), marked), (1, 4));
    let blocks = visible(&rig.bucket).await;
    assert_eq!(blocks.len(), 6);
    assert_eq!(is_marked(&blocks), [ids[0], ids[1], ids[3], ids[4]]);
    // A plan from before is out of date.
    let outcome = runner.compact(&group, &plan, &hooks).await.unwrap();
    assert!(matches!(outcome, Outcome::Elsewhere), "{outcome:?}");
}

#[derive(Debug)]
struct Panicking;

impl Hooks for Panicking {
    fn can_delete(&self, _: &Group, _: BlockId) -> bool {
        panic!("a bug of an embedder")
    }
}

/// C-33: a panic is an error of the job, and the next job can have the lease.
#[tokio::test]
async fn a_panic_is_an_error_of_the_job() {
    let rig = Rig::new();
    Model::new().upload(&rig.bucket, 0).await;
    let runner = rig.runner(|_| {}).await;
    let error = rig.compact(&runner, Panicking).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal);
    assert!(
        error.to_string().contains("a bug of an embedder"),
        "{error}"
    );
    let other = rig.runner(|_| {}).await;
    done(rig.compact(&other, NoHooks).await.unwrap());
}

/// C-17: a coarser copy has the sources of its block; it is made once.
#[tokio::test]
async fn a_block_is_downsampled_once() {
    let rig = Rig::new();
    Model::new().upload(&rig.bucket, 0).await;
    let (_, plan) = rig.plan(1).await;
    let wanted = Downsampling {
        block: plan.blocks[0].clone(),
        to: Resolution::FIVE_MINUTES,
    };
    let runner = rig.runner(|_| {}).await;
    let (new, marked) = done(runner.downsample(&wanted).await.unwrap());
    assert_eq!((new.len(), marked), (1, 0));
    assert_eq!(new[0].resolution_ms(), 300_000);
    assert_eq!(new[0].compaction.sources, [plan.blocks[0].meta.ulid]);
    let other = rig.runner(|_| {}).await;
    let outcome = other.downsample(&wanted).await.unwrap();
    assert!(matches!(outcome, Outcome::Elsewhere), "{outcome:?}");
}

/// Returns a bucket in which a worker has died right after it decided, with the group and the plan that it worked on.
async fn decided_and_dead() -> (Rig, Group, Plan) {
    let hooks: Arc<dyn Hooks> = Arc::new(NoHooks);
    let (mut rig, model) = (Rig::new(), Model::new());
    // It dies ever later, until right after the decision.
    loop {
        let requests = rig.requests + 1;
        rig = Rig {
            requests,
            ..Rig::new()
        };
        model.upload(&rig.bucket, 0).await;
        let (group, plan) = rig.plan(1).await;
        let runner = rig.runner(|_| {}).await;
        rig.store.die_after(requests);
        let outcome = runner.compact(&group, &plan, &hooks).await;
        rig.store.stop();
        assert!(outcome.is_err(), "decided and published in {requests}");
        let journal = rig.bucket.objects_under("thanos-jobs/v1").await.unwrap();
        if let Some((last, _)) = journal.last() {
            let text = rig.bucket.read(last, 1 << 20).await.unwrap();
            if String::from_utf8_lossy(&text).contains("\"kind\":\"commit\"") {
                return (rig, group, plan);
            }
        }
    }
}

/// Returns the blocks that have directories and are not visible.
async fn invisible(bucket: &Bucket) -> Vec<BlockId> {
    let directories = bucket.top_directories().await.unwrap();
    let whole = visible(bucket).await;
    let ids = directories.iter().filter_map(|name| name.parse().ok());
    ids.filter(|id| !whole.contains_key(id)).collect()
}

/// A decision whose objects are gone is given up, and its sources are compacted again.
#[tokio::test]
async fn a_decision_that_cannot_be_carried_out_is_given_up() {
    let hooks: Arc<dyn Hooks> = Arc::new(NoHooks);
    let (rig, group, plan) = decided_and_dead().await;
    let before = Seen::default().check(&rig.bucket, "before").await;
    for id in invisible(&rig.bucket).await {
        rig.bucket.delete(&format!("{id}/index")).await.unwrap();
    }
    let runner = rig.runner(|_| {}).await;
    rig.clock.forward(3_600_000);
    let outcome = runner.compact(&group, &plan, &hooks).await.unwrap();
    assert!(matches!(outcome, Outcome::Elsewhere), "{outcome:?}");
    assert_eq!(visible(&rig.bucket).await.len(), 5);
    done(runner.compact(&group, &plan, &hooks).await.unwrap());
    assert_eq!(Seen::default().check(&rig.bucket, "after").await, before);
}

/// What is given up is deleted: a listing that is late must not say so.
#[tokio::test]
async fn a_decision_is_carried_out_although_listings_are_late() {
    let hooks: Arc<dyn Hooks> = Arc::new(NoHooks);
    let (rig, group, plan) = decided_and_dead().await;
    let before = Seen::default().check(&rig.bucket, "before").await;
    for id in invisible(&rig.bucket).await {
        rig.store.hide(&id.to_string());
    }
    let runner = rig.runner(|_| {}).await;
    rig.clock.forward(3_600_000);
    let (new, marked) = done(runner.compact(&group, &plan, &hooks).await.unwrap());
    rig.store.stop();
    assert_eq!((new.len(), marked), (1, 5));
    assert_eq!(Seen::default().check(&rig.bucket, "after").await, before);
}

/// Waits after the first block that has become visible.
#[derive(Debug, Default)]
struct HeldUp {
    reached: Notify,
    go_on: Notify,
    is_free: AtomicBool,
}

#[async_trait]
impl Hooks for HeldUp {
    async fn after_compaction(&self, _: &Group, _: &Meta) -> Result<()> {
        if !self.is_free.load(Ordering::Acquire) {
            self.reached.notify_one();
            self.go_on.notified().await;
        }
        Ok(())
    }
}

/// Of a decision that others have carried out nothing is shown again after they have deleted its blocks.
#[tokio::test]
async fn a_worker_that_was_held_up_shows_no_deleted_block() {
    let rig = Rig::new();
    Model::new().upload(&rig.bucket, 0).await;
    let (group, plan) = rig.plan(2).await;
    let (late, other) = (rig.runner(|_| {}).await, rig.runner(|_| {}).await);
    let held_up = Arc::new(HeldUp::default());
    let working = tokio::spawn({
        let (group, plan, held_up) = (group.clone(), plan.clone(), Arc::clone(&held_up));
        let hooks: Arc<dyn Hooks> = held_up;
        async move { late.compact(&group, &plan, &hooks).await }
    });
    held_up.reached.notified().await;
    let hooks: Arc<dyn Hooks> = Arc::new(NoHooks);
    let (new, _) = done(other.compact(&group, &plan, &hooks).await.unwrap());
    assert_eq!(new.len(), 2);
    for meta in &new {
        delete_block(&rig.bucket, meta.ulid).await.unwrap();
    }
    held_up.is_free.store(true, Ordering::Release);
    held_up.go_on.notify_one();
    let outcome = working.await.unwrap().unwrap();
    assert!(matches!(outcome, Outcome::Elsewhere), "{outcome:?}");
    let left = visible(&rig.bucket).await;
    for meta in &new {
        assert!(!left.contains_key(&meta.ulid), "{} is shown", meta.ulid);
    }
}

/// Returns how many requests for objects that end in `suffix` were under way at once.
fn at_once(trace: &Trace, suffix: &str) -> usize {
    let reads: Vec<_> = (trace.of_kind(RequestKind::Get))
        .filter(|read| read.object.ends_with(suffix))
        .collect();
    let beside = |read: &RequestRecord| {
        let goes_on = |other: &&&RequestRecord| {
            other.start <= read.start && other.end.is_none_or(|end| end > read.start)
        };
        reads.iter().filter(goes_on).count()
    };
    reads.iter().map(|read| beside(read)).max().unwrap_or(0)
}

/// C-30: how many blocks, and how many files of a block, are on their way at once.
#[tokio::test(start_paused = true)]
async fn as_much_comes_at_once_as_is_allowed() {
    for (blocks, files, indexes, all) in [(1, 1, 1, 1), (3, 1, 3, 3), (1, 2, 1, 2)] {
        let rig = Rig::new();
        Model::new().upload(&rig.bucket, 0).await;
        let (group, plan) = rig.plan(1).await;
        let slow = LatencyModel::of_requests(std::time::Duration::from_millis(100));
        let store = Arc::new(LatencyStore::new(rig.store.clone(), slow));
        let leases = Leases::alone(Bucket::new(store.clone()), LeaseOptions::default());
        let mut options = JobOptions::new(rig.dir.path());
        options.chunk_transfer = ChunkTransfer::Files;
        options.blocks_fetch_concurrency = blocks;
        options.block_files_concurrency = files;
        let runner = JobRunner::new(Bucket::new(store.clone()), leases, options);
        let hooks: Arc<dyn Hooks> = Arc::new(NoHooks);
        let outcome = runner.compact(&group, &plan, &hooks).await.unwrap();
        assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
        let trace = store.take_trace();
        let whole = Trace {
            requests: (trace.requests.iter())
                .filter(|read| read.object.ends_with("index") || read.object.contains("/chunks/"))
                .cloned()
                .collect(),
        };
        let what = format!("{blocks} blocks, {files} files");
        assert_eq!(at_once(&trace, "index"), indexes, "{what}");
        assert_eq!(at_once(&whole, ""), all, "{what}");
    }
}
