//! Schedules: workers that share a bucket, each with a store of its own that fails, and that die in the middle.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::{Either, select};
use object_store::memory::InMemory;
use thanos_bucket::Bucket;
use thanos_bucket::compact::job::ChunkTransfer;
use thanos_bucket::testkit::{FaultPlan, FaultyStore, StoreFault};
use thanos_core::testkit::{TempDir, TestRandom};

use crate::model::{Model, Seen, visible};
use crate::{Hands, SKEW_MS, TTL_MS, Worker, is_long};

const GROUPS: u32 = 2;
const WORKERS: usize = 3;
const ROUNDS: usize = 3;

/// What happened in some schedules.
#[derive(Debug, Default)]
struct Report {
    schedules: u64,
    /// Workers that died, and those that came to their end.
    died: u64,
    ended: u64,
    injected: BTreeMap<StoreFault, usize>,
}

impl Report {
    fn add(&mut self, other: Self) {
        self.schedules += other.schedules;
        self.died += other.died;
        self.ended += other.ended;
        for (fault, count) in other.injected {
            *self.injected.entry(fault).or_default() += count;
        }
    }
}

fn faults(random: &mut TestRandom) -> FaultPlan {
    let often = u32::try_from(random.below(4)).unwrap();
    FaultPlan {
        seed: random.next_u64(),
        per_mille: vec![
            (StoreFault::Unavailable, 10 * often),
            (StoreFault::LostAnswer, 15 * often),
            (StoreFault::ResetInBody, 5 * often),
            (StoreFault::SilentlyShortBody, 5 * often),
            (StoreFault::Throttled, 5 * often),
            (StoreFault::Spike, 300),
        ],
        spike_max: Duration::from_secs(1),
        spared: Vec::new(),
    }
}

/// Runs one process until it has done an iteration, or dies: its store answers no more, and its work is dropped.
async fn live_and_die(
    inner: &Arc<InMemory>,
    owner: String,
    dir: &TempDir,
    clock: &Arc<Hands>,
    mut random: TestRandom,
) -> Report {
    let store = Arc::new(FaultyStore::new(inner.clone()));
    let bucket = Bucket::new(store.clone());
    store.start(faults(&mut random));
    if random.below(3) > 0 {
        store.die_after(random.below(250));
    }
    let mut report = Report::default();
    let transfer = [ChunkTransfer::Streamed, ChunkTransfer::Files];
    let transfer = transfer[usize::from(random.below(4) == 0)];
    let started = Worker::start_with(&bucket, owner, dir, clock, 2, transfer);
    if let Ok(worker) = started.await {
        let lifetime = Duration::from_millis(match random.below(3) {
            0 => random.below(60_000),
            _ => 3_600_000,
        });
        let lived = tokio::time::timeout(lifetime, worker.compactor.iterate()).await;
        if lived.is_err() {
            store.die_after(random.below(20));
        }
        match lived {
            Ok(Ok(())) => report.ended += 1,
            _ => report.died += 1,
        }
        worker.compactor.finish().await;
        worker.runner.finish().await;
    }
    report.injected = store.injected();
    report
}

/// Lets the clock jump in some rounds, so that leases run out while they are held, as if their holders had slept.
async fn time_flies(clock: &Hands, mut random: TestRandom) {
    if random.below(2) == 0 {
        return;
    }
    for _ in 0..random.below(30) {
        tokio::time::sleep(Duration::from_millis(random.below(4000))).await;
        clock.forward(TTL_MS + SKEW_MS + 1);
    }
}

async fn run(model: &Model, seed: u64) -> Report {
    let inner = Arc::new(InMemory::new());
    let bucket = Bucket::new(inner.clone());
    for group in 0..GROUPS {
        model.upload(&bucket, group).await;
    }
    let (clock, mut random) = (Hands::new(), TestRandom::new(seed));
    let mut seen = Seen::default();
    let all = seen.check(&bucket, "at first").await;
    assert_eq!(all.len(), 2 * 5 * 3 * 4);
    let dirs: Vec<TempDir> = (0..WORKERS).map(|_| TempDir::new("worker")).collect();
    let mut report = Report {
        schedules: 1,
        ..Report::default()
    };
    for round in 0..ROUNDS {
        let lives = dirs.iter().enumerate().map(|(number, dir)| {
            let random = TestRandom::new(random.next_u64());
            live_and_die(&inner, format!("{round}-{number}"), dir, &clock, random)
        });
        let lives: Vec<_> = lives.collect();
        let lives = futures::future::join_all(lives);
        let time = time_flies(&clock, TestRandom::new(random.next_u64()));
        let lived = match select(Box::pin(lives), Box::pin(time)).await {
            Either::Left((lived, _)) => lived,
            Either::Right(((), lives)) => lives.await,
        };
        for life in lived {
            report.add(life);
        }
        let what = format!("seed {seed} after round {round}");
        assert!(
            seen.check(&bucket, &what).await == all,
            "{what}: samples are lost"
        );
        let pause = random.below(3 * u64::try_from(TTL_MS).unwrap());
        clock.forward(i64::try_from(pause).unwrap());
    }
    clock.forward(TTL_MS + SKEW_MS + 1);
    let what = format!("seed {seed} at the end");
    let worker = Worker::start(&bucket, "last".to_owned(), &dirs[0], &clock, 2);
    let worker = worker.await.unwrap();
    worker.compactor.iterate().await.unwrap();
    worker.compactor.iterate().await.unwrap();
    assert!(
        seen.check(&bucket, &what).await == all,
        "{what}: samples are lost"
    );
    let staying = visible(&bucket).await;
    let staying = staying.values().filter(|(_, is_marked)| !is_marked);
    let levels: Vec<u32> = staying.map(|(meta, _)| meta.compaction.level).collect();
    let compacted = levels.iter().filter(|level| **level == 2).count();
    assert_eq!(
        (levels.len(), compacted),
        (4, 2),
        "{what}: each group has two blocks"
    );
    report
}

/// C-08, C-35: whatever dies or fails at whatever request, no partial block is visible, no sample is lost, and nothing is
/// published twice.
#[test]
fn nothing_is_lost_or_done_twice_whatever_fails() {
    let only: Option<u64> = std::env::var("THANOS_FAULT_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let count = if is_long() { 10_000 } else { 40 };
    let (first, count) = only.map_or((0, count), |seed| (seed, 1));
    let (model, next) = (Model::new(), AtomicU64::new(0));
    let total = Mutex::new(Report::default());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let seed = first + next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + count {
                        return;
                    }
                    let runtime = tokio::runtime::Builder::new_current_thread()
                        .enable_time()
                        .start_paused(true)
                        .build()
                        .unwrap();
                    let run = || runtime.block_on(run(&model, seed));
                    let report = catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| {
                        next.store(count, Ordering::Relaxed);
                        panic!("schedule failed: THANOS_FAULT_SEED={seed}");
                    });
                    total.lock().unwrap().add(report);
                }
            });
        }
    });
    let total = total.into_inner().unwrap();
    println!("{total:?}");
    if only.is_none() {
        assert_eq!(total.schedules, count);
        assert!(total.died > count && total.ended > count, "{total:?}");
        assert!(total.injected[&StoreFault::LostAnswer] > 50, "{total:?}");
    }
}
