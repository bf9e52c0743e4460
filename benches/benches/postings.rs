//! How fast are sets of series combined? K7: 100k with 300k of 1M, 1k with 300k, 1000 lists of 300, and matchers
//! over an index of 100k series.

use std::hint::black_box;

use criterion::measurement::WallTime;
use criterion::{
    BatchSize, BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main,
};
use thanos_core::budget::MemoryBudget;
use thanos_core::encoding::{Section, crc};
use thanos_core::index::IndexReader;
use thanos_core::labels::{MatchOp, Matcher};
use thanos_core::postings::{Postings, StoredList, combine, decode_postings};
use thanos_core::testkit::{K8sSpec, TestRandom, k8s_index};

const UNIVERSE: u64 = 1_000_000;

/// Returns `count` different references below a million, sorted.
fn list(count: usize, seed: u64) -> Vec<u32> {
    let mut random = TestRandom::new(seed);
    let mut picked = std::collections::BTreeSet::new();
    while picked.len() < count {
        picked.insert(u32::try_from(random.below(UNIVERSE)).expect("below a million"));
    }
    picked.into_iter().collect()
}

/// Returns a list as an index stores it.
fn stored(references: &[u32]) -> Vec<u8> {
    let len = |count: usize| u32::try_from(count).expect("a short list").to_be_bytes();
    let mut content = len(references.len()).to_vec();
    content.extend(references.iter().flat_map(|one| one.to_be_bytes()));
    let mut bytes = len(content.len()).to_vec();
    bytes.extend_from_slice(&content);
    bytes.extend_from_slice(&crc::checksum(&content).to_be_bytes());
    bytes
}

/// Combines lists as they are stored, checks included.
fn bench_stored(group: &mut BenchmarkGroup<'_, WallTime>, small: &[u32], large: &[u32]) {
    let lists = [small, large].map(stored);
    let [small, large] = lists
        .each_ref()
        .map(|bytes| StoredList { bytes, offset: 0 });
    let budget = MemoryBudget::unlimited();
    let both = [vec![small], vec![large]];
    group.bench_function("intersect_stored", |b| {
        b.iter(|| {
            combine(black_box(&both), &[], &budget)
                .expect("good lists")
                .series
        });
    });
    let (keep, drop) = ([vec![large]], [vec![small]]);
    group.bench_function("subtract_stored", |b| {
        b.iter(|| {
            combine(black_box(&keep), &drop, &budget)
                .expect("good lists")
                .series
        });
    });
}

fn bench_pair(c: &mut Criterion, name: &str, small: usize, large: usize) {
    let lists = [list(small, 1), list(large, 2)];
    let mut group = c.benchmark_group(format!("postings/{name}"));
    group.throughput(Throughput::Elements((small + large) as u64));
    bench_stored(&mut group, &lists[0], &lists[1]);
    let sets: Vec<Postings> = lists.map(Postings::from_sorted).into();
    group.bench_function("intersect", |b| {
        b.iter(|| Postings::intersect(black_box(&sets)));
    });
    let compact: Vec<_> = sets.iter().cloned().map(Postings::compacted).collect();
    group.bench_function("intersect_compacted", |b| {
        b.iter(|| Postings::intersect(black_box(&compact)));
    });
    group.bench_function("subtract", |b| {
        let subtract = |from: Postings| from.subtract(&sets[0]);
        b.iter_batched(|| sets[1].clone(), subtract, BatchSize::LargeInput);
    });
    group.finish();
}

fn bench_union(c: &mut Criterion) {
    let sets: Vec<_> = (0..1000)
        .map(|seed| Postings::from_sorted(list(300, seed)))
        .collect();
    let mut group = c.benchmark_group("postings/union_1k");
    group.throughput(Throughput::Elements(300_000));
    group.bench_function("1000x300", |b| {
        b.iter_batched(|| sets.clone(), Postings::union, BatchSize::LargeInput);
    });
    group.finish();
}

fn bench_decode(c: &mut Criterion) {
    let references = list(300_000, 3);
    let mut content = 300_000_u32.to_be_bytes().to_vec();
    content.extend(
        references
            .iter()
            .flat_map(|reference| reference.to_be_bytes()),
    );
    let section = Section {
        content: &content,
        offset: 0,
    };
    let mut group = c.benchmark_group("postings/decode");
    group.throughput(Throughput::Elements(300_000));
    group.bench_function("300k", |b| {
        b.iter(|| decode_postings(black_box(section)).expect("a good list"))
    });
    group.finish();
}

fn bench_matchers(c: &mut Criterion) {
    let spec = K8sSpec {
        series: 100_000,
        ..K8sSpec::default()
    };
    let index = IndexReader::open("index", k8s_index(&spec)).expect("a good index");
    let matcher =
        |op, name: &str, value: &str| Matcher::new(op, name, value).expect("a good matcher");
    let cpu = matcher(
        MatchOp::Equal,
        "__name__",
        "container_cpu_usage_seconds_total",
    );
    let cases = [
        ("name", vec![cpu.clone()]),
        (
            "name_and_namespace",
            vec![cpu.clone(), matcher(MatchOp::Equal, "namespace", "web")],
        ),
        (
            "name_and_pod_prefix",
            vec![cpu.clone(), matcher(MatchOp::Regex, "pod", "web-app-1.*")],
        ),
        (
            "name_and_pod_regex",
            vec![cpu.clone(), matcher(MatchOp::Regex, "pod", ".*-app-.*0")],
        ),
        (
            "name_but_not_pod",
            vec![cpu, matcher(MatchOp::NotRegex, "pod", "web-.*")],
        ),
        (
            "all_but_namespace",
            vec![matcher(MatchOp::NotEqual, "namespace", "web")],
        ),
    ];
    let mut group = c.benchmark_group("postings/expand_matchers_100k");
    for (name, matchers) in cases {
        group.bench_function(name, |b| {
            b.iter(|| {
                index
                    .postings_for_matchers(black_box(&matchers))
                    .expect("a good index")
            });
        });
    }
    group.finish();
}

fn benches(c: &mut Criterion) {
    bench_pair(c, "100k_x_300k", 100_000, 300_000);
    bench_pair(c, "1k_x_300k", 1_000, 300_000);
    bench_pair(c, "30k_x_30k", 30_000, 30_000);
    bench_union(c);
    bench_decode(c);
    bench_matchers(c);
}

criterion_group!(postings, benches);
criterion_main!(postings);
