//! Functions that sort the floats of a window: `quantile_over_time` and `mad_over_time`.

use super::Kernel;
use super::columns::Window;
use super::remarks::Remarks;
use crate::error::Result;
use crate::functions::quantile::{is_quantile, quantile};

/// `quantile_over_time`.
#[derive(Debug, Default)]
pub(super) struct Quantile {
    values: Vec<f64>,
    remarks: Remarks,
}

impl Kernel for Quantile {
    type Out = f64;

    fn eval(&mut self, window: &Window<'_>) -> Option<f64> {
        let q = window.params[0];
        if !is_quantile(q) {
            self.remarks.add_quantile(q);
        }
        self.values.clear();
        self.values.extend_from_slice(window.samples().values);
        Some(quantile(q, &mut self.values))
    }

    fn finish(self, remarks: &mut Remarks) -> Result<()> {
        remarks.merge(&self.remarks);
        Ok(())
    }
}

/// `mad_over_time`: the median of the distances from the median.
#[derive(Debug, Default)]
pub(super) struct MedianDeviation {
    values: Vec<f64>,
}

impl Kernel for MedianDeviation {
    type Out = f64;

    fn eval(&mut self, window: &Window<'_>) -> Option<f64> {
        let values = window.samples().values;
        if values.iter().any(|value| value.is_nan()) {
            return Some(f64::NAN);
        }
        self.values.clear();
        self.values.extend_from_slice(values);
        let median = quantile(0.5, &mut self.values);
        for value in &mut self.values {
            *value = (*value - median).abs();
        }
        Some(quantile(0.5, &mut self.values))
    }
}
