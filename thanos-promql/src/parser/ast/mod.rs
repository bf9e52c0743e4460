//! The expression tree.
//!
//! An [`Expr`] is two words: a tag and a shared pointer. Cloning one costs a reference count, so a plan can
//! rewrite a tree and share what it did not change. Every node knows the byte range it was written in;
//! a rewritten node keeps the range of the text it stands for. Regular expressions are not compiled here.

mod duration;
mod selector;

use std::sync::Arc;

pub(super) use duration::SECONDS_MAX;
pub use duration::{DurationExpr, DurationKind, DurationOp, DurationValue, QueryTimes};
pub(super) use selector::METRIC_NAME;
pub use selector::{
    AtModifier, LabelMatcher, MatrixSelector, RangeExtension, SubqueryExpr, TimeShift,
    VectorSelector,
};

use super::functions::Function;
use super::ops::{AggregateOp, BinaryOp, UnaryOp, ValueType};
use super::span::Span;

/// An expression; cheap to clone.
#[derive(Debug, Clone, PartialEq)]
pub enum Expr {
    /// `sum by (job) (x)`
    Aggregate(Arc<AggregateExpr>),
    /// `x + y`
    Binary(Arc<BinaryExpr>),
    /// `rate(x[5m])`
    Call(Arc<Call>),
    /// `x[5m]`
    Matrix(Arc<MatrixSelector>),
    /// `5`, `5m`
    Number(Arc<NumberLiteral>),
    /// `(x)`
    Paren(Arc<ParenExpr>),
    /// `"text"`
    String(Arc<StringLiteral>),
    /// `x[5m:1m]`
    Subquery(Arc<SubqueryExpr>),
    /// `-x`
    Unary(Arc<UnaryExpr>),
    /// `x{job="api"}`
    Vector(Arc<VectorSelector>),
}

impl Expr {
    /// Returns the byte range the expression was written in.
    pub fn span(&self) -> Span {
        match self {
            Self::Aggregate(node) => node.span,
            Self::Binary(node) => node.span,
            Self::Call(node) => node.span,
            Self::Matrix(node) => node.span,
            Self::Number(node) => node.span,
            Self::Paren(node) => node.span,
            Self::String(node) => node.span,
            Self::Subquery(node) => node.span,
            Self::Unary(node) => node.span,
            Self::Vector(node) => node.span,
        }
    }

    /// Returns what the expression evaluates to.
    ///
    /// Walks down operators and parentheses.
    pub fn value_type(&self) -> ValueType {
        match self {
            Self::Aggregate(_) | Self::Vector(_) => ValueType::Vector,
            Self::Binary(node) => {
                let sides = (node.lhs.value_type(), node.rhs.value_type());
                if sides == (ValueType::Scalar, ValueType::Scalar) {
                    ValueType::Scalar
                } else {
                    ValueType::Vector
                }
            }
            Self::Call(node) => node.func.return_type,
            Self::Matrix(_) | Self::Subquery(_) => ValueType::Matrix,
            Self::Number(_) => ValueType::Scalar,
            Self::Paren(node) => node.expr.value_type(),
            Self::String(_) => ValueType::String,
            Self::Unary(node) => node.expr.value_type(),
        }
    }

    /// Returns the expression without the parentheses around it.
    pub fn without_parens(&self) -> &Self {
        let mut at = self;
        while let Self::Paren(node) = at {
            at = &node.expr;
        }
        at
    }
}

/// A number, or a duration standing for its seconds.
#[derive(Debug, Clone, Copy)]
pub struct NumberLiteral {
    /// The value; seconds if it was written as a duration.
    pub value: f64,
    /// Whether it was written as a duration, which decides how it is printed.
    pub is_duration: bool,
    /// Where it stands.
    pub span: Span,
}

/// Compares bits, so that a tree with `NaN` equals itself.
impl PartialEq for NumberLiteral {
    fn eq(&self, other: &Self) -> bool {
        (self.value.to_bits(), self.is_duration, self.span)
            == (other.value.to_bits(), other.is_duration, other.span)
    }
}

/// A text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StringLiteral {
    /// The text without quotes and escapes. A byte that is not UTF-8 reads as U+FFFD, as in Prometheus' JSON.
    pub value: Arc<str>,
    /// The exact bytes where they are not UTF-8: Go strings are bytes, and an escape can spell any (`"\xff"`).
    pub bytes: Option<Arc<[u8]>>,
    /// Where it stands, quotes included.
    pub span: Span,
}

/// An expression in parentheses.
#[derive(Debug, Clone, PartialEq)]
pub struct ParenExpr {
    /// What is in the parentheses.
    pub expr: Expr,
    /// Where it stands, parentheses included.
    pub span: Span,
}

/// A sign in front of an expression; signs in front of numbers are part of the [`NumberLiteral`].
#[derive(Debug, Clone, PartialEq)]
pub struct UnaryExpr {
    /// The sign.
    pub op: UnaryOp,
    /// The operand.
    pub expr: Expr,
    /// Where it stands.
    pub span: Span,
}

/// Two expressions joined by an operator.
#[derive(Debug, Clone, PartialEq)]
pub struct BinaryExpr {
    /// The operator.
    pub op: BinaryOp,
    /// The left side.
    pub lhs: Expr,
    /// The right side.
    pub rhs: Expr,
    /// How series find each other; present exactly when both sides are vectors.
    pub matching: Option<VectorMatching>,
    /// Whether a comparison answers 0 or 1 in place of filtering.
    pub return_bool: bool,
    /// Where it stands, operands included.
    pub span: Span,
}

/// How many series of each side may share the matching labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cardinality {
    /// One on each side.
    OneToOne,
    /// Many on the left: `group_left`.
    ManyToOne,
    /// Many on the right: `group_right`.
    OneToMany,
    /// Any number on both: the set operators.
    ManyToMany,
}

impl Cardinality {
    /// Returns the words used in messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OneToOne => "one-to-one",
            Self::ManyToOne => "many-to-one",
            Self::OneToMany => "one-to-many",
            Self::ManyToMany => "many-to-many",
        }
    }
}

/// How the series of two vectors find each other.
#[derive(Debug, Clone, PartialEq)]
pub struct VectorMatching {
    /// How many series of each side may match.
    pub card: Cardinality,
    /// Whether `labels` are the ones that must be equal (`on`) or the ones left out (`ignoring`, also the default).
    pub on: bool,
    /// The labels of `on` or `ignoring`.
    pub labels: Vec<Arc<str>>,
    /// The labels of `group_left` or `group_right`, copied from the one side.
    pub include: Vec<Arc<str>>,
    /// Value that stands for a missing series of the left side.
    pub fill_left: Option<f64>,
    /// Value that stands for a missing series of the right side.
    pub fill_right: Option<f64>,
}

impl Default for VectorMatching {
    fn default() -> Self {
        Self {
            card: Cardinality::OneToOne,
            on: false,
            labels: Vec::new(),
            include: Vec::new(),
            fill_left: None,
            fill_right: None,
        }
    }
}

/// Which labels form the groups of an aggregation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Grouping {
    /// The listed ones; with none listed everything is one group.
    By,
    /// All but the listed ones.
    Without,
}

/// An aggregation.
#[derive(Debug, Clone, PartialEq)]
pub struct AggregateExpr {
    /// What is computed.
    pub op: AggregateOp,
    /// The vector.
    pub expr: Expr,
    /// The parameter; present exactly when `op` takes one.
    pub param: Option<Expr>,
    /// How `labels` form groups.
    pub grouping: Grouping,
    /// The labels of `by` or `without`.
    pub labels: Vec<Arc<str>>,
    /// Where it stands.
    pub span: Span,
}

/// A function call.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// The function.
    pub func: &'static Function,
    /// The arguments.
    pub args: Vec<Expr>,
    /// Where it stands.
    pub span: Span,
}
