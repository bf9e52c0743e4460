//! `quantile`: needs all values of a group at once.

use std::sync::Arc;

use async_trait::async_trait;

use super::remarks::Remarks;
use super::{Groups, STEPS_PER_CHECK};
use crate::annotations::Annotation;
use crate::error::Result;
use crate::exec::bits;
use crate::exec::collect::{HeldTiles, TileCutter};
use crate::exec::context::Context;
use crate::exec::grid::Grid;
use crate::exec::labels::LabelChoice;
use crate::exec::operator::{BoxOperator, Operator};
use crate::exec::scalar::{Scalar, Scalars};
use crate::exec::tile::{Row, Tile};
use crate::functions::quantile::quantile;
use crate::parser::Span;

/// The quantile over the series of each group.
#[derive(Debug)]
pub(crate) struct QuantileAggregate {
    pub(crate) cx: Arc<Context>,
    pub(crate) input: BoxOperator,
    pub(crate) groups: Groups,
    pub(crate) param: Scalar,
    pub(crate) param_span: Span,
    pub(crate) remarks: Remarks,
    pub(crate) results: Option<HeldTiles>,
}

impl QuantileAggregate {
    pub(crate) fn new(
        cx: Arc<Context>,
        input: BoxOperator,
        choice: LabelChoice,
        param: (Scalar, Span),
        remarks: Remarks,
    ) -> Self {
        Self {
            cx,
            input,
            groups: Groups::new(choice),
            param: param.0,
            param_span: param.1,
            remarks,
            results: None,
        }
    }

    /// Warns of values that are not quantiles; also when there is nothing to aggregate.
    fn annotate(&self, q: &Scalars) {
        let bounds = q.bounds();
        let warn = |q| {
            self.cx
                .annotate(Annotation::invalid_quantile(q, self.param_span));
        };
        if bounds.has_nan {
            warn(f64::NAN);
        }
        if bounds.max > 1.0 {
            warn(bounds.max);
        }
        if bounds.min < 0.0 {
            warn(bounds.min);
        }
    }

    async fn run(&mut self) -> Result<HeldTiles> {
        let grid = self.input.grid();
        let q = self.param.eval(&self.cx, grid).await?;
        self.annotate(&q);
        let mut lease = self.cx.lease(0)?;
        // The values of step s of group g are in list g * steps + s.
        let mut lists: Vec<Vec<f64>> = Vec::new();
        while let Some(tile) = self.input.next().await? {
            for (id, row) in tile.rows() {
                let (group, is_new) = self.groups.of(id);
                self.groups.note_steps(group, id, row.valid);
                let mut bytes = bits::count(row.valid) * 16;
                if is_new {
                    // A list, and the result.
                    let step_bytes = size_of::<Vec<f64>>() + size_of::<f64>();
                    bytes += grid.len() * step_bytes + self.groups.label_bytes(group);
                }
                lease.grow(bytes as u64)?;
                if is_new {
                    lists.resize_with(lists.len() + grid.len(), Vec::new);
                }
                if row.iter_histograms().next().is_some() {
                    self.remarks.ignored();
                }
                for (step, value) in row.iter_floats() {
                    lists[group * grid.len() + step].push(value);
                }
            }
        }
        if lists.is_empty() {
            return Ok(HeldTiles::new(Vec::new(), None));
        }
        let mut cutter = TileCutter::new(grid);
        let ids = std::mem::take(&mut self.groups.ids);
        for (id, lists) in ids.into_iter().zip(lists.chunks_mut(grid.len())) {
            let mut values = vec![0.0; grid.len()];
            let mut valid = vec![0; bits::words(grid.len())];
            for (step, list) in lists.iter_mut().enumerate().filter(|(_, l)| !l.is_empty()) {
                if step.is_multiple_of(STEPS_PER_CHECK) {
                    self.cx.check()?;
                }
                values[step] = quantile(q.get(step), list);
                bits::set(&mut valid, step);
            }
            let row = Row::floats(&values, &valid);
            cutter.push(id, row);
        }
        Ok(HeldTiles::new(cutter.finish(), Some(lease)))
    }
}

#[async_trait]
impl Operator for QuantileAggregate {
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
