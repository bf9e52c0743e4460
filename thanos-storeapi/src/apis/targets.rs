//! What Prometheus servers scrape.

use std::fmt;

use async_trait::async_trait;
use thanos_core::Result;
use thanos_core::budget::MemoryBudget;
use thanos_core::labels::Labels;
use thanos_core::time::UtcTime;

use super::Answer;
use crate::store::PartialResponse;
use crate::tenant::TenantId;

/// A request for targets.
#[derive(Debug, Clone, Default)]
pub struct TargetsRequest {
    /// Which targets.
    pub state: TargetStates,
    /// What a fan-out does when a component fails.
    pub partial_response: PartialResponse,
    /// On whose behalf; travels as metadata of the call.
    pub tenant: TenantId,
    /// Where the memory of an answer over the network comes from. A fan-out has a budget of its own.
    pub budget: MemoryBudget,
}

/// Which targets are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum TargetStates {
    /// All.
    #[default]
    Any,
    /// Those that are scraped.
    Active,
    /// Those that relabelling dropped.
    Dropped,
}

/// Targets.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Targets {
    /// Those that are scraped.
    pub active: Vec<ActiveTarget>,
    /// Those that relabelling dropped.
    pub dropped: Vec<DroppedTarget>,
}

/// A target that is scraped.
#[derive(Debug, Clone, PartialEq)]
pub struct ActiveTarget {
    /// Its labels before relabelling.
    pub discovered_labels: Labels,
    /// Its labels, external labels among them.
    pub labels: Labels,
    /// The name of the scrape configuration.
    pub scrape_pool: String,
    /// What is fetched.
    pub scrape_url: String,
    /// The same, as seen from elsewhere.
    pub global_url: String,
    /// Why the last scrape failed; empty if it did not.
    pub last_error: String,
    /// When it was scraped last; [`UtcTime::GO_ZERO`] for never.
    pub last_scrape: UtcTime,
    /// Seconds that the last scrape took.
    pub last_scrape_secs: f64,
    /// How it is.
    pub health: TargetHealth,
}

/// A target that relabelling dropped.
#[derive(Debug, Clone, PartialEq)]
pub struct DroppedTarget {
    /// Its labels before relabelling.
    pub discovered_labels: Labels,
}

/// How a target is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum TargetHealth {
    /// Its last scrape failed.
    Down,
    /// Its last scrape went well.
    Up,
    /// It was not scraped yet.
    #[default]
    Unknown,
}

/// Answers with targets.
#[async_trait]
pub trait TargetsApi: fmt::Debug + Send + Sync + 'static {
    /// Returns the targets that the request asks for.
    ///
    /// # Errors
    ///
    /// Whatever keeps them from being read.
    async fn targets(&self, request: TargetsRequest) -> Result<Answer<Targets>>;
}
