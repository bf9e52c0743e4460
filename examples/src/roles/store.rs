//! `thanos store`: the StoreAPI over the blocks of a bucket.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use clap::Args;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use thanos_bucket::fetch::FetchOptions;
use thanos_bucket::gateway::{Gateway, GatewayOptions};
use thanos_core::Result;
use thanos_core::budget::MemoryBudget;

use crate::flags::{BucketFlags, GrpcFlags, HttpFlags, bytes, duration};
use crate::process::Process;
use crate::shutdown::Shutdown;

/// How long the first sync may fail before the process gives up, and how often it is tried.
const FIRST_SYNC_TIMEOUT: Duration = Duration::from_secs(30);
const FIRST_SYNC_RETRY: Duration = Duration::from_secs(10);

/// Flags of `thanos store`.
#[derive(Debug, Clone, Args)]
pub struct StoreFlags {
    #[command(flatten)]
    http: HttpFlags,
    #[command(flatten)]
    grpc: GrpcFlags,
    #[command(flatten)]
    bucket: BucketFlags,
    /// Local data directory used for caching purposes (index-header); it may be removed while the process is down.
    #[arg(long, value_name = "DIR", default_value = "./data")]
    data_dir: PathBuf,
    /// Repeat interval for syncing the blocks between local and remote view.
    #[arg(long, value_name = "DURATION", default_value = "15m", value_parser = duration)]
    sync_block_duration: Duration,
    /// Number of blocks that are opened at once.
    #[arg(long, value_name = "N", default_value_t = 20)]
    block_sync_concurrency: usize,
    /// Number of block metadata objects that are read at once.
    #[arg(long, value_name = "N", default_value_t = 32)]
    block_meta_fetch_concurrency: usize,
    /// The most memory that postings and series of all requests may hold at once.
    #[arg(id = "store.memory-limit", long = "store.memory-limit", value_name = "BYTES", default_value = "2GB", value_parser = bytes)]
    memory_limit: u64,
}

#[derive(Debug, Clone, Default)]
struct StoreMetrics {
    synced: Family<[(&'static str, &'static str); 1], Gauge>,
    loaded: Gauge,
    syncs: Counter,
    failures: Counter,
}

impl StoreMetrics {
    fn register(&self, registry: &mut Registry) {
        registry.register(
            "thanos_blocks_meta_synced",
            "Number of block metadata synced",
            self.synced.clone(),
        );
        registry.register(
            "thanos_bucket_store_blocks_loaded",
            "Number of currently loaded blocks",
            self.loaded.clone(),
        );
        registry.register(
            "thanos_blocks_meta_syncs",
            "Total blocks metadata synchronization attempts",
            self.syncs.clone(),
        );
        let help = "Total blocks metadata synchronization failures";
        registry.register(
            "thanos_blocks_meta_sync_failures",
            help,
            self.failures.clone(),
        );
    }

    fn set(&self, state: &'static str, blocks: usize) {
        self.synced
            .get_or_create(&[("state", state)])
            .set(i64::try_from(blocks).unwrap_or(i64::MAX));
    }
}

/// Runs the role until it is told to stop.
///
/// # Errors
///
/// A wrong flag, an address in use, or a bucket that cannot be read at the start.
pub async fn run(flags: StoreFlags) -> Result<()> {
    let bucket = flags.bucket.open()?;
    let options = GatewayOptions {
        fetch: FetchOptions {
            concurrency: flags.block_meta_fetch_concurrency,
        },
        sync_concurrency: flags.block_sync_concurrency,
        data_dir: Some(flags.data_dir),
        budget: MemoryBudget::new("--store.memory-limit", flags.memory_limit),
        ..GatewayOptions::default()
    };
    let gateway = Arc::new(Gateway::new(bucket, options));
    let metrics = StoreMetrics::default();
    let registered = metrics.clone();
    let mut process = Process::start("store", &flags.http, Router::new(), |registry| {
        registered.register(registry)
    })
    .await?;

    tokio::select! {
        () = process.shutdown().wait() => return process.run().await,
        synced = first_sync(&gateway, &metrics) => synced?,
    }
    process
        .serve_store(&flags.grpc, Arc::clone(&gateway) as _)
        .await?;
    process.spawn(keep_synced(
        gateway,
        metrics,
        flags.sync_block_duration,
        process.shutdown(),
    ));
    process.ready().await;
    process.run().await
}

async fn first_sync(gateway: &Gateway, metrics: &StoreMetrics) -> Result<()> {
    let attempts = FIRST_SYNC_TIMEOUT.as_secs() / FIRST_SYNC_RETRY.as_secs();
    for _ in 1..attempts {
        match sync(gateway, metrics).await {
            Err(error) if error.is_retryable() => {
                tracing::warn!(%error, "first sync failed, will retry");
                tokio::time::sleep(FIRST_SYNC_RETRY).await;
            }
            outcome => return outcome,
        }
    }
    sync(gateway, metrics).await
}

async fn sync(gateway: &Gateway, metrics: &StoreMetrics) -> Result<()> {
    metrics.syncs.inc();
    let report = gateway.sync().await.inspect_err(|_| {
        metrics.failures.inc();
    })?;
    let is_partial = |error: &&thanos_core::Error| error.kind() == thanos_core::ErrorKind::NotFound;
    let partial = report.failed.values().filter(is_partial).count();
    metrics.set("loaded", report.loaded);
    metrics.set("no-meta-json", partial);
    metrics.set("corrupted-meta-json", report.failed.len() - partial);
    metrics
        .loaded
        .set(i64::try_from(report.loaded).unwrap_or(i64::MAX));
    for (block, error) in &report.failed {
        tracing::warn!(%block, %error, "block is not served");
    }
    tracing::info!(
        loaded = report.loaded,
        failed = report.failed.len(),
        "synchronized block metadata"
    );
    Ok(())
}

async fn keep_synced(
    gateway: Arc<Gateway>,
    metrics: StoreMetrics,
    interval: Duration,
    shutdown: Shutdown,
) -> Result<()> {
    loop {
        tokio::select! {
            () = shutdown.clone().wait() => return Ok(()),
            () = tokio::time::sleep(interval) => {}
        }
        let synced = tokio::select! {
            () = shutdown.clone().wait() => return Ok(()),
            synced = sync(&gateway, &metrics) => synced,
        };
        if let Err(error) = synced {
            tracing::error!(%error, "sync failed, the blocks known before are still served");
        }
    }
}
