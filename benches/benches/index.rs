//! How fast are index and index-header opened, read and written? A generated index of 100k series.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use thanos_core::index::{IndexReader, IndexWriter, LabelIndices, SeriesScratch};
use thanos_core::indexheader::{IndexHeader, build_header};
use thanos_core::testkit::{K8sSpec, k8s_index};

const SERIES: usize = 100_000;

fn bench_header(c: &mut Criterion, index: &Bytes) {
    let bytes = Bytes::from(build_header(index).expect("a good index"));
    let mut group = c.benchmark_group("header");
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function("header_open", |b| {
        b.iter(|| IndexHeader::open("index-header", bytes.clone()).expect("a good header"));
    });
    group.throughput(Throughput::Elements(1));
    let header = IndexHeader::open("index-header", bytes.clone()).expect("a good header");
    let pods = header.label_values("pod").expect("a good header");
    let mut next = pods.iter().cycle();
    group.bench_function("postings_range", |b| {
        b.iter(|| header.postings_range("pod", next.next().expect("there are pods")));
    });
    group.finish();
}

fn bench_read(c: &mut Criterion, bytes: &Bytes) {
    let mut group = c.benchmark_group("index");
    group.bench_function("open", |b| {
        b.iter(|| IndexReader::open("index", bytes.clone()).expect("a good index"));
    });
    let index = IndexReader::open("index", bytes.clone()).expect("a good index");
    let all = index.all_postings().expect("a good index");
    let mut scratch = SeriesScratch::default();
    group.throughput(Throughput::Elements(SERIES as u64));
    group.bench_function("series", |b| {
        b.iter(|| {
            for reference in &all {
                index
                    .series(reference.into(), &mut scratch)
                    .expect("a good index");
                black_box(scratch.labels());
            }
        });
    });
    group.finish();
}

fn bench_write(c: &mut Criterion, bytes: &Bytes) {
    let index = IndexReader::open("index", bytes.clone()).expect("a good index");
    let mut all = Vec::new();
    let mut scratch = SeriesScratch::default();
    for reference in &index.all_postings().expect("a good index") {
        index
            .series(reference.into(), &mut scratch)
            .expect("a good index");
        all.push((scratch.symbols().to_vec(), scratch.chunks().to_vec()));
    }
    let mut group = c.benchmark_group("index");
    group.sample_size(10);
    group.throughput(Throughput::Elements(SERIES as u64));
    group.bench_function("write", |b| {
        b.iter(|| {
            let symbols = index.symbols().iter();
            let symbols = symbols.map(|symbol| symbol.expect("a good index").1);
            let mut writer = IndexWriter::new(std::io::sink(), symbols, LabelIndices::Omit)
                .expect("symbols are sorted");
            for (labels, chunks) in &all {
                writer
                    .add_series_by_symbols(labels, chunks)
                    .expect("series are sorted");
            }
            writer.finish().expect("a sink takes all").1
        });
    });
    group.finish();
}

fn benches(c: &mut Criterion) {
    let spec = K8sSpec {
        series: SERIES,
        ..K8sSpec::default()
    };
    let bytes = k8s_index(&spec);
    bench_header(c, &bytes);
    bench_read(c, &bytes);
    bench_write(c, &bytes);
}

criterion_group!(index, benches);
criterion_main!(index);
