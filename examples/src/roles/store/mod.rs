//! `thanos store`: the StoreAPI over the blocks of a bucket.

mod caches;
mod fixed;
mod flags;
mod metrics;
mod sync;

use std::sync::Arc;

use axum::Router;
use thanos_bucket::gateway::Gateway;
use thanos_bucket::manifest::ManifestMode;
use thanos_core::Result;

pub use self::flags::StoreFlags;
use self::metrics::StoreMetrics;
use self::sync::Syncer;
use crate::about::About;
use crate::process::Process;

/// Runs the role until it is told to stop.
///
/// # Errors
///
/// A wrong flag, an address in use, or a bucket that cannot be read at the start.
pub async fn run(flags: StoreFlags, about: About) -> Result<()> {
    let metrics = StoreMetrics::default();
    let bucket = flags.bucket.open(metrics.bucket.clone())?;
    let caches = flags.caches.open(bucket.clone()).await?;
    let options = flags.gateway(&caches, &metrics)?;
    let viewer = flags.viewer(bucket, options.compute.clone());
    let publishes = options
        .manifest
        .is_some_and(|manifest| manifest.mode == ManifestMode::Publish);
    let gateway = Arc::new(Gateway::new(caches.bucket.clone(), options));

    let router = viewer.as_ref().map_or_else(Router::new, |viewer| {
        viewer.router().merge(about.router(flags.cors()))
    });
    let mut process = Process::start("store", &flags.servers, router, |registry| {
        metrics.register(registry);
        caches.register(registry);
    })
    .await?;
    let syncer = Syncer {
        gateway: Arc::clone(&gateway),
        viewer,
        publishes,
    };
    let first = tokio::select! {
        () = process.shutdown().wait() => return process.run().await,
        synced = syncer.first() => synced?,
    };
    let matchers = Arc::clone(&caches.matchers);
    process
        .serve_store_with(&flags.servers, gateway, matchers)
        .await?;
    let interval = flags.sync.sync_block_duration;
    process.spawn(syncer.keep(first, interval, process.shutdown()));
    process.ready().await;
    process.run().await
}
