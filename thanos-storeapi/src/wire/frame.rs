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
    /// Some series, of one batch or of several.
    Batch(Vec<SeriesRun>),
    /// Something the user should see.
    Warning(String),
    /// A source that did not contribute all its data.
    Missing(Missing),
    /// An opaque message of the store (a serialised `google.protobuf.Any`).
    Hints(Bytes),
}

impl Frame {
    /// Returns the number of series in the frame.
    pub fn series_count(&self) -> usize {
        match self {
            Self::Series(run) => run.range.len(),
            Self::Batch(runs) => runs.iter().map(|run| run.range.len()).sum(),
            Self::Warning(_) | Self::Missing(_) | Self::Hints(_) => 0,
        }
    }
}

/// Neighbouring series of a shared batch.
#[derive(Debug, Clone)]
pub struct SeriesRun {
    pub(super) batch: Arc<SeriesBatch>,
    pub(super) range: Range<usize>,
}

/// Cuts the events of a stream into frames: pushed events come out as frames that are full, and what is left when
/// nothing more can be had now comes out with [`Frames::flush`].
#[derive(Debug)]
pub struct Frames {
    /// 1 means frames of the single-series form.
    frame_series_max: usize,
    /// The series of the frame that is being filled.
    open: Vec<SeriesRun>,
    open_series: usize,
    open_bytes: usize,
    /// Series that were pushed and are in no frame yet.
    waiting: Option<SeriesRun>,
    /// What was pushed after all series.
    last: Option<Frame>,
}

impl Frames {
    /// Returns a cutter for frames of at most `response_batch_size` series; 0 and 1 mean one series in each.
    pub fn new(response_batch_size: u64) -> Self {
        let series_max = usize::try_from(response_batch_size).unwrap_or(usize::MAX);
        Self {
            frame_series_max: series_max.max(1),
            open: Vec::new(),
            open_series: 0,
            open_bytes: 0,
            waiting: None,
            last: None,
        }
    }

    /// Takes the next event of the stream, when [`Frames::next_full`] has nothing left of the one before.
    ///
    /// # Panics
    ///
    /// When it has.
    pub fn push(&mut self, event: SeriesEvent) {
        assert!(
            self.waiting.is_none() && self.last.is_none(),
            "an event is pushed after all full frames were taken"
        );
        match event {
            SeriesEvent::Batch(batch) => {
                let range = 0..batch.len();
                let batch = Arc::new(batch);
                self.waiting = Some(SeriesRun { batch, range });
            }
            SeriesEvent::Warning(text) => self.last = Some(Frame::Warning(text)),
            SeriesEvent::Missing(missing) => self.last = Some(Frame::Missing(missing)),
            SeriesEvent::Hints(any) => self.last = Some(Frame::Hints(any)),
        }
    }

    /// Returns the next frame that can take no more series, or `None` when another event is wanted.
    pub fn next_full(&mut self) -> Option<Frame> {
        while let Some(run) = &mut self.waiting {
            let Some(index) = run.range.next() else {
                self.waiting = None;
                break;
            };
            let batch = Arc::clone(&run.batch);
            if self.frame_series_max == 1 {
                let range = index..index + 1;
                return Some(Frame::Series(SeriesRun { batch, range }));
            }
            self.add(batch, index);
            if self.open_series == self.frame_series_max || self.open_bytes >= BATCH_FRAME_BYTES {
                return self.flush();
            }
        }
        // Anything else comes after the series that were pushed before.
        self.last.as_ref()?;
        self.flush().or_else(|| self.last.take())
    }

    /// Returns the series that wait for a frame to be full.
    pub fn flush(&mut self) -> Option<Frame> {
        if self.open.is_empty() {
            return None;
        }
        self.open_series = 0;
        self.open_bytes = 0;
        Some(Frame::Batch(std::mem::take(&mut self.open)))
    }

    fn add(&mut self, batch: Arc<SeriesBatch>, index: usize) {
        let series = batch.get(index);
        self.open_bytes += series.labels.key().len();
        let chunks = series.chunks.iter();
        self.open_bytes += chunks.map(|chunk| chunk.data_len()).sum::<usize>();
        self.open_series += 1;
        match self.open.last_mut() {
            Some(run) if Arc::ptr_eq(&run.batch, &batch) => run.range.end = index + 1,
            _ => self.open.push(SeriesRun {
                batch,
                range: index..index + 1,
            }),
        }
    }
}
