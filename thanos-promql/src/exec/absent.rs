//! `absent` and `absent_over_time`: a series where there is none.

use async_trait::async_trait;

use super::bits;
use super::grid::Grid;
use super::operator::{BoxOperator, Operator};
use super::tile::{SeriesId, Tile};
use crate::error::Result;

/// The value 1 at the steps at which the input has no value.
#[derive(Debug)]
pub(crate) struct Absent {
    input: Option<BoxOperator>,
    grid: Grid,
    id: SeriesId,
}

impl Absent {
    /// Returns the operator; `id` has the labels that the absent series would surely have.
    pub(crate) fn new(input: BoxOperator, id: SeriesId) -> Self {
        Self {
            grid: input.grid(),
            input: Some(input),
            id,
        }
    }
}

#[async_trait]
impl Operator for Absent {
    fn grid(&self) -> Grid {
        self.grid
    }

    async fn next(&mut self) -> Result<Option<Tile>> {
        let Some(mut input) = self.input.take() else {
            return Ok(None);
        };
        let mut present = vec![0; bits::words(self.grid.len())];
        while let Some(tile) = input.next().await? {
            for (_, row) in tile.rows() {
                bits::or(&mut present, row.valid);
            }
        }
        let mut tile = Tile::new(self.grid);
        let row = tile.push(self.id.clone());
        row.values.fill(1.0);
        bits::set_all(row.valid, self.grid.len());
        bits::and_not(row.valid, &present);
        tile.pop_if_empty();
        Ok((!tile.is_empty()).then_some(tile))
    }
}
