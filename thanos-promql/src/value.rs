//! Results of queries: scalar, string, vector and matrix, with what there is to say about them.

use std::sync::Arc;
use std::time::Duration;

use thanos_core::budget::Lease;
use thanos_core::histogram::FloatHistogram;
use thanos_core::labels::Labels;
use thanos_core::query::{Completeness, SourcePlan, SourceUse};
use thanos_core::time::Timestamp;

use crate::annotations::Annotations;
use crate::parser::Span;

/// A float at a time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// When.
    pub time: Timestamp,
    /// What.
    pub value: f64,
}

/// A native histogram at a time.
#[derive(Debug, Clone, PartialEq)]
pub struct HistogramPoint {
    /// When.
    pub time: Timestamp,
    /// What.
    pub histogram: Arc<FloatHistogram>,
}

/// What a series has at a time: a float or a native histogram.
#[derive(Debug, Clone, PartialEq)]
pub enum SampleValue {
    /// A float.
    Float(f64),
    /// A native histogram.
    Histogram(Arc<FloatHistogram>),
}

impl SampleValue {
    /// Returns the float, or nothing for a histogram.
    pub fn as_float(&self) -> Option<f64> {
        match self {
            Self::Float(value) => Some(*value),
            Self::Histogram(_) => None,
        }
    }

    /// Returns the histogram, or nothing for a float.
    pub fn as_histogram(&self) -> Option<&Arc<FloatHistogram>> {
        match self {
            Self::Float(_) => None,
            Self::Histogram(histogram) => Some(histogram),
        }
    }
}

impl From<f64> for SampleValue {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

/// A series of an instant result.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The labels.
    pub labels: Labels,
    /// The evaluation time.
    pub time: Timestamp,
    /// The value at that time.
    pub value: SampleValue,
}

/// A series of a range result.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Series {
    /// The labels.
    pub labels: Labels,
    /// The floats, ascending in time.
    pub points: Vec<Point>,
    /// The native histograms, ascending in time; no time is in both.
    pub histograms: Vec<HistogramPoint>,
}

/// The value of a query.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A number at the evaluation time.
    Scalar(Point),
    /// A text at the evaluation time.
    String(Timestamp, String),
    /// Series with one value each; in the order that the query defines, else in the order they were found.
    Vector(Vec<Sample>),
    /// Series over time, sorted by labels.
    Matrix(Vec<Series>),
}

impl Value {
    /// Returns the name of the type as the HTTP API writes it.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Scalar(_) => "scalar",
            Self::String(..) => "string",
            Self::Vector(_) => "vector",
            Self::Matrix(_) => "matrix",
        }
    }

    /// Returns the number of series; a scalar and a string have none.
    pub fn series_count(&self) -> usize {
        match self {
            Self::Scalar(_) | Self::String(..) => 0,
            Self::Vector(samples) => samples.len(),
            Self::Matrix(series) => series.len(),
        }
    }

    /// Keeps the first `limit` series and reports whether there were more.
    pub fn truncate(&mut self, limit: usize) -> bool {
        let is_longer = self.series_count() > limit;
        match self {
            Self::Scalar(_) | Self::String(..) => {}
            Self::Vector(samples) => samples.truncate(limit),
            Self::Matrix(series) => series.truncate(limit),
        }
        is_longer
    }
}

/// What evaluating a query gives.
#[derive(Debug)]
#[must_use]
pub struct QueryResult {
    /// The value.
    pub value: Value,
    /// Warnings and infos about the query and its data.
    pub annotations: Annotations,
    /// Whether every source of data answered.
    pub completeness: Completeness,
    /// Counts of the evaluation.
    pub stats: QueryStats,
    /// What each operator did, when the query asked for it.
    pub analysis: Option<OperatorStats>,
    /// The memory of `value`, given back to the budget when the result is dropped.
    pub(crate) lease: Option<Lease>,
}

impl QueryResult {
    /// Splits off the value; the lease is to be dropped with it.
    pub fn into_parts(self) -> (Value, Option<Lease>) {
        (self.value, self.lease)
    }

    /// Returns the bytes of the query's memory budget that the value holds.
    pub fn leased_bytes(&self) -> u64 {
        self.lease.as_ref().map_or(0, Lease::bytes)
    }
}

/// Counts of one evaluation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QueryStats {
    /// Samples that selectors and windows handed to functions: one that is used at several steps counts at each.
    pub samples: u64,
    /// Samples that were read: each counts once for every selector.
    pub samples_read: u64,
    /// The counts of each step, when the query asked for them.
    pub steps: Option<StepStats>,
    /// Series that selectors read.
    pub series: u64,
    /// The most bytes leased from the memory budget at once.
    pub peak_bytes: u64,
    /// Wall time of the evaluation, as the engine's clock tells it.
    pub elapsed: Duration,
    /// What the time went to.
    pub timings: Timings,
}

impl QueryStats {
    /// Returns the most samples held at once: the peak of the memory, as Prometheus' samples of 16 bytes.
    pub fn peak_samples(&self) -> u64 {
        self.peak_bytes / 16
    }
}

/// The samples of each step of a query.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StepStats {
    /// The first step.
    pub start: Timestamp,
    /// The distance of the steps in milliseconds.
    pub step_ms: i64,
    /// [`QueryStats::samples`] of each step.
    pub samples: Vec<u64>,
    /// [`QueryStats::samples_read`] of each step; what is read inside subqueries counts at the first.
    pub samples_read: Vec<u64>,
}

/// What the time of an evaluation went to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timings {
    /// Parsing and planning.
    pub prepare: Duration,
    /// Selecting and computing.
    pub evaluate: Duration,
    /// Sorting the result.
    pub sort: Duration,
}

/// What an operator of a query did, and those below it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct OperatorStats {
    /// What it is.
    pub name: String,
    /// Where it stands in the query; empty for what is not written there.
    pub span: Span,
    /// Wall time from asking for tiles to having them, with the operators below.
    pub elapsed: Duration,
    /// The same without the operators below.
    pub elapsed_self: Duration,
    /// The time that threads of the engine decoded and computed for it; selectors only.
    pub compute: Duration,
    /// Series it gave.
    pub series: u64,
    /// Values it gave; of a source of series those in the chunks.
    pub samples: u64,
    /// The most values it gave at once.
    pub samples_peak: u64,
    /// Bytes it gave.
    pub bytes: u64,
    /// Whom a source of series would ask, when the query is explained.
    pub sources: Vec<SourcePlan>,
    /// What each of those that a source of series asked has given, when the query is analyzed.
    pub fanout: Vec<SourceUse>,
    /// The operators below.
    pub children: Vec<OperatorStats>,
}
