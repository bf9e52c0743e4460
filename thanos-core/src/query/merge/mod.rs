//! Merging sorted streams of series into one.
//!
//! [`SeriesMerge`] is the merge as plain code on batches in memory; [`merge`] drives it from streams. Keys are
//! compared through offset-value codes in a tree of losers, which reads most keys once.

mod code;
mod kernel;
mod tree;

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::stream::{self, FuturesUnordered};
use futures::{FutureExt, Stream, StreamExt};

pub use kernel::{MergeStep, SeriesMerge};

use super::{SeriesBatch, SeriesEvent, SeriesStream};
use crate::error::Result;

/// A sorted stream to merge, with a name for errors.
pub struct MergeSource {
    /// What errors call it.
    pub name: String,
    /// Batches in label order.
    pub stream: SeriesStream,
}

impl fmt::Debug for MergeSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MergeSource({})", self.name)
    }
}

/// Returns the series of all sources, in label order, as [`SeriesMerge`] joins them.
///
/// At most one batch of each source is read ahead. Warnings, missing data and hints pass through as soon as
/// they arrive, and so does an error, which ends the stream. A single source is passed through as it is.
/// Dropping the stream drops the sources.
///
/// A source that is not sorted ends the stream with an `Internal` error that names it.
pub fn merge(sources: Vec<MergeSource>) -> SeriesStream {
    if sources.len() == 1 {
        return sources
            .into_iter()
            .map(|source| source.stream)
            .next()
            .unwrap_or_else(|| stream::empty().boxed());
    }
    Merge::new(sources).boxed()
}

/// The stream behind [`merge`].
struct Merge {
    kernel: SeriesMerge,
    /// What was read ahead from each source.
    ahead: Vec<Ahead>,
    /// The streams that are asked for their next item.
    pulls: FuturesUnordered<Pull>,
    is_over: bool,
}

/// What is known about the next batch of a source.
enum Ahead {
    /// Its stream is among the pulls.
    Pulling,
    /// It has arrived; the stream rests until the batch is taken.
    Arrived(SeriesBatch, SeriesStream),
    /// There is none.
    Ended,
}

/// The next item of a source's stream.
struct Pull {
    source: usize,
    next: stream::StreamFuture<SeriesStream>,
}

impl Pull {
    fn new(source: usize, stream: SeriesStream) -> Self {
        Self {
            source,
            next: stream.into_future(),
        }
    }
}

impl Future for Pull {
    type Output = (usize, Option<Result<SeriesEvent>>, SeriesStream);

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let source = self.source;
        let next = self.next.poll_unpin(context);
        next.map(|(event, stream)| (source, event, stream))
    }
}

impl Merge {
    fn new(sources: Vec<MergeSource>) -> Self {
        let (names, streams): (Vec<_>, Vec<_>) = sources
            .into_iter()
            .map(|source| (source.name, source.stream))
            .unzip();
        let pulls = streams
            .into_iter()
            .enumerate()
            .map(|(source, stream)| Pull::new(source, stream));
        Self {
            ahead: names.iter().map(|_| Ahead::Pulling).collect(),
            kernel: SeriesMerge::new(names),
            pulls: pulls.collect(),
            is_over: false,
        }
    }

    /// Keeps what a source has sent, or returns it when it passes through.
    fn receive(&mut self, pulled: <Pull as Future>::Output) -> Option<Result<SeriesEvent>> {
        let (source, event, stream) = pulled;
        match event {
            None => self.ahead[source] = Ahead::Ended,
            Some(Ok(SeriesEvent::Batch(batch))) => {
                self.ahead[source] = Ahead::Arrived(batch, stream);
            }
            Some(passing) => {
                self.pulls.push(Pull::new(source, stream));
                return Some(passing);
            }
        }
        None
    }

    /// Gives the kernel what it needs of `source`, if it is there, and asks for the next batch.
    fn supply(&mut self, source: usize) -> bool {
        match std::mem::replace(&mut self.ahead[source], Ahead::Pulling) {
            Ahead::Pulling => return false,
            Ahead::Arrived(batch, stream) => {
                self.kernel.feed(source, batch);
                self.pulls.push(Pull::new(source, stream));
            }
            Ahead::Ended => {
                self.kernel.end(source);
                self.ahead[source] = Ahead::Ended;
            }
        }
        true
    }

    fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<SeriesEvent>>> {
        loop {
            // All that has arrived is taken in first, so that notices do not wait for the merge.
            while let Poll::Ready(Some(pulled)) = self.pulls.poll_next_unpin(context) {
                if let Some(passing) = self.receive(pulled) {
                    return Poll::Ready(Some(passing));
                }
            }
            match self.kernel.step() {
                Err(error) => return Poll::Ready(Some(Err(error))),
                Ok(MergeStep::Batch(batch)) => {
                    return Poll::Ready(Some(Ok(SeriesEvent::Batch(batch))));
                }
                Ok(MergeStep::Done) => return Poll::Ready(None),
                Ok(MergeStep::Needs(source)) => {
                    if !self.supply(source) {
                        return Poll::Pending;
                    }
                }
            }
        }
    }
}

impl Stream for Merge {
    type Item = Result<SeriesEvent>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.is_over {
            return Poll::Ready(None);
        }
        let event = this.poll_event(context);
        if let Poll::Ready(None | Some(Err(_))) = event {
            this.is_over = true;
            // The other sources stop working now, not when the stream is dropped.
            this.pulls.clear();
            this.ahead.clear();
        }
        event
    }
}

#[cfg(test)]
mod tests;
