//! Aggregations that stream: each series is folded into its group and forgotten.
//!
//! Memory is groups by steps, whatever the number of series. Series are folded in the order of the input, so
//! the last digits of a sum do not depend on anything else.

pub(crate) mod count_values;
pub(crate) mod fold;
pub(crate) mod pick;
pub(crate) mod quantile;

use std::marker::PhantomData;
use std::sync::Arc;

use async_trait::async_trait;
use thanos_core::budget::Lease;

use self::fold::Fold;
use super::bits;
use super::collect::{HeldTiles, TileCutter};
use super::context::Context;
use super::grid::Grid;
use super::labels::{LabelChoice, LabelIndex};
use super::operator::{BoxOperator, Operator};
use super::tile::{Row, SeriesId, Tile};
use crate::error::Result;

/// Groups in the order in which they are first seen.
#[derive(Debug)]
pub(crate) struct Groups {
    choice: LabelChoice,
    index: LabelIndex,
    pub(crate) ids: Vec<SeriesId>,
}

impl Groups {
    pub(crate) fn new(choice: LabelChoice) -> Self {
        Self {
            choice,
            index: LabelIndex::default(),
            ids: Vec::new(),
        }
    }

    /// Returns the number of the group of a series and whether it is new.
    pub(crate) fn of(&mut self, id: &SeriesId) -> (usize, bool) {
        let (group, new) = self.index.insert_chosen(&self.choice, id.labels.as_ref());
        let is_new = new.is_some();
        if let Some(labels) = new {
            self.ids.push(SeriesId::new(labels));
        }
        self.ids[group].drop_name |= id.drop_name;
        (group, is_new)
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
    results: Option<HeldTiles>,
    fold: PhantomData<F>,
}

impl<F: Fold> Aggregate<F> {
    pub(crate) fn new(cx: Arc<Context>, input: BoxOperator, choice: LabelChoice) -> Self {
        Self {
            cx,
            input,
            groups: Groups::new(choice),
            results: None,
            fold: PhantomData,
        }
    }

    async fn run(&mut self) -> Result<HeldTiles> {
        let grid = self.input.grid();
        let mut cells = Cells::<F>::new(grid, self.cx.lease(0)?);
        while let Some(tile) = self.input.next().await? {
            for (id, row) in tile.rows() {
                let (group, is_new) = self.groups.of(id);
                if is_new {
                    cells.add_group(self.groups.label_bytes(group))?;
                }
                cells.fold(group, row);
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
        if self.results.is_none() {
            self.results = Some(self.run().await?);
        }
        Ok(self.results.as_mut().and_then(HeldTiles::next))
    }
}

/// The state of all groups: one fold for each group and step.
struct Cells<F> {
    steps: usize,
    cells: Vec<F>,
    seen: Vec<u64>,
    lease: Lease,
}

impl<F: Fold> Cells<F> {
    fn new(grid: Grid, lease: Lease) -> Self {
        Self {
            steps: grid.len(),
            cells: Vec::new(),
            seen: Vec::new(),
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

    fn fold(&mut self, group: usize, row: Row<'_>) {
        let words = bits::words(self.steps);
        let cells = &mut self.cells[group * self.steps..][..self.steps];
        let seen = &mut self.seen[group * words..][..words];
        let chunks = cells.chunks_mut(64).zip(row.values.chunks(64));
        for ((cells, values), (seen, &valid)) in chunks.zip(seen.iter_mut().zip(row.valid)) {
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

    fn finish(self, grid: Grid, ids: Vec<SeriesId>) -> HeldTiles {
        let words = bits::words(self.steps);
        let mut cutter = TileCutter::new(grid);
        let mut values = vec![0.0; self.steps];
        for (group, id) in ids.into_iter().enumerate() {
            let cells = &self.cells[group * self.steps..][..self.steps];
            for (value, cell) in values.iter_mut().zip(cells) {
                *value = cell.result();
            }
            let valid = &self.seen[group * words..][..words];
            let row = Row::floats(&values, valid);
            cutter.push(id, row);
        }
        HeldTiles::new(cutter.finish(), Some(self.lease))
    }
}
