//! POST `/api/v1/blocks/mark`: writes a marker file beside a block's `meta.json`.
//!
//! As in Thanos, a marker that exists stays as it is, and nobody asks whether there is such a block: one whose upload
//! broke has no `meta.json` and must be markable, too.

use std::sync::Arc;

use axum::Form;
use axum::extract::rejection::FormRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use thanos_core::Result;
use thanos_core::block::{BlockId, DeletionMark, NoCompactMark, no_compact_reason};

use super::answer::bad_data;
use super::{AdminOperations, ViewerState};
use crate::transfer::mark_block;

type Pairs = Vec<(String, String)>;

/// What a block is marked for.
enum Action {
    Deletion,
    NoCompaction,
}

/// A request to mark a block.
struct MarkRequest {
    id: BlockId,
    action: Action,
    detail: String,
}

/// Answers the request; the parameters of the form come before those of the URL.
pub(super) async fn mark(
    State(state): State<Arc<ViewerState>>,
    Query(in_url): Query<Pairs>,
    form: std::result::Result<Form<Pairs>, FormRejection>,
) -> Response {
    if state.options.admin_operations == AdminOperations::Refused {
        return bad_data(&"Admin operations are disabled");
    }
    let mut pairs = match form {
        Ok(Form(pairs)) => pairs,
        // No form at all: the parameters may all be in the URL.
        Err(FormRejection::InvalidFormContentType(_)) => Pairs::new(),
        Err(error) => return bad_data(&error),
    };
    pairs.extend(in_url);
    let request = match MarkRequest::parse(&pairs) {
        Ok(request) => request,
        Err(message) => return bad_data(&message),
    };
    match request.carry_out(&state).await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => bad_data(&error),
    }
}

impl MarkRequest {
    fn parse(pairs: &Pairs) -> std::result::Result<Self, String> {
        let value = |wanted: &str| {
            let found = pairs.iter().find(|(name, _)| name == wanted);
            found.map_or("", |(_, value)| value.as_str())
        };
        let (id, action) = (value("id"), value("action"));
        if id.is_empty() {
            return Err("ID cannot be empty".to_owned());
        }
        if action.is_empty() {
            return Err("Action cannot be empty".to_owned());
        }
        Ok(Self {
            id: id
                .parse()
                .map_err(|_| format!("ULID {id:?} is not valid: {}", what_is_wrong(id)))?,
            action: match action {
                "DELETION" => Action::Deletion,
                "NO_COMPACTION" => Action::NoCompaction,
                other => return Err(format!("not supported marker {other}")),
            },
            detail: value("detail").to_owned(),
        })
    }

    async fn carry_out(self, state: &ViewerState) -> Result<()> {
        let now = state.options.clock.now();
        let (id, detail) = (self.id, self.detail);
        match self.action {
            Action::Deletion => {
                let mark = DeletionMark::new(id, now, detail);
                mark_block(&state.bucket, &mark).await?;
            }
            Action::NoCompaction => {
                let mark = NoCompactMark::new(id, now, no_compact_reason::MANUAL, detail);
                mark_block(&state.bucket, &mark).await?;
            }
        }
        Ok(())
    }
}

/// Says in the words of Go's ulid package why `id` is no ULID.
fn what_is_wrong(id: &str) -> &'static str {
    if id.len() != 26 {
        "ulid: bad data size when unmarshaling"
    } else if id.as_bytes()[0] > b'7' {
        "ulid: overflow when unmarshaling"
    } else {
        "ulid: bad data characters when unmarshaling"
    }
}
