//! A streamed answer as the events of a store.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::Stream;
use prometheus_client::metrics::histogram::Histogram;
use thanos_core::query::{SeriesBatchBuilder, SeriesEvent};
use thanos_core::{Error, Result};

use super::frames::FrameCutter;
use super::series::{Refused, SeriesReader};

/// After how many bytes a batch is handed on: series may be long, and only one batch is held.
const BATCH_BYTES: usize = 1 << 20;

/// The series of the frames that have come are one batch; nothing is held back while waiting for the next piece.
pub(in crate::prometheus) struct StreamedAnswer<B> {
    /// `None` after the end or an error; dropping it ends the request.
    body: Option<B>,
    cutter: FrameCutter,
    reader: SeriesReader,
    series: SeriesBatchBuilder,
    /// The bytes of the messages of `series`.
    series_bytes: usize,
    /// What comes after the series in the builder.
    failed: Option<Error>,
    /// The address that was asked, for errors.
    request: String,
    frames: u64,
    frames_read: Histogram,
    /// Set when series came out of order, so that the next answers are sorted.
    disorder: Arc<AtomicBool>,
}

impl<B: Stream<Item = Result<Bytes>> + Unpin> StreamedAnswer<B> {
    pub(in crate::prometheus) fn new(
        body: B,
        cutter: FrameCutter,
        reader: SeriesReader,
        request: String,
        frames_read: Histogram,
        disorder: Arc<AtomicBool>,
    ) -> Self {
        Self {
            body: Some(body),
            cutter,
            reader,
            series: SeriesBatchBuilder::new(),
            series_bytes: 0,
            failed: None,
            request,
            frames: 0,
            frames_read,
            disorder,
        }
    }

    /// Takes frames until there is something to hand on; `Ready(())` says that there is, or that this is the end.
    fn poll_frames(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // Before the body ends, all of its frames have been read.
        while self.body.is_some() && !self.is_full() {
            match self.next_frame() {
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => {
                    self.fail(error);
                    continue;
                }
            }
            let Some(body) = &mut self.body else {
                return Poll::Ready(());
            };
            match Pin::new(body).poll_next(cx) {
                Poll::Pending if self.series.is_empty() => return Poll::Pending,
                Poll::Pending => return Poll::Ready(()),
                Poll::Ready(Some(Ok(piece))) => self.cutter.push(piece),
                Poll::Ready(Some(Err(error))) => self.fail(error),
                Poll::Ready(None) => match self.cutter.finish() {
                    Ok(()) => self.body = None,
                    Err(error) => self.fail(error),
                },
            }
        }
        Poll::Ready(())
    }

    fn is_full(&self) -> bool {
        self.series.is_full() || (self.series_bytes >= BATCH_BYTES && !self.series.is_empty())
    }

    /// Reads a frame that has come; reports whether there was one.
    fn next_frame(&mut self) -> Result<bool> {
        let begin = self.cutter.offset();
        let Some(message) = self.cutter.next()? else {
            return Ok(false);
        };
        self.frames += 1;
        self.series_bytes += message.len();
        match self.reader.read(&message, &mut self.series) {
            Ok(()) => Ok(true),
            Err(Refused::Damaged(error)) => Err(error.shifted(begin)),
            Err(Refused::OutOfOrder(labels)) => {
                self.disorder.store(true, Ordering::Relaxed);
                let what =
                    format!("series {labels} is not in order; the next answers will be sorted");
                Err(Error::unavailable(what))
            }
        }
    }

    fn fail(&mut self, error: Error) {
        let error = match error.file() {
            None => error.in_file(self.request.clone()),
            Some(_) => error,
        };
        self.failed = Some(error);
        self.body = None;
    }
}

impl<B> Drop for StreamedAnswer<B> {
    fn drop(&mut self) {
        self.frames_read.observe(self.frames as f64);
    }
}

impl<B: Stream<Item = Result<Bytes>> + Unpin> Stream for StreamedAnswer<B> {
    type Item = Result<SeriesEvent>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        std::task::ready!(self.poll_frames(cx));
        if !self.series.is_empty() {
            self.series_bytes = 0;
            return Poll::Ready(Some(Ok(SeriesEvent::Batch(self.series.finish()))));
        }
        Poll::Ready(self.failed.take().map(Err))
    }
}
