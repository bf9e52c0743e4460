//! What do opening and building an index-header cost, and looking around in it? (S4 and S5 of the benchmark list)
//!
//! Shape: an index of a million series with 20 labels each, of which one has a million values and the others have as
//! many as labels of Kubernetes have. Both layouts: that of Thanos, and the sparse one. Peer of opening and building:
//! Thanos' `BinaryReader` and `WriteBinary`. Measured is time of the processor.

use std::hint::black_box;
use std::ops::ControlFlow;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use thanos_benches::cpu_time::CpuTime;
use thanos_core::index::{IndexWriter, LabelIndices, SymbolRef};
use thanos_core::indexheader::{IndexHeader, build_header, build_sparse_header};
use thanos_core::labels::{MatchOp, Matcher};

const SERIES: usize = 1_000_000;
/// How many values each label has; the first is the million.
const CARDINALITIES: [usize; 20] = [
    SERIES, 20_000, 5_000, 2_000, 1_000, 500, 200, 100, 50, 30, 20, 10, 8, 5, 4, 3, 2, 1, 1, 1,
];

/// The value of label `name` of the series `number`: all of them have fixed widths, so that texts sort as numbers.
fn value(label: usize, number: usize) -> String {
    let count = CARDINALITIES[label];
    format!("value-{label:02}-of-a-pod-{:07}", number * count / SERIES)
}

/// Returns the index. Its series have no chunks: a header knows nothing of them.
fn index() -> Bytes {
    let names: Vec<String> = (0..CARDINALITIES.len())
        .map(|i| format!("label_{i:02}"))
        .collect();
    // Values start with a v and names with an l.
    let mut symbols = names.clone();
    let mut first_of = Vec::new();
    for (label, count) in CARDINALITIES.into_iter().enumerate() {
        first_of.push(symbols.len());
        let number = |i: usize| (i * SERIES).div_ceil(count);
        symbols.extend((0..count).map(|i| value(label, number(i))));
    }
    let mut writer =
        IndexWriter::new(Vec::new(), &symbols, LabelIndices::Omit).expect("symbols are sorted");
    let symbol = |at: usize| SymbolRef(u32::try_from(at).expect("there are fewer"));
    let mut labels = Vec::new();
    for series in 0..SERIES {
        labels.clear();
        for (label, first) in first_of.iter().enumerate() {
            let value = first + series * CARDINALITIES[label] / SERIES;
            labels.push((symbol(label), symbol(value)));
        }
        writer
            .add_series_by_symbols(&labels, &[])
            .expect("series are sorted");
    }
    Bytes::from(writer.finish().expect("memory takes all").0)
}

fn open(bytes: &Bytes) -> IndexHeader {
    IndexHeader::open("index-header", bytes.clone()).expect("a good header")
}

fn bench_layout(c: &mut Criterion<CpuTime>, layout: &str, bytes: &Bytes) {
    let mut group = c.benchmark_group(format!("header/{layout}"));
    group.sample_size(20);
    group.bench_function("open", |b| b.iter(|| open(bytes)));
    // What a first request after opening costs.
    group.bench_function("open_and_find_10", |b| {
        b.iter(|| {
            let header = open(bytes);
            for number in (0..SERIES).step_by(SERIES / 10) {
                black_box(header.postings_location("label_00", &value(0, number)))
                    .expect("a good header");
            }
            header
        });
    });
    let header = open(bytes);
    header.verify().expect("a good header");
    group.throughput(Throughput::Elements(1));
    let mut number = 0;
    group.bench_function("find_value", |b| {
        b.iter(|| {
            number = (number + 7_919) % SERIES;
            header.postings_location("label_00", &value(0, number))
        });
    });
    let symbols = u32::try_from(header.symbols().len()).expect("there are fewer");
    let mut symbol = 0;
    group.bench_function("lookup_symbol", |b| {
        b.iter(|| {
            symbol = (symbol + 7_919) % symbols;
            header.symbols().lookup(SymbolRef(symbol)).map(str::len)
        });
    });
    group.throughput(Throughput::Elements(SERIES as u64));
    group.bench_function("walk_1m_values", |b| {
        b.iter(|| {
            let mut bytes = 0;
            let visited = header.postings_table().visit("label_00", |entry| {
                bytes += entry.value.len();
                Ok(ControlFlow::Continue(()))
            });
            visited.map(|()| bytes)
        });
    });
    let matcher = Matcher::new(MatchOp::Regex, "label_00", ".*-pod-.*42").expect("a good regex");
    group.bench_function("plan_regex_1m_values", |b| {
        b.iter(|| header.plan(std::slice::from_ref(&matcher)));
    });
    group.finish();
}

fn benches(c: &mut Criterion<CpuTime>) {
    let index = index();
    let thanos = Bytes::from(build_header(&index).expect("a good index"));
    let sparse = Bytes::from(build_sparse_header(&open(&thanos)).expect("a good header"));
    eprintln!(
        "index {} bytes, Thanos' header {}, sparse header {}",
        index.len(),
        thanos.len(),
        sparse.len()
    );
    let mut group = c.benchmark_group("header/build");
    group.sample_size(10);
    group.throughput(Throughput::Elements(SERIES as u64));
    group.bench_function("thanos", |b| {
        b.iter(|| build_header(&index).expect("a good index"));
    });
    group.bench_function("thanos_opened_and_sparse", |b| {
        b.iter(|| {
            let bytes = Bytes::from(build_header(&index).expect("a good index"));
            build_sparse_header(&open(&bytes)).expect("a good header")
        });
    });
    group.finish();
    drop(index);
    bench_layout(c, "thanos", &thanos);
    bench_layout(c, "sparse", &sparse);
}

criterion_group! {
    name = header;
    config = Criterion::default().with_measurement(CpuTime);
    targets = benches
}
criterion_main!(header);
