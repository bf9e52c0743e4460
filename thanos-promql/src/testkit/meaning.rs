//! What an expression means, as text: two trees with the same meaning evaluate alike.

use crate::parser::Expr;
use crate::parser::ast::{DurationExpr, DurationKind, DurationValue, TimeShift, VectorSelector};

/// Writes everything that a tree means: all but places, parentheses and the order of conditions.
pub fn meaning(expr: &Expr) -> String {
    match expr {
        Expr::Aggregate(node) => format!(
            "{:?}({:?} {:?} {} {:?})",
            node.op,
            node.grouping,
            node.labels,
            meaning(&node.expr),
            node.param.as_ref().map(meaning)
        ),
        Expr::Binary(node) => format!(
            "{:?}({} {:?} {} {})",
            node.op,
            node.return_bool,
            node.matching,
            meaning(&node.lhs),
            meaning(&node.rhs)
        ),
        Expr::Call(node) => {
            let args: Vec<_> = node.args.iter().map(meaning).collect();
            format!("{:?}({args:?})", node.func.id)
        }
        Expr::Matrix(node) => format!(
            "{}[{}]",
            selector_meaning(&node.selector),
            duration_meaning(&node.range)
        ),
        Expr::Number(node) => format!("{:?} {}", node.value, node.is_duration),
        Expr::Paren(node) => meaning(&node.expr),
        Expr::String(node) => format!("{:?} {:?}", node.value, node.bytes),
        Expr::Subquery(node) => format!(
            "{}[{}:{:?}]{}",
            meaning(&node.expr),
            duration_meaning(&node.range),
            node.step.as_ref().map(duration_meaning),
            shift_meaning(&node.shift)
        ),
        Expr::Unary(node) => format!("{:?}{}", node.op, meaning(&node.expr)),
        Expr::Vector(node) => selector_meaning(node),
    }
}

fn selector_meaning(node: &VectorSelector) -> String {
    let mut matchers: Vec<_> = node.matchers.iter().map(|m| format!("{m:?}")).collect();
    matchers.sort();
    let shift = shift_meaning(&node.shift);
    format!("{:?}{matchers:?}{:?}{shift}", node.name, node.extension)
}

fn shift_meaning(shift: &TimeShift) -> String {
    let offset = shift.offset.as_ref().map(duration_meaning);
    format!("{offset:?}{:?}", shift.at)
}

fn duration_meaning(duration: &DurationValue) -> String {
    match duration {
        DurationValue::Millis(ms) => ms.to_string(),
        DurationValue::Expr(expr) => duration_expr_meaning(expr),
    }
}

fn duration_expr_meaning(expr: &DurationExpr) -> String {
    match &expr.kind {
        DurationKind::Number(number) => format!("{:?} {}", number.value, number.is_duration),
        DurationKind::Step => "step".to_owned(),
        DurationKind::Range => "range".to_owned(),
        DurationKind::Negate(operand) => format!("-{}", duration_expr_meaning(operand)),
        DurationKind::Paren(inner) => duration_expr_meaning(inner),
        DurationKind::Binary { op, lhs, rhs } => format!(
            "{op:?}({} {})",
            duration_expr_meaning(lhs),
            duration_expr_meaning(rhs)
        ),
    }
}
