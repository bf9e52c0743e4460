//! What does a compactor's work cost? K6, C1 and C2 of the benchmark list.
//!
//! | bench | shape | unit |
//! |---|---|---|
//! | `dedup/penalty4` | chunks of the replicas of one series, four servers, two hours at 15 s | an output sample |
//! | `compact/ha4` | four blocks of these, from files to files | an output sample |
//! | `compact/ha4_split` | the same into three blocks by the hash of the series | an output sample |
//! | `compact/seq4` | four blocks that follow each other, 5 % of the series come and go | an input byte |
//!
//! Measured is time of the processor. `BENCH_SERIES` sets the number of series, 2000 by default; `ha4` and `seq4` are
//! named for 50,000 and 100,000. Beside each bench of blocks stands the most memory that was leased.

use std::hint::black_box;
use std::path::Path;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use thanos_benches::compaction::{block_bytes, replicas, write_ha4, write_seq4};
use thanos_benches::cpu_time::CpuTime;
use thanos_core::block::{Block, BlockId, BlockWriterOptions};
use thanos_core::budget::MemoryBudget;
use thanos_core::chunk::{self, Aggregate, SeriesChunk};
use thanos_core::merge::{MergeOverlaps, merge_blocks_into_parts, merge_chunks};
use thanos_core::testkit::TempDir;
use thanos_core::time::Timestamp;

/// The memory that a merge may take, as the goals say.
const BUDGET_BYTES: u64 = 512 << 20;

fn series() -> usize {
    let wanted = std::env::var("BENCH_SERIES").ok();
    wanted
        .and_then(|wanted| wanted.parse().ok())
        .unwrap_or(2_000)
}

fn samples_of(chunks: &[SeriesChunk]) -> usize {
    let raw = chunks.iter().filter_map(|part| part.get(Aggregate::Raw));
    raw.map(|chunk| chunk::num_samples(chunk).expect("a good chunk"))
        .sum()
}

fn bench_chunks(c: &mut Criterion<CpuTime>) {
    let sources: Vec<Vec<Vec<SeriesChunk>>> = (0..200).map(|number| replicas(number, 4)).collect();
    let merge = |sources: &[Vec<Vec<SeriesChunk>>], overlaps| {
        let merged = sources.iter().map(|replicas| {
            let chunks = merge_chunks(replicas.clone(), overlaps).expect("good chunks");
            samples_of(&black_box(chunks))
        });
        merged.sum::<usize>()
    };
    let mut group = c.benchmark_group("dedup");
    for (name, overlaps) in [
        ("penalty4", MergeOverlaps::Penalty),
        ("chain4", MergeOverlaps::Chain),
    ] {
        group.throughput(Throughput::Elements(merge(&sources, overlaps) as u64));
        group.bench_function(name, |b| b.iter(|| merge(&sources, overlaps)));
    }
    let same: Vec<Vec<Vec<SeriesChunk>>> = (0..200)
        .map(|number| vec![replicas(number, 1).remove(0); 4])
        .collect();
    let penalty = MergeOverlaps::Penalty;
    group.throughput(Throughput::Elements(merge(&same, penalty) as u64));
    group.bench_function("penalty4_equal", |b| b.iter(|| merge(&same, penalty)));
}

/// Merges into `parts` blocks, removes them and returns the number of samples and the most memory that was leased.
fn merge_blocks(blocks: &[Block], out: &Path, parts: u8, overlaps: MergeOverlaps) -> (u64, u64) {
    let id = |part: u8| BlockId::from_parts(Timestamp::from_millis(1), u128::from(part));
    let ids: Vec<BlockId> = (0..parts).map(id).collect();
    let mut options = BlockWriterOptions::new(ids[0]);
    options.budget = MemoryBudget::new("merge memory", BUDGET_BYTES);
    let budget = options.budget.clone();
    let metas = merge_blocks_into_parts(blocks, out, &ids, options, overlaps);
    let mut samples = 0;
    for meta in metas.expect("good blocks") {
        samples += meta.stats.num_samples;
        std::fs::remove_dir_all(out.join(meta.ulid.to_string())).expect("it was written");
    }
    (samples, budget.peak_bytes())
}

fn bench_blocks(c: &mut Criterion<CpuTime>) {
    let (dir, out) = (
        TempDir::new("bench-compact"),
        TempDir::new("bench-compact-out"),
    );
    let mut group = c.benchmark_group("compact");
    group.sample_size(10);
    let blocks = write_ha4(&dir.path().join("ha4"), series());
    for (name, parts) in [("ha4", 1), ("ha4_split", 3)] {
        let merge = || merge_blocks(&blocks, out.path(), parts, MergeOverlaps::Penalty);
        let (samples, leased) = merge();
        eprintln!("compact/{name}: {samples} samples, {leased} bytes leased at most");
        group.throughput(Throughput::Elements(samples));
        group.bench_function(name, |b| b.iter(merge));
    }
    let blocks = write_seq4(&dir.path().join("seq4"), series());
    let merge = || merge_blocks(&blocks, out.path(), 1, MergeOverlaps::Chain);
    let (samples, leased) = merge();
    eprintln!("compact/seq4: {samples} samples, {leased} bytes leased at most");
    group.throughput(Throughput::Bytes(block_bytes(&blocks)));
    group.bench_function("seq4", |b| b.iter(merge));
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(CpuTime);
    targets = bench_chunks, bench_blocks
}
criterion_main!(benches);
