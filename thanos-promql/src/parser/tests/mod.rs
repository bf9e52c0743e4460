//! Behaviour of the parser as a whole. `tests/parser_conformance.rs` holds it against recordings from Prometheus.

mod accepts;
mod limits;
mod messages;
pub(crate) mod random_tree;
mod rewrites;
mod round_trip;

use super::ast::Expr;
use super::{Options, parse};

/// Parses with every part of the language on.
fn parsed(query: &str) -> Expr {
    parse(query, &Options::all()).unwrap_or_else(|errors| panic!("{query}: {errors}"))
}

/// Returns the errors as `start..end message`, one a line.
fn errors(query: &str, options: &Options) -> String {
    match parse(query, options) {
        Ok(expr) => panic!("{query} was accepted as {expr}"),
        Err(errors) => {
            let lines = errors.as_slice().iter().map(|error| {
                let span = error.span;
                format!("{}..{} {}", span.start, span.end, error.message)
            });
            lines.collect::<Vec<_>>().join("\n")
        }
    }
}
