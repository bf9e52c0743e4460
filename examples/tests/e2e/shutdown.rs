//! How a store gateway ends while it is asked.

use std::process::Command;
use std::time::{Duration, Instant};

use futures::TryStreamExt;
use thanos_core::labels::{Labels, Matcher};
use thanos_core::query::{SeriesEvent, SeriesStream};
use thanos_core::testkit::TempDir;
use thanos_core::time::TimeRange;
use thanos_storeapi::client::{ClientSettings, RemoteStore};
use thanos_storeapi::store::{SeriesRequest, Store as _};

use crate::blocks::{Kind, OLD_MS, Outside};
use crate::programs::{Store, directory_bucket};

const SERIES: usize = 20_000;

/// A store gateway over a block, and a call of which little has been taken.
struct Scene {
    outside: Outside,
    store: Store,
    answer: SeriesStream,
    /// How many series have been taken.
    taken: usize,
    _directory: TempDir,
}

impl Scene {
    /// Starts a call that cannot end because its client takes no more of it.
    fn start(grace_period: &str) -> Self {
        let directory = TempDir::new("e2e-shutdown");
        let yaml = directory_bucket(directory.path());
        let outside = Outside::open(&yaml);
        let series: Vec<Labels> = (0..SERIES)
            .map(|at| Labels::from_pairs([("a", "1"), ("b", &*format!("{at:050}"))]))
            .collect();
        outside.upload_series(&series, Kind::Float, &[("replica", "1")], OLD_MS);
        let store = Store::over(&yaml, &[&format!("--grpc-grace-period={grace_period}")]);
        let entered = outside.runtime.enter();
        let small = 64 << 10;
        let settings = ClientSettings {
            stream_window_bytes: small,
            connection_window_bytes: small,
            ..ClientSettings::default()
        };
        let client = RemoteStore::new(&store.grpc_address, settings).unwrap();
        let request = SeriesRequest {
            range: TimeRange::ALL,
            matchers: vec![Matcher::equal("a", "1")],
            ..SeriesRequest::default()
        };
        drop(entered);
        let mut answer = outside.runtime.block_on(client.series(request)).unwrap();
        let first = outside
            .runtime
            .block_on(answer.try_next())
            .unwrap()
            .unwrap();
        let taken = count(&first);
        assert!(taken < SERIES);
        Self {
            outside,
            store,
            answer,
            taken,
            _directory: directory,
        }
    }

    /// Asks the store to end, and waits until it says that it is not ready.
    fn stop(&self) {
        let pid = self.store.http.pid().to_string();
        let asked = Command::new("kill").args(["-TERM", &pid]).status();
        assert!(asked.unwrap().success());
        let started = Instant::now();
        while self.store.http.get("/-/ready").status != 503 {
            assert!(
                started.elapsed() < Duration::from_secs(10),
                "{}",
                self.store.http.log()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn count(event: &SeriesEvent) -> usize {
    match event {
        SeriesEvent::Batch(batch) => batch.len(),
        other => panic!("{other:?}"),
    }
}

/// after SIGTERM an open call is answered to its end, while the store says that it is not ready.
#[test]
fn open_calls_are_answered_after_sigterm() {
    let mut scene = Scene::start("60s");
    scene.stop();
    assert_eq!(scene.store.http.get("/-/healthy").status, 200);
    let mut taken = scene.taken;
    while let Some(event) = scene
        .outside
        .runtime
        .block_on(scene.answer.try_next())
        .unwrap()
    {
        taken += count(&event);
    }
    assert_eq!(taken, SERIES);
    let status = scene.store.http.wait(Duration::from_secs(10));
    assert!(status.success(), "{status}\n{}", scene.store.http.log());
}

/// a call that does not end is cancelled at the end of the grace period, and its client is told.
#[test]
fn calls_that_do_not_end_are_cancelled_after_the_grace_period() {
    let mut scene = Scene::start("1s");
    let started = Instant::now();
    scene.stop();
    let status = scene.store.http.wait(Duration::from_secs(10));
    assert!(status.success(), "{status}\n{}", scene.store.http.log());
    assert!(
        started.elapsed() >= Duration::from_secs(1),
        "the call had no time"
    );
    let rest: Result<Vec<_>, _> = scene.outside.runtime.block_on(scene.answer.try_collect());
    assert!(rest.is_err(), "an answer that was cut off looks complete");
}
