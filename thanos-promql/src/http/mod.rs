//! The Prometheus HTTP API v1 as an axum router.
//!
//! | endpoint | methods | answered by |
//! |---|---|---|
//! | `query`, `query_range` | GET, POST | the engine |
//! | `query_explain`, `query_range_explain` (Thanos) | GET, POST | the plan |
//! | `series`, `labels` | GET, POST | the data |
//! | `label/<name>/values` | GET | the data |
//! | `format_query`, `parse_query` | GET, POST | the parser |
//! | `query_exemplars` | GET, POST | [`Components`] or [`Hooks`] |
//! | `rules`, `alerts`, `targets`, `status/tsdb` | GET | [`Components`] |
//! | `metadata` | GET | [`Components`] or [`Hooks`] |
//! | `status/buildinfo`, `status/runtimeinfo`, `status/flags`, `status/config` | GET | [`Hooks`] |
//! | `status/active_queries` | GET | [`ActiveQueries`] |
//!
//! Parameters, texts of errors, status codes and JSON are Prometheus' own; Thanos' extra parameters are parsed
//! and handed to the [`QueryableSource`], which decides what data a request sees. Work on data waits for one of
//! [`ApiOptions::queries_max`] places ([`admission`](crate::admission)), runs on a thread for blocking work, never on one for I/O, ends at its
//! timeout and stops when the client goes away. Answers are streamed, compressed with gzip or zstd when the
//! client accepts it.
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
mod ast_json;
mod component_json;
mod components;
mod cors;
mod hooks;
mod language;
mod options;
mod params;
mod query;
mod query_api;
mod run;
mod series;
mod source;
mod statistics;
mod tenancy;
mod told;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, FromRef};
use axum::http::StatusCode;
use axum::middleware;
use axum::response::Response;
use axum::routing::{MethodRouter, any, get};
use thanos_core::time::{Clock, Timestamp};
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;

pub use components::Components;
pub use hooks::{
    BuildInfo, Exemplar, ExemplarRequest, Hooks, Metadata, MetadataRequest, MetricMetadata,
    RuntimeInfo, SeriesExemplars, Told,
};
pub use options::{ApiOptions, Cors, Dialect};
pub use params::MaxSourceResolution;
pub use source::{FixedSource, QueryableSource, SourceParams};
pub use tenancy::Tenancy;

use crate::active::ActiveQueries;
use crate::admission::{AdmissionOptions, Places};
use crate::engine::Engine;

/// The most bytes of a form, as Go's `ParseForm` allows.
const FORM_BYTES_MAX: usize = 10 << 20;

/// The HTTP API over an engine and a source of data.
#[derive(Debug, Clone)]
pub struct Api {
    engine: Engine,
    source: Arc<dyn QueryableSource>,
    options: Arc<ApiOptions>,
    hooks: Arc<dyn Hooks>,
    components: Arc<Components>,
    active: ActiveQueries,
    places: Places,
    started: Timestamp,
    more: Router,
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
            source,
            hooks: told::silent(),
            components: Arc::default(),
            active: ActiveQueries::new(engine.clock()),
            places: Places::new(AdmissionOptions {
                light_max: options.queries_max,
                limits: options.admission.clone(),
                budget: engine.options().budget.clone(),
                query_bytes_max: engine.options().query_bytes_max,
            }),
            started: engine.now(),
            more: Router::new(),
            options: Arc::new(options),
            engine,
        }
    }

    /// Lets `hooks` answer what is not about samples.
    #[must_use]
    pub fn with_hooks(mut self, hooks: Arc<dyn Hooks>) -> Self {
        self.hooks = hooks;
        self
    }

    /// Asks `components` for what is not about samples: rules, alerts, targets, statistics, and, before the hooks, for
    /// metadata and exemplars.
    #[must_use]
    pub fn with_components(mut self, components: Components) -> Self {
        self.components = Arc::new(components);
        self
    }

    /// Answers `routes`, which are under `/api/v1`, too, with the headers of all others.
    #[must_use]
    pub fn with_routes(mut self, routes: Router) -> Self {
        self.more = routes;
        self
    }

    /// Returns the places of the queries, to be watched.
    pub fn places(&self) -> &Places {
        &self.places
    }

    /// Lists what runs in `active`, which may keep a file or be shown elsewhere, too.
    #[must_use]
    pub fn with_active_queries(mut self, active: ActiveQueries) -> Self {
        self.active = active;
        self
    }

    /// Returns the routes under `/api/v1`.
    pub fn router(mut self) -> Router {
        let more = std::mem::take(&mut self.more).with_state(());
        let cors = Arc::new(self.options.cors.clone());
        let dialect = self.options.dialect;
        let compression = CompressionLayer::new().quality(CompressionLevel::Fastest);
        Router::new()
            .nest("/api/v1", routes().merge(more))
            .method_not_allowed_fallback(|| async {
                (StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n")
            })
            .layer(middleware::map_response(move |response| async move {
                in_dialect(dialect, response)
            }))
            .layer(compression)
            .layer(middleware::from_fn_with_state(cors, cors::apply))
            .layer(DefaultBodyLimit::max(FORM_BYTES_MAX))
            .with_state(self)
    }
}

/// Returns the pages under `/api/v1/status` that a program without an engine has: `buildinfo`, `flags`, `runtimeinfo`.
///
/// Source: Thanos `pkg/api/api.go`.
pub fn status_router(hooks: Arc<dyn Hooks>, clock: Arc<dyn Clock>, cors: Cors) -> Router {
    let process = told::Process {
        started: clock.now(),
        hooks,
        clock,
    };
    let cors = middleware::from_fn_with_state(Arc::new(cors), cors::apply);
    Router::new()
        .nest("/api/v1", process_routes().layer(cors))
        .with_state(process)
}

fn process_routes<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    told::Process: FromRef<S>,
{
    Router::new()
        .route("/status/buildinfo", get(told::build_info))
        .route("/status/flags", get(told::flags))
        .route("/status/runtimeinfo", get(told::runtime_info))
}

fn routes() -> Router<Api> {
    process_routes()
        .route("/query", get(query::instant).post(query::instant))
        .route("/query_range", get(query::range).post(query::range))
        .route(
            "/query_explain",
            get(statistics::explain_instant).post(statistics::explain_instant),
        )
        .route(
            "/query_range_explain",
            get(statistics::explain_range).post(statistics::explain_range),
        )
        .route(
            "/query_exemplars",
            get(told::exemplars).post(told::exemplars),
        )
        .route(
            "/format_query",
            get(language::format_query).post(language::format_query),
        )
        .route(
            "/parse_query",
            get(language::parse_query).post(language::parse_query),
        )
        .route("/series", get(series::series).post(series::series))
        .route(
            "/labels",
            get(series::label_names).post(series::label_names),
        )
        .route("/label/{name}/values", get(series::label_values))
        .route("/alerts", get(components::alerts))
        .route("/metadata", get(told::metadata))
        .route("/rules", get(components::rules))
        .route("/targets", get(components::targets))
        .route("/status/tsdb", get(components::tsdb_status))
        .route("/status/active_queries", get(told::active_queries))
        .route("/status/config", get(told::config))
        .route("/{*path}", unknown())
}

/// The paths that mean nothing: not found in the words of Go.
fn unknown() -> MethodRouter<Api> {
    any(|| async { (StatusCode::NOT_FOUND, "404 page not found\n") })
}

fn in_dialect(dialect: Dialect, mut response: Response) -> Response {
    let is_closed = response.status().as_u16() == answer::CLIENT_CLOSED_REQUEST;
    if is_closed && matches!(dialect, Dialect::Thanos { .. }) {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    response
}

#[cfg(test)]
mod tests;
