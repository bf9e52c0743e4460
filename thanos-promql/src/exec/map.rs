//! Operators that change each series by itself: functions of single values, arithmetic with scalars, the sign.

use std::iter::repeat_n;
use std::sync::Arc;

use async_trait::async_trait;

use super::arith::{Side, drops_name};
use super::binary::element::{Operation, Remarks};
use super::bits;
use super::context::Context;
use super::grid::Grid;
use super::names::drop_name;
use super::operator::{BoxOperator, Operator};
use super::scalar::{Scalar, Scalars};
use super::tile::{Cell, HISTOGRAM_HERE, Row, RowMut, Tile};
use crate::error::Result;
use crate::functions::math::MapFn;
use crate::parser::Span;

/// A function of single values over all series.
#[derive(Debug)]
pub(crate) struct Map {
    cx: Arc<Context>,
    input: BoxOperator,
    function: MapFn,
    params: Vec<Scalar>,
    ready: Option<Vec<Scalars>>,
}

impl Map {
    pub(crate) fn new(
        cx: Arc<Context>,
        input: BoxOperator,
        function: MapFn,
        params: Vec<Scalar>,
    ) -> Self {
        Self {
            cx,
            input,
            function,
            params,
            ready: None,
        }
    }

    async fn prepare(&mut self) -> Result<()> {
        if self.ready.is_none() {
            let mut ready = Vec::new();
            for param in &mut self.params {
                ready.push(param.eval(&self.cx, self.input.grid()).await?);
            }
            self.ready = Some(ready);
        }
        Ok(())
    }

    fn apply(&self, grid: Grid, row: &mut RowMut<'_>) {
        if matches!(self.function, MapFn::StepTime) {
            // The one function that does not look at the value.
            row.histograms.clear();
        }
        row.drop_histograms();
        if let MapFn::Plain(function) = self.function {
            row.values
                .iter_mut()
                .for_each(|value| *value = function(*value));
            return;
        }
        let params = self.ready.as_deref().unwrap_or_default();
        let default = self.function.default_param();
        for step in 0..grid.len() {
            if !bits::get(row.valid, step) {
                continue;
            }
            let param = |number: usize| params.get(number).map_or(default, |all| all.get(step));
            let value = row.values[step];
            match self
                .function
                .apply(value, [param(0), param(1)], grid.time_ms(step))
            {
                Some(value) => row.values[step] = value,
                None => bits::clear(row.valid, step),
            }
        }
    }
}

#[async_trait]
impl Operator for Map {
    fn grid(&self) -> Grid {
        self.input.grid()
    }

    async fn next(&mut self) -> Result<Option<Tile>> {
        self.prepare().await?;
        let grid = self.input.grid();
        loop {
            let Some(mut tile) = self.input.next().await? else {
                return Ok(None);
            };
            for index in 0..tile.len() {
                self.apply(grid, &mut tile.row_mut(index));
                drop_name(&self.cx, tile.id_mut(index));
            }
            tile.drop_empty();
            if !tile.is_empty() {
                return Ok(Some(tile));
            }
        }
    }
}

/// A vector and a scalar joined by an operator.
#[derive(Debug)]
pub(crate) struct WithScalar {
    cx: Arc<Context>,
    input: BoxOperator,
    scalar: Scalar,
    side: Side,
    operation: Operation,
    span: Span,
    ready: Option<Ready>,
}

/// The scalar at every step, and what was said so far.
#[derive(Debug)]
struct Ready {
    scalars: Scalars,
    always: Vec<u64>,
    remarks: Remarks,
}

impl WithScalar {
    /// Returns the operator; the scalar stands on `side`, and all of it at `span`.
    pub(crate) fn new(
        cx: Arc<Context>,
        input: BoxOperator,
        (side, scalar): (Side, Scalar),
        operation: Operation,
        span: Span,
    ) -> Self {
        Self {
            cx,
            input,
            scalar,
            side,
            operation,
            span,
            ready: None,
        }
    }

    async fn prepare(&mut self) -> Result<Ready> {
        let grid = self.input.grid();
        let scalars = self.scalar.eval(&self.cx, grid).await?;
        let mut always = vec![0; bits::words(grid.len())];
        bits::set_all(&mut always, grid.len());
        Ok(Ready {
            scalars: scalars.expanded(&self.cx, grid.len())?,
            always,
            remarks: Remarks::default(),
        })
    }
}

#[async_trait]
impl Operator for WithScalar {
    fn grid(&self) -> Grid {
        self.input.grid()
    }

    async fn next(&mut self) -> Result<Option<Tile>> {
        let mut ready = match self.ready.take() {
            Some(ready) => ready,
            None if self.input.grid().len() == 0 => return Ok(None),
            None => self.prepare().await?,
        };
        while let Some(mut tile) = self.input.next().await? {
            let other = Row::floats(ready.scalars.as_slice(), &ready.always);
            for index in 0..tile.len() {
                let mut row = tile.row_mut(index);
                self.operation
                    .apply(&mut row, (self.side, other), &mut ready.remarks);
                if drops_name(self.operation.op) || self.operation.return_bool {
                    drop_name(&self.cx, tile.id_mut(index));
                }
            }
            tile.drop_empty();
            if !tile.is_empty() {
                self.ready = Some(ready);
                return Ok(Some(tile));
            }
        }
        ready.remarks.finish(&self.cx, self.operation.op, self.span);
        Ok(None)
    }
}

/// The unary minus.
#[derive(Debug)]
pub(crate) struct Negate {
    pub(crate) cx: Arc<Context>,
    pub(crate) input: BoxOperator,
}

#[async_trait]
impl Operator for Negate {
    fn grid(&self) -> Grid {
        self.input.grid()
    }

    async fn next(&mut self) -> Result<Option<Tile>> {
        let Some(mut tile) = self.input.next().await? else {
            return Ok(None);
        };
        for index in 0..tile.len() {
            let row = tile.row_mut(index);
            row.values.iter_mut().for_each(|value| *value = -*value);
            for histogram in row.histograms.iter_mut().flatten() {
                Arc::make_mut(histogram).multiply(-1.0);
            }
            drop_name(&self.cx, tile.id_mut(index));
        }
        Ok(Some(tile))
    }
}

/// Repeats the result of the first step at all steps: for parts that do not depend on the time of the step.
#[derive(Debug)]
pub(crate) struct Repeat {
    pub(crate) grid: Grid,
    /// Over the first step of `grid` alone.
    pub(crate) input: BoxOperator,
    pub(crate) tile: Option<(Tile, usize)>,
}

#[async_trait]
impl Operator for Repeat {
    fn grid(&self) -> Grid {
        self.grid
    }

    async fn next(&mut self) -> Result<Option<Tile>> {
        let mut out = Tile::new(self.grid);
        while !out.is_full() {
            let (tile, row) = match self.tile.take() {
                Some(place) => place,
                None => match self.input.next().await? {
                    Some(tile) => (tile, 0),
                    None => break,
                },
            };
            if let Some(cell) = tile.row(row).get(0) {
                let target = out.push(tile.id(row).clone());
                match cell {
                    Cell::Float(value) => target.values.fill(value),
                    Cell::Histogram(histogram) => {
                        target.values.fill(HISTOGRAM_HERE);
                        let copies = repeat_n(Some(Arc::clone(histogram)), self.grid.len());
                        target.histograms.extend(copies);
                    }
                }
                bits::set_all(target.valid, self.grid.len());
            }
            if row + 1 < tile.len() {
                self.tile = Some((tile, row + 1));
            }
        }
        Ok((!out.is_empty()).then_some(out))
    }
}
