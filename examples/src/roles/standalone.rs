//! `thanos standalone`: everything in one process over a local directory of blocks.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use clap::{ArgAction, Args};
use thanos_core::Result;
use thanos_core::block::Blocks;
use thanos_core::budget::MemoryBudget;
use thanos_core::labels::Labels;
use thanos_storeapi::limits::SelectLimits;
use thanos_storeapi::proxy::{Endpoint, EndpointSet, Proxy, ProxyOptions};
use thanos_storeapi::store::Store;
use thanos_storeapi::stores::{LocalStore, LocalStoreOptions};
use thanos_storeapi::tenancy::TenantStore;

use crate::about::About;
use crate::api::{self, ApiFlags};
use crate::flags::{ServerFlags, bytes, duration, label};
use crate::process::Process;
use crate::shutdown::Shutdown;

/// Flags of `thanos standalone`.
#[derive(Debug, Clone, Args)]
pub struct StandaloneFlags {
    #[command(flatten)]
    servers: ServerFlags,
    #[command(flatten)]
    api: ApiFlags,
    /// Directory of blocks: a Prometheus data directory or the directory of a bucket.
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// External labels of blocks whose meta.json has none (repeated): name="value".
    #[arg(id = "label", long = "label", value_name = "NAME=\"VALUE\"", action = ArgAction::Append, value_parser = label)]
    labels: Vec<(String, String)>,
    /// How often the directory is looked through for new blocks.
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = duration)]
    sync_block_duration: Duration,
    /// The most memory that series on their way to the engine may hold at once.
    #[arg(id = "store.memory-limit", long = "store.memory-limit", value_name = "BYTES", default_value = "1GB", value_parser = bytes)]
    memory_limit: u64,
}

/// Runs the role until it is told to stop.
///
/// # Errors
///
/// A wrong flag, an address in use, or a directory that cannot be read.
pub async fn run(flags: StandaloneFlags, about: About) -> Result<()> {
    let budget = MemoryBudget::new("--store.memory-limit", flags.memory_limit);
    let options = LocalStoreOptions {
        component: "store".to_owned(),
        external_labels: Labels::from_pairs(flags.labels),
        budget: budget.clone(),
    };
    let store = Arc::new(LocalStore::new(&open(&flags.data_dir)?, options));
    let endpoints = EndpointSet::new([Endpoint::local("local", Arc::clone(&store) as _)]);
    let proxy = Proxy::new(
        endpoints,
        ProxyOptions {
            budget,
            ..ProxyOptions::default()
        },
    );

    let served = api::served(
        &flags.api,
        SelectLimits::default(),
        proxy,
        about,
        Router::new(),
    )?;
    let register = |registry: &mut _| served.metrics.register(registry);
    let mut process = Process::start("standalone", &flags.servers, served.site, register).await?;
    let shared = Arc::clone(&store);
    let asked: Arc<dyn Store> = match flags.api.enforced_label() {
        Some(label) => Arc::new(TenantStore::new(shared, label)),
        None => shared,
    };
    process.serve_store(&flags.servers, asked).await?;
    process.spawn(keep_synced(
        store,
        flags.data_dir,
        flags.sync_block_duration,
        process.shutdown(),
    ));
    process.ready().await;
    process.run().await
}

fn open(directory: &Path) -> Result<Blocks> {
    let blocks = Blocks::open_dir(directory)?;
    for refused in blocks.refused() {
        tracing::warn!(directory = %refused.dir.display(), error = %refused.error, "cannot open block, answers say that it is missing");
    }
    tracing::info!(directory = %directory.display(), blocks = blocks.blocks().len(), "opened blocks");
    Ok(blocks)
}

async fn keep_synced(
    store: Arc<LocalStore>,
    directory: PathBuf,
    interval: Duration,
    shutdown: Shutdown,
) -> Result<()> {
    loop {
        tokio::select! {
            () = shutdown.clone().wait() => return Ok(()),
            () = tokio::time::sleep(interval) => {}
        }
        let directory = directory.clone();
        match tokio::task::spawn_blocking(move || open(&directory)).await {
            Ok(Ok(blocks)) => store.replace(&blocks),
            Ok(Err(error)) => {
                tracing::error!(%error, "cannot read the directory, the blocks known before are still served")
            }
            Err(error) => tracing::error!(%error, "looking for new blocks failed"),
        }
    }
}
