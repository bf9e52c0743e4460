//! The settings of the API.

use std::time::Duration;

use thanos_core::re2::GoRegex;

use super::tenancy::Tenancy;
use crate::admission::AdmissionLimits;
use crate::engine::OnPartial;

/// The settings of an [`Api`](super::Api).
#[derive(Debug, Clone)]
pub struct ApiOptions {
    /// What happens to an answer that lacks data when the request does not say (`partial_response`).
    pub on_partial: OnPartial,
    /// The most requests for data that are worked on at once, beside heavy queries; others wait.
    pub queries_max: usize,
    /// What heavy queries may take.
    pub admission: AdmissionLimits,
    /// The most steps of a range query, counted as Prometheus does: (end - start) / step.
    pub steps_max: u64,
    /// How far back `series`, `labels` and `label/<name>/values` look when the request does not say; `None` for ever
    /// (`--query.metadata.default-time-range`).
    pub metadata_range: Option<Duration>,
    /// Whether `stats=all` counts the samples of each step, which costs time and memory.
    pub step_stats: bool,
    /// Whose rules hold where Prometheus and Thanos differ.
    pub dialect: Dialect,
    /// Which web pages of other origins may read answers.
    pub cors: Cors,
    /// How a request says on whose behalf it asks.
    pub tenancy: Tenancy,
}

impl Default for ApiOptions {
    fn default() -> Self {
        Self {
            on_partial: OnPartial::Fail,
            queries_max: 20,
            admission: AdmissionLimits::default(),
            steps_max: 11_000,
            metadata_range: None,
            step_stats: false,
            dialect: Dialect::Prometheus,
            cors: Cors::Any,
            tenancy: Tenancy::default(),
        }
    }
}

/// Whose rules hold where Prometheus and Thanos differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// A range query without `step` is an error; a query that was canceled has status 499.
    Prometheus,
    /// A query that was canceled has status 503. Labels may be asked for with a `match[]` that excludes nothing, and a
    /// query without selectors has an empty list of exemplars.
    Thanos {
        /// The smallest step of a range query without `step`, which has 250 steps otherwise.
        default_step: Duration,
    },
}

/// Which web pages of other origins may read answers.
#[derive(Debug, Clone)]
pub enum Cors {
    /// None.
    Off,
    /// All.
    Any,
    /// Those whose origin matches (`--web.cors.origin` of Prometheus).
    Matching(GoRegex),
}
