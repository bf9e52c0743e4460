//! `and`, `unless`, `or`: keep series by whether the other side has a series with the same matching labels.

use std::sync::Arc;

use async_trait::async_trait;
use thanos_core::budget::Lease;
use thanos_core::labels::Labels;

use crate::error::Result;
use crate::exec::bits;
use crate::exec::collect::{HeldTiles, MergingCollector};
use crate::exec::context::Context;
use crate::exec::grid::Grid;
use crate::exec::labels::{LabelChoice, LabelIndex};
use crate::exec::names::Overlap;
use crate::exec::operator::{BoxOperator, Operator};
use crate::exec::tile::{SeriesId, Tile};

/// At which steps each combination of matching labels has a value.
#[derive(Debug)]
struct Presence {
    choice: LabelChoice,
    index: LabelIndex,
    words: usize,
    bits: Vec<u64>,
    lease: Lease,
}

impl Presence {
    fn new(choice: LabelChoice, grid: Grid, lease: Lease) -> Self {
        Self {
            choice,
            index: LabelIndex::default(),
            words: bits::words(grid.len()),
            bits: Vec::new(),
            lease,
        }
    }

    fn add(&mut self, tile: &Tile) -> Result<()> {
        for (id, row) in tile.rows() {
            let (number, new) = self.index.insert_chosen(&self.choice, id.labels.as_ref());
            if let Some(key) = new {
                let entry = size_of::<(Labels, usize)>() + 8 * self.words;
                self.lease.grow((2 * entry + key.key().len()) as u64)?;
                self.bits.resize(self.index.len() * self.words, 0);
            }
            bits::or(
                &mut self.bits[number * self.words..][..self.words],
                row.valid,
            );
        }
        Ok(())
    }

    fn of(&mut self, id: &SeriesId) -> Option<&[u64]> {
        let number = self.index.find_chosen(&self.choice, id.labels.as_ref())?;
        Some(&self.bits[number * self.words..][..self.words])
    }
}

/// Which values of the left side stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Filter {
    /// `and`: those that the right side has, too.
    Present,
    /// `unless`: those that it has not.
    Missing,
}

impl Filter {
    fn apply(self, tile: &mut Tile, presence: &mut Presence) {
        for index in 0..tile.len() {
            let present = presence.of(tile.id(index));
            let row = tile.row_mut(index);
            match (self, present) {
                (Self::Present, Some(present)) => bits::and(row.valid, present),
                (Self::Present, None) => row.valid.fill(0),
                (Self::Missing, Some(present)) => bits::and_not(row.valid, present),
                (Self::Missing, None) => {}
            }
        }
        tile.drop_empty();
    }
}

/// `and` and `unless`: the left side streams, of the right side only the presence is held.
#[derive(Debug)]
pub(crate) struct FilterByPresence {
    cx: Arc<Context>,
    lhs: BoxOperator,
    rhs: BoxOperator,
    filter: Filter,
    choice: LabelChoice,
    presence: Option<Presence>,
}

impl FilterByPresence {
    pub(crate) fn new(
        cx: Arc<Context>,
        lhs: BoxOperator,
        rhs: BoxOperator,
        filter: Filter,
        choice: LabelChoice,
    ) -> Self {
        Self {
            cx,
            lhs,
            rhs,
            filter,
            choice,
            presence: None,
        }
    }

    /// Reads the right side.
    async fn presence(&mut self) -> Result<Presence> {
        let lease = self.cx.lease(0)?;
        let mut presence = Presence::new(self.choice.clone(), self.lhs.grid(), lease);
        while let Some(tile) = self.rhs.next().await? {
            presence.add(&tile)?;
        }
        Ok(presence)
    }
}

#[async_trait]
impl Operator for FilterByPresence {
    fn grid(&self) -> Grid {
        self.lhs.grid()
    }

    async fn next(&mut self) -> Result<Option<Tile>> {
        // The left side starts first, because its error comes before one of the right side.
        while let Some(mut tile) = self.lhs.next().await? {
            let mut presence = match self.presence.take() {
                Some(presence) => presence,
                None => self.presence().await?,
            };
            self.filter.apply(&mut tile, &mut presence);
            self.presence = Some(presence);
            if !tile.is_empty() {
                return Ok(Some(tile));
            }
        }
        if self.presence.is_none() {
            self.presence = Some(self.presence().await?);
        }
        Ok(None)
    }
}

/// `or`: the left side, and of the right side what the left side has not.
///
/// A series may come from the left at one step and from the right at another, so all are held.
#[derive(Debug)]
pub(crate) struct Union {
    cx: Arc<Context>,
    lhs: BoxOperator,
    rhs: BoxOperator,
    choice: LabelChoice,
    results: Option<HeldTiles>,
}

impl Union {
    pub(crate) fn new(
        cx: Arc<Context>,
        lhs: BoxOperator,
        rhs: BoxOperator,
        choice: LabelChoice,
    ) -> Self {
        Self {
            cx,
            lhs,
            rhs,
            choice,
            results: None,
        }
    }

    async fn run(&mut self) -> Result<HeldTiles> {
        let grid = self.lhs.grid();
        let lease = self.cx.lease(0)?;
        let mut presence = Presence::new(self.choice.clone(), grid, lease);
        let mut all = MergingCollector::new(Arc::clone(&self.cx), grid, Overlap::AtStep);
        while let Some(tile) = self.lhs.next().await? {
            presence.add(&tile)?;
            all.add(&tile)?;
        }
        while let Some(mut tile) = self.rhs.next().await? {
            Filter::Missing.apply(&mut tile, &mut presence);
            all.add(&tile)?;
        }
        Ok(all.finish())
    }
}

#[async_trait]
impl Operator for Union {
    fn grid(&self) -> Grid {
        self.lhs.grid()
    }

    async fn next(&mut self) -> Result<Option<Tile>> {
        if self.results.is_none() {
            self.results = Some(self.run().await?);
        }
        Ok(self.results.as_mut().and_then(HeldTiles::next))
    }
}
