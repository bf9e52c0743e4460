//! `thanos sidecar`: the StoreAPI and the other APIs over the Prometheus beside it, and its blocks into a bucket.

mod flags;
mod heartbeat;
mod metrics;
mod reload;
mod upload;

use std::sync::Arc;

use axum::Router;
use thanos_core::{Error, Result};
use thanos_storeapi::limits::LimitedStore;
use thanos_storeapi::matchers::NewMatchers;
use thanos_storeapi::prometheus::{PrometheusApis, PrometheusStore};

pub use self::flags::SidecarFlags;
use self::heartbeat::Heartbeat;
use self::metrics::SidecarMetrics;
use self::upload::Uploads;
use crate::process::Process;

/// Runs the role until it is told to stop.
///
/// # Errors
///
/// A wrong flag, an address in use, or a Prometheus without external labels.
pub async fn run(flags: SidecarFlags) -> Result<()> {
    flags.validate()?;
    let metrics = SidecarMetrics::default();
    let server = flags.prometheus.server(&metrics)?;
    let mut reloader = flags
        .reload
        .reloader(server.client().clone(), &metrics.reload)?;
    let store = PrometheusStore::new(server.clone(), flags.store_options(&metrics));
    let store = LimitedStore::new(Arc::new(store), flags.limits(), metrics.limits.clone());
    let apis = PrometheusApis::new(server.clone()).apis();
    let uploads = flags.upload.open(&metrics.upload)?;

    let mut process = Process::start("sidecar", &flags.servers, Router::new(), |registry| {
        metrics.register(registry);
    })
    .await?;
    // Before Prometheus is waited for: it may wait for its configuration.
    reloader.begin().await?;
    process.spawn(reload::keep(reloader, process.shutdown()));
    let heartbeat = Heartbeat {
        server: server.clone(),
        interval: flags.prometheus.get_config_interval,
        timeout: flags.prometheus.get_config_timeout,
        metrics: metrics.heartbeat.clone(),
    };
    tokio::select! {
        () = process.shutdown().wait() => return process.run().await,
        begun = begin(&heartbeat, uploads.as_ref()) => begun?,
    }
    process
        .serve_component(&flags.servers, Arc::new(store), apis, Arc::new(NewMatchers))
        .await?;
    process.ready().await;
    process.spawn(heartbeat.keep(process.ready_switch(), process.shutdown()));
    if let Some(uploads) = uploads {
        process.spawn(uploads.keep(server, process.shutdown()));
    }
    process.run().await
}

/// Waits for Prometheus, which has not for ever when there is something to upload (row SC-24 of the specification).
async fn begin(heartbeat: &Heartbeat, uploads: Option<&Uploads>) -> Result<()> {
    let Some(uploads) = uploads else {
        return heartbeat.begin().await;
    };
    let ready = async {
        heartbeat.check(uploads).await;
        heartbeat.begin().await
    };
    let limit = uploads.ready_timeout;
    tokio::time::timeout(limit, ready)
        .await
        .unwrap_or_else(|_| {
            let message = format!("aborting as no external labels found after waiting {limit:?}");
            Err(Error::unavailable(message))
        })
}
