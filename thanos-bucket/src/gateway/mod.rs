//! The store gateway: the blocks of a bucket as a `Store`, read by ranges only.
//!
//! ```text
//! request -> blocks by external labels, time, resolution
//!   per block: index-header -> postings ranges -> series ranges -> chunk ranges -> batches
//!   add external labels, remove replica labels (sorted again) -> merge -> whole series
//! ```
//!
//! A block is opened (its index-header built) when a sync first sees it. Nothing here writes to the bucket.

mod block;
mod chunks;
mod entries;
mod expanded;
mod gate;
mod header;
mod labels;
mod limits;
#[allow(dead_code, reason = "caches and lazy postings are yet to call it")]
mod metrics;
mod partition;
mod postings;
#[allow(dead_code, reason = "caches and lazy postings are yet to call it")]
mod query;
mod ranges;
mod select;
mod stream;
mod sync;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt;
use parking_lot::RwLock;
use thanos_core::Result;
use thanos_core::budget::MemoryBudget;
use thanos_storeapi::store::{
    LabelNamesRequest, LabelValuesRequest, LabelsResponse, SeriesEvent, SeriesRequest,
    SeriesStream, Store, StoreInfo, TsdbInfo,
};
use thanos_storeapi::tenant::TenantId;

use self::block::{FetchLimits, Shared};
use self::gate::{Gate, Place};
use self::header::Headers;
pub use self::limits::RequestLimits;
pub use self::metrics::GatewayMetrics;
use self::query::{Call, QueryContext, QueryLimits};
use self::ranges::Reads;
use self::select::Resolutions;
use self::sync::Loaded;
pub use self::sync::SyncReport;
use crate::Bucket;
use crate::cache::IndexCache;
use crate::compute::Compute;
use crate::fetch::FetchOptions;

/// Settings of a [`Gateway`]; the defaults are those of `thanos store`.
#[derive(Debug, Clone)]
pub struct GatewayOptions {
    /// How the block list is read.
    pub fetch: FetchOptions,
    /// How many blocks are opened at once (`--block-sync-concurrency`).
    pub sync_concurrency: usize,
    /// Ranges with at most this many unwanted bytes between them are fetched together.
    pub gap_bytes_max: u64,
    /// Requests of one step that are under way at once.
    pub fetch_concurrency: usize,
    /// Where index-headers are kept between runs; `None` keeps them in memory only.
    pub data_dir: Option<PathBuf>,
    /// What requests may hold in memory.
    pub budget: MemoryBudget,
    /// What one request may hold of it, in bytes.
    pub request_memory_bytes: u64,
    /// What the chunks of all requests may hold of it, in bytes (`--chunk-pool-size`).
    pub chunk_pool_bytes: u64,
    /// How many `Series` calls are answered at once (`--store.grpc.series-max-concurrency`); 0 means all.
    pub series_concurrency: usize,
    /// What one request may take.
    pub limits: RequestLimits,
    /// Where what happens is counted.
    pub metrics: GatewayMetrics,
    /// Where decoding and set operations are done.
    pub compute: Compute,
    /// Where what is read of indexes is kept; `None` reads it again each time.
    pub index_cache: Option<IndexCache>,
}

impl Default for GatewayOptions {
    fn default() -> Self {
        Self {
            fetch: FetchOptions::default(),
            sync_concurrency: 20,
            gap_bytes_max: 512 << 10,
            fetch_concurrency: 8,
            data_dir: None,
            budget: MemoryBudget::new("store memory", 2 << 30),
            request_memory_bytes: u64::MAX,
            chunk_pool_bytes: 2 << 30,
            series_concurrency: 20,
            limits: RequestLimits::default(),
            metrics: GatewayMetrics::default(),
            compute: Compute::per_core(),
            index_cache: None,
        }
    }
}

/// A [`Store`] over the blocks of a bucket.
///
/// # Example
///
/// ```no_run
/// # async fn serve() -> thanos_core::Result<()> {
/// use thanos_bucket::gateway::{Gateway, GatewayOptions};
///
/// let bucket = thanos_bucket::directory::open("/var/blocks")?;
/// let gateway = Gateway::new(bucket, GatewayOptions::default());
/// let report = gateway.sync().await?;
/// println!("serving {} blocks", report.loaded);
/// # Ok(())
/// # }
/// ```
pub struct Gateway {
    shared: Arc<Shared>,
    options: GatewayOptions,
    limits: QueryLimits,
    gate: Gate,
    /// Replaced as a whole by a sync: a request keeps the blocks it started with.
    blocks: RwLock<Arc<Loaded>>,
}

impl Gateway {
    /// Returns a gateway that serves nothing before its first [`Gateway::sync`].
    pub fn new(bucket: Bucket, options: GatewayOptions) -> Self {
        let limits = FetchLimits {
            gap_bytes_max: options.gap_bytes_max,
            fetch_concurrency: options.fetch_concurrency.max(1),
        };
        let headers = Headers {
            data_dir: options.data_dir.clone(),
        };
        let shared = Shared {
            bucket,
            limits,
            headers,
            compute: options.compute.clone(),
            reads: Reads {
                cache: options.index_cache.clone(),
                ..Reads::default()
            },
        };
        let limits = QueryLimits {
            request: options.limits,
            budget: options.budget.clone(),
            request_memory_bytes: options.request_memory_bytes,
            chunk_pool: MemoryBudget::new(
                "chunk pool (--chunk-pool-size)",
                options.chunk_pool_bytes,
            ),
        };
        let gate = Gate::new(options.series_concurrency, options.metrics.gate.clone());
        Self {
            shared: Arc::new(shared),
            options,
            limits,
            gate,
            blocks: RwLock::default(),
        }
    }

    fn query(&self, call: Call, tenant: &TenantId, series_wanted: u64) -> Arc<QueryContext> {
        Arc::new(QueryContext::new(
            call,
            tenant.clone(),
            series_wanted,
            &self.limits,
            &self.options.metrics,
        ))
    }

    fn loaded(&self) -> Arc<Loaded> {
        Arc::clone(&self.blocks.read())
    }
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway")
            .field("bucket", &self.shared.bucket)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for Gateway {
    async fn info(&self) -> Result<StoreInfo> {
        let loaded = self.loaded();
        let served = loaded.blocks.values().map(|block| TsdbInfo {
            external_labels: block.external_labels().clone(),
            range: block.announced_range(),
        });
        // Blocks that cannot be served count, so that a proxy asks and learns that they are missing.
        let failed = loaded.failed.iter().map(|failed| failed.tsdb.clone());
        let mut all: Vec<TsdbInfo> = served.chain(failed).collect();
        all.sort_by(|a, b| {
            a.external_labels
                .cmp(&b.external_labels)
                .then(a.range.min.cmp(&b.range.min))
        });
        let mut tsdbs: Vec<TsdbInfo> = Vec::new();
        for tsdb in all {
            match tsdbs.last_mut() {
                // Adjacent and overlapping ranges are one database (row ST-31 of the specification).
                Some(last)
                    if last.external_labels == tsdb.external_labels
                        && tsdb.range.min <= last.range.max =>
                {
                    last.range.max = last.range.max.max(tsdb.range.max);
                }
                _ => tsdbs.push(tsdb),
            }
        }
        Ok(StoreInfo {
            component: "store".to_owned(),
            tsdbs,
            supports_sharding: true,
            supports_without_replica_labels: true,
        })
    }

    async fn series(&self, request: SeriesRequest) -> Result<SeriesStream> {
        // Without chunks the question is which series exist, and some exist in blocks of one resolution only.
        let resolutions = if request.skip_chunks {
            Resolutions::All
        } else {
            Resolutions::CoarsestUpTo(request.max_resolution_window_ms)
        };
        let place = self.gate.enter().await?;
        let query = self.query(Call::Series, &request.tenant, request.limit);
        let series = select::series(&self.loaded(), request, resolutions, &query)?;
        Ok(measured(series, query, place))
    }

    async fn label_names(&self, request: LabelNamesRequest) -> Result<LabelsResponse> {
        let query = self.query(Call::Labels, &request.tenant, 0);
        labels::label_names(&self.loaded(), request, &query).await
    }

    async fn label_values(&self, request: LabelValuesRequest) -> Result<LabelsResponse> {
        let query = self.query(Call::Labels, &request.tenant, 0);
        labels::label_values(&self.loaded(), request, &query).await
    }
}

/// Counts what leaves with `series`, and keeps the place behind the gate until they end.
fn measured(series: SeriesStream, query: Arc<QueryContext>, place: Place) -> SeriesStream {
    let measured = series.inspect(move |event| {
        let _ = &place;
        match event {
            Ok(SeriesEvent::Batch(batch)) => query.leaves(batch),
            Ok(SeriesEvent::Missing(_) | SeriesEvent::Warning(_) | SeriesEvent::Hints(_)) => {}
            Err(error) => query.failed(error),
        }
    });
    Box::pin(measured)
}
