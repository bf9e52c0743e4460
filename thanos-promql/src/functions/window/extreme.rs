//! `min_over_time`, `max_over_time` and the times of both, in constant time for each sample.
//!
//! Of the samples of a window only those can be the best one now or later that no later sample beats. They are
//! kept in order: the first is the best, and a new sample drives out those at the end that it beats.

use super::Kernel;
use super::columns::{Window, secs};

/// What is wanted of the best sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    Value,
    Time,
}

/// The kernel; `beats(new, old)` tells whether a later value takes the place of an earlier one.
pub(super) struct Extreme<F> {
    beats: F,
    wanted: Wanted,
    /// The candidates, ascending, of which those before `head` have left the window.
    candidates: Vec<usize>,
    head: usize,
    /// The first sample that was not looked at.
    next: usize,
}

impl<F: Fn(f64, f64) -> bool> Extreme<F> {
    pub(super) fn new(beats: F, wanted: Wanted) -> Self {
        Self {
            beats,
            wanted,
            candidates: Vec::new(),
            head: 0,
            next: 0,
        }
    }

    /// Lets the sample at `at` take part.
    fn push(&mut self, values: &[f64], at: usize) {
        // NaN is the result only where there is nothing else.
        if values[at].is_nan() {
            return;
        }
        while let [.., last] = self.candidates[self.head..]
            && (self.beats)(values[at], values[last])
        {
            self.candidates.pop();
        }
        self.candidates.push(at);
    }

    fn forget(&mut self) {
        self.candidates.clear();
        self.head = 0;
    }
}

impl<F: Fn(f64, f64) -> bool> Kernel for Extreme<F> {
    type Out = f64;

    fn eval(&mut self, window: &Window<'_>) -> Option<f64> {
        let values = window.series.values;
        if self.next <= window.from {
            self.forget();
            self.next = window.from;
        }
        for at in self.next..window.to {
            self.push(values, at);
        }
        self.next = window.to;
        while self
            .candidates
            .get(self.head)
            .is_some_and(|at| *at < window.from)
        {
            self.head += 1;
        }
        if self.head == self.candidates.len() {
            self.forget();
        }
        let best = self.candidates.get(self.head).copied();
        let best = best.unwrap_or(window.to - 1);
        Some(match self.wanted {
            Wanted::Value => values[best],
            Wanted::Time => secs(window.series.times[best]),
        })
    }
}
