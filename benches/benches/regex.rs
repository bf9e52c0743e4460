//! What does a regular expression cost for each label value it is tried on? (K8 of the benchmark list)
//!
//! Shape: 100,000 values of 15 to 17 bytes, as pods are called. Unit: one value. Peer: Prometheus'
//! `FastRegexMatcher`.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use thanos_core::re2::GoRegex;

const VALUES: usize = 100_000;

fn values() -> Vec<String> {
    const APPS: [&str; 4] = ["api", "web", "db", "cache"];
    let value = |i: usize| format!("{}-{i:06}-x7k{:02}", APPS[i % 4], i % 100);
    (0..VALUES).map(value).collect()
}

/// Returns (name, expression, how many values match).
fn expressions(values: &[String]) -> [(&'static str, String, usize); 9] {
    let set: Vec<&str> = values.iter().step_by(500).map(String::as_str).collect();
    [
        ("literal", "api-000004-x7k04".into(), 1),
        ("set of 200", set.join("|"), 200),
        ("prefix", "api-0001.*".into(), 25),
        ("suffix", ".*-x7k42".into(), 1000),
        ("contains", ".*0042.*".into(), 120),
        ("prefixes", "api-.*|web-.*|zed-.*".into(), 50_000),
        ("classes", "(api|web)-[0-9]+-x7k4[0-9]".into(), 6000),
        ("not empty", ".+".into(), VALUES),
        ("engine", "[a-c].*-x7k[0-9]*7".into(), 5000),
    ]
}

fn bench(criterion: &mut Criterion) {
    let values = values();
    let mut group = criterion.benchmark_group("regex");
    group.throughput(Throughput::Elements(VALUES as u64));
    for (name, expression, expected) in expressions(&values) {
        let regex = GoRegex::new(&expression).expect("a good expression");
        let count = || values.iter().filter(|value| regex.is_match(value)).count();
        assert_eq!(count(), expected, "{name}");
        group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
            bencher.iter(count)
        });
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
