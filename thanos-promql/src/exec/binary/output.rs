//! The results of a join, with the failures of matching.

use std::sync::Arc;

use hashbrown::HashMap;
use thanos_core::budget::Lease;
use thanos_core::labels::Labels;

use super::element::{Operation, Remarks};
use super::matching::{ManySide, Matching};
use super::one_side::first_common;
use crate::error::{Error, Result};
use crate::exec::arith::Side;
use crate::exec::bits;
use crate::exec::collect::{HeldTiles, MergingCollector};
use crate::exec::context::Context;
use crate::exec::grid::Grid;
use crate::exec::names::Overlap;
use crate::exec::tile::{HistogramRow, Row, RowMut, SeriesId};
use crate::parser::Span;

/// A series of the many side and one of the one side, or what stands for one of them.
#[derive(Debug)]
pub(crate) struct Pair<'a> {
    pub(crate) group: usize,
    pub(crate) labels: (&'a Labels, &'a Labels),
    pub(crate) rows: (Row<'a>, Row<'a>),
    /// Where both have a value.
    pub(crate) steps: &'a [u64],
}

/// How late in a step something fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    Entering,
    Matching,
    Result,
}

#[derive(Debug)]
struct Failure {
    when: (usize, Stage),
    error: Error,
}

/// What a join has computed so far.
#[derive(Debug)]
pub(crate) struct Output<'a> {
    cx: &'a Arc<Context>,
    operation: Operation,
    span: Span,
    matching: &'a Matching,
    words: usize,
    /// The steps at which matches were made, by match group; empty when nobody asks.
    matched: Vec<u64>,
    /// By the labels of the result, when several series may match one: the group, and the steps of matches.
    by_labels: HashMap<Labels, (usize, Vec<u64>)>,
    rows: MergingCollector,
    scratch: Scratch,
    remarks: Remarks,
    failure: Option<Failure>,
    lease: Option<Lease>,
}

impl<'a> Output<'a> {
    pub(crate) fn new(
        cx: &'a Arc<Context>,
        grid: Grid,
        (operation, span): (Operation, Span),
        matching: &'a Matching,
    ) -> Self {
        let words = bits::words(grid.len());
        Self {
            cx,
            operation,
            span,
            matching,
            words,
            matched: Vec::new(),
            by_labels: HashMap::new(),
            rows: MergingCollector::new(Arc::clone(cx), grid, Overlap::AtStep),
            scratch: Scratch {
                values: vec![0.0; grid.len()],
                valid: vec![0; words],
                histograms: HistogramRow::new(),
            },
            remarks: Remarks::default(),
            failure: None,
            lease: None,
        }
    }

    /// Makes room for one more match group.
    pub(crate) fn add_group(&mut self, lease: &mut Lease) -> Result<()> {
        if self.matching.is_one_to_one() || self.matching.fill.many.is_some() {
            lease.grow(2 * 8 * self.words as u64)?;
            self.matched.resize(self.matched.len() + self.words, 0);
        }
        Ok(())
    }

    /// Returns the steps at which matches were made in a group.
    pub(crate) fn matched(&self, group: usize) -> &[u64] {
        &self.matched[group * self.words..][..self.words]
    }

    /// Remembers a failure unless an earlier one is known.
    pub(crate) fn fail(&mut self, when: (usize, Stage), error: impl FnOnce() -> Error) {
        if self.failure.as_ref().is_none_or(|known| when < known.when) {
            self.failure = Some(Failure {
                when,
                error: error(),
            });
        }
    }

    /// Joins two series.
    pub(crate) fn pair(&mut self, pair: &Pair<'_>) -> Result<()> {
        if bits::is_empty(pair.steps) {
            return Ok(());
        }
        let (many, one) = pair.rows;
        let (lhs, rhs) = match self.matching.many {
            ManySide::Neither | ManySide::Left => (many, one),
            ManySide::Right => (one, many),
        };
        let mut row = self.scratch.load(lhs, pair.steps);
        let failed = self
            .operation
            .apply(&mut row, (Side::Right, rhs), &mut self.remarks);
        let mut matched = pair.steps.to_vec();
        if let Some(failed) = failed {
            bits::and_not(&mut matched, &failed);
            if bits::is_empty(&matched) {
                return Ok(());
            }
        }
        let id = self.result_id(pair);
        self.mark_matched(pair.group, &id.labels, &matched)?;
        self.push(&id)
    }

    fn result_id(&self, pair: &Pair<'_>) -> SeriesId {
        let return_bool = self.operation.return_bool;
        let drops_name = return_bool && !self.cx.delayed_name_removal;
        SeriesId {
            labels: self
                .matching
                .result_labels(self.operation.op, drops_name, pair.labels),
            drop_name: return_bool,
        }
    }

    fn push(&mut self, id: &SeriesId) -> Result<()> {
        if bits::is_empty(&self.scratch.valid) {
            return Ok(());
        }
        // COMPAT: with delayed name removal, Prometheus looks at a single step for equal results only at the end.
        if self.cx.delayed_name_removal && self.scratch.values.len() == 1 {
            return self.rows.append(id, self.scratch.row());
        }
        if let Some(step) = self.rows.overlap(id, self.scratch.row()) {
            self.fail((step, Stage::Result), Error::same_labelset);
            return Ok(());
        }
        self.rows.add_row(id, self.scratch.row())
    }

    /// Notes matches, and fails where they were made before.
    fn mark_matched(&mut self, group: usize, labels: &Labels, steps: &[u64]) -> Result<()> {
        let is_one_to_one = self.matching.is_one_to_one();
        if !self.matched.is_empty() {
            let known = &mut self.matched[group * self.words..][..self.words];
            let again = first_common(known, steps, steps);
            bits::or(known, steps);
            if let Some(step) = again.filter(|_| is_one_to_one) {
                self.fail((step, Stage::Matching), || {
                    Error::execution(
                        "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)",
                    )
                });
            }
        }
        if !is_one_to_one {
            self.mark_result(group, labels, steps)?;
        }
        Ok(())
    }

    /// Notes matches by the labels of the result, which the grouping labels must make unique in a group.
    fn mark_result(&mut self, group: usize, labels: &Labels, steps: &[u64]) -> Result<()> {
        let Some((first, known)) = self.by_labels.get_mut(labels) else {
            let bytes = 2 * (size_of::<(Labels, usize, Vec<u64>)>() + size_of_val(steps));
            match &mut self.lease {
                Some(lease) => lease.grow(bytes as u64)?,
                none => *none = Some(self.cx.lease(bytes as u64)?),
            }
            self.by_labels
                .insert(labels.clone(), (group, steps.to_vec()));
            return Ok(());
        };
        // Two groups can have equal results only by dropping a name; that fails later in the step.
        let again = first_common(known, steps, steps).filter(|_| *first == group);
        bits::or(known, steps);
        if let Some(step) = again {
            self.fail((step, Stage::Matching), || {
                Error::execution(
                    "multiple matches for labels: grouping labels must ensure unique matches",
                )
            });
        }
        Ok(())
    }

    pub(crate) fn finish(self) -> Result<HeldTiles> {
        self.remarks.finish(self.cx, self.operation.op, self.span);
        match self.failure {
            Some(failure) => Err(failure.error),
            None => Ok(self.rows.finish()),
        }
    }
}

/// A row that is being computed.
#[derive(Debug)]
struct Scratch {
    values: Vec<f64>,
    valid: Vec<u64>,
    histograms: HistogramRow,
}

impl Scratch {
    fn load(&mut self, row: Row<'_>, steps: &[u64]) -> RowMut<'_> {
        self.values.copy_from_slice(row.values);
        self.valid.copy_from_slice(steps);
        self.histograms.clear();
        self.histograms.extend_from_slice(row.histograms);
        RowMut {
            values: &mut self.values,
            valid: &mut self.valid,
            histograms: &mut self.histograms,
        }
    }

    fn row(&self) -> Row<'_> {
        Row {
            values: &self.values,
            valid: &self.valid,
            histograms: &self.histograms,
        }
    }
}
