use std::io::Read as _;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use prost::Message as _;
use tower::ServiceExt as _;

use super::profile::pb::Profile;
use super::*;

/// What was answered.
struct Answer {
    status: StatusCode,
    kind: String,
    body: Vec<u8>,
}

impl Answer {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

async fn get_of(router: &Router, path: &str) -> Answer {
    let request = Request::get(path).body(Body::empty()).unwrap();
    let answer = router.clone().oneshot(request).await.unwrap();
    Answer {
        status: answer.status(),
        kind: answer.headers()[CONTENT_TYPE].to_str().unwrap().to_owned(),
        body: to_bytes(answer.into_body(), 1 << 24).await.unwrap().into(),
    }
}

fn decoded(gzip: &[u8]) -> Profile {
    let mut message = Vec::new();
    let mut reader = flate2::read::GzDecoder::new(gzip);
    reader.read_to_end(&mut message).unwrap();
    Profile::decode(&*message).unwrap()
}

/// The sums of the last value of the samples in which each function is, and the threads that it ran on.
fn by_function(profile: &Profile) -> HashMap<String, (i64, Vec<String>)> {
    let text = |at: i64| profile.string_table[usize::try_from(at).unwrap()].clone();
    let mut found = HashMap::<String, (i64, Vec<String>)>::new();
    for sample in &profile.sample {
        let is_in = |id: &u64| sample.location_id.contains(id);
        let places = profile.location.iter().filter(|place| is_in(&place.id));
        let lines = places.flat_map(|place| &place.line);
        let mut functions: Vec<_> = lines.map(|line| line.function_id).collect();
        functions.sort_unstable();
        functions.dedup();
        for id in functions {
            let function = profile.function.iter().find(|f| f.id == id).unwrap();
            let (sum, threads) = found.entry(text(function.name)).or_default();
            *sum += sample.value.last().unwrap();
            threads.push(text(sample.label[0].text));
        }
    }
    found
}

/// Burns the time of a processor until `end`.
#[inline(never)]
fn burn_time_of_a_processor(end: &AtomicBool) -> u64 {
    let mut x = 1_u64;
    while !end.load(Ordering::Relaxed) {
        for i in 0..1000 {
            x = std::hint::black_box(x.wrapping_mul(31) ^ i);
        }
    }
    x
}

/// a CPU profile names what runs and on which thread; there is one at a time; it ends when its client goes away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn profiles_of_the_processor_are_taken_one_at_a_time() {
    let place = Arc::new(Semaphore::new(1));
    let router = routes_with(Arc::clone(&place));
    let end = Arc::new(AtomicBool::new(false));
    let burns = Arc::clone(&end);
    let burner = std::thread::Builder::new().name("burner".into());
    let burner = burner
        .spawn(move || burn_time_of_a_processor(&burns))
        .unwrap();

    let long = tokio::spawn({
        let router = router.clone();
        async move { get_of(&router, "/debug/pprof/profile").await.status }
    });
    while place.available_permits() > 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let refused = get_of(&router, "/debug/pprof/profile?seconds=1").await;
    assert_eq!(refused.status, StatusCode::INTERNAL_SERVER_ERROR);
    let said = "Could not enable CPU profiling: cpu profiling already in use\n";
    assert_eq!(refused.text(), said);
    long.abort();
    assert!(long.await.unwrap_err().is_cancelled());

    // The place is free long before the 30 seconds of the first one are over.
    let free = tokio::time::timeout(Duration::from_secs(20), place.acquire());
    drop(
        free.await
            .expect("the profile ends with its client")
            .unwrap(),
    );
    let answer = get_of(&router, "/debug/pprof/profile?seconds=2").await;
    assert_eq!(
        answer.status,
        StatusCode::OK,
        "{}",
        String::from_utf8_lossy(&answer.body)
    );
    end.store(true, Ordering::Relaxed);
    burner.join().unwrap();
    assert_eq!(answer.kind, "application/octet-stream");
    let profile = decoded(&answer.body);
    assert_eq!(profile.period, 10_000_000);
    assert!(
        profile.duration_nanos >= 2_000_000_000,
        "{}",
        profile.duration_nanos
    );
    let functions = by_function(&profile);
    let burnt = functions
        .iter()
        .find(|(name, _)| name.contains("burn_time_of_a_processor"));
    let (_, (nanos, threads)) = burnt.unwrap_or_else(|| panic!("{functions:?}"));
    // A few samples of two hundred, however busy the machine is.
    assert!(*nanos >= 5 * profile.period, "{nanos}");
    assert_eq!(*nanos % profile.period, 0);
    assert!(
        threads.iter().all(|thread| thread == "burner"),
        "{threads:?}"
    );
}

/// what is not there says so and why, and nothing shows the command line.
#[tokio::test]
async fn what_is_not_there_says_why() {
    let router = routes();
    for (path, status, said) in [
        ("pprof/heap", 501, "allocations are not sampled"),
        ("pprof/allocs", 501, "allocations are not sampled"),
        ("pprof/goroutine?debug=2", 501, "no goroutines"),
        ("pprof/block", 501, "locks"),
        ("pprof/mutex", 501, "locks"),
        ("pprof/symbol", 501, "names of functions"),
        ("pprof/trace?seconds=5", 501, "--tracing.config"),
        ("fgprof?seconds=5", 501, "wall-clock"),
        ("pprof/cmdline", 404, "Unknown profile"),
        ("pprof/nope", 404, "Unknown profile"),
        ("pprof/profile?seconds=301", 400, "exceeds 300 seconds"),
    ] {
        let answer = get_of(&router, &format!("/debug/{path}")).await;
        assert_eq!(answer.status, status, "{path}");
        assert!(answer.text().contains(said), "{path}: {}", answer.text());
    }
    let index = get_of(&router, "/debug/pprof/").await;
    assert_eq!(index.status, StatusCode::OK);
    assert!(index.kind.starts_with("text/html"));
    for (name, _) in PROFILES {
        assert!(
            index.text().contains(&format!("href=\"{name}\"")),
            "{}",
            index.text()
        );
    }
    assert!(!index.text().contains("cmdline"));
}

/// threads are told as a profile and as text.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn threads_are_told() {
    let router = routes();
    let profile = get_of(&router, "/debug/pprof/threadcreate").await;
    let functions = by_function(&decoded(&profile.body));
    let sum: i64 = functions.values().map(|(count, _)| count).sum();
    assert!(sum >= 3, "{functions:?}");
    let text = get_of(&router, "/debug/pprof/threadcreate?debug=1").await;
    let first = text.text().lines().next().unwrap();
    let total: i64 = first
        .strip_prefix("threadcreate profile: total ")
        .unwrap()
        .parse()
        .unwrap();
    assert!(total >= 3, "{}", text.text());
}
