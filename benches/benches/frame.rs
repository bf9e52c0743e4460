//! How long does a series take from batch to StoreAPI frame and back, and over gRPC on loopback?
//!
//! Input: series with 12 labels of 239 bytes together and one chunk of 470 bytes, 64 series in a frame; times are
//! per frame, throughput is in series. The goal for reading a frame is 0.5 to 0.9 us per series with the network.
//!
//! Run: `cargo bench -p thanos-benches --bench frame`

use std::hint::black_box;
use std::net::TcpListener;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use futures::StreamExt;
use thanos_core::chunk::{Chunk, Encoding, SeriesChunk};
use thanos_core::labels::{Labels, Matcher};
use thanos_core::query::{SeriesBatch, SeriesBatchBuilder, SeriesEvent};
use thanos_core::time::Timestamp;
use thanos_storeapi::client::{ClientSettings, RemoteStore};
use thanos_storeapi::server::{ServerSettings, StoreServer, serve};
use thanos_storeapi::store::{SeriesRequest, Store};
use thanos_storeapi::testkit::{MemSeries, MemStore};
use thanos_storeapi::wire::{Frame, FrameDecoder, FrameEncoder, Frames};

const FRAME_SERIES: usize = 64;
const LABELS: usize = 12;
const LABEL_BYTES: usize = 239;
const CHUNK_BYTES: usize = 470;
const LOOPBACK_SERIES: usize = 20_000;

fn labels(index: usize) -> Labels {
    let mut pairs: Vec<(String, String)> = (0..LABELS - 1)
        .map(|label| (format!("label_{label:02}"), format!("value-{index:05}")))
        .collect();
    let used: usize = pairs
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    let rest = LABEL_BYTES - used - "pod".len();
    pairs.push(("pod".into(), "p".repeat(rest)));
    Labels::from_pairs(pairs)
}

fn chunk() -> SeriesChunk {
    let chunk = Chunk {
        encoding: Encoding::XOR,
        data: Bytes::from(vec![0x5A; CHUNK_BYTES]),
    };
    SeriesChunk::raw(
        Timestamp::from_millis(1_793_491_200_000),
        Timestamp::from_millis(1_793_492_992_097),
        chunk,
    )
}

fn batch() -> SeriesBatch {
    let mut series = SeriesBatchBuilder::new();
    for index in 0..FRAME_SERIES {
        series.push(labels(index).as_ref(), [chunk()]);
    }
    series.finish()
}

fn frame() -> Frame {
    let mut frames = Frames::new(FRAME_SERIES as u64);
    frames.push(SeriesEvent::Batch(batch()));
    frames.next_full().expect("the batch fills a frame")
}

fn encode(c: &mut Criterion) {
    let mut group = c.benchmark_group("frame");
    group.throughput(Throughput::Elements(FRAME_SERIES as u64));
    let frame = frame();
    let mut encoder = FrameEncoder::default();
    let mut out = BytesMut::with_capacity(1 << 20);
    group.bench_function("encode", |b| {
        b.iter(|| {
            out.clear();
            encoder
                .encode(black_box(&frame), &mut out)
                .expect("it encodes");
            black_box(out.len())
        });
    });

    out.clear();
    encoder.encode(&frame, &mut out).expect("it encodes");
    let bytes = out.split().freeze();
    group.bench_function("decode", |b| {
        b.iter_batched_ref(
            || FrameDecoder::new("peer"),
            |decoder| {
                let mut series = SeriesBatchBuilder::new();
                decoder
                    .decode(black_box(&bytes), &mut series)
                    .expect("it decodes");
                series.finish()
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

fn loopback(c: &mut Criterion) {
    let series = (0..LOOPBACK_SERIES).map(|index| MemSeries {
        labels: labels(index),
        chunks: vec![chunk()],
    });
    let store = MemStore::new(Labels::empty(), series.collect()).with_batch_series(128);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("the runtime starts");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("the listener is bound");
    let settings = ServerSettings::default();
    let router = StoreServer::new(Arc::new(store), settings.clone()).router();
    runtime.spawn(async move { serve(listener, router, &settings, std::future::pending()).await });
    let client = RemoteStore::new(&address.to_string(), ClientSettings::default())
        .expect("the address is good");

    let mut group = c.benchmark_group("grpc");
    group.sample_size(10);
    group.throughput(Throughput::Elements(LOOPBACK_SERIES as u64));
    for response_batch_size in [1, FRAME_SERIES as u64] {
        group.bench_function(format!("loopback/batches_of_{response_batch_size}"), |b| {
            b.iter(|| runtime.block_on(count_series(&client, response_batch_size)));
        });
    }
    group.finish();
}

async fn count_series(client: &RemoteStore, response_batch_size: u64) -> usize {
    let request = SeriesRequest {
        matchers: vec![Matcher::equal("missing", "")],
        response_batch_size,
        ..SeriesRequest::default()
    };
    let mut events = client.series(request).await.expect("the server answers");
    let mut count = 0;
    while let Some(event) = events.next().await {
        if let SeriesEvent::Batch(batch) = event.expect("no error on the way") {
            count += batch.len();
        }
    }
    assert_eq!(count, LOOPBACK_SERIES);
    count
}

criterion_group!(benches, encode, loopback);
criterion_main!(benches);
