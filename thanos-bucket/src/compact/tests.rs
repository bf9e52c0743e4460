//! The order of things, on a bucket in memory and with work that only writes what a block says of itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use object_store::memory::InMemory;
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use thanos_core::block::{
    BlockId, Compaction, DeletionMark, META_FILE, Marker, Meta, NoCompactMark, NoDownsampleMark,
};
use thanos_core::merge::compaction_of;
use thanos_core::time::{Clock, SystemClock, Timestamp};
use thanos_core::{Error, Result};

use super::passes;
use super::testing::{block, labelled};
use super::*;
use crate::Bucket;
use crate::fetch::{BlockEntry, FetchOptions};
use crate::testkit::{LatencyModel, LatencyStore, block_id};
use crate::transfer::mark_block;

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;

/// The time of the system, which tests can move on.
#[derive(Debug, Default)]
struct TestClock(AtomicI64);

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        SystemClock.now() + self.0.load(Ordering::Relaxed)
    }
}

/// Work that merges what blocks say of themselves.
#[derive(Debug)]
struct FakeWork {
    bucket: Bucket,
    next: AtomicU32,
    /// What was done, in words.
    log: Mutex<Vec<String>>,
    /// Groups with this label fail.
    fails: Option<(&'static str, &'static str)>,
    /// Blocks that are put aside when they are met.
    bad: Vec<BlockId>,
}

impl FakeWork {
    fn log(&self) -> Vec<String> {
        std::mem::take(&mut self.log.lock())
    }

    async fn put(&self, mut meta: Meta, id: BlockId) -> Result<Meta> {
        meta.ulid = id;
        put(&self.bucket, &meta).await?;
        Ok(meta)
    }

    fn id(&self) -> BlockId {
        block_id(self.next.fetch_add(1, Ordering::Relaxed))
    }
}

#[async_trait]
impl Work for FakeWork {
    async fn compact(&self, group: &Group, plan: &Plan, hooks: &Arc<dyn Hooks>) -> Result<Outcome> {
        if let Some((name, value)) = self.fails
            && group.labels.get(name).is_some_and(|found| found == value)
        {
            return Err(Error::unavailable("the disk is full"));
        }
        let bad = plan.blocks.iter().map(|entry| entry.meta.ulid);
        let bad: Vec<BlockId> = bad.filter(|id| self.bad.contains(id)).collect();
        for id in &bad {
            let mark = NoCompactMark::new(*id, SystemClock.now(), "manual", "bad");
            mark_block(&self.bucket, &mark).await?;
        }
        if !bad.is_empty() {
            return Ok(Outcome::PutAside(bad));
        }
        let metas = || plan.blocks.iter().map(|entry| &entry.meta);
        let mut meta = plan.blocks[0].meta.clone();
        meta.max_time = metas().map(|meta| meta.max_time).max().unwrap_or_default();
        meta.compaction = compaction_of(metas());
        meta.compaction.parents = Vec::new();
        if let Some(thanos) = &mut meta.thanos {
            thanos.labels = group.labels.clone();
            thanos.source = "compactor".to_owned();
        }
        let meta = self.put(meta, self.id()).await?;
        hooks.after_compaction(group, &meta).await?;
        self.log
            .lock()
            .push(format!("{} blocks", plan.blocks.len()));
        let mut marked = 0;
        for entry in plan
            .blocks
            .iter()
            .filter(|e| hooks.can_delete(group, e.meta.ulid))
        {
            let mark = DeletionMark::new(
                entry.meta.ulid,
                SystemClock.now(),
                "source of compacted block",
            );
            marked += u64::from(mark_block(&self.bucket, &mark).await?);
        }
        let new = vec![meta];
        Ok(Outcome::Done { new, marked })
    }

    async fn downsample(&self, downsampling: &passes::Downsampling) -> Result<Outcome> {
        let mut meta = downsampling.block.meta.clone();
        let thanos = meta.thanos.get_or_insert_default();
        thanos.downsample.resolution_ms = downsampling.to.0;
        thanos.source = "compactor".to_owned();
        let meta = self.put(meta, self.id()).await?;
        self.log.lock().push(format!("to {}", downsampling.to));
        let new = vec![meta];
        Ok(Outcome::Done { new, marked: 0 })
    }
}

async fn put(bucket: &Bucket, meta: &Meta) -> Result<()> {
    let id = meta.ulid;
    bucket.put(&format!("{id}/index"), "index".into()).await?;
    let text = meta.to_json().into();
    bucket.put(&format!("{id}/{META_FILE}"), text).await
}

/// A bucket with a compactor.
struct Rig {
    bucket: Bucket,
    clock: Arc<TestClock>,
    work: Arc<FakeWork>,
    metrics: CompactMetrics,
    compactor: Compactor,
}

impl Rig {
    fn new(change: impl FnOnce(&mut FakeWork, &mut CompactorOptions)) -> Self {
        let bucket = Bucket::new(Arc::new(InMemory::new()));
        let clock = Arc::new(TestClock::default());
        let mut work = FakeWork {
            bucket: bucket.clone(),
            next: AtomicU32::new(1_000_000),
            log: Mutex::default(),
            fails: None,
            bad: Vec::new(),
        };
        let view = ViewOptions {
            fetch: FetchOptions {
                clock: clock.clone(),
                ..FetchOptions::default()
            },
            ..ViewOptions::default()
        };
        let mut options = CompactorOptions {
            view,
            ..CompactorOptions::default()
        };
        change(&mut work, &mut options);
        let (work, metrics) = (Arc::new(work), options.metrics.clone());
        let compactor = Compactor::new(bucket.clone(), work.clone(), options).unwrap();
        Self {
            bucket,
            clock,
            work,
            metrics,
            compactor,
        }
    }

    async fn put(&self, blocks: impl IntoIterator<Item = BlockEntry>) {
        for entry in blocks {
            put(&self.bucket, &entry.meta).await.unwrap();
        }
    }

    fn wait(&self, ms: i64) {
        self.clock.0.fetch_add(ms, Ordering::Relaxed);
    }

    async fn has(&self, object: String) -> bool {
        self.bucket.exists(&object).await.unwrap()
    }

    async fn is_marked(&self, id: BlockId) -> bool {
        self.has(format!("{id}/{}", DeletionMark::FILE)).await
    }

    /// The blocks that nobody wants to delete, by their times.
    async fn blocks(&self) -> Vec<(i64, i64, Meta)> {
        let blocks = self.compactor.all_blocks().await.unwrap().into_iter();
        let mut blocks: Vec<_> = blocks
            .filter(|entry| entry.marks.deletion.is_none())
            .map(|entry| {
                let meta = entry.meta.clone();
                (meta.min_time.as_millis(), meta.max_time.as_millis(), meta)
            })
            .collect();
        blocks.sort_by_key(|(min, max, meta)| (*min, *max, meta.ulid));
        blocks
    }

    fn metric(&self, line: &str) -> bool {
        let mut registry = Registry::default();
        self.metrics.register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        text.lines().any(|found| found == line)
    }
}

fn run(test: impl Future<Output = ()>) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().unwrap().block_on(test);
}

/// A block of two hours, of this stream.
fn two_hours(number: u32, hour: i64, labels: &[(&str, &str)]) -> BlockEntry {
    labelled(block(number, hour * HOUR, (hour + 2) * HOUR), labels, 0)
}

/// C-01, C-04: blocks of two hours end as one of 14 days, and nothing of it is lost; then both downsamplings.
#[test]
fn two_weeks_become_one_block() {
    run(async {
        let rig = Rig::new(|_, _| ());
        let hours =
            (0..15 * 12).map(|number| two_hours(number, i64::from(number) * 2, &[("a", "1")]));
        rig.put(hours).await;
        rig.compactor.iterate().await.unwrap();
        let blocks = rig.blocks().await;
        let whole: Vec<&Meta> = blocks
            .iter()
            .filter(|(min, max, _)| (*min, *max) == (0, 14 * DAY))
            .map(|(_, _, meta)| meta)
            .collect();
        let resolutions: Vec<i64> = whole.iter().map(|meta| meta.resolution_ms()).collect();
        assert_eq!(resolutions, [0, 300_000, 3_600_000]);
        for meta in whole {
            assert_eq!(meta.compaction.sources.len(), 14 * 12);
            assert_eq!(meta.compaction.level, 4);
        }
        // The last day waits for the next: 8 hours, 8 hours, and four blocks of two, of which the last is the newest.
        let rest: Vec<i64> = blocks
            .iter()
            .filter(|(min, ..)| *min >= 14 * DAY)
            .map(|(min, max, _)| (max - min) / HOUR)
            .collect();
        assert_eq!(rest, [8, 8, 2, 2, 2, 2]);
        assert!(rig.metric("thanos_compact_iterations_total 1"));
        assert!(rig.metric("thanos_compact_halted 0"));

        rig.work.log();
        rig.compactor.iterate().await.unwrap();
        assert_eq!(rig.work.log(), [""; 0], "nothing is left to do");
    });
}

/// C-12, C-25, C-26: replicas become one block without the replica label; what is fresh is left alone.
#[test]
fn replicas_become_one_block() {
    run(async {
        let rig = Rig::new(|_, options| {
            options.view.replica_labels = vec!["replica".to_owned(), "rule".to_owned()];
        });
        rig.put([
            two_hours(1, 0, &[("a", "1"), ("replica", "x")]),
            two_hours(2, 0, &[("a", "1"), ("replica", "y")]),
            two_hours(3, 2, &[("replica", "x")]),
            two_hours(4, 2, &[("rule", "y")]),
        ])
        .await;
        let mut fresh = two_hours(5, 0, &[("a", "1"), ("replica", "z")]);
        fresh.meta.ulid = BlockId::from_parts(SystemClock.now(), 5);
        rig.put([fresh.clone()]).await;
        rig.compactor.iterate().await.unwrap();
        let labels: Vec<BTreeMap<String, String>> = rig
            .blocks()
            .await
            .into_iter()
            .map(|(_, _, meta)| meta.thanos.unwrap().labels)
            .collect();
        let expected = [
            fresh.meta.thanos.unwrap().labels,
            [("a".to_owned(), "1".to_owned())].into(),
            [("replica".to_owned(), "deduped".to_owned())].into(),
        ];
        assert_eq!(labels.len(), 3);
        assert!(
            expected.iter().all(|wanted| labels.contains(wanted)),
            "{labels:?}"
        );
        assert!(rig.metric("thanos_compact_group_vertical_compactions_total{resolution=\"0\"} 2"));
        assert!(rig.metric(
            "thanos_compact_blocks_marked_total{marker=\"deletion-mark.json\",reason=\"\"} 4"
        ));
        assert!(rig.metric("thanos_compact_garbage_collected_blocks_total 4"));
    });
}

/// C-27, A-03: sources that a compactor left behind are marked, but not those that were just deleted.
#[test]
fn what_a_dead_compactor_left_is_marked() {
    run(async {
        let rig = Rig::new(|_, _| ());
        let mut whole = block(10, 0, 4 * HOUR);
        whole.meta.compaction = Compaction {
            level: 2,
            sources: vec![block_id(1), block_id(2)],
            ..Compaction::default()
        };
        rig.put([two_hours(1, 0, &[]), two_hours(2, 2, &[]), whole])
            .await;
        let old = SystemClock.now() + (-49 * HOUR);
        let mark = DeletionMark::new(block_id(2), old, "");
        mark_block(&rig.bucket, &mark).await.unwrap();
        rig.compactor.iterate().await.unwrap();
        assert!(rig.is_marked(block_id(1)).await);
        assert_eq!(
            rig.bucket
                .objects_under(&block_id(2).to_string())
                .await
                .unwrap(),
            []
        );
        assert!(rig.metric("thanos_compact_garbage_collected_blocks_total 1"));
        assert!(rig.metric("thanos_compact_garbage_collection_total 1"));
        assert!(rig.metric("thanos_compact_blocks_cleaned_total 1"));
    });
}

/// A compacted block that is to be deleted takes nothing with it.
#[test]
fn sources_of_a_doomed_block_are_no_garbage() {
    run(async {
        let rig = Rig::new(|_, _| ());
        let mut whole = block(10, 0, 4 * HOUR);
        whole.meta.compaction.sources = vec![block_id(1), block_id(2)];
        rig.put([two_hours(1, 0, &[]), two_hours(2, 2, &[]), whole])
            .await;
        let mark = DeletionMark::new(block_id(10), SystemClock.now(), "it is wrong");
        mark_block(&rig.bucket, &mark).await.unwrap();
        rig.compactor.iterate().await.unwrap();
        rig.wait(49 * HOUR);
        rig.compactor.iterate().await.unwrap();
        assert_eq!(rig.blocks().await.len(), 2);
    });
}

/// C-22: a marked block stays for the delay.
#[test]
fn marked_blocks_go_after_the_delay() {
    run(async {
        let rig = Rig::new(|_, _| ());
        rig.put([two_hours(1, 0, &[])]).await;
        let mark = DeletionMark::new(block_id(1), SystemClock.now(), "");
        mark_block(&rig.bucket, &mark).await.unwrap();
        let index = || format!("{}/index", block_id(1));
        for _ in 0..2 {
            rig.compactor.iterate().await.unwrap();
            assert!(rig.has(index()).await);
            rig.wait(23 * HOUR + HOUR / 2);
        }
        rig.wait(2 * HOUR);
        rig.compactor.iterate().await.unwrap();
        assert!(!rig.has(index()).await);
        assert!(!rig.is_marked(block_id(1)).await);
    });
}

/// C-23: what uploads and deletions left goes, damaged blocks and those of others' uploads do not.
#[test]
fn broken_uploads_are_removed() {
    run(async {
        let rig = Rig::new(|_, _| ());
        let object = |number, name: &str| format!("{}/{name}", block_id(number));
        for number in [1, 2, 3] {
            rig.bucket
                .put(&object(number, "index"), "".into())
                .await
                .unwrap();
        }
        rig.bucket
            .put(&object(4, META_FILE), "{".into())
            .await
            .unwrap();
        let now = SystemClock.now();
        for (number, marked) in [(2, now), (3, now + 48 * HOUR)] {
            let mark = DeletionMark::new(block_id(number), marked, "");
            mark_block(&rig.bucket, &mark).await.unwrap();
        }
        let left = async |rig: &Rig| {
            let all = rig.bucket.top_directories().await.unwrap();
            let numbers = (1..=5).filter(|number| all.contains(&block_id(*number).to_string()));
            numbers.collect::<Vec<_>>()
        };
        rig.compactor.iterate().await.unwrap();
        assert_eq!(left(&rig).await, [1, 2, 3, 4]);
        rig.wait(48 * HOUR + 60_000);
        rig.bucket
            .put(&object(5, "index"), "".into())
            .await
            .unwrap();
        rig.compactor.iterate().await.unwrap();
        // What was written now is 48 hours old for this clock; only marks tell 2 and 3 apart.
        assert_eq!(left(&rig).await, [3, 4]);
        assert!(rig.metric("thanos_compact_aborted_partial_uploads_deletion_attempts_total 2"));
        assert!(rig.metric("thanos_compact_blocks_cleaned_total 3"));
        assert!(rig.metric("thanos_compact_block_cleanup_loops_total 2"));
        // The same view again: what is gone is not deleted once more.
        rig.compactor.clean_partial().await;
        assert!(rig.metric("thanos_compact_aborted_partial_uploads_deletion_attempts_total 2"));
        assert!(rig.metric("thanos_compact_blocks_cleaned_total 3"));
    });
}

/// Pain 2 and pain 9: a group that fails keeps neither the others nor retention from being done.
#[test]
fn a_group_that_fails_stops_nothing_else() {
    run(async {
        let rig = Rig::new(|work, options| {
            work.fails = Some(("a", "1"));
            options.retention = Retention {
                raw_ms: 40 * HOUR,
                downsampling: Downsampling::Off,
                ..Retention::default()
            };
        });
        let recent = SystemClock.now().as_millis() / (2 * DAY) * 48 - 8;
        for (stream, value) in [(0, "1"), (10, "2")] {
            rig.put(
                (0..5)
                    .map(|n| two_hours(stream + n, recent - 8 + i64::from(n) * 2, &[("a", value)])),
            )
            .await;
        }
        rig.put([two_hours(30, 0, &[("a", "3")])]).await;
        let error = rig.compactor.iterate().await.unwrap_err();
        assert!(
            error.is_retryable() && error.to_string().contains("the disk is full"),
            "{error}"
        );
        assert_eq!(rig.work.log(), ["4 blocks"]);
        assert!(rig.is_marked(block_id(30)).await, "retention");
        for line in [
            "thanos_compact_retries_total 1",
            "thanos_compact_iterations_total 0",
            "thanos_compact_halted 0",
            "thanos_compact_group_compactions_failures_total{resolution=\"0\"} 1",
            "thanos_compact_group_compactions_total{resolution=\"0\"} 1",
        ] {
            assert!(rig.metric(line), "{line}");
        }
    });
}

/// A bad block is put aside and its group goes on without it.
#[test]
fn a_group_goes_on_without_a_bad_block() {
    run(async {
        let rig = Rig::new(|work, _| work.bad = vec![block_id(0)]);
        rig.put((0..5).map(|number| two_hours(number, i64::from(number) * 2, &[])))
            .await;
        rig.compactor.iterate().await.unwrap();
        assert_eq!(rig.work.log(), ["3 blocks"]);
        let times: Vec<_> = rig
            .blocks()
            .await
            .iter()
            .map(|b| (b.0 / HOUR, b.1 / HOUR))
            .collect();
        assert_eq!(times, [(0, 2), (2, 8), (8, 10)]);
    });
}

/// C-20: retention waits for the copies that it makes itself.
#[test]
fn the_last_short_block_is_downsampled_before_it_goes() {
    run(async {
        let rig = Rig::new(|_, options| options.retention.raw_ms = 40 * HOUR);
        rig.put([two_hours(1, 0, &[])]).await;
        rig.compactor.iterate().await.unwrap();
        assert_eq!(rig.work.log(), ["to 300000"]);
        assert!(rig.is_marked(block_id(1)).await);
        assert_eq!(rig.blocks().await.len(), 1);

        // C-18: whoever does not want it downsampled keeps it.
        let rig = Rig::new(|_, options| options.retention.raw_ms = 40 * HOUR);
        rig.put([two_hours(1, 0, &[])]).await;
        let mark = NoDownsampleMark::new(block_id(1), SystemClock.now(), "");
        mark_block(&rig.bucket, &mark).await.unwrap();
        rig.compactor.iterate().await.unwrap();
        assert!(!rig.is_marked(block_id(1)).await);
        assert!(rig.metric("thanos_compact_retention_kept_blocks 1"));
    });
}

/// C-14: overlapping downsampled blocks are marked once, and nothing crashes (E-04).
#[test]
fn downsampled_overlaps_are_put_aside() {
    run(async {
        let rig = Rig::new(|_, _| ());
        let five = |number, from, to| labelled(block(number, from * HOUR, to * HOUR), &[], 300_000);
        rig.put([five(1, 0, 2), five(2, 1, 3)]).await;
        for _ in 0..2 {
            rig.compactor.iterate().await.unwrap();
        }
        let object = format!("{}/{}", block_id(1), NoCompactMark::FILE);
        let mark = rig.bucket.read(&object, 1 << 20).await.unwrap();
        let mark = NoCompactMark::parse(&mark).unwrap();
        assert_eq!(mark.reason, "downsample-vertical-compaction");
        assert!(rig.metric(
            "thanos_compact_blocks_marked_total{marker=\"no-compact-mark.json\",reason=\"downsample-vertical-compaction\"} 2"
        ));
        assert_eq!(rig.work.log(), [""; 0]);
    });
}

/// Hooks that keep all sources, count calls, and refuse one stream.
#[derive(Debug, Default)]
struct Strict {
    after: AtomicU32,
}

#[async_trait]
impl Hooks for Strict {
    fn can_delete(&self, _: &Group, _: BlockId) -> bool {
        false
    }

    async fn before_compaction(&self, group: &Group, _: &Plan) -> Result<()> {
        match group.labels.contains_key("refused") {
            true => Err(Error::invalid("not this stream")),
            false => Ok(()),
        }
    }

    async fn after_compaction(&self, _: &Group, _: &Meta) -> Result<()> {
        self.after.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// A planner that wants everything to be one block.
#[derive(Debug)]
struct AllAtOnce;

impl Planner for AllAtOnce {
    fn plan(&self, group: &Group) -> planner::Planned {
        let plan = Plan {
            blocks: group.blocks.clone(),
            kind: PlanKind::Range,
            shards: 1,
        };
        let plan = (plan.blocks.len() > 1).then_some(plan);
        let marks = Vec::new();
        planner::Planned { plan, marks }
    }
}

/// C-34: embedders plan, are asked and are told.
#[test]
fn embedders_decide() {
    run(async {
        let hooks = Arc::new(Strict::default());
        let rig = Rig::new(|_, options| {
            options.planner = Arc::new(AllAtOnce);
            options.hooks = hooks.clone();
        });
        rig.put((0..3).map(|number| two_hours(number, i64::from(number) * 2, &[])))
            .await;
        rig.put(
            (10..12).map(|number| two_hours(number, i64::from(number) * 2, &[("refused", "")])),
        )
        .await;
        let error = rig.compactor.iterate().await.unwrap_err();
        assert!(error.to_string().contains("not this stream"), "{error}");
        assert_eq!(rig.work.log(), ["3 blocks"]);
        assert_eq!(hooks.after.load(Ordering::Relaxed), 1);
        assert!(rig.metric("thanos_compact_retries_total 0"));
        // C-27 marks what the compaction has kept, and asks nobody: it is garbage.
        assert!(rig.is_marked(block_id(0)).await);
    });
}

/// C-28: what is shown is what would be done.
#[test]
fn progress_is_shown() {
    run(async {
        let rig = Rig::new(|_, _| ());
        rig.put((0..5).map(|number| two_hours(number, i64::from(number) * 2, &[])))
            .await;
        let found = rig.compactor.show_progress().await.unwrap();
        assert_eq!((found.compactions, found.compaction_blocks), (1, 4));
        assert!(rig.metric("thanos_compact_todo_compactions 1"));
        assert!(rig.metric("thanos_compact_todo_compaction_blocks 4"));
        rig.compactor.iterate().await.unwrap();
        rig.compactor.show_progress().await.unwrap();
        assert!(rig.metric("thanos_compact_todo_compactions 0"));
        assert!(rig.metric("thanos_compact_oldest_uncompacted_age_seconds 0.0"));
    });
}

/// C-21, and settings that make no sense.
#[test]
fn settings_are_checked() {
    let bucket = Bucket::new(Arc::new(InMemory::new()));
    let work = Rig::new(|_, _| ()).work;
    for (options, expected) in [
        (
            CompactorOptions {
                concurrency: 0,
                ..CompactorOptions::default()
            },
            "concurrency level must be > 0",
        ),
        (
            CompactorOptions {
                retention: Retention {
                    raw_ms: 1,
                    ..Retention::default()
                },
                ..CompactorOptions::default()
            },
            "(40 hours)",
        ),
    ] {
        let error = Compactor::new(bucket.clone(), work.clone(), options).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
}

/// A look at the bucket that hangs ends after its time, and the next one is tried.
#[tokio::test(start_paused = true)]
async fn a_look_at_the_bucket_ends_in_time() {
    let slow = LatencyModel::of_requests(Duration::from_secs(3600));
    let store = LatencyStore::new(Arc::new(InMemory::new()), slow);
    let bucket = Bucket::new(Arc::new(store));
    let options = CompactorOptions {
        sync_timeout: Some(Duration::from_secs(300)),
        ..CompactorOptions::default()
    };
    let work = FakeWork {
        bucket: bucket.clone(),
        next: AtomicU32::new(1),
        log: Mutex::default(),
        fails: None,
        bad: Vec::new(),
    };
    let compactor = Compactor::new(bucket, Arc::new(work), options).unwrap();
    let started = tokio::time::Instant::now();
    let error = compactor.sync().await.unwrap_err();
    assert!(error.is_retryable(), "{error}");
    assert!(error.to_string().contains("300s"), "{error}");
    assert_eq!(started.elapsed(), Duration::from_secs(300));
}

/// Embedders may run it as a task of their own.
#[test]
fn futures_of_a_compactor_go_to_any_thread() {
    fn is_send<T: Send>(_: impl FnOnce(&'static Compactor) -> T) {}

    is_send(Compactor::iterate);
    is_send(Compactor::sync);
    is_send(Compactor::compact);
    is_send(Compactor::downsample);
    is_send(Compactor::apply_retention);
    is_send(Compactor::delete_marked);
    is_send(Compactor::clean_partial);
    is_send(Compactor::show_progress);
    is_send(Compactor::all_blocks);
    is_send(Compactor::finish);
}
