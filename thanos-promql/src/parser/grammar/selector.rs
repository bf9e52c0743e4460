//! Vector selectors: a name, conditions in braces, or both.

use std::sync::Arc;

use thanos_core::labels::MatchOp;

use super::expression::leaf;
use super::{Operand, Parser, Step};
use crate::parser::ast::{Expr, LabelMatcher, TimeShift, VectorSelector};
use crate::parser::literal::unquote;
use crate::parser::ops::BinaryOp;
use crate::parser::pattern;
use crate::parser::span::Span;
use crate::parser::token::TokenKind;

/// The label that holds the metric name.
pub(in crate::parser) const METRIC_NAME: &str = "__name__";

impl Parser<'_> {
    /// Reads a selector, its name read already if it has one in front of the braces.
    pub(super) fn vector_selector(&mut self, name_span: Option<Span>) -> Step<Operand> {
        let mut matchers = Vec::new();
        let start = name_span;
        let braces = self.take_if(TokenKind::LeftBrace);
        if braces.is_some() {
            self.label_matchers(&mut matchers)?;
        }
        let name: Option<Arc<str>> = name_span.map(|span| self.text(span).into());
        if let Some(name) = &name {
            matchers.push(name_matcher(Arc::clone(name)));
        }
        let start = start.or(braces).map_or(0, |span| span.start);
        Ok(leaf(Expr::Vector(Arc::new(VectorSelector {
            name,
            matchers,
            shift: TimeShift::default(),
            extension: None,
            span: Span::new(start, self.taken_end),
        }))))
    }

    /// Reads conditions up to the closing brace, the opening one read already.
    fn label_matchers(&mut self, matchers: &mut Vec<LabelMatcher>) -> Step<()> {
        if self.take_if(TokenKind::RightBrace).is_some() {
            return Ok(());
        }
        loop {
            matchers.extend(self.label_matcher());
            if self.matcher_separator()? == TokenKind::RightBrace {
                return Ok(());
            }
            if self.take_if(TokenKind::RightBrace).is_some() {
                return Ok(());
            }
        }
    }

    /// Reads the comma or brace behind a condition.
    fn matcher_separator(&mut self) -> Step<TokenKind> {
        loop {
            match self.peek() {
                kind @ (TokenKind::Comma | TokenKind::RightBrace) => {
                    self.take();
                    return Ok(kind);
                }
                _ => {
                    let result = self.reject();
                    self.catch(result, "label matching", "\",\" or \"}\"")?;
                }
            }
        }
    }

    fn label_matcher(&mut self) -> Option<LabelMatcher> {
        let kind = self.peek();
        if !matches!(kind, TokenKind::Identifier | TokenKind::String) {
            self.recover("label matching", "identifier or \"}\"");
            return None;
        }
        let name_span = self.take();
        let name = if kind == TokenKind::String {
            unquote(self.text(name_span)).into_text()
        } else {
            self.text(name_span).into()
        };
        let Some(op) = match_op(self.peek()) else {
            if kind == TokenKind::String {
                return Some(name_matcher(name));
            }
            self.recover("label matching", "label matching operator");
            return None;
        };
        self.take();
        let Some(value_span) = self.take_if(TokenKind::String) else {
            self.recover("label matching", "string");
            return None;
        };
        let value = unquote(self.text(value_span)).into_text();
        if matches!(op, MatchOp::Regex | MatchOp::NotRegex)
            && let Err(error) = pattern::check(&value)
        {
            self.report(name_span.to(value_span), error);
        }
        Some(LabelMatcher { name, op, value })
    }
}

fn name_matcher(name: Arc<str>) -> LabelMatcher {
    LabelMatcher {
        name: METRIC_NAME.into(),
        op: MatchOp::Equal,
        value: name,
    }
}

fn match_op(kind: TokenKind) -> Option<MatchOp> {
    match kind {
        TokenKind::Assign => Some(MatchOp::Equal),
        TokenKind::Op(BinaryOp::NotEqual) => Some(MatchOp::NotEqual),
        TokenKind::MatchRegex => Some(MatchOp::Regex),
        TokenKind::MatchNotRegex => Some(MatchOp::NotRegex),
        _ => None,
    }
}
