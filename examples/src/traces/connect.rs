//! Encrypted connections to a collector that speaks gRPC.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::http::Uri;
use hyper_util::rt::TokioIo;
use thanos_core::{Error, Result};
use thanos_storeapi::net::tls::TlsClient;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tower::Service;

/// Opens encrypted connections.
#[derive(Debug, Clone)]
pub(super) struct Encrypted {
    tls: TlsClient,
}

impl Encrypted {
    pub(super) fn new(tls: TlsClient) -> Self {
        Self { tls }
    }
}

impl Service<Uri> for Encrypted {
    type Response = TokioIo<TlsStream<TcpStream>>;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let tls = self.tls.clone();
        Box::pin(async move {
            let host = uri.host().unwrap_or_default();
            let port = uri.port_u16().unwrap_or(443);
            let plain_host = host.trim_start_matches('[').trim_end_matches(']');
            let tcp = TcpStream::connect((plain_host, port)).await?;
            tcp.set_nodelay(true)?;
            Ok(TokioIo::new(tls.handshake(host, tcp).await?))
        })
    }
}
