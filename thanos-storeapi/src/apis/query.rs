//! Whole queries, evaluated where the data is.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use thanos_core::Result;
use thanos_core::histogram::FloatHistogram;
use thanos_core::labels::{Labels, Matcher};
use thanos_core::query::Missing;
use thanos_core::time::Timestamp;

use crate::store::{PartialResponse, ShardInfo};
use crate::tenant::TenantId;

/// A query.
#[derive(Debug, Clone)]
pub struct QueryRequest {
    /// The expression.
    pub query: String,
    /// The same as a plan in the JSON of Thanos' engine; it is what is evaluated if both are there and it is understood.
    pub plan: Option<Bytes>,
    /// For which times.
    pub times: QueryTimes,
    /// How long the evaluation may take; `None` leaves it to the component.
    pub timeout: Option<Duration>,
    /// The coarsest downsampling resolution that will do, in milliseconds.
    pub max_resolution_ms: i64,
    /// The labels in which replicas differ.
    pub replica_labels: Vec<String>,
    /// Conditions on the `__address__` of the stores that are asked; one of the sets must match, none means all.
    pub store_matchers: Vec<Vec<Matcher>>,
    /// Whether replicas are joined.
    pub dedup: bool,
    /// What is done when a store fails.
    pub partial_response: PartialResponse,
    /// Only labels are wanted.
    pub skip_chunks: bool,
    /// Which shard of the series is wanted.
    pub shard: Option<ShardInfo>,
    /// How far back the latest sample is looked for; `None` leaves it to the component.
    pub lookback_delta: Option<Duration>,
    /// How many series a frame of the answer may carry; 0 and 1 mean one each.
    pub response_batch_size: u64,
    /// On whose behalf; travels as metadata of the call.
    pub tenant: TenantId,
}

/// The times at which a query is evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueryTimes {
    /// One.
    Instant(Timestamp),
    /// Several.
    Range {
        /// The first.
        start: Timestamp,
        /// The last that is possible, inclusive.
        end: Timestamp,
        /// From one to the next, in milliseconds; positive.
        step_ms: i64,
    },
}

/// A series of an answer. The value of a scalar is a series without labels.
#[derive(Debug, Clone, PartialEq)]
pub struct QuerySeries {
    /// The labels.
    pub labels: Labels,
    /// Floats, ascending in time.
    pub floats: Vec<(Timestamp, f64)>,
    /// Native histograms, ascending in time, none at the time of a float.
    pub histograms: Vec<(Timestamp, FloatHistogram)>,
}

/// What a query has read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QueryStats {
    /// All samples.
    pub samples_total: i64,
    /// The most samples at once.
    pub peak_samples: i64,
}

/// A piece of an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum QueryEvent {
    /// Something the user should see.
    Warning(String),
    /// Data that could not be read.
    Missing(Missing),
    /// Series, in any order, each once.
    Series(Vec<QuerySeries>),
    /// What the query has read: the last piece.
    Stats(QueryStats),
}

/// The answer to a query; dropping it stops the work.
pub type QueryStream = BoxStream<'static, Result<QueryEvent>>;

/// Evaluates queries.
#[async_trait]
pub trait QueryApi: fmt::Debug + Send + Sync + 'static {
    /// Returns the answer to a query.
    ///
    /// # Errors
    ///
    /// `Invalid` for a query that cannot be parsed; what fails later may also come in the stream.
    async fn query(&self, request: QueryRequest) -> Result<QueryStream>;
}
