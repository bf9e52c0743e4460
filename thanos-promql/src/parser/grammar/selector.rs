//! Vector selectors: a name, conditions in braces, or both.

use std::sync::Arc;

use thanos_core::labels::MatchOp;

use super::expression::leaf;
use super::{Failure, Operand, Parser, Step};
use crate::parser::ast::{Expr, LabelMatcher, TimeShift, VectorSelector};
use crate::parser::literal::unquote;
use crate::parser::ops::BinaryOp;
use crate::parser::pattern;
use crate::parser::span::Span;
use crate::parser::token::TokenKind;

impl Parser<'_> {
    /// Reads a selector without modifiers.
    pub(in crate::parser) fn bare_selector(&mut self) -> Step<VectorSelector> {
        match self.peek() {
            TokenKind::LeftBrace => self.selector(None),
            kind if kind.is_metric_name() => {
                let name = self.take();
                self.selector(Some(name))
            }
            _ => Err(Failure::Syntax),
        }
    }

    /// Reads a selector, its name read already if it has one in front of the braces.
    pub(super) fn vector_selector(&mut self, name_span: Option<Span>) -> Step<Operand> {
        let selector = self.selector(name_span)?;
        Ok(leaf(Expr::Vector(Arc::new(selector))))
    }

    fn selector(&mut self, name_span: Option<Span>) -> Step<VectorSelector> {
        let mut matchers = Vec::new();
        let braces = self.take_if(TokenKind::LeftBrace);
        if braces.is_some() {
            self.label_matchers(&mut matchers)?;
        }
        let name: Option<Arc<str>> = name_span.map(|span| self.text(span).into());
        if let Some(name) = &name {
            matchers.push(LabelMatcher::name(Arc::clone(name)));
        }
        let start = name_span.or(braces).map_or(0, |span| span.start);
        Ok(VectorSelector {
            name,
            matchers,
            shift: TimeShift::default(),
            extension: None,
            span: Span::new(start, self.last_taken.end),
        })
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
                return Some(LabelMatcher::name(name));
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

fn match_op(kind: TokenKind) -> Option<MatchOp> {
    match kind {
        TokenKind::Assign => Some(MatchOp::Equal),
        TokenKind::Op(BinaryOp::NotEqual) => Some(MatchOp::NotEqual),
        TokenKind::MatchRegex => Some(MatchOp::Regex),
        TokenKind::MatchNotRegex => Some(MatchOp::NotRegex),
        _ => None,
    }
}
