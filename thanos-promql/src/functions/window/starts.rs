//! Start timestamps: since when a counter counts, as the sample says itself.
//!
//! Source: Prometheus `promql/functions.go`, `isStartTimestampReset` and `checkStartTimeOverlap`.

use super::columns::{Columns, Window};

impl Columns<'_> {
    /// Reports whether sample `index` says that its counter began after the sample before it.
    pub(super) fn has_start_reset(self, index: usize) -> bool {
        let Some([before, now]) = self.starts_at(index) else {
            return false;
        };
        let [time_before, time] = [self.times[index - 1], self.times[index]];
        // A start at the time of the sample stands for one that is not known, a later one is wrong.
        if now == 0 || now >= time || now < time_before {
            return false;
        }
        // A start at the sample before is that of a delta, or that of a counter whose start is not known: then
        // the sample before has no proper start either.
        now > time_before || before < time_before && before != 0
    }

    /// Reports whether sample `index` says that its counter began before the sample before it, and that one
    /// says otherwise.
    pub(super) fn has_start_overlap(self, index: usize) -> bool {
        self.starts_at(index)
            .is_some_and(|[before, now]| now != 0 && now < self.times[index - 1] && now != before)
    }

    fn starts_at(self, index: usize) -> Option<[i64; 2]> {
        Some([*self.starts.get(index - 1)?, *self.starts.get(index)?])
    }

    /// Returns the samples whose start timestamp overlaps the sample before.
    pub(super) fn start_overlaps(self) -> Vec<usize> {
        (1..self.starts.len())
            .filter(|index| self.has_start_overlap(*index))
            .collect()
    }
}

impl Window<'_> {
    /// Returns since when the first sample counts, when that is inside the window.
    pub(super) fn counts_since(&self) -> Option<i64> {
        let start = *self.series.starts.get(self.from)?;
        let first = self.series.times[self.from];
        (start != 0 && start > self.start_ms && start < first).then_some(start)
    }

    /// Reports whether one of `indices`, ascending, is in the window and not its first sample.
    pub(super) fn has_later(&self, indices: &[usize]) -> bool {
        !self.later(indices).is_empty()
    }

    /// Returns those of `indices`, ascending, that are in the window and not its first sample.
    pub(super) fn later<'a>(&self, indices: &'a [usize]) -> &'a [usize] {
        if indices.is_empty() {
            return &[];
        }
        let from = indices.partition_point(|at| *at <= self.from);
        let rest = &indices[from..];
        &rest[..rest.partition_point(|at| *at < self.to)]
    }
}
