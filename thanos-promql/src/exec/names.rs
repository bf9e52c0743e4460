//! Dropping metric names, and what to do when series become equal by it.

use std::sync::Arc;

use async_trait::async_trait;

use super::collect::{HeldTiles, MergingCollector};
use super::context::Context;
use super::grid::Grid;
use super::labels::without_metadata;
use super::operator::{BoxOperator, Operator};
use super::tile::{SeriesId, Tile};
use crate::error::Result;

/// Drops the name of `id`, at once or marked for the end of the query.
pub(crate) fn drop_name(cx: &Context, id: &mut SeriesId) {
    if !cx.delayed_name_removal {
        id.labels = without_metadata(&id.labels);
    }
    id.drop_name = true;
}

/// Joins series that have become equal: they are one series where they do not overlap, an error where they do.
///
/// It holds all series. The planner leaves it out where names are known to be the same for all series, so that
/// the common queries stream.
#[derive(Debug)]
pub(crate) struct MergeEqual {
    cx: Arc<Context>,
    input: BoxOperator,
    overlap: Overlap,
    merged: Option<HeldTiles>,
}

/// When equal series are an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Overlap {
    /// When they have a value at the same step: instant functions and operators.
    AtStep,
    /// Always: functions over ranges.
    Anywhere,
}

impl MergeEqual {
    pub(crate) fn new(cx: Arc<Context>, input: BoxOperator, overlap: Overlap) -> Self {
        Self {
            cx,
            input,
            overlap,
            merged: None,
        }
    }
}

#[async_trait]
impl Operator for MergeEqual {
    fn grid(&self) -> Grid {
        self.input.grid()
    }

    async fn next(&mut self) -> Result<Option<Tile>> {
        if self.merged.is_none() {
            let mut collector =
                MergingCollector::new(Arc::clone(&self.cx), self.input.grid(), self.overlap);
            while let Some(tile) = self.input.next().await? {
                collector.add(&tile)?;
            }
            self.merged = Some(collector.finish());
        }
        Ok(self.merged.as_mut().and_then(HeldTiles::next))
    }
}
