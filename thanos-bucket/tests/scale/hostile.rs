//! Requests made to exhaust memory: what a gateway holds stays within its budget, and each call answers or fails by
//! the name of the limit.
//!
//! The full size is a million series and 512 MiB; the bounded share is a tenth of both.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::TryStreamExt;
use futures::future::join_all;
use thanos_bucket::gateway::{Gateway, GatewayOptions};
use thanos_bucket::testkit::{BlockData, BlockSpec, block_id};
use thanos_core::budget::MemoryBudget;
use thanos_core::labels::{MatchOp, Matcher};
use thanos_core::query::SeriesEvent;
use thanos_core::testkit::{K8sSpec, TempDir};
use thanos_core::{ErrorKind, Result};
use thanos_storeapi::store::{LabelValuesRequest, SeriesRequest, Store};

use super::{ALLOCATED, ALONE, MIB, in_mib, is_long, timed};

const BUDGET_NAME: &str = "store memory";
/// What a process needs however small its budget: threads, caches of regular expressions, the growth of a vector.
const FIXED_BYTES: usize = 4 * MIB;

struct Size {
    series: usize,
    budget_bytes: u64,
}

fn size() -> Size {
    if is_long() {
        Size {
            series: 1_000_000,
            budget_bytes: 512 << 20,
        }
    } else {
        Size {
            series: 100_000,
            budget_bytes: 51 << 20,
        }
    }
}

/// A bucket in files, so that what is read takes memory as it does from a network.
struct Target {
    _dir: TempDir,
    size: Size,
    gateway: Arc<Gateway>,
    budget: MemoryBudget,
    runtime: tokio::runtime::Runtime,
}

impl Target {
    fn new(size: Size) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let dir = TempDir::new("hostile");
        let bucket = thanos_bucket::directory::open(dir.path()).unwrap();
        let series = K8sSpec {
            series: size.series,
            samples: 20,
            ..K8sSpec::default()
        };
        let spec = BlockSpec {
            id: block_id(1),
            ..BlockSpec::default()
        };
        let ((), took) = timed(|| {
            let data = BlockData::wide(&series).unwrap();
            runtime.block_on(data.upload(&bucket, &spec)).unwrap();
        });
        println!("{} series written in {took:?}", size.series);
        let budget = MemoryBudget::new(BUDGET_NAME, size.budget_bytes);
        let options = GatewayOptions {
            budget: budget.clone(),
            data_dir: Some(dir.path().join("headers")),
            ..GatewayOptions::default()
        };
        let gateway = Arc::new(Gateway::new(bucket, options));
        assert_eq!(runtime.block_on(gateway.sync()).unwrap().loaded, 1);
        Self {
            _dir: dir,
            size,
            gateway,
            budget,
            runtime,
        }
    }

    /// Returns a request for the series of all pods, which are named among `values` names, and the number of pods.
    fn value_list(&self, values: usize) -> (SeriesRequest, usize) {
        let request_of_all = LabelValuesRequest {
            label: "pod".to_owned(),
            ..LabelValuesRequest::default()
        };
        let answer = self.gateway.label_values(request_of_all);
        let mut names = self.runtime.block_on(answer).unwrap().values;
        let pods = names.len();
        names.extend((pods..values).map(|number| format!("web-app-{number}-abcdef0123")));
        let wanted = SeriesRequest {
            skip_chunks: true,
            ..request(vec![regex("pod", &names.join("|"))])
        };
        (wanted, pods)
    }

    /// Asks all `requests` at once and returns how many series each got, or the limit that it met. Checks the memory.
    fn ask(&self, what: &str, requests: Vec<SeriesRequest>) -> Vec<Result<usize>> {
        let before = ALLOCATED.current_usage();
        ALLOCATED.reset_peak_usage();
        let (answers, took) = timed(|| {
            self.runtime.block_on(async {
                let calls = requests.into_iter().map(|request| {
                    let gateway = Arc::clone(&self.gateway);
                    tokio::spawn(async move { count_series(&gateway, request).await })
                });
                join_all(calls).await
            })
        });
        let peak = ALLOCATED.peak_usage().saturating_sub(before);
        let answers: Vec<_> = answers
            .into_iter()
            .map(std::result::Result::unwrap)
            .collect();
        let answered = answers.iter().flatten().count();
        println!(
            "{what}: {answered} of {} answered in {took:?}, peak {:.1} MiB, on lease {:.1} MiB of {:.1}",
            answers.len(),
            in_mib(peak),
            self.budget.peak_bytes() as f64 / MIB as f64,
            self.budget.limit_bytes() as f64 / MIB as f64,
        );
        for error in answers.iter().filter_map(|answer| answer.as_ref().err()) {
            assert_eq!(error.kind(), ErrorKind::LimitExceeded, "{what}: {error}");
            assert!(error.to_string().contains(BUDGET_NAME), "{what}: {error}");
        }
        let budget = usize::try_from(self.size.budget_bytes).unwrap();
        let allowed = budget + budget / 10 + FIXED_BYTES;
        assert!(peak <= allowed, "{what}: {:.1} MiB", in_mib(peak));
        // A piece of work that has begun on the pool ends on its own when its request has failed.
        let deadline = Instant::now() + Duration::from_secs(5);
        while self.budget.used_bytes() > 0 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(
            self.budget.used_bytes(),
            0,
            "{what}: memory that nobody gave back"
        );
        answers
    }
}

async fn count_series(gateway: &Gateway, request: SeriesRequest) -> Result<usize> {
    let mut stream = gateway.series(request).await?;
    let mut series = 0;
    while let Some(event) = stream.try_next().await? {
        let SeriesEvent::Batch(batch) = event else {
            continue;
        };
        series += batch.len();
    }
    Ok(series)
}

fn regex(label: &str, pattern: &str) -> Matcher {
    Matcher::new(MatchOp::Regex, label, pattern).unwrap()
}

fn request(matchers: Vec<Matcher>) -> SeriesRequest {
    SeriesRequest {
        matchers,
        ..SeriesRequest::default()
    }
}

/// 64 matchers that accept about all pods, each but for another hexadecimal digit of the name at another place: 64
/// different sets of four bytes for almost each series.
fn wide_matchers() -> Vec<Matcher> {
    let matcher = |number: usize| {
        let after = ".".repeat(number / 16);
        regex("pod", &format!(".*[^{:x}]{after}", number % 16))
    };
    (0..64).map(matcher).collect()
}

/// Pain 1: no single request and no crowd of them takes more than the budget.
#[test]
fn hostile_requests_stay_within_the_budget() {
    let _alone = ALONE.blocking_lock();
    let target = Target::new(size());
    let all = || request(vec![regex("__name__", ".+")]);

    let answers = target.ask("everything", vec![all()]);
    assert_eq!(
        answers[0].as_ref().unwrap(),
        &target.size.series,
        "a stream holds little"
    );

    let labels_only = SeriesRequest {
        skip_chunks: true,
        ..request(wide_matchers())
    };
    target.ask("64 matchers of almost all", vec![labels_only]);

    let values = if is_long() { 1_000_000 } else { 20_000 };
    let (wide, pods) = target.value_list(values);
    let answers = target.ask("a regular expression of many values", vec![wide]);
    if let Ok(series) = &answers[0] {
        assert_eq!(
            *series, target.size.series,
            "all {pods} pods are in the list"
        );
    }

    let repeated = SeriesRequest {
        skip_chunks: true,
        ..request(vec![regex("__name__", ".+"); 1000])
    };
    target.ask("one matcher a thousand times", vec![repeated]);
}

/// Fifty at once: the gate lets some in, the others wait their turn, and none is let down without a reason.
#[test]
fn fifty_hostile_requests_at_once_stay_within_the_budget() {
    let _alone = ALONE.blocking_lock();
    let size = Size {
        series: size().series / 10,
        ..size()
    };
    let target = Target::new(size);
    let all = || request(vec![regex("__name__", ".+")]);
    target.ask("fifty times everything", (0..50).map(|_| all()).collect());
    let many = || SeriesRequest {
        skip_chunks: true,
        ..request(wide_matchers())
    };
    let what = "fifty times 64 matchers of almost all";
    target.ask(what, (0..50).map(|_| many()).collect());
}
