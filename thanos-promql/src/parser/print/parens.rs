//! Where a tree needs parentheses that it does not have. Parsed trees never do.

use std::borrow::Cow;
use std::sync::Arc;

use crate::parser::ast::{
    DurationExpr, DurationKind, DurationOp, DurationValue, Expr, NumberLiteral, ParenExpr,
};
use crate::parser::ops::BinaryOp;

/// Returns `lhs` as it must be written in front of `op`.
pub(super) fn left_of(op: BinaryOp, lhs: &Expr) -> Cow<'_, Expr> {
    // An operator that durations have as well would become a part of an offset that starts with a parenthesis.
    let is_taken_by_offset = op.is_arithmetic() && ends_with_open_offset(lhs);
    wrap_if(
        lhs,
        is_taken_by_offset
            || match lhs {
                Expr::Binary(node) => {
                    let precedence = node.op.precedence();
                    precedence < op.precedence()
                        || (precedence == op.precedence() && op.is_right_associative())
                }
                // A sign binds less strongly than `^` alone.
                Expr::Unary(_) => op == BinaryOp::Pow,
                Expr::Number(number) => op == BinaryOp::Pow && is_printed_with_sign(number),
                _ => false,
            },
    )
}

/// Returns `rhs` as it must be written behind `op`.
pub(super) fn right_of(op: BinaryOp, rhs: &Expr) -> Cow<'_, Expr> {
    wrap_if(rhs, right_needs_parens(op, rhs))
}

fn right_needs_parens(op: BinaryOp, rhs: &Expr) -> bool {
    matches!(rhs, Expr::Binary(node)
        if node.op.precedence() < op.precedence()
            || (node.op.precedence() == op.precedence() && !op.is_right_associative()))
}

/// Returns `operand` as it must be written behind a sign.
pub(super) fn behind_sign(operand: &Expr) -> Cow<'_, Expr> {
    wrap_if(operand, sign_needs_parens(operand))
}

fn sign_needs_parens(operand: &Expr) -> bool {
    match operand {
        Expr::Binary(node) => node.op != BinaryOp::Pow,
        // Parsing would make the sign a part of the number.
        Expr::Number(_) => true,
        _ => false,
    }
}

/// Returns `inner` as it must be written in front of the brackets of a subquery.
pub(super) fn in_subquery(inner: &Expr) -> Cow<'_, Expr> {
    wrap_if(
        inner,
        match inner {
            Expr::Binary(_) | Expr::Unary(_) => true,
            Expr::Number(number) => is_printed_with_sign(number),
            _ => false,
        },
    )
}

/// Reports whether the text of `expr` ends with an offset that goes on behind a closing parenthesis.
fn ends_with_open_offset(expr: &Expr) -> bool {
    let shift = match expr {
        Expr::Binary(node) => {
            return !right_needs_parens(node.op, &node.rhs) && ends_with_open_offset(&node.rhs);
        }
        Expr::Unary(node) => {
            return !sign_needs_parens(&node.expr) && ends_with_open_offset(&node.expr);
        }
        Expr::Matrix(node) => &node.selector.shift,
        Expr::Subquery(node) => &node.shift,
        Expr::Vector(node) => &node.shift,
        Expr::Aggregate(_) | Expr::Call(_) | Expr::Number(_) | Expr::Paren(_) | Expr::String(_) => {
            return false;
        }
    };
    match &shift.offset {
        None | Some(DurationValue::Millis(_)) => false,
        Some(DurationValue::Expr(expr)) => {
            offset_ends_early(expr)
                || match &expr.kind {
                    DurationKind::Paren(_) => true,
                    DurationKind::Binary { op, .. } => duration_precedence(*op) < u8::MAX,
                    DurationKind::Number(_)
                    | DurationKind::Step
                    | DurationKind::Range
                    | DurationKind::Negate(_) => false,
                }
        }
    }
}

fn wrap_if(expr: &Expr, is_needed: bool) -> Cow<'_, Expr> {
    if is_needed {
        Cow::Owned(Expr::Paren(Arc::new(ParenExpr {
            expr: expr.clone(),
            span: expr.span(),
        })))
    } else {
        Cow::Borrowed(expr)
    }
}

fn is_printed_with_sign(number: &NumberLiteral) -> bool {
    number.value.is_sign_negative() && !number.value.is_nan() || number.value.is_infinite()
}

fn duration_precedence(op: DurationOp) -> u8 {
    match op {
        DurationOp::Add | DurationOp::Sub => BinaryOp::Add.precedence(),
        DurationOp::Mul | DurationOp::Div | DurationOp::Mod => BinaryOp::Mul.precedence(),
        DurationOp::Pow => BinaryOp::Pow.precedence(),
        // Functions bring their own parentheses.
        DurationOp::MinOf | DurationOp::MaxOf => u8::MAX,
    }
}

pub(super) fn duration_left_of(op: DurationOp, lhs: &DurationExpr) -> bool {
    match &lhs.kind {
        DurationKind::Binary { op: inner, .. } => {
            let (inner, outer) = (duration_precedence(*inner), duration_precedence(op));
            inner < outer || (inner == outer && op == DurationOp::Pow)
        }
        DurationKind::Negate(_) => op == DurationOp::Pow,
        DurationKind::Number(number) => op == DurationOp::Pow && is_printed_with_sign(number),
        DurationKind::Step | DurationKind::Range | DurationKind::Paren(_) => false,
    }
}

pub(super) fn duration_right_of(op: DurationOp, rhs: &DurationExpr) -> bool {
    matches!(&rhs.kind, DurationKind::Binary { op: inner, .. }
        if duration_precedence(*inner) < duration_precedence(op)
            || (duration_precedence(*inner) == duration_precedence(op) && op != DurationOp::Pow))
}

pub(super) fn duration_behind_sign(operand: &DurationExpr) -> bool {
    match &operand.kind {
        DurationKind::Binary { op, .. } => duration_precedence(*op) < BinaryOp::Pow.precedence(),
        DurationKind::Number(_) => true,
        DurationKind::Negate(_)
        | DurationKind::Step
        | DurationKind::Range
        | DurationKind::Paren(_) => false,
    }
}

/// Reports whether `offset` would take only a part of the expression.
pub(super) fn offset_ends_early(offset: &DurationExpr) -> bool {
    match &offset.kind {
        DurationKind::Number(_)
        | DurationKind::Step
        | DurationKind::Range
        | DurationKind::Paren(_) => false,
        DurationKind::Negate(operand) => match &operand.kind {
            DurationKind::Binary { op, .. } => duration_precedence(*op) < u8::MAX,
            // A number gets parentheses of its own.
            DurationKind::Number(_)
            | DurationKind::Step
            | DurationKind::Range
            | DurationKind::Paren(_) => false,
            // Two signs: the rest is read like in brackets, but starting with a sign.
            DurationKind::Negate(_) => true,
        },
        DurationKind::Binary { op, lhs, .. } => {
            duration_precedence(*op) < u8::MAX && !starts_with_paren(*op, lhs)
        }
    }
}

fn starts_with_paren(op: DurationOp, lhs: &DurationExpr) -> bool {
    if duration_left_of(op, lhs) {
        return true;
    }
    match &lhs.kind {
        DurationKind::Paren(_) => true,
        DurationKind::Binary { op, lhs, .. } => {
            duration_precedence(*op) < u8::MAX && starts_with_paren(*op, lhs)
        }
        DurationKind::Number(_)
        | DurationKind::Step
        | DurationKind::Range
        | DurationKind::Negate(_) => false,
    }
}
