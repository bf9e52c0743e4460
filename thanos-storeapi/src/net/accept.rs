//! Connections of a server as they come: accepted, encrypted if they are to be, and with who the other side is.
//!
//! Handshakes run beside each other, each for a limited time. There is room for a limited number of them: when it is
//! taken, the oldest ends, because it is the slowest. So whoever opens connections and says nothing cannot keep others
//! out. What fails of one connection fails for that one, and a listener that cannot accept (too many open files) is asked
//! again after a pause.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use futures::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinHandle};
use tonic::transport::server::{Connected, TcpConnectInfo};

use super::first_bytes::FirstBytes;
use super::pings::PingGuard;
#[cfg(feature = "tls")]
use crate::net::tls::PeerCertificate;

/// How long a listener is left alone after it failed, at first and at most. Source: Go `net/http.Server.Serve`.
const PAUSE_MIN: Duration = Duration::from_millis(5);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// How many finished connections wait for the server to take them.
const READY_MAX: usize = 16;

/// How connections are encrypted.
#[derive(Clone)]
pub enum Security {
    /// Not at all.
    Plain,
    /// All alike.
    #[cfg(feature = "tls")]
    Fixed(std::sync::Arc<rustls::ServerConfig>),
    /// Each as this says when it comes; `None` means not at all, an error that it cannot be served.
    #[cfg(feature = "tls")]
    Asked(std::sync::Arc<AskSecurity>),
}

/// Says how the next connection is encrypted.
#[cfg(feature = "tls")]
pub type AskSecurity =
    dyn Fn() -> thanos_core::Result<Option<std::sync::Arc<rustls::ServerConfig>>> + Send + Sync;

impl std::fmt::Debug for Security {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Plain => "Plain",
            #[cfg(feature = "tls")]
            Self::Fixed(_) => "Fixed",
            #[cfg(feature = "tls")]
            Self::Asked(_) => "Asked",
        })
    }
}

/// How many handshakes run at once, and for how long; and how long clients may be silent after theirs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handshakes {
    /// The most at once.
    pub count_max: usize,
    /// The longest that one may take.
    pub timeout: Duration,
    /// How long the first bytes of a request may take to come after that.
    pub first_bytes_timeout: Duration,
}

impl Default for Handshakes {
    fn default() -> Self {
        Self {
            count_max: 1024,
            timeout: Duration::from_secs(10),
            first_bytes_timeout: Duration::from_secs(60),
        }
    }
}

/// A connection after its handshake.
pub struct Connection {
    io: Box<dyn Duplex>,
    info: ConnectionInfo,
}

trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

/// Who the sides of a connection are.
#[derive(Debug, Clone)]
pub struct ConnectionInfo {
    /// Our address.
    pub local: Option<SocketAddr>,
    /// The client's address.
    pub peer: SocketAddr,
    /// The certificate that the client has shown.
    #[cfg(feature = "tls")]
    pub certificate: Option<PeerCertificate>,
}

impl Connection {
    /// Returns the connection, which ends when its client asks more often than once in `interval_min` whether the server
    /// is alive (pings of HTTP/2).
    #[must_use]
    pub fn with_pings_limited(self, interval_min: Duration) -> Self {
        Self {
            io: Box::new(PingGuard::new(self.io, interval_min)),
            info: self.info,
        }
    }

    /// Returns the connection, which ends when its client says nothing for so long.
    fn heard_within(self, timeout: Duration) -> Self {
        Self {
            io: Box::new(FirstBytes::new(self.io, timeout)),
            info: self.info,
        }
    }

    /// Returns who the sides are.
    pub fn info(&self) -> &ConnectionInfo {
        &self.info
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.info.fmt(f)
    }
}

/// Returns the connections to `listener`, which close when the stream is dropped before they were taken. Must be
/// called on a runtime.
pub fn incoming(listener: TcpListener, security: Security, handshakes: Handshakes) -> Incoming {
    let (ready, connections) = mpsc::channel(READY_MAX);
    let accepting = tokio::spawn(accept_all(listener, security, handshakes, ready));
    Incoming {
        connections,
        accepting,
    }
}

/// A stream of connections; see [`incoming`].
#[derive(Debug)]
pub struct Incoming {
    connections: mpsc::Receiver<Connection>,
    accepting: JoinHandle<()>,
}

impl Stream for Incoming {
    type Item = Connection;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Connection>> {
        self.connections.poll_recv(cx)
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept_all(
    listener: TcpListener,
    security: Security,
    handshakes: Handshakes,
    ready: mpsc::Sender<Connection>,
) {
    let mut running = Running::default();
    let mut pause = PAUSE_MIN;
    loop {
        match listener.accept().await {
            Ok((tcp, peer)) => {
                pause = PAUSE_MIN;
                // Frames are written whole; waiting for more to send only delays them.
                let _ = tcp.set_nodelay(true);
                let (security, ready) = (security.clone(), ready.clone());
                running.start(handshakes.count_max, async move {
                    let made =
                        tokio::time::timeout(handshakes.timeout, secure(tcp, peer, security));
                    if let Ok(Some(connection)) = made.await {
                        let connection = connection.heard_within(handshakes.first_bytes_timeout);
                        // The server is gone when nobody receives.
                        let _ = ready.send(connection).await;
                    }
                });
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "accepting a connection failed, will retry");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
    }
}

fn is_of_one_connection(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted
    )
}

/// The handshakes under way, oldest first; they end with this.
#[derive(Debug, Default)]
struct Running(VecDeque<AbortHandle>);

impl Running {
    fn start(&mut self, count_max: usize, handshake: impl Future<Output = ()> + Send + 'static) {
        if self.0.len() >= count_max {
            self.0.retain(|one| !one.is_finished());
        }
        if self.0.len() >= count_max
            && let Some(oldest) = self.0.pop_front()
        {
            tracing::debug!("too many handshakes at once, the oldest ends");
            oldest.abort();
        }
        self.0.push_back(tokio::spawn(handshake).abort_handle());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        for handshake in &self.0 {
            handshake.abort();
        }
    }
}

#[cfg(not(feature = "tls"))]
async fn secure(tcp: TcpStream, peer: SocketAddr, security: Security) -> Option<Connection> {
    let local = tcp.local_addr().ok();
    let Security::Plain = security;
    Some(Connection {
        io: Box::new(tcp),
        info: ConnectionInfo { local, peer },
    })
}

#[cfg(feature = "tls")]
async fn secure(tcp: TcpStream, peer: SocketAddr, security: Security) -> Option<Connection> {
    let local = tcp.local_addr().ok();
    let config = match security {
        Security::Plain => None,
        Security::Fixed(config) => Some(config),
        Security::Asked(ask) => match ask() {
            Ok(config) => config,
            Err(error) => {
                tracing::warn!(%peer, %error, "a connection cannot be served");
                return None;
            }
        },
    };
    let mut info = ConnectionInfo {
        local,
        peer,
        certificate: None,
    };
    let Some(config) = config else {
        let io = Box::new(tcp);
        return Some(Connection { io, info });
    };
    match tokio_rustls::TlsAcceptor::from(config).accept(tcp).await {
        Ok(io) => {
            info.certificate = PeerCertificate::of(io.get_ref().1.peer_certificates());
            let io = Box::new(io);
            Some(Connection { io, info })
        }
        Err(error) => {
            tracing::debug!(%peer, %error, "TLS handshake failed");
            None
        }
    }
}

/// Tells `request`, in the extensions where tonic and we look for them, who has sent it.
pub(crate) async fn introduce(mut request: Request, next: Next) -> Response {
    let extensions = request.extensions_mut();
    if let Some(info) = extensions.remove::<ConnectionInfo>() {
        extensions.insert(TcpConnectInfo {
            local_addr: info.local,
            remote_addr: Some(info.peer),
        });
        #[cfg(feature = "tls")]
        if let Some(certificate) = info.certificate {
            extensions.insert(certificate);
        }
    }
    next.run(request).await
}

impl Connected for Connection {
    type ConnectInfo = ConnectionInfo;

    fn connect_info(&self) -> ConnectionInfo {
        self.info.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}
