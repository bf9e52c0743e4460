//! Which samples of which replica are taken, as runs: between gaps a replica is stayed with, so that there are few.
//!
//! The choice is that of [`Dedup::Penalty`](crate::dedup::Dedup::Penalty), which gives every sample by itself; here the
//! replica in use is followed without asking for each sample, as long as the other one is passed over anyway.

use std::ops::Range;

/// The penalty of the other replica while only one sample is known, in milliseconds.
const PENALTY_INITIAL_MS: i64 = 5_000;

/// A run of samples of one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Take {
    pub(super) source: usize,
    pub(super) start: usize,
    pub(super) end: usize,
}

impl Take {
    pub(super) fn range(self) -> Range<usize> {
        self.start..self.end
    }

    /// Appends a sample, to the last run where it follows that.
    #[inline]
    pub(super) fn push(takes: &mut Vec<Self>, source: usize, at: usize) {
        match takes.last_mut() {
            Some(last) if last.source == source && last.end == at => last.end = at + 1,
            _ => takes.push(Self {
                source,
                start: at,
                end: at + 1,
            }),
        }
    }

    /// Appends samples that follow each other, of which there is at least one.
    fn push_run(takes: &mut Vec<Self>, source: usize, run: Range<usize>) {
        match takes.last_mut() {
            Some(last) if last.source == source && last.end == run.start => last.end = run.end,
            _ => takes.push(Self {
                source,
                start: run.start,
                end: run.end,
            }),
        }
    }
}

/// A side of the choice: samples in the order of their times.
trait Side {
    /// Moves to the first sample that is not before `earliest`, and returns its time.
    fn seek(&mut self, earliest: i64) -> Option<i64>;
    /// Returns whether there is a sample that is not before `earliest`, without moving there yet.
    fn has(&mut self, earliest: i64) -> bool;
    /// Returns the times from the sample on.
    fn rest(&self) -> &[i64];
    /// Takes the sample and `count` that follow it, and moves to the last of them.
    fn take(&mut self, count: usize, takes: &mut Vec<Take>);
}

/// A replica. It may step back: a penalty that was large lets samples in again when it is small.
struct Replica<'a> {
    times: &'a [i64],
    source: usize,
    at: usize,
}

impl Side for Replica<'_> {
    #[inline]
    fn seek(&mut self, earliest: i64) -> Option<i64> {
        let passed = self.times.get(..self.at).unwrap_or(self.times);
        if passed.last().is_some_and(|time| *time >= earliest) {
            self.at = passed.partition_point(|time| *time < earliest);
        } else {
            self.at = seek_ahead(self.times, self.at, earliest);
        }
        self.times.get(self.at).copied()
    }

    #[inline]
    fn has(&mut self, earliest: i64) -> bool {
        self.times.last().is_some_and(|last| *last >= earliest)
    }

    fn rest(&self) -> &[i64] {
        self.times.get(self.at..).unwrap_or_default()
    }

    fn take(&mut self, count: usize, takes: &mut Vec<Take>) {
        Take::push_run(takes, self.source, self.at..self.at + count + 1);
        self.at += count;
    }
}

/// What was taken of the replicas before, which is not gone back to.
struct Taken<'a> {
    times: &'a [i64],
    takes: &'a [Take],
    /// The sample, and the run that it is in with the number of samples before that.
    at: usize,
    run: usize,
    before: usize,
    /// No sample before this is taken any more.
    passed: i64,
}

impl Taken<'_> {
    /// Moves on to the run that the sample is in.
    fn follow(&mut self) {
        while let Some(take) = self.takes.get(self.run)
            && self.at >= self.before + take.range().len()
        {
            self.before += take.range().len();
            self.run += 1;
        }
    }
}

impl Side for Taken<'_> {
    #[inline]
    fn seek(&mut self, earliest: i64) -> Option<i64> {
        self.passed = self.passed.max(earliest);
        self.at = seek_ahead(self.times, self.at, self.passed);
        self.times.get(self.at).copied()
    }

    #[inline]
    fn has(&mut self, earliest: i64) -> bool {
        self.passed = self.passed.max(earliest);
        self.times.last().is_some_and(|last| *last >= self.passed)
    }

    fn rest(&self) -> &[i64] {
        self.times.get(self.at..).unwrap_or_default()
    }

    fn take(&mut self, count: usize, takes: &mut Vec<Take>) {
        let end = self.at + count + 1;
        self.follow();
        while let Some(take) = self.takes.get(self.run)
            && self.before < end
        {
            let from = take.start + self.at - self.before;
            let to = take.end.min(take.start + end - self.before);
            Take::push_run(takes, take.source, from..to);
            self.at += to - from;
            if to < take.end {
                break;
            }
            self.before += take.range().len();
            self.run += 1;
        }
        self.at = end - 1;
        // The last of them may lie in the run before.
        while self.before > self.at
            && let Some(run) = self.run.checked_sub(1)
        {
            self.run = run;
            self.before -= self.takes[run].range().len();
        }
    }
}

#[inline]
fn seek_ahead(times: &[i64], at: usize, earliest: i64) -> usize {
    let rest = times.get(at..).unwrap_or_default();
    // Mostly none or one is passed over.
    let close = rest.iter().take(4).take_while(|time| **time < earliest);
    match close.count() {
        4 => at + 4 + rest[4..].partition_point(|time| *time < earliest),
        passed => at + passed,
    }
}

/// Puts into `takes` what is taken of replicas with these times, folded from the left: the answer for the first ones is
/// a replica beside the next.
pub(super) fn penalty_takes(replicas: &[&[i64]], takes: &mut Vec<Take>) {
    takes.clear();
    let Some((first, others)) = replicas.split_first() else {
        return;
    };
    if others.is_empty() {
        takes.extend((!first.is_empty()).then_some(Take {
            source: 0,
            start: 0,
            end: first.len(),
        }));
        return;
    }
    let (mut times, mut before) = (Vec::new(), Vec::new());
    for (number, other) in (1..).zip(others) {
        let other = Replica {
            times: other,
            source: number,
            at: 0,
        };
        if number == 1 {
            let first = Replica {
                times: first,
                source: 0,
                at: 0,
            };
            fold(first, other, takes);
        } else {
            std::mem::swap(takes, &mut before);
            times.clear();
            for take in &before {
                times.extend_from_slice(&replicas[take.source][take.range()]);
            }
            let first = Taken {
                times: &times,
                takes: &before,
                at: 0,
                run: 0,
                before: 0,
                passed: i64::MIN,
            };
            takes.clear();
            fold(first, other, takes);
        }
    }
}

/// Chooses between two sides until both are at their end.
fn fold(mut a: impl Side, mut b: impl Side, takes: &mut Vec<Take>) {
    let mut last: Option<i64> = None;
    let (mut penalty_a, mut penalty_b) = (0_i64, 0_i64);
    loop {
        let earliest = |penalty: i64| match last {
            None => i64::MIN,
            Some(last) => last.saturating_add(1).saturating_add(penalty),
        };
        let (time_a, time_b) = (a.seek(earliest(penalty_a)), b.seek(earliest(penalty_b)));
        let penalty = |time: i64| match last {
            None => PENALTY_INITIAL_MS,
            Some(last) => time.saturating_sub(last).saturating_mul(2),
        };
        let (time, is_a) = match (time_a, time_b) {
            (None, None) => return,
            (Some(a), None) => (a, true),
            (None, Some(b)) => (b, false),
            (Some(a), Some(b)) if a <= b => {
                penalty_b = penalty(a);
                (a, true)
            }
            (Some(_), Some(b)) => {
                penalty_a = penalty(b);
                (b, false)
            }
        };
        (last, penalty_a, penalty_b) = if is_a {
            let (end, penalty) = stay(&mut a, &mut b, time, penalty_b, takes);
            (Some(end), 0, penalty)
        } else {
            let (end, penalty) = stay(&mut b, &mut a, time, penalty_a, takes);
            (Some(end), penalty, 0)
        };
    }
}

/// Takes the sample of `side` at `time`, and those that follow it as long as the other side, which is passed over by
/// twice the last distance, can not come before them. Returns the time of the last one and the other side's penalty.
#[inline]
fn stay(
    side: &mut impl Side,
    other: &mut impl Side,
    time: i64,
    mut penalty: i64,
    takes: &mut Vec<Take>,
) -> (i64, i64) {
    let (mut last, mut count) = (time, 0);
    for next in side.rest().iter().skip(1) {
        // Where the other side has ended, its penalty stays as it is.
        let earliest = last.saturating_add(1).saturating_add(penalty);
        if *next >= earliest || !other.has(earliest) {
            break;
        }
        penalty = next.saturating_sub(last).saturating_mul(2);
        last = *next;
        count += 1;
    }
    side.take(count, takes);
    (last, penalty)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::chunk::Samples;
    use crate::dedup::Dedup;
    use crate::time::Timestamp;

    fn replica() -> impl Strategy<Value = Vec<i64>> {
        let steps = prop_oneof![9 => 13_000_i64..17_000, 1 => 1_i64..90_000];
        (0_i64..30_000, proptest::collection::vec(steps, 0..80)).prop_map(|(first, steps)| {
            let mut time = first;
            let mut times = Vec::new();
            for step in steps {
                times.push(time);
                time += step;
            }
            times
        })
    }

    proptest! {
        /// The runs are those of the picks.
        #[test]
        fn runs_are_what_dedup_picks(replicas in proptest::collection::vec(replica(), 0..6)) {
            let times: Vec<&[i64]> = replicas.iter().map(Vec::as_slice).collect();
            let mut takes = Vec::new();
            penalty_takes(&times, &mut takes);
            let runs = takes.iter().flat_map(|take| take.range().map(|at| (take.source, at)));
            let samples: Vec<Samples> = replicas.iter().map(|times| {
                let mut samples = Samples::new();
                for time in times {
                    samples.push_float(Timestamp::from_millis(*time), 0.0);
                }
                samples
            }).collect();
            let samples: Vec<&Samples> = samples.iter().collect();
            let picks = Dedup::Penalty.pick(&samples);
            let picks: Vec<(usize, usize)> =
                picks.iter().map(|pick| (pick.replica, pick.sample)).collect();
            prop_assert_eq!(runs.collect::<Vec<_>>(), picks);
            let follow = |two: &[Take]| two[0].source != two[1].source || two[0].end != two[1].start;
            prop_assert!(takes.windows(2).all(follow));
        }
    }
}
