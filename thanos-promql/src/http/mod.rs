//! The Prometheus HTTP API v1 as an axum router: `query`, `query_range`, `series`, `labels`, `label/<name>/values`.
//!
//! Parameters, texts of errors, status codes and JSON are Prometheus' own; Thanos' extra parameters are parsed
//! and handed to the [`QueryableSource`], which decides what data a request sees. Evaluation runs on a thread
//! for blocking work, never on one for I/O, and stops when the client goes away. Answers are streamed.
//!
//! ```
//! use std::sync::Arc;
//! use thanos_core::query::Queryable;
//! use thanos_promql::Engine;
//! use thanos_promql::http::{Api, FixedSource};
//!
//! fn app(data: Arc<dyn Queryable>) -> axum::Router {
//!     Api::new(Engine::default(), Arc::new(FixedSource(data))).router()
//! }
//! ```

mod answer;
mod metadata;
mod params;
mod query;
mod source;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::get;
use tokio::sync::Semaphore;
use tower_http::cors::{Any, CorsLayer};

pub use params::MaxSourceResolution;
pub use source::{FixedSource, QueryableSource, SourceParams};

use crate::engine::{Engine, OnPartial};

/// The most bytes of a form, as Go's `ParseForm` allows.
const FORM_BYTES_MAX: usize = 10 << 20;

/// The settings of an [`Api`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ApiOptions {
    /// What happens to an answer that lacks data when the request does not say (`partial_response`).
    pub on_partial: OnPartial,
    /// The most queries that are evaluated at once; others wait.
    pub queries_max: usize,
}

impl Default for ApiOptions {
    fn default() -> Self {
        Self {
            on_partial: OnPartial::Fail,
            queries_max: 20,
        }
    }
}

/// The HTTP API over an engine and a source of data.
#[derive(Debug, Clone)]
pub struct Api {
    engine: Engine,
    source: Arc<dyn QueryableSource>,
    options: ApiOptions,
    slots: Arc<Semaphore>,
}

impl Api {
    /// Returns the API with default settings.
    pub fn new(engine: Engine, source: Arc<dyn QueryableSource>) -> Self {
        Self::with_options(engine, source, ApiOptions::default())
    }

    /// Returns the API with `options`.
    pub fn with_options(
        engine: Engine,
        source: Arc<dyn QueryableSource>,
        options: ApiOptions,
    ) -> Self {
        Self {
            engine,
            source,
            options,
            slots: Arc::new(Semaphore::new(options.queries_max.max(1))),
        }
    }

    /// Returns the routes under `/api/v1`.
    pub fn router(self) -> Router {
        let cors = CorsLayer::new().allow_origin(Any).allow_headers(Any);
        Router::new()
            .route("/api/v1/query", get(query::instant).post(query::instant))
            .route("/api/v1/query_range", get(query::range).post(query::range))
            .route(
                "/api/v1/series",
                get(metadata::series).post(metadata::series),
            )
            .route(
                "/api/v1/labels",
                get(metadata::label_names).post(metadata::label_names),
            )
            .route("/api/v1/label/{name}/values", get(metadata::label_values))
            .layer(cors)
            .layer(DefaultBodyLimit::max(FORM_BYTES_MAX))
            .with_state(self)
    }
}

#[cfg(test)]
mod tests;
