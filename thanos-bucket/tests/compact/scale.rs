//! Several workers: each does its own share, and leases cost little.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use object_store::memory::InMemory;
use thanos_bucket::Bucket;
use thanos_bucket::compact::work::{Hooks, NoHooks, Outcome, Work};
use thanos_bucket::compact::{DefaultGrouper, DefaultPlanner, Grouper, Planner};
use thanos_bucket::testkit::{LatencyModel, LatencyStore};
use thanos_core::testkit::TempDir;
use tokio::time::Instant;

use crate::model::Model;
use crate::{Hands, Worker};

/// Returns the simulated time that `workers` take for 16 groups.
async fn time_of(model: &Model, workers: usize) -> Duration {
    let latency = LatencyModel::of_requests(Duration::from_millis(10));
    let store = Arc::new(LatencyStore::new(Arc::new(InMemory::new()), latency));
    let bucket = Bucket::new(store);
    for group in 0..16 {
        model.upload(&bucket, group).await;
    }
    let (clock, mut started) = (Hands::new(), Vec::new());
    for number in 0..workers {
        let dir = TempDir::new("scale");
        let worker = Worker::start(&bucket, number.to_string(), &dir, &clock, 1);
        started.push((worker.await.unwrap(), dir));
    }
    let view = started[0].0.compactor.sync().await.unwrap();
    let groups = DefaultGrouper.groups(&view.unmarked());
    assert_eq!(groups.len(), 16);
    let start = Instant::now();
    let shares = started.iter().enumerate().map(|(number, (worker, _))| {
        let share: Vec<_> = groups.iter().skip(number).step_by(workers).collect();
        async move {
            let hooks: Arc<dyn Hooks> = Arc::new(NoHooks);
            let mut share = futures::stream::iter(share);
            while let Some(group) = share.next().await {
                let plan = DefaultPlanner::default().plan(group).plan.unwrap();
                let outcome = worker.runner.compact(group, &plan, &hooks).await.unwrap();
                assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
            }
        }
    });
    futures::future::join_all(shares).await;
    start.elapsed()
}

/// N workers on groups of their own do at least 0.8 N times as much as one, in simulated time.
#[tokio::test(start_paused = true)]
async fn throughput_grows_with_the_workers() {
    let model = Model::new();
    let alone = time_of(&model, 1).await;
    for workers in [2, 4, 8] {
        let together = time_of(&model, workers).await;
        let factor = alone.as_secs_f64() / together.as_secs_f64();
        println!("{workers} workers: {factor:.2} times as much as one");
        assert!(
            factor >= 0.8 * workers as f64,
            "{workers} workers: {factor}"
        );
    }
}
