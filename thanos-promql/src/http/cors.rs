//! What web pages of other origins may do: the headers that browsers ask for.
//!
//! Source: Prometheus `util/httputil/cors.go`; Thanos' `Accept-Encoding` is allowed, too.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, HeaderMap, HeaderValue, ORIGIN, VARY,
};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::options::Cors;

/// Answers OPTIONS, and adds the headers to all other answers.
pub(super) async fn apply(State(cors): State<Arc<Cors>>, request: Request, next: Next) -> Response {
    let origin = request.headers().get(ORIGIN).cloned();
    let mut response = if request.method() == Method::OPTIONS {
        StatusCode::NO_CONTENT.into_response()
    } else {
        next.run(request).await
    };
    add_headers(&cors, origin, response.headers_mut());
    response
}

fn add_headers(cors: &Cors, origin: Option<HeaderValue>, headers: &mut HeaderMap) {
    let allowed = match (cors, origin) {
        (Cors::Off, _) => return,
        (_, None) => {
            headers.append(VARY, HeaderValue::from_static("Origin"));
            return;
        }
        (Cors::Any, Some(_)) => Some(HeaderValue::from_static("*")),
        (Cors::Matching(regex), Some(origin)) => origin
            .to_str()
            .is_ok_and(|text| regex.is_match(text))
            .then_some(origin),
    };
    headers.append(VARY, HeaderValue::from_static("Origin"));
    for (name, value) in [
        (
            ACCESS_CONTROL_ALLOW_HEADERS,
            "Accept, Accept-Encoding, Authorization, Content-Type, Origin",
        ),
        (ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, OPTIONS"),
        (ACCESS_CONTROL_EXPOSE_HEADERS, "Date"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if let Some(allowed) = allowed {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
    }
}
