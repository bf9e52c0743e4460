//! How samples count in the statistics of a query, as Prometheus counts them.
//!
//! A sample counts at every step that uses it, and a window counts whole at every step; a part that gives the
//! same at all steps counts at all of them. Inside a subquery nothing counts: the windows over its result do.
//! How many samples were read is another number, in which each counts once for each selector. Source: Prometheus
//! `util/stats/query_stats.go`, `QuerySamples`.

use std::sync::atomic::{AtomicU64, Ordering};

use super::bits;
use crate::functions::window::Columns;

/// How the samples of a part count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) used: Used,
    /// Whether the samples are read from the data, not computed.
    pub(crate) reads: bool,
}

/// Where the samples of a part are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Used {
    /// At the steps at which they were looked for.
    AtTheirSteps,
    /// At all steps of the query: there are so many.
    AtAllSteps(usize),
    /// Inside of a subquery.
    Inside,
}

impl Tally {
    /// Returns how the selectors of a query count that stand in nothing.
    pub(crate) fn of_query() -> Self {
        Self {
            used: Used::AtTheirSteps,
            reads: true,
        }
    }

    /// Returns how a part counts that is computed once for `steps` steps.
    pub(crate) fn repeated(self, steps: usize) -> Self {
        let used = match self.used {
            Used::AtTheirSteps => Used::AtAllSteps(steps),
            Used::AtAllSteps(_) | Used::Inside => self.used,
        };
        Self { used, ..self }
    }

    /// Returns how a part inside a subquery counts.
    pub(crate) fn inside(self) -> Self {
        let used = Used::Inside;
        Self { used, ..self }
    }

    /// Returns how windows over computed samples count.
    pub(crate) fn over_computed(self) -> Self {
        Self {
            reads: false,
            ..self
        }
    }
}

/// The counts of a query.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    used: AtomicU64,
    read: AtomicU64,
    steps: Option<StepCounts>,
}

/// The counts of each step.
#[derive(Debug)]
struct StepCounts {
    used: Vec<AtomicU64>,
    read: Vec<AtomicU64>,
}

/// The windows of the steps of a range function: the time of each step's window end, ascending.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Windows<'a> {
    /// Pairs of the time of the step and the end of its window.
    pub(crate) steps: &'a [(i64, i64)],
    /// How far a window reaches back from its end.
    pub(crate) range_ms: i64,
    /// How far it reaches beyond.
    pub(crate) after_ms: i64,
    /// How much the samples before each index count, for the end too; empty when all are floats and count one.
    pub(crate) weights: &'a [u64],
}

/// Returns how much a series counts up to each sample: a float counts one, a histogram as many as have its size.
///
/// Source: Prometheus `promql/value.go`, `HPoint.size`.
pub(crate) fn weights(series: Columns<'_>) -> Vec<u64> {
    let mut sum = 0;
    let mut weights = vec![0];
    for histogram in series.histograms {
        sum += histogram
            .as_ref()
            .map_or(1, |one| (one.size_bytes() as u64 + 8) / 16);
        weights.push(sum);
    }
    weights
}

impl Windows<'_> {
    /// Returns the range of `times` in the window of `step`, from `after` on.
    fn count(&self, times: &[i64], step: usize, after: i64) -> u64 {
        let start = self.steps[step].1.saturating_sub(self.range_ms);
        let end = self.end(step);
        self.between(times, start.max(after), end)
    }

    fn end(&self, step: usize) -> i64 {
        self.steps[step].1.saturating_add(self.after_ms)
    }

    /// Returns how much the samples after `start` and up to `end` count.
    fn between(&self, times: &[i64], start: i64, end: i64) -> u64 {
        let before = |bound: i64| {
            let index = times.partition_point(|time| *time <= bound);
            self.weights.get(index).copied().unwrap_or(index as u64)
        };
        before(end).saturating_sub(before(start))
    }

    /// Returns how much the samples of all windows count together.
    pub(crate) fn used(&self, times: &[i64]) -> u64 {
        (0..self.steps.len())
            .map(|step| self.count(times, step, i64::MIN))
            .sum()
    }

    /// Returns how many of `times` lie in some window; `used` are those of all windows added up.
    fn union(&self, times: &[i64], used: u64) -> u64 {
        let [(_, first), .., (_, last)] = self.steps else {
            return used;
        };
        let step_ms = self.steps[1].1.saturating_sub(*first);
        if step_ms >= self.range_ms.saturating_add(self.after_ms) {
            return used;
        }
        let start = first.saturating_sub(self.range_ms);
        self.between(times, start, last.saturating_add(self.after_ms))
    }
}

impl Counts {
    /// Returns counts that are kept for each of `steps`, too.
    pub(crate) fn with_steps(steps: usize) -> Self {
        let zeros = || (0..steps).map(|_| AtomicU64::new(0)).collect();
        Self {
            steps: Some(StepCounts {
                used: zeros(),
                read: zeros(),
            }),
            ..Self::default()
        }
    }

    /// Returns the bytes that counts for each of `steps` take.
    pub(crate) fn bytes_of(steps: usize) -> u64 {
        (2 * steps * size_of::<AtomicU64>()) as u64
    }

    /// Counts one sample at every step whose bit is set; `found` are set.
    pub(crate) fn add_row(&self, tally: Tally, valid: &[u64], found: usize) {
        self.add(tally, found as u64, found as u64);
        let Some(steps) = self.steps.as_ref().filter(|_| tally.is_stepwise()) else {
            return;
        };
        for step in bits::ones(valid) {
            add(&steps.used, step, 1);
            add(&steps.read, step, 1);
        }
    }

    /// Counts the samples of a series, at `times`, in the windows of all steps; together they count `used`.
    pub(crate) fn add_windows(&self, tally: Tally, times: &[i64], windows: Windows<'_>, used: u64) {
        let read = match tally.reads {
            true => windows.union(times, used),
            false => 0,
        };
        self.add(tally, used, read);
        let Some(steps) = self.steps.as_ref().filter(|_| tally.is_stepwise()) else {
            return;
        };
        for step in 0..windows.steps.len() {
            add(&steps.used, step, windows.count(times, step, i64::MIN));
            if tally.reads {
                let known = match step.checked_sub(1) {
                    None => i64::MIN,
                    Some(before) => windows.end(before),
                };
                add(&steps.read, step, windows.count(times, step, known));
            }
        }
    }

    fn add(&self, tally: Tally, used: u64, read: u64) {
        let read = if tally.reads { read } else { 0 };
        self.read.fetch_add(read, Ordering::Relaxed);
        let total = match tally.used {
            Used::AtTheirSteps => used,
            Used::AtAllSteps(steps) => used.saturating_mul(steps as u64),
            Used::Inside => 0,
        };
        self.used.fetch_add(total, Ordering::Relaxed);
        let Some(steps) = &self.steps else {
            return;
        };
        match tally.used {
            Used::AtTheirSteps => {}
            Used::AtAllSteps(_) => {
                (0..steps.used.len()).for_each(|step| add(&steps.used, step, used));
                add(&steps.read, 0, read);
            }
            Used::Inside => add(&steps.read, 0, read),
        }
    }

    /// Counts what another engine used and read.
    pub(crate) fn add_elsewhere(&self, samples: u64) {
        self.used.fetch_add(samples, Ordering::Relaxed);
        self.read.fetch_add(samples, Ordering::Relaxed);
    }

    /// Returns the samples used, and those read.
    pub(crate) fn totals(&self) -> (u64, u64) {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (get(&self.used), get(&self.read))
    }

    /// Returns the samples used, and those read, at each step.
    pub(crate) fn steps(&self) -> Option<(Vec<u64>, Vec<u64>)> {
        let get = |counters: &[AtomicU64]| {
            let counters = counters.iter();
            counters.map(|one| one.load(Ordering::Relaxed)).collect()
        };
        let steps = self.steps.as_ref()?;
        Some((get(&steps.used), get(&steps.read)))
    }
}

impl Tally {
    fn is_stepwise(self) -> bool {
        self.used == Used::AtTheirSteps
    }
}

fn add(counters: &[AtomicU64], step: usize, more: u64) {
    if let Some(counter) = counters.get(step) {
        counter.fetch_add(more, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMES: [i64; 6] = [0, 10, 20, 30, 40, 50];

    fn windows_of(steps: &[(i64, i64)], range_ms: i64, tally: Tally) -> Counts {
        let counts = Counts::with_steps(steps.len());
        let windows = Windows {
            steps,
            range_ms,
            after_ms: 0,
            weights: &[],
        };
        counts.add_windows(tally, &TIMES, windows, windows.used(&TIMES));
        counts
    }

    #[test]
    fn overlapping_windows_use_samples_twice_and_read_them_once() {
        let steps = [(20, 20), (30, 30), (50, 50)];
        let counts = windows_of(&steps, 20, Tally::of_query());
        assert_eq!(counts.totals(), (6, 5));
        assert_eq!(counts.steps(), Some((vec![2, 2, 2], vec![2, 1, 2])));
    }

    #[test]
    fn windows_count_what_is_around_them_and_histograms_by_their_size() {
        let weights: Vec<u64> = (0..=6).map(|index| index * 11).collect();
        let windows = Windows {
            steps: &[(20, 20), (30, 30)],
            range_ms: 20,
            after_ms: 10,
            weights: &weights,
        };
        assert_eq!(windows.used(&TIMES), 66);
        let counts = Counts::with_steps(2);
        counts.add_windows(Tally::of_query(), &TIMES, windows, 66);
        assert_eq!(counts.totals(), (66, 44));
        assert_eq!(counts.steps(), Some((vec![33, 33], vec![33, 11])));
    }

    #[test]
    fn windows_with_gaps_read_what_they_use() {
        let counts = windows_of(&[(10, 10), (40, 40)], 10, Tally::of_query());
        assert_eq!(counts.totals(), (2, 2));
    }

    #[test]
    fn what_is_computed_once_counts_at_all_steps_and_is_read_once() {
        let counts = Counts::with_steps(3);
        counts.add_row(Tally::of_query().repeated(3), &[1], 1);
        assert_eq!(counts.totals(), (3, 1));
        assert_eq!(counts.steps(), Some((vec![1, 1, 1], vec![1, 0, 0])));
    }

    #[test]
    fn the_inside_of_a_subquery_is_only_read() {
        let counts = Counts::default();
        counts.add_row(Tally::of_query().inside(), &[0b111], 3);
        assert_eq!(counts.totals(), (0, 3));
        let counts = windows_of(&[(20, 20)], 20, Tally::of_query().over_computed());
        assert_eq!(counts.totals(), (2, 0));
    }
}
