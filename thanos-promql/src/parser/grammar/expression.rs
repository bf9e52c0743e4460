//! Expressions: operators by precedence, and what they operate on.

use std::sync::Arc;

use super::{Failure, Operand, Parser, Step};
use crate::parser::ast::{
    BinaryExpr, Call, Cardinality, Expr, ParenExpr, StringLiteral, UnaryExpr, VectorMatching,
};
use crate::parser::functions::{Availability, Function};
use crate::parser::literal::{quote, unquote};
use crate::parser::ops::{BinaryOp, UnaryOp};
use crate::parser::span::Span;
use crate::parser::token::{Keyword, TokenKind};

impl Parser<'_> {
    /// Reads an expression of operators that bind at least as strongly as `precedence_min`.
    pub(super) fn expression(&mut self, precedence_min: u8) -> Step<Operand> {
        self.nested(|parser| {
            let first = parser.operand()?;
            parser.operators(first, precedence_min)
        })
    }

    /// Reads the operators behind `lhs` that bind at least as strongly as `precedence_min`.
    fn operators(&mut self, mut lhs: Operand, precedence_min: u8) -> Step<Operand> {
        loop {
            let TokenKind::Op(op) = self.peek() else {
                return Ok(lhs);
            };
            let precedence = op.precedence();
            if precedence < precedence_min {
                return Ok(lhs);
            }
            self.take();
            let (matching, return_bool) = self.binary_modifiers()?;
            let rhs_precedence = precedence + u8::from(!op.is_right_associative());
            let rhs = self.expression(rhs_precedence)?;
            lhs = self.binary(op, lhs, rhs, matching, return_bool)?;
        }
    }

    fn binary(
        &mut self,
        op: BinaryOp,
        lhs: Operand,
        rhs: Operand,
        mut matching: VectorMatching,
        return_bool: bool,
    ) -> Step<Operand> {
        let span = lhs.expr.span().to(rhs.expr.span());
        let has_fill = matching.fill_left.is_some() || matching.fill_right.is_some();
        if has_fill && !self.options.fill_modifiers {
            self.report(
                span,
                "binop fill modifiers are experimental and not enabled",
            );
        }
        if op.is_set() && matching.card == Cardinality::OneToOne {
            matching.card = Cardinality::ManyToMany;
        }
        let depth = lhs.depth.max(rhs.depth);
        let expr = Expr::Binary(Arc::new(BinaryExpr {
            op,
            lhs: lhs.expr,
            rhs: rhs.expr,
            matching: Some(matching),
            return_bool,
            span,
        }));
        self.grown(expr, depth)
    }

    /// Reads `bool`, `on`, `ignoring`, `group_left`, `group_right` and the fill modifiers.
    fn binary_modifiers(&mut self) -> Step<(VectorMatching, bool)> {
        let mut matching = VectorMatching::default();
        let return_bool = self.take_if(TokenKind::Keyword(Keyword::Bool)).is_some();
        if let TokenKind::Keyword(word @ (Keyword::On | Keyword::Ignoring)) = self.peek() {
            self.take();
            matching.on = word == Keyword::On;
            matching.labels = self.grouping_labels()?;
            if let TokenKind::Keyword(word @ (Keyword::GroupLeft | Keyword::GroupRight)) =
                self.peek()
            {
                self.take();
                matching.card = if word == Keyword::GroupLeft {
                    Cardinality::ManyToOne
                } else {
                    Cardinality::OneToMany
                };
                // The labels may be left out when an operand follows.
                let next = self.peek();
                if next == TokenKind::LeftParen || !next.starts_expression() {
                    matching.include = self.grouping_labels()?;
                }
            }
        }
        self.fill_modifiers(&mut matching)?;
        Ok((matching, return_bool))
    }

    fn fill_modifiers(&mut self, matching: &mut VectorMatching) -> Step<()> {
        let TokenKind::Keyword(first) = self.peek() else {
            return Ok(());
        };
        match first {
            Keyword::Fill => {
                self.take();
                let value = self.fill_value()?;
                matching.fill_left = Some(value);
                matching.fill_right = Some(value);
            }
            Keyword::FillLeft => {
                self.take();
                matching.fill_left = Some(self.fill_value()?);
                if self
                    .take_if(TokenKind::Keyword(Keyword::FillRight))
                    .is_some()
                {
                    matching.fill_right = Some(self.fill_value()?);
                }
            }
            Keyword::FillRight => {
                self.take();
                matching.fill_right = Some(self.fill_value()?);
                if self
                    .take_if(TokenKind::Keyword(Keyword::FillLeft))
                    .is_some()
                {
                    matching.fill_left = Some(self.fill_value()?);
                }
            }
            Keyword::Anchored
            | Keyword::Bool
            | Keyword::By
            | Keyword::GroupLeft
            | Keyword::GroupRight
            | Keyword::Ignoring
            | Keyword::Offset
            | Keyword::On
            | Keyword::Smoothed
            | Keyword::Without => {}
        }
        Ok(())
    }

    fn fill_value(&mut self) -> Step<f64> {
        self.expect(TokenKind::LeftParen)?;
        let sign = self.take_sign().map_or(UnaryOp::Plus, |(sign, _)| sign);
        if !matches!(self.peek(), TokenKind::Number | TokenKind::Duration) {
            return Err(Failure::Syntax);
        }
        let value = self.number_literal().value;
        self.expect(TokenKind::RightParen)?;
        Ok(signed(sign, value))
    }

    pub(super) fn take_sign(&mut self) -> Option<(UnaryOp, Span)> {
        let sign = match self.peek() {
            TokenKind::Op(BinaryOp::Add) => UnaryOp::Plus,
            TokenKind::Op(BinaryOp::Sub) => UnaryOp::Minus,
            _ => return None,
        };
        Some((sign, self.take()))
    }

    /// Reads what stands between operators, with its modifiers.
    fn operand(&mut self) -> Step<Operand> {
        loop {
            let kind = self.peek();
            let operand = match kind {
                TokenKind::Op(BinaryOp::Add | BinaryOp::Sub) => return self.unary(),
                TokenKind::LeftParen => self.parens()?,
                TokenKind::Number | TokenKind::Duration => {
                    let number = self.number_literal();
                    leaf(Expr::Number(Arc::new(number)))
                }
                TokenKind::String => self.string_literal(),
                TokenKind::LeftBrace => self.vector_selector(None)?,
                kind if kind.is_metric_name() => self.named(kind)?,
                _ => {
                    self.reject()?;
                    continue;
                }
            };
            return self.modifiers(operand);
        }
    }

    fn string_literal(&mut self) -> Operand {
        let span = self.take();
        let unquoted = unquote(self.text(span));
        let bytes = unquoted.exact_bytes();
        let value = unquoted.into_text();
        leaf(Expr::String(Arc::new(StringLiteral { value, bytes, span })))
    }

    /// Reads a sign and its operand: only `^` and modifiers bind more strongly.
    fn unary(&mut self) -> Step<Operand> {
        let (op, sign_span) = self.take_sign().ok_or(Failure::Syntax)?;
        let operand = self.expression(BinaryOp::Pow.precedence())?;
        let span = sign_span.to(operand.expr.span());
        if let Expr::Number(number) = &operand.expr {
            let mut number = **number;
            number.value = signed(op, number.value);
            number.span = span;
            return Ok(leaf(Expr::Number(Arc::new(number))));
        }
        let expr = operand.expr;
        let unary = Expr::Unary(Arc::new(UnaryExpr { op, expr, span }));
        self.grown(unary, operand.depth)
    }

    fn parens(&mut self) -> Step<Operand> {
        let open = self.take();
        let mut inner = self.expression(0)?;
        while self.peek() != TokenKind::RightParen {
            self.reject()?;
            // Behind dropped tokens the expression may go on.
            inner = self.modifiers(inner)?;
            inner = self.operators(inner, 0)?;
        }
        let span = open.to(self.take());
        let expr = inner.expr;
        let paren = Expr::Paren(Arc::new(ParenExpr { expr, span }));
        self.grown(paren, inner.depth)
    }

    /// Reads what starts with a word: a selector, a function call or an aggregation.
    fn named(&mut self, kind: TokenKind) -> Step<Operand> {
        let name = self.take();
        let next = self.peek();
        match kind {
            TokenKind::Aggregate(op) => match next {
                TokenKind::LeftParen | TokenKind::Keyword(Keyword::By | Keyword::Without) => {
                    self.aggregate(op, name)
                }
                _ => self.vector_selector(Some(name)),
            },
            TokenKind::Identifier | TokenKind::QueryWord(_) if next == TokenKind::LeftParen => {
                self.call(name)
            }
            _ => self.vector_selector(Some(name)),
        }
    }

    fn call(&mut self, name: Span) -> Step<Operand> {
        let arguments = self.arguments()?;
        let span = Span::new(name.start, self.last_taken.end);
        let depth = arguments.iter().map(|argument| argument.depth).max();
        let Some(func) = self.function(name) else {
            // The error is reported and the tree will be dropped.
            return Ok(leaf(nothing(span)));
        };
        let args = arguments
            .into_iter()
            .map(|argument| argument.expr)
            .collect();
        let call = Expr::Call(Arc::new(Call { func, args, span }));
        self.grown(call, depth.unwrap_or(0))
    }

    fn function(&mut self, name: Span) -> Option<&'static Function> {
        let text = self.text(name);
        let found = Function::find(text).filter(|function| {
            self.options.x_functions || function.availability != Availability::Thanos
        });
        let Some(function) = found else {
            self.report(name, format!("unknown function with name {}", quote(text)));
            return None;
        };
        if function.availability == Availability::Experimental
            && !self.options.experimental_functions
        {
            self.report(name, format!("function {} is not enabled", quote(text)));
        }
        Some(function)
    }

    /// Reads expressions in parentheses.
    pub(super) fn arguments(&mut self) -> Step<Vec<Operand>> {
        self.expect(TokenKind::LeftParen)?;
        if self.take_if(TokenKind::RightParen).is_some() {
            return Ok(Vec::new());
        }
        let mut arguments = vec![self.expression(0)?];
        loop {
            match self.peek() {
                TokenKind::RightParen => {
                    self.take();
                    return Ok(arguments);
                }
                TokenKind::Comma => {
                    let comma = self.take();
                    if self.peek().starts_expression() {
                        arguments.push(self.expression(0)?);
                    } else {
                        self.report(comma, "trailing commas not allowed in function call args");
                    }
                }
                _ => self.reject()?,
            }
        }
    }
}

pub(super) fn leaf(expr: Expr) -> Operand {
    Operand {
        expr,
        depth: 1,
        is_bad_range: false,
    }
}

/// Stands in for an expression that was reported as wrong.
pub(super) fn nothing(span: Span) -> Expr {
    Expr::String(Arc::new(StringLiteral {
        value: "".into(),
        bytes: None,
        span,
    }))
}

pub(super) fn signed(sign: UnaryOp, value: f64) -> f64 {
    match sign {
        UnaryOp::Plus => value,
        UnaryOp::Minus => -value,
    }
}
