//! What a frame carries, and cutting the events of a stream into frames.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::store::{Missing, SeriesBatch, SeriesEvent};

/// A batch frame is closed when it holds this much, so that big series do not add up to huge messages.
const BATCH_FRAME_BYTES: usize = 4 << 20;

/// One message of a `Series` answer, ready to be encoded.
#[derive(Debug, Clone)]
pub enum Frame {
    /// One series, as peers that know no batches expect it.
    Series(SeriesRun),
    /// Some series.
    Batch(SeriesRun),
    /// Something the user should see.
    Warning(String),
    /// A source that did not contribute all its data.
    Missing(Missing),
    /// An opaque message of the store (a serialised `google.protobuf.Any`).
    Hints(Bytes),
}

/// Neighbouring series of a shared batch.
#[derive(Debug, Clone)]
pub struct SeriesRun {
    pub(super) batch: Arc<SeriesBatch>,
    pub(super) range: Range<usize>,
}

impl SeriesRun {
    /// Returns the number of series.
    pub fn len(&self) -> usize {
        self.range.len()
    }

    /// Reports whether there is no series.
    pub fn is_empty(&self) -> bool {
        self.range.is_empty()
    }
}

/// The frames of one event, in order.
#[derive(Debug, Default)]
pub struct Frames {
    rest: Rest,
}

#[derive(Debug, Default)]
enum Rest {
    #[default]
    Nothing,
    One(Frame),
    Series {
        batch: Arc<SeriesBatch>,
        next: usize,
        /// 1 means frames of the single-series form.
        frame_series_max: usize,
    },
}

impl Frames {
    /// Returns the frames of `event` with at most `response_batch_size` series each; 0 and 1 mean one series
    /// in each.
    pub fn new(event: SeriesEvent, response_batch_size: u64) -> Self {
        let rest = match event {
            SeriesEvent::Batch(batch) => Rest::Series {
                batch: Arc::new(batch),
                next: 0,
                frame_series_max: usize::try_from(response_batch_size)
                    .unwrap_or(usize::MAX)
                    .max(1),
            },
            SeriesEvent::Warning(text) => Rest::One(Frame::Warning(text)),
            SeriesEvent::Missing(missing) => Rest::One(Frame::Missing(missing)),
            SeriesEvent::Hints(any) => Rest::One(Frame::Hints(any)),
        };
        Self { rest }
    }
}

impl Iterator for Frames {
    type Item = Frame;

    fn next(&mut self) -> Option<Frame> {
        match &mut self.rest {
            Rest::Series {
                batch,
                next,
                frame_series_max,
            } if *next < batch.len() => {
                let end = run_end(batch, *next, *frame_series_max);
                let run = SeriesRun {
                    batch: Arc::clone(batch),
                    range: *next..end,
                };
                *next = end;
                Some(match frame_series_max {
                    1 => Frame::Series(run),
                    _ => Frame::Batch(run),
                })
            }
            rest => match std::mem::take(rest) {
                Rest::One(frame) => Some(frame),
                Rest::Nothing | Rest::Series { .. } => None,
            },
        }
    }
}

/// Returns where the frame that starts with the series `start` ends: after one series at least.
fn run_end(batch: &SeriesBatch, start: usize, series_max: usize) -> usize {
    let mut bytes = 0;
    for index in start..batch.len().min(start.saturating_add(series_max)) {
        if bytes >= BATCH_FRAME_BYTES {
            return index;
        }
        let series = batch.get(index);
        bytes += series.labels.key().len();
        bytes += series
            .chunks
            .iter()
            .map(|chunk| chunk.data_len())
            .sum::<usize>();
    }
    batch.len().min(start.saturating_add(series_max))
}
