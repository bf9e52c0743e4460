//! What a query costs for each series and step, over data in memory: the data shape `req-6h` and query shapes of
//! the promql-engine benchmarks. The text of results is measured in `json`.
//!
//! One thread. The peers' numbers are in ns per series-step: 47 for Thanos' promql-engine, 64 for Prometheus.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures::executor::block_on;
use thanos_core::labels::Labels;
use thanos_core::query::Queryable;
use thanos_core::time::Timestamp;
use thanos_promql::json::ResultJson;
use thanos_promql::testkit::MemoryQueryable;
use thanos_promql::value::{Point, Series};
use thanos_promql::{Engine, Value};

const PODS: usize = 1000;
const CONTAINERS: usize = 3;
const SAMPLES: usize = 720;
const SCRAPE_MS: i64 = 30_000;
/// Two hours at 30 seconds, the last two of the six.
const STEPS: usize = 241;

/// `req-6h`: `http_requests_total` of 1,000 pods with 3 containers, one `http_responses_total` for each pod, and
/// `http_response_seconds_bucket` with 11 bounds for 100 pods; 6 hours at 30 seconds.
fn req_6h() -> Arc<dyn Queryable> {
    let mut data = MemoryQueryable::default();
    let counter = |start: usize, step: usize| {
        (0..SAMPLES).map(move |i| {
            let time_ms = i64::try_from(i).unwrap_or(0) * SCRAPE_MS;
            (time_ms, (start + step * i) as f64)
        })
    };
    for pod in 0..PODS {
        let pod_name = format!("p{pod}");
        for container in 0..CONTAINERS {
            let container_name = format!("c{container}");
            let labels = Labels::from_pairs([
                ("__name__", "http_requests_total"),
                ("container", &container_name),
                ("pod", &pod_name),
            ]);
            data.push(labels, counter(pod, container + 1));
        }
        let labels = Labels::from_pairs([("__name__", "http_responses_total"), ("pod", &pod_name)]);
        data.push(labels, counter(pod, 2));
        for bound in (0..11).filter(|_| pod < 100) {
            let le = if bound == 10 {
                "+Inf".to_owned()
            } else {
                bound.to_string()
            };
            let labels = Labels::from_pairs([
                ("__name__", "http_response_seconds_bucket"),
                ("le", &le),
                ("pod", &pod_name),
            ]);
            data.push(labels, counter(pod, bound + 1));
        }
    }
    data.into_queryable()
}

fn queries(c: &mut Criterion) {
    let data = req_6h();
    let engine = Engine::default();
    let all = PODS * CONTAINERS;
    let end = Timestamp::from_millis(i64::try_from(SAMPLES - 1).unwrap_or(0) * SCRAPE_MS);
    let start = end + -(i64::try_from(STEPS - 1).unwrap_or(0) * SCRAPE_MS);
    let mut group = c.benchmark_group("engine");
    for (name, query, series) in [
        ("select", "http_requests_total", all),
        ("sum", "sum(http_requests_total)", all),
        ("sum_by", "sum by (pod) (http_requests_total)", all),
        ("rate", "rate(http_requests_total[1m])", all),
        ("rate_10m", "rate(http_requests_total[10m])", all),
        ("sum_rate", "sum(rate(http_requests_total[5m]))", all),
        (
            "sum_by_rate",
            "sum by (pod) (rate(http_requests_total[5m]))",
            all,
        ),
        (
            "join",
            "http_requests_total{container=\"c0\"} / on (pod) http_responses_total",
            2 * PODS,
        ),
        (
            "join_many",
            "http_requests_total / on (pod) group_left () http_responses_total",
            all + PODS,
        ),
        (
            "hq",
            "histogram_quantile(0.9, sum by (le) (rate(http_response_seconds_bucket[5m])))",
            1100,
        ),
        ("topk", "topk(5, http_requests_total)", all),
        (
            "subquery",
            "sum_over_time(rate(http_requests_total{container=\"c0\"}[1m])[10m:1m])",
            PODS,
        ),
        ("binop_scalar", "http_requests_total * 10", all),
    ] {
        group.throughput(Throughput::Elements((series * STEPS) as u64));
        group.bench_function(name, |b| {
            b.iter(|| {
                let step = Duration::from_secs(30);
                let result = block_on(engine.range(&data, query, (start, end), step));
                black_box(result.expect("the query is right").value.series_count())
            });
        });
    }
    group.finish();
}

/// 1,000 series of 2,100 points: what a dashboard of a week asks for.
fn matrix() -> Value {
    let points = |series: usize| {
        (0..2100_i64).map(move |i| Point {
            time: Timestamp::from_millis(1_793_491_200_000 + i * 15_000),
            value: (i as f64) * 0.37 + series as f64,
        })
    };
    Value::Matrix(
        (0..1000)
            .map(|series| Series {
                labels: Labels::from_pairs([("pod", format!("p{series}"))]),
                points: points(series).collect(),
                ..Series::default()
            })
            .collect(),
    )
}

fn json(c: &mut Criterion) {
    let value = matrix();
    let mut group = c.benchmark_group("json");
    group.throughput(Throughput::Elements(1000 * 2100));
    group.bench_function("encode_matrix", |b| {
        b.iter_batched(
            || value.clone(),
            |value| {
                ResultJson::new(value)
                    .map(|piece| piece.len())
                    .sum::<usize>()
            },
            criterion::BatchSize::LargeInput,
        );
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10);
    targets = queries, json
}
criterion_main!(benches);
