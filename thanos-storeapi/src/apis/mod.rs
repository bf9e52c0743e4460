//! What components of a Thanos deployment answer beside series: rules, targets, metadata, exemplars, the state of
//! their databases, and whole queries.
//!
//! Each is a trait with one call, which a Prometheus behind a sidecar, a client of another component and a fan-out
//! over many implement alike. [`Apis`] is what one component has of them, [`Offers`] what it announces.

pub mod exemplars;
mod held;
pub mod metadata;
pub mod query;
pub mod rules;
pub mod status;
pub mod targets;

use std::sync::Arc;

use thanos_core::Result;
use thanos_core::query::Completeness;
use thanos_core::time::TimeRange;

use exemplars::ExemplarsApi;
pub use held::Held;
use metadata::MetadataApi;
use query::QueryApi;
use rules::RulesApi;
use status::StatusApi;
use targets::TargetsApi;

/// An answer, with what went wrong on the way to it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Answer<T> {
    /// What was asked for.
    pub value: T,
    /// Something the user should see.
    pub warnings: Vec<String>,
    /// Whether everybody who was asked answered.
    pub completeness: Completeness,
    /// The memory that it takes.
    pub held: Held,
}

impl<T> Answer<T> {
    /// Returns the complete answer `value`.
    pub fn complete(value: T) -> Self {
        Self {
            value,
            warnings: Vec::new(),
            completeness: Completeness::Complete,
            held: Held::default(),
        }
    }

    /// Returns the answer whose value is what `change` makes of this one.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Answer<U> {
        Answer {
            value: change(self.value),
            warnings: self.warnings,
            completeness: self.completeness,
            held: self.held,
        }
    }

    /// Does the same, if there is something to make of it.
    ///
    /// # Errors
    ///
    /// That of `change`.
    pub fn try_map<U>(self, change: impl FnOnce(T) -> Result<U>) -> Result<Answer<U>> {
        let value = change(self.value)?;
        Ok(Answer {
            value,
            warnings: self.warnings,
            completeness: self.completeness,
            held: self.held,
        })
    }
}

/// What a component answers beside series.
#[derive(Debug, Clone, Default)]
pub struct Apis {
    /// Its rules and their alerts.
    pub rules: Option<Arc<dyn RulesApi>>,
    /// Its scrape targets.
    pub targets: Option<Arc<dyn TargetsApi>>,
    /// Its metadata of metrics.
    pub metadata: Option<Arc<dyn MetadataApi>>,
    /// Its exemplars.
    pub exemplars: Option<Arc<dyn ExemplarsApi>>,
    /// The statistics of its databases.
    pub status: Option<Arc<dyn StatusApi>>,
    /// Whole queries.
    pub query: Option<Arc<dyn QueryApi>>,
}

/// What a component says that it answers: the parts of its info on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offers {
    /// Series, label names and label values. A component that is not ready yet does not offer them.
    pub store: bool,
    /// Rules.
    pub rules: bool,
    /// Targets.
    pub targets: bool,
    /// Metadata of metrics.
    pub metadata: bool,
    /// Exemplars, and the times for which there may be some.
    pub exemplars: Option<TimeRange>,
    /// Statistics of databases.
    pub status: bool,
    /// Whole queries.
    pub query: bool,
}

/// A store and nothing else.
impl Default for Offers {
    fn default() -> Self {
        Self {
            store: true,
            rules: false,
            targets: false,
            metadata: false,
            exemplars: None,
            status: false,
            query: false,
        }
    }
}
