//! What operators do to two numbers.

use crate::functions::order;
use crate::parser::BinaryOp;

/// Returns `a op b` of two scalars; comparisons give 0 or 1.
pub(crate) fn scalar_binop(op: BinaryOp, a: f64, b: f64) -> f64 {
    match compare(op, a, b) {
        Some(holds) => f64::from(u8::from(holds)),
        None => arithmetic(op, a, b),
    }
}

/// Reports whether the operator cuts histograms, which numbers do not know.
pub(crate) fn is_trim(op: BinaryOp) -> bool {
    matches!(op, BinaryOp::TrimUpper | BinaryOp::TrimLower)
}

/// Returns the result of an arithmetic operator.
pub(crate) fn arithmetic(op: BinaryOp, a: f64, b: f64) -> f64 {
    match op {
        BinaryOp::Add => a + b,
        BinaryOp::Sub => a - b,
        BinaryOp::Mul => a * b,
        BinaryOp::Div => a / b,
        BinaryOp::Mod => a % b,
        BinaryOp::Pow => a.powf(b),
        BinaryOp::Atan2 => a.atan2(b),
        BinaryOp::Equal
        | BinaryOp::NotEqual
        | BinaryOp::Greater
        | BinaryOp::Less
        | BinaryOp::GreaterEqual
        | BinaryOp::LessEqual
        | BinaryOp::TrimUpper
        | BinaryOp::TrimLower
        | BinaryOp::And
        | BinaryOp::Or
        | BinaryOp::Unless => unreachable!("the planner sends only arithmetic here, not {op}"),
    }
}

/// The side on which the other operand stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Left,
    Right,
}

/// Puts `values op other` in the place of `values`, or `other op values` when the other side is the left one.
///
/// A comparison that filters leaves the values and clears bits of `kept`.
pub(crate) fn combine_rows(
    op: BinaryOp,
    return_bool: bool,
    values: &mut [f64],
    (side, other): (Side, &[f64]),
    kept: &mut [u64],
) {
    if compare(op, 0.0, 0.0).is_none() {
        return compute_rows(op, values, (side, other));
    }
    // The other side is the right one from here on.
    let op = match side {
        Side::Left => mirrored(op),
        Side::Right => op,
    };
    let rows = (values, other, kept, return_bool);
    match op {
        BinaryOp::Equal => compare_rows(rows, |a, b| a == b),
        BinaryOp::NotEqual => compare_rows(rows, |a, b| a != b),
        BinaryOp::Greater => compare_rows(rows, |a, b| a > b),
        BinaryOp::Less => compare_rows(rows, |a, b| a < b),
        BinaryOp::GreaterEqual => compare_rows(rows, |a, b| a >= b),
        BinaryOp::LessEqual => compare_rows(rows, |a, b| a <= b),
        other => unreachable!("{other} is not a comparison"),
    }
}

/// The common operators get loops of their own, which the compiler can vectorise.
fn compute_rows(op: BinaryOp, values: &mut [f64], (side, other): (Side, &[f64])) {
    let cells = values.iter_mut().zip(other);
    match (op, side) {
        (BinaryOp::Add, _) => cells.for_each(|(value, other)| *value += other),
        (BinaryOp::Mul, _) => cells.for_each(|(value, other)| *value *= other),
        (BinaryOp::Sub, Side::Right) => cells.for_each(|(value, other)| *value -= other),
        (BinaryOp::Sub, Side::Left) => cells.for_each(|(value, other)| *value = other - *value),
        (BinaryOp::Div, Side::Right) => cells.for_each(|(value, other)| *value /= other),
        (BinaryOp::Div, Side::Left) => cells.for_each(|(value, other)| *value = other / *value),
        (op, Side::Right) => {
            cells.for_each(|(value, other)| *value = arithmetic(op, *value, *other));
        }
        (op, Side::Left) => {
            cells.for_each(|(value, other)| *value = arithmetic(op, *other, *value));
        }
    }
}

type ComparedRows<'a> = (&'a mut [f64], &'a [f64], &'a mut [u64], bool);

fn compare_rows(
    (values, other, kept, return_bool): ComparedRows<'_>,
    holds: impl Fn(f64, f64) -> bool,
) {
    if return_bool {
        for (value, other) in values.iter_mut().zip(other) {
            *value = f64::from(u8::from(holds(*value, *other)));
        }
        return;
    }
    for ((values, other), kept) in values.chunks(64).zip(other.chunks(64)).zip(kept) {
        let mut held = 0;
        for (bit, (value, other)) in values.iter().zip(other).enumerate() {
            held |= u64::from(holds(*value, *other)) << bit;
        }
        *kept &= held;
    }
}

/// Returns the comparison that holds for `b` and `a` where `op` holds for `a` and `b`.
fn mirrored(op: BinaryOp) -> BinaryOp {
    match op {
        BinaryOp::Greater => BinaryOp::Less,
        BinaryOp::Less => BinaryOp::Greater,
        BinaryOp::GreaterEqual => BinaryOp::LessEqual,
        BinaryOp::LessEqual => BinaryOp::GreaterEqual,
        other => other,
    }
}

/// Returns whether a comparison holds; nothing for other operators.
pub(crate) fn compare(op: BinaryOp, a: f64, b: f64) -> Option<bool> {
    Some(match op {
        BinaryOp::Equal => a == b,
        BinaryOp::NotEqual => a != b,
        BinaryOp::Greater => a > b,
        BinaryOp::Less => a < b,
        BinaryOp::GreaterEqual => a >= b,
        BinaryOp::LessEqual => a <= b,
        BinaryOp::Add
        | BinaryOp::Sub
        | BinaryOp::Mul
        | BinaryOp::Div
        | BinaryOp::Mod
        | BinaryOp::Pow
        | BinaryOp::Atan2
        | BinaryOp::TrimUpper
        | BinaryOp::TrimLower
        | BinaryOp::And
        | BinaryOp::Or
        | BinaryOp::Unless => return None,
    })
}

/// Reports whether the operator makes another metric out of its operands, which then has no name.
pub(crate) fn drops_name(op: BinaryOp) -> bool {
    match op {
        BinaryOp::Add
        | BinaryOp::Sub
        | BinaryOp::Mul
        | BinaryOp::Div
        | BinaryOp::Mod
        | BinaryOp::Pow
        | BinaryOp::Atan2 => true,
        BinaryOp::Equal
        | BinaryOp::NotEqual
        | BinaryOp::Greater
        | BinaryOp::Less
        | BinaryOp::GreaterEqual
        | BinaryOp::LessEqual
        | BinaryOp::TrimUpper
        | BinaryOp::TrimLower
        | BinaryOp::And
        | BinaryOp::Or
        | BinaryOp::Unless => false,
    }
}

/// Orders two values for `sort` and `sort_desc`.
pub(crate) fn sort_order(descending: bool) -> fn(f64, f64) -> std::cmp::Ordering {
    if descending {
        order::descending_nan_last
    } else {
        order::nan_last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_compute() {
        for (op, a, b, expected) in [
            (BinaryOp::Add, 1.0, 2.0, 3.0),
            (BinaryOp::Mod, -5.0, 3.0, -2.0),
            (BinaryOp::Pow, 2.0, 10.0, 1024.0),
            (BinaryOp::Div, 1.0, 0.0, f64::INFINITY),
            (BinaryOp::Less, 1.0, 2.0, 1.0),
            (BinaryOp::GreaterEqual, 1.0, 2.0, 0.0),
            (BinaryOp::NotEqual, f64::NAN, f64::NAN, 1.0),
        ] {
            assert_eq!(scalar_binop(op, a, b), expected, "{a} {op} {b}");
        }
    }

    #[test]
    fn rows_are_combined_like_their_cells() {
        let a = [1.0, 2.0, 3.0, f64::NAN, -0.0];
        let b = [1.0, 3.0, 2.0, f64::NAN, 0.0];
        for op in [
            BinaryOp::Add,
            BinaryOp::Sub,
            BinaryOp::Mul,
            BinaryOp::Div,
            BinaryOp::Mod,
            BinaryOp::Pow,
            BinaryOp::Atan2,
            BinaryOp::Equal,
            BinaryOp::NotEqual,
            BinaryOp::Greater,
            BinaryOp::Less,
            BinaryOp::GreaterEqual,
            BinaryOp::LessEqual,
        ] {
            for side in [Side::Left, Side::Right] {
                let mut values = a;
                let mut kept = [0b11111];
                combine_rows(op, false, &mut values, (side, &b), &mut kept);
                let mut bools = a;
                combine_rows(op, true, &mut bools, (side, &b), &mut [0]);
                for step in 0..a.len() {
                    let (lhs, rhs) = match side {
                        Side::Left => (b[step], a[step]),
                        Side::Right => (a[step], b[step]),
                    };
                    let expected = scalar_binop(op, lhs, rhs);
                    assert_eq!(
                        bools[step].to_bits(),
                        expected.to_bits(),
                        "{lhs} {op} {rhs}"
                    );
                    if compare(op, lhs, rhs).is_some() {
                        assert_eq!(values[step].to_bits(), a[step].to_bits());
                        assert_eq!(kept[0] >> step & 1 == 1, expected == 1.0);
                    }
                }
            }
        }
    }
}
