//! How a peer is connected to.

use std::fmt;

use thanos_core::error::{Error, Result};
use tonic::transport::{Channel, Endpoint};

use super::ClientSettings;
use crate::net::compress::{MessageLimits, Peer};

/// Returns what `settings` say about the peer at `address`.
///
/// # Errors
///
/// `Invalid` when the address is not `host:port`.
pub(super) fn endpoint(address: &str, settings: &ClientSettings) -> Result<Endpoint> {
    let invalid =
        |what: &dyn fmt::Display| Error::invalid(format!("store address {address:?}: {what}"));
    let scheme = scheme(settings);
    let endpoint = Endpoint::from_shared(format!("{scheme}://{address}"))
        .map_err(|error| invalid(&error).with_source(error))?;
    let uri = endpoint.uri();
    if uri.host().is_none_or(str::is_empty) || uri.port().is_none() || uri.path() != "/" {
        return Err(invalid(&"not host:port"));
    }
    Ok(endpoint
        .connect_timeout(settings.connect_timeout)
        .http2_keep_alive_interval(settings.keepalive_interval)
        .keep_alive_timeout(settings.keepalive_timeout)
        .initial_stream_window_size(settings.stream_window_bytes)
        .initial_connection_window_size(settings.connection_window_bytes)
        .http2_max_header_list_size(settings.header_list_bytes_max)
        .tcp_nodelay(true))
}

#[cfg(not(feature = "tls"))]
fn scheme(_settings: &ClientSettings) -> &'static str {
    "http"
}

#[cfg(feature = "tls")]
fn scheme(settings: &ClientSettings) -> &'static str {
    match settings.tls {
        Some(_) => "https",
        None => "http",
    }
}

/// Returns a connection that is made with its first call. Must be called on a runtime.
pub(super) fn peer(endpoint: &Endpoint, settings: &ClientSettings) -> Peer {
    let limits = MessageLimits {
        sent_bytes_max: settings.message_bytes_max,
        whole_bytes_max: settings.decompressed_bytes_max,
    };
    Peer::new(channel(endpoint, settings), settings.compression, limits)
}

#[cfg(not(feature = "tls"))]
fn channel(endpoint: &Endpoint, _settings: &ClientSettings) -> Channel {
    endpoint.connect_lazy()
}

#[cfg(feature = "tls")]
fn channel(endpoint: &Endpoint, settings: &ClientSettings) -> Channel {
    match &settings.tls {
        None => endpoint.connect_lazy(),
        Some(tls) => {
            endpoint.connect_with_connector_lazy(encrypted::Dialer::new(tls.clone(), settings))
        }
    }
}

#[cfg(feature = "tls")]
mod encrypted {
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use hyper_util::client::legacy::connect::HttpConnector;
    use hyper_util::rt::TokioIo;
    use thanos_core::error::{Error, Result};
    use tokio::net::TcpStream;
    use tokio_rustls::client::TlsStream;
    use tonic::codegen::Service;
    use tonic::codegen::http::Uri;

    use super::super::ClientSettings;
    use crate::net::tls::TlsClient;

    /// Opens encrypted connections. How long that may take is the endpoint's to say.
    pub(super) struct Dialer {
        tcp: HttpConnector,
        tls: TlsClient,
    }

    impl Dialer {
        pub(super) fn new(tls: TlsClient, settings: &ClientSettings) -> Self {
            let mut tcp = HttpConnector::new();
            tcp.enforce_http(false);
            tcp.set_nodelay(true);
            tcp.set_connect_timeout(Some(settings.connect_timeout));
            Self { tcp, tls }
        }
    }

    impl Service<Uri> for Dialer {
        type Response = TokioIo<TlsStream<TcpStream>>;
        type Error = Error;
        type Future = Pin<Box<dyn Future<Output = Result<Self::Response>> + Send>>;

        fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
            self.tcp.poll_ready(cx).map_err(unreachable)
        }

        fn call(&mut self, uri: Uri) -> Self::Future {
            let tcp = self.tcp.call(uri.clone());
            let tls = self.tls.clone();
            Box::pin(async move {
                let tcp = tcp.await.map_err(unreachable)?.into_inner();
                let host = uri.host().unwrap_or_default();
                Ok(TokioIo::new(tls.handshake(host, tcp).await?))
            })
        }
    }

    fn unreachable(error: impl std::error::Error + Send + Sync + 'static) -> Error {
        Error::unavailable(error.to_string()).with_source(error)
    }
}
