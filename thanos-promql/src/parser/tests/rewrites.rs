//! Walking and rewriting.

use std::sync::Arc;

use super::parsed;
use crate::parser::ast::{BinaryExpr, Expr, ParenExpr, UnaryExpr, VectorSelector};
use crate::parser::{BinaryOp, UnaryOp, Walk};

fn visited(query: &str, mut decide: impl FnMut(&Expr) -> Walk) -> Vec<String> {
    let mut seen = Vec::new();
    parsed(query).walk(&mut |node, path| {
        seen.push(format!("{}:{node}", path.len()));
        decide(node)
    });
    seen
}

#[test]
fn walks_visit_parents_before_children_with_their_path() {
    assert_eq!(
        visited("topk(1, a) + -(b)", |_| Walk::Enter),
        [
            "0:topk(1, a) + -(b)",
            "1:topk(1, a)",
            "2:a",
            "2:1",
            "1:-(b)",
            "2:(b)",
            "3:b",
        ]
    );
}

#[test]
fn walks_skip_and_stop() {
    let skip_calls = |node: &Expr| match node {
        Expr::Call(_) => Walk::Skip,
        _ => Walk::Enter,
    };
    assert_eq!(
        visited("abs(a) + b", skip_calls),
        ["0:abs(a) + b", "1:abs(a)", "1:b"]
    );
    let stop_at_calls = |node: &Expr| match node {
        Expr::Call(_) => Walk::Stop,
        _ => Walk::Enter,
    };
    assert_eq!(
        visited("abs(a) + b", stop_at_calls),
        ["0:abs(a) + b", "1:abs(a)"]
    );
}

#[test]
fn rewrites_share_what_did_not_change() {
    let expr = parsed("sum(rate(a[5m])) / count(b)");
    let renamed = expr.rewrite(&mut |node| match &node {
        Expr::Vector(selector) => {
            let mut selector = VectorSelector::clone(selector);
            selector.name = Some("c".into());
            selector.matchers.clear();
            Ok::<_, ()>(Expr::Vector(Arc::new(selector)))
        }
        _ => Ok(node),
    });
    let renamed = renamed.unwrap();
    assert_eq!(renamed.to_string(), "sum(rate(a[5m])) / count(c)");
    let (Expr::Binary(old), Expr::Binary(new)) = (&expr, &renamed) else {
        panic!("{renamed}");
    };
    assert!(old.lhs.is_same(&new.lhs));
    assert!(!old.rhs.is_same(&new.rhs));
    assert_eq!(renamed.span(), expr.span());
}

#[test]
fn rewrites_stop_at_the_first_error() {
    let mut calls = 0;
    let result = parsed("a + b + c").rewrite(&mut |node| {
        calls += 1;
        if node.to_string() == "b" {
            Err("no b")
        } else {
            Ok(node)
        }
    });
    assert_eq!((result, calls), (Err("no b"), 2));
}

#[test]
fn selectors_include_those_of_ranges() {
    let expr = parsed("rate(a[5m]) + b * max_over_time(c[1h:1m])");
    let names: Vec<_> = expr.selectors().iter().map(|s| s.name.clone()).collect();
    assert_eq!(
        names,
        [Some("a".into()), Some("b".into()), Some("c".into())]
    );
}

/// Plans build trees that no text means; their text gets parentheses.
#[test]
fn built_trees_print_with_the_parentheses_they_need() {
    let join = |op, lhs: &Expr, rhs: &Expr| {
        Expr::Binary(Arc::new(BinaryExpr {
            op,
            lhs: lhs.clone(),
            rhs: rhs.clone(),
            matching: None,
            return_bool: false,
            span: lhs.span(),
        }))
    };
    let minus = |expr: &Expr| {
        Expr::Unary(Arc::new(UnaryExpr {
            op: UnaryOp::Minus,
            expr: expr.clone(),
            span: expr.span(),
        }))
    };
    let (a, one) = (parsed("a"), parsed("-1"));
    let sum = join(BinaryOp::Add, &a, &a);
    let power = join(BinaryOp::Pow, &a, &a);
    for (tree, text) in [
        (join(BinaryOp::Mul, &sum, &a), "(a + a) * a"),
        (join(BinaryOp::Mul, &a, &sum), "a * (a + a)"),
        (join(BinaryOp::Sub, &a, &sum), "a - (a + a)"),
        (join(BinaryOp::Sub, &sum, &a), "a + a - a"),
        (join(BinaryOp::Pow, &power, &a), "(a ^ a) ^ a"),
        (join(BinaryOp::Pow, &a, &power), "a ^ a ^ a"),
        (join(BinaryOp::Pow, &minus(&a), &a), "(-a) ^ a"),
        (join(BinaryOp::Pow, &one, &a), "(-1) ^ a"),
        (minus(&sum), "-(a + a)"),
        (minus(&power), "-a ^ a"),
        (minus(&one), "-(-1)"),
        (minus(&minus(&a)), "--a"),
    ] {
        assert_eq!(tree.to_string(), text);
        let bare = |expr: &Expr| {
            let strip = |node: Expr| match &node {
                Expr::Paren(node) => Ok::<_, ()>(ParenExpr::clone(node).expr),
                _ => Ok(node),
            };
            expr.rewrite(&mut { strip }).unwrap().to_string()
        };
        assert_eq!(bare(&parsed(text)), bare(&tree), "{text}");
    }
}
