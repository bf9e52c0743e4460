//! Constant folding: scalar arithmetic on numbers is done once.

use std::sync::Arc;

use super::build::number;
use super::{Aggregate, Binary, Call, Kind, Node, Plan, Subquery};
use crate::exec::arith::{is_trim, scalar_binop};

/// Returns `plan` with constant scalars computed.
pub(crate) fn fold(plan: &Plan) -> Plan {
    let kind = map_children(&plan.kind, &mut fold);
    let constant = match &kind {
        Kind::Negate(inner) => constant_of(inner).map(|value| -value),
        // It fails when it is planned for evaluation.
        Kind::Binary(binary) if is_trim(binary.op) => None,
        Kind::Binary(binary) => constant_of(&binary.lhs)
            .zip(constant_of(&binary.rhs))
            .map(|(a, b)| scalar_binop(binary.op, a, b)),
        Kind::Number(_)
        | Kind::Text(_)
        | Kind::Select(_)
        | Kind::Window(..)
        | Kind::Subquery(_)
        | Kind::Aggregate(_)
        | Kind::Call(_)
        | Kind::Invariant(_)
        | Kind::Remote(_) => None,
    };
    match constant {
        Some(value) => number(value, plan.span),
        None => Node::new(kind, plan.span),
    }
}

fn constant_of(plan: &Plan) -> Option<f64> {
    match plan.kind {
        Kind::Number(value) => Some(value),
        _ => None,
    }
}

/// Returns `kind` with `map` applied to the nodes below it.
pub(super) fn map_children(kind: &Kind, map: &mut impl FnMut(&Plan) -> Plan) -> Kind {
    match kind {
        Kind::Number(_) | Kind::Text(_) | Kind::Select(_) | Kind::Window(..) | Kind::Remote(_) => {
            kind.clone()
        }
        Kind::Subquery(subquery) => Kind::Subquery(Subquery {
            expr: map(&subquery.expr),
            ..subquery.clone()
        }),
        Kind::Aggregate(aggregate) => Kind::Aggregate(Aggregate {
            expr: map(&aggregate.expr),
            param: aggregate.param.as_ref().map(&mut *map),
            ..aggregate.clone()
        }),
        Kind::Call(call) => Kind::Call(Call {
            func: call.func,
            args: call.args.iter().map(map).collect(),
        }),
        Kind::Binary(binary) => Kind::Binary(Binary {
            lhs: map(&binary.lhs),
            rhs: map(&binary.rhs),
            ..binary.clone()
        }),
        Kind::Negate(inner) => Kind::Negate(map(inner)),
        Kind::Invariant(inner) => Kind::Invariant(Arc::clone(&map(inner))),
    }
}
