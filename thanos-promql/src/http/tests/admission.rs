//! Heavy queries beside light ones.

use std::env;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use axum::http::Request;
use futures::StreamExt;
use futures::future::join_all;
use http_body_util::BodyExt;
use thanos_core::budget::MemoryBudget;
use thanos_core::labels::Labels;
use thanos_core::query::{
    Cost, LabelQuery, LabelStrings, Queryable, Select, SeriesStream, SourcePlan,
};
use thanos_storeapi::tenant::TenantId;
use tower::ServiceExt;

use crate::Engine;
use crate::admission::{Admission, AdmissionLimits, AdmissionOptions, Places};
use crate::engine::EngineOptions;
use crate::error::ErrorKind;
use crate::http::{Api, ApiOptions, FixedSource};
use crate::testkit::MemoryQueryable;

const HEAVY: &str = "/api/v1/query_range?query=heavy%20*%202&start=0&end=6000&step=20";
const LIGHT: &str = "/api/v1/query?query=sum(light)&time=600";

fn data(heavy: usize) -> MemoryQueryable {
    let mut data = MemoryQueryable::default();
    for (name, count) in [("heavy", heavy), ("light", 5)] {
        for number in 0..count {
            let number = number.to_string();
            let labels = Labels::from_pairs([("__name__", name), ("number", &number)]);
            data.push(labels, (0..400).map(|i| (i * 15_000, 1.5)));
        }
    }
    data
}

fn api(heavy: usize, budget_bytes: u64, limits: AdmissionLimits) -> (Api, MemoryBudget) {
    let budget = MemoryBudget::new("budget", budget_bytes);
    let engine = Engine::new(EngineOptions {
        budget: budget.clone(),
        ..EngineOptions::default()
    });
    let options = ApiOptions {
        admission: limits,
        ..ApiOptions::default()
    };
    let source = Arc::new(FixedSource(data(heavy).into_queryable()));
    (Api::with_options(engine, source, options), budget)
}

async fn ask(app: &Router, target: &str) -> (u16, String) {
    let request = Request::get(target).body(Body::empty()).unwrap();
    let answer = app.clone().oneshot(request).await.unwrap();
    let status = answer.status().as_u16();
    let mut body = answer.into_body();
    let mut head = Vec::new();
    while let Some(frame) = body.frame().await {
        let data = frame.unwrap().into_data().unwrap_or_default();
        if head.len() < 1000 {
            head.extend_from_slice(&data);
        }
    }
    (status, String::from_utf8_lossy(&head).into_owned())
}

async fn light_times(app: &Router, count: usize) -> Vec<Duration> {
    let mut times = Vec::new();
    for _ in 0..count {
        let started = Instant::now();
        let (status, body) = ask(app, LIGHT).await;
        assert_eq!(status, 200, "{body}");
        times.push(started.elapsed());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    times.sort_unstable();
    times
}

/// Heavy queries wait for each other within the budget, and light ones do not wait for them.
///
/// `THANOS_TEST_LONG` makes it the load of the acceptance table, with its bar for the times of light queries.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn light_queries_are_answered_beside_heavy_ones() {
    let is_long = env::var_os("THANOS_TEST_LONG").is_some();
    let (series, rounds, light) = if is_long {
        (4000, 8, 300)
    } else {
        (600, 1, 20)
    };
    let budget_bytes = series as u64 * 40_000;
    let (api, budget) = api(series, budget_bytes, AdmissionLimits::default());
    let places = api.places().clone();
    let app = api.router();
    let unloaded = light_times(&app, light).await;
    let heavy = (0..32).map(|_| {
        let app = app.clone();
        tokio::spawn(async move {
            let mut answers = Vec::new();
            for _ in 0..rounds {
                answers.push(ask(&app, HEAVY).await);
            }
            answers
        })
    });
    let heavy: Vec<_> = heavy.collect();
    let loaded = light_times(&app, light).await;
    let answers = join_all(heavy).await;
    let mut answered = 0;
    for (status, body) in answers.into_iter().flat_map(Result::unwrap) {
        // A heavy query that fails says which limit.
        let is_refused = status == 422 && body.contains("limit of");
        assert!(status == 200 || is_refused, "{status} {body:.300}");
        answered += usize::from(status == 200);
    }
    assert!(answered * 2 >= 32 * rounds, "{answered} were answered");
    let counters = places.counters();
    assert!(counters.heavy.load(Ordering::Relaxed) >= 32);
    assert!(budget.peak_bytes() <= budget_bytes);
    let p99 = |times: &[Duration]| times[(times.len() * 99).div_ceil(100) - 1];
    let [before, during] = [&unloaded, &loaded].map(|times| p99(times));
    println!(
        "light p50 {:?} -> {:?}, p99 {before:?} -> {during:?}; heavy answered {answered} of {}, peak {} of {budget_bytes} bytes",
        unloaded[light / 2],
        loaded[light / 2],
        32 * rounds,
        budget.peak_bytes(),
    );
    if is_long {
        assert!(during <= before * 3, "{during:?} after {before:?}");
    }
}

/// Whoever goes away gives memory and place back at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn cancelled_queries_give_their_memory_back() {
    let (api, budget) = api(600, 64 << 20, AdmissionLimits::default());
    let places = api.places().clone();
    let app = api.router();
    let idle = budget.used_bytes();
    let running: Vec<_> = (0..8)
        .map(|_| {
            let app = app.clone();
            tokio::spawn(async move { ask(&app, HEAVY).await })
        })
        .collect();
    let counters = places.counters();
    while counters.heavy_running.load(Ordering::Relaxed) == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    running.iter().for_each(tokio::task::JoinHandle::abort);
    let aborted = Instant::now();
    let is_free = || {
        budget.used_bytes() == idle
            && counters.heavy_running.load(Ordering::Relaxed) == 0
            && counters.heavy_waiting.load(Ordering::Relaxed) == 0
            && places.light_free() == 20
    };
    while !is_free() && aborted.elapsed() < Duration::from_secs(10) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    println!("free after {:?}", aborted.elapsed());
    let limit = if env::var_os("THANOS_TEST_LONG").is_some() {
        200
    } else {
        5000
    };
    assert!(is_free() && aborted.elapsed() < Duration::from_millis(limit));
}

fn places(limits: AdmissionLimits) -> Places {
    Places::new(AdmissionOptions {
        light_max: 4,
        limits,
        budget: MemoryBudget::new("budget", 1_000_000),
        query_bytes_max: 500_000,
    })
}

fn tenant(name: &str) -> TenantId {
    TenantId::parse(name).unwrap()
}

#[tokio::test]
async fn the_queue_of_heavy_queries_is_bounded() {
    let places = places(AdmissionLimits {
        heavy_max: 1,
        heavy_queue_max: 1,
        ..AdmissionLimits::default()
    });
    let me = tenant("me");
    let tickets: Vec<_> = (0..3).map(|_| places.ticket(&me)).collect();
    for ticket in &tickets {
        ticket.enter().await.unwrap();
    }
    assert_eq!(places.light_free(), 1);
    let first = tickets[0].become_heavy().await.unwrap();
    assert_eq!(places.light_free(), 2);
    let waiting = [&tickets[1], &tickets[2]].map(|ticket| ticket.become_heavy());
    let mut waiting = futures::stream::FuturesUnordered::from_iter(waiting);
    // One waits, the other one is one too many: both places of the queue are taken when the third asks.
    let none = tokio::time::timeout(Duration::from_millis(10), waiting.next()).await;
    assert!(none.is_err());
    let error = places.ticket(&me).become_heavy().await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::LimitExceeded);
    assert!(error.message().contains("limit of 1 waiting"), "{error}");
    drop(first);
    let second = waiting.next().await.unwrap().unwrap();
    drop(second);
    waiting.next().await.unwrap().unwrap();
    let counters = places.counters();
    assert_eq!(counters.heavy_refused.load(Ordering::Relaxed), 1);
}

/// A tenant that asks for everything leaves something to the others.
#[tokio::test]
async fn tenants_have_shares() {
    let places = places(AdmissionLimits {
        heavy_max: 2,
        heavy_queue_max: 4,
        allowance_percent: 20,
        tenant_percent: 50,
    });
    let [mine, other] = [tenant("me"), tenant("other")];
    let greedy = places.ticket(&mine);
    let allowance = greedy.allowance_bytes();
    let share = 400_000 + allowance;
    let _all = greedy.budget().lease(share - 1000).unwrap();
    let error = greedy.budget().lease(10_000).unwrap_err();
    assert!(error.to_string().contains("memory of tenant me"), "{error}");
    // The allowance is there whatever happens.
    drop(places.ticket(&mine).budget().lease(allowance).unwrap());
    drop(places.ticket(&other).budget().lease(300_000).unwrap());
    let _heavy = greedy.become_heavy().await.unwrap();
    let second = places.ticket(&mine);
    let waits = tokio::time::timeout(Duration::from_millis(10), second.become_heavy());
    assert!(waits.await.is_err());
    drop(places.ticket(&other).become_heavy().await.unwrap());
    let light: Vec<_> = (0..3).map(|_| places.ticket(&mine)).collect();
    for ticket in &light[..2] {
        ticket.enter().await.unwrap();
    }
    let waits = tokio::time::timeout(Duration::from_millis(10), light[2].enter());
    assert!(waits.await.is_err());
    places.ticket(&other).enter().await.unwrap();
}

/// Little data of which is said that it is much.
#[derive(Debug)]
struct Said {
    data: Arc<dyn Queryable>,
    bytes: u64,
}

#[async_trait]
impl Queryable for Said {
    async fn select(&self, select: Select) -> thanos_core::Result<SeriesStream> {
        self.data.select(select).await
    }

    async fn sources(&self, _: &Select) -> thanos_core::Result<Vec<SourcePlan>> {
        let cost = Cost {
            series: 1,
            bytes: self.bytes,
        };
        Ok(vec![SourcePlan {
            cost: Some(cost),
            ..SourcePlan::asked("block")
        }])
    }

    async fn label_names(&self, query: LabelQuery) -> thanos_core::Result<LabelStrings> {
        self.data.label_names(query).await
    }

    async fn label_values(
        &self,
        name: &str,
        query: LabelQuery,
    ) -> thanos_core::Result<LabelStrings> {
        self.data.label_values(name, query).await
    }
}

/// A query of which is known that it reads more than its allowance is heavy before it reads; one of which nothing is known
/// is not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_known_to_be_much_is_heavy_at_once() {
    for (bytes, heavy) in [(0, 0), (1 << 40, 1)] {
        let engine = Engine::new(EngineOptions {
            budget: MemoryBudget::new("budget", 1 << 30),
            ..EngineOptions::default()
        });
        let data = data(1).into_queryable();
        let source = Arc::new(FixedSource(Arc::new(Said { data, bytes })));
        let api = Api::with_options(engine, source, ApiOptions::default());
        let places = api.places().clone();
        let (status, body) = ask(&api.router(), LIGHT).await;
        assert_eq!(status, 200, "{body}");
        let counted = places.counters().heavy.load(Ordering::Relaxed);
        assert_eq!(counted, heavy, "{bytes} bytes");
    }
}
