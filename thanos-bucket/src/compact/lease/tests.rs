use std::sync::atomic::AtomicI64;

use object_store::memory::InMemory;
use thanos_core::time::Timestamp;

use super::*;
use crate::testkit::{FaultPlan, FaultyStore, StoreFault};

/// A clock that a test moves.
#[derive(Debug, Default)]
struct Hands(AtomicI64);

impl Clock for Hands {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::Relaxed))
    }
}

impl Hands {
    fn forward(&self, ms: i64) {
        self.0.fetch_add(ms, Ordering::Relaxed);
    }
}

const TTL_MS: i64 = 60_000;
const JOB: &str = "compact/0@1";

struct Rig {
    store: Arc<FaultyStore>,
    bucket: Bucket,
    clock: Arc<Hands>,
}

impl Rig {
    fn new() -> Self {
        let store = Arc::new(FaultyStore::new(Arc::new(InMemory::new())));
        Self {
            bucket: Bucket::new(store.clone()),
            store,
            clock: Arc::default(),
        }
    }

    async fn worker(&self, owner: &str) -> Leases {
        let options = LeaseOptions {
            owner: owner.to_owned(),
            ttl_ms: TTL_MS,
            clock_skew_ms: 1000,
            clock: self.clock.clone(),
        };
        Leases::open(self.bucket.clone(), options).await.unwrap()
    }

    /// Moves the time on until everything that was written is old.
    fn forget_all(&self) {
        let ahead = SystemClock.now().as_millis() + KEPT_MS + TTL_MS;
        self.clock.forward(ahead);
    }

    async fn slots(&self) -> Vec<String> {
        let found = self.bucket.objects_under("thanos-jobs/v1").await.unwrap();
        let name = |(name, _): (String, u64)| name.rsplit_once('/').unwrap().1.to_owned();
        found.into_iter().map(name).collect()
    }
}

async fn held(leases: &Leases) -> Box<Lease> {
    match leases.acquire(JOB).await.unwrap() {
        Acquired::Held(lease) => lease,
        Acquired::Elsewhere => panic!("the lease is held by somebody else"),
    }
}

async fn is_elsewhere(leases: &Leases) -> bool {
    matches!(leases.acquire(JOB).await.unwrap(), Acquired::Elsewhere)
}

#[tokio::test(start_paused = true)]
async fn a_lease_excludes_others_until_it_is_released_or_runs_out() {
    let rig = Rig::new();
    let (a, b) = (rig.worker("a").await, rig.worker("b").await);
    assert_eq!(a.coordination(), Coordination::Shared);
    assert_eq!(rig.slots().await, [""; 0], "the probe is gone");
    let lease = held(&a).await;
    assert!(is_elsewhere(&b).await);
    lease.release().await;
    let lease = held(&b).await;
    assert!(is_elsewhere(&a).await);
    // It died: nobody renews it.
    drop(lease);
    rig.clock.forward(TTL_MS);
    assert!(is_elsewhere(&a).await, "clocks may differ");
    rig.clock.forward(1001);
    held(&a).await;
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_renewed_while_it_is_held() {
    let rig = Rig::new();
    let (a, b) = (rig.worker("a").await, rig.worker("b").await);
    let lease = held(&a).await;
    for _ in 0..20 {
        rig.clock.forward(TTL_MS / 3);
        tokio::time::sleep(Duration::from_millis(20_001)).await;
        assert!(is_elsewhere(&b).await);
    }
    drop(lease);
}

/// The fencing: whoever has lost the lease can decide nothing, and is told.
#[tokio::test(start_paused = true)]
async fn a_late_worker_decides_nothing() {
    let rig = Rig::new();
    let (a, b) = (rig.worker("a").await, rig.worker("b").await);
    let late = held(&a).await;
    rig.clock.forward(TTL_MS + 1001);
    let now = held(&b).await;
    assert_ne!(late.block_id(0), now.block_id(0));
    let decided = now.commit(now.decision()).await.unwrap();
    assert!(matches!(decided, Committed::Yes(_)));
    let void = late.commit(late.decision()).await.unwrap();
    assert!(matches!(void, Committed::Lost));

    let late = held(&a).await;
    rig.clock.forward(TTL_MS + 1001);
    let _now = held(&b).await;
    tokio::time::timeout(Duration::from_secs(60), late.lost())
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_decision_is_left_to_whoever_comes_next_until_it_is_carried_out() {
    let rig = Rig::new();
    let (a, b) = (rig.worker("a").await, rig.worker("b").await);
    let lease = held(&a).await;
    let mut commit = lease.decision();
    commit.details = "of a".to_owned();
    lease.commit(commit).await.unwrap();
    drop(lease);
    // One dies over it, the next finds it all the same.
    drop(held(&b).await);
    rig.clock.forward(TTL_MS + 1001);
    let lease = held(&a).await;
    let unfinished = lease.unfinished().cloned().unwrap();
    assert_eq!(unfinished.details, "of a");
    lease.finish(unfinished).await.unwrap();
    lease.release().await;
    let lease = held(&b).await;
    assert!(lease.unfinished().is_none());
    assert_eq!(lease.previous().unwrap().details, "of a");
}

/// Somebody may read a decision before its owner has seen that nobody was in between: then it stands, and both carry it
/// out. One that was written over a slot that had been forgotten is void.
#[tokio::test(start_paused = true)]
async fn a_decision_that_the_next_one_knows_stands_and_another_is_void() {
    let rig = Rig::new();
    let (a, b) = (rig.worker("a").await, rig.worker("b").await);
    let lease = held(&a).await;
    let commit = lease.decision();
    lease.commit(commit.clone()).await.unwrap();
    let next = held(&b).await;
    assert!(next.unfinished().is_some());
    lease.check_stands(&commit).await.unwrap();
    next.finish(commit).await.unwrap();

    // The lease that came after `late` is forgotten, the one after that is not.
    let object = |slot: u64| format!("{JOURNALS}/{JOB}/{slot:010}.json");
    drop(next);
    rig.clock.forward(TTL_MS + 1001);
    let late = held(&a).await;
    rig.clock.forward(TTL_MS + 1001);
    drop(held(&b).await);
    rig.clock.forward(TTL_MS + 1001);
    drop(held(&b).await);
    rig.bucket.delete(&object(late.slot + 1)).await.unwrap();
    let error = late.commit(late.decision()).await.unwrap_err();
    assert!(error.to_string().contains("others have decided"), "{error}");
    assert!(held(&b).await.unfinished().is_none());

    // Nobody knows what a damaged lease knew.
    rig.clock.forward(TTL_MS + 1001);
    let lease = held(&a).await;
    let later = object(lease.slot + 2);
    rig.bucket.put(&later, "{".into()).await.unwrap();
    let error = lease.commit(lease.decision()).await.unwrap_err();
    assert!(error.to_string().contains("unknown whether"), "{error}");
}

/// Of any number of workers that ask at once, one gets the lease, however the store fails.
#[tokio::test(start_paused = true)]
async fn one_of_many_gets_the_lease() {
    let (mut held_count, mut failed) = (0, 0);
    for seed in 0..200 {
        let rig = Rig::new();
        let mut workers = Vec::new();
        for number in 0..5 {
            workers.push(rig.worker(&number.to_string()).await);
        }
        rig.store.start(FaultPlan {
            seed,
            per_mille: vec![
                (StoreFault::Unavailable, 150),
                (StoreFault::LostAnswer, 150),
                (StoreFault::Spike, 500),
            ],
            spike_max: Duration::from_secs(1),
            spared: Vec::new(),
        });
        let asked = workers.iter().map(|leases| leases.acquire(JOB));
        let answers = futures::future::join_all(asked).await;
        failed += answers.iter().filter(|answer| answer.is_err()).count();
        let leases = answers.into_iter().filter_map(|answer| match answer {
            Ok(Acquired::Held(lease)) => Some(lease),
            _ => None,
        });
        let leases: Vec<Box<Lease>> = leases.collect();
        assert!(leases.len() <= 1, "seed {seed}");
        held_count += leases.len();
    }
    assert!(held_count > 50 && failed > 50, "{held_count} {failed}");
}

#[tokio::test(start_paused = true)]
async fn journals_are_forgotten_when_nobody_can_ask_for_them() {
    let rig = Rig::new();
    let a = rig.worker("a").await;
    let lease = held(&a).await;
    lease.commit(lease.decision()).await.unwrap();
    lease.finish(lease.decision()).await.unwrap();
    drop(lease);
    a.sweep().await.unwrap();
    assert_eq!(rig.slots().await.len(), 2);
    rig.forget_all();
    a.sweep().await.unwrap();
    assert_eq!(rig.slots().await, [""; 0]);
}

/// A decision that was not carried out is not forgotten, whoever dies over it and however late it is.
#[tokio::test(start_paused = true)]
async fn an_unfinished_decision_is_never_forgotten() {
    let rig = Rig::new();
    let a = rig.worker("a").await;
    let lease = held(&a).await;
    let mut commit = lease.decision();
    commit.details = "of a".to_owned();
    lease.commit(commit).await.unwrap();
    drop(lease);
    rig.forget_all();
    a.sweep().await.unwrap();
    // Whoever has it dies over it, again and again.
    for owner in ["b", "c", "d"] {
        let worker = rig.worker(owner).await;
        let lease = held(&worker).await;
        let unfinished = lease.unfinished().map(|commit| commit.details.as_str());
        assert_eq!(unfinished, Some("of a"), "{owner}");
        drop(lease);
        rig.clock.forward(TTL_MS + 1001);
        worker.sweep().await.unwrap();
    }
    let lease = held(&a).await;
    lease
        .finish(lease.unfinished().cloned().unwrap())
        .await
        .unwrap();
    drop(lease);
    rig.forget_all();
    a.sweep().await.unwrap();
    assert_eq!(rig.slots().await, [""; 0]);
}

#[tokio::test]
async fn a_damaged_slot_stops_nobody_and_a_newer_one_does() {
    let rig = Rig::new();
    let a = rig.worker("a").await;
    let object = format!("{JOURNALS}/{JOB}/0000000007.json");
    rig.bucket.put(&object, "{".into()).await.unwrap();
    held(&a).await.release().await;
    rig.bucket
        .put(&object, r#"{"version":2}"#.into())
        .await
        .unwrap();
    assert_eq!(a.acquire(JOB).await.unwrap_err().kind(), ErrorKind::Invalid);
}

#[tokio::test]
async fn a_store_without_conditions_has_one_worker() {
    let directory = thanos_core::testkit::TempDir::new("leases");
    let bucket = crate::directory::open(directory.path()).unwrap();
    let leases = Leases::open(bucket.clone(), LeaseOptions::default()).await;
    assert_eq!(leases.unwrap().coordination(), Coordination::Shared);
    let alone = Leases::alone(bucket.clone(), LeaseOptions::default());
    let lease = held(&alone).await;
    let decided = lease.commit(lease.decision()).await.unwrap();
    assert!(matches!(decided, Committed::Yes(_)));
    lease.finish(lease.decision()).await.unwrap();
    assert_eq!(bucket.requests().puts, 2, "the probe of the first");
}
