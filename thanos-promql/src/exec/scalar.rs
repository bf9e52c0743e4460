//! Scalars: one number for each step.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use futures::future::BoxFuture;
use thanos_core::budget::Lease;

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
#[derive(Debug)]
pub(crate) struct Scalars {
    values: Vec<f64>,
    /// Of the values; a single one is not worth a lease.
    _lease: Option<Lease>,
}

/// The range of some numbers, as Go's `math.Min` and `math.Max` make it: NaN where one of them is, except next to
/// an infinity on the same side.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) min: f64,
    pub(crate) max: f64,
    pub(crate) has_nan: bool,
}

impl Scalars {
    pub(crate) fn constant(value: f64) -> Self {
        Self {
            values: vec![value],
            _lease: None,
        }
    }

    /// Returns the `len` numbers of `values`.
    fn collect(cx: &Context, len: usize, values: impl Iterator<Item = f64>) -> Result<Self> {
        let lease = cx.lease(bytes_of(len))?;
        Ok(Self {
            values: values.collect(),
            _lease: Some(lease),
        })
    }

    /// Returns the number at `step`.
    pub(crate) fn get(&self, step: usize) -> f64 {
        if self.values.len() == 1 {
            return self.values[0];
        }
        self.values[step]
    }

    /// Returns one number for each step, or one for all.
    pub(crate) fn as_slice(&self) -> &[f64] {
        &self.values
    }

    /// Returns the range of the numbers.
    pub(crate) fn bounds(&self) -> Bounds {
        let mut bounds = Bounds {
            min: self.values[0],
            max: self.values[0],
            has_nan: false,
        };
        for &value in &self.values {
            bounds.min = math::min(bounds.min, value);
            bounds.max = math::max(bounds.max, value);
            bounds.has_nan |= value.is_nan();
        }
        bounds
    }

    /// Returns one number for each of `len` steps.
    pub(crate) fn expanded(self, cx: &Context, len: usize) -> Result<Self> {
        if self.values.len() == len {
            return Ok(self);
        }
        Self::collect(cx, len, (0..len).map(|step| self.get(step)))
    }

    fn negated(mut self) -> Self {
        self.values.iter_mut().for_each(|value| *value = -*value);
        self
    }

    /// Returns the results of `combine` in the place of the longer side.
    fn combine(mut self, mut other: Self, combine: impl Fn(f64, f64) -> f64) -> Self {
        if self.values.len() >= other.values.len() {
            for (step, value) in self.values.iter_mut().enumerate() {
                *value = combine(*value, other.get(step));
            }
            return self;
        }
        for (step, value) in other.values.iter_mut().enumerate() {
            *value = combine(self.get(step), *value);
        }
        other
    }
}

fn bytes_of(values: usize) -> u64 {
    (values * size_of::<f64>()) as u64
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
                Self::Time => {
                    Scalars::collect(cx, grid.len(), grid.times_ms().map(millis_to_secs))?
                }
                Self::Negate(inner) => inner.eval(cx, grid).await?.negated(),
                Self::Binary(op, sides) => {
                    let op = *op;
                    combine(cx, grid, sides, |a, b| scalar_binop(op, a, b)).await?
                }
                Self::Min(sides) => combine(cx, grid, sides, math::min).await?,
                Self::Max(sides) => combine(cx, grid, sides, math::max).await?,
                Self::OnlyValue(input) => only_values(cx, grid, input).await?,
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
    Ok(lhs.combine(rhs, with))
}

/// Returns the value where there is exactly one series, NaN elsewhere.
async fn only_values(cx: &Context, grid: Grid, input: &mut BoxOperator) -> Result<Scalars> {
    let words = bits::words(grid.len());
    let mut lease = cx.lease(bytes_of(grid.len() + 2 * words))?;
    let mut values = vec![f64::NAN; grid.len()];
    let mut once = vec![0; words];
    let mut more = once.clone();
    while let Some(tile) = input.next().await? {
        for (_, row) in tile.rows() {
            for (step, value) in row.iter_floats() {
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
    lease.resize(bytes_of(values.len()))?;
    Ok(Scalars {
        values,
        _lease: Some(lease),
    })
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
        let scalars = scalar.eval(&self.cx, self.grid).await?;
        let scalars = scalars.expanded(&self.cx, self.grid.len())?;
        let tile = Tile::full(self.grid, SeriesId::empty(), scalars.as_slice());
        Ok(Some(tile))
    }
}
