//! Chunk codecs: what does a sample cost to decode and to encode?
//!
//! - K1 `xor_decode`: 2000 chunks of 120 samples into columns, for each shape and for the mix of a fleet.
//! - K2 `xor_encode`: the same samples written.
//! - `xor2_decode`: the samples of K1 in the later encoding, without start timestamps and with one for each sample.
//! - K3 `histogram_decode`, `histogram_encode`: 720 integer histograms of 40 buckets; items are buckets. `stats`
//!   decodes them without their buckets.
//!
//! Time per item is the time shown divided by the elements of the group; throughput shows the inverse.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use thanos_core::chunk::{
    self, Chunk, HistogramEncoder, Samples, StatsDecoder, Xor2Encoder, XorEncoder,
};
use thanos_core::testkit::shapes::{HistogramSpec, Shape, mix_chunks, xor_chunks};
use thanos_core::time::Timestamp;

const CHUNKS: usize = 2000;
const SEED: u64 = 11;

/// The mix and every single shape.
fn data() -> Vec<(&'static str, Vec<Chunk>)> {
    let mut data = vec![("mix", mix_chunks(CHUNKS, SEED))];
    for shape in Shape::ALL {
        data.push((shape.name(), xor_chunks(shape, CHUNKS, SEED)));
    }
    data
}

fn sample_count(chunks: &[Chunk]) -> u64 {
    let count = |chunk| chunk::num_samples(chunk).expect("a generated chunk is readable");
    chunks.iter().map(count).sum::<usize>() as u64
}

fn xor_decode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("xor_decode");
    for (name, chunks) in data() {
        group.throughput(Throughput::Elements(sample_count(&chunks)));
        let mut samples = Samples::new();
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                for chunk in &chunks {
                    samples.clear();
                    chunk::decode(chunk, &mut samples).expect("a generated chunk is readable");
                    black_box(samples.values());
                }
            });
        });
    }
    group.finish();
}

/// Returns the samples of `chunk` as XOR2, each counting since the one before if `has_starts`.
fn to_xor2(chunk: &Chunk, has_starts: bool) -> Chunk {
    let samples = chunk::samples(chunk).expect("a generated chunk is readable");
    let mut encoder = Xor2Encoder::new();
    let mut before = Timestamp::default();
    for (&time, &value) in samples.times().iter().zip(samples.values()) {
        let time = Timestamp::from_millis(time);
        let start = if has_starts {
            before
        } else {
            Timestamp::default()
        };
        encoder.append(start, time, value);
        before = time;
    }
    encoder.finish()
}

fn xor2_decode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("xor2_decode");
    for (name, chunks) in data() {
        for (starts, has_starts) in [("", false), ("/starts", true)] {
            let chunks: Vec<Chunk> = chunks.iter().map(|c| to_xor2(c, has_starts)).collect();
            group.throughput(Throughput::Elements(sample_count(&chunks)));
            let mut samples = Samples::new();
            group.bench_function(format!("{name}{starts}"), |bencher| {
                bencher.iter(|| {
                    for chunk in &chunks {
                        samples.clear();
                        chunk::decode(chunk, &mut samples).expect("a written chunk is readable");
                        black_box(samples.values());
                    }
                });
            });
        }
    }
    group.finish();
}

fn xor_encode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("xor_encode");
    for (name, chunks) in data() {
        let decode = |chunk| chunk::samples(chunk).expect("a generated chunk is readable");
        let columns: Vec<Samples> = chunks.iter().map(decode).collect();
        group.throughput(Throughput::Elements(sample_count(&chunks)));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                for samples in &columns {
                    let mut encoder = XorEncoder::new();
                    encoder.extend(samples.times(), samples.values());
                    black_box(encoder.finish());
                }
            });
        });
    }
    group.finish();
}

fn histograms(criterion: &mut Criterion) {
    let spec = HistogramSpec::default();
    let buckets = spec.samples as u64 * u64::from(spec.buckets);
    let chunks = spec.chunks();
    let mut group = criterion.benchmark_group("histogram_decode");
    group.throughput(Throughput::Elements(buckets));
    let mut samples = Samples::new();
    group.bench_function("integer", |bencher| {
        bencher.iter(|| {
            for chunk in &chunks {
                samples.clear();
                chunk::decode(chunk, &mut samples).expect("a generated chunk is readable");
                black_box(samples.len());
            }
        });
    });
    group.bench_function("stats", |bencher| {
        bencher.iter(|| {
            let mut decoder = StatsDecoder::new();
            for chunk in &chunks {
                samples.clear();
                let decoded = decoder.decode(chunk, &mut samples);
                decoded.expect("a generated chunk is readable");
                black_box(samples.len());
            }
        });
    });
    group.finish();

    let mut group = criterion.benchmark_group("histogram_encode");
    group.throughput(Throughput::Elements(buckets));
    let samples = spec.samples();
    group.bench_function("integer", |bencher| {
        bencher.iter(|| {
            let mut encoder = HistogramEncoder::new();
            for (time, histogram) in &samples {
                if encoder.len_bytes() >= 1024 {
                    black_box(encoder.cut());
                }
                black_box(encoder.append(*time, histogram));
            }
            black_box(encoder.finish());
        });
    });
    group.finish();
}

criterion_group!(
    chunk_codecs,
    xor_decode,
    xor2_decode,
    xor_encode,
    histograms
);
criterion_main!(chunk_codecs);
