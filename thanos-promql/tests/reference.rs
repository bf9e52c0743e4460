//! The engine against the naive evaluator.
//!
//! By default a few thousand random queries; `./test` asks for 100,000 and `./test --long` for 1,000,000.
//! Any other number: `THANOS_REFERENCE_CASES=5000 cargo test -p thanos-promql --features testkit --test reference`.
//! A single one: `THANOS_REFERENCE_SEED=4711`.

#![cfg(feature = "testkit")]

use std::env;
use std::io::{self, Write};
use std::ops::Range;

use thanos_promql::testkit::reference;

/// Enough to notice what is broken often.
const CASES: u64 = 4000;

fn seeds() -> Range<u64> {
    let number = |name: &str| -> Option<u64> {
        let text = env::var(name).ok()?;
        Some(text.parse().expect("a number"))
    };
    if let Some(seed) = number("THANOS_REFERENCE_SEED") {
        return seed..seed + 1;
    }
    0..number("THANOS_REFERENCE_CASES").unwrap_or(CASES)
}

#[test]
fn the_engine_agrees_with_the_naive_evaluator() {
    let seeds = seeds();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let report = reference::check(seeds.clone(), threads, || true);
    // Not `println!`: what that says is kept back when a test passes.
    writeln!(io::stdout(), "{report}").expect("standard output is open");
    assert!(
        report.broken.is_empty(),
        "{} cases are broken",
        report.broken.len()
    );
    assert_eq!(report.cases(), seeds.end - seeds.start);
    // What says nothing must stay rare, and answers must have something in them.
    let silent = report.undefined + report.statistics;
    assert!(
        silent * 100 <= report.cases() + 100,
        "{silent} cases say nothing"
    );
    let has_values = seeds.end - seeds.start < 100 || report.with_values * 3 > report.cases();
    assert!(has_values, "only {} cases have values", report.with_values);
    assert!(
        report.unimplemented.is_empty(),
        "parts of the language are unknown"
    );
}

/// what several engines evaluate over parts of the data is what one evaluates over all of it.
#[test]
fn distributed_execution_changes_no_answer() {
    let seeds = match seeds() {
        Range { start, end } if end - start > 1 => start..end.min(start + 20_000),
        one => one,
    };
    let cases = seeds.end - seeds.start;
    let report = reference::check_distributed(seeds);
    for text in &report.broken {
        writeln!(io::stdout(), "{text}\n").expect("standard output is open");
    }
    writeln!(
        io::stdout(),
        "{} distributed, {} with values, {} local, {} undefined, {} broken",
        report.distributed,
        report.with_values,
        report.local,
        report.undefined,
        report.broken.len()
    )
    .expect("standard output is open");
    assert!(report.broken.is_empty());
    assert!(report.undefined * 50 <= cases + 50);
    assert!(cases < 100 || report.distributed * 3 > cases);
}
