//! Floats that count as equal, as Prometheus' tests see it.

use thanos_core::histogram::is_stale_nan;

use crate::parser::{self, Expr};

/// How far two floats may be apart, relative to the sum of their sizes.
const EPSILON: f64 = 1e-6;

/// Reports whether two floats are equal but for rounding; all NaN are equal, but for the mark of staleness.
///
/// Source: Prometheus util/almost, `Equal`.
pub(super) fn almost_equal(a: f64, b: f64) -> bool {
    if is_stale_nan(a) || is_stale_nan(b) {
        return is_stale_nan(a) && is_stale_nan(b);
    }
    if a.is_nan() && b.is_nan() || a == b {
        return true;
    }
    let sum = a.abs() + b.abs();
    let difference = (a - b).abs();
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return difference < EPSILON * f64::MIN_POSITIVE;
    }
    difference / sum.min(f64::MAX) < EPSILON
}

/// Reads a line that is a number and nothing else.
pub(super) fn parse(text: &str) -> Option<f64> {
    match parser::parse(text, &parser::Options::default()) {
        Ok(Expr::Number(number)) if !number.is_duration => Some(number.value),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_compared_with_a_relative_tolerance() {
        let stale = thanos_core::histogram::STALE_NAN;
        for (a, b, is_equal) in [
            (1.0, 1.000_001, true),
            (1.0, 1.000_003, false),
            (0.0, -0.0, true),
            (0.0, 1e-300, false),
            (f64::NAN, -f64::NAN, true),
            (f64::NAN, stale, false),
            (stale, stale, true),
            (f64::INFINITY, f64::INFINITY, true),
            (f64::INFINITY, f64::NEG_INFINITY, false),
            (f64::INFINITY, f64::MAX, false),
            (f64::MAX, f64::MAX * 0.999_999_9, true),
            (5e-324, 1e-323, true),
        ] {
            assert_eq!(almost_equal(a, b), is_equal, "{a} {b}");
            assert_eq!(almost_equal(b, a), is_equal, "{b} {a}");
        }
    }

    #[test]
    fn a_number_is_told_from_a_series() {
        for (text, value) in [
            ("12", Some(12.0)),
            ("-0x10", Some(-16.0)),
            ("+Inf", Some(f64::INFINITY)),
            ("1e-3", Some(0.001)),
            ("5m", None),
            ("{} 1", None),
            ("x 1", None),
            ("1 2", None),
        ] {
            assert_eq!(parse(text), value, "{text}");
        }
        assert!(parse("NaN").is_some_and(f64::is_nan));
    }
}
