//! Received frames as the events of a store.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::Stream;
use thanos_core::error::{Error, Result};
use thanos_core::query::SeriesBatchBuilder;
use tonic::Status;

use crate::convert::status::from_status;
use crate::store::{SeriesEvent, SeriesStream};
use crate::wire::FrameDecoder;

/// Returns the events of the frames that `peer` sends.
pub(super) fn events(
    frames: impl Stream<Item = Result<Bytes, Status>> + Send + Unpin + 'static,
    peer: Arc<str>,
) -> SeriesStream {
    Box::pin(Events {
        frames: Some(frames),
        decoder: FrameDecoder::new(Arc::clone(&peer)),
        peer,
        series: SeriesBatchBuilder::new(),
        next: None,
    })
}

/// Series of the frames that are there already are joined into one batch, so that a peer that sends one series in
/// each frame does not cost a batch for each; nothing is held back while waiting for the next frame.
struct Events<S> {
    /// `None` after the end or an error.
    frames: Option<S>,
    decoder: FrameDecoder,
    peer: Arc<str>,
    series: SeriesBatchBuilder,
    /// What comes after the series in the builder.
    next: Option<Result<SeriesEvent>>,
}

impl<S: Stream<Item = Result<Bytes, Status>> + Unpin> Events<S> {
    /// Takes frames until there is something to hand on; `Ready(())` says that there is, or that this is the end.
    fn poll_frames(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.next.is_none() && !self.series.is_full() {
            let Some(frames) = &mut self.frames else {
                return Poll::Ready(());
            };
            match Pin::new(frames).poll_next(cx) {
                Poll::Pending if self.series.is_empty() => return Poll::Pending,
                Poll::Pending => return Poll::Ready(()),
                Poll::Ready(None) => self.frames = None,
                Poll::Ready(Some(Ok(frame))) => {
                    match self.decoder.decode(&frame, &mut self.series) {
                        Ok(event) => self.next = event.map(Ok),
                        Err(error) => self.fail(error),
                    }
                }
                Poll::Ready(Some(Err(status))) => {
                    let error = from_status(status, &self.peer);
                    self.fail(error);
                }
            }
        }
        Poll::Ready(())
    }

    /// Ends the call at the peer; what was decoded before is handed on first.
    fn fail(&mut self, error: Error) {
        self.frames = None;
        self.next = Some(Err(error));
    }
}

impl<S: Stream<Item = Result<Bytes, Status>> + Unpin> Stream for Events<S> {
    type Item = Result<SeriesEvent>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        std::task::ready!(self.poll_frames(cx));
        if !self.series.is_empty() {
            return Poll::Ready(Some(Ok(SeriesEvent::Batch(self.series.finish()))));
        }
        Poll::Ready(self.next.take())
    }
}
