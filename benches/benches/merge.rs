//! What does merging k sorted sources of series cost? (K5 of the benchmark list)
//!
//! Shape: 200,000 responses of 239 bytes of labels, as a Kubernetes cluster has them, each series in two of the
//! k sources. Unit: one response. The bar is 170 ns for 32 sources. `labels` carries no chunks, `chunks` two of
//! 200 bytes, equal in both replicas, so that dropping duplicates is part of it.

use std::hint::black_box;
use std::time::Duration;

use bytes::Bytes;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use thanos_core::chunk::{Chunk, Encoding, SeriesChunk};
use thanos_core::labels::Labels;
use thanos_core::query::{MergeStep, SeriesBatch, SeriesBatchBuilder, SeriesMerge};
use thanos_core::testkit::TestRandom;
use thanos_core::time::Timestamp;

const RESPONSES: usize = 200_000;
const REPLICAS: usize = 2;
const KEY_BYTES: usize = 239;
const CHUNK_BYTES: usize = 200;

/// Returns sorted label sets of ten labels and 239 bytes.
fn label_sets() -> Vec<Labels> {
    let mut random = TestRandom::new(5);
    let mut sets: Vec<Labels> = (0..RESPONSES / REPLICAS)
        .map(|i| label_set(i, &mut random))
        .collect();
    sets.sort_unstable();
    assert_eq!(sets[0].key().len(), KEY_BYTES);
    sets
}

fn label_set(number: usize, random: &mut TestRandom) -> Labels {
    const METRICS: [&str; 4] = [
        "container_cpu_usage_seconds_total",
        "container_memory_working_bytes___",
        "container_network_receive_bytes__",
        "container_fs_writes_bytes_total__",
    ];
    let (pod, metric) = (number / 40, number % 4);
    Labels::from_pairs([
        ("__name__", METRICS[metric].to_owned()),
        ("cluster", "eu-central-1-prod-01".to_owned()),
        ("container", format!("app-{:02}", number % 40 / 4)),
        ("endpoint", "https-metrics".to_owned()),
        ("id", format!("{:012x}", random.next_u64() >> 16)),
        (
            "instance",
            format!("10.{:03}.{:03}.17:10250", pod / 200, pod % 200),
        ),
        ("job", "kubelet".to_owned()),
        ("namespace", format!("team-{:02}", pod % 37)),
        ("node", format!("ip-{:06}.internal", pod / 30)),
        ("pod", format!("deployment-{pod:06}-x7k2p")),
    ])
}

/// Chunks of one source: slices of one buffer, as those of a frame or a mapped file are.
struct ChunkTape {
    data: Bytes,
    at: usize,
}

impl ChunkTape {
    fn new(chunks: usize) -> Self {
        Self {
            data: Bytes::from(vec![7; chunks * CHUNK_BYTES]),
            at: 0,
        }
    }

    /// Returns the chunk of one hour.
    fn next(&mut self, hour: i64) -> SeriesChunk {
        let start = Timestamp::from_millis(hour * 3_600_000);
        let chunk = Chunk {
            encoding: Encoding::XOR,
            data: self.data.slice(self.at..self.at + CHUNK_BYTES),
        };
        self.at = (self.at + CHUNK_BYTES) % self.data.len();
        SeriesChunk::raw(start, start + 3_599_999, chunk)
    }
}

/// Deals the series out to `sources`, each to two of them, in batches.
fn deal(sets: &[Labels], sources: usize, chunks_each: i64) -> Vec<Vec<SeriesBatch>> {
    let mut random = TestRandom::new(9);
    let mut builders: Vec<_> = (0..sources).map(|_| SeriesBatchBuilder::new()).collect();
    let mut tapes: Vec<_> = (0..sources)
        .map(|_| ChunkTape::new(2 * RESPONSES / sources))
        .collect();
    let mut dealt: Vec<Vec<SeriesBatch>> = vec![Vec::new(); sources];
    let mut pick = |below: usize| usize::try_from(random.below(below as u64)).unwrap_or(0);
    for set in sets {
        let first = pick(sources);
        let second = (first + 1 + pick(sources - 1)) % sources;
        for source in [first, second] {
            let chunks = (0..chunks_each).map(|hour| tapes[source].next(hour));
            builders[source].push(set.as_ref(), chunks);
            if builders[source].is_full() {
                dealt[source].push(builders[source].finish());
            }
        }
    }
    for (builder, batches) in builders.iter_mut().zip(&mut dealt) {
        batches.push(builder.finish());
    }
    dealt
}

/// Merges everything and returns the number of series.
fn merge(sources: Vec<Vec<SeriesBatch>>) -> usize {
    let mut merge = SeriesMerge::new(sources.iter().map(|_| "source"));
    let mut sources: Vec<_> = sources.into_iter().map(Vec::into_iter).collect();
    let mut series = 0;
    loop {
        match merge.step().expect("the sources are sorted") {
            MergeStep::Batch(batch) => series += black_box(batch).len(),
            MergeStep::Needs(source) => match sources[source].next() {
                Some(batch) => merge.feed(source, batch),
                None => merge.end(source),
            },
            MergeStep::Done => return series,
        }
    }
}

fn bench(criterion: &mut Criterion) {
    let sets = label_sets();
    let mut group = criterion.benchmark_group("merge");
    group.throughput(Throughput::Elements(RESPONSES as u64));
    group
        .sample_size(10)
        .measurement_time(Duration::from_secs(3));
    for (shape, chunks_each) in [("labels", 0), ("chunks", 2)] {
        for sources in [8, 32, 128] {
            let dealt = deal(&sets, sources, chunks_each);
            assert_eq!(merge(dealt.clone()), RESPONSES / REPLICAS);
            group.bench_with_input(
                BenchmarkId::new(shape, sources),
                &dealt,
                |bencher, dealt| {
                    bencher.iter_batched(|| dealt.clone(), merge, BatchSize::PerIteration);
                },
            );
        }
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
