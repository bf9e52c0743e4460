//! Which tree a text means.

use thanos_core::labels::MatchOp;
use thanos_core::time::Timestamp;

use super::parsed;
use crate::parser::ast::{
    AtModifier, Cardinality, DurationKind, DurationValue, Expr, Grouping, LabelMatcher, QueryTimes,
    RangeExtension, VectorSelector,
};
use crate::parser::{BinaryOp, FunctionId, Options, Span, ValueType, parse_selector};

/// Writes the tree with every operator in brackets.
fn shape(expr: &Expr) -> String {
    match expr {
        Expr::Binary(node) => {
            format!("[{} {} {}]", shape(&node.lhs), node.op, shape(&node.rhs))
        }
        Expr::Unary(node) => format!("[{}{}]", node.op.as_str(), shape(&node.expr)),
        Expr::Paren(node) => format!("({})", shape(&node.expr)),
        Expr::Aggregate(_)
        | Expr::Call(_)
        | Expr::Matrix(_)
        | Expr::Number(_)
        | Expr::String(_)
        | Expr::Subquery(_)
        | Expr::Vector(_) => expr.to_string(),
    }
}

#[test]
fn operators_bind_by_precedence() {
    for (query, expected) in [
        ("a or b and c unless d", "[a or [[b and c] unless d]]"),
        ("a == b + c * d ^ e", "[a == [b + [c * [d ^ e]]]]"),
        ("a - b - c", "[[a - b] - c]"),
        ("a ^ b ^ c", "[a ^ [b ^ c]]"),
        ("a atan2 b % c / d", "[[[a atan2 b] % c] / d]"),
        ("-a ^ b", "[-[a ^ b]]"),
        ("-a * b", "[[-a] * b]"),
        ("a ^ -b * c", "[[a ^ [-b]] * c]"),
        ("- -a", "[-[-a]]"),
        ("-1 ^ 2", "[-[1 ^ 2]]"),
        ("--1 + -2", "[1 + -2]"),
        ("-a offset 1m", "[-a offset 1m]"),
        ("a </ 5 >/ 3", "[[a </ 5] >/ 3]"),
        ("a < bool b", "[a < b]"),
        ("a offset 5m - b", "[a offset 5m - b]"),
        ("a offset -5m ^ b", "[a offset -5m ^ b]"),
        ("a AND on (x) b", "[a and b]"),
    ] {
        assert_eq!(shape(&parsed(query)), expected, "{query}");
    }
}

fn selector(expr: &Expr) -> &VectorSelector {
    match expr {
        Expr::Vector(selector) => selector,
        Expr::Matrix(matrix) => &matrix.selector,
        other => panic!("{other} is no selector"),
    }
}

#[test]
fn keywords_are_names_where_names_stand() {
    for name in [
        "sum",
        "by",
        "offset",
        "and",
        "start",
        "step",
        "anchored",
        "fill",
        "fill_left",
        "limitk",
        "job:rate:5m",
        ":x",
    ] {
        let expr = parsed(&format!("{name} + {name}"));
        let Expr::Binary(node) = &expr else {
            panic!("{name}: {expr}");
        };
        assert_eq!(selector(&node.lhs).name.as_deref(), Some(name));
        assert_eq!(selector(&node.rhs).name.as_deref(), Some(name));
    }
    let expr = parsed("sum by (and, by, bool, on, atan2, group_left, \"a b\") (x)");
    let Expr::Aggregate(node) = &expr else {
        panic!("{expr}");
    };
    let labels: Vec<&str> = node.labels.iter().map(|label| &**label).collect();
    assert_eq!(
        labels,
        ["and", "by", "bool", "on", "atan2", "group_left", "a b"]
    );
    assert_eq!(node.grouping, Grouping::By);
}

#[test]
fn selectors_keep_conditions_and_modifiers() {
    let expr = parsed(r#"m{a="1",b!='2',"c d"=~`3`,e!~"4",} @ -1.5 offset -1h30m"#);
    let selector = selector(&expr);
    let conditions: Vec<_> = selector
        .matchers
        .iter()
        .map(|matcher| (&*matcher.name, matcher.op, &*matcher.value))
        .collect();
    assert_eq!(
        conditions,
        [
            ("a", MatchOp::Equal, "1"),
            ("b", MatchOp::NotEqual, "2"),
            ("c d", MatchOp::Regex, "3"),
            ("e", MatchOp::NotRegex, "4"),
            ("__name__", MatchOp::Equal, "m"),
        ]
    );
    let at = AtModifier::Timestamp(Timestamp::from_millis(-1500));
    assert_eq!(selector.shift.at, Some(at));
    assert_eq!(
        selector.shift.offset,
        Some(DurationValue::Millis(-5_400_000))
    );
    assert_eq!(selector.compile_matchers().unwrap().len(), 5);
}

#[test]
fn quoted_names_are_conditions() {
    let expr = parsed("{\"my.metric\"}");
    let selector = selector(&expr);
    assert_eq!(selector.name, None);
    assert_eq!(selector.matchers, [LabelMatcher::name("my.metric".into())]);
}

#[test]
fn an_offset_of_zero_is_none() {
    assert_eq!(selector(&parsed("a offset 0s offset 5m")).to_owned(), {
        let mut expected = selector(&parsed("a offset 5m")).to_owned();
        expected.span = Span::new(0, 21);
        expected
    });
}

#[test]
fn modifiers_behind_a_range_belong_to_the_selector() {
    let expr = parsed("m[5m] smoothed @ end() offset 1m");
    let Expr::Matrix(matrix) = &expr else {
        panic!("{expr}");
    };
    assert_eq!(matrix.range, DurationValue::Millis(300_000));
    assert_eq!(matrix.selector.extension, Some(RangeExtension::Smoothed));
    assert_eq!(matrix.selector.shift.at, Some(AtModifier::End));
    assert_eq!(matrix.span, Span::new(0, 32));
    assert_eq!(matrix.selector.span, Span::new(0, 1));
}

#[test]
fn matching_is_kept_between_vectors_alone() {
    let expr = parsed("a * on (x) group_left (y, z) fill_right(-2) b");
    let Expr::Binary(node) = &expr else {
        panic!("{expr}");
    };
    let matching = node.matching.as_ref().expect("both sides are vectors");
    assert_eq!(matching.card, Cardinality::ManyToOne);
    assert!(matching.on);
    assert_eq!((matching.labels.len(), matching.include.len()), (1, 2));
    assert_eq!(
        (matching.fill_left, matching.fill_right),
        (None, Some(-2.0))
    );
    for (query, card) in [
        ("a and b", Some(Cardinality::ManyToMany)),
        ("a + b", Some(Cardinality::OneToOne)),
        ("a + 1", None),
    ] {
        let expr = parsed(query);
        let Expr::Binary(node) = &expr else {
            panic!("{expr}");
        };
        let found = node.matching.as_ref().map(|matching| matching.card);
        assert_eq!(found, card, "{query}");
    }
}

#[test]
fn numbers_carry_their_sign_and_place() {
    for (query, value, is_duration, span) in [
        ("-0x1F", -31.0, false, Span::new(0, 5)),
        (" 1h30m", 5400.0, true, Span::new(1, 6)),
        ("-  1002ms", -1.002, true, Span::new(0, 9)),
        ("+Inf", f64::INFINITY, false, Span::new(0, 4)),
    ] {
        let expr = parsed(query);
        let Expr::Number(number) = &expr else {
            panic!("{query}: {expr}");
        };
        let found = (number.value, number.is_duration, number.span);
        assert_eq!(found, (value, is_duration, span), "{query}");
    }
}

#[test]
fn texts_keep_bytes_that_are_not_utf8() {
    let expr = parsed(r#""a\xff""#);
    let Expr::String(text) = &expr else {
        panic!("{expr}");
    };
    assert_eq!(&*text.value, "a\u{fffd}");
    assert_eq!(text.bytes.as_deref(), Some(&b"a\xff"[..]));
    assert_eq!(expr.to_string(), r#""a\xff""#);
}

#[test]
fn every_node_knows_where_it_stands() {
    let query = "sum by (a) (rate(m{b=\"c\"}[5m] offset 1m)) / -(x) + 2 # end";
    let mut found = Vec::new();
    parsed(query).walk(&mut |node, _| {
        found.push(query[node.span().range()].to_owned());
        crate::parser::Walk::Enter
    });
    assert_eq!(
        found,
        [
            "sum by (a) (rate(m{b=\"c\"}[5m] offset 1m)) / -(x) + 2",
            "sum by (a) (rate(m{b=\"c\"}[5m] offset 1m)) / -(x)",
            "sum by (a) (rate(m{b=\"c\"}[5m] offset 1m))",
            "rate(m{b=\"c\"}[5m] offset 1m)",
            "m{b=\"c\"}[5m] offset 1m",
            "-(x)",
            "(x)",
            "x",
            "2",
        ]
    );
}

#[test]
fn types_follow_from_the_tree() {
    for (query, expected) in [
        ("1 + 2", ValueType::Scalar),
        ("(1) + a", ValueType::Vector),
        ("sum(-a)", ValueType::Vector),
        ("a[5m]", ValueType::Matrix),
        ("(a)[5m:]", ValueType::Matrix),
        ("time()", ValueType::Scalar),
        ("\"x\"", ValueType::String),
        ("vector(1)", ValueType::Vector),
    ] {
        assert_eq!(parsed(query).value_type(), expected, "{query}");
    }
}

#[test]
fn calls_name_their_function() {
    let expr = parsed("histogram_quantiles(h, \"q\", 0.1, 0.9, 0.99)");
    let Expr::Call(call) = &expr else {
        panic!("{expr}");
    };
    assert_eq!(call.func.id, FunctionId::HistogramQuantiles);
    assert_eq!(call.args.len(), 5);
    assert_eq!(BinaryOp::Atan2.to_string(), "atan2");
}

fn times(step_secs: u64, range_secs: u64) -> QueryTimes {
    QueryTimes {
        step: std::time::Duration::from_secs(step_secs),
        range: std::time::Duration::from_secs(range_secs),
    }
}

#[test]
fn duration_expressions_evaluate_once_the_times_are_known() {
    for (range, ms) in [
        ("5m", 300_000),
        ("step() * 2", 60_000),
        ("range() / 4 + 1s", 901_000),
        ("max_of(step(), 45)", 45_000),
        ("min_of(step(), 45s)", 30_000),
        ("2 ^ 3 ^ 2", 512_000),
        ("7 % 4", 3_000),
        ("10 - -5", 15_000),
        ("(5 - 2) * 1.0005", 3_001),
    ] {
        let expr = parsed(&format!("m[{range}]"));
        let Expr::Matrix(matrix) = &expr else {
            panic!("{expr}");
        };
        let found = matrix.range.positive_millis(times(30, 3600));
        assert_eq!(found, Ok(ms), "{range}");
    }
    let offset = |query: &str| {
        let expr = parsed(query);
        let offset = selector(&expr).shift.offset.clone().expect("is written");
        offset.millis(times(30, 3600))
    };
    assert_eq!(offset("m offset -(1m)"), Ok(-60_000));
    assert_eq!(offset("m offset (5 - 8)"), Ok(-3_000));
    assert_eq!(offset("m offset -step()"), Ok(-30_000));
}

#[test]
fn duration_expressions_without_value_name_the_place() {
    for (range, start, end, message) in [
        ("step() - 1h", 2, 13, "duration must be greater than 0"),
        ("1 / (1 - 1)", 2, 12, "division by zero"),
        ("1 % (1 - 1)", 2, 12, "modulo by zero"),
        ("(-1) ^ 0.5", 2, 12, "duration is NaN or infinite"),
        ("1 - 9 ^ 999", 2, 13, "duration is NaN or infinite"),
        ("1d ^ 9", 2, 8, "duration is out of range"),
    ] {
        let expr = parsed(&format!("m[{range}]"));
        let Expr::Matrix(matrix) = &expr else {
            panic!("{expr}");
        };
        let error = matrix.range.positive_millis(times(0, 0)).unwrap_err();
        assert_eq!(error.message, message, "{range}");
        assert_eq!(error.span, Span::new(start, end), "{range}");
    }
}

#[test]
fn nested_parentheses_of_durations_are_one() {
    let expr = parsed("m[((5m))]");
    let Expr::Matrix(matrix) = &expr else {
        panic!("{expr}");
    };
    let DurationValue::Expr(duration) = &matrix.range else {
        panic!("{expr}");
    };
    assert!(matches!(&duration.kind, DurationKind::Paren(inner)
        if matches!(inner.kind, DurationKind::Number(_))));
}

#[test]
fn bare_selectors_may_match_everything() {
    let options = Options::default();
    assert_eq!(
        parse_selector("{}", &options).map(|s| s.matchers.len()),
        Ok(0)
    );
    let selector = parse_selector("up{job=\"x\"}", &options).unwrap();
    assert_eq!(selector.matchers.len(), 2);
    for (text, message) in [
        ("up + 1", "1:4: parse error: unexpected <op:+>"),
        ("up offset 5m", "1:4: parse error: unexpected <offset>"),
        ("", "unknown position: parse error: unexpected end of input"),
        ("1", "1:1: parse error: unexpected number \"1\""),
    ] {
        let errors = parse_selector(text, &options).unwrap_err();
        assert_eq!(errors.to_string(), message, "{text}");
    }
}
