//! Ranges, steps and offsets: a constant, or an expression over the step and the range of the query.

use std::sync::Arc;

use super::{NumberLiteral, Span};

/// A range, step or offset.
#[derive(Debug, Clone, PartialEq)]
pub enum DurationValue {
    /// A constant in milliseconds; only offsets are zero or negative.
    Millis(i64),
    /// An expression that `eval_millis` turns into a constant once the query's times are known.
    Expr(Arc<DurationExpr>),
}

/// An expression that evaluates to seconds.
#[derive(Debug, Clone, PartialEq)]
pub struct DurationExpr {
    /// What it computes.
    pub kind: DurationKind,
    /// Where it stands.
    pub span: Span,
}

/// The forms of a [`DurationExpr`].
#[derive(Debug, Clone, PartialEq)]
pub enum DurationKind {
    /// A number of seconds.
    Number(NumberLiteral),
    /// `step()`: the step of the query.
    Step,
    /// `range()`: the time from the first to the last step of the query.
    Range,
    /// `-x`
    Negate(Arc<DurationExpr>),
    /// `(x)`
    Paren(Arc<DurationExpr>),
    /// `x + y`, `max_of(x, y)`
    Binary {
        /// The operator or function.
        op: DurationOp,
        /// The left side or first argument.
        lhs: Arc<DurationExpr>,
        /// The right side or second argument.
        rhs: Arc<DurationExpr>,
    },
}

/// An operator or two-argument function of duration expressions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DurationOp {
    /// `+`
    Add,
    /// `-`
    Sub,
    /// `*`
    Mul,
    /// `/`
    Div,
    /// `%`
    Mod,
    /// `^`
    Pow,
    /// `min_of(x, y)`
    MinOf,
    /// `max_of(x, y)`
    MaxOf,
}

impl DurationOp {
    /// Returns the operator or function name as written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Sub => "-",
            Self::Mul => "*",
            Self::Div => "/",
            Self::Mod => "%",
            Self::Pow => "^",
            Self::MinOf => "min_of",
            Self::MaxOf => "max_of",
        }
    }
}
