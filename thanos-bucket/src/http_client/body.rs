//! The body of an answer, with a limit on how long it may stand still.

use std::fmt;
use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::Stream;
use object_store::client::{HttpError, HttpErrorKind};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep, sleep};

/// A body that fails when nothing comes for a while, and that keeps its request's place until it ends or is dropped.
pub(super) struct MovingBody<S> {
    inner: S,
    limit: Option<Duration>,
    /// Runs while the reader waits; a reader that takes its time is no fault of the server.
    timer: Option<Pin<Box<Sleep>>>,
    waiting: bool,
    permit: Option<OwnedSemaphorePermit>,
}

#[derive(Debug)]
struct StandsStill(Duration);

impl fmt::Display for StandsStill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the body of the answer stood still for {:?}", self.0)
    }
}

impl std::error::Error for StandsStill {}

impl<S> MovingBody<S> {
    pub(super) fn new(
        inner: S,
        limit: Option<Duration>,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Self {
        Self {
            inner,
            limit,
            timer: None,
            waiting: false,
            permit,
        }
    }

    /// Reports whether the wait, which may begin now, has become too long.
    fn poll_limit(&mut self, cx: &mut Context<'_>) -> Poll<StandsStill> {
        let Some(limit) = self.limit else {
            return Poll::Pending;
        };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(limit)));
        if !self.waiting {
            self.waiting = true;
            timer.as_mut().reset(Instant::now() + limit);
        }
        timer.as_mut().poll(cx).map(|()| StandsStill(limit))
    }
}

impl<S, T> Stream for MovingBody<S>
where
    S: Stream<Item = Result<T, HttpError>> + Unpin,
{
    type Item = Result<T, HttpError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match Pin::new(&mut self.inner).poll_next(cx) {
            Poll::Ready(item) => {
                self.waiting = false;
                if item.is_none() {
                    self.permit = None;
                }
                Poll::Ready(item)
            }
            Poll::Pending => self
                .poll_limit(cx)
                .map(|error| Some(Err(HttpError::new(HttpErrorKind::Timeout, error)))),
        }
    }
}
