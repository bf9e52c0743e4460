//! What a request costs: round trips that depend on each other, requests, and bytes against what was needed.
//!
//! The bounds are what the gateway reaches today; they are only ever lowered.

mod shapes;

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use object_store::memory::InMemory;
use thanos_bucket::Bucket;
use thanos_bucket::cache::{
    CachingStore, CachingStoreMetrics, CachingStoreOptions, InMemoryCache, InMemoryMetrics,
    InMemoryOptions, IndexCache,
};
use thanos_bucket::gateway::{Gateway, GatewayOptions, HeaderDownload, HeaderOptions};
use thanos_bucket::testkit::{
    BlockData, BlockSpec, LatencyModel, LatencyStore, RequestKind, Trace, block_id,
};
use thanos_core::block::segment::chunk_entry_len;
use thanos_core::index::{IndexReader, IndexVersion, SeriesScratch, series_entry_len};
use thanos_core::indexheader::HeaderSource;
use thanos_core::labels::{MatchOp, Matcher};
use thanos_core::query::SeriesEvent;
use thanos_core::testkit::K8sSpec;
use thanos_storeapi::store::{SeriesRequest, Store};

/// 20,000 series of 200 pods, 2 hours in 4 chunks each.
fn wide() -> BlockData {
    let spec = K8sSpec {
        series: 20_000,
        ..K8sSpec::default()
    };
    BlockData::wide(&spec).unwrap()
}

fn all() -> Matcher {
    Matcher::new(MatchOp::Regex, "__name__", ".+").unwrap()
}

/// A value of `label` in the middle of all of its values.
fn middle_value(data: &BlockData, label: &str) -> Matcher {
    let reader = IndexReader::open("index", data.index().clone()).unwrap();
    let values = reader.label_values(label).unwrap();
    Matcher::equal(label, &values[values.len() / 2])
}

/// The questions of this module by name.
fn shapes(data: &BlockData) -> Vec<(&'static str, Vec<Matcher>)> {
    let metric = Matcher::equal("__name__", "container_memory_rss");
    let pod = middle_value(data, "pod");
    let container = Matcher::equal("container", "container-3");
    vec![
        ("one metric", vec![metric.clone()]),
        ("one value, scattered", vec![pod.clone()]),
        ("one series", vec![metric, pod, container]),
        ("everything", vec![all()]),
    ]
}

fn position(at: u64) -> usize {
    usize::try_from(at).unwrap()
}

/// The bytes of postings lists, series entries and chunks that the answer consists of.
fn needed_bytes(data: &BlockData, matchers: &[Matcher]) -> u64 {
    needed_of(
        data,
        &SeriesRequest {
            matchers: matchers.to_vec(),
            ..SeriesRequest::default()
        },
    )
}

/// The bytes of postings lists, series entries and chunks that the answer to `request` consists of.
fn needed_of(data: &BlockData, request: &SeriesRequest) -> u64 {
    let needed = Needed::of(data, request);
    let ranges = needed
        .ranges
        .iter()
        .map(|(_, range)| range.end - range.start);
    needed.postings_bytes + ranges.sum::<u64>()
}

/// What a request is worth: so many bytes come in the time of a request, of which 128 go on at once (20 ms at 100 MB/s).
/// A shorter gap is rather read than left out.
const REQUEST_BYTES: u64 = 16 << 10;

/// What an answer consists of.
#[derive(Debug, Default)]
struct Needed {
    postings_bytes: u64,
    /// Series entries (of file 0) and chunks (of files from 1 on).
    ranges: Vec<(u32, Range<u64>)>,
}

impl Needed {
    fn of(data: &BlockData, request: &SeriesRequest) -> Self {
        let index = data.index();
        let reader = IndexReader::open("index", index.clone()).unwrap();
        let mut needed = Self::default();
        for matcher in &request.matchers {
            for value in reader.label_values(matcher.name()).unwrap() {
                if matcher.matches(&value) {
                    let list = reader.postings(matcher.name(), &[&value]).unwrap();
                    needed.postings_bytes += 4 + 4 + 4 * list.len() as u64 + 4;
                }
            }
        }
        let mut scratch = SeriesScratch::default();
        for reference in &reader.postings_for_matchers(&request.matchers).unwrap() {
            let offset = IndexVersion::V2.series_offset(reference.into()).unwrap();
            let len = series_entry_len(&index[position(offset)..], offset).unwrap();
            needed.ranges.push((0, offset..offset + len));
            reader.series(reference.into(), &mut scratch).unwrap();
            for chunk in scratch.chunks() {
                if request.skip_chunks || !chunk.time_range().overlaps(request.range) {
                    continue;
                }
                let offset = chunk.reference.offset();
                let file = chunk.reference.segment();
                let rest = &data.segments()[file as usize][offset as usize..];
                let offset = u64::from(offset);
                let len = chunk_entry_len(rest, offset).unwrap() as u64;
                needed.ranges.push((file + 1, offset..offset + len));
            }
        }
        needed
    }

    /// The least that reading it can cost when a request is worth [`REQUEST_BYTES`].
    fn least_cost(mut self) -> u64 {
        self.ranges
            .sort_unstable_by_key(|(file, range)| (*file, range.start));
        let mut cost = REQUEST_BYTES + self.postings_bytes;
        let mut before: Option<(u32, u64)> = None;
        for (file, range) in self.ranges {
            let gap = match before {
                Some((same, end)) if same == file => range.start.saturating_sub(end),
                _ => REQUEST_BYTES,
            };
            cost += gap.min(REQUEST_BYTES) + (range.end - range.start);
            before = Some((file, range.end));
        }
        cost
    }
}

/// What the requests of `trace` cost, in percent of the least that they can.
fn percent_of_least(trace: &Trace, least_cost: u64) -> u64 {
    let cost = trace.requests.len() as u64 * REQUEST_BYTES + trace.bytes_read();
    (cost * 100).div_ceil(least_cost)
}

fn header_bytes(data: &BlockData) -> u64 {
    let index = data.index();
    let of = |range: Range<u64>| &index[position(range.start)..position(range.end)];
    let toc = HeaderSource::toc_range(data.index_bytes()).unwrap();
    let source =
        HeaderSource::decode(of(HeaderSource::head_range()), of(toc), data.index_bytes()).unwrap();
    source.header_len()
}

/// Whether what is read is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Caches {
    None,
    IndexAndChunks,
}

/// A gateway over a bucket in which each request takes 20 ms.
async fn gateway_over(
    blocks: &[(&BlockData, BlockSpec)],
    caches: Caches,
) -> (Arc<LatencyStore>, Gateway) {
    gateway_with(blocks, caches, HeaderDownload::AtSync).await
}

/// The same, with headers fetched as `headers` says.
async fn gateway_with(
    blocks: &[(&BlockData, BlockSpec)],
    caches: Caches,
    headers: HeaderDownload,
) -> (Arc<LatencyStore>, Gateway) {
    let memory = Arc::new(InMemory::new());
    let bucket = Bucket::new(memory.clone());
    for (data, spec) in blocks {
        data.upload(&bucket, spec).await.unwrap();
    }
    let model = LatencyModel::of_requests(Duration::from_millis(20));
    let store = Arc::new(LatencyStore::new(memory, model));
    let mut bucket = Bucket::new(store.clone());
    let mut options = GatewayOptions {
        headers: HeaderOptions {
            download: headers,
            ..HeaderOptions::default()
        },
        ..GatewayOptions::default()
    };
    if caches == Caches::IndexAndChunks {
        bucket = bucket.layered(|store| {
            let (options, metrics) = (InMemoryOptions::default(), InMemoryMetrics::default());
            let backend = Arc::new(InMemoryCache::new(options, metrics).unwrap());
            let options = CachingStoreOptions::default();
            Arc::new(CachingStore::new(
                store,
                backend,
                options,
                CachingStoreMetrics::default(),
            ))
        });
        options.index_cache = Some(IndexCache::in_memory(InMemoryOptions::default()).unwrap());
    }
    let gateway = Gateway::new(bucket, options);
    let report = gateway.sync().await.unwrap();
    assert_eq!(report.loaded, blocks.len());
    store.take_trace();
    (store, gateway)
}

/// Returns the number of series and the round trips before the first of them.
async fn ask(store: &LatencyStore, gateway: &Gateway, matchers: &[Matcher]) -> (usize, usize) {
    let request = SeriesRequest {
        matchers: matchers.to_vec(),
        ..SeriesRequest::default()
    };
    ask_for(store, gateway, request).await
}

async fn ask_for(
    store: &LatencyStore,
    gateway: &Gateway,
    request: SeriesRequest,
) -> (usize, usize) {
    let mut stream = gateway.series(request).await.unwrap();
    let (mut series, mut first_trips) = (0, 0);
    while let Some(event) = stream.try_next().await.unwrap() {
        let SeriesEvent::Batch(batch) = event else {
            continue;
        };
        if series == 0 {
            first_trips = store.trace().dependent_round_trips();
        }
        series += batch.len();
    }
    (series, first_trips)
}

fn spec(number: u32) -> BlockSpec {
    BlockSpec {
        id: block_id(number),
        labels: vec![("cluster_id".to_owned(), number.to_string())],
        ..BlockSpec::default()
    }
}

/// What a shape of request may cost.
struct Bound {
    shape: &'static str,
    /// Round trips up to the first series, round trips, and bytes in percent of the needed ones. The header counts as
    /// needed when it is not there yet. `again` is the second request without any cache.
    cold: (usize, usize, u64),
    again: (usize, usize, u64),
}

const BOUNDS: [Bound; 4] = [
    bound("one metric", (3, 3, 100), (3, 3, 101)),
    bound("one value, scattered", (3, 3, 90), (3, 3, 102)),
    bound("one series", (3, 3, 30), (3, 3, 101)),
    bound("everything", (3, 3, 101), (3, 3, 101)),
];

const fn bound(
    shape: &'static str,
    cold: (usize, usize, u64),
    again: (usize, usize, u64),
) -> Bound {
    Bound { shape, cold, again }
}

/// Prints what a request cost and returns it as a bound has it.
fn report(what: &str, first_trips: usize, trace: &Trace, needed: u64) -> (usize, usize, u64) {
    let (trips, bytes) = (trace.dependent_round_trips(), trace.bytes_read());
    let percent = (bytes * 100).div_ceil(needed);
    println!(
        "{what}: {} requests, {first_trips} round trips to the first series, {trips} in all, \
         {bytes} bytes of {needed} needed: {percent} %",
        trace.requests.len()
    );
    (first_trips, trips, percent)
}

fn is_within(cost: (usize, usize, u64), bound: (usize, usize, u64)) -> bool {
    cost.0 <= bound.0 && cost.1 <= bound.1 && cost.2 <= bound.2
}

/// ST-01, ST-19: range reads only, as few and as short as the gaps between them allow.
#[tokio::test(start_paused = true)]
async fn a_request_costs_few_round_trips_and_little_more_than_its_bytes() {
    let data = wide();
    let mut over = Vec::new();
    for ((shape, matchers), bound) in shapes(&data).into_iter().zip(&BOUNDS) {
        assert_eq!(shape, bound.shape);
        let (store, gateway) = gateway_over(&[(&data, spec(1))], Caches::None).await;
        let needed = needed_bytes(&data, &matchers);
        let (series, first) = ask(&store, &gateway, &matchers).await;
        println!("{shape}: {series} series");
        let with_header = needed + header_bytes(&data);
        let cold = report("  cold", first, &store.take_trace(), with_header);
        let (again, first) = ask(&store, &gateway, &matchers).await;
        assert_eq!(again, series);
        let without = report(
            "  again, without caches",
            first,
            &store.take_trace(),
            needed,
        );
        if !is_within(cold, bound.cold) || !is_within(without, bound.again) {
            over.push(format!("{shape}: cold {cold:?}, again {without:?}"));
        }
    }
    assert!(over.is_empty(), "{over:#?}");
}

/// ST-24, ST-25: what was read once is not read again.
#[tokio::test(start_paused = true)]
async fn a_request_that_was_asked_before_costs_nothing() {
    let data = wide();
    for (shape, matchers) in shapes(&data) {
        let (store, gateway) = gateway_over(&[(&data, spec(1))], Caches::IndexAndChunks).await;
        let (series, first) = ask(&store, &gateway, &matchers).await;
        let needed = needed_bytes(&data, &matchers);
        // Indexes and chunks through caches cost no more than without: short reads fetch no whole parts of chunk files.
        let cost = report(shape, first, &store.take_trace(), needed);
        assert!(is_within(cost, (3, 3, 130)), "{shape}: {cost:?}");
        let (again, _) = ask(&store, &gateway, &matchers).await;
        assert_eq!(again, series, "{shape}");
        assert_eq!(store.take_trace(), Trace::default(), "{shape}");
    }
}

/// ST-24: requests whose entries lie between each other's in the same pages do not push each other out.
#[tokio::test(start_paused = true)]
async fn requests_that_alternate_cost_nothing() {
    let data = wide();
    let (store, gateway) = gateway_over(&[(&data, spec(1))], Caches::IndexAndChunks).await;
    let reader = IndexReader::open("index", data.index().clone()).unwrap();
    let pods = reader.label_values("pod").unwrap();
    let questions: Vec<_> = pods[..20]
        .iter()
        .map(|pod| [Matcher::equal("pod", pod)])
        .collect();
    for matchers in &questions {
        ask(&store, &gateway, matchers).await;
    }
    store.take_trace();
    for matchers in questions.iter().chain(&questions) {
        let (series, _) = ask(&store, &gateway, matchers).await;
        assert!(series > 0, "{matchers:?}");
    }
    assert_eq!(store.take_trace(), Trace::default());
}

/// Blocks that cannot have the answer cost nothing, however many there are.
#[tokio::test(start_paused = true)]
async fn pruned_blocks_cost_no_request() {
    let small = K8sSpec {
        series: 200,
        samples: 120,
        ..K8sSpec::default()
    };
    let data = BlockData::wide(&small).unwrap();
    let blocks: Vec<_> = (0..1000).map(|number| (&data, spec(number))).collect();
    let (store, gateway) = gateway_over(&blocks, Caches::None).await;
    let matchers = [all(), Matcher::equal("cluster_id", "500")];
    let (series, first) = ask(&store, &gateway, &matchers).await;
    assert_eq!(series, 200);
    let trace = store.take_trace();
    let wanted = block_id(500).to_string();
    assert!(
        trace
            .requests
            .iter()
            .all(|request| request.object.starts_with(&wanted))
    );
    assert_eq!(
        trace.count(RequestKind::List) + trace.count(RequestKind::Head),
        0
    );
    let needed = needed_bytes(&data, &matchers[..1]) + header_bytes(&data);
    let cost = report("one of 1000 blocks", first, &trace, needed);
    assert!(is_within(cost, (4, 4, 130)), "{cost:?}");

    let none = [all(), Matcher::equal("cluster_id", "nowhere")];
    assert_eq!(ask(&store, &gateway, &none).await, (0, 0));
    assert_eq!(store.take_trace(), Trace::default());
}
