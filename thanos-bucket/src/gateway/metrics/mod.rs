//! What a gateway measures, under Thanos' names (`thanos_bucket_store_*`), for each tenant (row ST-34 of the
//! specification).
//!
//! Tenants come from requests, so their number in labels is bounded: those after the first thousand share one.

mod register;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use thanos_storeapi::tenant::TenantId;

use super::limits::Limited;
use super::query::{Item, QueryStats, get};
use thanos_storeapi::gate::GateMetrics;

/// How many tenants have series of their own.
const TENANTS_MAX: usize = 1000;
/// The label of the others; not the name of a tenant, because of its brackets.
const OTHER_TENANTS: &str = "[others]";

/// The buckets of Thanos for durations of steps.
const STEP_SECONDS: [f64; 14] = [
    0.001, 0.01, 0.1, 0.3, 0.6, 1.0, 3.0, 6.0, 9.0, 20.0, 30.0, 60.0, 90.0, 120.0,
];
const LOAD_SECONDS: [f64; 12] = [
    0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 15.0, 30.0, 60.0, 90.0, 120.0, 300.0,
];
const KIB: f64 = 1024.0;
const MIB: f64 = 1024.0 * KIB;
const CHUNK_BYTES: [f64; 11] = [
    32.0,
    256.0,
    512.0,
    KIB,
    32.0 * KIB,
    256.0 * KIB,
    512.0 * KIB,
    MIB,
    32.0 * MIB,
    256.0 * MIB,
    512.0 * MIB,
];
const POSTINGS_BYTES: [f64; 14] = [
    32.0,
    256.0,
    512.0,
    KIB,
    32.0 * KIB,
    256.0 * KIB,
    512.0 * KIB,
    MIB,
    32.0 * MIB,
    128.0 * MIB,
    256.0 * MIB,
    512.0 * MIB,
    768.0 * MIB,
    1024.0 * MIB,
];

/// A tenant as metrics call it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct TenantLabel {
    tenant: Arc<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DataLabels {
    data_type: &'static str,
    tenant: Arc<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DamageLabels {
    data_type: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DropLabels {
    reason: &'static str,
    tenant: Arc<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OpLabels {
    op: &'static str,
    tenant: Arc<String>,
}

type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;
type Seconds = Counter<f64, AtomicU64>;

/// Why postings of a group are not fetched but looked up in the series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LazyReason {
    /// The group has too many values for the series that the others leave.
    KeysLimit,
    /// Its postings are larger than the series that they would save.
    PostingsSize,
}

/// Which way postings go between a cache and a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CompressionOp {
    /// Into the cache.
    Encode,
    /// Out of the cache.
    Decode,
}

impl CompressionOp {
    fn as_str(self) -> &'static str {
        match self {
            Self::Encode => "encode",
            Self::Decode => "decode",
        }
    }
}

/// Everything that a gateway measures. Clones share the numbers.
///
/// # Example
///
/// ```
/// use prometheus_client::registry::Registry;
/// use thanos_bucket::gateway::{GatewayMetrics, GatewayOptions};
///
/// let metrics = GatewayMetrics::default();
/// let mut registry = Registry::default();
/// metrics.register(&mut registry);
/// let options = GatewayOptions { metrics, ..Default::default() };
/// ```
#[derive(Debug, Clone)]
pub struct GatewayMetrics {
    tenants: Arc<Mutex<HashMap<Box<str>, TenantLabel>>>,
    pub(super) gate: GateMetrics,
    blocks: BlockMetrics,
    series: SeriesMetrics,
    fetches: FetchMetrics,
    lazy: LazyMetrics,
    compression: CompressionMetrics,
}

/// Blocks that come and go.
#[derive(Debug, Clone)]
struct BlockMetrics {
    loads: Counter,
    load_failures: Counter,
    drops: Counter,
    drop_failures: Counter,
    loaded: Gauge,
    last_loaded: Gauge<f64, AtomicU64>,
    load_seconds: Histogram,
}

/// What `Series` calls took.
#[derive(Debug, Clone)]
struct SeriesMetrics {
    touched: Histograms<DataLabels>,
    fetched: Histograms<DataLabels>,
    touched_bytes: Histograms<DataLabels>,
    fetched_bytes: Histograms<DataLabels>,
    blocks_queried: Histograms<TenantLabel>,
    get_all_seconds: Histograms<TenantLabel>,
    merge_seconds: Histograms<TenantLabel>,
    result_series: Histograms<TenantLabel>,
    sent_chunk_bytes: Histograms<TenantLabel>,
    postings_bytes: Histograms<TenantLabel>,
    dropped: Family<DropLabels, Counter>,
    empty_postings: Family<TenantLabel, Counter>,
}

/// Reads of the bucket.
#[derive(Debug, Clone)]
struct FetchMetrics {
    damaged: Family<DamageLabels, Counter>,
    series_refetches: Family<TenantLabel, Counter>,
    chunk_refetches: Family<TenantLabel, Counter>,
    postings_seconds: Histograms<TenantLabel>,
    series_seconds: Histograms<TenantLabel>,
    series_sum_seconds: Histograms<TenantLabel>,
    chunks_seconds: Histograms<TenantLabel>,
    chunks_sum_seconds: Histograms<TenantLabel>,
}

/// Postings that are not fetched.
#[derive(Debug, Clone, Default)]
struct LazyMetrics {
    expanded: Counter,
    groups: Family<ReasonLabel, Counter>,
    group_bytes: Counter,
    overfetched_bytes: Counter,
}

/// Postings on their way into and out of caches.
#[derive(Debug, Clone, Default)]
struct CompressionMetrics {
    count: Family<OpLabels, Counter>,
    errors: Family<OpLabels, Counter>,
    seconds: Family<OpLabels, Seconds>,
    original_bytes: Family<TenantLabel, Counter>,
    compressed_bytes: Family<TenantLabel, Counter>,
}

fn step_seconds<L: Clone + Eq + std::hash::Hash>() -> Histograms<L> {
    Family::new_with_constructor(|| Histogram::new(STEP_SECONDS))
}

impl Default for GatewayMetrics {
    fn default() -> Self {
        let metrics = Self {
            tenants: Arc::default(),
            gate: GateMetrics::default(),
            blocks: BlockMetrics::default(),
            series: SeriesMetrics::default(),
            fetches: FetchMetrics::default(),
            lazy: LazyMetrics::default(),
            compression: CompressionMetrics::default(),
        };
        // Thanos shows these from the start.
        let tenant = metrics.tenant_label(&TenantId::default());
        for op in [CompressionOp::Encode, CompressionOp::Decode] {
            metrics.postings_compressed(op, &tenant, 0, Duration::ZERO);
        }
        metrics
    }
}

impl Default for BlockMetrics {
    fn default() -> Self {
        Self {
            loads: Counter::default(),
            load_failures: Counter::default(),
            drops: Counter::default(),
            drop_failures: Counter::default(),
            loaded: Gauge::default(),
            last_loaded: Gauge::default(),
            load_seconds: Histogram::new(LOAD_SECONDS),
        }
    }
}

impl Default for SeriesMetrics {
    fn default() -> Self {
        let items = || {
            let make: fn() -> Histogram = || Histogram::new(exponential_buckets(200.0, 2.0, 15));
            Family::new_with_constructor(make)
        };
        let bytes = || {
            let make: fn() -> Histogram = || Histogram::new(exponential_buckets(KIB, 2.0, 15));
            Family::new_with_constructor(make)
        };
        Self {
            touched: items(),
            fetched: items(),
            touched_bytes: bytes(),
            fetched_bytes: bytes(),
            blocks_queried: Family::new_with_constructor(|| {
                Histogram::new(exponential_buckets(1.0, 2.0, 10))
            }),
            get_all_seconds: step_seconds(),
            merge_seconds: step_seconds(),
            result_series: Family::new_with_constructor(|| {
                Histogram::new(exponential_buckets(100.0, 2.0, 15))
            }),
            sent_chunk_bytes: Family::new_with_constructor(|| Histogram::new(CHUNK_BYTES)),
            postings_bytes: Family::new_with_constructor(|| Histogram::new(POSTINGS_BYTES)),
            dropped: Family::default(),
            empty_postings: Family::default(),
        }
    }
}

impl Default for FetchMetrics {
    fn default() -> Self {
        Self {
            damaged: Family::default(),
            series_refetches: Family::default(),
            chunk_refetches: Family::default(),
            postings_seconds: step_seconds(),
            series_seconds: step_seconds(),
            series_sum_seconds: step_seconds(),
            chunks_seconds: step_seconds(),
            chunks_sum_seconds: step_seconds(),
        }
    }
}

/// What a gateway tells.
impl GatewayMetrics {
    /// Returns `tenant` as labels call it.
    pub(crate) fn tenant_label(&self, tenant: &TenantId) -> TenantLabel {
        let mut known = self.tenants.lock();
        if let Some(label) = known.get(tenant.as_str()) {
            return label.clone();
        }
        let is_new = known.len() < TENANTS_MAX;
        let name = if is_new {
            tenant.as_str()
        } else {
            OTHER_TENANTS
        };
        let label = TenantLabel {
            tenant: Arc::new(name.to_owned()),
        };
        if is_new {
            known.insert(Box::from(name), label.clone());
        }
        label
    }

    /// Notes that a block was opened, or failed to be.
    pub(crate) fn block_opened<T, E>(&self, outcome: &Result<T, E>, took: Duration) {
        self.blocks.loads.inc();
        match outcome {
            Ok(_) => {
                self.blocks.load_seconds.observe(took.as_secs_f64());
            }
            Err(_) => {
                self.blocks.load_failures.inc();
            }
        }
    }

    /// Notes that `count` blocks are not served any more, and `failed` of them could not be cleaned away.
    pub(crate) fn blocks_dropped(&self, count: u64, failed: u64) {
        self.blocks.drops.inc_by(count);
        self.blocks.drop_failures.inc_by(failed);
    }

    /// Notes how many blocks are served at `now`.
    pub(crate) fn blocks_served(&self, count: usize) {
        self.blocks
            .loaded
            .set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Notes when the newest block was opened.
    pub(crate) fn block_loaded_at(&self, now: thanos_core::time::Timestamp) {
        self.blocks.last_loaded.set(now.as_millis() as f64 / 1000.0);
    }

    /// Makes the counters of the default tenant, so that the first failure is an increase.
    fn start_counting(&self) {
        let tenant = self.tenant_label(&TenantId::default());
        drop(self.series.empty_postings.get_or_create(&tenant));
        for reason in [Limited::Series, Limited::Chunks, Limited::Bytes] {
            drop(self.series.dropped.get_or_create(&DropLabels {
                reason: reason.as_str(),
                tenant: Arc::clone(&tenant.tenant),
            }));
        }
    }

    /// Notes a request that was refused because of a limit.
    pub(super) fn dropped(&self, reason: Limited, tenant: &TenantLabel) {
        self.dropped_for(reason.as_str(), tenant);
    }

    /// Notes a request that was refused because memory was short: ours, Thanos has no such limit.
    pub(super) fn dropped_for_memory(&self, tenant: &TenantLabel) {
        self.dropped_for("memory", tenant);
    }

    fn dropped_for(&self, reason: &'static str, tenant: &TenantLabel) {
        let labels = DropLabels {
            reason,
            tenant: Arc::clone(&tenant.tenant),
        };
        self.series.dropped.get_or_create(&labels).inc();
    }

    /// Notes one request to the bucket.
    pub(super) fn fetched(&self, item: Item, tenant: &TenantLabel, took: Duration) {
        let family = match item {
            Item::Postings => &self.fetches.postings_seconds,
            Item::Series => &self.fetches.series_seconds,
            Item::Chunks => &self.fetches.chunks_seconds,
        };
        family.get_or_create(tenant).observe(took.as_secs_f64());
    }

    /// Notes that damaged data was read again past all caches, and whether it was whole then.
    pub(super) fn read_again(&self, item: Item, is_whole: bool) {
        let labels = DamageLabels {
            data_type: item.as_str(),
            outcome: if is_whole { "healed" } else { "failed" },
        };
        self.fetches.damaged.get_or_create(&labels).inc();
    }

    /// Notes `count` items that were longer than assumed.
    pub(super) fn refetched(&self, item: Item, tenant: &TenantLabel, count: u64) {
        match item {
            // The length of postings is known.
            Item::Postings => {}
            Item::Series => {
                self.fetches
                    .series_refetches
                    .get_or_create(tenant)
                    .inc_by(count);
            }
            Item::Chunks => {
                self.fetches
                    .chunk_refetches
                    .get_or_create(tenant)
                    .inc_by(count);
            }
        }
    }

    /// Notes that the postings of all blocks of a request are known.
    pub(super) fn got_all(&self, tenant: &TenantLabel, took: Duration) {
        let family = &self.series.get_all_seconds;
        family.get_or_create(tenant).observe(took.as_secs_f64());
    }

    /// Notes the bytes of the chunks of one series of an answer.
    pub(super) fn sent_chunks(&self, tenant: &TenantLabel, bytes: impl Iterator<Item = usize>) {
        let sizes = self.series.sent_chunk_bytes.get_or_create(tenant);
        bytes.for_each(|bytes| sizes.observe(bytes as f64));
    }

    /// Notes a block in which no series matched.
    pub(crate) fn empty_postings(&self, tenant: &TenantLabel) {
        self.series.empty_postings.get_or_create(tenant).inc();
    }

    /// Notes what a `Series` call took, when it is over.
    pub(super) fn series_call(&self, stats: &QueryStats, tenant: &TenantLabel) {
        for item in Item::ALL {
            let labels = DataLabels {
                data_type: item.as_str(),
                tenant: Arc::clone(&tenant.tenant),
            };
            let taken = stats.of(item);
            for (family, count) in [
                (&self.series.touched, &taken.touched),
                (&self.series.fetched, &taken.fetched),
                (&self.series.touched_bytes, &taken.touched_bytes),
                (&self.series.fetched_bytes, &taken.fetched_bytes),
            ] {
                family.get_or_create(&labels).observe(get(count) as f64);
            }
        }
        let seconds = |nanos| Duration::from_nanos(nanos).as_secs_f64();
        let postings = stats.of(Item::Postings);
        let postings_bytes = get(&postings.fetched_bytes) + get(&postings.touched_bytes);
        let fetch_seconds = |item| seconds(get(&stats.of(item).fetch_nanos));
        for (family, value) in [
            (
                &self.series.blocks_queried,
                get(&stats.blocks_queried) as f64,
            ),
            (&self.series.result_series, get(&stats.merged_series) as f64),
            (&self.series.postings_bytes, postings_bytes as f64),
            (&self.series.merge_seconds, seconds(get(&stats.merge_nanos))),
            (
                &self.fetches.series_sum_seconds,
                fetch_seconds(Item::Series),
            ),
            (
                &self.fetches.chunks_sum_seconds,
                fetch_seconds(Item::Chunks),
            ),
        ] {
            family.get_or_create(tenant).observe(value);
        }
    }

    /// Notes a request whose large postings were not fetched but looked up in the series.
    pub(crate) fn lazy_postings(&self) {
        self.lazy.expanded.inc();
    }

    /// Notes a group of postings of `bytes` that is not fetched.
    pub(crate) fn lazy_group(&self, reason: LazyReason, bytes: u64) {
        let reason = match reason {
            LazyReason::KeysLimit => "keys_limit",
            LazyReason::PostingsSize => "postings_size",
        };
        self.lazy
            .groups
            .get_or_create(&ReasonLabel { reason })
            .inc();
        self.lazy.group_bytes.inc_by(bytes);
    }

    /// Notes `bytes` of series that were read in vain because postings were not fetched.
    pub(crate) fn lazy_overfetched(&self, bytes: u64) {
        self.lazy.overfetched_bytes.inc_by(bytes);
    }

    /// Notes `count` postings lists that were compressed for a cache or read from one.
    pub(crate) fn postings_compressed(
        &self,
        op: CompressionOp,
        tenant: &TenantLabel,
        count: u64,
        took: Duration,
    ) {
        let labels = op_labels(op, tenant);
        self.compression.count.get_or_create(&labels).inc_by(count);
        drop(self.compression.errors.get_or_create(&labels));
        let seconds = self.compression.seconds.get_or_create(&labels);
        seconds.inc_by(took.as_secs_f64());
    }

    /// Notes postings that could not be compressed, or read from a cache.
    pub(crate) fn postings_compression_failed(&self, op: CompressionOp, tenant: &TenantLabel) {
        let labels = op_labels(op, tenant);
        self.compression.errors.get_or_create(&labels).inc();
    }

    /// Notes how large postings were before they were compressed for a cache, and after.
    pub(crate) fn postings_cached(&self, tenant: &TenantLabel, original: u64, compressed: u64) {
        let sizes = &self.compression;
        sizes.original_bytes.get_or_create(tenant).inc_by(original);
        let family = &sizes.compressed_bytes;
        family.get_or_create(tenant).inc_by(compressed);
    }
}

fn op_labels(op: CompressionOp, tenant: &TenantLabel) -> OpLabels {
    OpLabels {
        op: op.as_str(),
        tenant: Arc::clone(&tenant.tenant),
    }
}
