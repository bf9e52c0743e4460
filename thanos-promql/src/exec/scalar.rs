//! Scalars: one number for each step.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use futures::future::BoxFuture;

use super::arith::scalar_binop;
use super::bits;
use super::context::Context;
use super::grid::Grid;
use super::operator::{BoxOperator, Operator};
use super::tile::{SeriesId, Tile};
use crate::error::Result;
use crate::functions::math::{self, millis_to_secs};
use crate::parser::BinaryOp;

/// A part of a query that gives one number for each step.
#[derive(Debug)]
pub(crate) enum Scalar {
    /// The same number always.
    Const(f64),
    /// The time of the step.
    Time,
    Negate(Box<Scalar>),
    Binary(BinaryOp, Box<[Scalar; 2]>),
    Min(Box<[Scalar; 2]>),
    Max(Box<[Scalar; 2]>),
    /// `scalar(v)`: the value of the only series.
    OnlyValue(BoxOperator),
    /// The number of the first step, always.
    Invariant(Box<Scalar>),
}

/// The numbers of a scalar: one for each step, or one for all.
#[derive(Debug, Clone)]
pub(crate) struct Scalars(Vec<f64>);

impl Scalars {
    pub(crate) fn constant(value: f64) -> Self {
        Self(vec![value])
    }

    /// Returns the number at `step`.
    pub(crate) fn get(&self, step: usize) -> f64 {
        if self.0.len() == 1 {
            return self.0[0];
        }
        self.0[step]
    }

    /// Returns one number for each step, or one for all.
    pub(crate) fn as_slice(&self) -> &[f64] {
        &self.0
    }

    /// Returns one number for each of `len` steps.
    pub(crate) fn expanded(&self, len: usize) -> Vec<f64> {
        (0..len).map(|step| self.get(step)).collect()
    }

    fn combine(&self, other: &Self, combine: impl Fn(f64, f64) -> f64) -> Self {
        let len = self.0.len().max(other.0.len());
        Self(
            (0..len)
                .map(|step| combine(self.get(step), other.get(step)))
                .collect(),
        )
    }
}

impl Scalar {
    /// Returns the number for every step of `grid`, which must not be empty.
    pub(crate) fn eval<'a>(
        &'a mut self,
        cx: &'a Context,
        grid: Grid,
    ) -> BoxFuture<'a, Result<Scalars>> {
        Box::pin(async move {
            Ok(match self {
                Self::Const(value) => Scalars::constant(*value),
                Self::Time => Scalars(grid.times_ms().map(millis_to_secs).collect()),
                Self::Negate(inner) => {
                    let values = inner.eval(cx, grid).await?;
                    Scalars(values.0.iter().map(|value| -value).collect())
                }
                Self::Binary(op, sides) => {
                    let op = *op;
                    combine(cx, grid, sides, |a, b| scalar_binop(op, a, b)).await?
                }
                Self::Min(sides) => combine(cx, grid, sides, math::min).await?,
                Self::Max(sides) => combine(cx, grid, sides, math::max).await?,
                Self::OnlyValue(input) => only_values(grid, input).await?,
                Self::Invariant(inner) => {
                    Scalars::constant(inner.eval(cx, grid.first()).await?.get(0))
                }
            })
        })
    }
}

async fn combine(
    cx: &Context,
    grid: Grid,
    [lhs, rhs]: &mut [Scalar; 2],
    with: impl Fn(f64, f64) -> f64 + Send,
) -> Result<Scalars> {
    let lhs = lhs.eval(cx, grid).await?;
    let rhs = rhs.eval(cx, grid).await?;
    Ok(lhs.combine(&rhs, with))
}

/// Returns the value where there is exactly one series, NaN elsewhere.
async fn only_values(grid: Grid, input: &mut BoxOperator) -> Result<Scalars> {
    let mut values = vec![f64::NAN; grid.len()];
    let mut once = vec![0; bits::words(grid.len())];
    let mut more = once.clone();
    while let Some(tile) = input.next().await? {
        for (_, row) in tile.rows() {
            for (step, value) in row.iter() {
                values[step] = value;
                let seen = if bits::get(&once, step) {
                    &mut more
                } else {
                    &mut once
                };
                bits::set(seen, step);
            }
        }
    }
    bits::ones(&more).for_each(|step| values[step] = f64::NAN);
    Ok(Scalars(values))
}

/// A scalar as a series without labels: `vector(s)`, and a scalar as the result of a range query.
#[derive(Debug)]
pub(crate) struct ScalarSeries {
    cx: Arc<Context>,
    grid: Grid,
    scalar: Option<Scalar>,
}

impl ScalarSeries {
    pub(crate) fn new(cx: Arc<Context>, grid: Grid, scalar: Scalar) -> Self {
        Self {
            cx,
            grid,
            scalar: Some(scalar),
        }
    }
}

#[async_trait]
impl Operator for ScalarSeries {
    fn grid(&self) -> Grid {
        self.grid
    }

    async fn next(&mut self) -> Result<Option<Tile>> {
        let Some(mut scalar) = self.scalar.take().filter(|_| self.grid.len() > 0) else {
            return Ok(None);
        };
        let values = scalar.eval(&self.cx, self.grid).await?;
        let values = values.expanded(self.grid.len());
        Ok(Some(Tile::full(self.grid, SeriesId::empty(), &values)))
    }
}
