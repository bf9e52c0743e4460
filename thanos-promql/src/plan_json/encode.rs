//! Writes plans.

use thanos_core::labels::MatchOp;
use thanos_core::text::{FloatFormat, push_float};

use crate::json::{write_string, write_strings};
use crate::parser::ast::{
    AggregateExpr, AtModifier, BinaryExpr, Call, Cardinality, DurationValue, Expr, Grouping,
    LabelMatcher, MatrixSelector, RangeExtension, SubqueryExpr, TimeShift, VectorMatching,
    VectorSelector,
};
use crate::parser::functions::{Arity, Availability};

/// The nanoseconds of a millisecond: durations of Go.
const NANOS: i64 = 1_000_000;

/// Returns the plan of `expr`, or `None` where it depends on the times of the query (`@ end()`, `[5m + step()]`):
/// whoever evaluates a part of a query over other times would take it for something else.
///
/// # Example
///
/// ```
/// use thanos_promql::parser::{Options, parse};
/// use thanos_promql::plan_json::encode;
///
/// let plan = |text| encode(&parse(text, &Options::default()).unwrap());
/// assert!(plan("-1 + 2").unwrap().starts_with(br#"{"type":"binary","data":{"Op":"+""#));
/// assert_eq!(plan("up @ end()"), None);
/// ```
pub fn encode(expr: &Expr) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    write(&mut out, expr)?;
    Some(out)
}

fn write(out: &mut Vec<u8>, expr: &Expr) -> Option<()> {
    match expr {
        Expr::Aggregate(node) => write_aggregate(out, node),
        Expr::Binary(node) => write_binary(out, node),
        Expr::Call(node) => write_call(out, node),
        Expr::Matrix(node) => write_matrix(out, node),
        Expr::Number(node) => {
            open(out, "number_literal");
            if node.value.is_finite() {
                put(out, "{\"Val\":");
                push_float(out, node.value, FloatFormat::Json);
                put(out, "}");
            } else if node.value.is_nan() {
                put(out, "\"NaN\"");
            } else if node.value > 0.0 {
                put(out, "\"+Inf\"");
            } else {
                put(out, "\"-Inf\"");
            }
            close(out, &[])
        }
        Expr::Paren(node) => {
            open(out, "parens");
            put(out, "{}");
            close(out, &[&node.expr])
        }
        // JSON has no way to say other bytes than text.
        Expr::String(node) if node.bytes.is_some() => None,
        Expr::String(node) => {
            open(out, "string_literal");
            put(out, "{\"Val\":");
            write_string(out, &node.value);
            put(out, "}");
            close(out, &[])
        }
        Expr::Subquery(node) => write_subquery(out, node),
        Expr::Unary(node) => {
            open(out, "unary");
            put(out, "{\"Op\":");
            write_string(out, node.op.as_str());
            put(out, "}");
            close(out, &[&node.expr])
        }
        Expr::Vector(node) => write_vector(out, node),
    }
}

fn open(out: &mut Vec<u8>, kind: &str) {
    put(out, "{\"type\":");
    write_string(out, kind);
    put(out, ",\"data\":");
}

fn close(out: &mut Vec<u8>, children: &[&Expr]) -> Option<()> {
    for (i, child) in children.iter().enumerate() {
        put(out, if i == 0 { ",\"children\":[" } else { "," });
        write(out, child)?;
    }
    put(out, if children.is_empty() { "}" } else { "]}" });
    Some(())
}

fn write_aggregate(out: &mut Vec<u8>, node: &AggregateExpr) -> Option<()> {
    open(out, "aggregation");
    put(out, "{\"Op\":");
    write_string(out, node.op.as_str());
    put(out, ",\"Grouping\":");
    write_strings(out, node.labels.iter().map(|label| &**label));
    put(out, ",\"Without\":");
    write_bool(out, node.grouping == Grouping::Without);
    put(out, "}");
    let children: Vec<&Expr> = [&node.expr].into_iter().chain(&node.param).collect();
    close(out, &children)
}

fn write_binary(out: &mut Vec<u8>, node: &BinaryExpr) -> Option<()> {
    open(out, "binary");
    put(out, "{\"Op\":");
    write_string(out, node.op.as_str());
    put(out, ",\"VectorMatching\":");
    match &node.matching {
        Some(matching) => write_matching(out, matching),
        None => put(out, "null"),
    }
    put(out, ",\"ReturnBool\":");
    write_bool(out, node.return_bool);
    put(out, ",\"ValueType\":\"\"}");
    close(out, &[&node.lhs, &node.rhs])
}

fn write_matching(out: &mut Vec<u8>, matching: &VectorMatching) {
    let card = match matching.card {
        Cardinality::OneToOne => 0,
        Cardinality::ManyToOne => 1,
        Cardinality::OneToMany => 2,
        Cardinality::ManyToMany => 3,
    };
    put(out, "{\"Card\":");
    write_int(out, card);
    put(out, ",\"MatchingLabels\":");
    write_strings(out, matching.labels.iter().map(|label| &**label));
    put(out, ",\"On\":");
    write_bool(out, matching.on);
    put(out, ",\"Include\":");
    write_strings(out, matching.include.iter().map(|label| &**label));
    if matching.fill_left.is_some() || matching.fill_right.is_some() {
        put(out, ",\"FillValues\":{\"RHS\":");
        write_fill(out, matching.fill_right);
        put(out, ",\"LHS\":");
        write_fill(out, matching.fill_left);
        put(out, "}");
    }
    put(out, "}");
}

/// Numbers that JSON does not have are written as texts, which a Go peer refuses, so that it takes the query text.
fn write_fill(out: &mut Vec<u8>, value: Option<f64>) {
    match value {
        None => put(out, "null"),
        Some(value) if value.is_finite() => push_float(out, value, FloatFormat::Json),
        Some(value) => {
            let mut text = Vec::new();
            push_float(&mut text, value, FloatFormat::General);
            write_string(out, &String::from_utf8_lossy(&text));
        }
    }
}

fn write_call(out: &mut Vec<u8>, node: &Call) -> Option<()> {
    let func = node.func;
    open(out, "function");
    put(out, "{\"Func\":{\"Name\":");
    write_string(out, func.name);
    put(out, ",\"ArgTypes\":");
    write_strings(out, func.arg_types.iter().map(|one| one.as_str()));
    put(out, ",\"Variadic\":");
    write_int(
        out,
        match func.arity {
            Arity::Exact => 0,
            Arity::UpTo(more) => i64::try_from(more).unwrap_or(i64::MAX),
            Arity::Unbounded => -1,
        },
    );
    put(out, ",\"ReturnType\":");
    write_string(out, func.return_type.as_str());
    put(out, ",\"Experimental\":");
    write_bool(out, func.availability == Availability::Experimental);
    put(out, "}}");
    let children: Vec<&Expr> = node.args.iter().collect();
    close(out, &children)
}

fn write_matrix(out: &mut Vec<u8>, node: &MatrixSelector) -> Option<()> {
    open(out, "matrix_selector");
    put(out, "{\"Range\":");
    write_nanos(out, &node.range)?;
    put(out, ",\"OriginalString\":");
    let whole = Expr::Matrix(std::sync::Arc::new(node.clone()));
    write_string(out, &whole.to_string());
    put(out, "},\"children\":[");
    write_vector(out, &node.selector)?;
    put(out, "]}");
    Some(())
}

fn write_vector(out: &mut Vec<u8>, node: &VectorSelector) -> Option<()> {
    open(out, "vector_selector");
    put(out, "{\"Name\":");
    write_string(out, node.name.as_deref().unwrap_or_default());
    put(out, ",\"OriginalOffset\":");
    write_offset(out, &node.shift)?;
    put(out, ",\"OriginalOffsetExpr\":null,\"Offset\":");
    write_offset(out, &node.shift)?;
    put(out, ",\"Timestamp\":");
    write_timestamp(out, &node.shift)?;
    put(
        out,
        ",\"SkipHistogramBuckets\":false,\"StartOrEnd\":0,\"LabelMatchers\":[",
    );
    for (i, matcher) in node.matchers.iter().enumerate() {
        if i > 0 {
            put(out, ",");
        }
        write_matcher(out, matcher);
    }
    put(
        out,
        "],\"UnexpandedSeriesSet\":null,\"Series\":null,\"BypassEmptyMatcherCheck\":false,\"Anchored\":",
    );
    write_bool(out, node.extension == Some(RangeExtension::Anchored));
    put(out, ",\"Smoothed\":");
    write_bool(out, node.extension == Some(RangeExtension::Smoothed));
    put(out, ",\"PosRange\":{\"Start\":");
    write_int(out, i64::from(node.span.start));
    put(out, ",\"End\":");
    write_int(out, i64::from(node.span.end));
    put(
        out,
        "},\"Filters\":null,\"BatchSize\":0,\"SelectTimestamp\":false,\"Projection\":null,\
         \"DecodeNativeHistogramStats\":false}}",
    );
    Some(())
}

fn write_matcher(out: &mut Vec<u8>, matcher: &LabelMatcher) {
    let kind = match matcher.op {
        MatchOp::Equal => 0,
        MatchOp::NotEqual => 1,
        MatchOp::Regex => 2,
        MatchOp::NotRegex => 3,
    };
    put(out, "{\"Type\":");
    write_int(out, kind);
    put(out, ",\"Name\":");
    write_string(out, &matcher.name);
    put(out, ",\"Value\":");
    write_string(out, &matcher.value);
    put(out, "}");
}

fn write_subquery(out: &mut Vec<u8>, node: &SubqueryExpr) -> Option<()> {
    open(out, "subquery");
    put(out, "{\"Range\":");
    write_nanos(out, &node.range)?;
    put(out, ",\"OriginalOffset\":");
    write_offset(out, &node.shift)?;
    put(out, ",\"Offset\":");
    write_offset(out, &node.shift)?;
    put(out, ",\"Timestamp\":");
    write_timestamp(out, &node.shift)?;
    put(out, ",\"Step\":");
    match &node.step {
        Some(step) => write_nanos(out, step)?,
        None => put(out, "0"),
    }
    put(out, ",\"StartOrEnd\":\"\"}");
    close(out, &[&node.expr])
}

fn write_timestamp(out: &mut Vec<u8>, shift: &TimeShift) -> Option<()> {
    match shift.at {
        None => put(out, "null"),
        Some(AtModifier::Timestamp(time)) => write_int(out, time.as_millis()),
        Some(AtModifier::Start | AtModifier::End) => return None,
    }
    Some(())
}

fn write_offset(out: &mut Vec<u8>, shift: &TimeShift) -> Option<()> {
    match &shift.offset {
        Some(offset) => write_nanos(out, offset),
        None => {
            put(out, "0");
            Some(())
        }
    }
}

fn write_nanos(out: &mut Vec<u8>, value: &DurationValue) -> Option<()> {
    let DurationValue::Millis(ms) = value else {
        return None;
    };
    write_int(out, ms.checked_mul(NANOS)?);
    Some(())
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
