//! What all steps of one request share: on whose behalf, what it may take, and what it has taken.
//!
//! Whoever reads a part of a block says so here: [`QueryContext::reserve_fetch`] before a read of the bucket,
//! [`QueryContext::reserve_cached`] for what a cache gave, and what became of it with [`QueryContext::fetched`] and
//! [`QueryContext::touched`]. Metrics get the sums when the request is over, however it ends.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use thanos_core::block::BlockId;
use thanos_core::budget::{Lease, MemoryBudget};
use thanos_core::labels::{Labels, Matcher};
use thanos_core::query::{SeriesBatch, SeriesView};
use thanos_core::{Error, ErrorKind, Result};
use thanos_storeapi::hints::BLOCK_ID_LABEL;
use thanos_storeapi::tenant::TenantId;
use tokio::sync::Semaphore;

use super::limits::{Limited, Limiter, RequestLimits};
use super::metrics::{GatewayMetrics, TenantLabel};

/// How many requests to the bucket a request may have under way at once, over all of its blocks.
const FETCHES_AT_ONCE: usize = 128;
/// One read of a block may make so many requests before it reads more to make fewer, however many blocks are asked.
const PARTS_MAX_LEAST: usize = 8;

/// What a part of a block is read for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Item {
    /// Postings lists of the index.
    Postings,
    /// Series entries of the index.
    Series,
    /// Chunks.
    Chunks,
}

impl Item {
    pub(super) const ALL: [Self; 3] = [Self::Postings, Self::Series, Self::Chunks];

    /// Returns the word in messages and the label `data_type` of metrics.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Postings => "postings",
            Self::Series => "series",
            Self::Chunks => "chunks",
        }
    }

    fn while_fetching(self) -> &'static str {
        match self {
            Self::Postings => " while fetching postings",
            Self::Series => " while fetching series",
            Self::Chunks => " while fetching chunks",
        }
    }

    fn while_loading(self) -> &'static str {
        match self {
            Self::Postings => " while loading postings from index cache",
            Self::Series => " while loading series from index cache",
            Self::Chunks => " while loading chunks from cache",
        }
    }
}

/// Which call a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    /// `Series`, which metrics speak of.
    Series,
    /// `LabelNames` or `LabelValues`.
    Labels,
}

/// What a request took of one item.
#[derive(Debug, Default)]
pub(super) struct ItemStats {
    /// Items that were used, wherever they came from.
    pub(super) touched: AtomicU64,
    /// Their bytes.
    pub(super) touched_bytes: AtomicU64,
    /// Items that no cache had.
    pub(super) to_fetch: AtomicU64,
    /// Items that were fetched from the bucket.
    pub(super) fetched: AtomicU64,
    /// Their bytes, with the gaps between them that were fetched too.
    pub(super) fetched_bytes: AtomicU64,
    /// Requests to the bucket.
    pub(super) fetch_count: AtomicU64,
    /// The sum of the durations of these requests, in nanoseconds.
    pub(super) fetch_nanos: AtomicU64,
    /// Items that caches had.
    pub(super) cache_hits: AtomicU64,
    /// Items that turned out longer than assumed and were fetched again.
    pub(super) refetches: AtomicU64,
}

/// What a request took; the fields of `hintspb.QueryStats`.
#[derive(Debug, Default)]
pub(super) struct QueryStats {
    postings: ItemStats,
    series: ItemStats,
    chunks: ItemStats,
    pub(super) blocks_queried: AtomicU64,
    pub(super) merged_series: AtomicU64,
    pub(super) merged_chunks: AtomicU64,
    pub(super) get_all_nanos: AtomicU64,
    pub(super) merge_nanos: AtomicU64,
    /// Blocks whose postings are known.
    blocks_ready: AtomicU64,
}

impl QueryStats {
    /// Returns what was taken of `item`.
    pub(super) fn of(&self, item: Item) -> &ItemStats {
        match item {
            Item::Postings => &self.postings,
            Item::Series => &self.series,
            Item::Chunks => &self.chunks,
        }
    }

    /// Returns all bytes that were fetched or touched, as Thanos sums them.
    pub(super) fn data_bytes(&self) -> u64 {
        let of = |item| get(&self.of(item).fetched_bytes) + get(&self.of(item).touched_bytes);
        Item::ALL.into_iter().map(of).sum()
    }
}

/// Reads a count.
pub(super) fn get(count: &AtomicU64) -> u64 {
    count.load(Ordering::Relaxed)
}

fn add(count: &AtomicU64, more: u64) {
    count.fetch_add(more, Ordering::Relaxed);
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// What a gateway gives each of its requests.
#[derive(Debug)]
pub(super) struct QueryLimits {
    /// Limits of counts and bytes.
    pub(super) request: RequestLimits,
    /// What all requests share.
    pub(super) budget: MemoryBudget,
    /// What one request may hold.
    pub(super) request_memory_bytes: u64,
    /// What the chunks of all requests may hold.
    pub(super) chunk_pool: MemoryBudget,
}

/// One request to the gateway.
#[derive(Debug)]
pub(super) struct QueryContext {
    /// On whose behalf.
    pub(super) tenant: TenantId,
    /// What its buffers are leased from; its own part of what all requests share.
    pub(super) budget: MemoryBudget,
    /// What it took until now.
    pub(super) stats: QueryStats,
    /// Blocks must match these, by their external labels and `__block_id`; none means all blocks.
    block_matchers: Vec<Matcher>,
    /// The blocks that are asked.
    asked: Mutex<Vec<BlockId>>,
    call: Call,
    /// How many series it wants; 0 means all.
    series_wanted: u64,
    /// Places for the requests to the bucket that are under way, of all blocks together.
    pub(super) fetches: Semaphore,
    chunk_pool: MemoryBudget,
    series: Limiter,
    chunks: Limiter,
    bytes: Limiter,
    metrics: GatewayMetrics,
    tenant_label: TenantLabel,
    started: Instant,
}

impl QueryContext {
    /// Returns the context of a new request for `series_wanted` series (0: all) of the blocks that match
    /// `block_matchers`.
    pub(super) fn new(
        call: Call,
        tenant: TenantId,
        series_wanted: u64,
        block_matchers: Vec<Matcher>,
        limits: &QueryLimits,
        metrics: &GatewayMetrics,
    ) -> Self {
        let name = "memory of one request (--store.memory-limit-per-request)";
        Self {
            budget: limits.budget.child(name, limits.request_memory_bytes),
            stats: QueryStats::default(),
            block_matchers,
            asked: Mutex::default(),
            call,
            series_wanted,
            fetches: Semaphore::new(FETCHES_AT_ONCE),
            chunk_pool: limits.chunk_pool.clone(),
            series: Limiter::new(Limited::Series, &limits.request),
            chunks: Limiter::new(Limited::Chunks, &limits.request),
            bytes: Limiter::new(Limited::Bytes, &limits.request),
            metrics: metrics.clone(),
            tenant_label: metrics.tenant_label(&tenant),
            started: Instant::now(),
            tenant,
        }
    }

    /// Returns a context without limits, for tests of the steps.
    #[cfg(test)]
    pub(super) fn unlimited() -> Self {
        let limits = QueryLimits {
            request: RequestLimits::default(),
            budget: MemoryBudget::unlimited(),
            request_memory_bytes: u64::MAX,
            chunk_pool: MemoryBudget::unlimited(),
        };
        let metrics = GatewayMetrics::default();
        Self::new(
            Call::Series,
            TenantId::default(),
            0,
            Vec::new(),
            &limits,
            &metrics,
        )
    }

    /// Asks for `bytes` of the bucket, gaps included, before they are fetched.
    ///
    /// # Errors
    ///
    /// `LimitExceeded` when the request has taken too many bytes.
    pub(super) fn reserve_fetch(&self, item: Item, bytes: u64) -> Result<()> {
        self.take(&self.bytes, bytes, item.while_fetching())
    }

    /// Asks for `bytes` that a cache has.
    ///
    /// # Errors
    ///
    /// `LimitExceeded` when the request has taken too many bytes.
    pub(super) fn reserve_cached(&self, item: Item, bytes: u64) -> Result<()> {
        self.take(&self.bytes, bytes, item.while_loading())
    }

    /// Notes that caches had `count` items.
    pub(super) fn cache_hits(&self, item: Item, count: u64) {
        add(&self.stats.of(item).cache_hits, count);
    }

    /// Notes that `count` items are to be fetched, because no cache had them.
    pub(super) fn to_fetch(&self, item: Item, count: u64) {
        add(&self.stats.of(item).to_fetch, count);
    }

    /// Notes one request to the bucket that brought `count` items in `bytes`, gaps included.
    pub(super) fn fetched(&self, item: Item, count: u64, bytes: u64, took: Duration) {
        let stats = self.stats.of(item);
        add(&stats.fetched, count);
        add(&stats.fetched_bytes, bytes);
        add(&stats.fetch_count, 1);
        add(&stats.fetch_nanos, nanos(took));
        self.metrics.fetched(item, &self.tenant_label, took);
    }

    /// Notes that `count` items of `bytes` were used, wherever they came from.
    pub(super) fn touched(&self, item: Item, count: u64, bytes: u64) {
        let stats = self.stats.of(item);
        add(&stats.touched, count);
        add(&stats.touched_bytes, bytes);
    }

    /// Notes that `count` items turned out longer than assumed and are fetched again.
    pub(super) fn refetched(&self, item: Item, count: u64) {
        add(&self.stats.of(item).refetches, count);
        self.metrics.refetched(item, &self.tenant_label, count);
    }

    /// Asks for `count` series that the postings of a block name, before they are read.
    ///
    /// COMPAT: of a request for a few series only as many count, as in Thanos (bucket.go ExpandPostings).
    ///
    /// # Errors
    ///
    /// `LimitExceeded` when the request has taken too many series.
    pub(super) fn add_series(&self, count: u64) -> Result<()> {
        let wanted = if self.series_wanted == 0 {
            count
        } else {
            count.min(self.series_wanted)
        };
        self.take(&self.series, wanted, "")
    }

    /// Asks for `count` chunks before they are read.
    ///
    /// # Errors
    ///
    /// `LimitExceeded` when the request has taken too many samples.
    pub(super) fn add_chunks(&self, count: u64) -> Result<()> {
        self.take(&self.chunks, count, "")
    }

    fn take(&self, limiter: &Limiter, count: u64, while_doing: &str) -> Result<()> {
        limiter.take(count, while_doing).inspect_err(|_| {
            if limiter.is_first_violation() {
                self.metrics.dropped(limiter.what(), &self.tenant_label);
            }
        })
    }

    /// Leases `bytes` of what the chunks of all requests may hold.
    ///
    /// # Errors
    ///
    /// `LimitExceeded` that names the limit (`--chunk-pool-size`).
    pub(super) fn lease_of_chunk_pool(&self, bytes: u64) -> Result<Lease> {
        self.chunk_pool.lease(bytes)
    }

    /// Leases `bytes` for chunks: as much of `pool`, and of this request's memory.
    ///
    /// # Errors
    ///
    /// `LimitExceeded` that names the limit.
    pub(super) fn lease_chunks(&self, mut pool: Lease, bytes: u64) -> Result<ChunkLease> {
        pool.resize(bytes)?;
        Ok(ChunkLease {
            _pool: pool,
            _request: self.budget.lease(bytes)?,
        })
    }

    /// Reports whether the hints of the request allow the block.
    pub(super) fn wants_block(&self, id: BlockId, external_labels: &Labels) -> bool {
        self.block_matchers
            .iter()
            .all(|matcher| match matcher.name() {
                BLOCK_ID_LABEL => matcher.matches(&id.to_string()),
                name => matcher.matches(&external_labels.get(name).unwrap_or_default()),
            })
    }

    /// Reports whether the hints of the request may allow a block of whose labels nothing is known.
    pub(super) fn may_want_block(&self, id: BlockId) -> bool {
        let of_id = |matcher: &&Matcher| matcher.name() == BLOCK_ID_LABEL;
        let mut of_id = self.block_matchers.iter().filter(of_id);
        of_id.all(|matcher| matcher.matches(&id.to_string()))
    }

    /// Notes which blocks will be asked.
    pub(super) fn asks(&self, blocks: impl Iterator<Item = BlockId>) {
        let mut asked = self.asked.lock();
        asked.extend(blocks);
        let count = asked.len() as u64;
        self.stats.blocks_queried.store(count, Ordering::Relaxed);
    }

    /// Returns how many requests one read of a block may make before it reads more to make fewer: all blocks together
    /// make few more than can be under way at once, because those above wait for each other.
    pub(super) fn parts_max(&self) -> usize {
        let blocks = usize::try_from(get(&self.stats.blocks_queried)).unwrap_or(usize::MAX);
        (FETCHES_AT_ONCE / blocks.max(1)).max(PARTS_MAX_LEAST)
    }

    /// Returns the blocks that are asked.
    pub(super) fn asked(&self) -> Vec<BlockId> {
        self.asked.lock().clone()
    }

    /// Notes that the postings of a block are known: the last one ends what Thanos calls getting all.
    pub(super) fn block_ready(&self) {
        let ready = self.stats.blocks_ready.fetch_add(1, Ordering::AcqRel) + 1;
        if ready == get(&self.stats.blocks_queried) {
            self.note_got_all();
        }
    }

    fn note_got_all(&self) {
        let took = self.started.elapsed();
        self.stats
            .get_all_nanos
            .store(nanos(took), Ordering::Relaxed);
        if self.call == Call::Series {
            self.metrics.got_all(&self.tenant_label, took);
        }
    }

    /// Notes series that leave with the answer, and their chunks.
    pub(super) fn leaves(&self, batch: &SeriesBatch) {
        let chunks = batch.chunk_count();
        add(&self.stats.merged_series, batch.len() as u64);
        add(&self.stats.merged_chunks, chunks as u64);
        if chunks == 0 {
            return;
        }
        let chunk_bytes = |series: SeriesView<'_>| {
            let bytes = series.chunks.iter().map(|chunk| chunk.data_len());
            bytes.sum::<usize>()
        };
        let with_chunks = batch.iter().filter(|series| !series.chunks.is_empty());
        self.metrics
            .sent_chunks(&self.tenant_label, with_chunks.map(chunk_bytes));
    }

    /// Notes the error that ends the request: one of memory is not counted where leases are taken.
    pub(super) fn failed(&self, error: &Error) {
        let limiters = [&self.series, &self.chunks, &self.bytes];
        let is_counted = limiters.iter().any(|limiter| limiter.is_violated());
        if error.kind() == ErrorKind::LimitExceeded && !is_counted {
            self.metrics.dropped_for_memory(&self.tenant_label);
        }
    }

    /// Notes that the answer is complete, or that nobody wants more of it.
    pub(super) fn ends(&self) {
        let took = nanos(self.started.elapsed()).saturating_sub(get(&self.stats.get_all_nanos));
        let relaxed = Ordering::Relaxed;
        // Only the first end counts.
        let _ = self
            .stats
            .merge_nanos
            .compare_exchange(0, took.max(1), relaxed, relaxed);
    }

    /// Returns the metrics of the gateway.
    pub(super) fn metrics(&self) -> &GatewayMetrics {
        &self.metrics
    }

    /// Returns the tenant as metrics call it.
    pub(super) fn tenant_label(&self) -> &TenantLabel {
        &self.tenant_label
    }
}

impl Drop for QueryContext {
    fn drop(&mut self) {
        self.ends();
        if self.call == Call::Series {
            self.metrics.series_call(&self.stats, &self.tenant_label);
        }
    }
}

/// Bytes of chunks on lease, from the request and from what all chunks may hold.
#[derive(Debug)]
#[must_use = "a dropped lease gives its bytes back at once"]
pub(super) struct ChunkLease {
    _pool: Lease,
    _request: Lease,
}
