//! Places in a query: byte ranges, and the `line:column` that messages print.

use std::fmt;

/// A half-open byte range of the query text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

impl Span {
    /// Returns the span from `start` up to `end`.
    pub const fn new(start: u32, end: u32) -> Self {
        Self { start, end }
    }

    /// Returns the span from the start of `self` to the end of `last`.
    #[must_use]
    pub const fn to(self, last: Self) -> Self {
        Self::new(self.start, last.end)
    }

    /// Returns the span as indices into the query text.
    pub const fn range(self) -> std::ops::Range<usize> {
        self.start as usize..self.end as usize
    }

    /// Returns where the span starts in `query`, for messages.
    pub fn position(self, query: &str) -> Position {
        Position::of(self.start, query)
    }
}

/// Where something is in a query, as Prometheus prints it: `line:column`, both from 1.
///
/// COMPAT: columns count bytes, not characters (Prometheus promql/parser/posrange).
///
/// # Example
///
/// ```
/// use thanos_promql::parser::{Position, Span};
///
/// assert_eq!(Span::new(4, 7).position("sum(foo)").to_string(), "1:5");
/// assert_eq!(Span::new(5, 8).position("sum(\nfoo)").to_string(), "2:1");
/// assert_eq!(Position::of(0, "").to_string(), "unknown position");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Position {
    /// A place inside the text.
    At {
        /// Line, from 1.
        line: u32,
        /// Byte in the line, from 1.
        column: u32,
    },
    /// The query text is empty.
    Unknown,
    /// The place is outside of the query text.
    Invalid,
}

impl Position {
    /// Returns the position of byte `offset` of `query`.
    pub fn of(offset: u32, query: &str) -> Self {
        if query.is_empty() {
            return Self::Unknown;
        }
        let Some(before) = query.as_bytes().get(..offset as usize) else {
            return Self::Invalid;
        };
        let mut line = 1;
        let mut column = offset + 1;
        for (newline, next_line) in memchr::memchr_iter(b'\n', before).zip(2..) {
            line = next_line;
            column = offset - u32::try_from(newline).unwrap_or(u32::MAX);
        }
        Self::At { line, column }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At { line, column } => write!(f, "{line}:{column}"),
            Self::Unknown => f.write_str("unknown position"),
            Self::Invalid => f.write_str("invalid position"),
        }
    }
}
