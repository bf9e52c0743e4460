//! Bodies of requests have to come in time: who sends nothing for long, or little for very long, gets 408.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::http::header::CONNECTION;
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use hyper::body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep};

/// How long a server waits for the body of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyTimeouts {
    /// For its next bytes.
    pub idle: Duration,
    /// For all of it. Source: `--web.read-timeout` of Prometheus; Thanos waits for ever.
    pub whole: Duration,
}

impl Default for BodyTimeouts {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(60),
            whole: Duration::from_secs(5 * 60),
        }
    }
}

impl BodyTimeouts {
    /// Returns `router`, which waits no longer than this for what it reads of bodies.
    pub fn bound(self, router: Router) -> Router {
        router.layer(from_fn_with_state(self, in_time))
    }
}

async fn in_time(State(timeouts): State<BodyTimeouts>, request: Request, next: Next) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    let is_late = Arc::new(AtomicBool::new(false));
    let shared = Arc::clone(&is_late);
    let request = request.map(|body| Body::new(Timed::new(body, timeouts, shared)));
    let answer = next.run(request).await;
    if !is_late.load(Ordering::Relaxed) {
        return answer;
    }
    // Whatever was made of half a body. The rest of it is not waited for either.
    let close = [(CONNECTION, HeaderValue::from_static("close"))];
    let text = "the body of the request has not come in time\n";
    (StatusCode::REQUEST_TIMEOUT, close, text).into_response()
}

/// A body that fails when it is late.
#[derive(Debug)]
struct Timed {
    body: Body,
    timeouts: BodyTimeouts,
    /// From when on the reader waits.
    started: Option<Instant>,
    over: Pin<Box<Sleep>>,
    is_waiting: bool,
    is_late: Arc<AtomicBool>,
}

impl Timed {
    fn new(body: Body, timeouts: BodyTimeouts, is_late: Arc<AtomicBool>) -> Self {
        Self {
            body,
            timeouts,
            started: None,
            over: Box::pin(tokio::time::sleep(timeouts.idle)),
            is_waiting: false,
            is_late,
        }
    }

    /// Reports whether it was waited too long, now that there is nothing.
    fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        let now = Instant::now();
        let started = *self.started.get_or_insert(now);
        if !self.is_waiting {
            self.is_waiting = true;
            let end = (now + self.timeouts.idle).min(started + self.timeouts.whole);
            self.over.as_mut().reset(end);
        }
        self.over.as_mut().poll(cx).is_ready()
    }
}

impl HttpBody for Timed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if polled.is_ready() {
            self.is_waiting = false;
            return polled;
        }
        if !self.is_over(cx) {
            return Poll::Pending;
        }
        self.is_late.store(true, Ordering::Relaxed);
        let text = "the body of the request has not come in time";
        let late = std::io::Error::new(std::io::ErrorKind::TimedOut, text);
        Poll::Ready(Some(Err(axum::Error::new(late))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::post;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;
    use crate::shutdown;
    use crate::web::Web;

    const HEAD: &str = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n";
    const CHUNKED: &str = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab";

    /// Serves what tells how long bodies are.
    async fn serving(idle: u64, whole: u64) -> std::net::SocketAddr {
        let (listener, address) = super::super::listen("127.0.0.1:0").await.unwrap();
        let (trigger, stop) = shutdown::channel();
        let timeouts = BodyTimeouts {
            idle: Duration::from_millis(idle),
            whole: Duration::from_millis(whole),
        };
        let router = Router::new().route("/", post(async |body: Bytes| body.len().to_string()));
        let router = timeouts.bound(router);
        let web = Web::open_to_all();
        tokio::spawn(async move {
            let served = super::super::serve(listener, router, web, stop, Duration::ZERO).await;
            drop(trigger);
            served
        });
        address
    }

    /// Sends `start`, then `more` again and again after each pause; returns what is answered until the server hangs up.
    async fn answered(address: std::net::SocketAddr, start: &str, more: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(start.as_bytes()).await.unwrap();
        let (mut reader, mut writer) = stream.into_split();
        let more = more.to_owned();
        let sending = tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_millis(50)).await;
                if writer.write_all(more.as_bytes()).await.is_err() {
                    break;
                }
            }
        });
        let mut answer = Vec::new();
        let read = reader.read_to_end(&mut answer);
        // A server that was sent more than it has read resets the connection.
        let _ = tokio::time::timeout(Duration::from_secs(20), read)
            .await
            .expect("the server hangs up");
        sending.abort();
        String::from_utf8(answer).unwrap()
    }

    fn is_408(answer: &str) -> bool {
        answer.starts_with("HTTP/1.1 408 ") && answer.contains("\r\nconnection: close\r\n")
    }

    /// a body that never comes, or stops, is not waited for.
    #[tokio::test]
    async fn who_sends_nothing_is_told_so() {
        let address = serving(200, 60_000).await;
        for start in [HEAD.to_owned(), format!("{HEAD}abc"), CHUNKED.to_owned()] {
            let answer = answered(address, &start, "").await;
            assert!(is_408(&answer), "{start}: {answer}");
        }
    }

    /// neither is one that comes a byte at a time.
    #[tokio::test]
    async fn who_sends_little_is_told_so() {
        let address = serving(10_000, 400).await;
        let start = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n";
        let answer = answered(address, start, "a").await;
        assert!(is_408(&answer), "{answer}");
    }

    /// a slow body that comes is a body.
    #[tokio::test]
    async fn who_sends_slowly_is_heard() {
        let address = serving(5_000, 60_000).await;
        let start = HEAD.replace("Host: x", "Host: x\r\nConnection: close");
        let answer = answered(address, &start, "ab").await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert!(answer.ends_with("\r\n\r\n10"), "{answer}");
    }
}
