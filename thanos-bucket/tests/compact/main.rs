//! The compactor under faults: crashes, errors and lost answers at every step, several workers, damaged blocks.
//!
//! `THANOS_TEST_LONG` runs many more schedules; `THANOS_FAULT_SEED` runs one.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod damaged;
mod jobs;
mod model;
mod scale;
mod schedules;
mod tools;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use thanos_bucket::Bucket;
use thanos_bucket::compact::job::{ChunkTransfer, JobOptions, JobRunner};
use thanos_bucket::compact::lease::{LeaseOptions, Leases};
use thanos_bucket::compact::{Compactor, CompactorOptions, ViewOptions};
use thanos_bucket::fetch::FetchOptions;
use thanos_core::Result;
use thanos_core::testkit::TempDir;
use thanos_core::time::{Clock, Timestamp};

const TTL_MS: i64 = 60_000;
const SKEW_MS: i64 = 1000;

fn is_long() -> bool {
    std::env::var_os("THANOS_TEST_LONG").is_some()
}

/// A clock that a test moves.
#[derive(Debug)]
struct Hands(AtomicI64);

impl Hands {
    /// A day after the generated blocks were made.
    fn new() -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(1_700_000_000_000 + 24 * 3_600_000)))
    }

    fn forward(&self, ms: i64) {
        self.0.fetch_add(ms, Ordering::Relaxed);
    }
}

impl Clock for Hands {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::Relaxed))
    }
}

/// One process of several that share a bucket.
struct Worker {
    compactor: Compactor,
    runner: JobRunner,
}

impl Worker {
    /// Starts a process called `owner` that works in `dir`.
    async fn start(
        bucket: &Bucket,
        owner: String,
        dir: &TempDir,
        clock: &Arc<Hands>,
        concurrency: usize,
    ) -> Result<Self> {
        let transfer = ChunkTransfer::default();
        Self::start_with(bucket, owner, dir, clock, concurrency, transfer).await
    }

    /// Starts a process whose chunks come as `chunk_transfer` says.
    async fn start_with(
        bucket: &Bucket,
        owner: String,
        dir: &TempDir,
        clock: &Arc<Hands>,
        concurrency: usize,
        chunk_transfer: ChunkTransfer,
    ) -> Result<Self> {
        let leases = LeaseOptions {
            owner,
            ttl_ms: TTL_MS,
            clock_skew_ms: SKEW_MS,
            clock: clock.clone(),
        };
        let leases = Leases::open(bucket.clone(), leases).await?;
        let jobs = JobOptions {
            clock: clock.clone(),
            disk_bytes_max: Some(1 << 30),
            disk: Arc::new(Endless),
            chunk_transfer,
            ..JobOptions::new(dir.path())
        };
        let runner = JobRunner::new(bucket.clone(), leases, jobs);
        let view = ViewOptions {
            fetch: FetchOptions {
                clock: clock.clone(),
                ..FetchOptions::default()
            },
            ..ViewOptions::default()
        };
        let options = CompactorOptions {
            view,
            concurrency,
            ..CompactorOptions::default()
        };
        Ok(Self {
            compactor: Compactor::new(bucket.clone(), Arc::new(runner.clone()), options)?,
            runner,
        })
    }
}

/// A disk without an end.
#[derive(Debug)]
struct Endless;

impl thanos_bucket::compact::job::FreeDisk for Endless {
    fn free_bytes(&self, _: &std::path::Path) -> Option<u64> {
        None
    }
}
