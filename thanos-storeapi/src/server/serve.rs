//! Running a router on a listener with the settings that long streams of large frames want.

use std::net::TcpListener;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use axum::middleware::from_fn;
use futures::StreamExt as _;
use thanos_core::error::{Error, Result};
use tonic::service::Routes;
use tonic::transport::Server;

use crate::net::accept::{self, Handshakes, Security};
use crate::net::compress::{MessageLimits, whole};

/// How connections are served. The defaults are those of the Thanos components.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerSettings {
    /// The most bytes of one received message; Thanos knows no limit but this one of its gRPC library.
    pub message_bytes_max: usize,
    /// The most bytes that one compressed message may grow to.
    pub decompressed_bytes_max: usize,
    /// The most bytes of the headers of one request.
    pub header_list_bytes_max: u32,
    /// How much a client may send ahead on one stream.
    pub stream_window_bytes: u32,
    /// How much a client may send ahead on one connection.
    pub connection_window_bytes: u32,
    /// How often an idle connection is asked whether it is alive.
    pub keepalive_interval: Duration,
    /// How long the answer may take.
    pub keepalive_timeout: Duration,
    /// How often a client may ask whether the server is alive; who asks more often is sent away.
    pub ping_interval_min: Duration,
    /// After this time a connection takes no more calls, so that clients spread over new servers.
    pub connection_age_max: Duration,
    /// With what connections are encrypted, if they are; made for the protocol `h2`.
    #[cfg(feature = "tls")]
    pub tls: Option<crate::net::tls::TlsServer>,
    /// How long open calls may go on after shutdown or the end of the connection's age.
    pub grace_period: Duration,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            message_bytes_max: i32::MAX as usize,
            decompressed_bytes_max: 64 << 20,
            header_list_bytes_max: 64 << 10,
            stream_window_bytes: 1 << 20,
            connection_window_bytes: 4 << 20,
            keepalive_interval: Duration::from_secs(60),
            keepalive_timeout: Duration::from_secs(20),
            ping_interval_min: Duration::from_secs(10),
            connection_age_max: Duration::from_secs(60 * 60),
            #[cfg(feature = "tls")]
            tls: None,
            grace_period: Duration::from_secs(2 * 60),
        }
    }
}

/// Serves `router` on `listener` until `shutdown` resolves; HTTP/1 requests reach it as well.
///
/// After that no connection is taken and open calls have the grace period to end. Must run on a tokio runtime with
/// I/O and time.
///
/// # Errors
///
/// `Unavailable` when the listener cannot be used.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    settings: &ServerSettings,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let ping_interval_min = settings.ping_interval_min;
    let incoming = accept::incoming(listener, security(settings), Handshakes::default()).map(
        move |connection| Ok::<_, std::io::Error>(connection.with_pings_limited(ping_interval_min)),
    );

    let (stop, stopped) = tokio::sync::oneshot::channel();
    let shutdown = async move {
        shutdown.await;
        // The receiver is gone only when the server has ended by itself.
        let _ = stop.send(());
    };
    let grace_over = async {
        match stopped.await {
            Ok(()) => tokio::time::sleep(settings.grace_period).await,
            Err(_) => std::future::pending().await,
        }
    };
    let limits = MessageLimits {
        sent_bytes_max: settings.message_bytes_max,
        whole_bytes_max: settings.decompressed_bytes_max,
    };
    let router = router
        .layer(from_fn(move |request, next| whole(request, next, limits)))
        .layer(from_fn(accept::introduce));
    let serving = builder(settings)
        .add_routes(Routes::from(router))
        .serve_with_incoming_shutdown(incoming, shutdown);
    tokio::select! {
        served = pin!(serving) => served.map_err(|error| {
            Error::unavailable(format!("grpc server: {error}")).with_source(error)
        }),
        () = pin!(grace_over) => {
            tracing::warn!("calls were open at the end of the grace period");
            Ok(())
        }
    }
}

#[cfg(not(feature = "tls"))]
fn security(_settings: &ServerSettings) -> Security {
    Security::Plain
}

#[cfg(feature = "tls")]
fn security(settings: &ServerSettings) -> Security {
    match &settings.tls {
        None => Security::Plain,
        Some(tls) => Security::Fixed(tls.config()),
    }
}

fn builder(settings: &ServerSettings) -> Server {
    Server::builder()
        .accept_http1(true)
        .http2_max_header_list_size(settings.header_list_bytes_max)
        .initial_stream_window_size(settings.stream_window_bytes)
        .initial_connection_window_size(settings.connection_window_bytes)
        .http2_keepalive_interval(Some(settings.keepalive_interval))
        .http2_keepalive_timeout(Some(settings.keepalive_timeout))
        .max_connection_age(settings.connection_age_max)
        .max_connection_age_grace(settings.grace_period)
}
