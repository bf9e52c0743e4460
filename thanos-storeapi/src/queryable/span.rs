//! A stream whose work belongs to a span, which ends with it.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures::Stream;
use thanos_core::Result;
use thanos_core::query::{SeriesEvent, SeriesStream};
use tracing::Span;

/// Returns `stream`, which is polled inside `span`: stores that it asks on the way are asked on behalf of the span.
pub(super) fn inside(span: Span, stream: SeriesStream) -> SeriesStream {
    match span.is_disabled() {
        true => stream,
        false => Box::pin(Inside { stream, span }),
    }
}

struct Inside {
    stream: SeriesStream,
    span: Span,
}

impl Stream for Inside {
    type Item = Result<SeriesEvent>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let _entered = this.span.enter();
        let polled = this.stream.as_mut().poll_next(cx);
        if let Poll::Ready(Some(Err(_))) = &polled {
            this.span.record("otel.status_code", "ERROR");
        }
        polled
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.stream.size_hint()
    }
}
