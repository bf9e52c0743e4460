//! A [`Store`] as something PromQL can be evaluated over.
//!
//! The adapter turns the selection of a query into a StoreAPI request: which aggregates of downsampled data the
//! function needs, how coarse the data may be, which labels tell replicas apart. Every series comes out once, whole,
//! with the chunks of all replicas as the stores sent them; each batch says how they are to be read
//! ([`Reading`]): which replica counts when, and what stands for the samples of a downsampled window.

mod answer;
mod counts;
mod hints;
mod span;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use async_trait::async_trait;
use thanos_core::Result;
use thanos_core::labels::Matcher;
use thanos_core::query::{
    LabelQuery, LabelStrings, Queryable, Reading, Select, SeriesStream, WindowValue,
};

use tracing::Instrument;
use tracing::field::Empty;

pub use counts::SelectCounts;
pub(crate) use counts::samples_of;
pub use hints::{aggregates_for, dedup_for, max_resolution_for};

use crate::gate::Gate;
use crate::store::{
    LabelNamesRequest, LabelValuesRequest, LabelsResponse, PartialResponse, QueryHints,
    SeriesRequest, ShardInfo, SourcePlan, Store,
};
use crate::tenant::TenantId;

/// The number of series per gRPC frame that a query asks for, as Thanos' querier does.
pub const RESPONSE_BATCH_SIZE_DEFAULT: u64 = 64;

/// How the replicas of a series become one (row Q-18 of the specification).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DedupFunc {
    /// One replica at a time: see [`Dedup::Penalty`](thanos_core::dedup::Dedup::Penalty).
    #[default]
    Penalty,
    /// The samples of all replicas, each time once: see
    /// [`Dedup::Chain`](thanos_core::dedup::Dedup::Chain).
    Chain,
}

/// How a [`StoreQueryable`] asks its store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreQueryableOptions {
    /// What happens when a part of the data cannot be read; the SDK's default fails the query.
    pub partial_response: PartialResponse,
    /// Labels that tell replicas apart: removed from every series. Empty means no deduplication.
    pub replica_labels: Vec<String>,
    /// How replicas become one.
    pub dedup: DedupFunc,
    /// The coarsest downsampling resolution that will do, in milliseconds; 0 means raw. Where all data is coarser, that
    /// is the answer.
    pub max_resolution_ms: i64,
    /// Which shard of the series is wanted.
    pub shard: Option<ShardInfo>,
    /// How many series a gRPC frame may carry.
    pub response_batch_size: u64,
    /// On whose behalf.
    pub tenant: TenantId,
    /// Matchers that every request gets, in place of its own ones on the same labels: a tenant sees its own series only,
    /// whatever it asks for (row Q-31 of the specification).
    pub enforced_matchers: Vec<Matcher>,
}

impl Default for StoreQueryableOptions {
    fn default() -> Self {
        Self {
            partial_response: PartialResponse::Abort,
            replica_labels: Vec::new(),
            dedup: DedupFunc::default(),
            max_resolution_ms: 0,
            shard: None,
            response_batch_size: RESPONSE_BATCH_SIZE_DEFAULT,
            tenant: TenantId::default(),
            enforced_matchers: Vec::new(),
        }
    }
}

/// Answers PromQL's selections from a [`Store`].
///
/// # Example
///
/// ```
/// use std::sync::Arc;
/// use thanos_core::query::Queryable;
/// use thanos_storeapi::queryable::{StoreQueryable, StoreQueryableOptions};
/// use thanos_storeapi::store::{PartialResponse, Store};
///
/// fn queryable_over(store: Arc<dyn Store>) -> impl Queryable {
///     let options = StoreQueryableOptions {
///         partial_response: PartialResponse::Warn,
///         replica_labels: vec!["replica".into()],
///         ..Default::default()
///     };
///     StoreQueryable::new(store, options)
/// }
/// ```
#[derive(Debug, Clone)]
pub struct StoreQueryable {
    store: Arc<dyn Store>,
    options: StoreQueryableOptions,
    gate: Option<Arc<Gate>>,
    counts: Arc<SelectCounts>,
}

impl StoreQueryable {
    /// Returns the adapter of `store`.
    pub fn new(store: Arc<dyn Store>, options: StoreQueryableOptions) -> Self {
        Self {
            store,
            options,
            gate: None,
            counts: Arc::default(),
        }
    }

    /// Returns the same, of which no more selections begin at once than `gate` lets pass
    /// (`--query.max-concurrent-select`).
    ///
    /// A place is taken until the first series is there, or it is known that there are none. An evaluation may read all of
    /// its selections side by side, so that a place for as long as one is read would make it wait for itself; what is read
    /// ahead of each is limited anyway.
    #[must_use]
    pub fn with_gate(self, gate: Gate) -> Self {
        Self {
            gate: Some(Arc::new(gate)),
            ..self
        }
    }

    /// Returns what was selected so far.
    pub fn counts(&self) -> &Arc<SelectCounts> {
        &self.counts
    }

    /// Returns `matchers` with those that are enforced in place of others on the same labels.
    fn enforce(&self, mut matchers: Vec<Matcher>) -> Vec<Matcher> {
        let enforced = &self.options.enforced_matchers;
        matchers.retain(|matcher| enforced.iter().all(|other| other.name() != matcher.name()));
        matchers.extend(enforced.iter().cloned());
        matchers
    }

    /// Returns how the answer to `select` is to be read.
    fn reading(&self, select: &Select) -> Reading {
        let func = select.hints.func.as_deref().unwrap_or("");
        let has_replicas = !self.options.replica_labels.is_empty();
        Reading {
            windows: WindowValue::of(&aggregates_for(func)),
            dedup: has_replicas.then(|| dedup_for(self.options.dedup, func)),
            range: select.range,
        }
    }

    fn series_request(&self, select: Select) -> SeriesRequest {
        let hints = select.hints;
        let options = &self.options;
        let func = hints.func.as_deref().unwrap_or("");
        SeriesRequest {
            range: select.range,
            matchers: self.enforce(select.matchers),
            // Without chunks the question is which series exist, at any resolution (row Q-04 of the specification).
            max_resolution_window_ms: if hints.skip_chunks {
                i64::MAX
            } else {
                max_resolution_for(options.max_resolution_ms, hints.range_ms, func)
            },
            aggregates: aggregates_for(func),
            partial_response: options.partial_response,
            skip_chunks: hints.skip_chunks,
            hints: None,
            tenant: options.tenant.clone(),
            step_ms: hints.step_ms,
            range_ms: hints.range_ms,
            shard: options.shard.clone(),
            without_replica_labels: options.replica_labels.clone(),
            limit: to_limit(hints.limit),
            response_batch_size: options.response_batch_size,
            log: select.log,
            query_hints: Some(QueryHints {
                step_ms: hints.step_ms,
                func: hints.func,
                grouping: (!hints.grouping.is_empty() || hints.grouping_by)
                    .then_some((hints.grouping_by, hints.grouping)),
                range_ms: (hints.range_ms > 0).then_some(hints.range_ms),
                // As in Thanos, whose engine does not say which labels it needs either.
                projection: None,
            }),
        }
    }
}

fn to_limit(limit: usize) -> u64 {
    u64::try_from(limit).unwrap_or(u64::MAX)
}

impl From<LabelsResponse> for LabelStrings {
    fn from(response: LabelsResponse) -> Self {
        Self {
            values: response.values,
            warnings: response.warnings,
            completeness: response.completeness,
        }
    }
}

#[async_trait]
impl Queryable for StoreQueryable {
    async fn select(&self, select: Select) -> Result<SeriesStream> {
        let reading = self.reading(&select);
        let span = tracing::info_span!("querier_select", otel.status_code = Empty);
        let request = self.series_request(select);
        let counts = Arc::clone(&self.counts);
        let asking = answer::ask(&self.store, request, reading, self.gate.as_deref());
        let answer = counts::counted(asking.instrument(span.clone()).await?, counts);
        Ok(span::inside(span, answer))
    }

    async fn sources(&self, select: &Select) -> Result<Vec<SourcePlan>> {
        let request = self.series_request(select.clone());
        self.store.sources(&request).await
    }

    async fn label_names(&self, query: LabelQuery) -> Result<LabelStrings> {
        let request = LabelNamesRequest {
            range: query.range,
            matchers: self.enforce(query.matchers),
            partial_response: self.options.partial_response,
            without_replica_labels: self.options.replica_labels.clone(),
            limit: to_limit(query.limit),
            hints: None,
            tenant: self.options.tenant.clone(),
        };
        Ok(self.store.label_names(request).await?.into())
    }

    async fn label_values(&self, name: &str, query: LabelQuery) -> Result<LabelStrings> {
        let request = LabelValuesRequest {
            label: name.to_owned(),
            range: query.range,
            matchers: self.enforce(query.matchers),
            partial_response: self.options.partial_response,
            without_replica_labels: self.options.replica_labels.clone(),
            limit: to_limit(query.limit),
            hints: None,
            tenant: self.options.tenant.clone(),
        };
        Ok(self.store.label_values(request).await?.into())
    }
}
