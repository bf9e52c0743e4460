//! The HTTP server of a role.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use thanos_core::{Error, Result};
use tokio::net::TcpListener;

use crate::shutdown::Shutdown;

/// Opens the address of a `--http-address` or `--grpc-address` flag.
///
/// # Errors
///
/// `Unavailable` with the address when it cannot be opened.
pub async fn listen(address: &str) -> Result<(TcpListener, SocketAddr)> {
    let with_address =
        |error: std::io::Error| Error::from(error).context(format!("listen on {address}"));
    let listener = TcpListener::bind(address).await.map_err(with_address)?;
    let bound = listener.local_addr().map_err(with_address)?;
    Ok((listener, bound))
}

/// Serves `router` until `shutdown`, then lets open requests finish for `grace_period`.
///
/// # Errors
///
/// `Unavailable` when the listener fails.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    shutdown: Shutdown,
    grace_period: Duration,
) -> Result<()> {
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    let server = axum::serve(listener, service).with_graceful_shutdown(shutdown.clone().wait());
    let too_late = async {
        shutdown.wait().await;
        tokio::time::sleep(grace_period).await;
    };
    tokio::select! {
        result = server => result.map_err(|error| Error::from(error).context("http server")),
        () = too_late => Ok(()),
    }
}
