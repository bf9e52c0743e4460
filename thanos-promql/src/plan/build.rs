//! From the expression tree to the plan: parentheses go, `start()` and its kin become numbers, durations and
//! `@` become milliseconds, matchers are compiled.

use std::time::Duration;

use thanos_core::time::Timestamp;

use super::{Aggregate, Binary, Call, Kind, Node, Plan, Selector, Subquery};
use crate::error::{Error, ErrorKind, Result};
use crate::exec::samples::Detail;
use crate::exec::select::Shift;
use crate::functions::math::millis_to_secs;
use crate::parser::ast::{self, AtModifier, DurationValue, Expr, Grouping, TimeShift};
use crate::parser::{AggregateOp, FunctionId, ParseError, Span, UnaryOp};

/// The times of a query.
#[derive(Debug, Clone, Copy)]
pub(crate) struct QueryTimes {
    pub(crate) start: Timestamp,
    pub(crate) end: Timestamp,
    /// The distance of the steps, 0 for an instant query.
    pub(crate) step_ms: i64,
    /// The distance of the steps of a subquery that does not say.
    pub(crate) subquery_step_ms: i64,
    /// The levels that are left: every pass and every operator takes stack for each.
    pub(crate) levels_left: u32,
}

impl QueryTimes {
    fn one_level_down(&self) -> Result<Self> {
        let levels_left = self.levels_left.checked_sub(1).ok_or_else(|| {
            let text = "the query has more levels than the engine allows";
            Error::new(ErrorKind::LimitExceeded, text)
        })?;
        Ok(Self {
            levels_left,
            ..*self
        })
    }

    fn for_durations(&self) -> ast::QueryTimes {
        let duration = |ms: i64| Duration::from_millis(u64::try_from(ms).unwrap_or(0));
        ast::QueryTimes {
            step: duration(self.step_ms),
            range: duration(self.end - self.start),
        }
    }

    fn positive_millis(&self, value: &DurationValue) -> Result<i64> {
        let millis = value.positive_millis(self.for_durations());
        millis.map_err(|error| wrong_duration(&error))
    }

    fn millis(&self, value: &DurationValue) -> Result<i64> {
        let millis = value.millis(self.for_durations());
        millis.map_err(|error| wrong_duration(&error))
    }
}

/// COMPAT: the place is a byte range, unlike in all other messages (Prometheus promql/durations.go).
fn wrong_duration(error: &ParseError) -> Error {
    let (start, end) = (error.span.start, error.span.end);
    Error::invalid(format!("{start}:{end}: {}", error.message))
}

/// Returns the plan of `expr`.
pub(crate) fn build(expr: &Expr, times: &QueryTimes) -> Result<Plan> {
    let span = expr.span();
    let times = &times.one_level_down()?;
    let kind = match expr {
        Expr::Paren(node) => return build(&node.expr, times),
        Expr::Number(node) => Kind::Number(node.value),
        Expr::String(node) => Kind::Text(node.value.clone()),
        Expr::Unary(node) => {
            let inner = build(&node.expr, times)?;
            match node.op {
                UnaryOp::Plus => return Ok(inner),
                UnaryOp::Minus => Kind::Negate(inner),
            }
        }
        Expr::Vector(node) => Kind::Select(selector(node, times)?),
        Expr::Matrix(node) => {
            let range_ms = times.positive_millis(&node.range)?;
            Kind::Window(selector(&node.selector, times)?, range_ms)
        }
        Expr::Subquery(node) => Kind::Subquery(subquery(node, times)?),
        Expr::Aggregate(node) => Kind::Aggregate(aggregate(node, times)?),
        Expr::Call(node) => call(node, times)?,
        Expr::Binary(node) => Kind::Binary(Binary {
            op: node.op,
            lhs: build(&node.lhs, times)?,
            rhs: build(&node.rhs, times)?,
            matching: node.matching.clone(),
            return_bool: node.return_bool,
        }),
    };
    Ok(Node::new(kind, span))
}

fn aggregate(node: &ast::AggregateExpr, times: &QueryTimes) -> Result<Aggregate> {
    if let (AggregateOp::CountValues, Some(label)) = (node.op, &node.param)
        && not_text(label).is_some()
    {
        let label = label.without_parens();
        return Err(Error::execution(format!("invalid label name {label}")));
    }
    Ok(Aggregate {
        op: node.op,
        expr: build(&node.expr, times)?,
        param: node
            .param
            .as_ref()
            .map(|param| build(param, times))
            .transpose()?,
        by: node.grouping == Grouping::By,
        labels: node.labels.iter().map(ToString::to_string).collect(),
    })
}

/// Returns an argument that spells bytes which are not UTF-8.
fn not_text(argument: &Expr) -> Option<&ast::StringLiteral> {
    match argument.without_parens() {
        Expr::String(literal) if literal.bytes.is_some() => Some(literal),
        _ => None,
    }
}

/// Refuses names of labels that are not UTF-8; other texts may hold any bytes.
fn check_label_names(node: &ast::Call) -> Result<()> {
    for (at, argument) in node.args.iter().enumerate() {
        let role = match (node.func.id, at) {
            (FunctionId::LabelReplace | FunctionId::LabelJoin, 1) => "destination",
            (FunctionId::LabelJoin, 3..) => "source",
            _ => continue,
        };
        if let Some(literal) = not_text(argument) {
            let (function, name) = (node.func.name, &literal.value);
            return Err(Error::execution(format!(
                "invalid {role} label name in {function}(): {name}"
            )));
        }
    }
    Ok(())
}

fn call(node: &ast::Call, times: &QueryTimes) -> Result<Kind> {
    check_label_names(node)?;
    let range_ms = times.end - times.start;
    Ok(Kind::Number(match node.func.id {
        FunctionId::Start => millis_to_secs(times.start.as_millis()),
        FunctionId::End => millis_to_secs(times.end.as_millis()),
        FunctionId::Range => millis_to_secs(range_ms),
        FunctionId::Step if range_ms == 0 => 0.0,
        FunctionId::Step => millis_to_secs(times.step_ms),
        _ => {
            let args = node.args.iter().map(|arg| argument(node, arg, times));
            let args: Result<Vec<Plan>> = args.collect();
            return Ok(Kind::Call(Call {
                func: node.func,
                args: args?,
            }));
        }
    }))
}

/// Returns the plan of an argument.
fn argument(call: &ast::Call, argument: &Expr, times: &QueryTimes) -> Result<Plan> {
    let id = call.func.id;
    let asks_for_samples = matches!(id, FunctionId::Timestamp | FunctionId::StartTimestamp);
    match argument.without_parens() {
        // The sign makes it the time of the step, not of the sample. The value does not matter, so any sign does.
        Expr::Unary(signed) if asks_for_samples => {
            let inner = build(&signed.expr, times)?;
            Ok(Node::new(Kind::Negate(inner), signed.span))
        }
        _ => build(argument, times),
    }
}

fn subquery(node: &ast::SubqueryExpr, times: &QueryTimes) -> Result<Subquery> {
    // Of several wrong durations, the first in this order is told.
    let shift = shift(&node.shift, times)?;
    let step_ms = match &node.step {
        Some(step) => times.positive_millis(step)?,
        None => times.subquery_step_ms,
    };
    let range_ms = times.positive_millis(&node.range)?;
    Ok(Subquery {
        expr: build(&node.expr, times)?,
        range_ms,
        step_ms: step_ms.max(1),
        shift,
    })
}

fn selector(node: &ast::VectorSelector, times: &QueryTimes) -> Result<Selector> {
    let matchers = node
        .compile_matchers()
        .map_err(|error| Error::invalid(error.to_string()))?;
    Ok(Selector {
        matchers: matchers.into(),
        shift: shift(&node.shift, times)?,
        extension: node.extension,
        detail: Detail::Buckets,
    })
}

fn shift(node: &TimeShift, times: &QueryTimes) -> Result<Shift> {
    let at = match node.at {
        None => None,
        Some(AtModifier::Timestamp(time)) => Some(time),
        Some(AtModifier::Start) => Some(times.start),
        Some(AtModifier::End) => Some(times.end),
    };
    let offset_ms = match &node.offset {
        None => 0,
        Some(offset) => times.millis(offset)?,
    };
    Ok(Shift {
        at_ms: at.map(Timestamp::as_millis),
        offset_ms,
    })
}

/// Returns a node for a number, for passes.
pub(super) fn number(value: f64, span: Span) -> Plan {
    Node::new(Kind::Number(value), span)
}
