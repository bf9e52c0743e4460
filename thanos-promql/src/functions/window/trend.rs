//! Functions that fit a line: `deriv`, `predict_linear`, `double_exponential_smoothing`.

use super::Kernel;
use super::columns::{Columns, Window, secs};
use super::remarks::Remarks;
use crate::error::{Error, Result};
use crate::functions::sum::CompensatedSum;

pub(super) fn deriv(window: &Window<'_>) -> Option<f64> {
    let samples = window.samples();
    let first_ms = *samples.times.first()?;
    (samples.times.len() >= 2).then(|| linear_regression(samples, first_ms).0)
}

pub(super) fn predict_linear(window: &Window<'_>) -> Option<f64> {
    let samples = window.samples();
    (samples.times.len() >= 2).then(|| {
        let (slope, intercept) = linear_regression(samples, window.step_ms);
        slope * window.params[0] + intercept
    })
}

/// Returns slope and intercept of the least-squares line, the latter at `intercept_ms`.
///
/// Source: Prometheus `promql/functions.go`, `linearRegression`.
fn linear_regression(samples: Columns<'_>, intercept_ms: i64) -> (f64, f64) {
    let first = samples.values[0];
    if samples.values[1..].iter().all(|value| *value == first) {
        return if first.is_infinite() {
            (f64::NAN, f64::NAN)
        } else {
            (0.0, first)
        };
    }
    let mut n = 0.0;
    let [mut x_sum, mut y_sum, mut xy_sum, mut xx_sum] = [CompensatedSum::default(); 4];
    for (time, y) in samples.iter() {
        n += 1.0;
        let x = secs(time.saturating_sub(intercept_ms));
        x_sum.add(x);
        y_sum.add(y);
        xy_sum.add(x * y);
        xx_sum.add(x * x);
    }
    let [x, y, xy, xx] = [x_sum, y_sum, xy_sum, xx_sum].map(CompensatedSum::total);
    let covariance = xy - x * y / n;
    let variance = xx - x * x / n;
    let slope = covariance / variance;
    (slope, y / n - slope * x / n)
}

/// Double exponential smoothing (Holt-Winters without seasons).
#[derive(Debug, Default)]
pub(super) struct Smoothing {
    error: Option<Error>,
}

impl Kernel for Smoothing {
    type Out = f64;

    fn eval(&mut self, window: &Window<'_>) -> Option<f64> {
        let [smoothing, trend_factor] = window.params;
        if let Err(error) = check_factors(window.params) {
            self.error.get_or_insert(error);
            return None;
        }
        let &[first, second, ..] = window.samples().values else {
            return None;
        };
        let (mut before, mut now) = (0.0, first);
        let mut trend = second - first;
        for (i, value) in window.samples().values[1..].iter().enumerate() {
            let x = smoothing * value;
            if i > 0 {
                trend = trend_factor * (now - before) + (1.0 - trend_factor) * trend;
            }
            let y = (1.0 - smoothing) * (now + trend);
            (before, now) = (now, x + y);
        }
        Some(now)
    }

    fn finish(self, _: &mut Remarks) -> Result<()> {
        self.error.map_or(Ok(()), Err)
    }
}

/// Checks the factors of the smoothing.
///
/// # Errors
///
/// In Prometheus' words when one is outside 0 to 1.
pub(super) fn check_factors(factors: [f64; 2]) -> Result<()> {
    for (name, short, value) in [("smoothing", "sf", factors[0]), ("trend", "tf", factors[1])] {
        // The comparison lets NaN pass, as Prometheus' does.
        if value <= 0.0 || value >= 1.0 {
            let got = match value {
                f64::INFINITY => "+Inf".to_owned(),
                f64::NEG_INFINITY => "-Inf".to_owned(),
                value => format!("{value:.6}"),
            };
            return Err(Error::execution(format!(
                "invalid {name} factor. Expected: 0 < {short} < 1, got: {got}"
            )));
        }
    }
    Ok(())
}
