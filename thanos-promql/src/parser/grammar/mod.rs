//! Tokens to an expression tree: a Pratt parser with Prometheus' messages.
//!
//! Prometheus generates its parser from a yacc grammar whose `error` rules say where a wrong token is reported and
//! where reading goes on. Reports are to be the same, so each function here that stands for such a rule catches
//! [`Failure::Syntax`] from the functions below it, reports, and goes on. As in yacc, tokens that fit nowhere are
//! dropped silently until one is taken after a report. Source: Prometheus promql/parser/generated_parser.y.

mod aggregate;
mod duration;
mod expression;
mod histogram;
mod modifier;
mod selector;
mod series;

use super::ast::{Expr, NumberLiteral};
use super::error::{ParseError, ParseErrors};
use super::lexer::Lexer;
use super::literal::{parse_duration_ms, parse_number, quote};
use super::options::Options;
use super::span::Span;
use super::token::{Token, TokenKind};

/// Most levels of parentheses, calls, signs and the like inside each other: this parser recurses over them.
const NESTING_MAX: u32 = 250;

/// Why a rule could not be completed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// No rule takes the next token; the innermost rule that can report does so.
    Syntax,
    /// Nothing can follow: everything there is to report is reported.
    Abort,
}

/// The result of a grammar rule.
pub(super) type Step<T> = Result<T, Failure>;

/// An expression under construction.
#[derive(Debug)]
pub(super) struct Operand {
    pub(super) expr: Expr,
    /// Levels of the tree.
    pub(super) depth: u32,
    /// A range was put on something that is no vector selector; reported, and `expr` only stands in for it.
    pub(super) is_bad_range: bool,
}

/// Reads one text.
#[derive(Debug)]
pub(super) struct Parser<'a> {
    lexer: Lexer<'a>,
    options: &'a Options,
    /// The token that was looked at but not taken. Tokens are read as late as possible, since reading
    /// one may report an error and the order of reports matters.
    lookahead: Option<Token>,
    /// The last token taken.
    last_taken: Span,
    /// End of the last token read that can end an expression, for the ranges of some reports.
    closing_end: u32,
    errors: Vec<ParseError>,
    /// An error was reported and no token taken since.
    is_recovering: bool,
    nesting: u32,
}

impl<'a> Parser<'a> {
    pub(super) fn new(lexer: Lexer<'a>, options: &'a Options) -> Self {
        Self {
            lexer,
            options,
            lookahead: None,
            last_taken: Span::default(),
            closing_end: 0,
            errors: Vec::new(),
            is_recovering: false,
            nesting: 0,
        }
    }

    /// Reads an expression up to the end of the text; none if an error was reported.
    pub(super) fn whole_expression(&mut self) -> Option<Expr> {
        if self.peek() == TokenKind::Eof {
            self.report(Span::default(), "no expression found in input");
            return None;
        }
        self.whole(|parser| parser.expression(0).map(|operand| operand.expr))
    }

    /// Reads `rule` up to the end of the text; none if an error was reported.
    pub(super) fn whole<T>(&mut self, rule: impl FnOnce(&mut Self) -> Step<T>) -> Option<T> {
        let result = rule(self).and_then(|value| self.end().map(|()| value));
        if matches!(result, Err(Failure::Syntax)) {
            self.recover("", "");
            // Whatever follows is dropped, but text that is no token is still reported.
            let _ends_anyway = self.end();
        }
        result.ok().filter(|_| self.errors.is_empty())
    }

    /// Returns the errors reported so far, if any.
    pub(super) fn into_errors(self, query: &str) -> Option<ParseErrors> {
        (!self.errors.is_empty()).then(|| ParseErrors::new(self.errors, query))
    }

    fn end(&mut self) -> Step<()> {
        while !matches!(self.peek(), TokenKind::Eof | TokenKind::Stop) {
            self.reject()?;
        }
        Ok(())
    }

    /// Returns the kind of the next token.
    #[inline]
    pub(super) fn peek(&mut self) -> TokenKind {
        match self.lookahead {
            Some(token) => token.kind,
            None => self.read(),
        }
    }

    /// Reports whether the next token was looked at already and is a `kind`.
    pub(super) fn is_lookahead(&self, kind: TokenKind) -> bool {
        self.lookahead.is_some_and(|token| token.kind == kind)
    }

    fn read(&mut self) -> TokenKind {
        let token = match self.lexer.next_token() {
            Ok(token) => token,
            Err(error) => {
                let span = error.span;
                self.report(span, error.message);
                Token {
                    kind: TokenKind::Stop,
                    span,
                }
            }
        };
        if token.kind.is_closing() {
            self.closing_end = token.span.end;
        }
        self.lookahead = Some(token);
        token.kind
    }

    /// Takes the next token.
    pub(super) fn take(&mut self) -> Span {
        self.peek();
        self.is_recovering = false;
        let span = self
            .lookahead
            .take()
            .map_or(Span::default(), |token| token.span);
        self.last_taken = span;
        span
    }

    /// Takes the next token if it is a `kind`.
    pub(super) fn take_if(&mut self, kind: TokenKind) -> Option<Span> {
        (self.peek() == kind).then(|| self.take())
    }

    /// Takes a `kind`.
    pub(super) fn expect(&mut self, kind: TokenKind) -> Step<Span> {
        while self.peek() != kind {
            self.reject()?;
        }
        Ok(self.take())
    }

    /// Refuses the next token. On success it was dropped, and the caller looks at the next one.
    pub(super) fn reject(&mut self) -> Step<()> {
        if !self.is_recovering {
            return Err(Failure::Syntax);
        }
        if self.peek() == TokenKind::Stop {
            return Err(Failure::Abort);
        }
        self.lookahead = None;
        Ok(())
    }

    pub(super) fn text(&self, span: Span) -> &'a str {
        self.lexer.text(span)
    }

    pub(super) fn report(&mut self, span: Span, message: impl Into<String>) {
        self.errors.push(ParseError {
            // Stand-ins for wrong parts have no place, which can put the end before the start.
            span: Span::new(span.start, span.end.max(span.start)),
            message: message.into(),
        });
    }

    /// Reports the next token and goes on.
    #[cold]
    pub(super) fn recover(&mut self, context: &str, expected: &str) {
        self.peek();
        if let Some(token) = self.lookahead
            // The reason to stop is reported already.
            && token.kind != TokenKind::Stop
        {
            let mut message = String::from("unexpected ");
            message += &token.kind.describe(self.text(token.span));
            for (joint, part) in [(" in ", context), (", expected ", expected)] {
                if !part.is_empty() {
                    message += joint;
                    message += part;
                }
            }
            self.report(token.span, message);
        }
        self.is_recovering = true;
    }

    /// Turns a syntax error of a sub-rule into a report in this rule's words; the value is then absent.
    pub(super) fn catch<T>(
        &mut self,
        result: Step<T>,
        context: &str,
        expected: &str,
    ) -> Step<Option<T>> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(Failure::Syntax) => {
                self.recover(context, expected);
                Ok(None)
            }
            Err(Failure::Abort) => Err(Failure::Abort),
        }
    }

    /// Goes on behind a syntax error of a sub-rule without a report.
    pub(super) fn drop_silently(&mut self, result: Step<()>) -> Step<()> {
        match result {
            Err(Failure::Abort) => Err(Failure::Abort),
            Ok(()) | Err(Failure::Syntax) => {
                self.is_recovering = true;
                Ok(())
            }
        }
    }

    /// Runs `rule` one level deeper; too many levels are an error.
    pub(super) fn nested<T>(&mut self, rule: impl FnOnce(&mut Self) -> Step<T>) -> Step<T> {
        let nesting_max = NESTING_MAX.min(self.options.depth_max);
        if self.nesting >= nesting_max {
            return Err(self.too_deep(nesting_max));
        }
        self.nesting += 1;
        let result = rule(self);
        self.nesting -= 1;
        result
    }

    /// Returns the operand of a tree whose largest child has `child_depth` levels.
    pub(super) fn grown(&mut self, expr: Expr, child_depth: u32) -> Step<Operand> {
        if child_depth >= self.options.depth_max {
            return Err(self.too_deep(self.options.depth_max));
        }
        Ok(Operand {
            expr,
            depth: child_depth + 1,
            is_bad_range: false,
        })
    }

    #[cold]
    fn too_deep(&mut self, levels_max: u32) -> Failure {
        let place = Span::new(self.last_taken.end, self.last_taken.end);
        self.report(
            place,
            format!("expression has more than {levels_max} levels"),
        );
        Failure::Abort
    }

    /// Reads the number or duration that is next.
    pub(super) fn number_literal(&mut self) -> NumberLiteral {
        let is_duration = self.peek() == TokenKind::Duration;
        let span = self.take();
        let value = if is_duration {
            self.duration_value(span)
        } else {
            self.number_value(span)
        };
        NumberLiteral {
            value,
            is_duration,
            span,
        }
    }

    fn number_value(&mut self, span: Span) -> f64 {
        let text = self.text(span);
        parse_number(text).unwrap_or_else(|reason| {
            let text = quote(text);
            self.report(
                span,
                format!("error parsing number: strconv.ParseFloat: parsing {text}: {reason}"),
            );
            if reason == "value out of range" {
                f64::INFINITY
            } else {
                0.0
            }
        })
    }

    fn duration_value(&mut self, span: Span) -> f64 {
        let ms = parse_duration_ms(self.text(span)).unwrap_or_else(|message| {
            self.report(span, message);
            0
        });
        ms_to_seconds(ms)
    }
}

/// COMPAT: whole seconds and the rest are divided apart, as in Go's `Duration.Seconds`.
#[expect(clippy::cast_precision_loss, reason = "durations are below 2^53 ms")]
fn ms_to_seconds(ms: u64) -> f64 {
    (ms / 1000) as f64 + (ms % 1000 * 1_000_000) as f64 / 1e9
}
