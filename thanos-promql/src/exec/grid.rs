//! The evaluation times of a part of a query.

use thanos_core::time::Timestamp;

use crate::error::{Error, Result};

/// Steps at equal distances, at least none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Grid {
    start_ms: i64,
    step_ms: i64,
    len: usize,
    /// Whether the evaluation was to go on after its first step, even if no second step fits.
    spans_time: bool,
}

impl Grid {
    /// The most steps of one evaluation: a limit against queries that would hold everything else up.
    pub(crate) const LEN_MAX: usize = 50_000_000;

    /// Returns the single step at `time`.
    pub(crate) fn instant(time: Timestamp) -> Self {
        Self {
            start_ms: time.as_millis(),
            step_ms: 1,
            len: 1,
            spans_time: false,
        }
    }

    /// Returns no step; `start_ms` is a time to start with all the same.
    pub(crate) fn none_at(start_ms: i64) -> Self {
        Self {
            start_ms,
            step_ms: 1,
            len: 0,
            spans_time: false,
        }
    }

    /// Returns the steps from `start_ms` to at most `end_ms`; none when the end comes first.
    pub(crate) fn range(start_ms: i64, end_ms: i64, step_ms: i64) -> Result<Self> {
        debug_assert!(step_ms > 0, "a step goes forward");
        let span = i128::from(end_ms) - i128::from(start_ms);
        let len = if span < 0 {
            0
        } else {
            span / i128::from(step_ms) + 1
        };
        let len = usize::try_from(len)
            .ok()
            .filter(|len| *len <= Self::LEN_MAX)
            .ok_or_else(|| {
                Error::execution(format!(
                    "evaluation steps limit of {} exceeded: {len} wanted",
                    Self::LEN_MAX
                ))
            })?;
        Ok(Self {
            start_ms,
            step_ms,
            len,
            spans_time: start_ms != end_ms,
        })
    }

    /// Returns the first step alone.
    pub(crate) fn first(self) -> Self {
        if self.len <= 1 {
            return Self {
                spans_time: false,
                ..self
            };
        }
        Self {
            step_ms: 1,
            len: self.len.min(1),
            spans_time: false,
            ..self
        }
    }

    /// Reports whether start and end differ.
    pub(crate) fn spans_time(self) -> bool {
        self.spans_time
    }

    /// Returns the number of steps.
    pub(crate) fn len(self) -> usize {
        self.len
    }

    /// Returns the time of step `index`, in milliseconds.
    pub(crate) fn time_ms(self, index: usize) -> i64 {
        let index = i64::try_from(index).expect("a grid has less than 2^63 steps");
        self.start_ms + index * self.step_ms
    }

    /// Returns the distance of the steps, in milliseconds.
    pub(crate) fn step_ms(self) -> i64 {
        self.step_ms
    }

    /// Returns the time of the first step, in milliseconds.
    pub(crate) fn start_ms(self) -> i64 {
        self.start_ms
    }

    /// Returns the time of the last step, in milliseconds; the start when there is none.
    pub(crate) fn last_ms(self) -> i64 {
        self.time_ms(self.len.saturating_sub(1))
    }

    /// Returns the step at `time_ms`, if there is one.
    pub(crate) fn step_at(self, time_ms: i64) -> Option<usize> {
        let from_start = time_ms.checked_sub(self.start_ms)?;
        if from_start < 0 || from_start % self.step_ms != 0 {
            return None;
        }
        let step = usize::try_from(from_start / self.step_ms).ok()?;
        (step < self.len).then_some(step)
    }

    /// Returns all times, in milliseconds.
    pub(crate) fn times_ms(self) -> impl Iterator<Item = i64> {
        (0..self.len).map(move |index| self.time_ms(index))
    }
}
