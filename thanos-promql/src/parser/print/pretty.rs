//! Expression trees to text on several lines, as Prometheus' `/api/v1/format_query` shows them.
//!
//! What fits into a line stays on one. Source: Prometheus promql/parser/prettier.go.

use std::fmt::{self, Write};

use super::{AggregateHead, Operator, SubqueryTimes, parens};
use crate::parser::ast::Expr;

/// Most characters of a line that is not split, its indent not counted.
const LINE_CHARS_MAX: usize = 100;

impl Expr {
    /// Returns the expression as text, split into lines where it is long.
    ///
    /// # Example
    ///
    /// ```
    /// use thanos_promql::parser::{Options, parse};
    ///
    /// let expr = parse("sum  by(job)(x)", &Options::default())?;
    /// assert_eq!(expr.pretty(), "sum by (job) (x)");
    /// # Ok::<(), thanos_promql::parser::ParseErrors>(())
    /// ```
    pub fn pretty(&self) -> String {
        let mut out = String::new();
        write_pretty(&mut out, self, 0).expect("writing to a String cannot fail");
        out
    }
}

fn write_pretty(out: &mut String, expr: &Expr, level: usize) -> fmt::Result {
    if !is_long(expr) {
        // COMPAT: Prometheus does not indent a subquery.
        let level = if matches!(expr, Expr::Subquery(_)) {
            0
        } else {
            level
        };
        indent(out, level);
        return write!(out, "{expr}");
    }
    match expr {
        Expr::Aggregate(node) => {
            indent(out, level);
            writeln!(out, "{}(", AggregateHead(node))?;
            if let Some(param) = &node.param {
                write_pretty(out, param, level + 1)?;
                out.push_str(",\n");
            }
            write_pretty(out, &node.expr, level + 1)?;
            close(out, level);
        }
        Expr::Binary(node) => {
            write_pretty(out, &parens::left_of(node.op, &node.lhs), level + 1)?;
            out.push('\n');
            indent(out, level);
            writeln!(out, "{}", Operator(node))?;
            write_pretty(out, &parens::right_of(node.op, &node.rhs), level + 1)?;
        }
        Expr::Call(node) => {
            indent(out, level);
            writeln!(out, "{}(", node.func.name)?;
            for (place, argument) in node.args.iter().enumerate() {
                out.push_str(if place > 0 { ",\n" } else { "" });
                write_pretty(out, argument, level + 1)?;
            }
            close(out, level);
        }
        Expr::Paren(node) => {
            indent(out, level);
            out.push_str("(\n");
            write_pretty(out, &node.expr, level + 1)?;
            close(out, level);
        }
        Expr::Subquery(node) => {
            write_pretty(out, &parens::in_subquery(&node.expr), level)?;
            write!(out, "{}", SubqueryTimes(node))?;
        }
        Expr::Unary(node) => {
            let mut operand = String::new();
            write_pretty(&mut operand, &parens::behind_sign(&node.expr), level)?;
            indent(out, level);
            write!(out, "{}{}", node.op.as_str(), operand.trim())?;
        }
        Expr::Matrix(_) | Expr::Number(_) | Expr::String(_) | Expr::Vector(_) => {
            indent(out, level);
            write!(out, "{expr}")?;
        }
    }
    Ok(())
}

fn indent(out: &mut String, level: usize) {
    (0..level).for_each(|_| out.push_str("  "));
}

fn close(out: &mut String, level: usize) {
    out.push('\n');
    indent(out, level);
    out.push(')');
}

/// Counts what is written and refuses more than fits into a line, so that long expressions cost no more.
struct Ruler {
    left: usize,
}

impl Write for Ruler {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.left = self.left.checked_sub(text.len()).ok_or(fmt::Error)?;
        Ok(())
    }
}

fn is_long(expr: &Expr) -> bool {
    let mut ruler = Ruler {
        left: LINE_CHARS_MAX,
    };
    write!(ruler, "{expr}").is_err()
}
