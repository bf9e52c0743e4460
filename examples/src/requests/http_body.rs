//! The body of an answer, whose bytes are counted while they pass.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use prometheus_client::metrics::histogram::Histogram;

/// A body that tells its size when it has passed, or when nobody wants the rest of it.
#[derive(Debug)]
pub(super) struct Measured<K> {
    body: Body,
    bytes: u64,
    told_to: Histogram,
    /// What is open until then.
    _kept: K,
}

impl<K> Measured<K> {
    pub(super) fn new(body: Body, told_to: Histogram, kept: K) -> Self {
        Self {
            body,
            bytes: 0,
            told_to,
            _kept: kept,
        }
    }
}

impl<K> Drop for Measured<K> {
    fn drop(&mut self) {
        self.told_to.observe(self.bytes as f64);
    }
}

impl<K: Unpin> HttpBody for Measured<K> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            self.bytes += data.len() as u64;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
