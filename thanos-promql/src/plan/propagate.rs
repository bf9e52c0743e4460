//! Matcher propagation: what one side of an operator asks of its series, the other side may as well ask, because
//! only series with equal labels meet.
//!
//! Only selectors with a fixed metric name are touched, and only where whole label sets are compared: then no two
//! series of a side can meet the same partner, so that there is no error and no remark that reading fewer series
//! could hide.

use thanos_core::labels::{METRIC_NAME, MatchOp, Matcher};

use super::fold::map_children;
use super::{Binary, Kind, Node, Plan, Selector};
use crate::parser::BinaryOp;
use crate::parser::ast::VectorMatching;

/// Returns `plan` with the matchers of selectors on both sides of an operator joined.
pub(crate) fn propagate(plan: &Plan) -> Plan {
    let kind = match map_children(&plan.kind, &mut propagate) {
        Kind::Binary(binary) => Kind::Binary(join(binary)),
        other => other,
    };
    Node::new(kind, plan.span)
}

fn join(binary: Binary) -> Binary {
    let (Kind::Select(lhs), Kind::Select(rhs)) = (&binary.lhs.kind, &binary.rhs.kind) else {
        return binary;
    };
    if !compares_all_labels(binary.matching.as_ref()) || !has_name(lhs) || !has_name(rhs) {
        return binary;
    }
    // Series of the left side that `unless` keeps have no partner.
    let (narrows_lhs, narrows_rhs) = match binary.op {
        BinaryOp::Or => (false, false),
        BinaryOp::Unless => (false, true),
        _ => (true, true),
    };
    let with = |narrows, selector: &Selector, other: &Selector, node: &Plan| {
        if narrows {
            narrowed(selector, other, node)
        } else {
            Plan::clone(node)
        }
    };
    Binary {
        lhs: with(narrows_lhs, lhs, rhs, &binary.lhs),
        rhs: with(narrows_rhs, rhs, lhs, &binary.rhs),
        ..binary
    }
}

fn compares_all_labels(matching: Option<&VectorMatching>) -> bool {
    matching.is_some_and(|matching| {
        !matching.on
            && matching.labels.is_empty()
            && matching.include.is_empty()
            && matching.fill_left.is_none()
            && matching.fill_right.is_none()
    })
}

fn has_name(selector: &Selector) -> bool {
    selector.matchers.iter().any(|matcher| {
        matcher.name() == METRIC_NAME
            && matcher.op() == MatchOp::Equal
            && !matcher.value().is_empty()
    })
}

/// Returns the node of `selector` with the matchers of `other` that it lacks.
fn narrowed(selector: &Selector, other: &Selector, node: &Plan) -> Plan {
    let own = &selector.matchers;
    let is_same = |a: &Matcher, b: &Matcher| {
        a.name() == b.name() && a.op() == b.op() && a.value() == b.value()
    };
    let is_new = |matcher: &&Matcher| {
        !is_metadata(matcher.name()) && !own.iter().any(|known| is_same(known, matcher))
    };
    let mut new = other.matchers.iter().filter(is_new).peekable();
    if new.peek().is_none() {
        return Plan::clone(node);
    }
    let matchers = own.iter().chain(new).cloned().collect();
    let selector = Selector {
        matchers,
        ..selector.clone()
    };
    Node::new(Kind::Select(selector), node.span)
}

/// Reports whether a label says what the metric is; such labels need not be the same on both sides.
fn is_metadata(name: &str) -> bool {
    matches!(name, "__name__" | "__type__" | "__unit__")
}

#[cfg(test)]
mod tests {
    use thanos_core::time::Timestamp;

    use super::*;
    use crate::parser::{self, Options};
    use crate::plan::{QueryTimes, build};

    fn matchers(plan: &Plan) -> Vec<String> {
        let Kind::Select(selector) = &plan.kind else {
            panic!("a selector was expected");
        };
        let own = selector.matchers.iter();
        let own = own.filter(|matcher| matcher.name() != METRIC_NAME);
        own.map(ToString::to_string).collect()
    }

    /// Returns the matchers of both sides without the name.
    fn sides(text: &str) -> [Vec<String>; 2] {
        let expr = parser::parse(text, &Options::all()).unwrap();
        let times = QueryTimes {
            start: Timestamp::from_millis(0),
            end: Timestamp::from_millis(0),
            step_ms: 0,
            subquery_step_ms: 1,
            levels_left: 100,
        };
        let plan = propagate(&build(&expr, &times).unwrap());
        let Kind::Binary(binary) = &plan.kind else {
            panic!("an operator was expected");
        };
        [matchers(&binary.lhs), matchers(&binary.rhs)]
    }

    #[test]
    fn selectors_ask_what_their_partners_ask() {
        let one = r#"l="1""#;
        let both = |lhs: &[&str], rhs: &[&str]| {
            [lhs, rhs].map(|all| all.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        for (text, expected) in [
            (r#"a{l="1"} - b"#, both(&[one], &[one])),
            (r#"a == bool b{l="1"}"#, both(&[one], &[one])),
            (r#"a{l="1"} and b{l="1"}"#, both(&[one], &[one])),
            (
                r#"a{l="1"} unless b{m!="2"}"#,
                both(&[one], &[r#"m!="2""#, one]),
            ),
            (r#"a{l="1"} or b"#, both(&[one], &[])),
            (r#"a{l="1"} - on(m) b"#, both(&[one], &[])),
            (r#"a{l="1"} - ignoring(l) b"#, both(&[one], &[])),
            (r#"a{l="1"} - fill(0) b"#, both(&[one], &[])),
            (
                r#"a{__type__="counter"} - b"#,
                both(&[r#"__type__="counter""#], &[]),
            ),
        ] {
            assert_eq!(sides(text), expected, "{text}");
        }
    }
}
