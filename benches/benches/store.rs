//! What does the store gateway spend on a series? S1: all series of a block of a million with 12 labels and one
//! chunk each, with and without chunks; S2: the one series of them that has a sample at a given time.
//!
//! Unit: one series; the time is that of all threads of the process on a processor. The block lies in a directory,
//! so that nothing waits for long. `WIDE_SERIES` makes the block smaller.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures::TryStreamExt;
use thanos_benches::cpu_time::ProcessCpuTime;
use thanos_benches::wide::{WIDE_START, write_wide};
use thanos_bucket::gateway::{Gateway, GatewayOptions};
use thanos_core::labels::{MatchOp, Matcher};
use thanos_core::query::SeriesEvent;
use thanos_core::testkit::TempDir;
use thanos_core::time::TimeRange;
use thanos_storeapi::store::{SeriesRequest, Store};
use tokio::runtime::Runtime;

/// Asks for all series of `range` and returns how many there are.
async fn drain(gateway: &Gateway, range: TimeRange, skip_chunks: bool) -> usize {
    let all = Matcher::new(MatchOp::Regex, "__name__", ".+").expect("a good matcher");
    let request = SeriesRequest {
        range,
        matchers: vec![all],
        skip_chunks,
        ..SeriesRequest::default()
    };
    let mut events = gateway.series(request).await.expect("a good request");
    let mut count = 0;
    while let Some(event) = events.try_next().await.expect("a good block") {
        if let SeriesEvent::Batch(batch) = event {
            count += black_box(batch).len();
        }
    }
    count
}

fn benches(c: &mut Criterion<ProcessCpuTime>) {
    let series = std::env::var("WIDE_SERIES").ok();
    let series = series.map_or(1_000_000, |text| text.parse().expect("a number"));
    let dir = TempDir::new("bench-store");
    let (bucket_dir, data_dir) = (dir.path().join("bucket"), dir.path().join("data"));
    std::fs::create_dir_all(&bucket_dir).expect("the directory can be written to");
    write_wide(&bucket_dir, series);
    let runtime = Runtime::new().expect("threads can be started");
    let gateway = runtime.block_on(async {
        let bucket = thanos_bucket::directory::open(&bucket_dir).expect("the directory exists");
        let options = GatewayOptions {
            data_dir: Some(data_dir),
            ..GatewayOptions::default()
        };
        let gateway = Gateway::new(bucket, options);
        gateway.sync().await.expect("the bucket can be read");
        gateway
    });
    let mut group = c.benchmark_group("store/wide");
    group.sample_size(10);
    group.throughput(Throughput::Elements(series as u64));
    for (name, skip_chunks) in [("labels", true), ("labels_and_chunks", false)] {
        group.bench_function(name, |b| {
            b.iter(|| {
                let found = runtime.block_on(drain(&gateway, TimeRange::ALL, skip_chunks));
                assert_eq!(found, series);
            });
        });
    }
    let middle = WIDE_START + i64::try_from(series / 2).expect("a small number");
    let needle = TimeRange {
        min: middle,
        max: middle,
    };
    group.bench_function("needle", |b| {
        b.iter(|| assert_eq!(runtime.block_on(drain(&gateway, needle, false)), 1));
    });
    group.finish();
}

criterion_group! {
    name = store;
    config = Criterion::default()
        .with_measurement(ProcessCpuTime)
        .measurement_time(Duration::from_secs(10));
    targets = benches
}
criterion_main!(store);
