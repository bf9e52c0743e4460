//! Functions of single native histograms; floats have no result.

use std::sync::Arc;

use async_trait::async_trait;
use thanos_core::histogram::FloatHistogram;

use super::bits;
use super::context::Context;
use super::grid::Grid;
use super::names::drop_name_only;
use super::operator::{BoxOperator, Operator};
use super::tile::{RowMut, Tile};
use crate::error::Result;

/// A function from a histogram to a number.
pub(crate) type HistogramFn = fn(&FloatHistogram) -> f64;

/// A function of native histograms over all series.
#[derive(Debug)]
pub(crate) struct MapHistograms {
    pub(crate) cx: Arc<Context>,
    pub(crate) input: BoxOperator,
    pub(crate) function: HistogramFn,
}

impl MapHistograms {
    fn apply(&self, row: &mut RowMut<'_>) {
        let histograms = std::mem::take(row.histograms);
        if histograms.is_empty() {
            row.valid.fill(0);
            return;
        }
        let mut memo = Memo::default();
        for (step, histogram) in histograms.iter().enumerate() {
            match histogram {
                None => bits::clear(row.valid, step),
                Some(_) if !bits::get(row.valid, step) => {}
                Some(histogram) => row.values[step] = memo.get(histogram, self.function),
            }
        }
    }
}

/// The last answer: steps that lie closer than the samples see the same histogram several times.
#[derive(Debug)]
pub(crate) struct Memo<'a, A> {
    last: Option<(&'a Arc<FloatHistogram>, A)>,
}

impl<A> Default for Memo<'_, A> {
    fn default() -> Self {
        Self { last: None }
    }
}

impl<'a, A: Copy> Memo<'a, A> {
    /// Returns the answer for `histogram`; `ask` must be the same question every time.
    pub(crate) fn get(
        &mut self,
        histogram: &'a Arc<FloatHistogram>,
        ask: impl FnOnce(&FloatHistogram) -> A,
    ) -> A {
        match self.last {
            Some((last, answer)) if Arc::ptr_eq(last, histogram) => answer,
            _ => self.last.insert((histogram, ask(histogram))).1,
        }
    }
}

#[async_trait]
impl Operator for MapHistograms {
    fn grid(&self) -> Grid {
        self.input.grid()
    }

    async fn next(&mut self) -> Result<Option<Tile>> {
        while let Some(mut tile) = self.input.next().await? {
            for index in 0..tile.len() {
                self.apply(&mut tile.row_mut(index));
            }
            tile.drop_empty();
            for index in 0..tile.len() {
                drop_name_only(&self.cx, tile.id_mut(index));
            }
            if !tile.is_empty() {
                return Ok(Some(tile));
            }
        }
        Ok(None)
    }
}
