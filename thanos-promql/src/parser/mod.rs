//! The language: text to expression tree and back.
//!
//! Does not evaluate anything and reads no data; the engine, the query frontend, rules and distributed
//! execution call it. A query is text from outside: time is linear in its length, and [`Options`] bound its
//! size and depth.

pub mod ast;
mod check;
mod error;
pub mod functions;
mod grammar;
mod lexer;
mod literal;
mod ops;
mod options;
mod pattern;
mod print;
pub mod series;
mod span;
#[cfg(test)]
pub(crate) mod tests;
mod token;
mod visit;

pub use ast::{Expr, VectorSelector};
pub use error::{ParseError, ParseErrors};
pub use functions::{Function, FunctionId};
pub use ops::{AggregateOp, BinaryOp, UnaryOp, ValueType};
pub use options::Options;
pub use span::{Position, Span};
pub use visit::Walk;

use grammar::Parser;
use lexer::Lexer;

/// Reads an expression and checks its types.
///
/// # Errors
///
/// Everything that is wrong with the text, in Prometheus' words and order.
///
/// # Example
///
/// ```
/// use thanos_promql::parser::{Options, ValueType, parse};
///
/// let expr = parse("sum by (job) (rate(requests_total[5m]))", &Options::default())?;
/// assert_eq!(expr.value_type(), ValueType::Vector);
///
/// let errors = parse("sum(rate(", &Options::default()).unwrap_err();
/// assert_eq!(errors.to_string(), "1:10: parse error: unclosed left parenthesis");
/// # Ok::<(), thanos_promql::parser::ParseErrors>(())
/// ```
pub fn parse(query: &str, options: &Options) -> Result<Expr, ParseErrors> {
    check_length(query, options)?;
    let mut parser = Parser::new(Lexer::new(query), options);
    let expr = parser.whole_expression();
    if let Some(errors) = parser.into_errors(query) {
        return Err(errors);
    }
    let mut expr = expr.expect("without errors there is an expression");
    let errors = check::check(&mut expr, query);
    if errors.is_empty() {
        Ok(expr)
    } else {
        Err(ParseErrors::new(errors, query))
    }
}

/// Reads a selector of series: a name, conditions in braces, or both, without modifiers.
///
/// Unlike in an expression, the selector may match everything.
///
/// # Errors
///
/// As [`parse`].
pub fn parse_selector(text: &str, options: &Options) -> Result<VectorSelector, ParseErrors> {
    check_length(text, options)?;
    let mut parser = Parser::new(Lexer::new(text), options);
    let selector = parser.whole(Parser::bare_selector);
    match parser.into_errors(text) {
        Some(errors) => Err(errors),
        None => Ok(selector.expect("without errors there is a selector")),
    }
}

fn check_length(text: &str, options: &Options) -> Result<(), ParseErrors> {
    let bytes_max = options.text_bytes_max;
    // Places in the text are counted with 32 bits.
    if u32::try_from(text.len()).is_ok_and(|bytes| bytes <= bytes_max) {
        return Ok(());
    }
    let error = ParseError {
        span: Span::default(),
        message: format!("text is longer than {bytes_max} bytes"),
    };
    Err(ParseErrors::new(vec![error], text))
}
