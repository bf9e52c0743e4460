//! Aggregations, and the label lists they share with binary operators.

use std::sync::Arc;

use super::expression::{leaf, nothing};
use super::{Operand, Parser, Step};
use crate::parser::ast::{AggregateExpr, Expr, Grouping};
use crate::parser::literal::{Unquoted, unquote};
use crate::parser::ops::AggregateOp;
use crate::parser::span::Span;
use crate::parser::token::{Keyword, TokenKind};

/// The parts of an aggregation behind its name.
#[derive(Debug)]
struct Parts {
    grouping: Grouping,
    labels: Vec<Arc<str>>,
    arguments: Vec<Operand>,
}

impl Parser<'_> {
    /// Reads an aggregation, its name `op_span` read already.
    pub(super) fn aggregate(&mut self, op: AggregateOp, op_span: Span) -> Step<Operand> {
        let result = self.aggregate_parts();
        let parts = self.catch(result, "aggregation", "")?;
        // COMPAT: the end of the last closing token read, be it behind the aggregation; but not a parenthesis there.
        let is_paren_ahead = parts.is_some() && self.is_lookahead(TokenKind::RightParen);
        let end = if is_paren_ahead {
            self.last_taken.end
        } else {
            self.closing_end
        };
        // Nothing may have closed yet.
        let span = Span::new(op_span.start, end.max(op_span.start));
        let parts = parts.filter(|parts| !parts.arguments.is_empty());
        let Some(parts) = parts else {
            self.report(span, "no arguments for aggregate expression provided");
            return Ok(leaf(nothing(span)));
        };
        if op.is_experimental() && !self.options.experimental_functions {
            self.report(
                span,
                format!(
                    "{op}() is experimental and must be enabled with \
                     --enable-feature=promql-experimental-functions"
                ),
            );
            return Ok(leaf(nothing(span)));
        }
        self.new_aggregate(op, span, parts)
    }

    fn new_aggregate(&mut self, op: AggregateOp, span: Span, parts: Parts) -> Step<Operand> {
        let wanted = if op.has_parameter() { 2 } else { 1 };
        let given = parts.arguments.len();
        if given != wanted {
            self.report(
                span,
                format!(
                    "wrong number of arguments for aggregate expression provided, \
                     expected {wanted}, got {given}"
                ),
            );
            return Ok(leaf(nothing(span)));
        }
        let depth = parts.arguments.iter().map(|argument| argument.depth).max();
        let mut arguments = parts.arguments.into_iter().map(|argument| argument.expr);
        let param = if op.has_parameter() {
            arguments.next()
        } else {
            None
        };
        let expr = arguments.next().unwrap_or_else(|| nothing(span));
        let aggregate = Expr::Aggregate(Arc::new(AggregateExpr {
            op,
            expr,
            param,
            grouping: parts.grouping,
            labels: parts.labels,
            span,
        }));
        self.grown(aggregate, depth.unwrap_or(0))
    }

    /// Reads arguments with labels in front, behind, or none.
    fn aggregate_parts(&mut self) -> Step<Parts> {
        if let Some((grouping, labels)) = self.grouping()? {
            let arguments = self.arguments()?;
            return Ok(Parts {
                grouping,
                labels,
                arguments,
            });
        }
        let arguments = self.arguments()?;
        let (grouping, labels) = self.grouping()?.unwrap_or((Grouping::By, Vec::new()));
        Ok(Parts {
            grouping,
            labels,
            arguments,
        })
    }

    fn grouping(&mut self) -> Step<Option<(Grouping, Vec<Arc<str>>)>> {
        let grouping = match self.peek() {
            TokenKind::Keyword(Keyword::By) => Grouping::By,
            TokenKind::Keyword(Keyword::Without) => Grouping::Without,
            _ => return Ok(None),
        };
        self.take();
        Ok(Some((grouping, self.grouping_labels()?)))
    }

    /// Reads label names in parentheses, behind a keyword.
    pub(super) fn grouping_labels(&mut self) -> Step<Vec<Arc<str>>> {
        let mut labels = Vec::new();
        if self.take_if(TokenKind::LeftParen).is_none() {
            self.recover("grouping opts", "\"(\"");
            return Ok(labels);
        }
        if self.take_if(TokenKind::RightParen).is_some() {
            return Ok(labels);
        }
        loop {
            labels.extend(self.grouping_label());
            if self.label_separator()? == TokenKind::RightParen {
                return Ok(labels);
            }
            if self.take_if(TokenKind::RightParen).is_some() {
                return Ok(labels);
            }
        }
    }

    /// Reads the comma or parenthesis behind a label.
    fn label_separator(&mut self) -> Step<TokenKind> {
        loop {
            match self.peek() {
                kind @ (TokenKind::Comma | TokenKind::RightParen) => {
                    self.take();
                    return Ok(kind);
                }
                _ => {
                    let result = self.reject();
                    self.catch(result, "grouping opts", "\",\" or \")\"")?;
                }
            }
        }
    }

    fn grouping_label(&mut self) -> Option<Arc<str>> {
        let kind = self.peek();
        if kind.is_label_name() {
            let span = self.take();
            return Some(self.text(span).into());
        }
        if kind != TokenKind::String {
            self.recover("grouping opts", "label");
            return None;
        }
        let span = self.take();
        let name = unquote(self.text(span));
        let is_valid = matches!(&name, Unquoted::Text(text) if !text.is_empty());
        if !is_valid {
            self.report(
                span,
                format!("invalid label name for grouping: {}", name.quoted()),
            );
        }
        Some(name.into_text())
    }
}
