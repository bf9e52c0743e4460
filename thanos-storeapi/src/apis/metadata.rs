//! Metadata of metrics: their type, unit and help.

use std::collections::BTreeMap;
use std::fmt;

use async_trait::async_trait;
use thanos_core::Result;
use thanos_core::budget::MemoryBudget;

use super::Answer;
use crate::store::PartialResponse;
use crate::tenant::TenantId;

/// A request for metadata.
#[derive(Debug, Clone, Default)]
pub struct MetadataRequest {
    /// The only metric that is wanted.
    pub metric: Option<String>,
    /// The most metrics that are wanted; `None` means all.
    pub metrics_max: Option<usize>,
    /// What a fan-out does when a component fails.
    pub partial_response: PartialResponse,
    /// On whose behalf; travels as metadata of the call.
    pub tenant: TenantId,
    /// Where the memory of an answer over the network comes from. A fan-out has a budget of its own.
    pub budget: MemoryBudget,
}

/// What is known about a metric.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MetricMetadata {
    /// `counter`, `gauge`, `histogram`, `gaugehistogram`, `summary`, `info`, `stateset` or `unknown`.
    pub metric_type: String,
    /// The text that explains the metric.
    pub help: String,
    /// The unit.
    pub unit: String,
}

/// What is known about metrics, by name; the entries of a metric differ.
pub type Metadata = BTreeMap<String, Vec<MetricMetadata>>;

/// Answers with metadata.
#[async_trait]
pub trait MetadataApi: fmt::Debug + Send + Sync + 'static {
    /// Returns what is known about metrics.
    ///
    /// # Errors
    ///
    /// Whatever keeps it from being read.
    async fn metadata(&self, request: MetadataRequest) -> Result<Answer<Metadata>>;
}
