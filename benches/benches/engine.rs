//! What a query costs for each series and step, over data in memory: the data shape `req-6h` and query shapes of
//! the promql-engine benchmarks. The text of results is measured in `json`.
//!
//! One thread, and its processor time. The peers' numbers are in ns per series-step: 47 for Thanos' promql-engine, 64 for Prometheus.

use std::hint::black_box;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures::executor::block_on;
use thanos_benches::cpu_time::CpuTime;
use thanos_benches::queries::{
    Case, FLOAT_CASES, NATIVE_CASES, SAMPLES, SCRAPE_MS, native_histograms, req_6h,
};
use thanos_core::labels::Labels;
use thanos_core::query::Queryable;
use thanos_core::time::Timestamp;
use thanos_promql::json::ResultJson;
use thanos_promql::value::{Point, Series};
use thanos_promql::{Engine, EngineOptions, Value, parser};

/// Two hours at 30 seconds, the last two of the six.
const STEPS: usize = 241;

fn run(c: &mut Criterion<CpuTime>, group: &str, data: &Arc<dyn Queryable>, cases: &[Case]) {
    let engine = Engine::new(EngineOptions {
        threads: NonZeroUsize::MIN,
        parser: parser::Options::all(),
        ..EngineOptions::default()
    });
    let end = Timestamp::from_millis(i64::try_from(SAMPLES - 1).unwrap_or(0) * SCRAPE_MS);
    let start = end + -(i64::try_from(STEPS - 1).unwrap_or(0) * SCRAPE_MS);
    let step = Duration::from_secs(30);
    let ask = |query| {
        block_on(engine.range(data, query, (start, end), step)).expect("the query is right")
    };
    let mut group = c.benchmark_group(group);
    for (name, query) in cases {
        group.bench_function(*name, |b| {
            b.iter(|| black_box(ask(query).value.series_count()))
        });
    }
    group.finish();
}

fn floats(c: &mut Criterion<CpuTime>) {
    run(c, "engine", &req_6h(), &FLOAT_CASES);
}

fn native(c: &mut Criterion<CpuTime>) {
    run(c, "engine_native", &native_histograms(), &NATIVE_CASES);
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

fn json(c: &mut Criterion<CpuTime>) {
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
    config = Criterion::default().with_measurement(CpuTime).sample_size(10);
    targets = floats, native, json
}
criterion_main!(benches);
