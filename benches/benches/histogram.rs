//! Native histograms: what do PromQL's operations on one histogram cost?
//!
//! - H1 `histogram_add`: 200 histograms of 40 buckets into one, plain, as in a rate with resets.
//! - H2 `histogram_sum`, `histogram_mean`: the same with compensation, as in `sum` and `avg`.
//! - H3 `histogram_reset`: each of 200 histograms against the one before.
//! - H4 `histogram_estimate`: quantile, fraction and variance of 200 histograms.
//! - H5 `histogram_change`: a copy of each of 200 histograms, multiplied or trimmed.
//!
//! The layouts are the same object (`shared`), equal objects (`equal`), spans with other gaps in each series
//! (`uneven`), or of two resolutions (`mixed`). Items are histograms.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use thanos_core::histogram::{FloatHistogram, HistogramMean, HistogramSum, Keep};
use thanos_core::testkit::shapes::HistogramSpec;

const HISTOGRAMS: usize = 200;

type Operands = Vec<Arc<FloatHistogram>>;

fn spec(seed: u64, samples: usize) -> Operands {
    let spec = HistogramSpec {
        samples,
        reset_in: 0,
        seed,
        ..HistogramSpec::default()
    };
    let samples = spec.samples().into_iter();
    samples
        .map(|(_, sample)| Arc::new(sample.to_float()))
        .collect()
}

/// The last sample of each of many series.
fn last_samples() -> Operands {
    let series = (0..HISTOGRAMS as u64).map(|seed| spec(seed, 10));
    series
        .filter_map(|samples| samples.last().cloned())
        .collect()
}

fn changed(change: impl Fn(usize, &mut FloatHistogram)) -> Operands {
    let mut operands = last_samples();
    for (at, operand) in operands.iter_mut().enumerate() {
        change(at, Arc::make_mut(operand));
    }
    operands
}

fn data() -> [(&'static str, Operands); 4] {
    [
        ("shared", spec(1, HISTOGRAMS)),
        ("equal", last_samples()),
        ("uneven", changed(|_, histogram| histogram.compact(0))),
        (
            "mixed",
            changed(|at, histogram| {
                let schema = if at % 2 == 0 { 3 } else { 2 };
                histogram
                    .reduce_resolution(schema)
                    .expect("a lower resolution");
            }),
        ),
    ]
}

fn add(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("histogram_add");
    group.throughput(Throughput::Elements(HISTOGRAMS as u64 - 1));
    for (name, operands) in data() {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut sum = FloatHistogram::clone(&operands[0]);
                for operand in &operands[1..] {
                    sum.add(operand).expect("all are exponential");
                }
                sum
            });
        });
    }
    group.finish();
}

fn sum(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("histogram_sum");
    group.throughput(Throughput::Elements(HISTOGRAMS as u64 - 1));
    for (name, operands) in data() {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut sum = HistogramSum::new(Arc::clone(&operands[0]));
                for operand in &operands[1..] {
                    sum.add(operand).expect("all are exponential");
                }
                sum.total()
            });
        });
    }
    group.finish();
}

fn mean(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("histogram_mean");
    group.throughput(Throughput::Elements(HISTOGRAMS as u64 - 1));
    for (name, operands) in data() {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut mean = HistogramMean::new(Arc::clone(&operands[0]));
                for operand in &operands[1..] {
                    mean.add(operand).expect("all are exponential");
                }
                mean.mean()
            });
        });
    }
    group.finish();
}

fn reset(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("histogram_reset");
    group.throughput(Throughput::Elements(HISTOGRAMS as u64 - 1));
    let samples = spec(1, HISTOGRAMS);
    let uneven: Operands = samples
        .iter()
        .map(|sample| {
            let mut sample = FloatHistogram::clone(sample);
            sample.compact(0);
            Arc::new(sample)
        })
        .collect();
    for (name, operands) in [("shared", samples), ("uneven", uneven)] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let pairs = operands.windows(2);
                pairs.filter(|pair| pair[1].detect_reset(&pair[0])).count()
            });
        });
    }
    group.finish();
}

fn estimate(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("histogram_estimate");
    group.throughput(Throughput::Elements(HISTOGRAMS as u64));
    let operands = spec(1, HISTOGRAMS);
    type Estimate = fn(&FloatHistogram) -> f64;
    let estimates: [(&str, Estimate); 4] = [
        ("quantile_0.9", |histogram| histogram.quantile(0.9).value),
        ("quantile_0.3", |histogram| histogram.quantile(0.3).value),
        ("fraction", |histogram| histogram.fraction(0.5, 2.0).value),
        ("variance", FloatHistogram::variance),
    ];
    for (name, estimate) in estimates {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                for operand in &operands {
                    black_box(estimate(operand));
                }
            });
        });
    }
    group.finish();
}

fn change(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("histogram_change");
    group.throughput(Throughput::Elements(HISTOGRAMS as u64));
    let operands = spec(1, HISTOGRAMS);
    type Change = fn(&mut FloatHistogram);
    let changes: [(&str, Change); 2] = [
        ("multiply", |histogram| histogram.multiply(0.1)),
        ("trim", |histogram| histogram.trim(Keep::Below, 1.3)),
    ];
    for (name, change) in changes {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                for operand in &operands {
                    let mut histogram = FloatHistogram::clone(operand);
                    change(&mut histogram);
                    black_box(histogram);
                }
            });
        });
    }
    group.finish();
}

criterion_group!(benches, add, sum, mean, reset, estimate, change);
criterion_main!(benches);
