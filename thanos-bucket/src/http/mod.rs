//! The block viewer: which blocks a component sees, as Thanos' JSON API and as a small page, and marking them.
//!
//! | request | answer |
//! |---|---|
//! | GET `/api/v1/blocks?view=loaded` | the blocks that the component serves or works on |
//! | GET `/api/v1/blocks` | all blocks of the bucket, where the component looks at them |
//! | POST `/api/v1/blocks/mark` | writes a marker file: `id`, `action` (`DELETION`, `NO_COMPACTION`), `detail` |
//! | GET `/`, `/blocks`, `/global`, `/loaded` | a page that draws the blocks as a timeline |
//!
//! Whoever syncs blocks tells the viewer with [`BlockViewer::set`]; nothing here lists a bucket. Source of the shapes
//! and texts: Thanos `pkg/api/blocks/v1.go`, `pkg/api/api.go` (row ST-33 of the specification).

mod answer;
mod mark;
mod page;
mod prefix;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Router, middleware};
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use thanos_core::Error;
use thanos_core::block::{Meta, ThanosMeta};
use thanos_core::time::{Clock, SystemClock, UtcTime};

use crate::Bucket;
use crate::compute::Compute;
use crate::fetch::BlockEntry;

/// Whether pages of other origins may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Cors {
    /// Every origin may.
    #[default]
    Any,
    /// No header says anything about it (`--web.disable-cors`).
    Off,
}

/// Whether blocks may be marked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AdminOperations {
    /// Whoever reaches the API may mark blocks.
    #[default]
    Allowed,
    /// Nobody may (`--disable-admin-operations`).
    Refused,
}

/// Which blocks are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum View {
    /// All blocks of the bucket.
    #[default]
    Global,
    /// The blocks that the component serves or works on.
    Loaded,
}

/// Settings of a [`BlockViewer`]; the defaults are Thanos'.
#[derive(Debug, Clone)]
pub struct ViewerOptions {
    /// The external label by which the page groups blocks; empty for all of them (`--bucket-web-label`).
    pub label: String,
    /// Whether blocks may be marked.
    pub admin_operations: AdminOperations,
    /// Whether pages of other origins may ask.
    pub cors: Cors,
    /// Put before all links of the page (`--web.external-prefix`).
    pub external_prefix: String,
    /// The request header that says what to put before links when there is no external prefix; empty for none
    /// (`--web.prefix-header`).
    pub prefix_header: String,
    /// What the page at `/` shows.
    pub home: View,
    /// Where the times of markers and refreshes come from.
    pub clock: Arc<dyn Clock>,
    /// Where answers are made.
    pub compute: Compute,
}

impl Default for ViewerOptions {
    fn default() -> Self {
        Self {
            label: String::new(),
            admin_operations: AdminOperations::default(),
            cors: Cors::default(),
            external_prefix: String::new(),
            prefix_header: String::new(),
            home: View::default(),
            clock: Arc::new(SystemClock),
            compute: Compute::per_core(),
        }
    }
}

/// The block viewer of one component. Clones are the same viewer.
///
/// # Example
///
/// ```
/// use std::sync::Arc;
/// use thanos_bucket::Bucket;
/// use thanos_bucket::http::{BlockViewer, View, ViewerOptions};
///
/// let bucket = Bucket::new(Arc::new(object_store::memory::InMemory::new()));
/// let viewer = BlockViewer::new(bucket, ViewerOptions::default());
/// viewer.set(View::Loaded, Ok(Vec::new()));
/// let router: axum::Router = viewer.router();
/// # let _ = router;
/// ```
#[derive(Clone)]
pub struct BlockViewer {
    state: Arc<ViewerState>,
}

struct ViewerState {
    bucket: Bucket,
    options: ViewerOptions,
    global: RwLock<Seen>,
    loaded: RwLock<Seen>,
}

/// What was last told about a view.
#[derive(Clone)]
struct Seen {
    blocks: Arc<Vec<Arc<BlockEntry>>>,
    refreshed_at: UtcTime,
    error: Option<String>,
}

impl Default for Seen {
    fn default() -> Self {
        Self {
            blocks: Arc::default(),
            refreshed_at: UtcTime::GO_ZERO,
            error: None,
        }
    }
}

/// The answer to GET `/api/v1/blocks`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BlocksInfo {
    label: String,
    blocks: Vec<Meta>,
    refreshed_at: String,
    err: Option<String>,
}

impl Seen {
    /// Thanos' page reads the `thanos` section of every block: one without gets an empty one.
    fn to_info(&self, label: String) -> BlocksInfo {
        let meta = |entry: &Arc<BlockEntry>| {
            let mut meta = entry.meta.clone();
            meta.thanos.get_or_insert_with(ThanosMeta::default);
            meta
        };
        BlocksInfo {
            label,
            blocks: self.blocks.iter().map(meta).collect(),
            refreshed_at: self.refreshed_at.to_string(),
            err: self.error.clone(),
        }
    }
}

impl BlockViewer {
    /// Returns a viewer that has not been told of any block; markers are written to `bucket`.
    pub fn new(bucket: Bucket, options: ViewerOptions) -> Self {
        let state = ViewerState {
            bucket,
            options,
            global: RwLock::default(),
            loaded: RwLock::default(),
        };
        Self {
            state: Arc::new(state),
        }
    }

    /// Tells which blocks `view` has now, or why that is not known: then the blocks known before stay.
    pub fn set(&self, view: View, blocks: Result<Vec<Arc<BlockEntry>>, &Error>) {
        let now = UtcTime::from_timestamp(self.state.options.clock.now());
        let mut seen = self.state.seen(view).write();
        seen.refreshed_at = now;
        seen.error = blocks.as_ref().err().map(ToString::to_string);
        if let Ok(blocks) = blocks {
            seen.blocks = Arc::new(blocks);
        }
    }

    /// Returns the routes of the page and of the API.
    pub fn router(&self) -> Router {
        let api = Router::new()
            .route("/api/v1/blocks", get(blocks))
            .route("/api/v1/blocks/mark", post(mark::mark))
            .route_layer(middleware::from_fn_with_state(
                Arc::clone(&self.state),
                answer::add_cors,
            ));
        Router::new()
            .route("/", get(page::home))
            .route("/blocks", get(page::global))
            .route("/global", get(page::global))
            .route("/loaded", get(page::loaded))
            .merge(api)
            .with_state(Arc::clone(&self.state))
    }
}

impl ViewerState {
    fn seen(&self, view: View) -> &RwLock<Seen> {
        match view {
            View::Global => &self.global,
            View::Loaded => &self.loaded,
        }
    }
}

#[derive(Deserialize)]
struct BlocksParams {
    #[serde(default)]
    view: String,
}

async fn blocks(
    State(state): State<Arc<ViewerState>>,
    Query(params): Query<BlocksParams>,
) -> Response {
    let view = if params.view == "loaded" {
        View::Loaded
    } else {
        View::Global
    };
    let seen = state.seen(view).read().clone();
    let label = state.options.label.clone();
    // Ten thousand blocks with their sources are many megabytes of JSON.
    let text = state
        .options
        .compute
        .run(move || answer::success(&seen.to_info(label)))
        .await;
    match text {
        Ok(text) => answer::json(text),
        Err(error) => answer::internal(&error),
    }
}

impl fmt::Debug for BlockViewer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockViewer")
            .field("bucket", &self.state.bucket)
            .field("options", &self.state.options)
            .finish_non_exhaustive()
    }
}
