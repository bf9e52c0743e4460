//! Functions of single values.

use std::f64::consts::PI;

use super::date::DatePart;

/// A function that maps each value of a vector, with up to two scalar parameters.
#[derive(Debug, Clone, Copy)]
pub(crate) enum MapFn {
    /// A function of the value alone.
    Plain(fn(f64) -> f64),
    /// `round(v, to_nearest)`.
    Round,
    /// `clamp(v, min, max)`.
    Clamp,
    /// `clamp_min(v, min)`.
    ClampMin,
    /// `clamp_max(v, max)`.
    ClampMax,
    /// A part of the date that the value is.
    Date(DatePart),
    /// The time of the step.
    StepTime,
}

impl MapFn {
    /// Returns the function `name`.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "abs" => Self::Plain(f64::abs),
            "acos" => Self::Plain(f64::acos),
            "acosh" => Self::Plain(f64::acosh),
            "asin" => Self::Plain(f64::asin),
            "asinh" => Self::Plain(f64::asinh),
            "atan" => Self::Plain(f64::atan),
            "atanh" => Self::Plain(f64::atanh),
            "ceil" => Self::Plain(f64::ceil),
            "cos" => Self::Plain(f64::cos),
            "cosh" => Self::Plain(f64::cosh),
            "deg" => Self::Plain(|value| value * 180.0 / PI),
            "exp" => Self::Plain(f64::exp),
            "floor" => Self::Plain(f64::floor),
            "ln" => Self::Plain(f64::ln),
            "log10" => Self::Plain(f64::log10),
            "log2" => Self::Plain(f64::log2),
            "rad" => Self::Plain(|value| value * PI / 180.0),
            "sgn" => Self::Plain(sign),
            "sin" => Self::Plain(f64::sin),
            "sinh" => Self::Plain(f64::sinh),
            "sqrt" => Self::Plain(f64::sqrt),
            "tan" => Self::Plain(f64::tan),
            "tanh" => Self::Plain(f64::tanh),
            "round" => Self::Round,
            "clamp" => Self::Clamp,
            "clamp_min" => Self::ClampMin,
            "clamp_max" => Self::ClampMax,
            "timestamp" => Self::StepTime,
            _ => Self::Date(DatePart::from_name(name)?),
        })
    }

    /// Returns the result for `value` at the time `step_ms`, or nothing where there is none.
    pub(crate) fn apply(self, value: f64, params: [f64; 2], step_ms: i64) -> Option<f64> {
        let [first, second] = params;
        Some(match self {
            Self::Plain(function) => function(value),
            Self::Round => {
                let inverse = 1.0 / first;
                (value * inverse + 0.5).floor() / inverse
            }
            Self::Clamp if second < first => return None,
            Self::Clamp => max(first, min(second, value)),
            Self::ClampMin => max(first, min(f64::INFINITY, value)),
            Self::ClampMax => max(f64::NEG_INFINITY, min(first, value)),
            Self::Date(part) => part.of(value),
            Self::StepTime => millis_to_secs(step_ms),
        })
    }

    /// Returns what a parameter is that the query leaves out.
    pub(crate) fn default_param(self) -> f64 {
        1.0
    }
}

fn sign(value: f64) -> f64 {
    if value < 0.0 {
        -1.0
    } else if value > 0.0 {
        1.0
    } else {
        value
    }
}

/// Returns the smaller one as Go's `math.Min` does: NaN wins unless the other is -Inf.
pub(crate) fn min(a: f64, b: f64) -> f64 {
    if a == f64::NEG_INFINITY || b == f64::NEG_INFINITY {
        return f64::NEG_INFINITY;
    }
    if a.is_nan() || b.is_nan() {
        return f64::NAN;
    }
    if a == 0.0 && a == b {
        return if a.is_sign_negative() { a } else { b };
    }
    if a < b { a } else { b }
}

/// Returns the larger one as Go's `math.Max` does: NaN wins unless the other is +Inf.
pub(crate) fn max(a: f64, b: f64) -> f64 {
    if a == f64::INFINITY || b == f64::INFINITY {
        return f64::INFINITY;
    }
    if a.is_nan() || b.is_nan() {
        return f64::NAN;
    }
    if a == 0.0 && a == b {
        return if a.is_sign_negative() { b } else { a };
    }
    if a > b { a } else { b }
}

/// Returns a time as sample values have it.
#[expect(
    clippy::cast_precision_loss,
    reason = "the same rounding as Go's conversion"
)]
pub(crate) fn millis_to_secs(ms: i64) -> f64 {
    ms as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn eval(name: &str, value: f64, params: [f64; 2]) -> Option<f64> {
        MapFn::from_name(name).unwrap().apply(value, params, 1500)
    }

    #[test]
    fn values_map_as_documented() {
        for (name, value, params, expected) in [
            ("abs", -1.5, [1.0; 2], 1.5),
            ("ceil", 1.2, [1.0; 2], 2.0),
            ("floor", -1.2, [1.0; 2], -2.0),
            ("sgn", -3.0, [1.0; 2], -1.0),
            ("sqrt", 9.0, [1.0; 2], 3.0),
            ("log2", 8.0, [1.0; 2], 3.0),
            ("log10", 1000.0, [1.0; 2], 3.0),
            ("deg", PI, [1.0; 2], 180.0),
            ("round", 2.5, [1.0, 1.0], 3.0),
            ("round", -2.5, [1.0, 1.0], -2.0),
            ("round", 7.0, [5.0, 1.0], 5.0),
            ("clamp", 7.0, [0.0, 5.0], 5.0),
            ("clamp_min", -7.0, [0.0, 1.0], 0.0),
            ("clamp_max", 7.0, [5.0, 1.0], 5.0),
            ("timestamp", 7.0, [1.0; 2], 1.5),
            ("hour", 7200.0, [1.0; 2], 2.0),
        ] {
            assert_eq!(eval(name, value, params), Some(expected), "{name}({value})");
        }
        assert_eq!(eval("clamp", 1.0, [5.0, 0.0]), None);
        assert!(eval("clamp_max", f64::NAN, [5.0, 0.0]).unwrap().is_nan());
        assert!(eval("ln", -1.0, [1.0; 2]).unwrap().is_nan());
    }

    #[test]
    fn zeros_and_nan_compare_as_in_go() {
        assert!(min(0.0, -0.0).is_sign_negative() && max(-0.0, 0.0).is_sign_positive());
        assert!(min(f64::NAN, 1.0).is_nan() && max(1.0, f64::NAN).is_nan());
        assert_eq!(min(f64::NAN, f64::NEG_INFINITY), f64::NEG_INFINITY);
        assert_eq!(max(f64::NAN, f64::INFINITY), f64::INFINITY);
    }
}
