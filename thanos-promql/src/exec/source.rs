//! From a stream of batches to whole series: joins the parts of a series that neighbouring entries hold.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use futures::StreamExt;
use futures::channel::oneshot;
use thanos_core::chunk::{Aggregate, Chunk, SeriesChunk, num_samples};
use thanos_core::labels::Labels;
use thanos_core::query::{Reading, SeriesBatch, SeriesEvent, SeriesStream};

use super::context::Context;
use super::meter::Meter;
use super::names::MetadataWatch;
use crate::annotations::Annotation;
use crate::error::{Error, Result};

/// The series of one selector, pulled batch by batch.
pub(crate) struct SeriesSource {
    cx: Arc<Context>,
    stream: Stream,
    batch: SeriesBatch,
    next: usize,
    /// The last series of the batch, which may go on in the next one.
    open: Option<ChunkedSeries>,
    meter: Option<Arc<Meter>>,
    /// Is told of every series.
    watch: Arc<MetadataWatch>,
}

/// The engine opens all selectors of a query at once and hands the streams in.
enum Stream {
    Promised(oneshot::Receiver<SeriesStream>),
    Open(SeriesStream),
    Ended,
}

/// A series as it is stored.
#[derive(Debug, Clone)]
pub(crate) struct ChunkedSeries {
    pub(crate) labels: Labels,
    pub(crate) chunks: Vec<SeriesChunk>,
    /// How the chunks are samples.
    pub(crate) reading: Reading,
}

/// What [`SeriesSource::pop`] found.
#[derive(Debug)]
pub(crate) enum Popped {
    /// A whole series.
    Series(ChunkedSeries),
    /// Another batch is needed: call [`SeriesSource::fill`].
    Starved,
    /// There are no more.
    End,
}

impl SeriesSource {
    pub(crate) fn new(
        cx: Arc<Context>,
        stream: oneshot::Receiver<SeriesStream>,
        meter: Option<Arc<Meter>>,
        watch: Arc<MetadataWatch>,
    ) -> Self {
        Self {
            cx,
            stream: Stream::Promised(stream),
            batch: SeriesBatch::default(),
            next: 0,
            open: None,
            meter,
            watch,
        }
    }

    /// Returns what counts the batches, when the query is analyzed.
    pub(crate) fn meter(&self) -> Option<Arc<Meter>> {
        self.meter.clone()
    }

    /// Returns the next whole series that is at hand.
    pub(crate) fn pop(&mut self) -> Popped {
        let popped = self.pop_unwatched();
        match &popped {
            Popped::Series(series) => self.watch.see(series.labels.as_ref()),
            Popped::End => self.watch.end(),
            Popped::Starved => {}
        }
        popped
    }

    fn pop_unwatched(&mut self) -> Popped {
        while self.next < self.batch.len() {
            let labels = self.batch.get(self.next).labels;
            match &mut self.open {
                Some(open) if open.labels.as_ref() == labels => {
                    open.chunks.extend(self.batch.take_chunks(self.next));
                }
                open => {
                    let series = ChunkedSeries {
                        labels: self.batch.labels(self.next),
                        chunks: self.batch.take_chunks(self.next).collect(),
                        reading: self.batch.reading(),
                    };
                    self.next += 1;
                    match open.replace(series) {
                        Some(whole) => return Popped::Series(whole),
                        None => continue,
                    }
                }
            }
            self.next += 1;
        }
        match self.stream {
            Stream::Promised(_) | Stream::Open(_) => Popped::Starved,
            Stream::Ended => self.open.take().map_or(Popped::End, Popped::Series),
        }
    }

    /// Waits for the next batch.
    pub(crate) async fn fill(&mut self) -> Result<()> {
        self.cx.turn().await?;
        let started = self.meter.as_ref().map(|_| Instant::now());
        let filled = self.fill_batch().await;
        if let (Some(meter), Some(started)) = (&self.meter, started) {
            meter.add_wall(started.elapsed());
            count_batch(meter, &self.batch)?;
        }
        filled
    }

    async fn fill_batch(&mut self) -> Result<()> {
        loop {
            let stream = match &mut self.stream {
                Stream::Open(stream) => stream,
                Stream::Ended => return Ok(()),
                Stream::Promised(promise) => {
                    let stream = promise
                        .await
                        .map_err(|_| Error::cancelled("query preparation"))?;
                    self.stream = Stream::Open(stream);
                    continue;
                }
            };
            match stream.next().await {
                None => {
                    self.stream = Stream::Ended;
                    (self.batch, self.next) = (SeriesBatch::default(), 0);
                }
                Some(Err(error)) => {
                    self.stream = Stream::Ended;
                    return Err(Error::expanding_series(error));
                }
                Some(Ok(SeriesEvent::Batch(batch))) => {
                    self.batch = batch;
                    self.next = 0;
                    return Ok(());
                }
                Some(Ok(SeriesEvent::Warning(text))) => {
                    self.cx.annotate(Annotation::storage(text));
                }
                Some(Ok(SeriesEvent::Missing(missing))) => self.cx.note_missing(missing),
                Some(Ok(SeriesEvent::Hints(_))) => {}
            }
        }
    }
}

fn count_batch(meter: &Meter, batch: &SeriesBatch) -> Result<()> {
    let (mut samples, mut bytes) = (0, 0);
    for series in batch.iter() {
        bytes += series.labels.key().len();
        for chunk in series.chunks {
            bytes += chunk.data_len();
            // Of a downsampled chunk one sample for each window.
            let counted = chunk.get(Aggregate::Raw);
            let counted = counted.or_else(|| first_aggregate(chunk));
            if let Some(counted) = counted {
                samples += num_samples(counted)?;
            }
        }
    }
    meter.add_output(batch.len(), samples, bytes as u64);
    Ok(())
}

fn first_aggregate(chunk: &SeriesChunk) -> Option<&Chunk> {
    let mut aggregates = Aggregate::DOWNSAMPLED.into_iter();
    aggregates.find_map(|aggregate| chunk.get(aggregate))
}

impl fmt::Debug for SeriesSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SeriesSource")
            .field("batch", &self.batch.len())
            .field("next", &self.next)
            .field("is_at_end", &matches!(self.stream, Stream::Ended))
            .finish_non_exhaustive()
    }
}
