//! Whether evaluating a part at each engine gives the series that evaluating it over all data gives.

use crate::parser::ast::VectorMatching;
use crate::parser::{AggregateOp, FunctionId, ValueType};
use crate::plan::share::reads_series;
use crate::plan::{Aggregate, Binary, Call, Kind, Node};

/// Reports whether `node`, a vector or what stands for its windows, works on each partition alone and keeps the labels
/// `names`, in which partitions differ.
pub(super) fn is_series_wise(node: &Node, names: &[String]) -> bool {
    match &node.kind {
        Kind::Select(_) | Kind::Window(..) => true,
        Kind::Subquery(subquery) => is_series_wise(&subquery.expr, names),
        Kind::Aggregate(aggregate) => aggregate_is(aggregate, names),
        Kind::Call(call) => call_is(call, names),
        Kind::Binary(binary) => binary_is(binary, names),
        Kind::Negate(inner) | Kind::Invariant(inner) => is_series_wise(inner, names),
        Kind::Number(_) | Kind::Text(_) | Kind::Remote(_) => false,
    }
}

/// Reports whether `node` is the same wherever it is evaluated.
fn is_same_everywhere(node: &Node) -> bool {
    matches!(node.value_type(), ValueType::Scalar | ValueType::String) && !reads_series(node)
}

fn aggregate_is(aggregate: &Aggregate, names: &[String]) -> bool {
    let keeps = |name: &String| aggregate.labels.contains(name) == aggregate.by;
    let sets = |label: &Node| match &label.kind {
        Kind::Text(label) => names.iter().any(|name| **name == **label),
        _ => true,
    };
    let param = aggregate.param.as_deref();
    names.iter().all(keeps)
        && param.is_none_or(is_same_everywhere)
        && !(aggregate.op == AggregateOp::CountValues && param.is_none_or(sets))
        && is_series_wise(&aggregate.expr, names)
}

fn call_is(call: &Call, names: &[String]) -> bool {
    let is_partition = |label: &str| names.iter().any(|name| name == label);
    let sets_partition = |place: usize| match call.args.get(place).map(|arg| &arg.kind) {
        Some(Kind::Text(label)) => is_partition(label),
        _ => true,
    };
    let is_allowed = match call.func.id {
        // They look at all series, or have an order that putting together loses.
        FunctionId::Absent
        | FunctionId::AbsentOverTime
        | FunctionId::Info
        | FunctionId::Scalar
        | FunctionId::Vector
        | FunctionId::Sort
        | FunctionId::SortDesc
        | FunctionId::SortByLabel
        | FunctionId::SortByLabelDesc => false,
        FunctionId::LabelReplace | FunctionId::LabelJoin => !sets_partition(1),
        FunctionId::HistogramQuantile | FunctionId::HistogramFraction => !is_partition("le"),
        FunctionId::HistogramQuantiles => {
            let labels = call.args.iter().filter_map(|arg| match &arg.kind {
                Kind::Text(label) => Some(&**label),
                _ => None,
            });
            !is_partition("le") && !labels.into_iter().any(is_partition)
        }
        _ => true,
    };
    let is_series = |arg: &&crate::plan::Plan| {
        matches!(arg.value_type(), ValueType::Vector | ValueType::Matrix)
    };
    let mut series = call.args.iter().filter(is_series).peekable();
    let others = call.args.iter().filter(|arg| !is_series(arg));
    is_allowed
        && series.peek().is_some()
        && series.all(|arg| is_series_wise(arg, names))
        && others.into_iter().all(|arg| is_same_everywhere(arg))
}

fn binary_is(binary: &Binary, names: &[String]) -> bool {
    let sides = [&binary.lhs, &binary.rhs];
    match sides.map(|side| side.value_type()) {
        [ValueType::Vector, ValueType::Vector] => {
            let matching = binary.matching.as_ref();
            matching.is_some_and(|matching| keeps_apart(matching, names))
                && sides.iter().all(|side| is_series_wise(side, names))
        }
        [ValueType::Vector, _] => {
            is_series_wise(&binary.lhs, names) && is_same_everywhere(&binary.rhs)
        }
        [_, ValueType::Vector] => {
            is_same_everywhere(&binary.lhs) && is_series_wise(&binary.rhs, names)
        }
        _ => false,
    }
}

/// Reports whether only series of one partition meet, and results keep the labels.
fn keeps_apart(matching: &VectorMatching, names: &[String]) -> bool {
    let has =
        |labels: &[std::sync::Arc<str>], name: &String| labels.iter().any(|one| **one == **name);
    names
        .iter()
        .all(|name| has(&matching.labels, name) == matching.on && !has(&matching.include, name))
}
