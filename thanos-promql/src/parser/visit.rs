//! Walking and rewriting trees: for plans, sharding and distributed execution.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::ast::{
    AggregateExpr, BinaryExpr, Call, Expr, ParenExpr, SubqueryExpr, UnaryExpr, VectorSelector,
};

/// What [`Expr::walk`] does after a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Walk {
    /// Visits the children.
    Enter,
    /// Goes on beside the node.
    Skip,
    /// Ends the walk.
    Stop,
}

impl Expr {
    /// Returns the expressions inside this one: an aggregation's vector before its parameter, else as written.
    ///
    /// The selector of a range is a part of the range and no expression of its own.
    pub fn children(&self) -> impl Iterator<Item = &Self> {
        let (pair, rest): ([Option<&Self>; 2], &[Self]) = match self {
            Self::Aggregate(node) => ([Some(&node.expr), node.param.as_ref()], &[]),
            Self::Binary(node) => ([Some(&node.lhs), Some(&node.rhs)], &[]),
            Self::Call(node) => ([None, None], &node.args),
            Self::Paren(node) => ([Some(&node.expr), None], &[]),
            Self::Subquery(node) => ([Some(&node.expr), None], &[]),
            Self::Unary(node) => ([Some(&node.expr), None], &[]),
            Self::Matrix(_) | Self::Number(_) | Self::String(_) | Self::Vector(_) => {
                ([None, None], &[])
            }
        };
        pair.into_iter().flatten().chain(rest)
    }

    /// Visits the tree, parents before children. `visit` also gets the path: the nodes around, outermost first.
    ///
    /// # Example
    ///
    /// ```
    /// use thanos_promql::parser::{Expr, Options, Walk, parse};
    ///
    /// let expr = parse("sum(rate(a[5m])) / sum(b)", &Options::default())?;
    /// let mut depth_of_b = None;
    /// expr.walk(&mut |node, path| {
    ///     if matches!(node, Expr::Vector(_)) {
    ///         depth_of_b = Some(path.len());
    ///     }
    ///     Walk::Enter
    /// });
    /// assert_eq!(depth_of_b, Some(2));
    /// # Ok::<(), thanos_promql::parser::ParseErrors>(())
    /// ```
    pub fn walk<'e>(&'e self, visit: &mut impl FnMut(&'e Self, &[&'e Self]) -> Walk) {
        // Whether the walk was stopped matters to nobody here.
        let _stopped = walk_below(self, visit, &mut Vec::new());
    }

    /// Rewrites the tree, children before parents: `rewrite` gets each node with its children rewritten already.
    ///
    /// What `rewrite` returns unchanged is shared with the old tree.
    ///
    /// # Errors
    ///
    /// The first error of `rewrite`.
    ///
    /// # Example
    ///
    /// ```
    /// use thanos_promql::parser::{Expr, Options, parse};
    ///
    /// let expr = parse("sum((a) + (b))", &Options::default())?;
    /// let bare = expr.rewrite(&mut |node| {
    ///     Ok::<_, std::convert::Infallible>(node.without_parens().clone())
    /// });
    /// assert_eq!(bare.unwrap().to_string(), "sum(a + b)");
    /// # Ok::<(), thanos_promql::parser::ParseErrors>(())
    /// ```
    pub fn rewrite<E>(&self, rewrite: &mut impl FnMut(Self) -> Result<Self, E>) -> Result<Self, E> {
        let node = match self {
            Self::Aggregate(node) => {
                let expr = node.expr.rewrite(rewrite)?;
                let param = match &node.param {
                    Some(param) => Some(param.rewrite(rewrite)?),
                    None => None,
                };
                self.or_new(
                    node.expr.is_same(&expr) && are_same(&node.param, &param),
                    || {
                        let node = AggregateExpr::clone(node);
                        Self::Aggregate(Arc::new(AggregateExpr {
                            expr,
                            param,
                            ..node
                        }))
                    },
                )
            }
            Self::Binary(node) => {
                let lhs = node.lhs.rewrite(rewrite)?;
                let rhs = node.rhs.rewrite(rewrite)?;
                self.or_new(node.lhs.is_same(&lhs) && node.rhs.is_same(&rhs), || {
                    let node = BinaryExpr::clone(node);
                    Self::Binary(Arc::new(BinaryExpr { lhs, rhs, ..node }))
                })
            }
            Self::Call(node) => {
                let args = node.args.iter().map(|argument| argument.rewrite(rewrite));
                let args = args.collect::<Result<Vec<_>, E>>()?;
                self.or_new(are_same(&node.args, &args), || {
                    let (func, span) = (node.func, node.span);
                    Self::Call(Arc::new(Call { func, args, span }))
                })
            }
            Self::Paren(node) => {
                let expr = node.expr.rewrite(rewrite)?;
                self.or_new(node.expr.is_same(&expr), || {
                    let span = node.span;
                    Self::Paren(Arc::new(ParenExpr { expr, span }))
                })
            }
            Self::Subquery(node) => {
                let expr = node.expr.rewrite(rewrite)?;
                self.or_new(node.expr.is_same(&expr), || {
                    let node = SubqueryExpr::clone(node);
                    Self::Subquery(Arc::new(SubqueryExpr { expr, ..node }))
                })
            }
            Self::Unary(node) => {
                let expr = node.expr.rewrite(rewrite)?;
                self.or_new(node.expr.is_same(&expr), || {
                    let (op, span) = (node.op, node.span);
                    Self::Unary(Arc::new(UnaryExpr { op, expr, span }))
                })
            }
            Self::Matrix(_) | Self::Number(_) | Self::String(_) | Self::Vector(_) => self.clone(),
        };
        rewrite(node)
    }

    /// Reports whether both are the same node in memory.
    pub fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Aggregate(a), Self::Aggregate(b)) => Arc::ptr_eq(a, b),
            (Self::Binary(a), Self::Binary(b)) => Arc::ptr_eq(a, b),
            (Self::Call(a), Self::Call(b)) => Arc::ptr_eq(a, b),
            (Self::Matrix(a), Self::Matrix(b)) => Arc::ptr_eq(a, b),
            (Self::Number(a), Self::Number(b)) => Arc::ptr_eq(a, b),
            (Self::Paren(a), Self::Paren(b)) => Arc::ptr_eq(a, b),
            (Self::String(a), Self::String(b)) => Arc::ptr_eq(a, b),
            (Self::Subquery(a), Self::Subquery(b)) => Arc::ptr_eq(a, b),
            (Self::Unary(a), Self::Unary(b)) => Arc::ptr_eq(a, b),
            (Self::Vector(a), Self::Vector(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }

    /// Returns all selectors in the order written, also those of ranges.
    pub fn selectors(&self) -> Vec<&VectorSelector> {
        let mut selectors = Vec::new();
        self.walk(&mut |node, _| {
            match node {
                Self::Vector(selector) => selectors.push(&**selector),
                Self::Matrix(matrix) => selectors.push(&*matrix.selector),
                Self::Aggregate(_)
                | Self::Binary(_)
                | Self::Call(_)
                | Self::Number(_)
                | Self::Paren(_)
                | Self::String(_)
                | Self::Subquery(_)
                | Self::Unary(_) => {}
            }
            Walk::Enter
        });
        selectors
    }

    fn or_new(&self, is_unchanged: bool, new: impl FnOnce() -> Self) -> Self {
        if is_unchanged { self.clone() } else { new() }
    }
}

fn are_same<'a>(
    old: impl IntoIterator<Item = &'a Expr>,
    new: impl IntoIterator<Item = &'a Expr>,
) -> bool {
    old.into_iter().zip(new).all(|(old, new)| old.is_same(new))
}

fn walk_below<'e>(
    node: &'e Expr,
    visit: &mut impl FnMut(&'e Expr, &[&'e Expr]) -> Walk,
    path: &mut Vec<&'e Expr>,
) -> ControlFlow<()> {
    match visit(node, path) {
        Walk::Enter => {}
        Walk::Skip => return ControlFlow::Continue(()),
        Walk::Stop => return ControlFlow::Break(()),
    }
    path.push(node);
    for child in node.children() {
        walk_below(child, visit, path)?;
    }
    path.pop();
    ControlFlow::Continue(())
}
