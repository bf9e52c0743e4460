//! `thanos tools bucket downsample`: downsamples again and again, and does nothing else.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use clap::Args;
use thanos_bucket::compact::job::{JobOptions, JobRunner};
use thanos_bucket::compact::lease::{LeaseOptions, Leases};
use thanos_bucket::compact::{CompactMetrics, Compactor, CompactorOptions, ViewOptions};
use thanos_bucket::fetch::{FetchMetrics, FetchOptions};
use thanos_bucket::layers::BucketMetrics;
use thanos_bucket::transfer::HashFunc;
use thanos_core::{Error, Result};

use crate::flags::{BucketFlags, HttpFlags, duration};
use crate::process::Process;
use crate::requests::RequestLog;
use crate::shutdown::Shutdown;

/// Flags of `thanos tools bucket downsample`.
#[derive(Debug, Clone, Args)]
pub(super) struct DownsampleFlags {
    #[command(flatten)]
    http: HttpFlags,
    #[command(flatten)]
    bucket: BucketFlags,
    /// Wait interval between downsample runs.
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration)]
    wait_interval: Duration,
    /// Number of blocks that are downsampled at once.
    #[arg(
        id = "downsample.concurrency",
        long = "downsample.concurrency",
        value_name = "N",
        default_value_t = 1
    )]
    concurrency: usize,
    /// Number of files of a block that are fetched or uploaded at once.
    #[arg(long, value_name = "N", default_value_t = 1)]
    block_files_concurrency: usize,
    /// Data directory in which to cache blocks and process downsamplings.
    #[arg(long, value_name = "DIR", default_value = "./data")]
    data_dir: PathBuf,
    /// Specify which hash function to use when calculating the hashes of produced files. If no function has been specified,
    /// it does not happen. This permits avoiding downloading some files twice albeit at some performance cost.
    #[arg(long, value_name = "NAME", default_value = "", value_parser = |text: &str| text.parse::<HashFunc>().map_err(|error| error.to_string()))]
    hash_func: HashFunc,
}

pub(super) async fn run(flags: DownsampleFlags) -> Result<()> {
    let (bucket_metrics, fetch_metrics) = (BucketMetrics::default(), FetchMetrics::default());
    let metrics = CompactMetrics::default();
    let bucket = flags.bucket.open(bucket_metrics.clone())?;
    let jobs = JobOptions {
        block_files_concurrency: flags.block_files_concurrency.max(1),
        hash: flags.hash_func,
        ..JobOptions::new(&flags.data_dir)
    };
    let leases = Leases::open(bucket.clone(), LeaseOptions::default()).await?;
    let runner = JobRunner::new(bucket.clone(), leases, jobs);
    let options = CompactorOptions {
        view: ViewOptions {
            fetch: FetchOptions {
                metrics: fetch_metrics.clone(),
                ..FetchOptions::default()
            },
            consistency_delay_ms: 0,
            ..ViewOptions::default()
        },
        downsample_concurrency: flags.concurrency,
        metrics: metrics.clone(),
        ..CompactorOptions::default()
    };
    let compactor = Compactor::new(bucket, Arc::new(runner.clone()), options)?;
    let register = |registry: &mut _| {
        bucket_metrics.register(registry);
        fetch_metrics.register(registry);
        metrics.register(registry);
    };
    let log = RequestLog::default();
    let mut process =
        Process::start_http("downsample", &flags.http, log, Router::new(), register).await?;
    process.ready().await;
    process.spawn(repeat(compactor, flags.wait_interval, process.shutdown()));
    let outcome = process.run().await;
    runner.finish().await;
    outcome
}

/// Makes two passes every `interval`, because the second may have the blocks of the first to work on.
async fn repeat(compactor: Compactor, interval: Duration, shutdown: Shutdown) -> Result<()> {
    loop {
        let passes = async {
            for pass in ["first", "second"] {
                tracing::info!("start {pass} pass of downsampling");
                compactor.downsample().await?;
            }
            tokio::time::sleep(interval).await;
            Ok::<(), Error>(())
        };
        tokio::select! {
            () = shutdown.clone().wait() => return Ok(()),
            done = passes => done?,
        }
    }
}
