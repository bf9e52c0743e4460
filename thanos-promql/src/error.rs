//! The error of a query: what went wrong and whose fault it is, in Prometheus' words.

use std::error::Error as StdError;
use std::fmt;

use thanos_core::error::ErrorKind as DataErrorKind;

use crate::parser::BinaryOp;

/// The result of a query operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a caller can do about an [`Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The query or one of its parameters is wrong: change it.
    Invalid,
    /// The query is well-formed but cannot be evaluated over this data.
    Execution,
    /// A configured limit was reached: narrow the query or raise the named limit.
    LimitExceeded,
    /// The deadline passed.
    Timeout,
    /// The caller gave up.
    Cancelled,
    /// The data could not be read.
    Storage,
    /// The thing asked for does not exist.
    NotFound,
    /// The data is not there yet, for instance while a server starts: try again.
    NotReady,
    /// A bug of this crate: report it.
    Internal,
}

/// An error of a query.
///
/// # Example
///
/// ```
/// use thanos_promql::error::{Error, ErrorKind};
///
/// let error = Error::timeout("query execution");
/// assert_eq!(error.kind(), ErrorKind::Timeout);
/// assert_eq!(error.to_string(), "query timed out in query execution");
/// ```
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    message: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// Returns an error of `kind` that says `message`.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            message: message.into(),
            source: None,
        }))
    }

    /// Returns an [`ErrorKind::Invalid`] error.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    /// Returns an [`ErrorKind::Execution`] error.
    pub fn execution(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Execution, message)
    }

    /// Returns an [`ErrorKind::Execution`] error about a part of the language that is not built yet.
    pub fn unimplemented(what: impl fmt::Display) -> Self {
        Self::execution(format!("unimplemented: {what}"))
    }

    /// Returns the error of a query that ran past its deadline while doing `what`.
    pub fn timeout(what: &str) -> Self {
        Self::new(ErrorKind::Timeout, format!("query timed out in {what}"))
    }

    /// Returns the error of a query that was cancelled while doing `what`.
    pub fn cancelled(what: &str) -> Self {
        Self::new(
            ErrorKind::Cancelled,
            format!("query was canceled in {what}"),
        )
    }

    /// Returns the error of a query that touched more samples than the limit allows.
    pub fn too_many_samples() -> Self {
        Self::new(
            ErrorKind::LimitExceeded,
            "query processing would load too many samples into memory in query execution",
        )
    }

    /// Returns the error of a result in which two series have the same labels.
    pub fn same_labelset() -> Self {
        Self::execution("vector cannot contain metrics with the same labelset")
    }

    /// Returns the error of a trim between two scalars, which Prometheus' parser lets pass, too.
    /// Source: Prometheus `promql/engine.go`, `scalarBinop`.
    pub(crate) fn trim_of_scalars(op: BinaryOp) -> Self {
        Self::execution(format!(
            "operator \"{op}\" not allowed for Scalar operations"
        ))
    }

    /// Returns the error of a selector whose series could not be read.
    pub(crate) fn expanding_series(error: thanos_core::Error) -> Self {
        let mut wrapped = Self::from(error);
        if wrapped.0.kind == ErrorKind::Storage {
            wrapped.0.message = format!("expanding series: {}", wrapped.0.message);
        }
        wrapped
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

    /// Returns the message.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Reports whether the same query may succeed later.
    pub fn is_retryable(&self) -> bool {
        matches!(self.0.kind, ErrorKind::Storage | ErrorKind::NotReady)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("message", &self.0.message)
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

/// Keeps the meaning for the caller: a limit stays a limit, everything else is trouble with the data.
impl From<thanos_core::Error> for Error {
    fn from(error: thanos_core::Error) -> Self {
        let kind = match error.kind() {
            DataErrorKind::LimitExceeded => ErrorKind::LimitExceeded,
            DataErrorKind::Cancelled => ErrorKind::Cancelled,
            DataErrorKind::Invalid
            | DataErrorKind::NotFound
            | DataErrorKind::Corrupt
            | DataErrorKind::Unavailable
            | DataErrorKind::Internal => ErrorKind::Storage,
            _ => ErrorKind::Internal,
        };
        Self::new(kind, error.to_string()).with_source(error)
    }
}
