//! Where the data of a selection comes from: whom it would ask, at what cost, and what each has given.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::time::TimeRange;

/// A source of data that a selection concerns: a store, or a block of one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SourcePlan {
    /// Its name: an address, or `block` and an id.
    pub source: String,
    /// Why it is not asked; `None` when it is.
    pub skipped: Option<String>,
    /// About how much it will give, if it can tell.
    pub cost: Option<Cost>,
    /// What it asks in turn, if that is known.
    pub parts: Vec<SourcePlan>,
}

/// About how much a source will give, told without reading it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cost {
    /// Series.
    pub series: u64,
    /// Bytes of chunk data.
    pub bytes: u64,
}

impl Cost {
    /// Returns what is left when only `wanted` is read of data that lies in `own`, as if it lay evenly.
    #[must_use]
    pub fn within(self, own: TimeRange, wanted: TimeRange) -> Self {
        let width = |range: TimeRange| u128::from((range.max - range.min).unsigned_abs()) + 1;
        let both = TimeRange {
            min: own.min.max(wanted.min),
            max: own.max.min(wanted.max),
        };
        let share = match both.is_empty() {
            true => 0,
            false => width(both).min(width(own)),
        };
        let bytes = u128::from(self.bytes) * share / width(own);
        Self {
            bytes: u64::try_from(bytes).unwrap_or(u64::MAX),
            ..self
        }
    }

    /// Returns both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            series: self.series.saturating_add(other.series),
            bytes: self.bytes.saturating_add(other.bytes),
        }
    }
}

impl SourcePlan {
    /// Returns those of `plans` that are asked, with what of them is.
    pub fn asked_of(plans: Vec<Self>) -> Vec<Self> {
        let asked = plans.into_iter().filter(|plan| plan.skipped.is_none());
        let with_parts = |plan: Self| Self {
            parts: Self::asked_of(plan.parts),
            ..plan
        };
        asked.map(with_parts).collect()
    }

    /// Returns the plan of a source that is asked.
    pub fn asked(source: impl Into<String>) -> Self {
        Self {
            source: source.into(),
            ..Self::default()
        }
    }

    /// Returns the plan of a source that is not asked, and why.
    pub fn skipped(source: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            skipped: Some(reason.into()),
            ..Self::asked(source)
        }
    }

    /// Returns the same, which asks `parts` and costs what they cost if all of them can tell.
    #[must_use]
    pub fn with_parts(self, parts: Vec<Self>) -> Self {
        let costs: Option<Vec<Cost>> = parts.iter().map(|part| part.cost).collect();
        let sum = costs.filter(|costs| !costs.is_empty());
        let sum = sum.map(|costs| costs.into_iter().fold(Cost::default(), Cost::plus));
        Self {
            cost: self.cost.or(sum),
            parts,
            ..self
        }
    }
}

/// Returns what is known to be given by sources: at least so much, because some cannot tell.
pub fn known_cost(plans: &[SourcePlan]) -> Cost {
    let costs = plans.iter().map(|plan| match plan.cost {
        Some(cost) => cost,
        None => known_cost(&plan.parts),
    });
    costs.fold(Cost::default(), Cost::plus)
}

/// What a source has given to a selection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SourceUse {
    /// Its name.
    pub source: String,
    /// The time from asking it to the end of its answer.
    pub elapsed: Duration,
    /// The parts that its answer came in.
    pub responses: u64,
    /// Bytes of labels and chunks.
    pub bytes: u64,
    /// Series.
    pub series: u64,
    /// Chunks.
    pub chunks: u64,
    /// Samples in the chunks.
    pub samples: u64,
}

/// Collects what the sources of a selection have given.
#[derive(Debug, Default)]
pub struct SourceLog(Mutex<Vec<SourceUse>>);

impl SourceLog {
    /// Adds an answer that has ended.
    pub fn add(&self, answer: SourceUse) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(answer);
    }

    /// Returns all answers so far, by source.
    pub fn read(&self) -> Vec<SourceUse> {
        let mut all = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        all.sort_by(|a, b| a.source.cmp(&b.source));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn costing(bytes: u64) -> SourcePlan {
        SourcePlan {
            cost: Some(Cost { series: 1, bytes }),
            ..SourcePlan::asked("block")
        }
    }

    #[test]
    fn a_part_of_the_time_is_a_part_of_the_bytes() {
        let all = Cost {
            series: 3,
            bytes: 1000,
        };
        let own = TimeRange::from_millis(100, 199);
        for (wanted, bytes) in [
            (TimeRange::ALL, 1000),
            (TimeRange::from_millis(0, 149), 500),
            (TimeRange::from_millis(190, 900), 100),
            (TimeRange::from_millis(150, 150), 10),
            (TimeRange::from_millis(200, 300), 0),
        ] {
            assert_eq!(
                all.within(own, wanted),
                Cost { series: 3, bytes },
                "{wanted:?}"
            );
        }
        let whole = all.within(TimeRange::ALL, TimeRange::ALL);
        assert_eq!(whole, all);
    }

    /// What cannot be told is not taken for nothing.
    #[test]
    fn a_source_costs_what_its_parts_cost_if_all_can_tell() {
        let known = SourcePlan::asked("known").with_parts(vec![costing(3), costing(4)]);
        assert_eq!(
            known.cost,
            Some(Cost {
                series: 2,
                bytes: 7
            })
        );
        let parts = vec![costing(3), SourcePlan::asked("silent")];
        let partly = SourcePlan::asked("partly").with_parts(parts);
        assert_eq!(partly.cost, None);
        let cost = known_cost(&[known, partly, SourcePlan::skipped("far", "too far")]);
        assert_eq!(
            cost,
            Cost {
                series: 3,
                bytes: 10
            }
        );
    }
}
