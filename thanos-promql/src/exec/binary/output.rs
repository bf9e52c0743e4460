//! The results of a join, with the failures of matching.

use std::sync::Arc;

use thanos_core::budget::Lease;
use thanos_core::labels::Labels;

use super::element::{Operation, Remarks};
use super::matching::{ManySide, Matching};
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
    /// The same by result, when several series may match one.
    matched_results: Vec<u64>,
    /// The first match group of each result.
    first_groups: Vec<usize>,
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
            matched_results: Vec::new(),
            first_groups: Vec::new(),
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
        self.mark_group(pair.group, &matched);
        // COMPAT: with delayed name removal, Prometheus looks at a single step for equal results only at the end.
        let keeps_equal = self.cx.delayed_name_removal && self.scratch.values.len() == 1;
        if keeps_equal && self.matching.is_one_to_one() {
            return self.append(&id);
        }
        let (number, is_new) = self.rows.enter(&id)?;
        if !self.matching.is_one_to_one() {
            let group = is_new.then_some(pair.group);
            self.mark_result(number, (pair.group, group), &matched)?;
            if keeps_equal {
                return self.append(&id);
            }
        }
        if bits::is_empty(&self.scratch.valid) {
            return Ok(());
        }
        if let Some(step) = self.rows.put(number, &id, self.scratch.row())? {
            self.fail((step, Stage::Result), Error::same_labelset);
        }
        Ok(())
    }

    fn append(&mut self, id: &SeriesId) -> Result<()> {
        if !bits::is_empty(&self.scratch.valid) {
            self.rows.append(id, self.scratch.row())?;
        }
        Ok(())
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

    /// Notes matches, and fails where one series of each side was matched before.
    fn mark_group(&mut self, group: usize, steps: &[u64]) {
        if self.matched.is_empty() {
            return;
        }
        let known = &mut self.matched[group * self.words..][..self.words];
        let again = bits::first_common(known, steps);
        bits::or(known, steps);
        if let Some(step) = again.filter(|_| self.matching.is_one_to_one()) {
            self.fail((step, Stage::Matching), || {
                Error::execution(
                    "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)",
                )
            });
        }
    }

    /// Notes matches with result `number`, whose labels must be unique in a match group.
    fn mark_result(
        &mut self,
        number: usize,
        (group, first): (usize, Option<usize>),
        steps: &[u64],
    ) -> Result<()> {
        if let Some(first) = first {
            let bytes = 2 * (size_of_val(&first) + size_of_val(steps));
            match &mut self.lease {
                Some(lease) => lease.grow(bytes as u64)?,
                none => *none = Some(self.cx.lease(bytes as u64)?),
            }
            self.first_groups.push(first);
            self.matched_results.extend_from_slice(steps);
            return Ok(());
        }
        let known = &mut self.matched_results[number * self.words..][..self.words];
        let again = bits::first_common(known, steps);
        bits::or(known, steps);
        // Two groups can have equal results only by dropping a name; that fails later in the step.
        if let Some(step) = again.filter(|_| self.first_groups[number] == group) {
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
