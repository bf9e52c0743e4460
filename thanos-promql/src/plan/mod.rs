//! The logical plan: what a query asks for, with times resolved and spans kept.
//!
//! [`build`] makes it from the expression tree, [`fold`] and [`invariant`] rewrite it, [`physical`] turns it
//! into operators. Nodes are shared and never changed: a pass returns new nodes for what it rewrites.

mod build;
pub(crate) mod distribute;
mod fold;
mod invariant;
pub(crate) mod physical;
pub(crate) mod profile;
mod propagate;
pub(crate) mod share;
mod statistics;
mod unbuild;

use std::sync::Arc;

use thanos_core::labels::Matcher;

use crate::exec::samples::Detail;
use crate::exec::select::Shift;
use crate::parser::ast::{RangeExtension, VectorMatching};
use crate::parser::{AggregateOp, BinaryOp, Function, Span, ValueType};

pub(crate) use build::{QueryTimes, build};
pub(crate) use distribute::{Remote, distribute};
pub(crate) use fold::fold;
#[cfg(any(test, feature = "testkit"))]
pub(crate) use invariant::depends_on_step;

/// A shared node of the plan.
pub(crate) type Plan = Arc<Node>;

/// A part of a query.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    /// Where it stands in the text.
    pub(crate) span: Span,
    /// What equal parts of a unified plan have in common.
    pub(crate) number: Option<usize>,
}

/// What a part of a query computes.
#[derive(Debug, Clone)]
pub(crate) enum Kind {
    Number(f64),
    Text(Arc<str>),
    /// The latest sample of each series.
    Select(Selector),
    /// The samples of a window.
    Window(Selector, i64),
    Subquery(Subquery),
    Aggregate(Aggregate),
    Call(Call),
    Binary(Binary),
    Negate(Plan),
    /// A part that gives the same at all steps.
    Invariant(Plan),
    /// A part that other engines evaluate.
    Remote(Arc<Remote>),
}

/// A selector.
#[derive(Debug, Clone)]
pub(crate) struct Selector {
    pub(crate) matchers: Arc<[Matcher]>,
    pub(crate) shift: Shift,
    /// What becomes of the samples around a window, or around a step.
    pub(crate) extension: Option<RangeExtension>,
    /// Which part of native histograms is needed.
    pub(crate) detail: Detail,
}

/// A subquery.
#[derive(Debug, Clone)]
pub(crate) struct Subquery {
    pub(crate) expr: Plan,
    pub(crate) range_ms: i64,
    pub(crate) step_ms: i64,
    pub(crate) shift: Shift,
}

/// An aggregation.
#[derive(Debug, Clone)]
pub(crate) struct Aggregate {
    pub(crate) op: AggregateOp,
    pub(crate) expr: Plan,
    pub(crate) param: Option<Plan>,
    /// Whether `labels` are the ones to group by, or those to leave out.
    pub(crate) by: bool,
    pub(crate) labels: Vec<String>,
}

/// A function call.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) func: &'static Function,
    pub(crate) args: Vec<Plan>,
}

/// Two parts joined by an operator.
#[derive(Debug, Clone)]
pub(crate) struct Binary {
    pub(crate) op: BinaryOp,
    pub(crate) lhs: Plan,
    pub(crate) rhs: Plan,
    pub(crate) matching: Option<VectorMatching>,
    pub(crate) return_bool: bool,
}

impl Node {
    pub(crate) fn new(kind: Kind, span: Span) -> Plan {
        Arc::new(Self {
            kind,
            span,
            number: None,
        })
    }

    /// Returns the type of the value.
    pub(crate) fn value_type(&self) -> ValueType {
        match &self.kind {
            Kind::Number(_) => ValueType::Scalar,
            Kind::Text(_) => ValueType::String,
            Kind::Select(_) | Kind::Aggregate(_) | Kind::Remote(_) => ValueType::Vector,
            Kind::Window(..) | Kind::Subquery(_) => ValueType::Matrix,
            Kind::Call(call) => call.func.return_type,
            Kind::Binary(binary) => match (binary.lhs.value_type(), binary.rhs.value_type()) {
                (ValueType::Scalar, ValueType::Scalar) => ValueType::Scalar,
                _ => ValueType::Vector,
            },
            Kind::Negate(inner) | Kind::Invariant(inner) => inner.value_type(),
        }
    }
}

/// Reports whether other engines evaluate a part of `plan`.
pub(crate) fn has_remote(plan: &Plan) -> bool {
    let mut has = matches!(plan.kind, Kind::Remote(_));
    fold::map_children(&plan.kind, &mut |child| {
        has |= has_remote(child);
        Plan::clone(child)
    });
    has
}

/// Rewrites a plan: constants are computed, selectors are narrowed by their partners, parts that do not depend on
/// the step are marked, equal parts become one.
pub(crate) fn optimise(plan: &Plan) -> Plan {
    let plan = propagate::propagate(&fold(plan));
    let plan = statistics::mark(&plan);
    share::unify(&invariant::mark(&plan))
}
