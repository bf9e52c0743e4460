//! What operators do to two numbers.

use super::bits;
use crate::functions::order;
use crate::parser::BinaryOp;

/// Returns `a op b` of two scalars; comparisons give 0 or 1.
pub(crate) fn scalar_binop(op: BinaryOp, a: f64, b: f64) -> f64 {
    match compare(op, a, b) {
        Some(holds) => f64::from(u8::from(holds)),
        None => arithmetic(op, a, b),
    }
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

/// Computes `a op b` for whole rows into `out`; a comparison that filters clears bits of `kept`.
pub(crate) fn join_rows(
    op: BinaryOp,
    return_bool: bool,
    (a, b): (&[f64], &[f64]),
    out: &mut [f64],
    kept: &mut [u64],
) {
    let cells = out.iter_mut().zip(a).zip(b);
    // The common operators get loops of their own, which the compiler can vectorise.
    match op {
        BinaryOp::Add => cells.for_each(|((out, a), b)| *out = a + b),
        BinaryOp::Sub => cells.for_each(|((out, a), b)| *out = a - b),
        BinaryOp::Mul => cells.for_each(|((out, a), b)| *out = a * b),
        BinaryOp::Div => cells.for_each(|((out, a), b)| *out = a / b),
        other => {
            for (step, ((out, a), b)) in cells.enumerate() {
                match compare(other, *a, *b) {
                    None => *out = arithmetic(other, *a, *b),
                    Some(holds) if return_bool => *out = f64::from(u8::from(holds)),
                    Some(true) => *out = *a,
                    Some(false) => bits::clear(kept, step),
                }
            }
        }
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
}
