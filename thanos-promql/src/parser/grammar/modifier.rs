//! What follows a selector or subquery: ranges, `offset`, `@`, `anchored` and `smoothed`.

use std::sync::Arc;

use thanos_core::time::Timestamp;

use super::duration::{is_zero_duration, to_value};
use super::expression::signed;
use super::{Failure, Operand, Parser, Step};
use crate::parser::ast::{
    AtModifier, DurationExpr, Expr, MatrixSelector, RangeExtension, SubqueryExpr, TimeShift,
    VectorSelector,
};
use crate::parser::ops::UnaryOp;
use crate::parser::span::Span;
use crate::parser::token::{Keyword, QueryWord, TokenKind};

const IN_BRACKETS: &str = "subquery or range selector";
const DURATION: &str = "number, duration, step(), or range()";

impl Parser<'_> {
    /// Reads the modifiers behind `operand`.
    pub(super) fn modifiers(&mut self, mut operand: Operand) -> Step<Operand> {
        loop {
            match self.peek() {
                TokenKind::LeftBracket => operand = self.brackets(operand)?,
                TokenKind::At => self.at(&mut operand)?,
                TokenKind::Keyword(Keyword::Offset) => self.offset(&mut operand)?,
                TokenKind::Keyword(Keyword::Anchored) => {
                    self.extension(&mut operand, RangeExtension::Anchored);
                }
                TokenKind::Keyword(Keyword::Smoothed) => {
                    self.extension(&mut operand, RangeExtension::Smoothed);
                }
                _ => return Ok(operand),
            }
        }
    }

    /// Reads a range or the range and step of a subquery.
    fn brackets(&mut self, operand: Operand) -> Step<Operand> {
        let open = self.take();
        let result = self.positive_duration();
        let Some(range) = self.catch(result, IN_BRACKETS, DURATION)? else {
            return Ok(operand);
        };
        match self.peek() {
            TokenKind::RightBracket => {
                let brackets = open.to(self.take());
                Ok(self.matrix(operand, &range, brackets))
            }
            TokenKind::Colon => {
                self.take();
                self.subquery(operand, &range)
            }
            _ => {
                self.recover("subquery or range", "\":\" or \"]\"");
                Ok(operand)
            }
        }
    }

    fn matrix(&mut self, operand: Operand, range: &DurationExpr, brackets: Span) -> Operand {
        let wrong = match &operand.expr {
            Expr::Vector(selector) if selector.shift.offset.is_some() => {
                Some("no offset modifiers allowed before range")
            }
            Expr::Vector(selector) if selector.shift.at.is_some() => {
                Some("no @ modifiers allowed before range")
            }
            Expr::Vector(_) => None,
            _ => Some("ranges only allowed for vector selectors"),
        };
        if let Some(message) = wrong {
            self.report(brackets, message);
        }
        let span = operand.expr.span().to(brackets);
        let (selector, is_bad_range) = match operand.expr {
            Expr::Vector(selector) => (selector, false),
            other => (Arc::new(stand_in(other.span())), true),
        };
        let matrix = MatrixSelector {
            selector,
            range: to_value(range),
            span,
        };
        Operand {
            expr: Expr::Matrix(Arc::new(matrix)),
            depth: operand.depth,
            is_bad_range,
        }
    }

    /// Reads the step of a subquery, the colon read already.
    fn subquery(&mut self, operand: Operand, range: &DurationExpr) -> Step<Operand> {
        const IN_SUBQUERY: &str = "subquery selector";
        let mut step = None;
        if self.peek() != TokenKind::RightBracket {
            let result = self.positive_duration();
            let expected = "number, duration, step(), range(), or \"]\"";
            let Some(value) = self.catch(result, IN_SUBQUERY, expected)? else {
                return Ok(operand);
            };
            // COMPAT: a step that rounds to nothing is no step (Prometheus ast.go, SubqueryExpr.Step).
            step = Some(to_value(&value)).filter(|_| !is_zero_duration(&value));
            if self.peek() != TokenKind::RightBracket {
                self.recover(IN_SUBQUERY, "\"]\"");
                return Ok(operand);
            }
        }
        let span = operand.expr.span().to(self.take());
        let subquery = Expr::Subquery(Arc::new(SubqueryExpr {
            expr: operand.expr,
            range: to_value(range),
            step,
            shift: TimeShift::default(),
            span,
        }));
        self.grown(subquery, operand.depth)
    }

    fn offset(&mut self, operand: &mut Operand) -> Step<()> {
        self.take();
        let result = self.offset_duration();
        let Some(offset) = self.catch(result, "offset", DURATION)? else {
            return Ok(());
        };
        let end = self.last_taken.end;
        let span = operand.expr.span();
        match self.shift_mut(operand, "offset modifier") {
            None => return Ok(()),
            Some(shift) if shift.offset.is_some() => {
                self.report(span, "offset may not be set multiple times");
            }
            // COMPAT: an offset of zero counts as none.
            Some(_) if is_zero_duration(&offset) => {}
            Some(shift) => shift.offset = Some(to_value(&offset)),
        }
        set_end(&mut operand.expr, end);
        Ok(())
    }

    fn at(&mut self, operand: &mut Operand) -> Step<()> {
        self.take();
        let result = self.at_time(operand.expr.span());
        let Some(at) = self.catch(result, "@", "timestamp")? else {
            return Ok(());
        };
        let end = self.last_taken.end;
        let span = operand.expr.span();
        match self.shift_mut(operand, "@ modifier") {
            None => return Ok(()),
            Some(shift) if shift.at.is_some() => {
                self.report(span, "@ <timestamp> may not be set multiple times");
                return Ok(());
            }
            Some(shift) => shift.at = Some(at),
        }
        set_end(&mut operand.expr, end);
        Ok(())
    }

    fn at_time(&mut self, operand_span: Span) -> Step<AtModifier> {
        let preprocessor = match self.peek() {
            TokenKind::QueryWord(QueryWord::Start) => Some(AtModifier::Start),
            TokenKind::QueryWord(QueryWord::End) => Some(AtModifier::End),
            _ => None,
        };
        if let Some(at) = preprocessor {
            self.take();
            self.expect(TokenKind::LeftParen)?;
            self.expect(TokenKind::RightParen)?;
            return Ok(at);
        }
        let sign = self.take_sign().map_or(UnaryOp::Plus, |(sign, _)| sign);
        if !matches!(self.peek(), TokenKind::Number | TokenKind::Duration) {
            return Err(Failure::Syntax);
        }
        let seconds = signed(sign, self.number_literal().value);
        // Both bounds are powers of two and so exact; not-a-number fails the comparison as well.
        const SECONDS_BOUND: f64 = 9_223_372_036_854_775_808.0;
        if !(-SECONDS_BOUND < seconds && seconds < SECONDS_BOUND) {
            let seconds = format_fixed(seconds);
            self.report(
                operand_span,
                format!("timestamp out of bounds for @ modifier: {seconds}"),
            );
        }
        Ok(AtModifier::Timestamp(timestamp(seconds)))
    }

    fn extension(&mut self, operand: &mut Operand, extension: RangeExtension) {
        let word = extension.as_str();
        self.take();
        let span = operand.expr.span();
        if !self.options.extended_range_selectors {
            self.report(
                span,
                format!("{word} modifier is experimental and not enabled"),
            );
            return;
        }
        if operand.is_bad_range {
            return;
        }
        let selector = match &mut operand.expr {
            Expr::Vector(selector) => Arc::make_mut(selector),
            Expr::Matrix(matrix) => Arc::make_mut(&mut Arc::make_mut(matrix).selector),
            Expr::Subquery(_) => {
                self.report(
                    span,
                    format!("{word} modifier is not supported for subqueries"),
                );
                return;
            }
            _ => {
                self.report(span, format!("{word} modifier not implemented"));
                return;
            }
        };
        let before = selector.extension.replace(extension);
        if before.is_some_and(|before| before != extension) {
            self.report(
                span,
                "anchored and smoothed modifiers cannot be used together",
            );
        }
        // COMPAT: the modifier does not count to the place of the selector.
    }

    /// Returns the modifiers of `operand`; reports if it can have none.
    fn shift_mut<'e>(
        &mut self,
        operand: &'e mut Operand,
        modifier: &str,
    ) -> Option<&'e mut TimeShift> {
        let span = operand.expr.span();
        if operand.is_bad_range {
            self.report(span, "ranges only allowed for vector selectors");
            return None;
        }
        match &mut operand.expr {
            Expr::Vector(selector) => Some(&mut Arc::make_mut(selector).shift),
            Expr::Matrix(matrix) => {
                let selector = Arc::make_mut(&mut Arc::make_mut(matrix).selector);
                Some(&mut selector.shift)
            }
            Expr::Subquery(subquery) => Some(&mut Arc::make_mut(subquery).shift),
            _ => {
                self.report(
                    span,
                    format!(
                        "{modifier} must be preceded by an instant vector selector \
                         or range vector selector or a subquery"
                    ),
                );
                None
            }
        }
    }
}

fn set_end(expr: &mut Expr, end: u32) {
    match expr {
        Expr::Vector(selector) => Arc::make_mut(selector).span.end = end,
        Expr::Matrix(matrix) => Arc::make_mut(matrix).span.end = end,
        Expr::Subquery(subquery) => Arc::make_mut(subquery).span.end = end,
        _ => {}
    }
}

/// Stands in for the selector of a range that was reported as wrong.
fn stand_in(span: Span) -> VectorSelector {
    VectorSelector {
        name: None,
        matchers: Vec::new(),
        shift: TimeShift::default(),
        extension: None,
        span,
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "saturates; times beyond the bounds are reported"
)]
fn timestamp(seconds: f64) -> Timestamp {
    Timestamp::from_millis((seconds * 1000.0).round() as i64)
}

/// Go's `%f`.
fn format_fixed(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned()
    } else {
        format!("{value:.6}")
    }
}
