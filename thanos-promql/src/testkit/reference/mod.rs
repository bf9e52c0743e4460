//! The reference check: random queries over random data, answered by the engine and by the naive evaluator.
//!
//! For every seed the answers must be the same: floats up to rounding, histograms by what they mean, failures by
//! their kind, and whether there are warnings and infos. Besides, an instant query must be a range of one step,
//! two parts of a range must be the whole, and the number of threads must change nothing. What breaks a promise is made smaller and described with its seed.
//! Where the answer depends on the order of the series, the language does not define it, and the case is counted
//! apart.

mod case;
mod choice;
mod compare;
mod data;
mod distributed;
mod fuzz;
mod query;
mod shrink;

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::ops::Range;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};

use case::{Case, Engines, Verdict};
pub use distributed::{DistributedReport, check_distributed};
pub use fuzz::fuzz_query;

use crate::value::SampleValue;

/// Cases are handed out to threads in such portions.
const PORTION: u64 = 64;

/// What the check of many seeds found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Cases with values in which everything agrees.
    pub with_values: u64,
    /// Cases without any value in which everything agrees.
    pub empty: u64,
    /// Queries that fail, as they must.
    pub failing: u64,
    /// Cases whose answer the language does not define.
    pub undefined: u64,
    /// Cases whose answer shows that count and sum of histograms are read without their buckets.
    pub statistics: u64,
    /// Cases with a part of the language that the engine does not know, by what the engine says.
    pub unimplemented: BTreeMap<String, u64>,
    /// What is wrong, ready to be printed, the lowest seeds first.
    pub broken: BTreeMap<u64, String>,
}

impl Report {
    /// Returns the number of cases.
    pub fn cases(&self) -> u64 {
        let unimplemented: u64 = self.unimplemented.values().sum();
        let broken = u64::try_from(self.broken.len()).unwrap_or(u64::MAX);
        let agreeing = self.with_values + self.empty + self.failing;
        agreeing + self.undefined + self.statistics + unimplemented + broken
    }

    fn add(&mut self, case: &Case, engines: &Engines, verdict: Verdict) {
        match verdict {
            Verdict::Values => self.with_values += 1,
            Verdict::Empty => self.empty += 1,
            Verdict::Fails => self.failing += 1,
            Verdict::Undefined => self.undefined += 1,
            Verdict::Statistics => self.statistics += 1,
            Verdict::Unimplemented(text) => *self.unimplemented.entry(text).or_default() += 1,
            Verdict::Broken(promise, text) => {
                let described = if self.broken.len() < SHRUNK_MAX {
                    let (small, text) = shrink::shrink(case, engines, promise, text);
                    describe(case, &small, promise, &text)
                } else {
                    format!("seed {}: {promise}: {}", case.seed, case.text)
                };
                self.broken.insert(case.seed, described);
            }
        }
    }

    fn merge(&mut self, other: Self) {
        self.with_values += other.with_values;
        self.empty += other.empty;
        self.failing += other.failing;
        self.undefined += other.undefined;
        self.statistics += other.statistics;
        for (text, count) in other.unimplemented {
            *self.unimplemented.entry(text).or_default() += count;
        }
        self.broken.extend(other.broken);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for text in self.broken.values() {
            writeln!(f, "{text}\n")?;
        }
        for (text, count) in &self.unimplemented {
            writeln!(f, "{count} times {text}")?;
        }
        write!(
            f,
            "{} cases: {} with values, {} empty, {} failing, {} undefined, {} without buckets, \
             {} broken",
            self.cases(),
            self.with_values,
            self.empty,
            self.failing,
            self.undefined,
            self.statistics,
            self.broken.len()
        )
    }
}

/// So many broken cases of each thread are made smaller; it takes a while.
const SHRUNK_MAX: usize = 8;

/// Checks all `seeds` on several threads, as long as `go_on` says so.
pub fn check(seeds: Range<u64>, threads: usize, go_on: impl Fn() -> bool + Sync) -> Report {
    let next = AtomicU64::new(seeds.start);
    let total = Mutex::new(Report::default());
    let engines = Engines::default();
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                let report = check_portions(&next, seeds.end, &engines, &go_on);
                let mut total = total.lock().unwrap_or_else(PoisonError::into_inner);
                total.merge(report);
            });
        }
    });
    total.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn check_portions(
    next: &AtomicU64,
    end: u64,
    engines: &Engines,
    go_on: &impl Fn() -> bool,
) -> Report {
    let mut report = Report::default();
    while go_on() {
        let first = next.fetch_add(PORTION, Ordering::Relaxed);
        if first >= end {
            break;
        }
        let mut known: Option<Case> = None;
        for seed in first..end.min(first + PORTION) {
            let case = Case::new(seed, known.as_ref());
            let verdict = case.check(engines);
            report.add(&case, engines, verdict);
            known = Some(case);
        }
    }
    report
}

/// Describes a broken case: its smallest form, its data, and how to run it again.
fn describe(case: &Case, small: &Case, promise: &str, text: &str) -> String {
    let mut out = format!("seed {}: {promise}: {text}\n", case.seed);
    let (times, options) = (small.times, &small.options);
    let _ = writeln!(out, "  query: {}", small.text);
    let _ = writeln!(out, "  found in: {}", case.text);
    let _ = writeln!(
        out,
        "  from {} to {} ms by {} ms{}, lookback {:?}, subquery step {:?}, delayed name removal {}, \
         start timestamps {}",
        times.start_ms,
        times.end_ms(),
        times.step_ms,
        if times.is_instant { " (instant)" } else { "" },
        options.lookback,
        options.subquery_step,
        options.delayed_name_removal,
        options.start_timestamps,
    );
    for series in small.series.iter() {
        let _ = write!(out, "  {}", series.labels);
        for sample in &series.samples {
            let time = sample.time.as_millis();
            let _ = match &sample.value {
                SampleValue::Float(value) => write!(out, " {time}:{value:?}"),
                SampleValue::Histogram(histogram) => {
                    let schema = histogram.layout().schema;
                    let hint = histogram.counter_reset_hint;
                    write!(out, " {time}:{histogram}(schema {schema}, {hint:?})")
                }
            };
            if let Some(start) = sample.start {
                let _ = write!(out, "@{}", start.as_millis());
            }
        }
        out.push('\n');
    }
    let _ = write!(
        out,
        "  again: THANOS_REFERENCE_SEED={} cargo test -p thanos-promql --features testkit --test reference",
        case.seed
    );
    out
}
