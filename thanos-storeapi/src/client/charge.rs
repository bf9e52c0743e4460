//! The memory of an answer that is read as a whole: taken on lease piece by piece, before the piece is looked at.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use parking_lot::Mutex;
use thanos_core::budget::{Lease, MemoryBudget};
use thanos_core::error::Result;
use tonic::Status;

use crate::apis::Held;

/// What a byte on the wire becomes: itself while its message is not whole, a message of strings, and what is made of that.
const BYTES_FOR_ONE: u64 = 3;

/// What an answer has taken so far. It travels with its call, as an extension of the request.
#[derive(Debug, Clone)]
pub(super) struct Charge {
    lease: Arc<Mutex<Lease>>,
    received: Arc<AtomicU64>,
    bytes_max: u64,
}

impl Charge {
    /// Returns the charge of an answer of at most `bytes_max` bytes on the wire, whose memory comes from `budget`.
    ///
    /// # Errors
    ///
    /// `LimitExceeded` never in practice: nothing is taken yet.
    pub(super) fn new(budget: &MemoryBudget, bytes_max: usize) -> Result<Self> {
        Ok(Self {
            lease: Arc::new(Mutex::new(budget.lease(0)?)),
            received: Arc::default(),
            bytes_max: bytes_max as u64,
        })
    }

    /// Returns what the answer takes.
    pub(super) fn held(&self) -> Held {
        Held::from(Arc::clone(&self.lease))
    }

    fn add(&self, bytes: usize) -> std::result::Result<(), Status> {
        let bytes = bytes as u64;
        let received = self.received.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if received > self.bytes_max {
            let bytes_max = self.bytes_max;
            return Err(Status::resource_exhausted(format!(
                "the answer is larger than {bytes_max} bytes"
            )));
        }
        let more = bytes.saturating_mul(BYTES_FOR_ONE);
        let grown = self.lease.lock().grow(more);
        grown.map_err(|error| Status::resource_exhausted(error.to_string()))
    }
}

/// The body of an answer that is charged for.
#[derive(Debug)]
pub(super) struct Charged<B> {
    body: B,
    charge: Charge,
}

impl<B> Charged<B> {
    pub(super) fn new(body: B, charge: Charge) -> Self {
        Self { body, charge }
    }
}

impl<B: Body<Data = Bytes, Error = Status> + Unpin> Body for Charged<B> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, Status>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
            && let Err(status) = self.charge.add(data.len())
        {
            return Poll::Ready(Some(Err(status)));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
