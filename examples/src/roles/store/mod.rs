//! `thanos store`: the StoreAPI over the blocks of a bucket.

mod caches;
mod flags;
mod sync;

use std::sync::Arc;

use axum::Router;
use thanos_bucket::fetch::FetchMetrics;
use thanos_bucket::gateway::{Gateway, GatewayMetrics, HeaderMetrics};
use thanos_bucket::http::BlockViewer;
use thanos_bucket::layers::BucketMetrics;
use thanos_bucket::manifest::ManifestMode;
use thanos_core::Result;

pub use self::flags::StoreFlags;
use self::sync::Syncer;
use crate::process::Process;

/// Runs the role until it is told to stop.
///
/// # Errors
///
/// A wrong flag, an address in use, or a bucket that cannot be read at the start.
pub async fn run(flags: StoreFlags) -> Result<()> {
    let (gateway_metrics, fetch_metrics) = (GatewayMetrics::default(), FetchMetrics::default());
    let bucket_metrics = BucketMetrics::default();
    let bucket = flags.bucket.open(bucket_metrics.clone())?;
    let caches = flags.caches.open(bucket.clone()).await?;
    let header_metrics = HeaderMetrics::default();
    let options = flags.gateway(
        &caches,
        gateway_metrics.clone(),
        fetch_metrics.clone(),
        header_metrics.clone(),
    )?;
    let viewer = flags.viewer(bucket, options.compute.clone());
    let publishes = options
        .manifest
        .is_some_and(|manifest| manifest.mode == ManifestMode::Publish);
    let gateway = Arc::new(Gateway::new(caches.bucket.clone(), options));

    let router = viewer
        .as_ref()
        .map_or_else(Router::new, BlockViewer::router);
    let mut process = Process::start("store", &flags.http, router, |registry| {
        bucket_metrics.register(registry);
        gateway_metrics.register(registry);
        caches.register(registry);
        fetch_metrics.register(registry);
        header_metrics.register(registry);
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
        .serve_store_with(&flags.grpc, gateway, matchers)
        .await?;
    let interval = flags.sync.sync_block_duration;
    process.spawn(syncer.keep(first, interval, process.shutdown()));
    process.ready().await;
    process.run().await
}
