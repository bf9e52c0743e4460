//! Reads plans.
//!
//! A plan is text from outside: its length is bounded, and the JSON reader bounds its depth.

use std::sync::Arc;

use serde_json::{Map, Value as Json};
use thanos_core::labels::{METRIC_NAME, MatchOp};
use thanos_core::time::Timestamp;

use crate::error::{Error, Result};
use crate::parser::ast::{
    AggregateExpr, AtModifier, BinaryExpr, Call, Cardinality, DurationValue, Expr, Grouping,
    LabelMatcher, MatrixSelector, NumberLiteral, ParenExpr, RangeExtension, StringLiteral,
    SubqueryExpr, TimeShift, UnaryExpr, VectorMatching, VectorSelector,
};
use crate::parser::{AggregateOp, BinaryOp, Function, Span, UnaryOp};

/// The most bytes of a plan that is read.
pub const PLAN_BYTES_MAX: usize = 4 << 20;

const AGGREGATIONS: [AggregateOp; 14] = [
    AggregateOp::Avg,
    AggregateOp::BottomK,
    AggregateOp::Count,
    AggregateOp::CountValues,
    AggregateOp::Group,
    AggregateOp::LimitRatio,
    AggregateOp::LimitK,
    AggregateOp::Max,
    AggregateOp::Min,
    AggregateOp::Quantile,
    AggregateOp::Stddev,
    AggregateOp::Stdvar,
    AggregateOp::Sum,
    AggregateOp::TopK,
];

const OPERATORS: [BinaryOp; 18] = [
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
    BinaryOp::And,
    BinaryOp::Or,
    BinaryOp::Unless,
];

/// Returns the query that `plan` says, as text.
///
/// The text is not checked: parse it.
///
/// # Errors
///
/// `Invalid` for what is no plan, for one that is too long or too deep, and for parts that are not known.
pub fn to_query(plan: &[u8]) -> Result<String> {
    if plan.len() > PLAN_BYTES_MAX {
        return Err(wrong(&format!("is longer than {PLAN_BYTES_MAX} bytes")));
    }
    let plan = with_exact_numbers(plan);
    let json: Json = serde_json::from_slice(&plan).map_err(|error| wrong(&error))?;
    Ok(expr(&json)?.to_string())
}

/// Returns `plan` with its fractions as texts: the JSON reader may be wrong in their last bit.
fn with_exact_numbers(plan: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(plan.len() + plan.len() / 8);
    let mut rest = plan;
    while let Some(byte) = rest.first() {
        let is_number = |byte: &u8| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
        let (taken, is_fraction) = match byte {
            b'"' => (text_len(rest), false),
            b'0'..=b'9' | b'-' => {
                let len = rest.iter().take_while(|byte| is_number(byte)).count();
                let number = std::str::from_utf8(&rest[..len]).unwrap_or_default();
                (len, number.parse::<i64>().is_err())
            }
            _ => (1, false),
        };
        let (token, after) = rest.split_at(taken);
        let quote: &[u8] = if is_fraction { b"\"" } else { b"" };
        out.extend_from_slice(quote);
        out.extend_from_slice(token);
        out.extend_from_slice(quote);
        rest = after;
    }
    out
}

/// Returns the bytes of the JSON text at the start of `json`, quotes included.
fn text_len(json: &[u8]) -> usize {
    let mut at = 1;
    while at < json.len() {
        match json[at] {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    json.len()
}

fn wrong(what: &dyn std::fmt::Display) -> Error {
    Error::invalid(format!("query plan: {what}"))
}

fn missing(what: &str) -> Error {
    wrong(&format!("has no {what}"))
}

/// A node: its data and its children.
struct NodeJson<'a> {
    data: &'a Json,
    children: &'a [Json],
}

impl<'a> NodeJson<'a> {
    /// Returns the member `name` of the data; Go leaves out nothing that matters.
    fn get(&self, name: &str) -> Result<&'a Json> {
        let found = self.data.get(name);
        found.ok_or_else(|| missing(&format!("member {name}")))
    }

    fn text(&self, name: &str) -> Result<&'a str> {
        let text = self.get(name)?.as_str();
        text.ok_or_else(|| wrong(&format!("{name} is not a text")))
    }

    fn flag(&self, name: &str) -> bool {
        self.data.get(name).and_then(Json::as_bool).unwrap_or(false)
    }

    fn int(&self, name: &str) -> Result<i64> {
        let number = self.get(name)?.as_i64();
        number.ok_or_else(|| wrong(&format!("{name} is not an integer")))
    }

    fn names(&self, name: &str) -> Result<Vec<Arc<str>>> {
        names(self.data.get(name))
    }

    /// Returns a duration in whole milliseconds.
    fn millis(&self, name: &str) -> Result<i64> {
        let nanos = self.int(name)?;
        if nanos % 1_000_000 != 0 {
            return Err(wrong(&format!("{name} is not in whole milliseconds")));
        }
        Ok(nanos / 1_000_000)
    }

    fn child(&self, index: usize) -> Result<Expr> {
        let child = self.children.get(index);
        expr(child.ok_or_else(|| missing(&format!("child {index}")))?)
    }

    /// Returns `@` and `offset`.
    fn shift(&self) -> Result<TimeShift> {
        let at = match self.data.get("Timestamp") {
            None | Some(Json::Null) if self.is_at_border() => {
                return Err(wrong(&"has a modifier @ that is not settled"));
            }
            None | Some(Json::Null) => None,
            Some(ms) => {
                let ms = ms.as_i64();
                let ms = ms.ok_or_else(|| wrong(&"Timestamp is not an integer"))?;
                Some(AtModifier::Timestamp(Timestamp::from_millis(ms)))
            }
        };
        // `Offset` is a state of Go's evaluation, which includes what `@` does.
        let offset = match self.millis("OriginalOffset")? {
            0 => None,
            ms => Some(DurationValue::Millis(ms)),
        };
        Ok(TimeShift { offset, at })
    }

    /// Reports whether `@ start()` or `@ end()` is meant: a token whose number differs between versions, or its text.
    fn is_at_border(&self) -> bool {
        match self.data.get("StartOrEnd") {
            Some(Json::Number(token)) => token.as_i64() != Some(0),
            Some(Json::String(token)) => token == "start" || token == "end",
            _ => false,
        }
    }
}

fn names(json: Option<&Json>) -> Result<Vec<Arc<str>>> {
    let list = match json {
        None | Some(Json::Null) => return Ok(Vec::new()),
        Some(Json::Array(list)) => list,
        Some(_) => return Err(wrong(&"label names are not a list")),
    };
    let name = |name: &Json| {
        let name = name.as_str();
        name.map(Arc::from)
            .ok_or_else(|| wrong(&"a label name is not a text"))
    };
    list.iter().map(name).collect()
}

fn expr(json: &Json) -> Result<Expr> {
    let object: &Map<String, Json> = json
        .as_object()
        .ok_or_else(|| wrong(&"a node is not an object"))?;
    let kind = object.get("type").and_then(Json::as_str);
    let kind = kind.ok_or_else(|| missing("type"))?;
    let children = object.get("children").and_then(Json::as_array);
    let node = NodeJson {
        data: object.get("data").unwrap_or(&Json::Null),
        children: children.map_or(&[], Vec::as_slice),
    };
    let span = Span::default();
    Ok(match kind {
        "vector_selector" => vector_or_time(&node)?,
        "matrix_selector" => matrix(&node)?,
        "aggregation" => aggregation(&node)?,
        "binary" => binary(&node)?,
        "function" => function(&node)?,
        "number_literal" => Expr::Number(Arc::new(NumberLiteral {
            value: number(node.data)?,
            is_duration: false,
            span,
        })),
        "string_literal" => Expr::String(Arc::new(StringLiteral {
            value: node.text("Val")?.into(),
            bytes: None,
            span,
        })),
        "subquery" => subquery(&node)?,
        // Marks of the optimiser, which mean nothing.
        "check_duplicate" | "step_invariant" => node.child(0)?,
        "parens" => Expr::Paren(Arc::new(ParenExpr {
            expr: node.child(0)?,
            span,
        })),
        "unary" => Expr::Unary(Arc::new(UnaryExpr {
            op: match node.text("Op")? {
                "+" => UnaryOp::Plus,
                "-" => UnaryOp::Minus,
                other => return Err(wrong(&format!("there is no sign {other:?}"))),
            },
            expr: node.child(0)?,
            span,
        })),
        other => return Err(wrong(&format!("there is no node {other:?}"))),
    })
}

fn number(data: &Json) -> Result<f64> {
    match data.as_str() {
        Some("NaN") => return Ok(f64::NAN),
        Some("+Inf") => return Ok(f64::INFINITY),
        Some("-Inf") => return Ok(f64::NEG_INFINITY),
        Some(_) | None => {}
    }
    let value = data.get("Val").and_then(finite);
    value.ok_or_else(|| missing("number"))
}

/// Returns a number that is an integer or was made a text.
fn finite(json: &Json) -> Option<f64> {
    let parsed = json.as_f64().or_else(|| json.as_str()?.parse().ok());
    parsed.filter(|value: &f64| value.is_finite())
}

fn matchers(json: Option<&Json>) -> Result<Vec<LabelMatcher>> {
    let Some(list) = json.and_then(Json::as_array) else {
        return Ok(Vec::new());
    };
    let matcher = |json: &Json| {
        let text = |name: &str| {
            let text = json.get(name).and_then(Json::as_str);
            text.ok_or_else(|| missing(&format!("{name} of a matcher")))
        };
        let op = match json.get("Type").and_then(Json::as_i64) {
            Some(0) => MatchOp::Equal,
            Some(1) => MatchOp::NotEqual,
            Some(2) => MatchOp::Regex,
            Some(3) => MatchOp::NotRegex,
            _ => return Err(wrong(&"a matcher has no type that is known")),
        };
        Ok(LabelMatcher {
            name: text("Name")?.into(),
            op,
            value: text("Value")?.into(),
        })
    };
    list.iter().map(matcher).collect()
}

fn vector(node: &NodeJson<'_>) -> Result<VectorSelector> {
    let mut all = matchers(node.data.get("LabelMatchers"))?;
    // The optimiser reads more than is wanted and filters then: both hold.
    all.extend(matchers(node.data.get("Filters"))?);
    let name = node.data.get("Name").and_then(Json::as_str);
    let name = name.filter(|name| is_said_last(&all, name));
    let extension = match (node.flag("Anchored"), node.flag("Smoothed")) {
        (false, false) => None,
        (true, false) => Some(RangeExtension::Anchored),
        (false, true) => Some(RangeExtension::Smoothed),
        (true, true) => return Err(wrong(&"a selector is anchored and smoothed")),
    };
    Ok(VectorSelector {
        name: name.map(Arc::from),
        matchers: all,
        shift: node.shift()?,
        extension,
        span: Span::default(),
    })
}

/// Reports whether the last matcher is the one for the metric `name`, as in a parsed selector.
fn is_said_last(matchers: &[LabelMatcher], name: &str) -> bool {
    let is_name = |matcher: &LabelMatcher| &*matcher.name == METRIC_NAME;
    let said = matchers.iter().filter(|matcher| is_name(matcher)).count() == 1;
    let last = matchers.last().filter(|matcher| is_name(matcher));
    let is_same = |last: &LabelMatcher| last.op == MatchOp::Equal && &*last.value == name;
    said && !name.is_empty() && last.is_some_and(is_same)
}

fn vector_or_time(node: &NodeJson<'_>) -> Result<Expr> {
    let selector = Expr::Vector(Arc::new(vector(node)?));
    if !node.flag("SelectTimestamp") {
        return Ok(selector);
    }
    call("timestamp", vec![selector])
}

fn call(name: &str, args: Vec<Expr>) -> Result<Expr> {
    let func = Function::find(name);
    let func = func.ok_or_else(|| wrong(&format!("there is no function {name:?}")))?;
    let span = Span::default();
    Ok(Expr::Call(Arc::new(Call { func, args, span })))
}

fn matrix(node: &NodeJson<'_>) -> Result<Expr> {
    let inner = node.children.first().ok_or_else(|| missing("selector"))?;
    let is_selector = inner.get("type").and_then(Json::as_str) == Some("vector_selector");
    let data = inner.get("data").filter(|_| is_selector);
    let selector = vector(&NodeJson {
        data: data.ok_or_else(|| missing("selector"))?,
        children: &[],
    })?;
    Ok(Expr::Matrix(Arc::new(MatrixSelector {
        selector: Arc::new(selector),
        range: DurationValue::Millis(node.millis("Range")?),
        span: Span::default(),
    })))
}

fn aggregation(node: &NodeJson<'_>) -> Result<Expr> {
    let name = node.text("Op")?;
    let op = AGGREGATIONS.into_iter().find(|op| op.as_str() == name);
    let op = op.ok_or_else(|| wrong(&format!("there is no aggregation {name:?}")))?;
    let param = match node.children.len() {
        0 | 1 => None,
        _ => Some(node.child(1)?),
    };
    Ok(Expr::Aggregate(Arc::new(AggregateExpr {
        op,
        expr: node.child(0)?,
        param,
        grouping: if node.flag("Without") {
            Grouping::Without
        } else {
            Grouping::By
        },
        labels: node.names("Grouping")?,
        span: Span::default(),
    })))
}

fn binary(node: &NodeJson<'_>) -> Result<Expr> {
    let name = node.text("Op")?;
    let op = OPERATORS.into_iter().find(|op| op.as_str() == name);
    let op = op.ok_or_else(|| wrong(&format!("there is no operator {name:?}")))?;
    let matching = match node.data.get("VectorMatching") {
        None | Some(Json::Null) => None,
        Some(matching) => Some(self::matching(matching)?),
    };
    Ok(Expr::Binary(Arc::new(BinaryExpr {
        op,
        lhs: node.child(0)?,
        rhs: node.child(1)?,
        matching,
        return_bool: node.flag("ReturnBool"),
        span: Span::default(),
    })))
}

fn matching(json: &Json) -> Result<VectorMatching> {
    let card = match json.get("Card").and_then(Json::as_i64) {
        Some(0) => Cardinality::OneToOne,
        Some(1) => Cardinality::ManyToOne,
        Some(2) => Cardinality::OneToMany,
        Some(3) => Cardinality::ManyToMany,
        _ => return Err(wrong(&"an operator has no cardinality that is known")),
    };
    let fill = |side: &str| -> Result<Option<f64>> {
        match json.get("FillValues").and_then(|fill| fill.get(side)) {
            None | Some(Json::Null) => Ok(None),
            Some(value) => {
                let number = value.as_f64().or_else(|| value.as_str()?.parse().ok());
                let number = number.ok_or_else(|| wrong(&"a fill value is not a number"));
                number.map(Some)
            }
        }
    };
    Ok(VectorMatching {
        card,
        on: json.get("On").and_then(Json::as_bool).unwrap_or(false),
        labels: names(json.get("MatchingLabels"))?,
        include: names(json.get("Include"))?,
        fill_left: fill("LHS")?,
        fill_right: fill("RHS")?,
    })
}

fn function(node: &NodeJson<'_>) -> Result<Expr> {
    let name = node.get("Func")?.get("Name").and_then(Json::as_str);
    let name = name.ok_or_else(|| missing("name of a function"))?;
    let args = (0..node.children.len()).map(|index| node.child(index));
    call(name, args.collect::<Result<_>>()?)
}

fn subquery(node: &NodeJson<'_>) -> Result<Expr> {
    let step = match node.millis("Step")? {
        0 => None,
        ms => Some(DurationValue::Millis(ms)),
    };
    Ok(Expr::Subquery(Arc::new(SubqueryExpr {
        expr: node.child(0)?,
        range: DurationValue::Millis(node.millis("Range")?),
        step,
        shift: node.shift()?,
        span: Span::default(),
    })))
}
