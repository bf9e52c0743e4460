//! Exemplars: single observations that name a trace.

use std::fmt;

use async_trait::async_trait;
use thanos_core::Result;
use thanos_core::budget::MemoryBudget;
use thanos_core::labels::Labels;
use thanos_core::time::{TimeRange, Timestamp};

use super::Answer;
use crate::store::PartialResponse;
use crate::tenant::TenantId;

/// A request for exemplars.
#[derive(Debug, Clone, Default)]
pub struct ExemplarsRequest {
    /// A PromQL expression; the series of all its selectors are wanted.
    pub query: String,
    /// The times, both inclusive.
    pub range: TimeRange,
    /// What a fan-out does when a component fails.
    pub partial_response: PartialResponse,
    /// On whose behalf; travels as metadata of the call.
    pub tenant: TenantId,
    /// Where the memory of an answer over the network comes from. A fan-out has a budget of its own.
    pub budget: MemoryBudget,
}

/// The exemplars of a series.
#[derive(Debug, Clone, PartialEq)]
pub struct SeriesExemplars {
    /// The labels of the series, external labels among them.
    pub labels: Labels,
    /// The exemplars, ascending in time.
    pub exemplars: Vec<Exemplar>,
}

/// An exemplar.
#[derive(Debug, Clone, PartialEq)]
pub struct Exemplar {
    /// Its own labels, such as a trace id.
    pub labels: Labels,
    /// The observed value.
    pub value: f64,
    /// When it was observed.
    pub time: Timestamp,
}

/// Answers with exemplars.
#[async_trait]
pub trait ExemplarsApi: fmt::Debug + Send + Sync + 'static {
    /// Returns the exemplars of the series that the request asks for, sorted by labels.
    ///
    /// # Errors
    ///
    /// `Invalid` for an expression that cannot be parsed, and whatever keeps the exemplars from being read.
    async fn exemplars(&self, request: ExemplarsRequest) -> Result<Answer<Vec<SeriesExemplars>>>;
}
