//! `/debug/pprof/` of real processes.

use std::io::Read as _;
use std::sync::atomic::{AtomicBool, Ordering};

use thanos_core::testkit::TempDir;

use crate::programs::{Store, standalone};

/// every role tells what it does; a profile of a querier that computes names its functions.
#[test]
fn profiles_name_what_computes() {
    let directory = TempDir::new("e2e-debug");
    let store = Store::start(directory.path());
    for path in ["/debug/pprof/", "/debug/pprof/threadcreate?debug=1"] {
        assert_eq!(store.http.get(path).status, 200, "{path}");
    }
    let peer = standalone(directory.path());
    let is_done = AtomicBool::new(false);
    let profile = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_done.load(Ordering::Relaxed) {
                let query = "sum_over_time(sin(vector(time()))%5B1h:1s%5D)";
                let range = "start=1000000&end=1040000&step=60";
                let path = format!("/api/v1/query_range?query={query}&{range}");
                assert_eq!(peer.get(&path).status, 200);
            }
        });
        let profile = peer.get("/debug/pprof/profile?seconds=3");
        is_done.store(true, Ordering::Relaxed);
        profile
    });
    assert_eq!(profile.status, 200);
    let mut message = Vec::new();
    flate2::read::GzDecoder::new(&*profile.body)
        .read_to_end(&mut message)
        .unwrap();
    let text = String::from_utf8_lossy(&message);
    for expected in ["nanoseconds", "thanos-promql/src/", "tokio"] {
        assert!(
            text.contains(expected),
            "no {expected} in {} bytes",
            text.len()
        );
    }
}
