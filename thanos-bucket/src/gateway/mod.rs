//! The store gateway: the blocks of a bucket as a `Store`, read by ranges only.
//!
//! ```text
//! request -> blocks by external labels, time, resolution
//!   per block: index-header -> postings ranges -> series ranges -> chunk ranges -> batches
//!   add external labels, remove replica labels (sorted again) -> merge -> whole series
//! ```
//!
//! The index-header of a block is built when a sync first sees it, and opened when it is used. Nothing here
//! writes to the bucket but the manifest, and that only if it is asked to.

mod ahead;
mod block;
mod chunks;
mod entries;
mod expanded;
mod header;
mod headers_later;
mod hints;
mod info;
mod labels;
mod lazy;
mod limits;
mod lists;
mod masks;
mod matchers;
mod metrics;
mod partition;
mod postings;
mod query;
mod ranges;
mod refetch;
mod resumed;
mod select;
mod stream;
mod sync;
#[cfg(test)]
mod tests;
mod values;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use thanos_core::Result;
use thanos_core::budget::MemoryBudget;
use thanos_core::labels::Matcher;
use thanos_core::time::{Clock, SystemClock, TimeRange, TimeWindow};
use thanos_storeapi::gate::Gate;
use thanos_storeapi::hints::{LabelCall, LabelsRequestHints, SeriesRequestHints};
use thanos_storeapi::store::{
    LabelNamesRequest, LabelValuesRequest, LabelsResponse, SeriesRequest, SeriesStream, SourcePlan,
    Store, StoreInfo,
};
use thanos_storeapi::tenant::TenantId;
use tracing::Instrument;

use self::block::{FetchLimits, Shared};
use self::header::Headers;
pub use self::header::{HeaderDownload, HeaderMetrics, HeaderOptions, SparseHeaders};
use self::headers_later::HeadersLater;
use self::hints::{ResponseHints, concluded};
use self::labels::LabelsQuery;
pub use self::lazy::LazyPostings;
pub use self::limits::RequestLimits;
pub use self::matchers::{MatcherCache, MatcherCacheMetrics};
pub use self::metrics::GatewayMetrics;
use self::query::{Call, QueryContext, QueryLimits};
use self::ranges::Reads;
use self::select::Resolutions;
pub use self::sync::SyncReport;
use self::sync::{Leaving, Loaded};
use crate::Bucket;
use crate::cache::IndexCache;
use crate::compute::Compute;
use crate::fetch::filter::{BlockFilter, StoreFilters};
use crate::fetch::{Discovery, FetchOptions};
use crate::manifest::{
    ManifestMode, ManifestOptions, ManifestPublisher, ManifestReader, Published,
};
use crate::tombstones::TombstoneReader;

/// Settings of a [`Gateway`]; the defaults are those of `thanos store`.
#[derive(Debug, Clone)]
pub struct GatewayOptions {
    /// How the block list is read; where nothing else is said, `meta.json` files are kept in the data directory too.
    pub fetch: FetchOptions,
    /// How the bucket's manifest is used; `None` means not at all. A block that is found by it is served before its
    /// index-header is there; headers follow in the background, or when they are used.
    pub manifest: Option<ManifestOptions>,
    /// Which blocks are served: those that every one of these wants.
    pub filters: Vec<Arc<dyn BlockFilter>>,
    /// How many blocks are opened at once (`--block-sync-concurrency`).
    pub sync_concurrency: usize,
    /// Ranges with at most this many unwanted bytes between them are fetched together.
    pub gap_bytes_max: u64,
    /// Requests of one step that are under way at once.
    pub fetch_concurrency: usize,
    /// Where index-headers are kept between runs; `None` keeps them in memory only.
    pub data_dir: Option<PathBuf>,
    /// How index-headers are fetched and kept.
    pub headers: HeaderOptions,
    /// The time that is served (`--min-time`, `--max-time`): requests see no more, and `Info` tells no more.
    pub time_window: TimeWindow,
    /// What says how late it is.
    pub clock: Arc<dyn Clock>,
    /// How postings that cost more than they save are left out (`--store.enable-lazy-expanded-postings`); `None`
    /// fetches all.
    pub lazy_postings: Option<LazyPostings>,
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
    /// Whether `Series` answers end with hints; `thanos store` sends none.
    pub series_response_hints: bool,
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
            manifest: Some(ManifestOptions::default()),
            filters: StoreFilters::default().build(),
            sync_concurrency: 20,
            gap_bytes_max: 512 << 10,
            fetch_concurrency: 128,
            data_dir: None,
            headers: HeaderOptions::default(),
            time_window: TimeWindow::ALL,
            clock: Arc::new(SystemClock),
            lazy_postings: None,
            budget: MemoryBudget::new("store memory", 2 << 30),
            request_memory_bytes: u64::MAX,
            chunk_pool_bytes: 2 << 30,
            series_concurrency: 20,
            limits: RequestLimits::default(),
            series_response_hints: false,
            metrics: GatewayMetrics::default(),
            compute: Compute::per_core(),
            index_cache: None,
        }
    }
}

/// A [`Store`] over the blocks of a bucket.
///
/// It answers as Thanos' gateway does, but for a request whose matchers are all about external labels: Thanos finds no
/// series for it, which looks like no data; here all series of the blocks match, as in its other stores (row ST-36 of
/// the specification). A limit that is hit fails the call even if it wants partial answers; a fan-out above decides.
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
    discovery: Discovery,
    tombstones: TombstoneReader,
    /// Held by the sync that goes on.
    syncing: tokio::sync::Mutex<()>,
    /// The blocks that are served before their headers are there.
    headers_later: HeadersLater,
    /// Whether the data directory was rid of blocks that an earlier process has left.
    is_cleaned: AtomicBool,
    /// Blocks that were dropped, into whose folders something may still write.
    leaving: Mutex<Leaving>,
}

impl Gateway {
    /// Returns a gateway that serves nothing before its first [`Gateway::sync`].
    pub fn new(bucket: Bucket, options: GatewayOptions) -> Self {
        let limits = FetchLimits {
            gap_bytes_max: options.gap_bytes_max,
            fetch_concurrency: options.fetch_concurrency.max(1),
        };
        let headers = Headers::new(&bucket, &options);
        let mut fetch = options.fetch.clone();
        fetch.data_dir = fetch.data_dir.or_else(|| options.data_dir.clone());
        let clock = Arc::clone(&fetch.clock);
        let mut discovery = Discovery::new(bucket.clone(), fetch, options.filters.clone());
        if let Some(manifest) = options.manifest {
            let compute = options.compute.clone();
            if manifest.mode == ManifestMode::Publish {
                let publisher = ManifestPublisher::new(bucket.clone(), manifest, compute.clone());
                discovery = discovery.with_publisher(publisher);
            }
            let reader = ManifestReader::new(bucket.clone(), manifest, clock, compute);
            discovery = discovery.with_manifest(reader);
        }
        let tombstones = TombstoneReader::new(bucket.clone());
        let shared = Shared {
            bucket,
            limits,
            headers,
            compute: options.compute.clone(),
            reads: Reads {
                cache: options.index_cache.clone(),
                ..Reads::default()
            },
            lazy_postings: options.lazy_postings,
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
            discovery,
            tombstones,
            syncing: tokio::sync::Mutex::default(),
            headers_later: HeadersLater::default(),
            is_cleaned: AtomicBool::new(false),
            leaving: Mutex::default(),
        }
    }

    /// Publishes what the last [`Gateway::sync`] has listed as the bucket's manifest, unless that says the same; `None`
    /// when there is nothing to publish, as for a gateway that does not publish ([`ManifestMode::Publish`]).
    ///
    /// # Errors
    ///
    /// As for [`ManifestPublisher::publish`]. What is served does not depend on it.
    pub async fn publish_manifest(&self) -> Result<Option<Published>> {
        self.discovery.publish().await
    }

    fn query(
        &self,
        call: Call,
        tenant: TenantId,
        series_wanted: u64,
        block_matchers: Vec<Matcher>,
    ) -> Arc<QueryContext> {
        Arc::new(QueryContext::new(
            call,
            tenant,
            series_wanted,
            block_matchers,
            &self.limits,
            &self.options.metrics,
        ))
    }

    fn labels_query(
        &self,
        call: LabelCall,
        tenant: &TenantId,
        hints: Option<&Bytes>,
    ) -> Result<Arc<QueryContext>> {
        let hints = hints.map(|hints| LabelsRequestHints::decode(hints, call));
        let block_matchers = hints.transpose()?.unwrap_or_default().block_matchers;
        Ok(self.query(Call::Labels, tenant.clone(), 0, block_matchers))
    }

    /// Returns the time that is served now (row ST-10 of the specification).
    fn time_range(&self) -> TimeRange {
        self.options.time_window.at(self.options.clock.now())
    }

    fn clamped(&self, range: TimeRange) -> TimeRange {
        let served = self.time_range();
        TimeRange {
            min: range.min.max(served.min),
            max: range.max.min(served.max),
        }
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
        let window = self.time_range();
        Ok(info::info(&self.loaded(), window))
    }

    async fn series(&self, mut request: SeriesRequest) -> Result<SeriesStream> {
        let turn = tracing::info_span!("store_query_gate_ismyturn");
        let place = self.gate.enter().instrument(turn).await?;
        let resolutions = Resolutions::of(&request);
        request.range = self.clamped(request.range);
        let hints = request.hints.as_ref().map(SeriesRequestHints::decode);
        let hints = hints.transpose()?.unwrap_or_default();
        let response_hints = match self.options.series_response_hints {
            false => ResponseHints::None,
            true if hints.enable_query_stats => ResponseHints::BlocksAndStats,
            true => ResponseHints::Blocks,
        };
        let (tenant, limit) = (request.tenant.clone(), request.limit);
        let query = self.query(Call::Series, tenant, limit, hints.block_matchers);
        let series = select::series(&self.loaded(), request, resolutions, &query)?;
        Ok(concluded(series, query, place, response_hints))
    }

    async fn sources(&self, request: &SeriesRequest) -> Result<Vec<SourcePlan>> {
        let range = self.clamped(request.range);
        select::sources(&self.loaded(), request, range).await
    }

    async fn label_names(&self, request: LabelNamesRequest) -> Result<LabelsResponse> {
        let query = self.labels_query(LabelCall::Names, &request.tenant, request.hints.as_ref())?;
        let range = self.clamped(request.range);
        let wanted = LabelsQuery::names(request, range);
        labels::labels(&self.loaded(), wanted, &query, &self.gate).await
    }

    async fn label_values(&self, request: LabelValuesRequest) -> Result<LabelsResponse> {
        let query =
            self.labels_query(LabelCall::Values, &request.tenant, request.hints.as_ref())?;
        let range = self.clamped(request.range);
        match LabelsQuery::values(request, range)? {
            Some(wanted) => labels::labels(&self.loaded(), wanted, &query, &self.gate).await,
            None => Ok(LabelsResponse::default()),
        }
    }
}
