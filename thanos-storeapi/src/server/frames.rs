//! The answer to `Series` as a stream of frames.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use futures::Stream;
use thanos_core::error::Result;
use tonic::Status;

use super::counters::{ServerCounters, count};
use super::service::panic_status;
use crate::convert::status::to_status;
use crate::store::{SeriesEvent, SeriesStream};
use crate::wire::{Frame, Frames};

/// Cuts the events of a store into frames, one when asked for one.
///
/// Dropping it drops the store's stream.
pub(super) struct FrameStream {
    events: Option<SeriesStream>,
    frames: Frames,
    response_batch_size: u64,
    counters: Arc<ServerCounters>,
}

impl FrameStream {
    pub(super) fn new(
        events: SeriesStream,
        response_batch_size: u64,
        counters: Arc<ServerCounters>,
    ) -> Self {
        count(&counters.series_calls_open);
        Self {
            events: Some(events),
            frames: Frames::default(),
            response_batch_size,
            counters,
        }
    }

    /// Polls the store; a panic in it ends this call and nothing else.
    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<SeriesEvent, Status>>> {
        let Some(events) = &mut self.events else {
            return Poll::Ready(None);
        };
        // The stream is dropped after a panic, so nobody sees what it left behind.
        match catch_unwind(AssertUnwindSafe(|| events.as_mut().poll_next(cx))) {
            Ok(polled) => polled.map(|event| Some(event?.map_err(|error| to_status(&error)))),
            Err(panic) => Poll::Ready(Some(Err(panic_status(&*panic, &self.counters)))),
        }
    }
}

impl Stream for FrameStream {
    type Item = Result<Frame, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(frame) = self.frames.next() {
                count(&self.counters.frames);
                if let Frame::Series(run) | Frame::Batch(run) = &frame {
                    let series = run.len() as u64;
                    self.counters.series.fetch_add(series, Ordering::Relaxed);
                }
                return Poll::Ready(Some(Ok(frame)));
            }
            match ready!(self.poll_event(cx)) {
                Some(Ok(event)) => self.frames = Frames::new(event, self.response_batch_size),
                Some(Err(status)) => {
                    self.events = None;
                    count(&self.counters.failed_calls);
                    return Poll::Ready(Some(Err(status)));
                }
                None => {
                    self.events = None;
                    return Poll::Ready(None);
                }
            }
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
