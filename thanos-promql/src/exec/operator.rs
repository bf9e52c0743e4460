//! The contract between operators: a pull stream of tiles.

use std::fmt::Debug;

use async_trait::async_trait;

use super::grid::Grid;
use super::tile::Tile;
use crate::error::Result;

/// A part of a query that produces series.
///
/// # Contract
///
/// - Tiles are over [`Operator::grid`], are not empty, and every series in them has at least one value.
/// - No two series of the whole stream have the same identity.
/// - The order of the series is a function of the data and the query, never of timing.
/// - After `None` or an error, `next` is not called again.
#[async_trait]
pub(crate) trait Operator: Debug + Send {
    /// Returns the steps of the tiles.
    fn grid(&self) -> Grid;

    /// Returns the next tile.
    async fn next(&mut self) -> Result<Option<Tile>>;
}

/// An operator of any kind.
pub(crate) type BoxOperator = Box<dyn Operator>;

/// An operator without series.
#[derive(Debug)]
pub(crate) struct Nothing(pub(crate) Grid);

#[async_trait]
impl Operator for Nothing {
    fn grid(&self) -> Grid {
        self.0
    }

    async fn next(&mut self) -> Result<Option<Tile>> {
        Ok(None)
    }
}

/// Pulls everything out of its input and gives nothing.
///
/// For functions that have no result here; what goes wrong in the input still goes wrong.
#[derive(Debug)]
pub(crate) struct Drain(pub(crate) BoxOperator);

#[async_trait]
impl Operator for Drain {
    fn grid(&self) -> Grid {
        self.0.grid()
    }

    async fn next(&mut self) -> Result<Option<Tile>> {
        while self.0.next().await?.is_some() {}
        Ok(None)
    }
}
