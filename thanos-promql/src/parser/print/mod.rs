//! Expression trees to text, on one line as Prometheus prints them.
//!
//! The text of a parsed expression parses to the same tree, matchers aside, which are sorted. Trees that no text
//! has (a plan may build `(a + b) * c` without the parentheses) get the parentheses they need. Source:
//! Prometheus promql/parser/printer.go.

mod parens;
mod pretty;

use std::fmt::{self, Display, Formatter, Write};
use std::sync::Arc;

use thanos_core::labels::is_legacy_label_name;
use thanos_core::text::{FloatFormat, GoFloat, write_go_quoted};

use super::ast::{
    AggregateExpr, AtModifier, BinaryExpr, Call, Cardinality, DurationExpr, DurationKind,
    DurationOp, DurationValue, Expr, Grouping, LabelMatcher, MatrixSelector, NumberLiteral,
    RangeExtension, SubqueryExpr, TimeShift, VectorMatching, VectorSelector,
};
use super::literal::{quote, quote_bytes, write_duration_ms};
use super::token::word_kind;

impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Aggregate(node) => write_aggregate(f, node),
            Self::Binary(node) => write_binary(f, node),
            Self::Call(node) => write_call(f, node),
            Self::Matrix(node) => write_matrix(f, node),
            Self::Number(node) => write_number(f, node),
            Self::Paren(node) => write!(f, "({})", node.expr),
            Self::String(node) => match &node.bytes {
                Some(bytes) => f.write_str(&escape_replacement(quote_bytes(bytes))),
                None => write_string(f, &node.value),
            },
            Self::Subquery(node) => {
                write!(
                    f,
                    "{}{}",
                    parens::in_subquery(&node.expr),
                    SubqueryTimes(node)
                )
            }
            Self::Unary(node) => {
                write!(f, "{}{}", node.op.as_str(), parens::behind_sign(&node.expr))
            }
            Self::Vector(node) => write_vector(f, node),
        }
    }
}

fn write_aggregate(f: &mut Formatter<'_>, node: &AggregateExpr) -> fmt::Result {
    write!(f, "{}(", AggregateHead(node))?;
    if let Some(param) = &node.param {
        write!(f, "{param}, ")?;
    }
    write!(f, "{})", node.expr)
}

/// What stands before the arguments of an aggregation.
struct AggregateHead<'a>(&'a AggregateExpr);

impl Display for AggregateHead<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let node = self.0;
        f.write_str(node.op.as_str())?;
        match node.grouping {
            Grouping::By if node.labels.is_empty() => return Ok(()),
            Grouping::By => f.write_str(" by ")?,
            Grouping::Without => f.write_str(" without ")?,
        }
        write_labels(f, &node.labels)?;
        f.write_char(' ')
    }
}

fn write_binary(f: &mut Formatter<'_>, node: &BinaryExpr) -> fmt::Result {
    let lhs = parens::left_of(node.op, &node.lhs);
    let rhs = parens::right_of(node.op, &node.rhs);
    write!(f, "{lhs} {} {rhs}", Operator(node))
}

/// An operator with its modifiers.
struct Operator<'a>(&'a BinaryExpr);

impl Display for Operator<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.op.as_str())?;
        if self.0.return_bool {
            f.write_str(" bool")?;
        }
        match &self.0.matching {
            Some(matching) => write_matching(f, matching),
            None => Ok(()),
        }
    }
}

fn write_matching(f: &mut Formatter<'_>, matching: &VectorMatching) -> fmt::Result {
    let group = match matching.card {
        Cardinality::ManyToOne => Some(" group_left "),
        Cardinality::OneToMany => Some(" group_right "),
        Cardinality::OneToOne | Cardinality::ManyToMany => None,
    };
    if matching.on || !matching.labels.is_empty() || group.is_some() {
        f.write_str(if matching.on { " on " } else { " ignoring " })?;
        write_labels(f, &matching.labels)?;
    }
    if let Some(group) = group {
        f.write_str(group)?;
        write_labels(f, &matching.include)?;
    }
    match (matching.fill_left, matching.fill_right) {
        (Some(left), Some(right)) if left == right => write_fill(f, "fill", left),
        (left, right) => {
            left.map_or(Ok(()), |value| write_fill(f, "fill_left", value))?;
            right.map_or(Ok(()), |value| write_fill(f, "fill_right", value))
        }
    }
}

fn write_fill(f: &mut Formatter<'_>, name: &str, value: f64) -> fmt::Result {
    write!(f, " {name} ({})", GoFloat(value, FloatFormat::General))
}

/// Writes label names in parentheses.
fn write_labels(f: &mut Formatter<'_>, labels: &[Arc<str>]) -> fmt::Result {
    f.write_char('(')?;
    for (place, label) in labels.iter().enumerate() {
        if place > 0 {
            f.write_str(", ")?;
        }
        // A few words cannot stand for themselves.
        if is_legacy_label_name(label) && word_kind(label).is_label_name() {
            f.write_str(label)?;
        } else {
            write_string(f, label)?;
        }
    }
    f.write_char(')')
}

fn write_call(f: &mut Formatter<'_>, node: &Call) -> fmt::Result {
    write!(f, "{}(", node.func.name)?;
    for (place, argument) in node.args.iter().enumerate() {
        if place > 0 {
            f.write_str(", ")?;
        }
        write!(f, "{argument}")?;
    }
    f.write_char(')')
}

fn write_number(f: &mut Formatter<'_>, node: &NumberLiteral) -> fmt::Result {
    if !node.is_duration {
        return write!(f, "{}", GoFloat(node.value, FloatFormat::Fixed));
    }
    // Prometheus cuts to nanoseconds first and so prints 1001ms as 1s; rounding keeps the value.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "saturates; the parser refuses values out of range"
    )]
    let ms = (node.value * 1000.0).round() as i64;
    write_ms(f, ms)
}

fn write_ms(f: &mut Formatter<'_>, ms: i64) -> fmt::Result {
    if ms < 0 {
        f.write_char('-')?;
    }
    write_duration_ms(f, ms.unsigned_abs())
}

/// Writes a text in quotes.
fn write_string(f: &mut Formatter<'_>, text: &str) -> fmt::Result {
    if !text.contains(char::REPLACEMENT_CHARACTER) {
        return write_go_quoted(f, text);
    }
    f.write_str(&escape_replacement(quote(text)))
}

/// The language does not take U+FFFD as it is, though Go prints it so.
fn escape_replacement(quoted: String) -> String {
    quoted.replace(char::REPLACEMENT_CHARACTER, "\\ufffd")
}

impl Display for LabelMatcher {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if is_legacy_label_name(&self.name) {
            f.write_str(&self.name)?;
        } else {
            write_string(f, &self.name)?;
        }
        f.write_str(self.op.as_str())?;
        write_string(f, &self.value)
    }
}

fn write_vector(f: &mut Formatter<'_>, node: &VectorSelector) -> fmt::Result {
    write_selector(f, node)?;
    write_at(f, &node.shift)?;
    write_extension(f, node.extension)?;
    write_offset(f, &node.shift)
}

fn write_matrix(f: &mut Formatter<'_>, node: &MatrixSelector) -> fmt::Result {
    let selector = &node.selector;
    write_selector(f, selector)?;
    write!(f, "[{}]", node.range)?;
    write_extension(f, selector.extension)?;
    write_at(f, &selector.shift)?;
    write_offset(f, &selector.shift)
}

/// Writes name and braces.
fn write_selector(f: &mut Formatter<'_>, node: &VectorSelector) -> fmt::Result {
    let name = node.name.as_deref().filter(|name| is_plain_name(name));
    f.write_str(name.unwrap_or(""))?;
    let stands_for_name = |matcher: &LabelMatcher| {
        name.is_some_and(|name| {
            *matcher == LabelMatcher::name(name.into()) && !matcher.value.is_empty()
        })
    };
    let matchers = node.matchers.iter();
    let mut conditions: Vec<String> = matchers
        .filter(|matcher| !stands_for_name(matcher))
        .map(LabelMatcher::to_string)
        .collect();
    if conditions.is_empty() && name.is_some() {
        return Ok(());
    }
    conditions.sort_unstable();
    write!(f, "{{{}}}", conditions.join(","))
}

/// Reports whether a metric name can be written in front of the braces.
fn is_plain_name(name: &str) -> bool {
    let is_start = |byte: u8| byte == b'_' || byte == b':' || byte.is_ascii_alphabetic();
    name.bytes().next().is_some_and(is_start)
        && name
            .bytes()
            .all(|byte| is_start(byte) || byte.is_ascii_digit())
        && (name.contains(':') || word_kind(name).is_metric_name())
}

fn write_extension(f: &mut Formatter<'_>, extension: Option<RangeExtension>) -> fmt::Result {
    extension.map_or(Ok(()), |extension| write!(f, " {}", extension.as_str()))
}

fn write_at(f: &mut Formatter<'_>, shift: &TimeShift) -> fmt::Result {
    match shift.at {
        None => Ok(()),
        Some(AtModifier::Start) => f.write_str(" @ start()"),
        Some(AtModifier::End) => f.write_str(" @ end()"),
        Some(AtModifier::Timestamp(time)) => {
            let ms = time.as_millis();
            let sign = if ms < 0 { "-" } else { "" };
            let ms = ms.unsigned_abs();
            write!(f, " @ {sign}{}.{:03}", ms / 1000, ms % 1000)
        }
    }
}

fn write_offset(f: &mut Formatter<'_>, shift: &TimeShift) -> fmt::Result {
    match &shift.offset {
        None => Ok(()),
        Some(DurationValue::Expr(expr)) if parens::offset_ends_early(expr) => {
            write!(f, " offset ({expr})")
        }
        Some(offset) => write!(f, " offset {offset}"),
    }
}

/// The brackets and modifiers of a subquery.
struct SubqueryTimes<'a>(&'a SubqueryExpr);

impl Display for SubqueryTimes<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let node = self.0;
        // COMPAT: the language takes a colon only behind a number, even behind step() and range(), unless some
        // number came before; that is a matter of the query, not of the printer.
        write!(f, "[{}:", node.range)?;
        if let Some(step) = &node.step {
            write!(f, "{step}")?;
        }
        f.write_char(']')?;
        write_at(f, &node.shift)?;
        write_offset(f, &node.shift)
    }
}

impl Display for DurationValue {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Millis(ms) => write_ms(f, *ms),
            Self::Expr(expr) => expr.fmt(f),
        }
    }
}

impl Display for DurationExpr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.kind {
            DurationKind::Number(number) => write_number(f, number),
            DurationKind::Step => f.write_str("step()"),
            DurationKind::Range => f.write_str("range()"),
            DurationKind::Negate(operand) => {
                f.write_char('-')?;
                write_duration_operand(f, operand, parens::duration_behind_sign(operand))
            }
            DurationKind::Paren(inner) => write!(f, "({inner})"),
            DurationKind::Binary { op, lhs, rhs } => match op {
                DurationOp::MinOf | DurationOp::MaxOf => {
                    write!(f, "{}({lhs}, {rhs})", op.as_str())
                }
                DurationOp::Add
                | DurationOp::Sub
                | DurationOp::Mul
                | DurationOp::Div
                | DurationOp::Mod
                | DurationOp::Pow => {
                    write_duration_operand(f, lhs, parens::duration_left_of(*op, lhs))?;
                    write!(f, " {} ", op.as_str())?;
                    write_duration_operand(f, rhs, parens::duration_right_of(*op, rhs))
                }
            },
        }
    }
}

fn write_duration_operand(
    f: &mut Formatter<'_>,
    operand: &DurationExpr,
    needs_parens: bool,
) -> fmt::Result {
    if needs_parens {
        write!(f, "({operand})")
    } else {
        operand.fmt(f)
    }
}
