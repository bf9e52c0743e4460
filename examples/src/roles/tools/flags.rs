//! Flags that several tools have.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use thanos_bucket::Bucket;
use thanos_bucket::compact::job::{JobOptions, JobRunner};
use thanos_bucket::compact::lease::{LeaseOptions, Leases};
use thanos_bucket::compact::{ViewOptions, Work};
use thanos_bucket::fetch::FetchOptions;
use thanos_bucket::fetch::filter::{BlockFilter, RelabelFilter, TimeWindowFilter};
use thanos_core::block::BlockId;
use thanos_core::time::{Clock, SystemClock, TimeBound, TimeWindow};
use thanos_core::{Error, Result};

use crate::flags::{content, duration};

/// A timeout shorter than this fails often.
const TIMEOUT_MIN: Duration = Duration::from_secs(60);

/// Which blocks a tool looks at, by their external labels.
#[derive(Debug, Clone, Args)]
pub(super) struct SelectorFlags {
    /// Path to the YAML file with relabelling rules (keep, drop, hashmod) over the external labels and __block_id, which
    /// select blocks.
    #[arg(
        id = "selector.relabel-config-file",
        long = "selector.relabel-config-file",
        value_name = "FILE"
    )]
    file: Option<PathBuf>,
    /// The same YAML itself, instead of 'selector.relabel-config-file'.
    #[arg(
        id = "selector.relabel-config",
        long = "selector.relabel-config",
        value_name = "CONTENT",
        allow_hyphen_values = true
    )]
    inline: Option<String>,
}

impl SelectorFlags {
    fn relabel(&self) -> Result<RelabelFilter> {
        let yaml = content("selector.relabel-config", &self.inline, &self.file)?;
        let filter = yaml
            .map(|yaml| RelabelFilter::from_yaml(&yaml))
            .transpose()?;
        Ok(filter.unwrap_or_default())
    }

    pub(super) fn filter(&self) -> Result<Arc<dyn BlockFilter>> {
        Ok(Arc::new(self.relabel()?))
    }
}

/// Which blocks a tool looks at, by their times.
#[derive(Debug, Clone, Args)]
pub(super) struct WindowFlags {
    /// The first time of blocks: an RFC 3339 time, or a duration from now such as -1d or 2h45m.
    #[arg(
        long,
        value_name = "TIME",
        default_value = "0000-01-01T00:00:00Z",
        allow_hyphen_values = true
    )]
    min_time: TimeBound,
    /// The last time of blocks, like --min-time.
    #[arg(
        long,
        value_name = "TIME",
        default_value = "9999-12-31T23:59:59Z",
        allow_hyphen_values = true
    )]
    max_time: TimeBound,
}

impl WindowFlags {
    pub(super) fn window(&self) -> Result<TimeWindow> {
        let window = TimeWindow {
            min: self.min_time,
            max: self.max_time,
        };
        window.validate(SystemClock.now())?;
        Ok(window)
    }

    pub(super) fn filter(&self) -> Result<Arc<dyn BlockFilter>> {
        Ok(Arc::new(TimeWindowFilter::new(
            self.window()?,
            Arc::new(SystemClock),
        )))
    }
}

/// What `cleanup` and `retention` have in common.
#[derive(Debug, Clone, Args)]
pub(super) struct PassFlags {
    /// Time before a block marked for deletion is deleted from bucket.
    #[arg(long, value_name = "DURATION", default_value = "48h", value_parser = duration)]
    delete_delay: Duration,
    /// Minimum age of fresh (non-compacted) blocks before they are being processed. Malformed blocks older than the maximum
    /// of consistency-delay and 48h0m0s will be removed.
    #[arg(long, value_name = "DURATION", default_value = "30m", value_parser = duration)]
    consistency_delay: Duration,
    /// Number of meta.json that are read at once.
    #[arg(long, value_name = "N", default_value_t = 20)]
    block_sync_concurrency: usize,
    #[command(flatten)]
    selector: SelectorFlags,
}

impl PassFlags {
    /// Which blocks these tools look at.
    pub(super) fn view(&self) -> Result<ViewOptions> {
        Ok(ViewOptions {
            fetch: FetchOptions {
                concurrency: self.block_sync_concurrency.max(1),
                ..FetchOptions::default()
            },
            relabel: self.selector.relabel()?,
            consistency_delay_ms: millis(self.consistency_delay),
            delete_delay_ms: millis(self.delete_delay),
            ..ViewOptions::default()
        })
    }
}

/// Returns what would carry out compactions and downsamplings of `bucket`, for tools that do neither.
pub(super) fn no_work(bucket: Bucket) -> Arc<dyn Work> {
    let leases = Leases::alone(bucket.clone(), LeaseOptions::default());
    let options = JobOptions::new(std::env::temp_dir().join("thanos-tools"));
    Arc::new(JobRunner::new(bucket, leases, options))
}

/// How a tool tells what it did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(super) enum Report {
    /// In the log alone.
    #[default]
    Log,
    /// And on standard output, as JSON.
    Json,
}

pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Parses a block id for a flag.
pub(super) fn block_id(text: &str) -> std::result::Result<BlockId, String> {
    text.parse().map_err(|error: Error| error.to_string())
}

/// Does `work`, but not for longer than `timeout`.
pub(super) async fn within<T>(
    timeout: Duration,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    if timeout < TIMEOUT_MIN {
        tracing::warn!("Timeout less than 1m could lead to frequent failures");
    }
    match tokio::time::timeout(timeout, work).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Error::cancelled(format!("not done within {timeout:?}"))),
    }
}
