//! Connections whose client has to say something soon.
//!
//! A server finds out by the first bytes whether a client speaks HTTP/1 or HTTP/2, and hyper waits for them for ever. Once
//! it knows, its own limits hold: those of the head of a request, and pings.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::pings::PREFACE;

/// A connection that ends when its first bytes do not come in time.
#[derive(Debug)]
pub(super) struct FirstBytes<IO> {
    io: IO,
    /// Until it is known what the client speaks.
    waits: Option<Waits>,
}

#[derive(Debug)]
struct Waits {
    over: Pin<Box<Sleep>>,
    /// What is missing of the opening of HTTP/2.
    rest: &'static [u8],
}

impl<IO> FirstBytes<IO> {
    /// Gives the client of `io` this long from now on.
    pub(super) fn new(io: IO, timeout: Duration) -> Self {
        let waits = Waits {
            over: Box::pin(tokio::time::sleep(timeout)),
            rest: PREFACE,
        };
        Self {
            io,
            waits: Some(waits),
        }
    }

    fn received(&mut self, bytes: &[u8]) {
        let Some(waits) = &mut self.waits else {
            return;
        };
        match waits.rest.strip_prefix(bytes) {
            Some(rest) if !bytes.is_empty() && !rest.is_empty() => waits.rest = rest,
            _ => self.waits = None,
        }
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for FirstBytes<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        match Pin::new(&mut self.io).poll_read(cx, buf) {
            Poll::Pending => match &mut self.waits {
                None => Poll::Pending,
                Some(waits) => {
                    ready!(waits.over.as_mut().poll(cx));
                    let text = "the client has not said in time what it speaks";
                    Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, text)))
                }
            },
            done @ Poll::Ready(_) => {
                self.received(&buf.filled()[before..]);
                done
            }
        }
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for FirstBytes<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    /// Returns what a server reads of a client that sends `pieces`, the connection staying open.
    async fn read(pieces: &[&[u8]]) -> io::Result<Vec<u8>> {
        let (mut client, server) = duplex(1 << 10);
        let mut server = FirstBytes::new(server, Duration::from_millis(100));
        let sent: Vec<u8> = pieces.concat();
        for piece in pieces {
            client.write_all(piece).await.unwrap();
        }
        let mut got = Vec::new();
        while got.len() < sent.len() {
            server.read_buf(&mut got).await?;
        }
        // Who is silent later is the business of others.
        let more = server.read_buf(&mut got);
        match tokio::time::timeout(Duration::from_millis(400), more).await {
            Ok(Ok(_)) => unreachable!("nothing more was sent"),
            Ok(Err(error)) => Err(error),
            Err(_) => Ok(got),
        }
    }

    /// whoever says nothing, or only half of what opens HTTP/2, is not waited for.
    #[tokio::test]
    async fn silence_at_first_ends_a_connection() {
        for silent in [&b""[..], b"P", b"PRI * HTTP/2.0\r\n"] {
            let error = read(&[silent]).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{silent:?}");
        }
        for heard in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"POST",
            b"PRI * HTTP/1",
            PREFACE,
        ] {
            assert_eq!(read(&[heard]).await.unwrap(), heard);
            let (first, second) = heard.split_at(2);
            assert_eq!(read(&[first, second]).await.unwrap(), heard);
        }
    }
}
