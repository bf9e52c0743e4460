//! From a part of the plan back to an expression, for engines elsewhere. Everything that depends on the times of the
//! query is settled in a plan: `@ end()` is a time, the step of a subquery is written.

use std::sync::Arc;

use thanos_core::labels::{METRIC_NAME, MatchOp, Matcher};
use thanos_core::time::Timestamp;

use super::{Aggregate, Binary, Kind, Node, Plan, Selector};
use crate::exec::select::Shift;
use crate::parser::Span;
use crate::parser::UnaryOp;
use crate::parser::ast::{
    AggregateExpr, AtModifier, BinaryExpr, Call, DurationValue, Expr, Grouping, LabelMatcher,
    MatrixSelector, NumberLiteral, StringLiteral, SubqueryExpr, TimeShift, UnaryExpr,
    VectorSelector,
};

const SPAN: Span = Span::new(0, 0);

/// Returns the expression of `node`, or `None` for a part that is evaluated elsewhere already.
pub(crate) fn unbuild(node: &Node) -> Option<Expr> {
    Some(match &node.kind {
        Kind::Number(value) => Expr::Number(Arc::new(NumberLiteral {
            value: *value,
            is_duration: false,
            span: SPAN,
        })),
        Kind::Text(value) => Expr::String(Arc::new(StringLiteral {
            value: Arc::clone(value),
            bytes: None,
            span: SPAN,
        })),
        Kind::Select(selector) => Expr::Vector(Arc::new(vector(selector))),
        Kind::Window(selector, range_ms) => Expr::Matrix(Arc::new(MatrixSelector {
            selector: Arc::new(vector(selector)),
            range: DurationValue::Millis(*range_ms),
            span: SPAN,
        })),
        Kind::Subquery(subquery) => Expr::Subquery(Arc::new(SubqueryExpr {
            expr: unbuild(&subquery.expr)?,
            range: DurationValue::Millis(subquery.range_ms),
            step: Some(DurationValue::Millis(subquery.step_ms)),
            shift: shift(subquery.shift),
            span: SPAN,
        })),
        Kind::Aggregate(node) => aggregate(node)?,
        Kind::Call(call) => Expr::Call(Arc::new(Call {
            func: call.func,
            args: all(&call.args)?,
            span: SPAN,
        })),
        Kind::Binary(node) => binary(node)?,
        Kind::Negate(inner) => Expr::Unary(Arc::new(UnaryExpr {
            op: UnaryOp::Minus,
            expr: unbuild(inner)?,
            span: SPAN,
        })),
        Kind::Invariant(inner) => unbuild(inner)?,
        Kind::Remote(_) => return None,
    })
}

fn all(plans: &[Plan]) -> Option<Vec<Expr>> {
    plans.iter().map(|plan| unbuild(plan)).collect()
}

fn aggregate(node: &Aggregate) -> Option<Expr> {
    let param = match &node.param {
        Some(param) => Some(unbuild(param)?),
        None => None,
    };
    Some(Expr::Aggregate(Arc::new(AggregateExpr {
        op: node.op,
        expr: unbuild(&node.expr)?,
        param,
        grouping: if node.by {
            Grouping::By
        } else {
            Grouping::Without
        },
        labels: node
            .labels
            .iter()
            .map(|label| label.as_str().into())
            .collect(),
        span: SPAN,
    })))
}

fn binary(node: &Binary) -> Option<Expr> {
    Some(Expr::Binary(Arc::new(BinaryExpr {
        op: node.op,
        lhs: unbuild(&node.lhs)?,
        rhs: unbuild(&node.rhs)?,
        matching: node.matching.clone(),
        return_bool: node.return_bool,
        span: SPAN,
    })))
}

fn vector(selector: &Selector) -> VectorSelector {
    let is_name = |matcher: &&Matcher| {
        matcher.name() == METRIC_NAME
            && matcher.op() == MatchOp::Equal
            && !matcher.value().is_empty()
    };
    let has_other_name = |matcher: &Matcher| matcher.name() == METRIC_NAME;
    let mut names = selector.matchers.iter().filter(|one| has_other_name(one));
    // A name stands in front only if it is the only condition on the name.
    let name = match (names.next().filter(is_name), names.next()) {
        (Some(name), None) => Some(name),
        _ => None,
    };
    let others = selector
        .matchers
        .iter()
        .filter(|matcher| name.is_none() || !has_other_name(matcher));
    VectorSelector {
        name: name.map(|matcher| matcher.value().into()),
        matchers: others.chain(name).map(label_matcher).collect(),
        shift: shift(selector.shift),
        extension: selector.extension,
        span: SPAN,
    }
}

fn label_matcher(matcher: &Matcher) -> LabelMatcher {
    LabelMatcher {
        name: matcher.name().into(),
        op: matcher.op(),
        value: matcher.value().into(),
    }
}

fn shift(shift: Shift) -> TimeShift {
    let at = shift.at_ms.map(Timestamp::from_millis);
    TimeShift {
        offset: (shift.offset_ms != 0).then_some(DurationValue::Millis(shift.offset_ms)),
        at: at.map(AtModifier::Timestamp),
    }
}
