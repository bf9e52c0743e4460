//! `thanos sidecar`: the StoreAPI and the other APIs over the Prometheus beside it, and its blocks into a bucket.

mod flags;
mod heartbeat;
mod metrics;
mod reload;
mod upload;

use std::sync::Arc;

use axum::Router;
use thanos_core::Result;
use thanos_storeapi::limits::LimitedStore;
use thanos_storeapi::matchers::NewMatchers;
use thanos_storeapi::prometheus::{PrometheusApis, PrometheusStore};

pub use self::flags::SidecarFlags;
use self::heartbeat::Heartbeat;
use self::metrics::SidecarMetrics;
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
    let store = PrometheusStore::new(server.clone(), flags.store_options(&metrics));
    let store = LimitedStore::new(Arc::new(store), flags.limits(), metrics.limits.clone());
    let apis = PrometheusApis::new(server.clone()).apis();

    let mut process = Process::start("sidecar", &flags.servers, Router::new(), |registry| {
        metrics.register(registry);
    })
    .await?;
    let heartbeat = Heartbeat {
        server,
        interval: flags.prometheus.get_config_interval,
        timeout: flags.prometheus.get_config_timeout,
        metrics: metrics.heartbeat.clone(),
    };
    tokio::select! {
        () = process.shutdown().wait() => return process.run().await,
        begun = heartbeat.begin() => begun?,
    }
    process
        .serve_component(&flags.servers, Arc::new(store), apis, Arc::new(NewMatchers))
        .await?;
    process.ready().await;
    process.spawn(heartbeat.keep(process.ready_switch(), process.shutdown()));
    process.run().await
}
