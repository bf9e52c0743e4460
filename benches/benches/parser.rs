//! The PromQL parser: what does it cost to read an expression, and to write it again?
//!
//! - `parse`: one expression of each common shape, with type check; the time shown is per expression.
//! - `refuse`: expressions that are wrong in their syntax or their types; the time includes the messages.
//! - `print`: the expressions of `parse` as text.
//! - `chain`: one expression of 1000 operators; elements are operators, so the cost must not grow with the length.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use thanos_promql::parser::{Options, parse};

/// From a bare name to subqueries; the same shapes that Prometheus' own parser benchmark has.
const GOOD: [(&str, &str); 14] = [
    ("letter", "x"),
    ("name", "memory"),
    ("number", "7"),
    ("compare", "3 >= bool 2"),
    ("arithmetic", "4 + 6/(5*2)"),
    ("or", "up or down"),
    ("sets", "up and down unless new or old"),
    (
        "matching",
        "cpu + on(job) mem / on(job, pod) group_right(zone) net_",
    ),
    ("ignoring", "cpu / ignoring(mode,core) group_left(core) mem"),
    (
        "include",
        "cpu - ignoring(mode,core) group_right(mem,cpu) mem",
    ),
    (
        "matchers",
        r#"cpu{a="b", cpu!="mem", mode=~"user", mem!~"swap"}"#,
    ),
    (
        "subquery",
        r#"max_over_time(rate(cpu{mode="sys"}[4s])[6m:])[5m:2s]"#,
    ),
    (
        "keywords",
        "sum without(and, by, max, min, alert, description)(used_bytes) [20m:15s]",
    ),
    ("texts", r#"sort_by_label(memory, "pod", "job")"#),
];

/// Wrong syntax, then wrong types.
const BAD: [(&str, &str); 6] = [
    ("unclosed", "("),
    ("brace", "}"),
    ("scalar_set", "2 or 3"),
    ("scalar_matching", "2 or on(job) cpu"),
    ("set_grouping", "cpu unless on(job) group_left(pod) mem"),
    ("matrix_subquery", "disk[4d] OFFSET 20s [15m:3s]"),
];

const CHAIN_OPERATORS: u32 = 999;

fn options() -> Options {
    Options {
        experimental_functions: true,
        ..Options::default()
    }
}

fn parse_good(criterion: &mut Criterion) {
    let options = options();
    let mut group = criterion.benchmark_group("parse");
    for (name, query) in GOOD {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                // `subquery` and `keywords` are matrices, which is fine at the top.
                black_box(parse(black_box(query), &options)).expect("the expression is right")
            });
        });
    }
    group.finish();
}

fn refuse_bad(criterion: &mut Criterion) {
    let options = options();
    let mut group = criterion.benchmark_group("refuse");
    for (name, query) in BAD {
        group.bench_function(name, |bencher| {
            bencher.iter(|| black_box(parse(black_box(query), &options)).is_err());
        });
    }
    group.finish();
}

fn print(criterion: &mut Criterion) {
    let options = options();
    let exprs = GOOD.map(|(_, query)| parse(query, &options).expect("the expression is right"));
    let mut group = criterion.benchmark_group("print");
    group.throughput(Throughput::Elements(exprs.len() as u64));
    group.bench_function("all", |bencher| {
        bencher.iter(|| {
            exprs
                .iter()
                .map(|expr| expr.to_string().len())
                .sum::<usize>()
        });
    });
    group.finish();
}

fn chain(criterion: &mut Criterion) {
    let options = options();
    let query = "1+".repeat(CHAIN_OPERATORS as usize) + "1";
    let mut group = criterion.benchmark_group("chain");
    group.throughput(Throughput::Elements(u64::from(CHAIN_OPERATORS)));
    group.bench_function("parse", |bencher| {
        bencher.iter(|| black_box(parse(&query, &options)).expect("the expression is right"));
    });
    group.finish();
}

criterion_group!(benches, parse_good, refuse_bad, print, chain);
criterion_main!(benches);
