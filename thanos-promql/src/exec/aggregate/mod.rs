//! Aggregations that stream: each series is folded into its group and forgotten.
//!
//! Memory is groups by steps, whatever the number of series. Series are folded in the order of the input, so
//! the last digits of a sum do not depend on anything else.

pub(crate) mod count_values;
pub(crate) mod fold;
mod heap;
pub(crate) mod histogram;
pub(crate) mod pick;
pub(crate) mod quantile;
pub(crate) mod remarks;

use std::marker::PhantomData;
use std::sync::Arc;

use async_trait::async_trait;
use hashbrown::HashMap;
use thanos_core::budget::Lease;

use self::fold::Fold;
use self::histogram::{GroupHistograms, HistogramUse, Outcome};
use self::remarks::Remarks;
use super::bits;
use super::collect::{HeldTiles, TileCutter};
use super::context::Context;
use super::grid::Grid;
use super::labels::{LabelChoice, LabelIndex};
use super::operator::{BoxOperator, Operator};
use super::tile::{HistogramRow, Row, RowMut, SeriesId, Tile};
use crate::error::Result;

/// How many steps of a group are picked or sorted before the deadline is looked at.
const STEPS_PER_CHECK: usize = 64;

/// Groups in the order in which they are first seen.
#[derive(Debug)]
pub(crate) struct Groups {
    choice: LabelChoice,
    index: LabelIndex,
    pub(crate) ids: Vec<SeriesId>,
    /// One past the last step of each group, and one past its last step with a name that is to be dropped.
    ends: Vec<(usize, usize)>,
}

impl Groups {
    pub(crate) fn new(choice: LabelChoice) -> Self {
        Self {
            choice,
            index: LabelIndex::default(),
            ids: Vec::new(),
            ends: Vec::new(),
        }
    }

    /// Returns the number of the group of a series and whether it is new.
    pub(crate) fn of(&mut self, id: &SeriesId) -> (usize, bool) {
        let (group, new) = self.index.insert_chosen(&self.choice, id.labels.as_ref());
        let is_new = new.is_some();
        if let Some(labels) = new {
            self.ids.push(SeriesId::new(labels));
            self.ends.push((0, 0));
        }
        (group, is_new)
    }

    /// Notes the steps of a series, which decide whether the name of its group is dropped.
    ///
    /// COMPAT: Prometheus drops it when a series at the last step of the group has a name to be dropped.
    fn note_steps(&mut self, group: usize, id: &SeriesId, valid: &[u64]) {
        let end = bits::end(valid);
        let (last, last_dropped) = &mut self.ends[group];
        *last = end.max(*last);
        if id.drop_name {
            *last_dropped = end.max(*last_dropped);
        }
        self.ids[group].drop_name = *last_dropped > 0 && *last_dropped == *last;
    }

    /// Returns the bytes that the labels of a group take.
    pub(crate) fn label_bytes(&self, group: usize) -> usize {
        // Once here, once in the index.
        2 * (size_of::<SeriesId>() + self.ids[group].labels.key().len())
    }
}

/// Folds the series of each group with `F`.
#[derive(Debug)]
pub(crate) struct Aggregate<F> {
    cx: Arc<Context>,
    input: BoxOperator,
    groups: Groups,
    remarks: Option<Remarks>,
    results: Option<HeldTiles>,
    fold: PhantomData<F>,
}

impl<F: Fold> Aggregate<F> {
    pub(crate) fn new(
        cx: Arc<Context>,
        input: BoxOperator,
        choice: LabelChoice,
        remarks: Remarks,
    ) -> Self {
        Self {
            cx,
            input,
            groups: Groups::new(choice),
            remarks: Some(remarks),
            results: None,
            fold: PhantomData,
        }
    }

    async fn run(&mut self, remarks: Remarks) -> Result<HeldTiles> {
        let grid = self.input.grid();
        let mut cells = Cells::<F>::new(grid, self.cx.lease(0)?, remarks);
        while let Some(tile) = self.input.next().await? {
            for (id, row) in tile.rows() {
                let (group, is_new) = self.groups.of(id);
                if is_new {
                    cells.add_group(self.groups.label_bytes(group))?;
                }
                self.groups.note_steps(group, id, row.valid);
                cells.fold(group, id, row)?;
            }
        }
        Ok(cells.finish(grid, std::mem::take(&mut self.groups.ids)))
    }
}

#[async_trait]
impl<F: Fold> Operator for Aggregate<F> {
    fn grid(&self) -> Grid {
        self.input.grid()
    }

    async fn next(&mut self) -> Result<Option<Tile>> {
        if let Some(remarks) = self.remarks.take() {
            self.results = Some(self.run(remarks).await?);
        }
        Ok(self.results.as_mut().and_then(HeldTiles::next))
    }
}

/// The state of all groups: one fold for each group and step.
struct Cells<F> {
    steps: usize,
    cells: Vec<F>,
    /// The steps at which a group has a float.
    seen: Vec<u64>,
    /// Of the groups that have histograms to add up.
    histograms: HashMap<usize, GroupHistograms>,
    remarks: Remarks,
    lease: Lease,
}

impl<F: Fold> Cells<F> {
    fn new(grid: Grid, lease: Lease, remarks: Remarks) -> Self {
        Self {
            steps: grid.len(),
            cells: Vec::new(),
            seen: Vec::new(),
            histograms: HashMap::new(),
            remarks,
            lease,
        }
    }

    fn add_group(&mut self, label_bytes: usize) -> Result<()> {
        let words = bits::words(self.steps);
        // A vector that grows may hold twice what it needs.
        let bytes = 2 * (self.steps * size_of::<F>() + words * 8) + label_bytes;
        self.lease.grow(bytes as u64)?;
        self.cells
            .resize(self.cells.len() + self.steps, F::default());
        self.seen.resize(self.seen.len() + words, 0);
        Ok(())
    }

    fn fold(&mut self, group: usize, id: &SeriesId, row: Row<'_>) -> Result<()> {
        let is_counted = F::HISTOGRAMS == HistogramUse::Count;
        if is_counted || row.is_float_only() && self.histograms.is_empty() {
            self.fold_floats(group, row.values, row.valid);
            return Ok(());
        }
        let mut floats = row.valid.to_vec();
        for (step, _) in row.iter_histograms() {
            bits::clear(&mut floats, step);
        }
        if F::HISTOGRAMS == HistogramUse::Ignore {
            if floats != row.valid {
                self.remarks.ignored();
            }
        } else {
            self.add_histograms(group, id, row, &mut floats)?;
        }
        self.fold_floats(group, row.values, &floats);
        Ok(())
    }

    /// Adds the histograms of `row`; clears the bits of `floats` that will not matter.
    fn add_histograms(
        &mut self,
        group: usize,
        id: &SeriesId,
        row: Row<'_>,
        floats: &mut [u64],
    ) -> Result<()> {
        let known = self.histograms.contains_key(&group);
        if floats == row.valid && !known {
            return Ok(());
        }
        let words = bits::words(self.steps);
        let seen = &self.seen[group * words..][..words];
        let new = || GroupHistograms::new(F::HISTOGRAMS, self.steps);
        let histograms = self.histograms.entry(group).or_insert_with(new);
        for step in 0..self.steps {
            if histograms.is_closed(step) {
                bits::clear(floats, step);
            }
        }
        let before = if known { histograms.memory_bytes() } else { 0 };
        for (step, histogram) in row.iter_histograms() {
            let place = (step, bits::get(seen, step));
            histograms.add(place, (id, histogram), &mut self.remarks);
        }
        let after = histograms.memory_bytes();
        if after > before {
            self.lease.grow((after - before) as u64)?;
        }
        Ok(())
    }

    fn fold_floats(&mut self, group: usize, values: &[f64], valid: &[u64]) {
        let words = bits::words(self.steps);
        let cells = &mut self.cells[group * self.steps..][..self.steps];
        let seen = &mut self.seen[group * words..][..words];
        let chunks = cells.chunks_mut(64).zip(values.chunks(64));
        for ((cells, values), (seen, &valid)) in chunks.zip(seen.iter_mut().zip(valid)) {
            if valid & *seen == u64::MAX {
                for (cell, value) in cells.iter_mut().zip(values) {
                    cell.add(*value);
                }
                continue;
            }
            for step in bits::ones(&[valid]) {
                if bits::get(&[*seen], step) {
                    cells[step].add(values[step]);
                } else {
                    cells[step] = F::first(values[step]);
                }
            }
            *seen |= valid;
        }
    }

    fn finish(mut self, grid: Grid, ids: Vec<SeriesId>) -> HeldTiles {
        let words = bits::words(self.steps);
        let mut cutter = TileCutter::new(grid);
        let mut values = vec![0.0; self.steps];
        let mut valid = vec![0; words];
        for (group, id) in ids.into_iter().enumerate() {
            let cells = &self.cells[group * self.steps..][..self.steps];
            for (value, cell) in values.iter_mut().zip(cells) {
                *value = cell.result();
            }
            valid.copy_from_slice(&self.seen[group * words..][..words]);
            let mut histograms = HistogramRow::new();
            if let Some(all) = self.histograms.remove(&group) {
                let mut row = RowMut {
                    values: &mut values,
                    valid: &mut valid,
                    histograms: &mut histograms,
                };
                take_results(all, &mut row, &mut self.remarks);
            }
            cutter.push(
                id,
                Row {
                    values: &values,
                    valid: &valid,
                    histograms: &histograms,
                },
            );
        }
        HeldTiles::new(cutter.finish(), Some(self.lease))
    }
}

/// Puts the results of a group with histograms into `row`, which has those of its floats.
fn take_results(mut all: GroupHistograms, row: &mut RowMut<'_>, remarks: &mut Remarks) {
    for step in 0..row.values.len() {
        let place = (step, bits::get(row.valid, step));
        match all.take(place, remarks) {
            Outcome::Float => {}
            Outcome::Histogram(histogram) => row.set_histogram(step, histogram),
            Outcome::Nothing => bits::clear(row.valid, step),
        }
    }
}
