//! The answer to `Series` as a stream of frames.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use futures::Stream;
use thanos_core::error::Result;
use tonic::Status;
use tracing::Span;

use super::call::log_failure;
use super::counters::{ServerCounters, count};
use super::service::panic_status;
use crate::convert::status::to_status;
use crate::store::{SeriesEvent, SeriesStream};
use crate::wire::{Frame, Frames};

/// Cuts the events of a store into frames when the connection asks for one.
///
/// A batch frame is filled with what the store has now and goes out as it is when the store has to wait. Dropping
/// the stream drops that of the store.
pub(super) struct FrameStream {
    /// `None` after the end or an error.
    events: Option<SeriesStream>,
    frames: Frames,
    /// What ended the stream of the store; it comes after the last series.
    error: Option<Status>,
    counters: Arc<ServerCounters>,
    /// What the store logs while it is read carries this.
    span: Span,
}

impl FrameStream {
    pub(super) fn new(
        events: SeriesStream,
        response_batch_size: u64,
        counters: Arc<ServerCounters>,
        span: Span,
    ) -> Self {
        count(&counters.series_calls_open);
        Self {
            events: Some(events),
            frames: Frames::new(response_batch_size),
            error: None,
            counters,
            span,
        }
    }

    /// Takes events until a frame is full or the store has no more for now.
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Frame>> {
        loop {
            if let Some(frame) = self.frames.next_full() {
                return Poll::Ready(Some(frame));
            }
            match self.poll_event(cx) {
                Poll::Ready(Some(Ok(event))) => self.frames.push(event),
                Poll::Ready(Some(Err(status))) => {
                    self.span.record("otel.status_code", "ERROR");
                    count(&self.counters.failed_calls);
                    self.error = Some(status);
                    self.events = None;
                }
                Poll::Ready(None) => {
                    self.events = None;
                    return Poll::Ready(self.frames.flush());
                }
                Poll::Pending => {
                    let frame = self.frames.flush();
                    return frame.map_or(Poll::Pending, |frame| Poll::Ready(Some(frame)));
                }
            }
        }
    }

    /// Polls the store; a panic in it ends this call and nothing else.
    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<SeriesEvent, Status>>> {
        let Some(events) = &mut self.events else {
            return Poll::Ready(None);
        };
        let _entered = self.span.enter();
        // The stream is dropped after a panic, so nobody sees what it left behind.
        match catch_unwind(AssertUnwindSafe(|| events.as_mut().poll_next(cx))) {
            Ok(polled) => polled.map(|event| {
                Some(event?.map_err(|error| {
                    log_failure(&error);
                    to_status(&error)
                }))
            }),
            Err(panic) => Poll::Ready(Some(Err(panic_status(&*panic, &self.counters)))),
        }
    }
}

impl Stream for FrameStream {
    type Item = Result<Frame, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match ready!(self.poll_frame(cx)) {
            Some(frame) => {
                count(&self.counters.frames);
                let series = frame.series_count() as u64;
                self.counters.series.fetch_add(series, Ordering::Relaxed);
                Poll::Ready(Some(Ok(frame)))
            }
            None => Poll::Ready(self.error.take().map(Err)),
        }
    }
}

impl Drop for FrameStream {
    fn drop(&mut self) {
        self.counters
            .series_calls_open
            .fetch_sub(1, Ordering::Relaxed);
    }
}
