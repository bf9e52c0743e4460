//! The native histograms of aggregations that add them up.
//!
//! Groups of floats alone have nothing of this. In a group with histograms each step has a state, because the
//! order of the samples decides what is remarked. Source: Prometheus `promql/engine.go`, `aggregation`.

use std::sync::Arc;

use thanos_core::histogram::{Combined, FloatHistogram, HistogramMean, HistogramSum};

use super::remarks::Remarks;
use crate::exec::tile::SeriesId;

/// What an aggregation does with native histograms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HistogramUse {
    /// They count like floats.
    Count,
    /// They are left out, with a remark.
    Ignore,
    Sum,
    Mean,
}

/// The histograms of a group at one step.
#[derive(Debug, Clone, Default)]
enum State {
    #[default]
    None,
    /// A float was first: there will be no result.
    AfterFloat,
    /// Of exponential and custom buckets: there will be no result, and nothing else is looked at.
    Incompatible,
    Sum(HistogramSum),
    Mean(HistogramMean),
}

impl State {
    fn first(how: HistogramUse, histogram: &Arc<FloatHistogram>) -> Self {
        let histogram = Arc::clone(histogram);
        match how {
            HistogramUse::Mean => Self::Mean(HistogramMean::new(histogram)),
            HistogramUse::Sum | HistogramUse::Count | HistogramUse::Ignore => {
                Self::Sum(HistogramSum::new(histogram))
            }
        }
    }

    /// Adds a histogram to a sum or mean.
    fn add(&mut self, histogram: &FloatHistogram) -> thanos_core::Result<Combined> {
        match self {
            Self::Sum(sum) => sum.add(histogram),
            Self::Mean(mean) => mean.add(histogram),
            Self::None | Self::AfterFloat | Self::Incompatible => Ok(Combined::default()),
        }
    }

    fn heap_bytes(&self) -> usize {
        match self {
            Self::Sum(sum) => sum.size_bytes(),
            Self::Mean(mean) => mean.size_bytes(),
            Self::None | Self::AfterFloat | Self::Incompatible => 0,
        }
    }
}

/// The histograms of a group at all steps.
#[derive(Debug)]
pub(crate) struct GroupHistograms {
    how: HistogramUse,
    states: Vec<State>,
    heap_bytes: usize,
}

impl GroupHistograms {
    pub(crate) fn new(how: HistogramUse, steps: usize) -> Self {
        Self {
            how,
            states: vec![State::None; steps],
            heap_bytes: 0,
        }
    }

    /// Returns about how many bytes this takes.
    pub(crate) fn memory_bytes(&self) -> usize {
        size_of_val(&*self.states) + self.heap_bytes
    }

    /// Reports whether nothing more can change at `step`.
    pub(crate) fn is_closed(&self, step: usize) -> bool {
        matches!(self.states[step], State::Incompatible)
    }

    /// Adds the histogram that the series `id` has at `step`, where the group has floats already or not.
    pub(crate) fn add(
        &mut self,
        (step, has_float): (usize, bool),
        (id, histogram): (&SeriesId, &Arc<FloatHistogram>),
        remarks: &mut Remarks,
    ) {
        let state = &mut self.states[step];
        let before = state.heap_bytes();
        match state {
            State::None if has_float => *state = State::AfterFloat,
            State::None => *state = State::first(self.how, histogram),
            State::AfterFloat | State::Incompatible => {}
            State::Sum(_) | State::Mean(_) => match state.add(histogram) {
                Ok(combined) if combined.bounds_reconciled => remarks.reconciled(),
                Ok(_) => {}
                Err(_) => {
                    remarks.incompatible(id);
                    *state = State::Incompatible;
                }
            },
        }
        self.heap_bytes = self.heap_bytes + state.heap_bytes() - before;
    }

    /// Returns the result at `step`, and forgets what led to it.
    pub(crate) fn take(
        &mut self,
        (step, has_float): (usize, bool),
        remarks: &mut Remarks,
    ) -> Outcome {
        let state = std::mem::take(&mut self.states[step]);
        if matches!(state, State::None) {
            return Outcome::Float;
        }
        if has_float {
            remarks.mixed();
            return Outcome::Nothing;
        }
        let (mut total, has_collision) = match state {
            State::None | State::AfterFloat | State::Incompatible => return Outcome::Nothing,
            State::Sum(sum) => (sum.total(), sum.hints_collide()),
            State::Mean(mean) => (mean.mean(), mean.hints_collide()),
        };
        if has_collision {
            remarks.collided();
        }
        if !total.is_compact() {
            // Only then: the total of one histogram is that histogram, which others hold too.
            Arc::make_mut(&mut total).compact(0);
        }
        Outcome::Histogram(total)
    }
}

/// What a group gives at a step.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// What the floats give, if there are any.
    Float,
    Histogram(Arc<FloatHistogram>),
    Nothing,
}
