//! Errors to gRPC status and back.

use std::error::Error as _;

use thanos_core::error::{Error, ErrorKind};
use tonic::{Code, Status};

/// The text travels in a trailer, and peers limit the size of their header lists (16 KiB is common).
const TEXT_BYTES_MAX: usize = 4 << 10;

/// What the gRPC library says of a message that is larger than its reader takes.
const TOO_LARGE: &str = "message length too large";

/// Returns the status to send for `error`: its kind as a code and its text.
pub(crate) fn to_status(error: &Error) -> Status {
    let code = match error.kind() {
        ErrorKind::Invalid => Code::InvalidArgument,
        ErrorKind::NotFound => Code::NotFound,
        ErrorKind::Corrupt => Code::DataLoss,
        ErrorKind::Unavailable => Code::Unavailable,
        ErrorKind::LimitExceeded => Code::ResourceExhausted,
        ErrorKind::Cancelled => Code::Cancelled,
        _ => Code::Internal,
    };
    let mut text = error.to_string();
    if text.len() > TEXT_BYTES_MAX {
        text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
        text.push_str("...");
    }
    Status::new(code, text)
}

/// Returns the error for a status that `peer` sent or that the connection to it caused.
pub(crate) fn from_status(status: Status, peer: &str) -> Error {
    let kind = match status.code() {
        Code::OutOfRange if status.message().contains(TOO_LARGE) => ErrorKind::LimitExceeded,
        Code::InvalidArgument
        | Code::OutOfRange
        | Code::FailedPrecondition
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::Unauthenticated
        | Code::Unimplemented => ErrorKind::Invalid,
        Code::NotFound => ErrorKind::NotFound,
        Code::DataLoss => ErrorKind::Corrupt,
        Code::ResourceExhausted => ErrorKind::LimitExceeded,
        Code::Cancelled | Code::DeadlineExceeded => ErrorKind::Cancelled,
        Code::Internal => ErrorKind::Internal,
        // Go peers answer Unknown for any plain error and Aborted when a store below them failed: neither is
        // the fault of the request.
        Code::Ok | Code::Unknown | Code::Aborted | Code::Unavailable => ErrorKind::Unavailable,
    };
    Error::new(kind, status_text(&status))
        .context(peer)
        .with_source(status)
}

/// Returns the message of a status and of its causes: tonic's own say little more than "transport error".
fn status_text(status: &Status) -> String {
    let mut text = status.message().to_owned();
    let mut cause = status.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&more);
        }
        cause = error.source();
    }
    if text.is_empty() {
        text = status.code().description().to_lowercase();
    }
    text
}
