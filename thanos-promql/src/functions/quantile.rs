//! The quantile of plain values.

use super::order::nan_first;

/// Returns the `q`-quantile of `values`, which are left sorted.
///
/// Source: Prometheus `promql/quantile.go`, `quantile`.
pub(crate) fn quantile(q: f64, values: &mut [f64]) -> f64 {
    values.sort_unstable_by(|a, b| nan_first(*a, *b));
    quantile_of_sorted(q, values)
}

/// Returns the `q`-quantile of values that ascend, NaN before all others.
pub(crate) fn quantile_of_sorted(q: f64, values: &[f64]) -> f64 {
    if values.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    #[expect(
        clippy::cast_precision_loss,
        reason = "a count of values in memory is far below 2^53"
    )]
    let last = (values.len() - 1) as f64;
    let rank = q * last;
    let lower = rank.floor().max(0.0);
    let upper = (lower + 1.0).min(last);
    let weight = rank - rank.floor();
    values[to_index(lower)] * (1.0 - weight) + values[to_index(upper)] * weight
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the callers pass whole numbers from 0 to the number of values"
)]
fn to_index(value: f64) -> usize {
    value as usize
}

/// Reports whether `q` is a quantile.
pub(crate) fn is_quantile(q: f64) -> bool {
    (0.0..=1.0).contains(&q)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_interpolates() {
        for (q, values, expected) in [
            (0.5, vec![3.0, 1.0, 2.0], 2.0),
            (0.5, vec![1.0, 2.0], 1.5),
            (1.0, vec![1.0, 2.0], 2.0),
            (0.0, vec![2.0, 1.0], 1.0),
            (0.75, vec![0.0, 1.0, 2.0], 1.5),
            (-0.1, vec![1.0], f64::NEG_INFINITY),
            (1.1, vec![1.0], f64::INFINITY),
        ] {
            let mut values = values;
            assert_eq!(quantile(q, &mut values), expected, "{q}");
        }
        assert!(quantile(f64::NAN, &mut [1.0]).is_nan());
        assert!(quantile(0.5, &mut []).is_nan());
    }
}
