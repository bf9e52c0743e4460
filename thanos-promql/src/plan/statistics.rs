//! Histogram statistics: selectors whose histograms are asked for nothing but count and sum need no buckets.
//!
//! Source: Prometheus `promql/engine.go`, `detectHistogramStatsDecoding`. In contrast to it everything whose
//! answer depends on buckets keeps them, and so does a selector that stands elsewhere in the query with buckets,
//! because it is read once for both.

use std::collections::HashSet;

use super::fold::map_children;
use super::{Call, Kind, Node, Plan, Selector};
use crate::exec::samples::Detail;
use crate::parser::{AggregateOp, BinaryOp, FunctionId, ValueType};

/// Returns `plan` with its selectors saying which part of histograms they need.
pub(crate) fn mark(plan: &Plan) -> Plan {
    let mut whole = HashSet::new();
    find_whole(plan, Need::Undecided, &mut whole);
    rewrite(plan, Need::Undecided, &whole)
}

/// What is around a part of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    /// Nothing that says it.
    Undecided,
    /// A function of count and sum.
    Statistics,
    /// Something that depends on buckets.
    Buckets,
}

impl Need {
    /// Returns the need below a node.
    fn below(self, node: &Node) -> Self {
        if self == Self::Buckets || depends_on_buckets(node) {
            return Self::Buckets;
        }
        match &node.kind {
            Kind::Call(call) if is_statistic(call) => Self::Statistics,
            _ => self,
        }
    }
}

fn is_statistic(call: &Call) -> bool {
    matches!(
        call.func.id,
        FunctionId::HistogramAvg | FunctionId::HistogramCount | FunctionId::HistogramSum
    )
}

fn depends_on_buckets(node: &Node) -> bool {
    match &node.kind {
        // Its samples do not follow each other as they are stored, so that resets show in buckets alone.
        Kind::Subquery(_) => true,
        Kind::Call(call) => matches!(
            call.func.id,
            FunctionId::Changes
                | FunctionId::HistogramFraction
                | FunctionId::HistogramQuantile
                | FunctionId::HistogramQuantiles
                | FunctionId::HistogramStddev
                | FunctionId::HistogramStdvar
        ),
        Kind::Aggregate(aggregate) => aggregate.op == AggregateOp::CountValues,
        Kind::Binary(binary) => {
            let is_trim = matches!(binary.op, BinaryOp::TrimUpper | BinaryOp::TrimLower);
            let sides = [&binary.lhs, &binary.rhs].map(|side| side.value_type());
            let compares_histograms = matches!(binary.op, BinaryOp::Equal | BinaryOp::NotEqual)
                && sides == [ValueType::Vector; 2];
            is_trim || compares_histograms
        }
        Kind::Number(_)
        | Kind::Text(_)
        | Kind::Select(_)
        | Kind::Window(..)
        | Kind::Negate(_)
        | Kind::Invariant(_)
        | Kind::Remote(_) => false,
    }
}

/// Collects the selectors that are wanted with buckets somewhere.
fn find_whole(plan: &Plan, need: Need, whole: &mut HashSet<String>) {
    if let Kind::Select(selector) | Kind::Window(selector, _) = &plan.kind
        && need != Need::Statistics
    {
        whole.insert(text_of(selector));
    }
    let below = need.below(plan);
    map_children(&plan.kind, &mut |child| {
        find_whole(child, below, whole);
        Plan::clone(child)
    });
}

fn rewrite(plan: &Plan, need: Need, whole: &HashSet<String>) -> Plan {
    let marked = |selector: &Selector| {
        let needs_less = need == Need::Statistics && !whole.contains(&text_of(selector));
        Selector {
            detail: if needs_less {
                Detail::Statistics
            } else {
                Detail::Buckets
            },
            ..selector.clone()
        }
    };
    let below = need.below(plan);
    let kind = match &plan.kind {
        Kind::Select(selector) => Kind::Select(marked(selector)),
        Kind::Window(selector, range_ms) => Kind::Window(marked(selector), *range_ms),
        kind => map_children(kind, &mut |child| rewrite(child, below, whole)),
    };
    Node::new(kind, plan.span)
}

fn text_of(selector: &Selector) -> String {
    format!("{selector:?}")
}

#[cfg(test)]
mod tests {
    use thanos_core::time::Timestamp;

    use super::*;
    use crate::parser::{self, Options};
    use crate::plan::{QueryTimes, build};

    fn details(plan: &Plan, found: &mut Vec<Detail>) {
        if let Kind::Select(selector) | Kind::Window(selector, _) = &plan.kind {
            found.push(selector.detail);
        }
        map_children(&plan.kind, &mut |child| {
            details(child, found);
            Plan::clone(child)
        });
    }

    #[test]
    fn only_count_and_sum_go_without_buckets() {
        use Detail::{Buckets, Statistics};
        for (text, expected) in [
            ("x", vec![Buckets]),
            ("histogram_count(x)", vec![Statistics]),
            (
                "histogram_avg(sum by (a) (rate(x[5m]))) + y",
                vec![Statistics, Buckets],
            ),
            (
                "histogram_sum(x) / histogram_count(x)",
                vec![Statistics, Statistics],
            ),
            ("histogram_count(increase(x[40m:9m]))", vec![Buckets]),
            ("max_over_time(histogram_count(x)[5m:])", vec![Buckets]),
            ("histogram_count(x </ 5)", vec![Buckets]),
            ("histogram_count(x == y)", vec![Buckets, Buckets]),
            ("histogram_count(x > 5)", vec![Statistics]),
            (
                "histogram_quantile(0.9, x * histogram_count(y))",
                vec![Buckets, Buckets],
            ),
            (
                "histogram_quantile(0.9, x) + histogram_count(x)",
                vec![Buckets, Buckets],
            ),
            (
                "histogram_count(x and histogram_stddev(y))",
                vec![Statistics, Buckets],
            ),
        ] {
            let expr = parser::parse(text, &Options::all()).unwrap();
            let times = QueryTimes {
                start: Timestamp::from_millis(0),
                end: Timestamp::from_millis(0),
                step_ms: 0,
                subquery_step_ms: 1,
                levels_left: 100,
            };
            let mut found = Vec::new();
            details(&mark(&build(&expr, &times).unwrap()), &mut found);
            assert_eq!(found, expected, "{text}");
        }
    }
}
