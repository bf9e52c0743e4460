//! Bodies whose messages are compressed or made whole while they pass.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use hyper::body::{Body, Frame};
use tonic::Status;

use super::codec::{compress, decompress};
use super::{Compression, MessageLimits};

/// What stands before each message: one byte that says whether it is compressed, four of its length.
const HEAD_BYTES: usize = 5;

/// What is done to messages.
#[derive(Debug, Clone, Copy)]
pub(super) enum Work {
    /// They become whole.
    Inflate(Compression, MessageLimits),
    /// They become small, if that makes them smaller.
    Deflate(Compression),
}

/// A body, message by message.
#[derive(Debug)]
pub(super) struct Recoded<B> {
    body: B,
    coder: Coder,
    /// Data of the body that was not looked at yet.
    input: Bytes,
    has_failed: bool,
}

impl<B> Recoded<B> {
    pub(super) fn new(body: B, work: Work) -> Self {
        Self {
            body,
            coder: Coder::new(work),
            input: Bytes::new(),
            has_failed: false,
        }
    }
}

impl<B> Body for Recoded<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        loop {
            if this.has_failed {
                return Poll::Ready(None);
            }
            let mut next = this.coder.next(&mut this.input);
            if let Ok(None) = next {
                match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                    Some(Ok(frame)) => match frame.into_data() {
                        Ok(data) => {
                            this.input = data;
                            continue;
                        }
                        Err(frame) => match this.coder.end() {
                            Ok(()) => return Poll::Ready(Some(Ok(frame))),
                            Err(status) => next = Err(status),
                        },
                    },
                    Some(Err(error)) => next = Err(Status::from_error(error.into())),
                    None => match this.coder.end() {
                        Ok(()) => return Poll::Ready(None),
                        Err(status) => next = Err(status),
                    },
                }
            }
            this.has_failed = next.is_err();
            return Poll::Ready(next.transpose().map(|data| data.map(Frame::data)));
        }
    }

    fn is_end_stream(&self) -> bool {
        self.has_failed
            || (self.input.is_empty()
                && self.body.is_end_stream()
                && self.coder.is_between_messages())
    }
}

/// Where in the messages of a body we are.
#[derive(Debug)]
struct Coder {
    work: Work,
    /// The head of the next message as far as it is there, or the whole of the one that is worked on.
    held: BytesMut,
    state: State,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Head,
    /// So many bytes pass as they are.
    Pass(usize),
    /// A message of this length is collected; whether it says that it is compressed.
    Collect(usize),
}

impl Coder {
    fn new(work: Work) -> Self {
        Self {
            work,
            held: BytesMut::new(),
            state: State::Head,
        }
    }

    fn is_between_messages(&self) -> bool {
        matches!(self.state, State::Head) && self.held.is_empty()
    }

    /// Returns what can be sent on, of one message at most; `None` when `input` is used up.
    fn next(&mut self, input: &mut Bytes) -> Result<Option<Bytes>, Status> {
        loop {
            match self.state {
                State::Pass(0) => self.state = State::Head,
                State::Pass(rest) => {
                    if input.is_empty() {
                        return Ok(None);
                    }
                    let passed = input.split_to(rest.min(input.len()));
                    self.state = State::Pass(rest - passed.len());
                    return Ok(Some(passed));
                }
                State::Head => {
                    if !self.hold(input, HEAD_BYTES) {
                        return Ok(None);
                    }
                    if let Some(head) = self.enter()? {
                        return Ok(Some(head));
                    }
                }
                State::Collect(len) => {
                    if !self.hold(input, len) {
                        return Ok(None);
                    }
                    self.state = State::Head;
                    return self.finish().map(Some);
                }
            }
        }
    }

    /// Moves bytes into what is held until there are `len`; reports whether there are.
    fn hold(&mut self, input: &mut Bytes, len: usize) -> bool {
        let taken = input.split_to((len - self.held.len()).min(input.len()));
        self.held.extend_from_slice(&taken);
        self.held.len() == len
    }

    /// Reads the head that is held; returns it when the message passes as it is.
    fn enter(&mut self) -> Result<Option<Bytes>, Status> {
        let mut head = &self.held[..];
        let flag = head.get_u8();
        let len = usize::try_from(head.get_u32()).unwrap_or(usize::MAX);
        let is_worked_on = match self.work {
            Work::Inflate(_, limits) if flag == 1 => {
                let max = limits.sent_bytes_max;
                if len > max {
                    return Err(Status::resource_exhausted(format!(
                        "grpc: received message larger than max ({len} vs. {max})"
                    )));
                }
                true
            }
            // What is empty does not become smaller, and what has another flag is tonic's to refuse.
            Work::Deflate(_) => flag == 0 && len > 0,
            Work::Inflate(..) => false,
        };
        if is_worked_on {
            self.held.clear();
            self.state = State::Collect(len);
            return Ok(None);
        }
        self.state = State::Pass(len);
        Ok(Some(self.held.split().freeze()))
    }

    /// Returns the message that is held with its head, worked on.
    fn finish(&mut self) -> Result<Bytes, Status> {
        let message = self.held.split();
        let mut out = vec![0; HEAD_BYTES];
        let is_small = match self.work {
            Work::Inflate(encoding, limits) => {
                decompress(encoding, &message, limits, &mut out)?;
                false
            }
            Work::Deflate(encoding) => {
                compress(encoding, &message, &mut out)
                    .map_err(|error| Status::internal(format!("{encoding}: {error}")))?;
                out.len() < HEAD_BYTES + message.len()
            }
        };
        if matches!(self.work, Work::Deflate(_)) && !is_small {
            out.truncate(HEAD_BYTES);
            out.extend_from_slice(&message);
        }
        let len = u32::try_from(out.len() - HEAD_BYTES)
            .map_err(|_| Status::resource_exhausted("grpc: a message is longer than 4 GiB"))?;
        out[0] = u8::from(is_small);
        out[1..HEAD_BYTES].copy_from_slice(&len.to_be_bytes());
        Ok(Bytes::from(out))
    }

    /// Checks that the body may end here. Messages that pass are checked by whoever reads them.
    fn end(&self) -> Result<(), Status> {
        match self.state {
            State::Head | State::Pass(_) => Ok(()),
            State::Collect(len) => Err(Status::internal(format!(
                "grpc: the body ends after {} of {len} bytes of a message",
                self.held.len()
            ))),
        }
    }
}
