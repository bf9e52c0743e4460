//! Holding series: what joins, sorting and the final result need. All held memory is leased.

use std::sync::Arc;

use thanos_core::budget::Lease;

use super::bits;
use super::context::Context;
use super::grid::Grid;
use super::labels::LabelIndex;
use super::names::Overlap;
use super::operator::BoxOperator;
use super::tile::{Row, SeriesId, Tile, histogram_bytes};
use crate::error::{Error, Result};

/// All series of an operator.
#[derive(Debug)]
pub(crate) struct Block {
    tiles: Vec<Tile>,
    places: Vec<(usize, usize)>,
    lease: Lease,
    /// How much of the lease is for a copy of the series.
    copy_bytes: u64,
}

impl Block {
    /// Pulls everything out of `input`.
    pub(crate) async fn collect(cx: &Context, input: &mut BoxOperator) -> Result<Self> {
        let mut block = Self {
            tiles: Vec::new(),
            places: Vec::new(),
            lease: cx.lease(0)?,
            copy_bytes: 0,
        };
        while let Some(tile) = input.next().await? {
            let places = 2 * tile.len() * size_of::<(usize, usize)>();
            block.lease.grow(tile.memory_bytes() + places as u64)?;
            let number = block.tiles.len();
            block
                .places
                .extend((0..tile.len()).map(|row| (number, row)));
            block.tiles.push(tile);
        }
        Ok(block)
    }

    /// Returns the number of series.
    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// Returns the identity of series `index`.
    pub(crate) fn id(&self, index: usize) -> &SeriesId {
        let (tile, row) = self.places[index];
        self.tiles[tile].id(row)
    }

    /// Returns the values of series `index`.
    pub(crate) fn row(&self, index: usize) -> Row<'_> {
        let (tile, row) = self.places[index];
        self.tiles[tile].row(row)
    }

    /// Returns the series in order.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (&SeriesId, Row<'_>)> {
        self.tiles.iter().flat_map(Tile::rows)
    }

    /// Leases memory for a copy of the series, or of some of them.
    pub(crate) fn lease_copy(&mut self) -> Result<()> {
        self.copy_bytes = self.lease.bytes();
        Ok(self.lease.grow(self.copy_bytes)?)
    }

    /// Gives up the series and returns the lease of their memory, for what was made from them.
    pub(crate) fn into_lease(mut self) -> Lease {
        let kept = self.lease.bytes() - self.copy_bytes;
        drop((self.tiles, self.places));
        // It shrinks or stays, which cannot fail.
        let _ = self.lease.resize(kept);
        self.lease
    }

    /// Keeps the steps of each series that are set in `steps`: as many words of bits as a row has, for each.
    pub(crate) fn keep(mut self, steps: &[u64]) -> HeldTiles {
        let words = steps.len() / self.places.len().max(1);
        let mut rows = steps.chunks(words.max(1));
        for tile in &mut self.tiles {
            for index in 0..tile.len() {
                let kept = rows.next().unwrap_or_default();
                bits::and(tile.row_mut(index).valid, kept);
            }
            tile.drop_empty();
        }
        HeldTiles::new(self.tiles, Some(self.lease))
    }
}

/// Collects rows and joins those of equal series.
#[derive(Debug)]
pub(crate) struct MergingCollector {
    cx: Arc<Context>,
    grid: Grid,
    overlap: Overlap,
    index: LabelIndex,
    tiles: Vec<Tile>,
    /// Of each numbered series that has values.
    places: Vec<Option<(usize, usize)>>,
    lease: Option<Lease>,
}

impl MergingCollector {
    pub(crate) fn new(cx: Arc<Context>, grid: Grid, overlap: Overlap) -> Self {
        Self {
            cx,
            grid,
            overlap,
            index: LabelIndex::default(),
            tiles: Vec::new(),
            places: Vec::new(),
            lease: None,
        }
    }

    /// Takes over the series of `tile`.
    pub(crate) fn add(&mut self, tile: &Tile) -> Result<()> {
        for (id, row) in tile.rows() {
            self.add_row(id, row)?;
        }
        Ok(())
    }

    /// Takes over one series.
    ///
    /// # Errors
    ///
    /// When an equal series overlaps.
    pub(crate) fn add_row(&mut self, id: &SeriesId, row: Row<'_>) -> Result<()> {
        let (number, is_new) = self.enter(id)?;
        let is_error = !is_new && self.overlap == Overlap::Anywhere;
        if is_error || self.put(number, id, row)?.is_some() {
            return Err(Error::same_labelset());
        }
        Ok(())
    }

    /// Returns the number of the series with the labels of `id`, which has no values yet if it is new.
    pub(crate) fn enter(&mut self, id: &SeriesId) -> Result<(usize, bool)> {
        // With delayed removal a marked and an unmarked series stay apart until the end.
        let (number, is_new) = self.index.insert(&id.labels);
        if is_new {
            self.places.push(None);
            // The labels, and three times a few numbers.
            let entry = size_of::<(SeriesId, usize, usize)>() + id.labels.key().len();
            self.grow_lease(2 * entry)?;
        }
        Ok((number, is_new))
    }

    /// Adds values to series `number`; returns the first step at which it has a value already.
    pub(crate) fn put(
        &mut self,
        number: usize,
        id: &SeriesId,
        row: Row<'_>,
    ) -> Result<Option<usize>> {
        let Some((tile, at)) = self.places[number] else {
            self.places[number] = Some(self.append(id, row)?);
            return Ok(None);
        };
        let mut target = self.tiles[tile].row_mut(at);
        if let Some(step) = bits::first_common(target.valid, row.valid) {
            return Ok(Some(step));
        }
        // With delayed removal the value that comes first in time says whether the name goes.
        let is_earlier = bits::ones(row.valid).next() < bits::ones(target.valid).next();
        target.merge(row);
        if is_earlier {
            self.tiles[tile].id_mut(at).drop_name = id.drop_name;
        }
        self.grow_lease(histogram_bytes(row.histograms))?;
        Ok(None)
    }

    /// Takes over one series without looking for equal ones; returns its place.
    pub(crate) fn append(&mut self, id: &SeriesId, row: Row<'_>) -> Result<(usize, usize)> {
        if self.tiles.last().is_none_or(Tile::is_full) {
            self.tiles.push(Tile::new(self.grid));
        }
        let number = self.tiles.len() - 1;
        let tile = &mut self.tiles[number];
        let place = (number, tile.len());
        tile.push_row(id.clone(), row);
        let bytes = (row.values.len() + row.valid.len()) * 8 + id.labels.key().len();
        self.grow_lease(bytes + histogram_bytes(row.histograms))?;
        Ok(place)
    }

    fn grow_lease(&mut self, bytes: usize) -> Result<()> {
        match &mut self.lease {
            Some(lease) => lease.grow(bytes as u64)?,
            none => *none = Some(self.cx.lease(bytes as u64)?),
        }
        Ok(())
    }

    /// Returns the joined series in the order in which they were first seen.
    pub(crate) fn finish(self) -> HeldTiles {
        HeldTiles {
            tiles: self.tiles.into_iter(),
            _lease: self.lease,
        }
    }
}

/// Tiles that are ready, with the lease of their memory.
#[derive(Debug)]
pub(crate) struct HeldTiles {
    tiles: std::vec::IntoIter<Tile>,
    _lease: Option<Lease>,
}

impl HeldTiles {
    pub(crate) fn new(tiles: Vec<Tile>, lease: Option<Lease>) -> Self {
        Self {
            tiles: tiles.into_iter(),
            _lease: lease,
        }
    }

    /// Returns the next tile that is not empty.
    pub(crate) fn next(&mut self) -> Option<Tile> {
        self.tiles.find(|tile| !tile.is_empty())
    }
}

/// Cuts rows into tiles.
#[derive(Debug)]
pub(crate) struct TileCutter {
    grid: Grid,
    tiles: Vec<Tile>,
}

impl TileCutter {
    pub(crate) fn new(grid: Grid) -> Self {
        Self {
            grid,
            tiles: Vec::new(),
        }
    }

    /// Appends a copy of `row` unless it has no value.
    pub(crate) fn push(&mut self, id: SeriesId, row: Row<'_>) {
        if bits::is_empty(row.valid) {
            return;
        }
        if self.tiles.last().is_none_or(Tile::is_full) {
            self.tiles.push(Tile::new(self.grid));
        }
        let tile = self.tiles.last_mut();
        tile.expect("one was pushed when there was none")
            .push_row(id, row);
    }

    pub(crate) fn finish(self) -> Vec<Tile> {
        self.tiles
    }
}
