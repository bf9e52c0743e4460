//! Answers in the envelope of Prometheus' API, and the headers for pages of other origins.

use std::fmt::Display;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::{Cors, ViewerState};

const JSON: (HeaderName, &str) = (header::CONTENT_TYPE, "application/json");

/// What Thanos says to every page that asks (`pkg/api/api.go`, `corsHeaders`).
const CORS_HEADERS: [(HeaderName, &str); 4] = [
    (
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        "Accept, Accept-Encoding, Authorization, Content-Type, Origin",
    ),
    (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, OPTIONS"),
    (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
    (header::ACCESS_CONTROL_EXPOSE_HEADERS, "Date"),
];

#[derive(Serialize)]
struct Success<'a, T> {
    status: &'static str,
    data: &'a T,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Failure {
    status: &'static str,
    error_type: &'static str,
    error: String,
}

/// Returns the text of an answer with `data`.
pub(super) fn success(data: &impl Serialize) -> Vec<u8> {
    let status = "success";
    serde_json::to_vec(&Success { status, data }).expect("our types have string keys")
}

/// Returns the answer with the text of [`success`].
pub(super) fn json(text: Vec<u8>) -> Response {
    ([JSON], text).into_response()
}

/// Returns the answer to a request that cannot be done as it is.
pub(super) fn bad_data(error: &dyn Display) -> Response {
    failure(StatusCode::BAD_REQUEST, "bad_data", error)
}

/// Returns the answer when we failed.
pub(super) fn internal(error: &dyn Display) -> Response {
    failure(StatusCode::INTERNAL_SERVER_ERROR, "internal", error)
}

fn failure(status: StatusCode, error_type: &'static str, error: &dyn Display) -> Response {
    let body = Failure {
        status: "error",
        error_type,
        error: error.to_string(),
    };
    let text = serde_json::to_vec(&body).expect("our types have string keys");
    let headers = [JSON, (header::CACHE_CONTROL, "no-store")];
    (status, headers, text).into_response()
}

/// Answers OPTIONS, and adds the headers for pages of other origins.
pub(super) async fn add_cors(
    State(state): State<Arc<ViewerState>>,
    request: Request,
    next: Next,
) -> Response {
    let mut response = if request.method() == Method::OPTIONS {
        StatusCode::NO_CONTENT.into_response()
    } else {
        next.run(request).await
    };
    if state.options.cors == Cors::Any {
        for (name, value) in CORS_HEADERS {
            let value = HeaderValue::from_static(value);
            response.headers_mut().insert(name, value);
        }
    }
    response
}
