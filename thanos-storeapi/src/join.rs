//! Joining the neighbouring parts of a sorted series stream into whole series.
//!
//! After a merge, the parts of one series are neighbours: replicas whose labels became equal, blocks that overlap,
//! the same block behind two gateways. Each series comes out once, with the chunks of all parts in time order and
//! identical chunks once.

use std::collections::VecDeque;

use futures::{StreamExt, stream};
use thanos_core::chunk::SeriesChunk;
use thanos_core::error::Result;
use thanos_core::labels::Labels;
use thanos_core::query::{SeriesBatch, SeriesBatchBuilder, SeriesEvent, SeriesStream};

/// Returns the whole series of a sorted stream, at most `limit` of them (0: all).
///
/// Batches without anything to join pass as they are. A batch waits for the next one, which may start with another
/// part of its last series. The stream ends at the limit without reading on.
pub fn join_series(input: SeriesStream, limit: u64) -> SeriesStream {
    let join = Join {
        input: Some(input),
        held: None,
        open: None,
        ready: VecDeque::new(),
        left: if limit == 0 { u64::MAX } else { limit },
    };
    stream::unfold(
        join,
        |mut join| async move { Some((join.next().await?, join)) },
    )
    .boxed()
}

struct Join {
    /// `None` after the end, an error, or the limit.
    input: Option<SeriesStream>,
    /// The newest batch as it came: nothing is known yet that goes on with its last series.
    held: Option<SeriesBatch>,
    /// A series that goes on from batch to batch; nothing is held while there is one.
    open: Option<Part>,
    ready: VecDeque<SeriesBatch>,
    left: u64,
}

/// A series of which parts have come.
struct Part {
    labels: Labels,
    chunks: Vec<SeriesChunk>,
}

impl Join {
    async fn next(&mut self) -> Option<Result<SeriesEvent>> {
        loop {
            if let Some(batch) = self.ready.pop_front() {
                return Some(Ok(SeriesEvent::Batch(self.within_limit(batch)?)));
            }
            match self.input.as_mut()?.next().await {
                Some(Ok(SeriesEvent::Batch(batch))) => self.push(batch),
                // A notice speaks of the whole answer and need not wait for the held series.
                Some(Ok(notice)) => return Some(Ok(notice)),
                Some(Err(error)) => {
                    self.input = None;
                    return Some(Err(error));
                }
                None => {
                    self.flush();
                    self.input = None;
                    let batch = self.ready.pop_front()?;
                    return Some(Ok(SeriesEvent::Batch(self.within_limit(batch)?)));
                }
            }
        }
    }

    fn push(&mut self, batch: SeriesBatch) {
        if batch.is_empty() {
            return;
        }
        if let Some(held) = self.held.take() {
            let last = held.len() - 1;
            if held.get(last).labels == batch.get(0).labels {
                let from = (0..last)
                    .rev()
                    .find(|index| held.get(*index).labels != held.get(last).labels)
                    .map_or(0, |before| before + 1);
                self.open = Some(Part {
                    labels: held.get(last).labels.to_labels(),
                    chunks: chunks_of(&held, from..held.len()),
                });
                self.make_ready(held.slice(0..from));
            } else {
                self.make_ready(held);
            }
        }
        let Some(open) = &mut self.open else {
            self.held = Some(batch);
            return;
        };
        let more = batch
            .iter()
            .take_while(|series| series.labels == open.labels.as_ref())
            .count();
        open.chunks.extend(chunks_of(&batch, 0..more));
        if more < batch.len() {
            self.flush();
            self.held = Some(batch.slice(more..batch.len()));
        }
    }

    /// Makes the series ready that wait for another part.
    fn flush(&mut self) {
        if let Some(open) = self.open.take() {
            let mut whole = SeriesBatchBuilder::new();
            whole.push(open.labels.as_ref(), in_order(open.chunks));
            self.ready.push_back(whole.finish());
        }
        if let Some(held) = self.held.take() {
            self.make_ready(held);
        }
    }

    fn make_ready(&mut self, batch: SeriesBatch) {
        if !batch.is_empty() {
            self.ready.push_back(joined(batch));
        }
    }

    /// Returns what the limit lets through of `batch`; after the last series, nothing is read any more.
    fn within_limit(&mut self, batch: SeriesBatch) -> Option<SeriesBatch> {
        let count = u64::try_from(batch.len()).unwrap_or(u64::MAX);
        let batch = match usize::try_from(self.left) {
            Ok(left) if left < batch.len() => batch.slice(0..left),
            _ => batch,
        };
        self.left = self.left.saturating_sub(count);
        if self.left == 0 {
            self.input = None;
            self.ready.clear();
        }
        (!batch.is_empty()).then_some(batch)
    }
}

/// Returns the batch with equal neighbours joined.
fn joined(batch: SeriesBatch) -> SeriesBatch {
    let is_part = |index: usize| batch.get(index).labels == batch.get(index - 1).labels;
    if !batch.has_repeats() {
        return batch;
    }
    let mut whole = SeriesBatchBuilder::new();
    let mut from = 0;
    for to in 1..=batch.len() {
        if to < batch.len() && is_part(to) {
            continue;
        }
        let labels = batch.get(from).labels;
        if to - from == 1 {
            whole.push(labels, batch.get(from).chunks.iter().cloned());
        } else {
            whole.push(labels, in_order(chunks_of(&batch, from..to)));
        }
        from = to;
    }
    whole.finish()
}

fn chunks_of(batch: &SeriesBatch, range: std::ops::Range<usize>) -> Vec<SeriesChunk> {
    range
        .flat_map(|index| batch.get(index).chunks.iter().cloned())
        .collect()
}

/// Returns the chunks sorted by start time then end time, identical ones once.
///
/// Thanos compares hashes of the data; here the bytes decide.
fn in_order(mut chunks: Vec<SeriesChunk>) -> Vec<SeriesChunk> {
    // In an order that does not depend on which store answered first, and in which equal ones are neighbours.
    chunks.sort_by(SeriesChunk::cmp_by_time);
    chunks.dedup();
    chunks
}

#[cfg(test)]
mod tests;
