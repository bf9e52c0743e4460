//! The HTTP server of a role.
//!
//! It waits for nobody for ever: neither for the first bytes of a connection (`net::accept`), nor for the head of a request,
//! nor for its body ([`BodyTimeouts`]).

mod slow_bodies;

use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use futures::StreamExt as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use thanos_core::{Error, Result};
use thanos_storeapi::net::accept::{self, Connection, Handshakes};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tower::ServiceExt as _;

pub use self::slow_bodies::BodyTimeouts;
use crate::shutdown::Shutdown;
use crate::web::Web;

/// How long the head of a request may take to come, and so how long an unused connection of HTTP/1 is kept.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// The most bytes of the headers of a request. Source: Go `net/http.DefaultMaxHeaderBytes`.
const HEAD_BYTES_MAX: u32 = 1 << 20;
/// How often an idle connection of HTTP/2 is asked whether it is alive.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(60);

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

/// Serves `router`, as `web` allows, until `shutdown`; then lets open requests finish for `grace_period`.
///
/// # Errors
///
/// None: what fails of one connection ends that one.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    web: Web,
    shutdown: Shutdown,
    grace_period: Duration,
) -> Result<()> {
    let router = web.guard(router);
    let builder = builder(&web);
    let mut incoming = accept::incoming(listener, web.security(), Handshakes::default());
    let mut open = JoinSet::new();
    let mut stopping = pin!(shutdown.clone().wait());
    loop {
        tokio::select! {
            () = &mut stopping => break,
            Some(connection) = incoming.next() => {
                open.spawn(converse(connection, router.clone(), builder.clone(), shutdown.clone()));
            }
            // Ended ones are taken out as they end.
            Some(_) = open.join_next() => {}
        }
    }
    drop(incoming);
    let all_ended = async { while open.join_next().await.is_some() {} };
    // What is open after that ends with the set.
    let _ = tokio::time::timeout(grace_period, all_ended).await;
    Ok(())
}

fn builder(web: &Web) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX as usize);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEPALIVE_INTERVAL)
        .max_header_list_size(HEAD_BYTES_MAX);
    match web.is_http2() {
        true => builder,
        false => builder.http1_only(),
    }
}

/// Answers the requests of one connection. After `shutdown` it ends with the request that is open.
async fn converse(
    connection: Connection,
    router: Router,
    builder: auto::Builder<TokioExecutor>,
    shutdown: Shutdown,
) {
    let info = connection.info().clone();
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let mut request: Request = request.map(Body::new);
        let extensions = request.extensions_mut();
        extensions.insert(ConnectInfo(info.peer));
        if let Some(certificate) = &info.certificate {
            extensions.insert(certificate.clone());
        }
        router.clone().oneshot(request)
    });
    let mut serving =
        pin!(builder.serve_connection_with_upgrades(TokioIo::new(connection), service));
    let ended = tokio::select! {
        ended = &mut serving => ended,
        () = shutdown.wait() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        // Clients break connections as they like.
        tracing::debug!(%error, "a connection of HTTP ended");
    }
}
