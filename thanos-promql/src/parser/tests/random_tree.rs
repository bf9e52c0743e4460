//! Random trees that are well typed.

use std::sync::Arc;

use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use thanos_core::labels::MatchOp;
use thanos_core::time::Timestamp;

use crate::parser::ast::{
    AggregateExpr, AtModifier, BinaryExpr, Call, Cardinality, DurationExpr, DurationKind,
    DurationOp, DurationValue, Expr, Grouping, LabelMatcher, MatrixSelector, NumberLiteral,
    ParenExpr, RangeExtension, StringLiteral, SubqueryExpr, TimeShift, UnaryExpr, VectorMatching,
    VectorSelector,
};
use crate::parser::{AggregateOp, BinaryOp, Function, Span, UnaryOp};

const SPAN: Span = Span::new(0, 0);

/// A vector or a scalar.
pub(crate) fn any_expr() -> BoxedStrategy<Expr> {
    prop_oneof![3 => vector(4), 1 => scalar(4)].boxed()
}

fn vector(depth: u32) -> BoxedStrategy<Expr> {
    let leaf = selector().prop_map(|selector| Expr::Vector(Arc::new(selector)));
    if depth == 0 {
        return leaf.boxed();
    }
    let inner = || vector(depth - 1);
    prop_oneof![
        2 => leaf,
        2 => between_vectors(depth - 1),
        1 => with_scalar(depth - 1),
        1 => inner().prop_map(|expr| Expr::Paren(Arc::new(ParenExpr { expr, span: SPAN }))),
        1 => (sign(), inner()).prop_map(|(op, expr)| {
            Expr::Unary(Arc::new(UnaryExpr { op, expr, span: SPAN }))
        }),
        2 => aggregate(depth - 1),
        2 => vector_call(depth - 1),
    ]
    .boxed()
}

fn scalar(depth: u32) -> BoxedStrategy<Expr> {
    let leaf = prop_oneof![
        4 => number().prop_map(|number| Expr::Number(Arc::new(number))),
        1 => Just(call("time", Vec::new())),
    ];
    if depth == 0 {
        return leaf.boxed();
    }
    let arithmetic = select(vec![
        BinaryOp::Add,
        BinaryOp::Sub,
        BinaryOp::Mul,
        BinaryOp::Div,
        BinaryOp::Mod,
        BinaryOp::Pow,
        BinaryOp::Atan2,
    ]);
    prop_oneof![
        2 => leaf,
        2 => (arithmetic, scalar(depth - 1), scalar(depth - 1))
            .prop_map(|(op, lhs, rhs)| binary(op, lhs, rhs, None, false)),
        1 => vector(depth - 1).prop_map(|vector| call("scalar", vec![vector])),
        1 => scalar(depth - 1).prop_map(|expr| {
            Expr::Paren(Arc::new(ParenExpr { expr, span: SPAN }))
        }),
    ]
    .boxed()
}

fn matrix(depth: u32) -> BoxedStrategy<Expr> {
    let range = (selector(), positive_duration()).prop_map(|(selector, range)| {
        Expr::Matrix(Arc::new(MatrixSelector {
            selector: Arc::new(selector),
            range,
            span: SPAN,
        }))
    });
    if depth == 0 {
        return range.boxed();
    }
    let subquery = (
        vector(depth - 1),
        subquery_range(),
        option::of(positive_duration()),
        shift(),
    )
        .prop_map(|(expr, range, step, shift)| {
            Expr::Subquery(Arc::new(SubqueryExpr {
                expr,
                range,
                step,
                shift,
                span: SPAN,
            }))
        });
    prop_oneof![range, subquery].boxed()
}

fn between_vectors(depth: u32) -> BoxedStrategy<Expr> {
    let set = (
        select(vec![BinaryOp::And, BinaryOp::Or, BinaryOp::Unless]),
        any::<bool>(),
        labels(),
    )
        .prop_map(|(op, on, labels)| {
            let card = Cardinality::ManyToMany;
            (
                op,
                false,
                VectorMatching {
                    card,
                    on,
                    labels,
                    ..VectorMatching::default()
                },
            )
        });
    let cards = vec![
        Cardinality::OneToOne,
        Cardinality::ManyToOne,
        Cardinality::OneToMany,
    ];
    let other = (
        operator(),
        any::<bool>(),
        (select(cards), any::<bool>(), labels(), labels()),
        (option::of(fill()), option::of(fill())),
    )
        .prop_map(|(op, wants_bool, (card, on, labels, include), fill)| {
            let include = match card {
                Cardinality::OneToOne => Vec::new(),
                _ => include
                    .into_iter()
                    .filter(|l| !on || !labels.contains(l))
                    .collect(),
            };
            let matching = VectorMatching {
                card,
                on,
                labels,
                include,
                fill_left: fill.0,
                fill_right: fill.1,
            };
            (op, wants_bool && op.is_comparison(), matching)
        });
    (
        prop_oneof![1 => set, 2 => other],
        vector(depth),
        vector(depth),
    )
        .prop_map(|((op, return_bool, matching), lhs, rhs)| {
            binary(op, lhs, rhs, Some(matching), return_bool)
        })
        .boxed()
}

fn with_scalar(depth: u32) -> BoxedStrategy<Expr> {
    (
        operator(),
        any::<(bool, bool)>(),
        vector(depth),
        scalar(depth),
    )
        .prop_map(|(op, (swap, wants_bool), vector, scalar)| {
            let return_bool = wants_bool && op.is_comparison();
            let (lhs, rhs) = if swap {
                (scalar, vector)
            } else {
                (vector, scalar)
            };
            binary(op, lhs, rhs, None, return_bool)
        })
        .boxed()
}

fn operator() -> impl Strategy<Value = BinaryOp> {
    select(vec![
        BinaryOp::Add,
        BinaryOp::Sub,
        BinaryOp::Mul,
        BinaryOp::Div,
        BinaryOp::Mod,
        BinaryOp::Pow,
        BinaryOp::Atan2,
        BinaryOp::Equal,
        BinaryOp::NotEqual,
        BinaryOp::Greater,
        BinaryOp::Less,
        BinaryOp::GreaterEqual,
        BinaryOp::LessEqual,
        BinaryOp::TrimUpper,
        BinaryOp::TrimLower,
    ])
}

fn binary(
    op: BinaryOp,
    lhs: Expr,
    rhs: Expr,
    matching: Option<VectorMatching>,
    return_bool: bool,
) -> Expr {
    Expr::Binary(Arc::new(BinaryExpr {
        op,
        lhs,
        rhs,
        matching,
        return_bool,
        span: SPAN,
    }))
}

fn aggregate(depth: u32) -> BoxedStrategy<Expr> {
    let ops = vec![
        AggregateOp::Sum,
        AggregateOp::Count,
        AggregateOp::Stddev,
        AggregateOp::TopK,
        AggregateOp::Quantile,
        AggregateOp::CountValues,
        AggregateOp::LimitRatio,
    ];
    let grouping = select(vec![Grouping::By, Grouping::Without]);
    (
        select(ops),
        grouping,
        labels(),
        vector(depth),
        scalar(depth),
        text(),
    )
        .prop_map(|(op, grouping, labels, expr, scalar, text)| {
            let param = match op {
                AggregateOp::CountValues => Some(text),
                op if op.has_parameter() => Some(scalar),
                _ => None,
            };
            Expr::Aggregate(Arc::new(AggregateExpr {
                op,
                expr,
                param,
                grouping,
                labels,
                span: SPAN,
            }))
        })
        .boxed()
}

fn vector_call(depth: u32) -> BoxedStrategy<Expr> {
    prop_oneof![
        vector(depth).prop_map(|v| call("abs", vec![v])),
        matrix(depth).prop_map(|m| call("rate", vec![m])),
        (scalar(depth), matrix(depth)).prop_map(|(s, m)| call("quantile_over_time", vec![s, m])),
        (vector(depth), scalar(0), scalar(0)).prop_map(|(v, a, b)| call("clamp", vec![v, a, b])),
        (vector(depth), option::of(scalar(0)))
            .prop_map(|(v, s)| call("round", [v].into_iter().chain(s).collect())),
        (vector(depth), proptest::collection::vec(text(), 3..6))
            .prop_map(|(v, t)| call("label_join", [v].into_iter().chain(t).collect())),
        option::of(vector(0)).prop_map(|v| call("hour", v.into_iter().collect())),
        scalar(depth).prop_map(|s| call("vector", vec![s])),
        Just(call("vector", vec![call("step", Vec::new())])),
    ]
    .boxed()
}

fn call(name: &str, args: Vec<Expr>) -> Expr {
    Expr::Call(Arc::new(Call {
        func: Function::find(name).expect("is in the table"),
        args,
        span: SPAN,
    }))
}

fn text() -> impl Strategy<Value = Expr> {
    "[ -~\n\u{0}\u{e9}\u{fffd}\u{1f600}]{0,6}".prop_map(|value| {
        Expr::String(Arc::new(StringLiteral {
            value: value.into(),
            bytes: None,
            span: SPAN,
        }))
    })
}

fn sign() -> impl Strategy<Value = UnaryOp> {
    select(vec![UnaryOp::Plus, UnaryOp::Minus])
}

fn number() -> impl Strategy<Value = NumberLiteral> {
    let plain = prop_oneof![
        select(vec![
            0.0,
            -0.0,
            1.0,
            -2.5,
            1e300,
            5e-324,
            f64::INFINITY,
            f64::NEG_INFINITY
        ]),
        Just(f64::NAN),
        any::<i32>().prop_map(f64::from),
        any::<f64>().prop_filter("signs of NaN do not print", |value| !value.is_nan()),
    ];
    let seconds = (-1_000_000_i32..1_000_000_000).prop_map(|ms| f64::from(ms) / 1000.0);
    prop_oneof![
        plain.prop_map(|value| (value, false)),
        seconds.prop_map(|value| (value, true)),
    ]
    .prop_map(|(value, is_duration)| NumberLiteral {
        value,
        is_duration,
        span: SPAN,
    })
}

fn fill() -> impl Strategy<Value = f64> {
    select(vec![0.0, 1.0, -1e9, 0.1, f64::INFINITY])
}

fn labels() -> impl Strategy<Value = Vec<Arc<str>>> {
    let names = vec![
        "a", "le", "by", "without", "inf", "NaN", "x y", "\u{e9}", "\"", "_1", "1a",
    ];
    proptest::collection::vec(select(names).prop_map(Arc::from), 0..3)
}

fn selector() -> impl Strategy<Value = VectorSelector> {
    let name = option::of(select(vec![
        "m", "a:b", ":", "_x", "sum", "by", "offset", "and", "start", "anchored", "fill",
    ]));
    let extension = option::of(select(vec![
        RangeExtension::Anchored,
        RangeExtension::Smoothed,
    ]));
    let matchers = proptest::collection::vec(matcher(), 0..3);
    (name, matchers, shift(), extension).prop_map(|(name, mut matchers, shift, extension)| {
        let name: Option<Arc<str>> = name.map(Arc::from);
        matchers.push(match &name {
            Some(name) => LabelMatcher::name(Arc::clone(name)),
            // Some condition has to refuse the empty text.
            None => LabelMatcher::name("some.name".into()),
        });
        VectorSelector {
            name,
            matchers,
            shift,
            extension,
            span: SPAN,
        }
    })
}

fn matcher() -> impl Strategy<Value = LabelMatcher> {
    let name = select(vec!["a", "sum", "inf", "x y", "", "\u{e9}\u{0}"]);
    let plain = (
        select(vec![MatchOp::Equal, MatchOp::NotEqual]),
        "[ -~\n\u{e9}\u{fffd}]{0,6}",
    );
    let regex = (
        select(vec![MatchOp::Regex, MatchOp::NotRegex]),
        select(vec!["", ".*", "a|b.+", "[a-c]{2}", "(?i)x\\d", "\\Q.\\E"]).prop_map(str::to_owned),
    );
    (name, prop_oneof![plain, regex]).prop_map(|(name, (op, value))| LabelMatcher {
        name: name.into(),
        op,
        value: value.into(),
    })
}

fn shift() -> impl Strategy<Value = TimeShift> {
    let at = prop_oneof![
        Just(AtModifier::Start),
        Just(AtModifier::End),
        (-1_000_000_000_000_000_i64..1_000_000_000_000_000)
            .prop_map(|ms| AtModifier::Timestamp(Timestamp::from_millis(ms))),
    ];
    let offset = prop_oneof![
        (sign(), millis()).prop_map(|(sign, ms)| {
            DurationValue::Millis(if sign == UnaryOp::Plus { ms } else { -ms })
        }),
        duration_expr(3)
            .prop_filter("is a constant", |expr| !matches!(
                expr.kind,
                DurationKind::Number(_)
            ))
            .prop_map(|expr| DurationValue::Expr(Arc::new(expr))),
    ];
    (option::weighted(0.2, offset), option::weighted(0.2, at))
        .prop_map(|(offset, at)| TimeShift { offset, at })
}

fn millis() -> impl Strategy<Value = i64> {
    1_i64..9_000_000_000_000
}

fn positive_duration() -> impl Strategy<Value = DurationValue> {
    prop_oneof![
        2 => millis().prop_map(DurationValue::Millis),
        1 => duration_expr(3)
            .prop_filter("is a constant", |expr| !matches!(expr.kind, DurationKind::Number(_)))
            .prop_map(|expr| DurationValue::Expr(Arc::new(expr))),
    ]
}

/// The language takes a colon only behind a number, so an expression starts with one here.
fn subquery_range() -> impl Strategy<Value = DurationValue> {
    prop_oneof![
        millis().prop_map(DurationValue::Millis),
        (positive_number(), duration_expr(2)).prop_map(|(number, rest)| {
            let kind = DurationKind::Number(number);
            let sum = join(DurationOp::Add, duration(kind), rest);
            DurationValue::Expr(Arc::new(sum))
        }),
    ]
}

fn duration_expr(depth: u32) -> BoxedStrategy<DurationExpr> {
    let leaf = prop_oneof![
        positive_number().prop_map(|number| duration(DurationKind::Number(number))),
        Just(duration(DurationKind::Step)),
        Just(duration(DurationKind::Range)),
    ];
    if depth == 0 {
        return leaf.boxed();
    }
    let inner = || duration_expr(depth - 1);
    let op = select(vec![
        DurationOp::Add,
        DurationOp::Sub,
        DurationOp::Mul,
        DurationOp::Div,
        DurationOp::Mod,
        DurationOp::Pow,
        DurationOp::MinOf,
        DurationOp::MaxOf,
    ]);
    prop_oneof![
        1 => leaf,
        1 => inner()
            .prop_filter("is in parentheses", |inner| !matches!(inner.kind, DurationKind::Paren(_)))
            .prop_map(|inner| duration(DurationKind::Paren(Arc::new(inner)))),
        1 => inner().prop_map(|inner| duration(DurationKind::Negate(Arc::new(inner)))),
        2 => (op, inner(), inner()).prop_map(|(op, lhs, rhs)| join(op, lhs, rhs)),
    ]
    .boxed()
}

fn positive_number() -> impl Strategy<Value = NumberLiteral> {
    (1_i32..1_000_000, any::<bool>()).prop_map(|(ms, is_duration)| NumberLiteral {
        value: f64::from(ms) / 1000.0,
        is_duration,
        span: SPAN,
    })
}

fn duration(kind: DurationKind) -> DurationExpr {
    DurationExpr { kind, span: SPAN }
}

fn join(op: DurationOp, lhs: DurationExpr, rhs: DurationExpr) -> DurationExpr {
    let (lhs, rhs) = (Arc::new(lhs), Arc::new(rhs));
    duration(DurationKind::Binary { op, lhs, rhs })
}
