//! `thanos query`: Prometheus' HTTP API and the StoreAPI over many stores.

pub mod admission;
pub mod distributed;
mod endpoints;
mod stores;

use std::sync::Arc;
use std::time::Duration;

use clap::{ArgAction, Args};
use thanos_core::Result;
use thanos_core::budget::MemoryBudget;
use thanos_core::labels::Labels;
use thanos_storeapi::endpoints::EndpointMetrics;
use thanos_storeapi::matchers::NewMatchers;
use thanos_storeapi::proxy::{Proxy, ProxyOptions};

use crate::about::About;
use crate::api::{self, ApiFlags};
use crate::flags::{GrpcClientFlags, ServerFlags, bytes, duration, label};
use crate::process::Process;
use endpoints::EndpointFlags;

/// How long the first round of discovery may keep the role from being ready when stores have no time limit of their own.
const FIRST_ROUND: Duration = Duration::from_secs(30);

/// Flags of `thanos query`.
#[derive(Debug, Clone, Args)]
pub struct QueryFlags {
    #[command(flatten)]
    servers: ServerFlags,
    #[command(flatten)]
    api: ApiFlags,
    #[command(flatten)]
    grpc_client: GrpcClientFlags,
    #[command(flatten)]
    endpoints: EndpointFlags,
    /// Query selector labels that will be exposed in info endpoint (repeated): name="value".
    #[arg(id = "selector-label", long = "selector-label", value_name = "NAME=\"VALUE\"", action = ArgAction::Append, value_parser = label)]
    selector_labels: Vec<(String, String)>,
    /// If a store doesn't send any data in this specified duration then it is ignored and partial data is returned
    /// if it's enabled; 0 disables the timeout.
    #[arg(id = "store.response-timeout", long = "store.response-timeout", value_name = "DURATION", default_value = "0ms", value_parser = duration)]
    response_timeout: Duration,
    /// The most memory that batches on their way from the stores may hold at once.
    #[arg(id = "store.memory-limit", long = "store.memory-limit", value_name = "BYTES", default_value = "1GB", value_parser = bytes)]
    memory_limit: u64,
}

/// Runs the role until it is told to stop.
///
/// # Errors
///
/// A wrong flag or an address in use.
pub async fn run(flags: QueryFlags, about: About) -> Result<()> {
    let metrics = EndpointMetrics::default();
    let base = flags.grpc_client.settings()?;
    let discovery =
        flags
            .endpoints
            .discovery(&flags.grpc_client.config(), &base, metrics.clone())?;
    let response_timeout = Some(flags.response_timeout).filter(|timeout| !timeout.is_zero());
    let options = ProxyOptions {
        selector_labels: Labels::from_pairs(flags.selector_labels),
        response_timeout,
        info_timeout: Some(flags.endpoints.info_timeout()),
        budget: MemoryBudget::new("--store.memory-limit", flags.memory_limit),
        ..ProxyOptions::default()
    };
    let proxy = Proxy::new(discovery.endpoints().clone(), options);
    let (router, apis) = api::served(&flags.api, proxy.clone(), about)?;
    let router = router.merge(stores::routes(Arc::clone(&discovery)));
    let labels = flags.endpoints.connection_labels();
    let register = |registry: &mut _| metrics.register(registry, "query", &labels);
    let mut process = Process::start("query", &flags.servers, router, register).await?;

    let (found, shutdown) = (Arc::clone(&discovery), process.shutdown());
    process.spawn(async move {
        tokio::select! {
            () = found.run() => {}
            () = shutdown.wait() => {}
        }
        Ok(())
    });
    // Ready means that every endpoint was looked up and asked once, or that this took too long (row Q-37 of the
    // specification).
    let timeout = response_timeout.unwrap_or(FIRST_ROUND);
    if tokio::time::timeout(timeout, discovery.first_round())
        .await
        .is_err()
    {
        tracing::warn!(
            ?timeout,
            "timeout waiting for first endpoint update before marking gRPC as ready"
        );
    }
    process
        .serve_component(&flags.servers, Arc::new(proxy), apis, Arc::new(NewMatchers))
        .await?;
    process.ready().await;
    process.run().await
}
