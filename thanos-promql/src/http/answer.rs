//! Answers: the JSON envelope around a result, and failures with their status codes.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::stream::{self, StreamExt};

use crate::error::{Error, ErrorKind};
use crate::json::{write_string, write_strings};

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
            ErrorKind::Cancelled => (StatusCode::SERVICE_UNAVAILABLE, "canceled"),
            ErrorKind::NotFound => (StatusCode::NOT_FOUND, "not_found"),
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
        json_response(self.status, Body::from(out))
    }
}

/// What goes beside the data of an answer.
#[derive(Debug, Default)]
pub(super) struct Remarks {
    pub(super) warnings: Vec<String>,
    pub(super) infos: Vec<String>,
}

impl Remarks {
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
    json_response(StatusCode::OK, Body::from_stream(body))
}

/// Returns a successful answer with `data`, which is JSON.
pub(super) fn success(data: Vec<u8>, remarks: &Remarks) -> Response {
    stream_success(std::iter::once(Bytes::from(data)), remarks, ())
}

fn json_response(status: StatusCode, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}
