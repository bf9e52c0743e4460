//! The page: one file without a framework that asks the API and draws what it says.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{Html, IntoResponse, Response};

use super::{AdminOperations, View, ViewerState, prefix};

/// `@PREFIX@`, `@VIEW@` and `@ADMIN@` stand for what differs between answers.
const PAGE: &str = include_str!("page.html");

/// Answers GET `/`.
pub(super) async fn home(state: State<Arc<ViewerState>>, headers: HeaderMap) -> Response {
    let view = state.options.home;
    page(&state, &headers, view)
}

/// Answers GET `/blocks` and `/global`.
pub(super) async fn global(state: State<Arc<ViewerState>>, headers: HeaderMap) -> Response {
    page(&state, &headers, View::Global)
}

/// Answers GET `/loaded`.
pub(super) async fn loaded(state: State<Arc<ViewerState>>, headers: HeaderMap) -> Response {
    page(&state, &headers, View::Loaded)
}

fn page(state: &ViewerState, headers: &HeaderMap, view: View) -> Response {
    let view = match view {
        View::Global => "global",
        View::Loaded => "loaded",
    };
    let admin = match state.options.admin_operations {
        AdminOperations::Allowed => "allowed",
        AdminOperations::Refused => "refused",
    };
    let text = PAGE
        .replace("@PREFIX@", &prefix::of_request(&state.options, headers))
        .replace("@VIEW@", view)
        .replace("@ADMIN@", admin);
    // The page has its script inside and needs nothing from anywhere else.
    let policy = "default-src 'self'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; frame-ancestors 'none'";
    ([(header::CONTENT_SECURITY_POLICY, policy)], Html(text)).into_response()
}
