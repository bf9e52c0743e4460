//! The types of a complete tree, and the rules that need them.
//!
//! Runs once over what the grammar accepted; texts, places and order of the messages are those of Prometheus
//! promql/parser/parse.go, `checkAST`.

use std::sync::Arc;

use super::ast::{
    AggregateExpr, BinaryExpr, Call, Cardinality, Expr, METRIC_NAME, UnaryExpr, VectorMatching,
    VectorSelector,
};
use super::error::ParseError;
use super::functions::{Arity, FunctionId};
use super::literal::quote;
use super::ops::ValueType;
use super::pattern;
use super::span::Span;

/// Reports what is wrong with the types in `expr`; drops the matching of operators that have none.
pub(super) fn check(expr: &mut Expr, query: &str) -> Vec<ParseError> {
    let mut checker = Checker {
        query,
        errors: Vec::new(),
    };
    checker.expr(expr);
    checker.errors
}

struct Checker<'a> {
    query: &'a str,
    errors: Vec<ParseError>,
}

impl Checker<'_> {
    fn report(&mut self, span: Span, message: impl Into<String>) {
        self.errors.push(ParseError {
            span,
            message: message.into(),
        });
    }

    fn expr(&mut self, expr: &mut Expr) -> ValueType {
        match expr {
            Expr::Aggregate(node) => self.aggregate(Arc::make_mut(node)),
            Expr::Binary(node) => self.binary(Arc::make_mut(node)),
            Expr::Call(node) => self.call(Arc::make_mut(node)),
            Expr::Matrix(node) => {
                self.selector(&node.selector);
                ValueType::Matrix
            }
            Expr::Number(_) => ValueType::Scalar,
            Expr::Paren(node) => self.expr(&mut Arc::make_mut(node).expr),
            Expr::String(_) => ValueType::String,
            Expr::Subquery(node) => {
                let node = Arc::make_mut(node);
                let inner = self.expr(&mut node.expr);
                if inner != ValueType::Vector {
                    self.report(
                        node.span,
                        format!("subquery is only allowed on instant vector, got {inner} instead"),
                    );
                }
                ValueType::Matrix
            }
            Expr::Unary(node) => self.unary(Arc::make_mut(node)),
            Expr::Vector(node) => {
                self.selector(node);
                ValueType::Vector
            }
        }
    }

    fn expect(&mut self, expr: &mut Expr, wanted: ValueType, context: &str) {
        let found = self.expr(expr);
        if found != wanted {
            let (wanted, found) = (wanted.documented(), found.documented());
            self.report(
                expr.span(),
                format!("expected type {wanted} in {context}, got {found}"),
            );
        }
    }

    fn aggregate(&mut self, node: &mut AggregateExpr) -> ValueType {
        self.expect(&mut node.expr, ValueType::Vector, "aggregation expression");
        if let (Some(param), Some(wanted)) = (&mut node.param, node.op.parameter_type()) {
            self.expect(param, wanted, "aggregation parameter");
        }
        ValueType::Vector
    }

    fn unary(&mut self, node: &mut UnaryExpr) -> ValueType {
        let found = self.expr(&mut node.expr);
        if !matches!(found, ValueType::Scalar | ValueType::Vector) {
            let found = found.documented();
            self.report(
                node.span,
                format!(
                    "unary expression only allowed on expressions of type scalar or instant vector, \
                     got \"{found}\""
                ),
            );
        }
        found
    }

    fn binary(&mut self, node: &mut BinaryExpr) -> ValueType {
        let lhs = self.expr(&mut node.lhs);
        let rhs = self.expr(&mut node.rhs);
        self.operator(node, lhs, rhs);
        for (side, found) in [(&node.lhs, lhs), (&node.rhs, rhs)] {
            if !matches!(found, ValueType::Scalar | ValueType::Vector) {
                self.report(
                    side.span(),
                    "binary expression must contain only scalar and instant vector types",
                );
            }
        }
        if (lhs, rhs) == (ValueType::Vector, ValueType::Vector) {
            if let Some(matching) = &node.matching
                && node.op.is_set()
            {
                self.set_matching(node, matching);
            }
        } else if let Some(matching) = node.matching.take() {
            self.no_matching(node, &matching);
        }
        let has_scalar = lhs == ValueType::Scalar || rhs == ValueType::Scalar;
        if has_scalar && node.op.is_set() {
            let op = quote(node.op.as_str());
            self.report(
                node.span,
                format!("set operator {op} not allowed in binary scalar expression"),
            );
        }
        if (lhs, rhs) == (ValueType::Scalar, ValueType::Scalar) {
            ValueType::Scalar
        } else {
            ValueType::Vector
        }
    }

    /// The rules that are reported at the operator.
    fn operator(&mut self, node: &BinaryExpr, lhs: ValueType, rhs: ValueType) {
        let is_comparison = node.op.is_comparison();
        if node.return_bool && !is_comparison {
            self.report(
                self.operator_span(node),
                "bool modifier can only be used on comparison operators",
            );
        }
        let are_scalars = (lhs, rhs) == (ValueType::Scalar, ValueType::Scalar);
        if is_comparison && !node.return_bool && are_scalars {
            self.report(
                self.operator_span(node),
                "comparisons between scalars must use BOOL modifier",
            );
        }
        let Some(matching) = node.matching.as_ref().filter(|matching| matching.on) else {
            return;
        };
        for label in &matching.labels {
            for _ in matching.include.iter().filter(|other| *other == label) {
                let label = quote(label);
                self.report(
                    self.operator_span(node),
                    format!("label {label} must not occur in ON and GROUP clause at once"),
                );
            }
        }
    }

    /// Matching where an operand is no vector.
    fn no_matching(&mut self, node: &BinaryExpr, matching: &VectorMatching) {
        if !matching.labels.is_empty() {
            self.report(
                node.span,
                "vector matching only allowed between instant vectors",
            );
        }
        if matching.fill_left.is_some() || matching.fill_right.is_some() {
            self.report(
                node.span,
                "filling in missing series only allowed between instant vectors",
            );
        }
    }

    /// Matching of a set operator between vectors.
    fn set_matching(&mut self, node: &BinaryExpr, matching: &VectorMatching) {
        let op = quote(node.op.as_str());
        if matches!(
            matching.card,
            Cardinality::OneToMany | Cardinality::ManyToOne
        ) {
            self.report(node.span, format!("no grouping allowed for {op} operation"));
        }
        if matching.card != Cardinality::ManyToMany {
            self.report(node.span, "set operations must always be many-to-many");
        }
        if matching.fill_left.is_some() || matching.fill_right.is_some() {
            self.report(
                node.span,
                "filling in missing series not allowed for set operators",
            );
        }
    }

    /// Returns the place of the operator and its modifiers.
    ///
    /// COMPAT: Prometheus leaves out the last character (promql/parser/parse.go, `opRange`).
    fn operator_span(&self, node: &BinaryExpr) -> Span {
        let bytes = self.query.as_bytes();
        let is_space = |at: u32| {
            let byte = bytes.get(at as usize);
            byte.is_some_and(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'))
        };
        let mut start = node.lhs.span().end;
        while is_space(start) {
            start += 1;
        }
        let mut end = node.rhs.span().start.saturating_sub(1);
        while end > start && is_space(end) {
            end -= 1;
        }
        Span::new(start, end)
    }

    fn call(&mut self, node: &mut Call) -> ValueType {
        self.argument_count(node);
        let is_info = node.func.id == FunctionId::Info;
        if is_info {
            self.info_labels(node);
        }
        for (place, argument) in node.args.iter_mut().enumerate() {
            let Some(wanted) = node.func.arg_type(place) else {
                break;
            };
            // The second argument of `info` selects labels, so matching everything is allowed.
            let is_label_selection = is_info && place == 1 && is_nameless_selector(argument);
            let found = if is_label_selection {
                ValueType::Vector
            } else {
                self.expr(argument)
            };
            if found != wanted {
                let (wanted, found) = (wanted.documented(), found.documented());
                let name = quote(node.func.name);
                self.report(
                    argument.span(),
                    format!("expected type {wanted} in call to function {name}, got {found}"),
                );
            }
        }
        node.func.return_type
    }

    fn argument_count(&mut self, node: &Call) {
        let given = node.args.len();
        let name = quote(node.func.name);
        let min = node.func.args_min();
        let wrong = match (node.func.arity, node.func.args_max()) {
            (Arity::Exact, _) if given != min => Some(format!("expected {min}")),
            (Arity::Exact, _) => None,
            (Arity::UpTo(_) | Arity::Unbounded, _) if given < min => {
                Some(format!("expected at least {min}"))
            }
            (Arity::UpTo(_) | Arity::Unbounded, Some(max)) if given > max => {
                Some(format!("expected at most {max}"))
            }
            (Arity::UpTo(_) | Arity::Unbounded, _) => None,
        };
        if let Some(expected) = wrong {
            self.report(
                node.span,
                format!("{expected} argument(s) in call to {name}, got {given}"),
            );
        }
    }

    /// The second argument of `info` is only the braces of a selector.
    fn info_labels(&mut self, node: &Call) {
        let Some(labels) = node.args.get(1) else {
            return;
        };
        let found = labels.value_type();
        if found != ValueType::Vector {
            let (wanted, found) = (ValueType::Vector.documented(), found.documented());
            self.report(
                node.span,
                format!("expected type {wanted} in call to function \"info\", got {found}"),
            );
        }
        match labels {
            labels if is_nameless_selector(labels) => {}
            Expr::Vector(_) => self.report(
                labels.span(),
                "expected label selectors only, got vector selector instead",
            ),
            _ => self.report(labels.span(), "expected label selectors only"),
        }
    }

    fn selector(&mut self, selector: &VectorSelector) {
        let matchers = &selector.matchers;
        let Some(name) = &selector.name else {
            if matchers.iter().all(pattern::matches_empty) {
                self.report(
                    selector.span,
                    "vector selector must contain at least one non-empty matcher",
                );
            }
            return;
        };
        // The last matcher stands for the name in front of the braces.
        for matcher in matchers.iter().rev().skip(1).rev() {
            if &*matcher.name == METRIC_NAME {
                let (name, other) = (quote(name), quote(&matcher.value));
                self.report(
                    selector.span,
                    format!("metric name must not be set twice: {name} or {other}"),
                );
            }
        }
    }
}

fn is_nameless_selector(expr: &Expr) -> bool {
    matches!(expr, Expr::Vector(selector) if selector.name.is_none())
}
