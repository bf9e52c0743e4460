//! What is wrong with a query, and where.

use std::fmt;

use super::span::{Position, Span};

/// One complaint about a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    /// The bytes the complaint is about.
    pub span: Span,
    /// What is wrong, in Prometheus' words.
    pub message: String,
}

/// Everything found wrong with a query, in the order found; never empty.
///
/// Prints as Prometheus does: the first complaint alone, with its position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseErrors {
    errors: Vec<ParseError>,
    /// Position of the first error, found while the query text was at hand.
    first: Position,
}

impl ParseErrors {
    pub(super) fn new(errors: Vec<ParseError>, query: &str) -> Self {
        let first = errors
            .first()
            .map_or(Position::Unknown, |error| error.span.position(query));
        Self { errors, first }
    }

    /// Returns the complaints.
    pub fn as_slice(&self) -> &[ParseError] {
        &self.errors
    }

    /// Returns where the first complaint is.
    pub fn position(&self) -> Position {
        self.first
    }
}

impl fmt::Display for ParseErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let message = self.errors.first().map_or("", |error| &error.message);
        write!(f, "{}: parse error: {message}", self.first)
    }
}

impl std::error::Error for ParseErrors {}
