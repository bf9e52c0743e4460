//! Downsampling and reading of replicas: what does a sample cost?
//!
//! - D1 `downsample/raw_5m`, `downsample/5m_1h`: series of two weeks at 60 s, values as a fleet has them, with all that
//!   happens to a series of a block between reading and writing it. Items are raw samples, in both.
//! - D2 `replicas/penalty2`, `replicas/counter2`, `replicas/chain2`, `replicas/penalty3`: the chunks of a day of series
//!   at 15 s from replicas that scrape at other moments, read as one. Items are samples of all replicas; `replicas/one`
//!   decodes the same chunks of one replica alone.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use thanos_core::chunk::{Samples, SeriesChunk};
use thanos_core::dedup::Dedup;
use thanos_core::downsample::{FIVE_MINUTES_MS, ONE_HOUR_MS, RAW_MS, downsample};
use thanos_core::query::{Reading, SeriesReader, WindowValue};
use thanos_core::testkit::TestRandom;
use thanos_core::testkit::shapes::{CHUNK_SAMPLES, Shape, xor_chunk};
use thanos_core::time::Timestamp;

const SERIES: usize = 100;
/// Two weeks at 60 s.
const SAMPLES: usize = 14 * 24 * 60;
/// A day at 15 s.
const DAY_SAMPLES: usize = 24 * 60 * 4;

/// Returns a series whose times lie `stretch` times as far apart as those of its shape, `late_ms` later.
fn series(random: &mut TestRandom, samples: usize, stretch: i64, late_ms: i64) -> Vec<SeriesChunk> {
    let samples = Shape::of_mix(random).samples(samples, random);
    let start = samples[0].0.as_millis();
    let samples: Vec<(Timestamp, f64)> = samples
        .into_iter()
        .map(|(time, value)| {
            let since = (time.as_millis() - start) * stretch;
            (Timestamp::from_millis(start + since + late_ms), value)
        })
        .collect();
    samples
        .chunks(CHUNK_SAMPLES)
        .map(|chunk| SeriesChunk::raw(chunk[0].0, chunk[chunk.len() - 1].0, xor_chunk(chunk)))
        .collect()
}

fn downsampling(c: &mut Criterion) {
    let mut random = TestRandom::new(1);
    let raw: Vec<_> = (0..SERIES)
        .map(|_| series(&mut random, SAMPLES, 4, 0))
        .collect();
    let five: Vec<_> = raw
        .iter()
        .map(|chunks| downsample(chunks, RAW_MS, FIVE_MINUTES_MS).expect("sound chunks"))
        .collect();
    let mut group = c.benchmark_group("downsample");
    group.throughput(Throughput::Elements((SERIES * SAMPLES) as u64));
    group.sample_size(10);
    for (name, input, from_ms, to_ms) in [
        ("raw_5m", &raw, RAW_MS, FIVE_MINUTES_MS),
        ("5m_1h", &five, FIVE_MINUTES_MS, ONE_HOUR_MS),
    ] {
        group.bench_function(name, |b| {
            b.iter(|| {
                for chunks in input {
                    black_box(downsample(chunks, from_ms, to_ms).expect("sound chunks"));
                }
            });
        });
    }
    group.finish();
}

fn replicas(c: &mut Criterion) {
    let mut group = c.benchmark_group("replicas");
    group.sample_size(20);
    for (name, replicas, dedup) in [
        ("one", 1, None),
        ("penalty2", 2, Some(Dedup::Penalty)),
        ("counter2", 2, Some(Dedup::Counter)),
        ("thanos2", 2, Some(Dedup::PenaltyOfCounter)),
        ("chain2", 2, Some(Dedup::Chain)),
        ("penalty3", 3, Some(Dedup::Penalty)),
    ] {
        let of_series = |seed: usize| {
            let late = [0, 6_700, 11_300];
            let mut chunks: Vec<SeriesChunk> = late[..replicas]
                .iter()
                // The same values: replicas see the same.
                .flat_map(|late_ms| {
                    series(&mut TestRandom::new(seed as u64), DAY_SAMPLES, 1, *late_ms)
                })
                .collect();
            chunks.sort_by_key(|chunk| (chunk.min_time, chunk.max_time));
            chunks
        };
        let all: Vec<_> = (0..SERIES).map(of_series).collect();
        let windows = match dedup {
            Some(Dedup::Counter | Dedup::PenaltyOfCounter) => WindowValue::Total,
            _ => WindowValue::Average,
        };
        let reading = Reading {
            windows,
            dedup,
            ..Reading::default()
        };
        group.throughput(Throughput::Elements(
            (SERIES * DAY_SAMPLES * replicas) as u64,
        ));
        group.bench_function(name, |b| {
            b.iter_batched_ref(
                || (SeriesReader::default(), Samples::new()),
                |(reader, samples)| {
                    for chunks in &all {
                        let read = reader.read(chunks, &reading, samples);
                        black_box(read.expect("sound chunks"));
                    }
                },
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, downsampling, replicas);
criterion_main!(benches);
