//! The penalty: after a sample of one replica, the other one has to be ahead by twice the last distance.

use super::{Pick, Replica};

/// The penalty of the other replica while only one sample is known, in milliseconds.
const PENALTY_INITIAL_MS: i64 = 5_000;

/// The side of a step that gave the sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    A,
    B,
}

/// What the choice between two replicas depends on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Penalties {
    last: Option<i64>,
    a: i64,
    b: i64,
}

impl Penalties {
    /// Returns the state before the first sample.
    pub(super) fn new() -> Self {
        Self {
            last: None,
            a: 0,
            b: 0,
        }
    }

    /// Returns the times before which samples of either side are passed over.
    pub(super) fn earliest(&self) -> (i64, i64) {
        let Some(last) = self.last else {
            return (i64::MIN, i64::MIN);
        };
        let after = |penalty: i64| last.saturating_add(1).saturating_add(penalty);
        (after(self.a), after(self.b))
    }

    /// Chooses between the next samples of both sides, which are not passed over; `None` when both are at their end.
    pub(super) fn choose(&mut self, a: Option<i64>, b: Option<i64>) -> Option<Side> {
        let (side, time) = match (a, b) {
            (None, None) => return None,
            (Some(a), Some(b)) if a <= b => {
                self.b = self.penalty(a);
                (Side::A, a)
            }
            (Some(_), Some(b)) => {
                self.a = self.penalty(b);
                (Side::B, b)
            }
            (Some(a), None) => (Side::A, a),
            (None, Some(b)) => (Side::B, b),
        };
        match side {
            Side::A => self.a = 0,
            Side::B => self.b = 0,
        }
        self.last = Some(time);
        Some(side)
    }

    fn penalty(&self, time: i64) -> i64 {
        self.last.map_or(PENALTY_INITIAL_MS, |last| {
            time.saturating_sub(last).saturating_mul(2)
        })
    }
}

/// Returns the position of the first of `times` that is not before `earliest`, looked for around `near`.
///
/// This may be a step back: a penalty that was large lets samples in again when it is small. Thanos' vectors show it;
/// its iterators over chunks, which can not go back, lose such samples.
pub(super) fn seek(times: &[i64], near: usize, earliest: i64) -> usize {
    let passed = times.get(..near).unwrap_or(times);
    if passed.last().is_some_and(|time| *time >= earliest) {
        return passed.partition_point(|time| *time < earliest);
    }
    seek_ahead(times, near, earliest)
}

/// Returns the position of the first of `times` from `at` on that is not before `earliest`.
fn seek_ahead(times: &[i64], at: usize, earliest: i64) -> usize {
    let rest = times.get(at..).unwrap_or_default();
    // Mostly none or one is passed over.
    let close = rest.iter().take(4).take_while(|time| **time < earliest);
    match close.count() {
        4 => at + 4 + rest[4..].partition_point(|time| *time < earliest),
        passed => at + passed,
    }
}

/// Folds the replicas from the left: the answer for the first ones is a replica beside the next.
pub(super) fn pick<R: Replica>(replicas: &[&R]) -> Vec<Pick> {
    let Some((first, others)) = replicas.split_first() else {
        return Vec::new();
    };
    let mut picks: Vec<Pick> = (0..first.times().len())
        .map(|at| Pick::new(0, at))
        .collect();
    let mut times = first.times().to_vec();
    for (number, other) in others.iter().enumerate() {
        (times, picks) = fold(&times, &picks, other.times(), number + 1);
    }
    picks
}

/// Merges the samples that were picked so far, whose times are `times`, with the replica `number` at `others`.
fn fold(times: &[i64], picks: &[Pick], others: &[i64], number: usize) -> (Vec<i64>, Vec<Pick>) {
    // Both record the same: there is rarely more in the answer than in the longer one.
    let expected = times.len().max(others.len());
    let mut merged_times = Vec::with_capacity(expected);
    let mut merged = Vec::with_capacity(expected);
    let mut penalties = Penalties::new();
    let (mut a, mut b) = (0, 0);
    loop {
        let (earliest_a, earliest_b) = penalties.earliest();
        // What was picked of several replicas is not gone back to, only a replica itself is.
        a = match number {
            1 => seek(times, a, earliest_a),
            _ => seek_ahead(times, a, earliest_a),
        };
        b = seek(others, b, earliest_b);
        match penalties.choose(times.get(a).copied(), others.get(b).copied()) {
            None => return (merged_times, merged),
            Some(Side::A) => {
                merged_times.push(times[a]);
                merged.push(picks[a]);
            }
            Some(Side::B) => {
                merged_times.push(others[b]);
                merged.push(Pick::new(number, b));
            }
        }
    }
}
