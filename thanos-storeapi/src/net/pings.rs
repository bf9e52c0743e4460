//! Clients that ask a server too often whether it is alive are sent away, as by Go's servers.
//!
//! It is done where bytes pass, because the HTTP/2 library answers such questions by itself and tells nobody. Only the
//! heads of frames are looked at; what is not HTTP/2 passes unseen.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What opens a connection of HTTP/2 (RFC 9113, 3.4).
pub(super) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The length of a frame's head: three bytes of length, type, flags, four bytes of the stream.
const HEAD_BYTES: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PING: u8 = 6;
/// The flag of an answer to a ping.
const ACK: u8 = 1;
/// How often in a row a ping may come too soon. Source: grpc-go `maxPingStrikes`.
const STRIKES_MAX: u32 = 2;

/// A connection on which pings are counted.
#[derive(Debug)]
pub(super) struct PingGuard<IO> {
    io: IO,
    interval_min: Duration,
    received: Walk,
    sent: Walk,
    last_ping: Option<Instant>,
    strikes: u32,
    /// Whether something was sent since the last ping: whoever gets answers may ask how they are coming.
    has_sent: bool,
}

impl<IO> PingGuard<IO> {
    /// Guards `io`, whose client may ask once in each `interval_min`.
    pub(super) fn new(io: IO, interval_min: Duration) -> Self {
        Self {
            io,
            interval_min,
            received: Walk::preface(),
            sent: Walk::heads(),
            last_ping: None,
            strikes: 0,
            has_sent: false,
        }
    }

    fn received(&mut self, bytes: &[u8], now: Instant) -> io::Result<()> {
        let mut pings = 0;
        self.received.pass(bytes, |kind, flags| {
            pings += u32::from(kind == PING && flags & ACK == 0);
        });
        for _ in 0..pings {
            self.ping(now)?;
        }
        Ok(())
    }

    fn ping(&mut self, now: Instant) -> io::Result<()> {
        let is_soon = self
            .last_ping
            .is_some_and(|last| now - last < self.interval_min);
        self.last_ping = Some(now);
        if std::mem::take(&mut self.has_sent) {
            self.strikes = 0;
        } else if is_soon {
            self.strikes += 1;
        }
        match self.strikes > STRIKES_MAX {
            true => Err(io::Error::other("too many pings")),
            false => Ok(()),
        }
    }

    fn sent(&mut self, bytes: &[u8]) {
        let has_sent = &mut self.has_sent;
        self.sent
            .pass(bytes, |kind, _| *has_sent |= matches!(kind, DATA | HEADERS));
    }
}

/// Where in the frames of one direction we are.
#[derive(Debug)]
enum Walk {
    /// So many bytes of the preface have come.
    Preface(usize),
    Head {
        head: [u8; HEAD_BYTES],
        len: usize,
    },
    /// So many bytes of a frame are still to pass.
    Rest(usize),
    /// It is no HTTP/2.
    Off,
}

impl Walk {
    fn preface() -> Self {
        Self::Preface(0)
    }

    fn heads() -> Self {
        Self::Head {
            head: [0; HEAD_BYTES],
            len: 0,
        }
    }

    /// Goes on by `bytes`; tells type and flags of each frame whose head ends in them.
    fn pass(&mut self, mut bytes: &[u8], mut tell: impl FnMut(u8, u8)) {
        while !bytes.is_empty() {
            let taken = match self {
                Self::Off => return,
                Self::Preface(seen) => {
                    let expected = &PREFACE[*seen..];
                    let taken = expected.len().min(bytes.len());
                    *seen += taken;
                    if expected[..taken] != bytes[..taken] {
                        *self = Self::Off;
                    } else if *seen == PREFACE.len() {
                        *self = Self::heads();
                    }
                    taken
                }
                Self::Rest(rest) => {
                    let taken = (*rest).min(bytes.len());
                    *rest -= taken;
                    if *rest == 0 {
                        *self = Self::heads();
                    }
                    taken
                }
                Self::Head { head, len } => {
                    let taken = (HEAD_BYTES - *len).min(bytes.len());
                    head[*len..][..taken].copy_from_slice(&bytes[..taken]);
                    *len += taken;
                    if *len == HEAD_BYTES {
                        let [a, b, c, kind, flags, ..] = *head;
                        tell(kind, flags);
                        let rest = u32::from_be_bytes([0, a, b, c]) as usize;
                        *self = match rest {
                            0 => Self::heads(),
                            rest => Self::Rest(rest),
                        };
                    }
                    taken
                }
            };
            bytes = &bytes[taken..];
        }
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for PingGuard<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        Poll::Ready(self.received(&buf.filled()[before..], Instant::now()))
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for PingGuard<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.io).poll_write(cx, buf))?;
        self.sent(&buf[..written]);
        Poll::Ready(Ok(written))
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
        let written = ready!(Pin::new(&mut self.io).poll_write_vectored(cx, bufs))?;
        let mut rest = written;
        for buf in bufs {
            let of_this = rest.min(buf.len());
            self.sent(&buf[..of_this]);
            rest -= of_this;
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, len: u8) -> Vec<u8> {
        let head = [0, 0, len, kind, flags, 0, 0, 0, 0];
        [&head[..], &vec![PING; usize::from(len)]].concat()
    }

    fn guard() -> PingGuard<()> {
        let mut guard = PingGuard::new((), Duration::from_secs(10));
        guard.received(PREFACE, Instant::now()).unwrap();
        guard
    }

    #[test]
    fn frames_are_found_however_they_are_cut() {
        let frames = [
            frame(4, 0, 0),
            frame(1, 4, 200),
            frame(PING, 0, 8),
            frame(0, 1, 1),
        ];
        let stream = [&PREFACE[..], &frames.concat()].concat();
        for size in 1..=stream.len() {
            let mut walk = Walk::preface();
            let mut seen = Vec::new();
            for piece in stream.chunks(size) {
                walk.pass(piece, |kind, flags| seen.push((kind, flags)));
            }
            assert_eq!(
                seen,
                [(4, 0), (1, 4), (PING, 0), (0, 1)],
                "pieces of {size}"
            );
        }
    }

    #[test]
    fn what_is_no_http2_passes_unseen() {
        let mut guard = PingGuard::new((), Duration::from_secs(10));
        let request = [b"POST / HTTP/1.1\r\n\r\n", &frame(PING, 0, 8).repeat(9)[..]].concat();
        guard.received(&request, Instant::now()).unwrap();
    }

    /// pings in less than the shortest interval end the connection, unless answers are on their way.
    #[test]
    fn pings_that_come_too_soon_end_the_connection() {
        let ping = frame(PING, 0, 8);
        let start = Instant::now();
        let mut often = guard();
        for _ in 0..3 {
            often.received(&ping, start).unwrap();
        }
        let error = often.received(&ping, start).unwrap_err();
        assert_eq!(error.to_string(), "too many pings");
        assert!(guard().received(&ping.repeat(4), start).is_err());

        let mut seldom = guard();
        let mut answered = guard();
        let mut acknowledging = guard();
        for round in 0..20 {
            seldom
                .received(&ping, start + Duration::from_secs(10) * round)
                .unwrap();
            answered.sent(&frame(DATA, 0, 9));
            answered.received(&ping, start).unwrap();
            acknowledging.received(&frame(PING, ACK, 8), start).unwrap();
        }
    }
}
