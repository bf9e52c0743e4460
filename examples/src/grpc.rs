//! The listener of a gRPC server.

use std::net::{SocketAddr, TcpListener};

use thanos_core::{Error, Result};

/// Opens the address of a `--grpc-address` flag.
///
/// # Errors
///
/// `Unavailable` with the address when it cannot be opened.
pub fn listen(address: &str) -> Result<(TcpListener, SocketAddr)> {
    let with_address =
        |error: std::io::Error| Error::from(error).context(format!("listen on {address}"));
    let listener = TcpListener::bind(address).map_err(with_address)?;
    let bound = listener.local_addr().map_err(with_address)?;
    Ok((listener, bound))
}
