//! What the API cannot know by itself and the program around it can tell: metadata, exemplars, and itself.

use std::collections::BTreeMap;
use std::fmt;

use async_trait::async_trait;
use thanos_core::labels::{Labels, Matcher};
use thanos_core::time::{TimeRange, Timestamp};

use super::source::SourceParams;
use crate::error::Result;

/// What the program around the API adds to it; every default is an empty answer.
#[async_trait]
pub trait Hooks: fmt::Debug + Send + Sync + 'static {
    /// Returns what is known about metrics: `/api/v1/metadata`.
    ///
    /// # Errors
    ///
    /// When it cannot be found out.
    async fn metadata(&self, request: &MetadataRequest) -> Result<Told<Metadata>> {
        let _ = request;
        Ok(Told::default())
    }

    /// Returns the exemplars of series: `/api/v1/query_exemplars`.
    ///
    /// # Errors
    ///
    /// When they cannot be read.
    async fn exemplars(&self, request: &ExemplarRequest) -> Result<Told<Vec<SeriesExemplars>>> {
        let _ = request;
        Ok(Told::default())
    }

    /// Returns which build this is: `/api/v1/status/buildinfo`.
    fn build_info(&self) -> BuildInfo {
        BuildInfo::default()
    }

    /// Returns what is known about the process: `/api/v1/status/runtimeinfo`.
    fn runtime_info(&self) -> RuntimeInfo {
        RuntimeInfo::default()
    }

    /// Returns the flags with their values: `/api/v1/status/flags`.
    fn flags(&self) -> BTreeMap<String, String> {
        BTreeMap::new()
    }

    /// Returns the configuration as YAML: `/api/v1/status/config`.
    fn config_yaml(&self) -> String {
        String::new()
    }
}

/// Tells nothing.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct NoHooks;

impl Hooks for NoHooks {}

/// What a hook tells, and what there is to say about it.
#[derive(Debug, Clone, Default)]
pub struct Told<T> {
    /// What was asked for.
    pub value: T,
    /// Warnings of the answer, such as sources that did not answer.
    pub warnings: Vec<String>,
}

impl<T> Told<T> {
    /// Returns `value` without warnings.
    pub fn new(value: T) -> Self {
        let warnings = Vec::new();
        Self { value, warnings }
    }
}

/// What is known about metrics, by name.
pub type Metadata = BTreeMap<String, Vec<MetricMetadata>>;

/// A request for metadata. The API cuts what is too much; a hook may use the limits to look for less.
#[derive(Debug, Clone, Default)]
pub struct MetadataRequest {
    /// The only metric asked for.
    pub metric: Option<String>,
    /// The most metrics; none for all.
    pub metrics_max: Option<usize>,
    /// The most entries of a metric; none for all.
    pub entries_max: Option<usize>,
    /// Thanos' extra parameters.
    pub source: SourceParams,
}

/// What is known about a metric.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct MetricMetadata {
    /// `counter`, `gauge`, `histogram`, `gaugehistogram`, `summary`, `info`, `stateset` or `unknown`.
    pub metric_type: String,
    /// The unit.
    pub unit: String,
    /// The text that explains the metric.
    pub help: String,
}

/// A request for exemplars.
#[derive(Debug, Clone)]
pub struct ExemplarRequest {
    /// The conditions of every selector in the query; a series matches when one of them does.
    pub selectors: Vec<Vec<Matcher>>,
    /// The times, both inclusive.
    pub range: TimeRange,
    /// Thanos' extra parameters.
    pub source: SourceParams,
}

/// The exemplars of a series.
#[derive(Debug, Clone)]
pub struct SeriesExemplars {
    /// The labels of the series.
    pub labels: Labels,
    /// The exemplars, ascending in time.
    pub exemplars: Vec<Exemplar>,
}

/// An exemplar.
#[derive(Debug, Clone)]
pub struct Exemplar {
    /// Its own labels, such as a trace id.
    pub labels: Labels,
    /// The observed value.
    pub value: f64,
    /// When it was observed.
    pub time: Timestamp,
}

/// Which build a program is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildInfo {
    /// The version; the version of this crate by default.
    pub version: String,
    /// The commit.
    pub revision: String,
    /// The branch.
    pub branch: String,
    /// Who built it.
    pub build_user: String,
    /// When it was built.
    pub build_date: String,
}

impl Default for BuildInfo {
    fn default() -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").into(),
            revision: String::new(),
            branch: String::new(),
            build_user: String::new(),
            build_date: String::new(),
        }
    }
}

/// What is known about a process.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RuntimeInfo {
    /// When it started; when the API was made by default.
    pub start_time: Option<Timestamp>,
    /// Its working directory.
    pub working_dir: String,
    /// The name of the machine.
    pub hostname: String,
    /// How many threads compute at once.
    pub threads_max: usize,
    /// The most memory that it may use; none when there is no limit.
    pub memory_bytes_max: Option<u64>,
    /// How long data is kept.
    pub storage_retention: String,
}
