//! The flags of `thanos store`: Thanos' names and defaults, and what each sets.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args};
use thanos_bucket::Bucket;
use thanos_bucket::compute::Compute;
use thanos_bucket::config::BucketConfig;
use thanos_bucket::fetch::filter::{ParquetConvertedFilter, RelabelFilter, StoreFilters};
use thanos_bucket::fetch::{DiscoveryStrategy, FetchOptions};
use thanos_bucket::gateway::{
    GatewayOptions, HeaderDownload, HeaderMetrics, HeaderOptions, LazyPostings, RequestLimits,
    SparseHeaders,
};
use thanos_bucket::http::BlockViewer;
use thanos_bucket::manifest::{ManifestMode, ManifestOptions};
use thanos_core::budget::MemoryBudget;
use thanos_core::time::{Clock, SystemClock, TimeBound, TimeWindow};
use thanos_core::{Error, Result};
use thanos_promql::http::Cors;

use super::caches::{CacheFlags, Caches};
use super::fixed::FixedFlags;
use super::metrics::StoreMetrics;
use crate::flags::{BucketFlags, ServerFlags, ViewerFlags, bytes, concurrency, content, duration};

/// Flags of `thanos store`.
#[derive(Debug, Clone, Args)]
pub struct StoreFlags {
    #[command(flatten)]
    pub(super) servers: ServerFlags,
    #[command(flatten)]
    pub(super) bucket: BucketFlags,
    #[command(flatten)]
    parquet: ParquetFlags,
    #[command(flatten)]
    pub(super) sync: SyncFlags,
    #[command(flatten)]
    limits: LimitFlags,
    #[command(flatten)]
    reading: ReadingFlags,
    #[command(flatten)]
    pub(super) caches: CacheFlags,
    #[command(flatten)]
    fixed: FixedFlags,
    #[command(flatten)]
    web: ViewerFlags,
    /// Directory for what is kept between runs (index-headers and meta.json). It can be removed while the process is
    /// down: no data is lost, the next start takes longer. Blocks put here are not read.
    #[arg(long, value_name = "DIR", default_value = "./data")]
    data_dir: PathBuf,
    /// Keep index-headers in memory only and leave --data-dir alone; the default is --cache-index-header.
    #[arg(id = "no-cache-index-header", long = "no-cache-index-header", action = ArgAction::SetTrue)]
    no_cache_index_header: bool,
}

/// The bucket of a program that converts blocks to Parquet and serves them.
#[derive(Debug, Clone, Args)]
struct ParquetFlags {
    /// Path to the YAML file of a bucket with blocks converted to Parquet: blocks whose days are all converted are not
    /// served.
    #[arg(
        id = "objstore-parquet.config-file",
        long = "objstore-parquet.config-file",
        value_name = "FILE"
    )]
    config_file: Option<PathBuf>,
    /// The same YAML itself, instead of 'objstore-parquet.config-file'.
    #[arg(
        id = "objstore-parquet.config",
        long = "objstore-parquet.config",
        value_name = "CONTENT"
    )]
    config: Option<String>,
}

impl ParquetFlags {
    fn filter(
        &self,
        concurrency: usize,
        metrics: &StoreMetrics,
    ) -> Result<Option<ParquetConvertedFilter>> {
        let flag = "objstore-parquet.config";
        let Some(yaml) = content(flag, &self.config, &self.config_file)? else {
            return Ok(None);
        };
        let bucket = BucketConfig::from_yaml(&yaml)
            .and_then(|config| config.open_with(metrics.bucket.clone()))
            .map_err(|error| error.context(format!("--{flag}")))?;
        Ok(Some(ParquetConvertedFilter::new(bucket, concurrency)))
    }
}

/// Which blocks are served, and how they are found.
#[derive(Debug, Clone, Args)]
pub(super) struct SyncFlags {
    /// How often the bucket is looked through for blocks that came or went.
    #[arg(long, value_name = "DURATION", default_value = "15m", value_parser = duration)]
    pub(super) sync_block_duration: Duration,
    /// How many blocks are opened at once, at least 1.
    #[arg(long, value_name = "N", default_value_t = 20)]
    block_sync_concurrency: usize,
    /// How many meta.json are read at once.
    #[arg(long, value_name = "N", default_value_t = 32)]
    block_meta_fetch_concurrency: usize,
    /// How blocks are found: concurrent lists the blocks and then their objects, recursive lists all objects at once and
    /// sees a meta.json that was written again.
    #[arg(
        long,
        value_name = "STRATEGY",
        default_value = "concurrent",
        value_parser = ["concurrent", "recursive"]
    )]
    block_discovery_strategy: String,
    /// Path to the YAML file with relabelling rules (keep, drop, hashmod) over the external labels and __block_id, which
    /// say what blocks are served.
    #[arg(
        id = "selector.relabel-config-file",
        long = "selector.relabel-config-file",
        value_name = "FILE"
    )]
    relabel_config_file: Option<PathBuf>,
    /// The same YAML itself, instead of 'selector.relabel-config-file'.
    #[arg(
        id = "selector.relabel-config",
        long = "selector.relabel-config",
        value_name = "CONTENT"
    )]
    relabel_config: Option<String>,
    /// How old blocks must be to be served, except those made by compaction or repair.
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration)]
    consistency_delay: Duration,
    /// How long blocks are served after they were marked for deletion; half of the compactor's --delete-delay is right.
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = duration)]
    ignore_deletion_marks_delay: Duration,
    /// What is done with the bucket's manifest, one object that lists its blocks (thanos-manifest/v1): read uses it where
    /// it is not older than two sync intervals, publish writes it after each sync as well, off leaves it alone. Blocks
    /// found by it are served before their index-headers are there. Thanos ignores it.
    #[arg(
        id = "store.manifest",
        long = "store.manifest",
        value_name = "MODE",
        default_value = "read",
        value_parser = ["off", "read", "publish"]
    )]
    manifest: String,
    /// The first time that is served: an RFC 3339 time, or a duration from now such as -6w or 2h45m.
    #[arg(
        long,
        value_name = "TIME",
        default_value = "0000-01-01T00:00:00Z",
        allow_hyphen_values = true
    )]
    min_time: TimeBound,
    /// The last time that is served, like --min-time.
    #[arg(
        long,
        value_name = "TIME",
        default_value = "9999-12-31T23:59:59Z",
        allow_hyphen_values = true
    )]
    max_time: TimeBound,
}

/// What requests may take.
#[derive(Debug, Clone, Args)]
struct LimitFlags {
    /// The most memory that all requests may hold at once.
    #[arg(id = "store.memory-limit", long = "store.memory-limit", value_name = "BYTES", default_value = "2GB", value_parser = bytes)]
    memory_limit: u64,
    /// The most memory that one request may hold; 0 leaves it to --store.memory-limit.
    #[arg(id = "store.memory-limit-per-request", long = "store.memory-limit-per-request", value_name = "BYTES", default_value = "0", value_parser = bytes)]
    memory_limit_per_request: u64,
    /// The most memory that the chunks of all requests may hold at once.
    #[arg(id = "chunk-pool-size", long = "chunk-pool-size", value_name = "BYTES", default_value = "2GB", value_parser = bytes)]
    chunk_pool_size: u64,
    /// How many Series calls are answered at once; the others wait. 0 means all.
    #[arg(
        id = "store.grpc.series-max-concurrency",
        long = "store.grpc.series-max-concurrency",
        value_name = "N",
        default_value_t = 20,
        allow_hyphen_values = true,
        value_parser = concurrency
    )]
    series_max_concurrency: usize,
    /// The most bytes that one Series, LabelNames or LabelValues call may download or take from caches; 0 means no limit.
    #[arg(id = "store.grpc.downloaded-bytes-limit", long = "store.grpc.downloaded-bytes-limit", value_name = "BYTES", default_value = "0", value_parser = bytes)]
    downloaded_bytes_limit: u64,
    /// The most series that one Series call may select; 0 means no limit. (--store.grpc.touched-series-limit is its
    /// deprecated name.)
    #[arg(
        id = "store.limits.request-series",
        overrides_with = "store.limits.request-series",
        long = "store.limits.request-series",
        alias = "store.grpc.touched-series-limit",
        value_name = "N",
        default_value_t = 0
    )]
    request_series: u64,
    /// The most samples that one Series call may read, counted as chunks of 120; 0 means no limit.
    /// (--store.grpc.series-sample-limit is its deprecated name.)
    #[arg(
        id = "store.limits.request-samples",
        overrides_with = "store.limits.request-samples",
        long = "store.limits.request-samples",
        alias = "store.grpc.series-sample-limit",
        value_name = "N",
        default_value_t = 0
    )]
    request_samples: u64,
}

/// How blocks are read.
#[derive(Debug, Clone, Args)]
struct ReadingFlags {
    /// Fetch index-headers by --store.index-header-lazy-download-strategy. Whether or not, one is open only while it is
    /// used.
    #[arg(id = "store.enable-index-header-lazy-reader", long = "store.enable-index-header-lazy-reader", action = ArgAction::SetTrue)]
    lazy_reader: bool,
    /// How long an index-header may be unused before it is closed; 0 keeps it open.
    #[arg(id = "store.index-header-lazy-reader-idle-timeout", long = "store.index-header-lazy-reader-idle-timeout", value_name = "DURATION", default_value = "5m", value_parser = duration, hide = true)]
    lazy_reader_idle_timeout: Duration,
    /// With the lazy reader: eager fetches index-headers when blocks are found, lazy when a query needs them.
    #[arg(
        id = "store.index-header-lazy-download-strategy",
        long = "store.index-header-lazy-download-strategy",
        value_name = "STRATEGY",
        default_value = "eager",
        value_parser = ["eager", "lazy"]
    )]
    lazy_download_strategy: String,
    /// Of how many label values one has its place in memory while the index-header is open.
    #[arg(
        id = "store.index-header-posting-offsets-in-mem-sampling",
        long = "store.index-header-posting-offsets-in-mem-sampling",
        value_name = "N",
        default_value = "32",
        hide = true
    )]
    postings_sampling: NonZeroUsize,
    /// Sparse index-headers open at once, however large the index: off leaves them alone, use keeps one beside each
    /// index-header and takes those in the bucket, publish also puts those into the bucket that were made here.
    #[arg(
        id = "store.sparse-header",
        long = "store.sparse-header",
        value_name = "MODE",
        default_value = "use",
        value_parser = ["off", "use", "publish"]
    )]
    sparse_header: String,
    /// Leave out postings that cost more to download than they save, and filter their series by labels instead.
    #[arg(id = "store.enable-lazy-expanded-postings", long = "store.enable-lazy-expanded-postings", action = ArgAction::SetTrue)]
    lazy_postings: bool,
    /// With lazy postings: leave a label out, too, that has more values than this for each series that can match; 0 or
    /// less means never.
    #[arg(
        id = "store.posting-group-max-key-series-ratio",
        long = "store.posting-group-max-key-series-ratio",
        value_name = "RATIO",
        default_value_t = 100.0,
        allow_hyphen_values = true
    )]
    key_series_ratio: f64,
}

impl ReadingFlags {
    fn headers(&self, metrics: HeaderMetrics) -> HeaderOptions {
        let at_use = self.lazy_reader && self.lazy_download_strategy == "lazy";
        HeaderOptions {
            download: if at_use {
                HeaderDownload::AtUse
            } else {
                HeaderDownload::AtSync
            },
            idle_timeout: self.lazy_reader_idle_timeout,
            postings_sampling: self.postings_sampling,
            sparse: match self.sparse_header.as_str() {
                "off" => SparseHeaders::Off,
                "publish" => SparseHeaders::Publish,
                _ => SparseHeaders::Use,
            },
            metrics,
        }
    }

    fn lazy_postings(&self) -> Option<LazyPostings> {
        self.lazy_postings.then_some(LazyPostings {
            max_key_series_ratio: self.key_series_ratio,
        })
    }
}

/// No manifest is too old before this, however often blocks are synced: clocks differ.
const MANIFEST_AGE_MIN: Duration = Duration::from_secs(60);

impl SyncFlags {
    fn manifest(&self) -> Option<ManifestOptions> {
        let mode = match self.manifest.as_str() {
            "off" => return None,
            "publish" => ManifestMode::Publish,
            _ => ManifestMode::Read,
        };
        let age_max = (2 * self.sync_block_duration).max(MANIFEST_AGE_MIN);
        Some(ManifestOptions {
            age_ms_max: i64::try_from(age_max.as_millis()).unwrap_or(i64::MAX),
            mode,
        })
    }

    fn filters(
        &self,
        window: TimeWindow,
        parquet: Option<ParquetConvertedFilter>,
    ) -> Result<StoreFilters> {
        let flag = "selector.relabel-config";
        let rules = content(flag, &self.relabel_config, &self.relabel_config_file)?;
        let millis = |delay: Duration| i64::try_from(delay.as_millis()).unwrap_or(i64::MAX);
        let defaults = StoreFilters::default();
        Ok(StoreFilters {
            parquet,
            window,
            relabel: match rules {
                Some(yaml) => RelabelFilter::from_yaml(&yaml)?,
                None => defaults.relabel,
            },
            consistency_delay_ms: millis(self.consistency_delay),
            ignore_deletion_marks_delay_ms: millis(self.ignore_deletion_marks_delay),
            ..StoreFilters::default()
        })
    }
}

impl StoreFlags {
    /// Returns the settings of the gateway, which uses `caches` and counts into `metrics`.
    ///
    /// # Errors
    ///
    /// `Invalid` for a value that cannot be.
    pub(super) fn gateway(
        &self,
        caches: &Caches,
        metrics: &StoreMetrics,
    ) -> Result<GatewayOptions> {
        self.fixed.validate()?;
        let sync = &self.sync;
        if sync.block_sync_concurrency < 1 {
            let message = "the block sync concurrency must be equal or greater than 1.";
            return Err(Error::invalid(message));
        }
        if sync.sync_block_duration.is_zero() {
            let message = "--sync-block-duration must be longer than 0s";
            return Err(Error::invalid(message));
        }
        let time_window = TimeWindow {
            min: sync.min_time,
            max: sync.max_time,
        };
        time_window.validate(SystemClock.now())?;
        let fetch = FetchOptions {
            strategy: match sync.block_discovery_strategy.as_str() {
                "recursive" => DiscoveryStrategy::Recursive,
                _ => DiscoveryStrategy::Concurrent,
            },
            listing_shards: self.bucket.config()?.listing_shards(),
            concurrency: sync.block_meta_fetch_concurrency,
            metrics: metrics.fetch.clone(),
            ..FetchOptions::default()
        };
        let parquet = self
            .parquet
            .filter(sync.block_meta_fetch_concurrency, metrics)?;
        let filters = sync.filters(time_window, parquet)?;
        let consistency_delay_secs = sync.consistency_delay.as_secs_f64();
        metrics.consistency_delay_secs.set(consistency_delay_secs);
        let limits = &self.limits;
        Ok(GatewayOptions {
            fetch,
            manifest: sync.manifest(),
            filters: filters.build(),
            sync_concurrency: sync.block_sync_concurrency,
            data_dir: (!self.no_cache_index_header).then(|| self.data_dir.clone()),
            time_window,
            budget: MemoryBudget::new("--store.memory-limit", limits.memory_limit),
            request_memory_bytes: match limits.memory_limit_per_request {
                0 => u64::MAX,
                bytes => bytes,
            },
            chunk_pool_bytes: limits.chunk_pool_size,
            series_concurrency: limits.series_max_concurrency,
            limits: RequestLimits {
                series: limits.request_series,
                samples: limits.request_samples,
                downloaded_bytes: limits.downloaded_bytes_limit,
            },
            metrics: metrics.gateway.clone(),
            headers: self.reading.headers(metrics.headers.clone()),
            lazy_postings: self.reading.lazy_postings(),
            index_cache: Some(caches.index.clone()),
            ..GatewayOptions::default()
        })
    }

    /// Returns the block viewer over `bucket`, unless it is disabled.
    pub(super) fn viewer(&self, bucket: Bucket, compute: Compute) -> Option<BlockViewer> {
        self.web.viewer(bucket, compute)
    }

    /// Returns who may ask from pages of other origins.
    pub(super) fn cors(&self) -> Cors {
        self.web.cors()
    }
}
