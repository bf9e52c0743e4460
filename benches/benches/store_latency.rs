//! How long does a question to a gateway take when each request to the bucket takes 20 ms? S3: by shape of the question,
//! beside a reader that goes phase by phase.
//!
//! The reader does what Thanos' gateway does, and computes nothing: all lists, then for each 10,000 series their entries
//! and then their chunks, every phase at once for itself, gaps of up to 512 KiB read over; all blocks at the same time.
//! Unit: one question, wall time. Index-headers are loaded. The round trips of each are printed before it is measured.

use std::hint::black_box;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use futures::TryStreamExt;
use futures::future::try_join_all;
use object_store::memory::InMemory;
use thanos_bucket::Bucket;
use thanos_bucket::gateway::{Gateway, GatewayOptions};
use thanos_bucket::testkit::{BlockData, BlockSpec, LatencyModel, LatencyStore, block_id};
use thanos_core::Result;
use thanos_core::block::segment::chunk_entry_len;
use thanos_core::index::{IndexReader, IndexVersion, SeriesScratch, series_entry_len};
use thanos_core::labels::{MatchOp, Matcher};
use thanos_core::query::SeriesEvent;
use thanos_core::testkit::K8sSpec;
use thanos_storeapi::store::{SeriesRequest, Store};
use tokio::runtime::Runtime;

/// Thanos' `--debug.series-batch-size`.
const BATCH_SERIES: usize = 10_000;
/// Thanos' gap of its partitioner.
const GAP_BYTES_MAX: u64 = 512 << 10;

/// A bucket of equal blocks, and who reads it.
struct Target {
    name: &'static str,
    data: BlockData,
    blocks: u32,
    store: Arc<LatencyStore>,
    bucket: Bucket,
    gateway: Gateway,
}

type Ranges = Vec<Range<u64>>;

/// What one block needs of the bucket, by phase.
struct Phases {
    lists: Vec<Range<u64>>,
    /// For each batch of series the entries, and then the chunks.
    batches: Vec<(Ranges, Ranges)>,
}

impl Target {
    async fn new(name: &'static str, series: usize, blocks: u32) -> Self {
        let memory = Arc::new(InMemory::new());
        let fast = Bucket::new(memory.clone());
        let spec = K8sSpec {
            series,
            ..K8sSpec::default()
        };
        let data = BlockData::wide(&spec).expect("a block can be written");
        for number in 0..blocks {
            let spec = BlockSpec {
                id: block_id(number),
                labels: vec![("block".to_owned(), number.to_string())],
                ..BlockSpec::default()
            };
            let uploaded = data.upload(&fast, &spec).await;
            uploaded.expect("memory takes all blocks");
        }
        let store = Arc::new(LatencyStore::new(memory, LatencyModel::default()));
        let bucket = Bucket::new(store.clone());
        let gateway = Gateway::new(bucket.clone(), GatewayOptions::default());
        gateway.sync().await.expect("the bucket can be read");
        store.take_trace();
        Self {
            name,
            data,
            blocks,
            store,
            bucket,
            gateway,
        }
    }

    async fn ask(&self, matchers: &[Matcher]) -> usize {
        let request = SeriesRequest {
            matchers: matchers.to_vec(),
            ..SeriesRequest::default()
        };
        let mut events = self.gateway.series(request).await.expect("a good request");
        let mut count = 0;
        while let Some(event) = events.try_next().await.expect("a good block") {
            if let SeriesEvent::Batch(batch) = event {
                count += black_box(batch).len();
            }
        }
        count
    }

    async fn read_by_phases(&self, phases: &Phases) -> usize {
        let read_block = |number| async move {
            let id = block_id(number);
            let (index, chunks) = (format!("{id}/index"), format!("{id}/chunks/000001"));
            let mut bytes = self.read_all(&index, &phases.lists).await?;
            for (entries, of_chunks) in &phases.batches {
                bytes += self.read_all(&index, entries).await?;
                bytes += self.read_all(&chunks, of_chunks).await?;
            }
            Ok::<_, thanos_core::Error>(bytes)
        };
        let read = try_join_all((0..self.blocks).map(read_block)).await;
        read.expect("the bucket can be read").into_iter().sum()
    }

    async fn read_all(&self, object: &str, ranges: &[Range<u64>]) -> Result<usize> {
        let reads = ranges
            .iter()
            .map(|range| self.bucket.read_range(object, range.clone()));
        let read = try_join_all(reads).await?;
        Ok(read.iter().map(|bytes| bytes.len()).sum())
    }

    /// Says how many round trips something takes.
    async fn print_cost(&self, what: &str, work: impl Future<Output = usize>) {
        self.store.take_trace();
        black_box(work.await);
        let trace = self.store.take_trace();
        eprintln!(
            "{}/{what}: {} round trips, {} requests, {} bytes, {:?}",
            self.name,
            trace.dependent_round_trips(),
            trace.requests.len(),
            trace.bytes_read(),
            trace.elapsed(),
        );
    }
}

impl Phases {
    fn new(data: &BlockData, matchers: &[Matcher]) -> Result<Self> {
        let index = data.index();
        let reader = IndexReader::open("index", index.clone())?;
        let mut lists = Vec::new();
        for matcher in matchers {
            reader.postings_table().visit(matcher.name(), |entry| {
                if matcher.matches(entry.value) {
                    lists.push(entry.location.payload());
                }
                Ok(ControlFlow::Continue(()))
            })?;
        }
        lists.sort_by_key(|range| range.start);
        let (mut scratch, mut batches) = (SeriesScratch::default(), Vec::new());
        let (mut entries, mut chunks, mut count) = (Vec::new(), Vec::new(), 0);
        for reference in &reader.postings_for_matchers(matchers)? {
            let offset = IndexVersion::V2.series_offset(reference.into());
            let offset = offset.expect("references of this version fit");
            let rest = &index[usize::try_from(offset).expect("the index is in memory")..];
            entries.push(offset..offset + series_entry_len(rest, offset)?);
            reader.series(reference.into(), &mut scratch)?;
            for chunk in scratch.chunks() {
                let offset = chunk.reference.offset();
                let rest = &data.segments()[0][offset as usize..];
                let len = chunk_entry_len(rest, u64::from(offset))? as u64;
                chunks.push(u64::from(offset)..u64::from(offset) + len);
            }
            count += 1;
            if count % BATCH_SERIES == 0 {
                batches.push((joined(&entries), joined(&chunks)));
                entries.clear();
                chunks.clear();
            }
        }
        batches.push((joined(&entries), joined(&chunks)));
        Ok(Self {
            lists: joined(&lists),
            batches,
        })
    }
}

/// Joins sorted ranges over gaps.
fn joined(ranges: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut parts: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match parts.last_mut() {
            Some(last) if range.start <= last.end + GAP_BYTES_MAX => {
                last.end = last.end.max(range.end);
            }
            _ => parts.push(range.clone()),
        }
    }
    parts
}

/// The questions by name.
fn questions(data: &BlockData) -> Vec<(&'static str, Vec<Matcher>)> {
    let reader = IndexReader::open("index", data.index().clone()).expect("a sound index");
    let pods = reader.label_values("pod").expect("a sound index");
    let metric = Matcher::equal("__name__", "container_memory_rss");
    let pod = Matcher::equal("pod", &pods[pods.len() / 2]);
    let container = Matcher::equal("container", "container-3");
    let all = Matcher::new(MatchOp::Regex, "__name__", ".+").expect("a good matcher");
    vec![
        ("one_series", vec![metric.clone(), pod.clone(), container]),
        ("one_pod", vec![pod]),
        ("one_metric", vec![metric]),
        ("everything", vec![all]),
    ]
}

fn benches(c: &mut Criterion) {
    let runtime = Runtime::new().expect("threads can be started");
    let (one, many) = runtime.block_on(async {
        let one = Target::new("one_block_of_50k", 50_000, 1).await;
        (one, Target::new("100_blocks_of_500", 500, 100).await)
    });
    let mut group = c.benchmark_group("store/latency_bucket");
    group.sample_size(10);
    for target in [&one, &many] {
        for (shape, matchers) in questions(&target.data) {
            let phases = Phases::new(&target.data, &matchers).expect("a sound block");
            let ask = || target.ask(&matchers);
            let read = || target.read_by_phases(&phases);
            let name = format!("{}/{shape}", target.name);
            runtime.block_on(target.print_cost(&format!("{shape}/gateway"), ask()));
            group.bench_function(format!("{name}/gateway"), |b| {
                b.iter(|| runtime.block_on(ask()));
            });
            runtime.block_on(target.print_cost(&format!("{shape}/by_phases"), read()));
            group.bench_function(format!("{name}/by_phases"), |b| {
                b.iter(|| runtime.block_on(read()));
            });
        }
    }
    group.finish();
}

criterion_group! {
    name = store_latency;
    config = Criterion::default().measurement_time(Duration::from_secs(3));
    targets = benches
}
criterion_main!(store_latency);
