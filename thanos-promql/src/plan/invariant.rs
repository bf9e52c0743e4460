//! Marks the parts that give the same at every step, so that they are evaluated once.
//!
//! Source: Prometheus `promql/engine.go`, `preprocessExprHelper`. A window is never marked itself, only the
//! function over it; literals need no mark.

use super::fold::map_children;
use super::{Kind, Node, Plan};
use crate::parser::FunctionId;

/// Returns `plan` with its largest invariant parts marked.
pub(crate) fn mark(plan: &Plan) -> Plan {
    if is_marked(plan) {
        return Node::new(Kind::Invariant(mark_in_subqueries(plan)), plan.span);
    }
    let kind = match &plan.kind {
        // COMPAT: the parameter of an aggregation is not looked at.
        Kind::Aggregate(_)
        | Kind::Subquery(_)
        | Kind::Call(_)
        | Kind::Binary(_)
        | Kind::Negate(_) => map_children(&plan.kind, &mut mark),
        Kind::Number(_)
        | Kind::Text(_)
        | Kind::Select(_)
        | Kind::Window(..)
        | Kind::Invariant(_)
        | Kind::Remote(_) => plan.kind.clone(),
    };
    Node::new(kind, plan.span)
}

/// Marks what is inside of subqueries: it has steps of its own, whatever is around.
fn mark_in_subqueries(plan: &Plan) -> Plan {
    let mark_child = match plan.kind {
        Kind::Subquery(_) => mark,
        Kind::Number(_)
        | Kind::Text(_)
        | Kind::Select(_)
        | Kind::Window(..)
        | Kind::Aggregate(_)
        | Kind::Call(_)
        | Kind::Binary(_)
        | Kind::Negate(_)
        | Kind::Invariant(_)
        | Kind::Remote(_) => mark_in_subqueries,
    };
    Node::new(
        map_children(&plan.kind, &mut |child| mark_child(child)),
        plan.span,
    )
}

/// Reports whether `plan` gives the same at all steps and is worth a mark.
pub(super) fn is_marked(plan: &Plan) -> bool {
    is_invariant(plan) && needs_mark(plan)
}

fn needs_mark(plan: &Plan) -> bool {
    match plan.kind {
        Kind::Number(_)
        | Kind::Text(_)
        | Kind::Window(..)
        | Kind::Subquery(_)
        | Kind::Invariant(_)
        | Kind::Remote(_) => false,
        Kind::Select(_)
        | Kind::Aggregate(_)
        | Kind::Call(_)
        | Kind::Binary(_)
        | Kind::Negate(_) => true,
    }
}

fn is_invariant(plan: &Plan) -> bool {
    match &plan.kind {
        Kind::Number(_) | Kind::Text(_) | Kind::Invariant(_) => true,
        Kind::Remote(_) => false,
        Kind::Select(selector) | Kind::Window(selector, _) => selector.shift.at_ms.is_some(),
        Kind::Subquery(subquery) => subquery.shift.at_ms.is_some(),
        Kind::Aggregate(aggregate) => is_invariant(&aggregate.expr),
        Kind::Binary(binary) => is_invariant(&binary.lhs) && is_invariant(&binary.rhs),
        Kind::Negate(inner) => is_invariant(inner),
        Kind::Call(call) => {
            let all_invariant = call.args.iter().all(is_invariant);
            let is_timestamp_of_selector = call.func.id == FunctionId::Timestamp
                && call
                    .args
                    .iter()
                    .all(|arg| matches!(arg.kind, Kind::Select(_)));
            all_invariant && (!depends_on_step(call.func.id) || is_timestamp_of_selector)
        }
    }
}

/// Reports whether a function gives another result at another step for the same arguments.
pub(crate) fn depends_on_step(id: FunctionId) -> bool {
    matches!(
        id,
        FunctionId::DaysInMonth
            | FunctionId::DayOfMonth
            | FunctionId::DayOfWeek
            | FunctionId::DayOfYear
            | FunctionId::End
            | FunctionId::Hour
            | FunctionId::Minute
            | FunctionId::Month
            | FunctionId::Year
            | FunctionId::PredictLinear
            | FunctionId::Range
            | FunctionId::Start
            | FunctionId::Step
            | FunctionId::Time
            | FunctionId::Timestamp
    )
}
