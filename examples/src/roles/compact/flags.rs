//! The flags of `thanos compact`: Thanos' names and defaults, and what each sets.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{ArgAction, Args};
use thanos_bucket::Bucket;
use thanos_bucket::compact::job::{
    ChunkTransfer, JobOptions, JobRunner, OutOfOrderChunks, OutOfOrderLabels,
};
use thanos_bucket::compact::lease::{LeaseOptions, Leases};
use thanos_bucket::compact::{
    CompactorOptions, DEFAULT_RANGES_MS, DefaultPlanner, Downsampling, Hooks, Retention,
    ViewOptions, Work,
};
use thanos_bucket::compute::Compute;
use thanos_bucket::fetch::filter::RelabelFilter;
use thanos_bucket::fetch::{DiscoveryStrategy, FetchOptions, MetaDetail};
use thanos_core::merge::MergeOverlaps;
use thanos_core::time::{Clock, SystemClock, TimeBound, TimeWindow};
use thanos_core::{Error, Result};

use super::metrics::RoleMetrics;
use crate::flags::{BucketFlags, HttpFlags, ViewerFlags, bytes, content, duration};

/// Flags of `thanos compact`.
#[derive(Debug, Clone, Args)]
pub struct CompactFlags {
    #[command(flatten)]
    pub(super) http: HttpFlags,
    #[command(flatten)]
    pub(super) bucket: BucketFlags,
    #[command(flatten)]
    selection: SelectionFlags,
    #[command(flatten)]
    retention: RetentionFlags,
    #[command(flatten)]
    pub(super) loops: LoopFlags,
    #[command(flatten)]
    jobs: JobFlags,
    #[command(flatten)]
    pub(super) web: WebFlags,
    #[command(flatten)]
    pub(super) debug: DebugFlags,
    /// Directory in which blocks are worked on. It can be removed while the process is down: no data is lost.
    #[arg(long, value_name = "DIR", default_value = "./data")]
    data_dir: PathBuf,
}

/// Which blocks are worked on, and how they are found.
#[derive(Debug, Clone, Args)]
struct SelectionFlags {
    /// How old blocks must be to be worked on, except those made by compaction or repair.
    #[arg(long, value_name = "DURATION", default_value = "30m", value_parser = duration)]
    consistency_delay: Duration,
    /// How blocks are found: concurrent lists the blocks and then their objects, recursive lists all objects at once and
    /// sees a meta.json that was written again.
    #[arg(
        long,
        value_name = "STRATEGY",
        default_value = "concurrent",
        value_parser = ["concurrent", "recursive"]
    )]
    block_discovery_strategy: String,
    /// How many meta.json are read at once.
    #[arg(long, value_name = "N", default_value_t = 32)]
    block_meta_fetch_concurrency: usize,
    /// The first time that is worked on: an RFC 3339 time, or a duration from now such as -6w or 2h45m.
    #[arg(
        long,
        value_name = "TIME",
        default_value = "0000-01-01T00:00:00Z",
        allow_hyphen_values = true
    )]
    min_time: TimeBound,
    /// The last time that is worked on, like --min-time.
    #[arg(
        long,
        value_name = "TIME",
        default_value = "9999-12-31T23:59:59Z",
        allow_hyphen_values = true
    )]
    max_time: TimeBound,
    /// Path to the YAML file with relabelling rules (keep, drop, hashmod) over the external labels and __block_id, which
    /// say what blocks are worked on.
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
    /// Label in which replicas of the same data differ (repeated, or several with commas). It is removed from blocks, so
    /// that those of all replicas become one. This cannot be undone.
    #[arg(id = "deduplication.replica-label", long = "deduplication.replica-label", value_name = "LABEL", action = ArgAction::Append)]
    replica_labels: Vec<String>,
}

/// How long data is kept.
#[derive(Debug, Clone, Args)]
struct RetentionFlags {
    /// How long raw samples are kept; 0d keeps them forever. Blocks that were not downsampled yet stay for as long as
    /// coarser data is to be kept.
    #[arg(id = "retention.resolution-raw", long = "retention.resolution-raw", value_name = "DURATION", default_value = "0d", value_parser = duration)]
    raw: Duration,
    /// How long samples of resolution 1 (5 minutes) are kept; 0d keeps them forever.
    #[arg(id = "retention.resolution-5m", long = "retention.resolution-5m", value_name = "DURATION", default_value = "0d", value_parser = duration)]
    five_minutes: Duration,
    /// How long samples of resolution 2 (1 hour) are kept; 0d keeps them forever.
    #[arg(id = "retention.resolution-1h", long = "retention.resolution-1h", value_name = "DURATION", default_value = "0d", value_parser = duration)]
    hour: Duration,
    /// Make no downsampled blocks. Queries over long times read all raw samples then.
    #[arg(id = "downsampling.disable", long = "downsampling.disable", action = ArgAction::SetTrue)]
    no_downsampling: bool,
    /// How long blocks stay in the bucket after they were marked for deletion. Those that serve queries need the time to
    /// see what replaces them; with 0 a block goes when marked blocks are looked through next.
    #[arg(long, value_name = "DURATION", default_value = "48h", value_parser = duration)]
    delete_delay: Duration,
}

/// What is done how often.
#[derive(Debug, Clone, Args)]
pub(super) struct LoopFlags {
    /// Do not exit when everything is done, but wait for new work.
    #[arg(long, short = 'w', action = ArgAction::SetTrue)]
    pub(super) wait: bool,
    /// How long to wait between two iterations; only with --wait.
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration)]
    pub(super) wait_interval: Duration,
    /// How often broken uploads are removed beside the iterations, with --wait; 0s leaves it to the end of an iteration.
    #[arg(id = "compact.cleanup-interval", long = "compact.cleanup-interval", value_name = "DURATION", default_value = "5m", value_parser = duration)]
    pub(super) cleanup_interval: Duration,
    /// How often the progress of compaction, downsampling and retention is told, with --wait; 0s means never.
    #[arg(id = "compact.progress-interval", long = "compact.progress-interval", value_name = "DURATION", default_value = "5m", value_parser = duration)]
    pub(super) progress_interval: Duration,
    /// How often the block viewer looks for all blocks of the bucket.
    #[arg(id = "block-viewer.global.sync-block-interval", long = "block-viewer.global.sync-block-interval", value_name = "DURATION", default_value = "1m", value_parser = duration)]
    pub(super) viewer_interval: Duration,
    /// How long that may take.
    #[arg(id = "block-viewer.global.sync-block-timeout", long = "block-viewer.global.sync-block-timeout", value_name = "DURATION", default_value = "5m", value_parser = duration)]
    pub(super) viewer_timeout: Duration,
}

/// How work is carried out.
#[derive(Debug, Clone, Args)]
struct JobFlags {
    /// How many groups of blocks are compacted at once.
    #[arg(
        id = "compact.concurrency",
        long = "compact.concurrency",
        value_name = "N",
        default_value_t = 1
    )]
    concurrency: usize,
    /// How many blocks of a compaction are downloaded at once.
    #[arg(
        id = "compact.blocks-fetch-concurrency",
        long = "compact.blocks-fetch-concurrency",
        value_name = "N",
        default_value_t = 1
    )]
    blocks_fetch_concurrency: usize,
    /// How many blocks are downsampled at once.
    #[arg(
        id = "downsample.concurrency",
        long = "downsample.concurrency",
        value_name = "N",
        default_value_t = 1
    )]
    downsample_concurrency: usize,
    /// How many files of a block are downloaded or uploaded at once.
    #[arg(long, value_name = "N", default_value_t = 1)]
    block_files_concurrency: usize,
    /// How samples of replicas are merged: "" keeps one for each time, penalty follows one replica until it has a gap. The
    /// latter needs --deduplication.replica-label.
    #[arg(id = "deduplication.func", long = "deduplication.func", value_name = "FUNC", default_value = "", value_parser = ["", "penalty"])]
    dedup_func: String,
    /// The checksum of files that is written into meta.json, so that what lies in --data-dir is not downloaded again.
    #[arg(long, value_name = "FUNC", default_value = "", value_parser = ["", "SHA256"])]
    hash_func: String,
}

/// The block viewer, with --wait.
#[derive(Debug, Clone, Args)]
pub(super) struct WebFlags {
    #[command(flatten)]
    pub(super) viewer: ViewerFlags,
    /// Path under which the block viewer is served.
    #[arg(
        id = "web.route-prefix",
        long = "web.route-prefix",
        value_name = "PATH",
        default_value = ""
    )]
    pub(super) route_prefix: String,
}

/// Hidden flags of Thanos.
#[derive(Debug, Clone, Args)]
pub(super) struct DebugFlags {
    /// With --wait: go on after an error that trying again will not cure, instead of ending. There is no halt: what is bad
    /// is put aside and everything else goes on.
    #[arg(id = "no-debug.halt-on-error", long = "no-debug.halt-on-error", action = ArgAction::SetTrue, hide = true)]
    pub(super) end_on_error: bool,
    /// Compact and downsample blocks whose label names are out of order.
    #[arg(id = "debug.accept-malformed-index", long = "debug.accept-malformed-index", action = ArgAction::SetTrue, hide = true)]
    accept_malformed_index: bool,
    /// The highest compaction level: 0=1h, 1=2h, 2=8h, 3=48h, 4=336h.
    #[arg(
        id = "debug.max-compaction-level",
        long = "debug.max-compaction-level",
        value_name = "LEVEL",
        default_value_t = DEFAULT_RANGES_MS.len() - 1,
        hide = true
    )]
    max_compaction_level: usize,
    /// Taken and without effect: blocks that overlap always become one.
    #[arg(id = "compact.enable-vertical-compaction", long = "compact.enable-vertical-compaction", action = ArgAction::SetTrue, hide = true)]
    _vertical_compaction: bool,
    /// The largest index that compaction makes: beyond it the series are split among several blocks.
    #[arg(id = "compact.block-max-index-size", long = "compact.block-max-index-size", value_name = "BYTES", default_value = "64GB", value_parser = bytes, hide = true)]
    max_index_size: u64,
    /// Mark blocks with chunks out of order so that they are not compacted.
    #[arg(id = "compact.skip-block-with-out-of-order-chunks", long = "compact.skip-block-with-out-of-order-chunks", action = ArgAction::SetTrue, hide = true)]
    skip_out_of_order_chunks: bool,
    /// How chunks come from the blocks that are compacted into the new ones: from bucket to bucket, or by way of files.
    #[arg(id = "compact.chunk-transfer", long = "compact.chunk-transfer", value_name = "HOW", default_value = "streamed", value_parser = ["streamed", "files"], hide = true)]
    chunk_transfer: String,
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

impl SelectionFlags {
    /// Returns the replica labels, each once.
    fn replica_labels(&self) -> Vec<String> {
        let labels = self.replica_labels.iter().flat_map(|list| list.split(','));
        let labels = labels.map(str::trim).filter(|label| !label.is_empty());
        let mut unique: Vec<String> = Vec::new();
        for label in labels {
            if !unique.iter().any(|known| known == label) {
                unique.push(label.to_owned());
            }
        }
        unique
    }

    fn relabel(&self) -> Result<RelabelFilter> {
        let flag = "selector.relabel-config";
        match content(flag, &self.relabel_config, &self.relabel_config_file)? {
            Some(yaml) => RelabelFilter::from_yaml(&yaml),
            None => Ok(RelabelFilter::default()),
        }
    }
}

impl RetentionFlags {
    fn retention(&self) -> Retention {
        Retention {
            raw_ms: millis(self.raw),
            five_minutes_ms: millis(self.five_minutes),
            hour_ms: millis(self.hour),
            downsampling: match self.no_downsampling {
                true => Downsampling::Off,
                false => Downsampling::On,
            },
        }
    }
}

impl DebugFlags {
    fn planner(&self) -> Result<DefaultPlanner> {
        let levels = DEFAULT_RANGES_MS.len();
        let Some(ranges) = DEFAULT_RANGES_MS.get(..=self.max_compaction_level) else {
            let message =
                format!("get compaction levels: level is bigger then default set of {levels}");
            return Err(Error::invalid(message));
        };
        if ranges.len() < levels {
            let current = self.max_compaction_level;
            tracing::warn!(
                current,
                default = levels - 1,
                "max compaction level is lower than should be"
            );
        }
        Ok(DefaultPlanner {
            index_bytes_max: self.max_index_size,
            ..DefaultPlanner::new(ranges.to_vec())
        })
    }
}

impl CompactFlags {
    /// Returns what carries out the compactor's decisions about `bucket`.
    ///
    /// # Errors
    ///
    /// `Invalid` for a value that cannot be; when the bucket cannot be asked whether several can share it.
    pub(super) async fn work(&self, bucket: &Bucket, compute: Compute) -> Result<Arc<dyn Work>> {
        let (jobs, debug) = (&self.jobs, &self.debug);
        let options = JobOptions {
            overlaps: self.overlaps()?,
            blocks_fetch_concurrency: jobs.blocks_fetch_concurrency,
            block_files_concurrency: jobs.block_files_concurrency,
            chunk_transfer: match debug.chunk_transfer.as_str() {
                "files" => ChunkTransfer::Files,
                _ => ChunkTransfer::Streamed,
            },
            hash: jobs.hash_func.parse()?,
            out_of_order_chunks: match debug.skip_out_of_order_chunks {
                true => OutOfOrderChunks::Mark,
                false => OutOfOrderChunks::Fail,
            },
            out_of_order_labels: match debug.accept_malformed_index {
                true => OutOfOrderLabels::Accept,
                false => OutOfOrderLabels::Fail,
            },
            compute,
            ..JobOptions::new(&self.data_dir)
        };
        if jobs.block_files_concurrency == 0 || jobs.blocks_fetch_concurrency == 0 {
            let message = "invalid concurrency level (0), blockFilesConcurrency level must be > 0";
            return Err(Error::invalid(message));
        }
        let leases = Leases::open(bucket.clone(), LeaseOptions::default()).await?;
        Ok(Arc::new(JobRunner::new(bucket.clone(), leases, options)))
    }

    /// Returns what becomes of samples of several blocks at the same time.
    ///
    /// # Errors
    ///
    /// `Invalid` when replicas are to be merged and nothing tells them apart (row C-13 of the specification).
    fn overlaps(&self) -> Result<MergeOverlaps> {
        match (
            self.jobs.dedup_func.as_str(),
            self.selection.replica_labels().is_empty(),
        ) {
            ("penalty", false) => Ok(MergeOverlaps::Penalty),
            ("penalty", true) => Err(Error::invalid(
                "penalty based deduplication needs at least one replica label specified",
            )),
            _ => Ok(MergeOverlaps::Chain),
        }
    }

    /// Returns the settings of the compactor, which tells `hooks` and counts into `metrics`.
    ///
    /// # Errors
    ///
    /// `Invalid` for a value that cannot be.
    pub(super) fn compactor(
        &self,
        hooks: Arc<dyn Hooks>,
        metrics: &RoleMetrics,
        compute: Compute,
    ) -> Result<CompactorOptions> {
        Ok(CompactorOptions {
            view: self.view(metrics, compute)?,
            concurrency: self.jobs.concurrency,
            downsample_concurrency: self.jobs.downsample_concurrency,
            sync_timeout: self.loops.wait.then_some(self.loops.wait_interval),
            retention: self.retention.retention(),
            planner: Arc::new(self.debug.planner()?),
            hooks,
            metrics: metrics.compact.clone(),
            ..CompactorOptions::default()
        })
    }

    fn view(&self, metrics: &RoleMetrics, compute: Compute) -> Result<ViewOptions> {
        let selection = &self.selection;
        let window = TimeWindow {
            min: selection.min_time,
            max: selection.max_time,
        };
        window.validate(SystemClock.now())?;
        let fetch = FetchOptions {
            strategy: match selection.block_discovery_strategy.as_str() {
                "recursive" => DiscoveryStrategy::Recursive,
                _ => DiscoveryStrategy::Concurrent,
            },
            listing_shards: self.bucket.config()?.listing_shards(),
            concurrency: selection.block_meta_fetch_concurrency,
            detail: MetaDetail::Whole,
            data_dir: Some(self.data_dir.clone()),
            metrics: metrics.fetch.clone(),
            compute,
            ..FetchOptions::default()
        };
        Ok(ViewOptions {
            fetch,
            window,
            relabel: selection.relabel()?,
            consistency_delay_ms: millis(selection.consistency_delay),
            delete_delay_ms: millis(self.retention.delete_delay),
            replica_labels: selection.replica_labels(),
        })
    }
}
