//! `thanos query`: Prometheus' HTTP API and the StoreAPI over many stores.

pub mod admission;
pub mod distributed;

use std::sync::Arc;
use std::time::Duration;

use clap::{ArgAction, Args};
use thanos_core::budget::MemoryBudget;
use thanos_core::labels::Labels;
use thanos_core::{Error, Result};
use thanos_storeapi::apis::Apis;
use thanos_storeapi::client::{ClientSettings, RemoteStore};
use thanos_storeapi::matchers::NewMatchers;
use thanos_storeapi::proxy::{Endpoint, EndpointInfo, EndpointSet, Proxy, ProxyOptions};

use crate::about::About;
use crate::api::{self, ApiFlags};
use crate::flags::{GrpcClientFlags, ServerFlags, bytes, duration, label};
use crate::process::Process;
use crate::shutdown::Shutdown;

/// How often the stores are asked what they hold.
const REFRESH_INTERVAL: Duration = Duration::from_secs(5);

/// Flags of `thanos query`.
#[derive(Debug, Clone, Args)]
pub struct QueryFlags {
    #[command(flatten)]
    servers: ServerFlags,
    #[command(flatten)]
    api: ApiFlags,
    #[command(flatten)]
    grpc_client: GrpcClientFlags,
    /// Addresses of statically configured Thanos API servers (repeatable): host:port.
    #[arg(id = "endpoint", long = "endpoint", value_name = "ENDPOINT", action = ArgAction::Append)]
    endpoints: Vec<String>,
    /// Like --endpoint; kept for compatibility: here every endpoint that fails is named in the answer.
    #[arg(id = "endpoint-strict", long = "endpoint-strict", value_name = "ENDPOINT", action = ArgAction::Append)]
    strict_endpoints: Vec<String>,
    /// Query selector labels that will be exposed in info endpoint (repeated): name="value".
    #[arg(id = "selector-label", long = "selector-label", value_name = "NAME=\"VALUE\"", action = ArgAction::Append, value_parser = label)]
    selector_labels: Vec<(String, String)>,
    /// If a store doesn't send any data in this specified duration then it is ignored and partial data is returned
    /// if it's enabled; 0 disables the timeout.
    #[arg(id = "store.response-timeout", long = "store.response-timeout", value_name = "DURATION", default_value = "0ms", value_parser = duration)]
    response_timeout: Duration,
    /// Timeout of gRPC Info requests.
    #[arg(id = "endpoint.info-timeout", long = "endpoint.info-timeout", value_name = "DURATION", default_value = "5s", value_parser = duration, hide = true)]
    info_timeout: Duration,
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
    let endpoints = EndpointSet::new(connect(
        flags.endpoints.iter().chain(&flags.strict_endpoints),
        &flags.grpc_client.settings()?,
    )?);
    let options = ProxyOptions {
        selector_labels: Labels::from_pairs(flags.selector_labels),
        response_timeout: Some(flags.response_timeout).filter(|timeout| !timeout.is_zero()),
        info_timeout: Some(flags.info_timeout),
        budget: MemoryBudget::new("--store.memory-limit", flags.memory_limit),
        ..ProxyOptions::default()
    };
    let proxy = Proxy::new(endpoints.clone(), options);
    let (router, query) = api::served(&flags.api, proxy.clone(), about)?;
    let apis = Apis {
        query: Some(query),
        ..Apis::default()
    };
    let mut process = Process::start("query", &flags.servers, router, |_| {}).await?;

    // Ready means that every store was asked once (row Q-37 of the specification).
    endpoints.refresh(Some(flags.info_timeout)).await;
    log_failures(&endpoints);
    process
        .serve_component(&flags.servers, Arc::new(proxy), apis, Arc::new(NewMatchers))
        .await?;
    process.spawn(keep_fresh(
        endpoints,
        flags.info_timeout,
        process.shutdown(),
    ));
    process.ready().await;
    process.run().await
}

fn connect<'a>(
    addresses: impl Iterator<Item = &'a String>,
    settings: &ClientSettings,
) -> Result<Vec<Arc<Endpoint>>> {
    addresses
        .map(|address| {
            if let Some((kind, _)) = address
                .split_once('+')
                .filter(|(kind, _)| kind.starts_with("dns"))
            {
                return Err(Error::invalid(format!(
                    "--endpoint {address}: {kind}+ addresses are not supported yet"
                )));
            }
            let store = RemoteStore::new(address, settings.clone())?;
            let apis = store.apis();
            let address = address.as_str();
            Ok(Endpoint::remote_component(address, Arc::new(store), apis))
        })
        .collect()
}

fn log_failures(endpoints: &EndpointSet) {
    for endpoint in endpoints.current().iter() {
        if let EndpointInfo::Failed { reason } = endpoint.info() {
            tracing::warn!(
                endpoint = endpoint.name(),
                error = reason,
                "update of endpoint failed"
            );
        }
    }
}

async fn keep_fresh(endpoints: EndpointSet, timeout: Duration, shutdown: Shutdown) -> Result<()> {
    loop {
        tokio::select! {
            () = shutdown.clone().wait() => return Ok(()),
            () = tokio::time::sleep(REFRESH_INTERVAL) => {}
        }
        endpoints.refresh(Some(timeout)).await;
        log_failures(&endpoints);
    }
}
