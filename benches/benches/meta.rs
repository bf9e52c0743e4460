//! S6: What does it cost to know the blocks of a bucket of 10,000? From nothing, and when nothing has changed, each by a
//! listing and by a manifest; and which of them are duplicates, each having 100 sources.
//!
//! Unit: one sync, or twenty that find nothing new; the time is that of all threads of the process on a processor, on
//! a bucket in memory. Headers are left to their first use. `META_BLOCKS` makes the bucket smaller.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use object_store::memory::InMemory;
use thanos_benches::cpu_time::ProcessCpuTime;
use thanos_bucket::Bucket;
use thanos_bucket::compute::Compute;
use thanos_bucket::fetch::filter::{BlockFilter, DuplicateFilter, select};
use thanos_bucket::fetch::{BlockEntry, BucketView};
use thanos_bucket::gateway::{Gateway, GatewayOptions, HeaderDownload, HeaderOptions};
use thanos_bucket::manifest::{ManifestMode, ManifestOptions};
use thanos_bucket::testkit::{BlockData, BlockSpec, block_id};
use thanos_core::block::{BlockId, Meta};
use thanos_core::testkit::K8sSpec;
use tokio::runtime::Runtime;

const SOURCES: u32 = 100;
const TENANTS: u32 = 100;
/// How many warm syncs are measured together: the kernel counts the time of a short one as nothing.
const WARM_SYNCS: u64 = 20;

/// The sources of block `number`, of which each shares `SOURCES - step` with the next one.
fn sources(number: u32, step: u32) -> Vec<BlockId> {
    let first = number * step;
    (first..first + SOURCES).map(block_id).collect()
}

async fn filled_bucket(blocks: u32) -> Bucket {
    let series = K8sSpec {
        series: 10,
        samples: 10,
        ..K8sSpec::default()
    };
    let data = BlockData::wide(&series).expect("a good block");
    let bucket = Bucket::new(Arc::new(InMemory::new()));
    for number in 0..blocks {
        let tenant = format!("eu-central-{}", number % TENANTS);
        let spec = BlockSpec {
            id: block_id(number),
            labels: vec![("cluster_id".to_owned(), tenant)],
            sources: sources(number, SOURCES),
            ..BlockSpec::default()
        };
        data.upload(&bucket, &spec).await.expect("room in memory");
    }
    bucket
}

fn gateway(bucket: &Bucket, manifest: Option<ManifestMode>) -> Gateway {
    let manifest = manifest.map(|mode| ManifestOptions {
        mode,
        ..ManifestOptions::default()
    });
    let headers = HeaderOptions {
        download: HeaderDownload::AtUse,
        ..HeaderOptions::default()
    };
    let options = GatewayOptions {
        manifest,
        headers,
        ..GatewayOptions::default()
    };
    Gateway::new(bucket.clone(), options)
}

async fn sync(gateway: &Gateway, blocks: u32) {
    let report = gateway.sync().await.expect("a good bucket");
    assert_eq!(report.loaded, blocks as usize);
}

fn syncs(c: &mut Criterion<ProcessCpuTime>) {
    let blocks = std::env::var("META_BLOCKS").ok();
    let blocks = blocks.map_or(10_000, |text| text.parse().expect("a number"));
    let runtime = Runtime::new().expect("threads can be started");
    let bucket = runtime.block_on(filled_bucket(blocks));
    runtime.block_on(async {
        let publisher = gateway(&bucket, Some(ManifestMode::Publish));
        sync(&publisher, blocks).await;
        publisher.publish_manifest().await.expect("room in memory");
    });
    for (name, mode) in [("listing", None), ("manifest", Some(ManifestMode::Read))] {
        let mut group = c.benchmark_group("meta/sync_cold");
        group.sample_size(10);
        group.bench_function(name, |b| {
            b.iter(|| runtime.block_on(sync(&gateway(&bucket, mode), blocks)));
        });
        group.finish();
        let mut group = c.benchmark_group("meta/sync_warm");
        group.sample_size(10);
        let gateway = gateway(&bucket, mode);
        runtime.block_on(sync(&gateway, blocks));
        group.throughput(Throughput::Elements(WARM_SYNCS));
        group.bench_function(name, |b| {
            b.iter(|| {
                for _ in 0..WARM_SYNCS {
                    runtime.block_on(sync(&gateway, blocks));
                }
            });
        });
        group.finish();
    }
}

/// Blocks of the same labels, each compacted from [`SOURCES`] others.
fn compacted(step: u32) -> BucketView {
    let entry = |number: u32| {
        let mut meta = Meta {
            ulid: block_id(number),
            version: 1,
            ..Meta::default()
        };
        meta.compaction.sources = sources(number, step);
        (meta.ulid, Arc::new(BlockEntry::new(meta, None)))
    };
    BucketView {
        blocks: (0..10_000).map(entry).collect::<BTreeMap<_, _>>(),
        ..BucketView::default()
    }
}

fn duplicates(c: &mut Criterion<ProcessCpuTime>) {
    let runtime = Runtime::new().expect("threads can be started");
    let mut group = c.benchmark_group("meta/duplicates");
    group.sample_size(10);
    for (name, step) in [("distinct", SOURCES), ("overlapping", 10), ("equal", 0)] {
        let view = compacted(step);
        let filter = || -> [Arc<dyn BlockFilter>; 1] {
            // A new one each time: it remembers its last answer.
            [Arc::new(DuplicateFilter::new(Compute::per_core()))]
        };
        let kept = if step == 0 { 1 } else { 10_000 };
        group.bench_function(name, |b| {
            let run = |filters: [Arc<dyn BlockFilter>; 1]| {
                let selection = runtime.block_on(select(&view, &filters));
                assert_eq!(
                    black_box(selection).expect("it cannot fail").blocks.len(),
                    kept
                );
            };
            b.iter_batched(filter, run, BatchSize::LargeInput);
        });
    }
    group.finish();
}

criterion_group! {
    name = meta;
    config = Criterion::default()
        .with_measurement(ProcessCpuTime)
        .measurement_time(Duration::from_secs(5));
    targets = syncs, duplicates
}
criterion_main!(meta);
