//! Evaluations of a query at other times that must give the same: `@` pins its selectors.

use std::collections::HashSet;

use thanos_core::time::Timestamp;

use crate::parser::ast::{AtModifier, MatrixSelector, SubqueryExpr, TimeShift, VectorSelector};
use crate::parser::{Expr, Span, Walk};
use crate::plan::depends_on_step;

/// Returns `expr` with `@ time` in its selectors, as text; nothing if it has a function whose result changes with
/// the evaluation time all the same.
///
/// A subquery is pinned as a whole, and what is inside of it is left alone.
pub(super) fn pinned(expr: &Expr, time: Timestamp) -> Option<String> {
    let mut places = HashSet::new();
    let mut is_pinnable = true;
    expr.walk(&mut |node, _| {
        match node {
            Expr::Subquery(_) => {
                places.insert(node.span());
                return Walk::Skip;
            }
            Expr::Vector(_) | Expr::Matrix(_) => {
                places.insert(node.span());
            }
            Expr::Call(call) => is_pinnable &= !depends_on_step(call.func.id),
            Expr::Aggregate(_)
            | Expr::Binary(_)
            | Expr::Number(_)
            | Expr::Paren(_)
            | Expr::String(_)
            | Expr::Unary(_) => {}
        }
        Walk::Enter
    });
    if !is_pinnable {
        return None;
    }
    let pinned =
        expr.rewrite(&mut |node| Ok::<_, std::convert::Infallible>(pin(node, &places, time)));
    match pinned {
        Ok(pinned) => Some(pinned.to_string()),
        Err(never) => match never {},
    }
}

fn pin(node: Expr, places: &HashSet<Span>, time: Timestamp) -> Expr {
    if !places.contains(&node.span()) {
        return node;
    }
    match node {
        Expr::Vector(selector) => Expr::Vector(pin_selector(&selector, time).into()),
        Expr::Matrix(matrix) => {
            let selector = pin_selector(&matrix.selector, time).into();
            let matrix = MatrixSelector::clone(&matrix);
            Expr::Matrix(MatrixSelector { selector, ..matrix }.into())
        }
        Expr::Subquery(subquery) => {
            let shift = pin_shift(&subquery.shift, time);
            let subquery = SubqueryExpr::clone(&subquery);
            Expr::Subquery(SubqueryExpr { shift, ..subquery }.into())
        }
        other => other,
    }
}

fn pin_selector(selector: &VectorSelector, time: Timestamp) -> VectorSelector {
    VectorSelector {
        shift: pin_shift(&selector.shift, time),
        ..selector.clone()
    }
}

/// COMPAT: `@ start()` and `@ end()` are replaced, which is the same for a query of one step.
fn pin_shift(shift: &TimeShift, time: Timestamp) -> TimeShift {
    let at = match shift.at {
        Some(AtModifier::Timestamp(written)) => written,
        None | Some(AtModifier::Start | AtModifier::End) => time,
    };
    TimeShift {
        at: Some(AtModifier::Timestamp(at)),
        ..shift.clone()
    }
}

/// Returns the times at which a query pinned to `time` is evaluated.
pub(super) fn other_times(time: Timestamp) -> Vec<Timestamp> {
    let ms = time.as_millis();
    let times = if ms == 0 {
        vec![-1000, 0, 1000]
    } else {
        vec![ms.saturating_mul(-10), 0, ms / 5, ms, ms.saturating_mul(10)]
    };
    times.into_iter().map(Timestamp::from_millis).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parser::{Options, parse};

    #[test]
    fn selectors_and_outermost_subqueries_are_pinned() {
        let time = Timestamp::from_millis(60_000);
        for (query, text) in [
            ("a", Some("a @ 60.000")),
            ("a @ 5 + b", Some("a @ 5.000 + b @ 60.000")),
            ("a @ end()", Some("a @ 60.000")),
            (
                "rate(a[1m] offset 2m)",
                Some("rate(a[1m] @ 60.000 offset 2m)"),
            ),
            (
                "sum_over_time(a[1m:1s])",
                Some("sum_over_time(a[1m:1s] @ 60.000)"),
            ),
            (
                "max_over_time(sum_over_time((b + time())[1m:1s])[5m:1m])",
                Some("max_over_time(sum_over_time((b + time())[1m:1s])[5m:1m] @ 60.000)"),
            ),
            ("1 + vector(2)", Some("1 + vector(2)")),
            ("a + time()", None),
            ("timestamp(a)", None),
        ] {
            let expr = parse(query, &Options::all()).unwrap();
            assert_eq!(pinned(&expr, time).as_deref(), text, "{query}");
        }
    }

    #[test]
    fn a_pinned_query_is_evaluated_far_from_its_time() {
        let times = |ms| -> Vec<i64> {
            let times = other_times(Timestamp::from_millis(ms));
            times.into_iter().map(Timestamp::as_millis).collect()
        };
        assert_eq!(times(5000), [-50_000, 0, 1000, 5000, 50_000]);
        assert_eq!(times(0), [-1000, 0, 1000]);
    }
}
