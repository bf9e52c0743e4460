//! Answers: the JSON envelope around a result, and failures with their status codes.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::stream::{self, StreamExt};

use crate::error::{Error, ErrorKind};
use crate::json::{write_string, write_strings};

/// The status of a request whose client went away before the answer was there (nginx made it up).
pub(super) const CLIENT_CLOSED_REQUEST: u16 = 499;
/// The bytes after which a piece of an answer is handed on.
const PIECE_BYTES: usize = 32 << 10;
/// What annotations about the query itself start with.
const ABOUT_THE_QUERY: &str = "PromQL ";

/// Something that could not be answered.
#[derive(Debug)]
pub(super) struct Failure {
    status: StatusCode,
    error_type: &'static str,
    message: String,
}

impl Failure {
    /// Returns the failure of a request that is wrong.
    pub(super) fn bad_data(message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            error_type: "bad_data",
            message: message.into(),
        }
    }
}

/// A failed evaluation; a wrong query is the parameter `query`.
impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let (status, error_type) = match error.kind() {
            ErrorKind::Invalid => (StatusCode::BAD_REQUEST, "bad_data"),
            ErrorKind::Execution | ErrorKind::LimitExceeded | ErrorKind::Storage => {
                (StatusCode::UNPROCESSABLE_ENTITY, "execution")
            }
            ErrorKind::Timeout => (StatusCode::SERVICE_UNAVAILABLE, "timeout"),
            ErrorKind::Cancelled => {
                let status = StatusCode::from_u16(CLIENT_CLOSED_REQUEST);
                let status = status.unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
                (status, "canceled")
            }
            ErrorKind::NotFound => (StatusCode::NOT_FOUND, "not_found"),
            // COMPAT: Prometheus has no status of its own for this type (web/api/v1/api.go, getDefaultErrorCode).
            ErrorKind::NotReady => (StatusCode::INTERNAL_SERVER_ERROR, "unavailable"),
            ErrorKind::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        };
        Self {
            status,
            error_type,
            message: error.message().to_owned(),
        }
    }
}

impl From<thanos_core::Error> for Failure {
    fn from(error: thanos_core::Error) -> Self {
        Error::from(error).into()
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut out = Vec::new();
        out.extend_from_slice(b"{\"status\":\"error\",\"errorType\":\"");
        out.extend_from_slice(self.error_type.as_bytes());
        out.extend_from_slice(b"\",\"error\":");
        write_string(&mut out, &self.message);
        out.extend_from_slice(b"}");
        json_response(self.status, Caching::Forbidden, Body::from(out))
    }
}

/// What goes beside the data of an answer.
#[derive(Debug, Default)]
pub(super) struct Remarks {
    pub(super) warnings: Vec<String>,
    pub(super) infos: Vec<String>,
}

impl Remarks {
    /// Returns remarks that are only warnings.
    pub(super) fn warnings(warnings: Vec<String>) -> Self {
        let infos = Vec::new();
        Self { warnings, infos }
    }

    /// Writes what follows the data, up to the end of the answer.
    fn write(&self, out: &mut Vec<u8>) {
        for (name, texts) in [("warnings", &self.warnings), ("infos", &self.infos)] {
            if texts.is_empty() {
                continue;
            }
            out.extend_from_slice(b",\"");
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b"\":");
            write_strings(out, texts.iter().map(String::as_str));
        }
        out.extend_from_slice(b"}");
    }

    /// An answer that lacks something must not be kept; what is said about the query is true of every answer.
    ///
    /// Source: Thanos `pkg/api/api.go`, `shouldNotCacheBecauseOfWarnings`.
    fn caching(&self) -> Caching {
        let mut warnings = self.warnings.iter();
        if warnings.all(|text| text.starts_with(ABOUT_THE_QUERY)) {
            Caching::Allowed
        } else {
            Caching::Forbidden
        }
    }
}

/// Whether a cache on the way may keep an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Caching {
    Allowed,
    Forbidden,
}

/// Returns a successful answer whose data comes in `pieces`; `held` is dropped when the last one is sent.
pub(super) fn stream_success<H: Send + 'static>(
    pieces: impl Iterator<Item = Bytes> + Send + 'static,
    remarks: &Remarks,
    held: H,
) -> Response {
    let start = Bytes::from_static(b"{\"status\":\"success\",\"data\":");
    let mut end = Vec::new();
    remarks.write(&mut end);
    let pieces = std::iter::once(start)
        .chain(pieces)
        .chain(std::iter::once(Bytes::from(end)));
    let body = stream::iter(pieces).map(move |piece| {
        let _held = &held;
        Ok::<Bytes, std::convert::Infallible>(piece)
    });
    json_response(StatusCode::OK, remarks.caching(), Body::from_stream(body))
}

/// Returns a successful answer with `data`, which is JSON.
pub(super) fn success(data: Vec<u8>, remarks: &Remarks) -> Response {
    stream_success(std::iter::once(Bytes::from(data)), remarks, ())
}

/// Returns the successful answer of a request for which there is no data, not even an empty list.
pub(super) fn no_data() -> Response {
    StatusCode::NO_CONTENT.into_response()
}

/// Returns the pieces of a JSON array whose elements `write` writes.
pub(super) fn array_pieces<T>(
    items: impl IntoIterator<Item = T>,
    write: impl FnMut(&mut Vec<u8>, &T),
) -> impl Iterator<Item = Bytes> {
    list_pieces([b'[', b']'], items, write)
}

/// Returns the pieces of a JSON object whose members `write` writes.
pub(super) fn object_pieces<T>(
    items: impl IntoIterator<Item = T>,
    write: impl FnMut(&mut Vec<u8>, &T),
) -> impl Iterator<Item = Bytes> {
    list_pieces([b'{', b'}'], items, write)
}

fn list_pieces<T>(
    [open, close]: [u8; 2],
    items: impl IntoIterator<Item = T>,
    mut write: impl FnMut(&mut Vec<u8>, &T),
) -> impl Iterator<Item = Bytes> {
    let mut items = items.into_iter();
    let mut separator = Some(open);
    std::iter::from_fn(move || {
        let mut out = vec![separator?];
        if separator == Some(open) {
            if let Some(item) = items.next() {
                write(&mut out, &item);
            }
            separator = Some(b',');
        } else {
            out.clear();
        }
        while out.len() < PIECE_BYTES {
            let Some(item) = items.next() else {
                out.push(close);
                separator = None;
                break;
            };
            out.push(b',');
            write(&mut out, &item);
        }
        Some(Bytes::from(out))
    })
}

/// Returns `value` as text, with Go's escapes of what means something in HTML.
pub(super) fn json_text(value: &serde_json::Value) -> Vec<u8> {
    let plain = value.to_string();
    let mut out = Vec::with_capacity(plain.len());
    // These characters stand in strings only.
    for byte in plain.bytes() {
        match byte {
            b'<' => out.extend_from_slice(b"\\u003c"),
            b'>' => out.extend_from_slice(b"\\u003e"),
            b'&' => out.extend_from_slice(b"\\u0026"),
            other => out.push(other),
        }
    }
    out
}

fn json_response(status: StatusCode, caching: Caching, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    if caching == Caching::Forbidden {
        let no_store = HeaderValue::from_static("no-store");
        response
            .headers_mut()
            .insert(header::CACHE_CONTROL, no_store);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array(items: Vec<String>) -> Vec<Bytes> {
        array_pieces(items, |out, item| write_string(out, item)).collect()
    }

    #[test]
    fn arrays_come_in_pieces() {
        assert_eq!(array(Vec::new()).concat(), b"[]");
        assert_eq!(array(vec!["a".into()]).concat(), b"[\"a\"]");
        let long = vec!["x".repeat(1000); 200];
        let pieces = array(long.clone());
        assert!(pieces.len() > 5, "{}", pieces.len());
        assert!(pieces.iter().all(|piece| piece.len() < 2 * PIECE_BYTES));
        let read: Vec<String> = serde_json::from_slice(&pieces.concat()).unwrap();
        assert_eq!(read, long);
    }

    ///
    #[test]
    fn only_what_is_said_about_the_query_may_be_cached() {
        let caching = |texts: &[&str]| {
            Remarks::warnings(texts.iter().map(ToString::to_string).collect()).caching()
        };
        assert_eq!(caching(&[]), Caching::Allowed);
        assert_eq!(caching(&["PromQL warning: x (1:1)"]), Caching::Allowed);
        assert_eq!(
            caching(&["PromQL warning: x", "store-1: timed out"]),
            Caching::Forbidden
        );
    }
}
