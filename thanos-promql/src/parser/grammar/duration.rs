//! Duration expressions, in brackets and behind `offset`.

use std::sync::Arc;

use super::expression::signed;
use super::{Failure, Parser, Step};
use crate::parser::ast::{
    DurationExpr, DurationKind, DurationOp, DurationValue, NumberLiteral, SECONDS_MAX,
};
use crate::parser::ops::{BinaryOp, UnaryOp};
use crate::parser::span::Span;
use crate::parser::token::{QueryWord, TokenKind};

impl Parser<'_> {
    /// Reads a range or step.
    pub(super) fn positive_duration(&mut self) -> Step<DurationExpr> {
        let duration = self.duration(0)?;
        if let DurationKind::Number(number) = &duration.kind
            && number.value <= 0.0
        {
            self.report(number.span, "duration must be greater than 0");
        }
        Ok(duration)
    }

    /// Reads what follows `offset`. A number, a function or a sign before one of these or before a parenthesis ends
    /// there, so that in `x offset 5m - y` the operator is PromQL's. COMPAT: a parenthesis without sign does not.
    pub(super) fn offset_duration(&mut self) -> Step<DurationExpr> {
        let sign = self.take_sign();
        match self.peek() {
            TokenKind::Number | TokenKind::Duration => Ok(self.signed_number(sign)),
            TokenKind::QueryWord(
                QueryWord::Step | QueryWord::Range | QueryWord::MaxOf | QueryWord::MinOf,
            ) => {
                let call = self.duration_call(sign.is_some())?;
                if let Some((_, sign_span)) = sign {
                    self.need_duration_expressions(sign_span.to(call.reported_span()));
                }
                Ok(apply_sign(sign, call))
            }
            TokenKind::LeftParen if sign.is_some() => {
                let open = self.take();
                let inner = self.duration(0)?;
                let close = self.expect(TokenKind::RightParen)?;
                Ok(apply_sign(sign, paren(inner, open.to(close))))
            }
            _ => {
                let first = match sign {
                    None => self.duration_operand()?,
                    Some(sign) => {
                        let operand = self.duration(BinaryOp::Pow.precedence())?;
                        self.signed_duration(sign, operand)
                    }
                };
                self.duration_operators(first, 0)
            }
        }
    }

    fn signed_number(&mut self, sign: Option<(UnaryOp, Span)>) -> DurationExpr {
        let mut number = self.number_literal();
        let mut report_at = number.span;
        if let Some((op, sign_span)) = sign {
            number.value = signed(op, number.value);
            number.span = sign_span.to(number.span);
            report_at = sign_span;
        }
        self.in_range(number, report_at)
    }

    /// Reads a duration of operators that bind at least as strongly as `precedence_min`.
    fn duration(&mut self, precedence_min: u8) -> Step<DurationExpr> {
        self.nested(|parser| {
            let first = parser.duration_operand()?;
            parser.duration_operators(first, precedence_min)
        })
    }

    fn duration_operators(
        &mut self,
        mut lhs: DurationExpr,
        precedence_min: u8,
    ) -> Step<DurationExpr> {
        let mut depth = self.nesting;
        loop {
            let TokenKind::Op(binary) = self.peek() else {
                return Ok(lhs);
            };
            let precedence = binary.precedence();
            let Some(op) = duration_op(binary).filter(|_| precedence >= precedence_min) else {
                return Ok(lhs);
            };
            depth += 1;
            if depth > self.options.depth_max {
                return Err(self.too_deep(self.options.depth_max));
            }
            let op_span = self.take();
            let rhs = self.duration(precedence + u8::from(!binary.is_right_associative()))?;
            lhs = self.duration_binary(op, op_span, lhs, rhs);
        }
    }

    fn duration_binary(
        &mut self,
        op: DurationOp,
        op_span: Span,
        lhs: DurationExpr,
        rhs: DurationExpr,
    ) -> DurationExpr {
        self.need_duration_expressions(lhs.reported_span());
        let is_zero = matches!(&rhs.kind, DurationKind::Number(number) if number.value == 0.0);
        let complaint = match op {
            DurationOp::Div if is_zero => Some("division by zero"),
            DurationOp::Mod if is_zero => Some("modulo by zero"),
            _ => None,
        };
        if let Some(message) = complaint {
            self.report(op_span, message);
            return zero();
        }
        let span = lhs.span.to(rhs.span);
        let (lhs, rhs) = (Arc::new(lhs), Arc::new(rhs));
        let kind = DurationKind::Binary { op, lhs, rhs };
        DurationExpr { kind, span }
    }

    fn duration_operand(&mut self) -> Step<DurationExpr> {
        match self.peek() {
            TokenKind::Number | TokenKind::Duration => {
                let number = self.number_literal();
                Ok(self.in_range(number, number.span))
            }
            TokenKind::Op(BinaryOp::Add | BinaryOp::Sub) => {
                let sign = self.take_sign().ok_or(Failure::Syntax)?;
                let operand = self.duration(BinaryOp::Pow.precedence())?;
                Ok(self.signed_duration(sign, operand))
            }
            TokenKind::QueryWord(
                QueryWord::Step | QueryWord::Range | QueryWord::MaxOf | QueryWord::MinOf,
            ) => self.duration_call(false),
            TokenKind::LeftParen => {
                let open = self.take();
                let inner = self.duration(0)?;
                let close = self.expect(TokenKind::RightParen)?;
                self.need_duration_expressions(inner.reported_span());
                Ok(paren(inner, open.to(close)))
            }
            _ => Err(Failure::Syntax),
        }
    }

    /// Reads `step()`, `range()`, `min_of(x, y)` or `max_of(x, y)`.
    fn duration_call(&mut self, is_signed: bool) -> Step<DurationExpr> {
        let kind = self.peek();
        let name = self.take();
        self.expect(TokenKind::LeftParen)?;
        let kind = match kind {
            TokenKind::QueryWord(QueryWord::Step) => DurationKind::Step,
            TokenKind::QueryWord(QueryWord::Range) => DurationKind::Range,
            other => {
                let op = if other == TokenKind::QueryWord(QueryWord::MinOf) {
                    DurationOp::MinOf
                } else {
                    DurationOp::MaxOf
                };
                let lhs = Arc::new(self.duration(0)?);
                self.expect(TokenKind::Comma)?;
                let rhs = Arc::new(self.duration(0)?);
                DurationKind::Binary { op, lhs, rhs }
            }
        };
        let span = name.to(self.expect(TokenKind::RightParen)?);
        let call = DurationExpr { kind, span };
        if !is_signed {
            self.need_duration_expressions(call.reported_span());
        }
        Ok(call)
    }

    fn signed_duration(&mut self, sign: (UnaryOp, Span), operand: DurationExpr) -> DurationExpr {
        let DurationKind::Number(mut number) = operand.kind else {
            return apply_sign(Some(sign), operand);
        };
        let (op, sign_span) = sign;
        number.value = signed(op, number.value);
        number.span = sign_span.to(number.span);
        self.in_range(number, sign_span)
    }

    /// Returns the number as duration, or zero if it is too large for one, which is reported.
    fn in_range(&mut self, number: NumberLiteral, report_at: Span) -> DurationExpr {
        if number.value > SECONDS_MAX || number.value < -SECONDS_MAX {
            self.report(report_at, "duration out of range");
            return zero();
        }
        DurationExpr {
            kind: DurationKind::Number(number),
            span: number.span,
        }
    }

    fn need_duration_expressions(&mut self, place: Span) {
        if !self.options.duration_expressions {
            self.report(place, "experimental duration expression is not enabled");
        }
    }
}

fn apply_sign(sign: Option<(UnaryOp, Span)>, operand: DurationExpr) -> DurationExpr {
    match sign {
        Some((UnaryOp::Minus, sign_span)) => DurationExpr {
            span: sign_span.to(operand.span),
            kind: DurationKind::Negate(Arc::new(operand)),
        },
        Some((UnaryOp::Plus, _)) | None => operand,
    }
}

fn paren(inner: DurationExpr, span: Span) -> DurationExpr {
    let kind = match inner.kind {
        // Parentheses inside parentheses change nothing and are printed once.
        DurationKind::Paren(inner) => DurationKind::Paren(inner),
        kind => DurationKind::Paren(Arc::new(DurationExpr {
            kind,
            span: inner.span,
        })),
    };
    DurationExpr { kind, span }
}

/// Stands in for a duration that was reported as wrong. COMPAT: it has no place.
fn zero() -> DurationExpr {
    let span = Span::default();
    DurationExpr {
        kind: DurationKind::Number(NumberLiteral {
            value: 0.0,
            is_duration: false,
            span,
        }),
        span,
    }
}

fn duration_op(op: BinaryOp) -> Option<DurationOp> {
    Some(match op {
        BinaryOp::Add => DurationOp::Add,
        BinaryOp::Sub => DurationOp::Sub,
        BinaryOp::Mul => DurationOp::Mul,
        BinaryOp::Div => DurationOp::Div,
        BinaryOp::Mod => DurationOp::Mod,
        BinaryOp::Pow => DurationOp::Pow,
        _ => return None,
    })
}

/// Returns the value of a complete range, step or offset.
pub(super) fn to_value(duration: &DurationExpr) -> DurationValue {
    match &duration.kind {
        DurationKind::Number(number) => DurationValue::Millis(nanos(*number) / 1_000_000),
        _ => DurationValue::Expr(Arc::new(duration.clone())),
    }
}

/// Reports whether the duration is constant and less than half a nanosecond long.
pub(super) fn is_zero_duration(duration: &DurationExpr) -> bool {
    matches!(&duration.kind, DurationKind::Number(number) if nanos(*number) == 0)
}

/// COMPAT: numbers are rounded to nanoseconds as Go's durations are, before anything cuts them to milliseconds.
/// Written durations have whole milliseconds, which Prometheus' detour over floats loses beyond a hundred days.
#[expect(
    clippy::cast_possible_truncation,
    reason = "saturates; the parser refuses values out of range"
)]
fn nanos(number: NumberLiteral) -> i64 {
    if number.is_duration {
        ((number.value * 1000.0).round() as i64).saturating_mul(1_000_000)
    } else {
        (number.value * 1e9).round() as i64
    }
}
