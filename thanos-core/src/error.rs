//! The error of the storage side: one struct whose kind tells the caller what to do.
//!
//! Formats report damage with the file and the byte offset where reading went wrong. The PromQL crate
//! has its own error for questions about the query; this one is for questions about the data.

use std::error::Error as StdError;
use std::fmt;

/// The result of an operation on stored data.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a caller can do about an [`Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The request or the configuration is wrong: change it.
    Invalid,
    /// The thing does not exist: ask for another one.
    NotFound,
    /// Stored bytes contradict their format: quarantine or repair the file.
    Corrupt,
    /// A peer or a file could not be reached now: retry.
    Unavailable,
    /// A configured limit was reached: narrow the request or raise the named limit.
    LimitExceeded,
    /// The caller gave up or the deadline passed.
    Cancelled,
    /// A bug of this crate: report it.
    Internal,
}

impl ErrorKind {
    /// Returns the lowercase word used in messages and metric labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::NotFound => "not found",
            Self::Corrupt => "corrupt",
            Self::Unavailable => "unavailable",
            Self::LimitExceeded => "limit exceeded",
            Self::Cancelled => "cancelled",
            Self::Internal => "internal",
        }
    }
}

/// An error about stored data, with its kind, where it happened and what caused it.
///
/// # Example
///
/// ```
/// use thanos_core::error::{Error, ErrorKind};
///
/// let error = Error::corrupt("symbol table is cut short").at(4096).in_file("index");
/// assert_eq!(error.kind(), ErrorKind::Corrupt);
/// assert_eq!(error.to_string(), "index: offset 4096: symbol table is cut short");
/// ```
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    message: String,
    file: Option<String>,
    offset: Option<u64>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// Returns an error of `kind` that says `message` (lowercase, no final stop).
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            message: message.into(),
            file: None,
            offset: None,
            source: None,
        }))
    }

    /// Returns an [`ErrorKind::Invalid`] error.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    /// Returns an [`ErrorKind::NotFound`] error.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, message)
    }

    /// Returns an [`ErrorKind::Corrupt`] error.
    pub fn corrupt(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Corrupt, message)
    }

    /// Returns an [`ErrorKind::Unavailable`] error.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unavailable, message)
    }

    /// Returns an [`ErrorKind::LimitExceeded`] error.
    pub fn limit_exceeded(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::LimitExceeded, message)
    }

    /// Returns an [`ErrorKind::Cancelled`] error.
    pub fn cancelled(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Cancelled, message)
    }

    /// Returns an [`ErrorKind::Internal`] error.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// Adds the byte offset of the problem, unless a more precise one is known already.
    #[must_use]
    pub fn at(mut self, offset: u64) -> Self {
        self.0.offset.get_or_insert(offset);
        self
    }

    /// Moves a known offset by `base`: for a reader of a slice that lies at `base` in its file.
    #[must_use]
    pub fn shifted(mut self, base: u64) -> Self {
        if let Some(offset) = &mut self.0.offset {
            *offset = offset.saturating_add(base);
        }
        self
    }

    /// Adds the file or object name, unless a more precise one is known already.
    #[must_use]
    pub fn in_file(mut self, file: impl Into<String>) -> Self {
        self.0.file.get_or_insert_with(|| file.into());
        self
    }

    /// Puts `context` and a colon before the message.
    #[must_use]
    pub fn context(mut self, context: impl fmt::Display) -> Self {
        self.0.message = format!("{context}: {}", self.0.message);
        self
    }

    /// Adds the error that caused this one.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Returns what the caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Reports whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        self.0.kind == ErrorKind::Unavailable
    }

    /// Returns the message without file and offset.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Returns the file or object in which the problem lies.
    pub fn file(&self) -> Option<&str> {
        self.0.file.as_deref()
    }

    /// Returns the byte offset of the problem in [`Error::file`].
    pub fn offset(&self) -> Option<u64> {
        self.0.offset
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.0.file {
            write!(f, "{file}: ")?;
        }
        if let Some(offset) = self.0.offset {
            write!(f, "offset {offset}: ")?;
        }
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("message", &self.0.message)
            .field("file", &self.0.file)
            .field("offset", &self.0.offset)
            .field("source", &self.0.source)
            .finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0
            .source
            .as_deref()
            .map(|source| source as &(dyn StdError + 'static))
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        use std::io::ErrorKind as Io;
        let kind = match error.kind() {
            Io::NotFound => ErrorKind::NotFound,
            Io::InvalidInput => ErrorKind::Invalid,
            Io::UnexpectedEof | Io::InvalidData => ErrorKind::Corrupt,
            _ => ErrorKind::Unavailable,
        };
        Self::new(kind, error.to_string()).with_source(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_place_wins() {
        let error = Error::corrupt("bad")
            .at(3)
            .shifted(100)
            .at(7)
            .in_file("a")
            .in_file("b");
        assert_eq!((error.file(), error.offset()), (Some("a"), Some(103)));
    }

    #[test]
    fn only_unavailable_is_retryable() {
        assert!(Error::unavailable("x").is_retryable());
        assert!(!Error::corrupt("x").is_retryable());
    }
}
