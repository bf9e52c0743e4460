//! What does it cost to open a block and to select from it? A generated block of 100k series with one chunk each
//! (120 samples), and the same series over six blocks.
//!
//! Unit: one series. Selecting reads postings, series entries and chunks with their checksums, and decodes no
//! sample.

use std::hint::black_box;
use std::path::Path;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use thanos_core::block::{Block, Blocks};
use thanos_core::chunk::{self, Aggregate, Samples};
use thanos_core::labels::Matcher;
use thanos_core::query::{Select, SelectHints, SeriesBatch};
use thanos_core::testkit::{K8sSpec, TempDir};

const SERIES: usize = 100_000;
const SAMPLES: usize = 120;

/// Writes blocks of the same series, one after the other in time.
fn write_blocks(parent: &Path, series: usize, blocks: i64) {
    let base = K8sSpec::default();
    let block_ms = base.step_ms * i64::try_from(SAMPLES).expect("a small number");
    for number in 0..blocks {
        let spec = K8sSpec {
            series,
            samples: SAMPLES,
            start: base.start + number * block_ms,
            ..base
        };
        spec.write_block(parent);
    }
}

/// Consumes batches and returns how many series they had.
fn drain(batches: impl Iterator<Item = thanos_core::Result<SeriesBatch>>) -> usize {
    batches
        .map(|batch| black_box(batch.expect("a good block")).len())
        .sum()
}

fn bench_one(c: &mut Criterion) {
    let dir = TempDir::new("bench-block");
    write_blocks(dir.path(), SERIES, 1);
    let blocks = Blocks::open_dir(dir.path()).expect("the block was written");
    let block = &blocks.blocks()[0];
    let path = block.dir();
    let mut group = c.benchmark_group("block");
    group.bench_function("open", |b| {
        b.iter(|| Block::open(path).expect("a good block"));
    });
    group.throughput(Throughput::Elements(SERIES as u64));
    let all = Select::default();
    group.bench_function("select_all", |b| {
        b.iter(|| drain(block.select(&all).expect("a good block")));
    });
    let labels_only = Select {
        hints: SelectHints {
            skip_chunks: true,
            ..SelectHints::default()
        },
        ..Select::default()
    };
    group.bench_function("select_all_labels_only", |b| {
        b.iter(|| drain(block.select(&labels_only).expect("a good block")));
    });
    let metric = Select {
        matchers: vec![Matcher::equal("__name__", "container_memory_rss")],
        ..Select::default()
    };
    group.throughput(Throughput::Elements((SERIES / 10) as u64));
    group.bench_function("select_one_metric", |b| {
        b.iter(|| drain(block.select(&metric).expect("a good block")));
    });
    group.throughput(Throughput::Elements((SERIES / 10 * SAMPLES) as u64));
    group.sample_size(20);
    group.bench_function("select_one_metric_and_decode", |b| {
        let mut samples = Samples::new();
        b.iter(|| {
            for batch in block.select(&metric).expect("a good block") {
                for part in batch
                    .expect("a good block")
                    .iter()
                    .flat_map(|series| series.chunks)
                {
                    samples.clear();
                    let raw = part.get(Aggregate::Raw).expect("raw samples");
                    chunk::decode(raw, &mut samples).expect("a good chunk");
                    black_box(&samples);
                }
            }
        });
    });
    group.finish();
}

fn bench_several(c: &mut Criterion) {
    const SERIES: usize = 20_000;
    let dir = TempDir::new("bench-blocks");
    write_blocks(dir.path(), SERIES, 6);
    let blocks = Blocks::open_dir(dir.path()).expect("the blocks were written");
    let mut group = c.benchmark_group("blocks");
    group.throughput(Throughput::Elements(6 * SERIES as u64));
    group.bench_function("select_all_of_six", |b| {
        let all = Select::default();
        b.iter(|| drain(blocks.select(&all).expect("good blocks")));
    });
    group.finish();
}

criterion_group!(benches, bench_one, bench_several);
criterion_main!(benches);
