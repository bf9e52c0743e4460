//! The expression tree as JSON, for pages that draw it: what `parse_query` answers.
//!
//! The members of every object are in the order of their names, as Go writes maps. Source: Prometheus
//! `web/api/v1/translate_ast.go`. Written without an intermediate tree, so that the stack that a level takes is
//! small: the depth of an expression is bounded by the parser alone.

use std::sync::Arc;

use thanos_core::labels::MatchOp;
use thanos_core::text::{FloatFormat, push_float};

use crate::json::{write_string, write_strings};
use crate::parser::ast::{
    AggregateExpr, AtModifier, BinaryExpr, Call, DurationExpr, DurationKind, DurationValue, Expr,
    Grouping, LabelMatcher, MatrixSelector, RangeExtension, SubqueryExpr, TimeShift,
    VectorMatching, VectorSelector,
};
use crate::parser::functions::Arity;

/// Writes `expr` as JSON.
pub(super) fn write_expr(out: &mut Vec<u8>, expr: &Expr) {
    match expr {
        Expr::Aggregate(node) => write_aggregate(out, node),
        Expr::Binary(node) => write_binary(out, node),
        Expr::Call(node) => write_call(out, node),
        Expr::Matrix(node) => write_matrix(out, node),
        Expr::Number(node) => write_number(out, node.value, None),
        Expr::Paren(node) => {
            put(out, "{\"expr\":");
            write_expr(out, &node.expr);
            put(out, ",\"type\":\"parenExpr\"}");
        }
        Expr::String(node) => {
            put(out, "{\"type\":\"stringLiteral\",\"val\":");
            write_string(out, &node.value);
            put(out, "}");
        }
        Expr::Subquery(node) => write_subquery(out, node),
        Expr::Unary(node) => {
            put(out, "{\"expr\":");
            write_expr(out, &node.expr);
            put(out, ",\"op\":");
            write_string(out, node.op.as_str());
            put(out, ",\"type\":\"unaryExpr\"}");
        }
        Expr::Vector(node) => write_vector(out, node),
    }
}

fn write_aggregate(out: &mut Vec<u8>, node: &AggregateExpr) {
    put(out, "{\"expr\":");
    write_expr(out, &node.expr);
    put(out, ",\"grouping\":");
    write_names(out, &node.labels);
    put(out, ",\"op\":");
    write_string(out, node.op.as_str());
    put(out, ",\"param\":");
    match &node.param {
        Some(param) => write_expr(out, param),
        None => put(out, "null"),
    }
    put(out, ",\"type\":\"aggregation\",\"without\":");
    write_bool(out, node.grouping == Grouping::Without);
    put(out, "}");
}

fn write_binary(out: &mut Vec<u8>, node: &BinaryExpr) {
    put(out, "{\"bool\":");
    write_bool(out, node.return_bool);
    put(out, ",\"lhs\":");
    write_expr(out, &node.lhs);
    put(out, ",\"matching\":");
    match &node.matching {
        Some(matching) => write_matching(out, matching),
        None => put(out, "null"),
    }
    put(out, ",\"op\":");
    write_string(out, node.op.as_str());
    put(out, ",\"rhs\":");
    write_expr(out, &node.rhs);
    put(out, ",\"type\":\"binaryExpr\"}");
}

fn write_matching(out: &mut Vec<u8>, matching: &VectorMatching) {
    put(out, "{\"card\":");
    write_string(out, matching.card.as_str());
    put(out, ",\"fillValues\":{\"lhs\":");
    write_fill(out, matching.fill_left);
    put(out, ",\"rhs\":");
    write_fill(out, matching.fill_right);
    put(out, "},\"include\":");
    write_names(out, &matching.include);
    put(out, ",\"labels\":");
    write_names(out, &matching.labels);
    put(out, ",\"on\":");
    write_bool(out, matching.on);
    put(out, "}");
}

fn write_fill(out: &mut Vec<u8>, value: Option<f64>) {
    match value.filter(|value| value.is_finite()) {
        Some(value) => push_float(out, value, FloatFormat::Json),
        // JSON has no number for the rest, and Prometheus fails to answer.
        None => put(out, "null"),
    }
}

fn write_call(out: &mut Vec<u8>, node: &Call) {
    put(out, "{\"args\":[");
    for (i, argument) in node.args.iter().enumerate() {
        if i > 0 {
            put(out, ",");
        }
        write_expr(out, argument);
    }
    let func = node.func;
    put(out, "],\"func\":{\"argTypes\":");
    write_strings(out, func.arg_types.iter().map(|one| one.as_str()));
    put(out, ",\"name\":");
    write_string(out, func.name);
    put(out, ",\"returnType\":");
    write_string(out, func.return_type.as_str());
    put(out, ",\"variadic\":");
    let variadic = match func.arity {
        Arity::Exact => 0,
        Arity::UpTo(more) => i64::try_from(more).unwrap_or(i64::MAX),
        Arity::Unbounded => -1,
    };
    write_int(out, variadic);
    put(out, "},\"type\":\"call\"}");
}

fn write_vector(out: &mut Vec<u8>, node: &VectorSelector) {
    put(out, "{");
    write_selector(out, node, |_| ());
    put(out, ",\"type\":\"vectorSelector\"}");
}

fn write_matrix(out: &mut Vec<u8>, node: &MatrixSelector) {
    put(out, "{");
    write_selector(out, &node.selector, |out| {
        put(out, ",");
        write_duration(out, "range", Some(&node.range));
    });
    put(out, ",\"type\":\"matrixSelector\"}");
}

/// Writes the members of a selector; those that `range` writes have their place between the others.
fn write_selector(out: &mut Vec<u8>, node: &VectorSelector, range: impl Fn(&mut Vec<u8>)) {
    put(out, "\"anchored\":");
    write_bool(out, node.extension == Some(RangeExtension::Anchored));
    put(out, ",\"matchers\":");
    write_matchers(out, &node.matchers);
    put(out, ",\"name\":");
    write_string(out, node.name.as_deref().unwrap_or_default());
    put(out, ",");
    write_duration(out, "offset", node.shift.offset.as_ref());
    range(out);
    put(out, ",\"smoothed\":");
    write_bool(out, node.extension == Some(RangeExtension::Smoothed));
    write_at(out, &node.shift, "");
}

fn write_subquery(out: &mut Vec<u8>, node: &SubqueryExpr) {
    put(out, "{\"expr\":");
    write_expr(out, &node.expr);
    put(out, ",");
    write_duration(out, "offset", node.shift.offset.as_ref());
    put(out, ",");
    write_duration(out, "range", Some(&node.range));
    // The step stands between the two members of `@`.
    let mut step = Vec::new();
    put(&mut step, ",");
    write_duration(&mut step, "step", node.step.as_ref());
    write_at(out, &node.shift, &String::from_utf8_lossy(&step));
    put(out, ",\"type\":\"subquery\"}");
}

/// Writes `@`, with `between` its two members.
fn write_at(out: &mut Vec<u8>, shift: &TimeShift, between: &str) {
    put(out, ",\"startOrEnd\":");
    put(
        out,
        match shift.at {
            Some(AtModifier::Start) => "\"start\"",
            Some(AtModifier::End) => "\"end\"",
            Some(AtModifier::Timestamp(_)) | None => "null",
        },
    );
    put(out, between);
    put(out, ",\"timestamp\":");
    match shift.at {
        Some(AtModifier::Timestamp(time)) => write_int(out, time.as_millis()),
        Some(AtModifier::Start | AtModifier::End) | None => put(out, "null"),
    }
}

/// Writes the milliseconds of a duration, and the expression that it is.
fn write_duration(out: &mut Vec<u8>, name: &str, value: Option<&DurationValue>) {
    let (ms, expr) = match value {
        None => (0, None),
        Some(DurationValue::Millis(ms)) => (*ms, None),
        Some(DurationValue::Expr(expr)) => (0, Some(expr)),
    };
    put(out, "\"");
    put(out, name);
    put(out, "\":");
    write_int(out, ms);
    put(out, ",\"");
    put(out, name);
    put(out, "Expr\":");
    match expr {
        Some(expr) => write_duration_expr(out, expr, Wrapped::No),
        None => put(out, "null"),
    }
}

/// Whether a duration expression stands in parentheses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wrapped {
    No,
    Yes,
}

fn write_duration_expr(out: &mut Vec<u8>, expr: &DurationExpr, wrapped: Wrapped) {
    let (op, lhs, rhs): (_, Option<&Arc<DurationExpr>>, Option<&Arc<DurationExpr>>) =
        match &expr.kind {
            DurationKind::Number(number) if wrapped == Wrapped::No => {
                return write_number(out, number.value, Some(number.is_duration));
            }
            DurationKind::Paren(inner) => return write_duration_expr(out, inner, Wrapped::Yes),
            // Source: Prometheus `promql/parser/parse.go`, `wrapParenDurationExpr`: a number has no place to say
            // that it stands in parentheses, so it gets a sign that has.
            DurationKind::Number(number) => {
                put(out, "{\"lhs\":null,\"op\":\"+\",\"rhs\":");
                write_number(out, number.value, Some(number.is_duration));
                return put(out, ",\"type\":\"durationExpr\",\"wrapped\":true}");
            }
            DurationKind::Step => ("step", None, None),
            DurationKind::Range => ("range", None, None),
            DurationKind::Negate(operand) => ("-", None, Some(operand)),
            DurationKind::Binary { op, lhs, rhs } => (op.as_str(), Some(lhs), Some(rhs)),
        };
    put(out, "{\"lhs\":");
    write_operand(out, lhs);
    put(out, ",\"op\":");
    write_string(out, op);
    put(out, ",\"rhs\":");
    write_operand(out, rhs);
    put(out, ",\"type\":\"durationExpr\",\"wrapped\":");
    write_bool(out, wrapped == Wrapped::Yes);
    put(out, "}");
}

fn write_operand(out: &mut Vec<u8>, operand: Option<&Arc<DurationExpr>>) {
    match operand {
        Some(operand) => write_duration_expr(out, operand, Wrapped::No),
        None => put(out, "null"),
    }
}

/// Writes a number; only those in durations say whether they were written as one.
fn write_number(out: &mut Vec<u8>, value: f64, is_duration: Option<bool>) {
    put(out, "{");
    if let Some(is_duration) = is_duration {
        put(out, "\"duration\":");
        write_bool(out, is_duration);
        put(out, ",");
    }
    put(out, "\"type\":\"numberLiteral\",\"val\":\"");
    push_float(out, value, FloatFormat::Fixed);
    put(out, "\"}");
}

fn write_matchers(out: &mut Vec<u8>, matchers: &[LabelMatcher]) {
    put(out, "[");
    for (i, matcher) in matchers.iter().enumerate() {
        put(out, if i > 0 { ",{\"name\":" } else { "{\"name\":" });
        write_string(out, &matcher.name);
        put(out, ",\"type\":");
        let op = match matcher.op {
            MatchOp::Equal => "=",
            MatchOp::NotEqual => "!=",
            MatchOp::Regex => "=~",
            MatchOp::NotRegex => "!~",
        };
        write_string(out, op);
        put(out, ",\"value\":");
        write_string(out, &matcher.value);
        put(out, "}");
    }
    put(out, "]");
}

fn write_names(out: &mut Vec<u8>, names: &[Arc<str>]) {
    write_strings(out, names.iter().map(|name| &**name));
}

fn write_bool(out: &mut Vec<u8>, value: bool) {
    put(out, if value { "true" } else { "false" });
}

fn write_int(out: &mut Vec<u8>, value: i64) {
    put(out, itoa::Buffer::new().format(value));
}

fn put(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
}
