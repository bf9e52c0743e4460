//! Functions that fold the floats of every window anew.

use super::columns::{Window, count_of, secs};
use crate::functions::sum::{CompensatedSum, Mean};

pub(super) fn present(_: &Window<'_>) -> Option<f64> {
    Some(1.0)
}

pub(super) fn count(window: &Window<'_>) -> Option<f64> {
    Some(count_of(window.len()))
}

pub(super) fn first(window: &Window<'_>) -> Option<f64> {
    window.samples().values.first().copied()
}

pub(super) fn last(window: &Window<'_>) -> Option<f64> {
    window.samples().values.last().copied()
}

pub(super) fn ts_of_first(window: &Window<'_>) -> Option<f64> {
    window.samples().times.first().map(|ms| secs(*ms))
}

pub(super) fn ts_of_last(window: &Window<'_>) -> Option<f64> {
    let ms = *window.samples().times.last()?;
    // COMPAT: Prometheus' `funcTsOfLastOverTime` takes the later one of the last float and the last histogram,
    // and 0 for the kind that there is none of.
    let kinds = [window.from, window.to - 1].map(|at| window.series.histogram(at).is_some());
    let is_one_kind = kinds[0] == kinds[1];
    Some(secs(if is_one_kind { ms.max(0) } else { ms }))
}

pub(super) fn avg(window: &Window<'_>) -> Option<f64> {
    let (first, rest) = window.samples().values.split_first()?;
    let mut mean = Mean::of(*first);
    rest.iter().for_each(|value| mean.add(*value));
    Some(mean.total())
}

pub(super) fn sum(window: &Window<'_>) -> Option<f64> {
    let mut sum = CompensatedSum::default();
    let values = window.samples().values;
    values.iter().for_each(|value| sum.add(*value));
    Some(if sum.sum.is_infinite() {
        sum.sum
    } else {
        sum.total()
    })
}

pub(super) fn stddev(window: &Window<'_>) -> Option<f64> {
    stdvar(window).map(f64::sqrt)
}

/// Welford's variance with compensated sums.
pub(super) fn stdvar(window: &Window<'_>) -> Option<f64> {
    let mut mean = CompensatedSum::default();
    let mut squares = CompensatedSum::default();
    let mut count = 0.0;
    for &value in window.samples().values {
        count += 1.0;
        let delta = value - mean.total();
        mean.add(delta / count);
        squares.add(delta * (value - mean.total()));
    }
    Some(squares.total() / count)
}
