//! `thanos query`: Prometheus' HTTP API and the StoreAPI over many stores.

pub mod admission;
pub mod distributed;
mod endpoints;
mod proxying;
mod stores;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use thanos_core::Result;
use thanos_storeapi::endpoints::EndpointMetrics;
use thanos_storeapi::limits::LimitedStore;
use thanos_storeapi::matchers::NewMatchers;
use thanos_storeapi::proxy::Proxy;
use thanos_storeapi::store::Store;
use thanos_storeapi::tenancy::TenantStore;

use crate::about::About;
use crate::api::{self, ApiFlags};
use crate::flags::{GrpcClientFlags, ServerFlags};
use crate::process::Process;
use crate::requests::ClientCalls;
use endpoints::EndpointFlags;
use proxying::ProxyFlags;

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
    #[command(flatten)]
    proxy: ProxyFlags,
}

/// Runs the role until it is told to stop.
///
/// # Errors
///
/// A wrong flag or an address in use.
pub async fn run(flags: QueryFlags, about: About) -> Result<()> {
    let metrics = EndpointMetrics::default();
    let calls = ClientCalls::default();
    let base = calls.counted(flags.grpc_client.settings()?);
    let discovery =
        flags
            .endpoints
            .discovery(&flags.grpc_client.config(), &base, metrics.clone())?;
    let selector = flags.proxy.selector()?;
    let options = flags
        .proxy
        .options(selector.clone(), flags.endpoints.info_timeout());
    let proxy = Proxy::new(discovery.endpoints().clone(), options);
    let limits = flags.proxy.limits();
    let stores = stores::routes(Arc::clone(&discovery), selector);
    let served = api::served(&flags.api, limits, proxy.clone(), about, stores)?;
    let counted = served.metrics;
    let labels = flags.endpoints.connection_labels();
    let register = |registry: &mut _| {
        metrics.register(registry, "query", &labels);
        counted.register(registry);
        calls.register(registry);
    };
    let mut process = Process::start("query", &flags.servers, served.site, register).await?;

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
    let timeout = flags.proxy.response_timeout().unwrap_or(FIRST_ROUND);
    if tokio::time::timeout(timeout, discovery.first_round())
        .await
        .is_err()
    {
        tracing::warn!(
            ?timeout,
            "timeout waiting for first endpoint update before marking gRPC as ready"
        );
    }
    let store: Arc<dyn Store> = match flags.api.enforced_label() {
        Some(label) => Arc::new(TenantStore::new(Arc::new(proxy), label)),
        None => Arc::new(proxy),
    };
    let store = LimitedStore::new(store, limits, counted.limits());
    let (store, matchers) = (Arc::new(store), Arc::new(NewMatchers));
    process
        .serve_component(&flags.servers, store, served.apis, matchers)
        .await?;
    process.ready().await;
    process.run().await
}
