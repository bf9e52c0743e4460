//! Ranges, steps and offsets: a constant, or an expression over the step and the range of the query.

use std::sync::Arc;
use std::time::Duration;

use super::{NumberLiteral, Span};
use crate::parser::error::ParseError;

/// A range, step or offset.
#[derive(Debug, Clone, PartialEq)]
pub enum DurationValue {
    /// A constant in milliseconds; only offsets are zero or negative.
    Millis(i64),
    /// An expression that [`DurationValue::millis`] turns into a constant once the query's times are known.
    Expr(Arc<DurationExpr>),
}

/// What duration expressions can refer to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueryTimes {
    /// Distance of the query's steps; zero for an instant query.
    pub step: Duration,
    /// From the first to the last step of the query.
    pub range: Duration,
}

impl DurationValue {
    /// Returns the milliseconds of an offset.
    ///
    /// # Errors
    ///
    /// The part of the expression that has no value or one that is out of range.
    pub fn millis(&self, times: QueryTimes) -> Result<i64, ParseError> {
        match self {
            Self::Millis(ms) => Ok(*ms),
            Self::Expr(expr) => expr.eval_seconds(times).and_then(|value| expr.to_ms(value)),
        }
    }

    /// Returns the milliseconds of a range or step, which must be positive.
    ///
    /// # Errors
    ///
    /// As [`Self::millis`], and for values that are not positive.
    pub fn positive_millis(&self, times: QueryTimes) -> Result<i64, ParseError> {
        match self {
            Self::Millis(ms) => Ok(*ms),
            Self::Expr(expr) => {
                let seconds = expr.eval_seconds(times)?;
                if seconds <= 0.0 && seconds.is_finite() {
                    return Err(expr.wrong("duration must be greater than 0"));
                }
                expr.to_ms(seconds)
            }
        }
    }
}

/// An expression that evaluates to seconds.
#[derive(Debug, Clone, PartialEq)]
pub struct DurationExpr {
    /// What it computes.
    pub kind: DurationKind,
    /// Where it stands.
    pub span: Span,
}

impl DurationExpr {
    /// Returns the place that messages give for the expression.
    ///
    /// COMPAT: Prometheus counts neither the closing parenthesis of `(5m)` nor any parenthesis or function name
    /// around operators (promql/parser/ast.go, `DurationExpr.PositionRange`).
    pub fn reported_span(&self) -> Span {
        match &self.kind {
            DurationKind::Number(_) | DurationKind::Step | DurationKind::Range => self.span,
            DurationKind::Negate(operand) => {
                Span::new(self.span.start, operand.reported_span().end)
            }
            DurationKind::Paren(inner) => match inner.kind {
                DurationKind::Number(_) => Span::new(self.span.start, inner.span.end),
                DurationKind::Step
                | DurationKind::Range
                | DurationKind::Negate(_)
                | DurationKind::Paren(_)
                | DurationKind::Binary { .. } => inner.reported_span(),
            },
            DurationKind::Binary { lhs, rhs, .. } => lhs.reported_span().to(rhs.reported_span()),
        }
    }

    fn eval_seconds(&self, times: QueryTimes) -> Result<f64, ParseError> {
        let (op, lhs, rhs) = match &self.kind {
            DurationKind::Number(number) => return Ok(number.value),
            DurationKind::Step => return Ok(times.step.as_secs_f64()),
            DurationKind::Range => return Ok(times.range.as_secs_f64()),
            DurationKind::Negate(operand) => return Ok(-operand.eval_seconds(times)?),
            DurationKind::Paren(inner) => return inner.eval_seconds(times),
            DurationKind::Binary { op, lhs, rhs } => (op, lhs, rhs),
        };
        let lhs = lhs.eval_seconds(times)?;
        let rhs = rhs.eval_seconds(times)?;
        match op {
            DurationOp::Div if rhs == 0.0 => Err(self.wrong("division by zero")),
            DurationOp::Mod if rhs == 0.0 => Err(self.wrong("modulo by zero")),
            _ => Ok(op.apply(lhs, rhs)),
        }
    }

    fn to_ms(&self, seconds: f64) -> Result<i64, ParseError> {
        if !seconds.is_finite() {
            return Err(self.wrong("duration is NaN or infinite"));
        }
        if seconds.abs() > SECONDS_MAX {
            return Err(self.wrong("duration is out of range"));
        }
        #[expect(
            clippy::cast_possible_truncation,
            reason = "within range; fractions are cut off as in Go"
        )]
        Ok((seconds * 1000.0) as i64)
    }

    fn wrong(&self, message: &str) -> ParseError {
        ParseError {
            span: self.reported_span(),
            message: message.to_owned(),
        }
    }
}

/// Most seconds that Go's nanosecond durations can hold.
pub(in crate::parser) const SECONDS_MAX: f64 = 9_223_372_036.854_776;

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

    fn apply(self, lhs: f64, rhs: f64) -> f64 {
        match self {
            Self::Add => lhs + rhs,
            Self::Sub => lhs - rhs,
            Self::Mul => lhs * rhs,
            Self::Div => lhs / rhs,
            Self::Mod => lhs % rhs,
            Self::Pow => lhs.powf(rhs),
            Self::MinOf => min_or_nan(lhs, rhs),
            Self::MaxOf => -min_or_nan(-lhs, -rhs),
        }
    }
}

/// Go's `math.Min`: not-a-number wins, where Rust's `min` lets it lose.
fn min_or_nan(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() {
        f64::NAN
    } else {
        a.min(b)
    }
}
