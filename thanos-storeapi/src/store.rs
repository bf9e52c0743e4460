//! The `Store` trait: what every source of series answers, be it local, remote or a fan-out.
//!
//! The same trait is implemented by a block directory, a bucket, a gRPC client and the proxy, so that a caller
//! cannot tell them apart. Protobuf types stay behind the adapters.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use thanos_core::Result;
use thanos_core::chunk::Aggregate;
use thanos_core::labels::{Labels, Matcher};
use thanos_core::time::TimeRange;

use crate::apis::Offers;
use crate::tenant::TenantId;

pub use thanos_core::query::{
    Completeness, Missing, SeriesBatch, SeriesEvent, SeriesStream, SourceLog, SourcePlan,
};

/// What a proxy does when a store fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum PartialResponse {
    /// Fail the request: the default of the SDK.
    #[default]
    Abort,
    /// Answer with what the others have, marked as partial: Thanos' default, which its binaries keep.
    Warn,
}

/// Which of several shards of the series set is wanted, by a hash over some labels.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ShardInfo {
    /// The wanted shard, below `total_shards`.
    pub shard_index: u64,
    /// The number of shards.
    pub total_shards: u64,
    /// Whether `labels` lists the hashed labels or those left out.
    pub by: bool,
    /// Label names.
    pub labels: Vec<String>,
}

/// Advice about the query behind a [`SeriesRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct QueryHints {
    /// The step of the query, in milliseconds.
    pub step_ms: i64,
    /// The function or aggregation around the selector, lowercase.
    pub func: Option<String>,
    /// The grouping of the aggregation: (by, labels).
    pub grouping: Option<(bool, Vec<String>)>,
    /// The width of the range selector, in milliseconds.
    pub range_ms: Option<i64>,
    /// Which labels the query needs; only said to stores that honour it ([`StoreInfo::supports_projections`]).
    pub projection: Option<Projection>,
}

/// Which labels a query needs of its series.
///
/// A store that drops the others adds a label with a hash of all of them, so that series stay different.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Projection {
    /// Whether `labels` lists those that are needed or those that are not.
    pub include: bool,
    /// Label names.
    pub labels: Vec<String>,
}

/// The label in which a store that drops labels puts the hash. Source: Thanos `pkg/query/querier.go`,
/// `SeriesHashLabelName`.
pub const SERIES_HASH_LABEL: &str = "__cf_series_hash__";

/// A request for series.
///
/// # Example
///
/// ```
/// use thanos_core::labels::Matcher;
/// use thanos_storeapi::store::SeriesRequest;
///
/// let request = SeriesRequest { matchers: vec![Matcher::equal("__name__", "up")], ..Default::default() };
/// assert!(!request.skip_chunks);
/// ```
#[derive(Debug, Clone, Default)]
pub struct SeriesRequest {
    /// The samples that are wanted, both ends inclusive.
    pub range: TimeRange,
    /// All must match; at least one is needed.
    pub matchers: Vec<Matcher>,
    /// The coarsest downsampling resolution that will do, in milliseconds; 0 means raw only.
    pub max_resolution_window_ms: i64,
    /// Which values of downsampled windows are wanted; empty means raw.
    pub aggregates: Vec<Aggregate>,
    /// What a fan-out does when a store fails.
    pub partial_response: PartialResponse,
    /// Only labels are wanted.
    pub skip_chunks: bool,
    /// An opaque request to the store (a serialised `google.protobuf.Any`).
    pub hints: Option<Bytes>,
    /// On whose behalf; travels as metadata of the call.
    pub tenant: TenantId,
    /// The step of the query, in milliseconds (deprecated on the wire, still carried).
    pub step_ms: i64,
    /// The range of the selector, in milliseconds (deprecated on the wire, still carried).
    pub range_ms: i64,
    /// Advice about the query.
    pub query_hints: Option<QueryHints>,
    /// Which shard of the series is wanted.
    pub shard: Option<ShardInfo>,
    /// Labels to remove from every series before sorting.
    pub without_replica_labels: Vec<String>,
    /// The most series wanted; 0 means all.
    pub limit: u64,
    /// How many series a gRPC frame may carry; 0 and 1 mean one each.
    pub response_batch_size: u64,
    /// Is told what each store of a fan-out has given; stays in this process.
    pub log: Option<Arc<SourceLog>>,
}

/// A request for label names.
#[derive(Debug, Clone, Default)]
pub struct LabelNamesRequest {
    /// Only series with samples here count.
    pub range: TimeRange,
    /// All must match; none means all series.
    pub matchers: Vec<Matcher>,
    /// What a fan-out does when a store fails.
    pub partial_response: PartialResponse,
    /// Labels to leave out.
    pub without_replica_labels: Vec<String>,
    /// The most names wanted; 0 means all.
    pub limit: u64,
    /// An opaque request to the store.
    pub hints: Option<Bytes>,
    /// On whose behalf; travels as metadata of the call.
    pub tenant: TenantId,
}

/// A request for the values of one label.
#[derive(Debug, Clone, Default)]
pub struct LabelValuesRequest {
    /// The label.
    pub label: String,
    /// Only series with samples here count.
    pub range: TimeRange,
    /// All must match; none means all series.
    pub matchers: Vec<Matcher>,
    /// What a fan-out does when a store fails.
    pub partial_response: PartialResponse,
    /// Labels to leave out: a value of such a label is never returned.
    pub without_replica_labels: Vec<String>,
    /// The most values wanted; 0 means all.
    pub limit: u64,
    /// An opaque request to the store.
    pub hints: Option<Bytes>,
    /// On whose behalf; travels as metadata of the call.
    pub tenant: TenantId,
}

/// Sorted label names or values, with what went wrong on the way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelsResponse {
    /// Sorted, without duplicates.
    pub values: Vec<String>,
    /// Something the user should see.
    pub warnings: Vec<String>,
    /// Whether every store answered.
    pub completeness: Completeness,
    /// An opaque message of the store (a serialised `google.protobuf.Any`).
    pub hints: Option<Bytes>,
}

/// What a store says about itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoreInfo {
    /// The component on the wire: `sidecar`, `store`, `query`, `receive`, `rule` and others.
    pub component: String,
    /// One entry for each database or group of blocks: its external labels and time range.
    pub tsdbs: Vec<TsdbInfo>,
    /// Whether the store filters by [`SeriesRequest::shard`] itself.
    pub supports_sharding: bool,
    /// Whether the store honours [`SeriesRequest::without_replica_labels`].
    pub supports_without_replica_labels: bool,
    /// Whether the store honours [`QueryHints::projection`].
    pub supports_projections: bool,
    /// What the component answers, beside series too.
    pub offers: Offers,
}

impl StoreInfo {
    /// Returns the time range over all databases, or `None` when there is no database.
    pub fn time_range(&self) -> Option<TimeRange> {
        let join = |a: TimeRange, b: TimeRange| TimeRange {
            min: a.min.min(b.min),
            max: a.max.max(b.max),
        };
        self.tsdbs.iter().map(|tsdb| tsdb.range).reduce(join)
    }
}

/// The external labels and the time range of one database or group of blocks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TsdbInfo {
    /// Labels that every series of it carries.
    pub external_labels: Labels,
    /// From the first to the last sample.
    pub range: TimeRange,
}

/// A source of series.
///
/// # Contract
///
/// - Series come sorted by their full label set, after external labels were added (they win over labels of
///   the same name) and `without_replica_labels` were removed; the parts of one series are neighbours.
/// - The chunks of a series are sorted by start time, then end time.
/// - Data that could not be read is an error or a [`SeriesEvent::Missing`], never silence.
/// - Dropping the stream stops the work.
///
/// The conformance suite in `testkit` checks an implementation.
#[async_trait]
pub trait Store: fmt::Debug + Send + Sync + 'static {
    /// Returns what the store holds; cheap, called often.
    async fn info(&self) -> Result<StoreInfo>;

    /// Returns the matching series.
    ///
    /// # Errors
    ///
    /// `Invalid` for a request without matchers; errors while reading may also come in the stream.
    async fn series(&self, request: SeriesRequest) -> Result<SeriesStream>;

    /// Returns whom [`Store::series`] would ask for what, and about what that will give, as far as that is known without
    /// reading data; nothing when nothing is known.
    ///
    /// # Errors
    ///
    /// Those of what has to be looked at to tell.
    async fn sources(&self, request: &SeriesRequest) -> Result<Vec<SourcePlan>> {
        let _ = request;
        Ok(Vec::new())
    }

    /// Returns the label names of the matching series.
    async fn label_names(&self, request: LabelNamesRequest) -> Result<LabelsResponse>;

    /// Returns the values of a label in the matching series.
    async fn label_values(&self, request: LabelValuesRequest) -> Result<LabelsResponse>;
}
