//! Functions that sort the floats of a window: `quantile_over_time` and `mad_over_time`.

use std::cmp::Ordering;

use super::Kernel;
use super::columns::Window;
use super::remarks::Remarks;
use crate::error::Result;
use crate::functions::quantile::{is_quantile, quantile, quantile_of_sorted};

/// The values of a window in order, kept up while the window moves on.
#[derive(Debug, Default)]
struct SortedWindow {
    values: Vec<f64>,
    from: usize,
    to: usize,
}

/// Compares ascending with NaN below everything. Unlike for numbers the two zeros differ, so that the one that
/// leaves the window is the one that came in.
fn order(a: f64, b: f64) -> Ordering {
    match (a.is_nan(), b.is_nan()) {
        (false, false) => a.total_cmp(&b),
        (a, b) => b.cmp(&a),
    }
}

impl SortedWindow {
    /// Moves to `window` and returns its values in order.
    fn slide(&mut self, window: &Window<'_>) -> &[f64] {
        let values = window.series.values;
        let moved = (window.from - self.from) + (window.to - self.to);
        // To move one value costs about as much as to sort a few.
        if window.from >= self.to || 4 * moved > window.len() {
            self.values.clear();
            self.values.extend_from_slice(window.samples().values);
            self.values.sort_unstable_by(|a, b| order(*a, *b));
        } else {
            for value in &values[self.from..window.from] {
                let at = self.place(*value);
                self.values.remove(at);
            }
            for value in &values[self.to..window.to] {
                let at = self.place(*value);
                self.values.insert(at, *value);
            }
        }
        (self.from, self.to) = (window.from, window.to);
        &self.values
    }

    /// Returns the index of the first value that is not below `value`.
    fn place(&self, value: f64) -> usize {
        self.values
            .partition_point(|other| order(*other, value).is_lt())
    }
}

/// `quantile_over_time`.
#[derive(Debug, Default)]
pub(super) struct Quantile {
    sorted: SortedWindow,
    remarks: Remarks,
}

impl Kernel for Quantile {
    type Out = f64;

    fn eval(&mut self, window: &Window<'_>) -> Option<f64> {
        let q = window.params[0];
        if !is_quantile(q) {
            self.remarks.add_quantile(q);
        }
        Some(quantile_of_sorted(q, self.sorted.slide(window)))
    }

    fn finish(self, remarks: &mut Remarks) -> Result<()> {
        remarks.merge(&self.remarks);
        Ok(())
    }
}

/// `mad_over_time`: the median of the distances from the median.
#[derive(Debug, Default)]
pub(super) struct MedianDeviation {
    sorted: SortedWindow,
    distances: Vec<f64>,
}

impl Kernel for MedianDeviation {
    type Out = f64;

    fn eval(&mut self, window: &Window<'_>) -> Option<f64> {
        let values = self.sorted.slide(window);
        if values[0].is_nan() {
            return Some(f64::NAN);
        }
        let median = quantile_of_sorted(0.5, values);
        self.distances.clear();
        let distances = values.iter().map(|value| (value - median).abs());
        self.distances.extend(distances);
        Some(quantile(0.5, &mut self.distances))
    }
}
