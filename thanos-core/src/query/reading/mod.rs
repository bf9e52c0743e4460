//! From the chunks of a series to its samples: what overlaps, and what is downsampled.
//!
//! A store hands on chunks as they lie in blocks. Whoever asked it knows what they mean to the query, which is what a
//! [`Reading`] says and each [`SeriesBatch`](super::SeriesBatch) carries; whoever decodes them heeds it through a
//! [`SeriesReader`]. So chunks are decoded once and never encoded again, and replicas stay apart until the last moment.
//!
//! ```text
//! chunks -> split where they overlap -> replica 0: chunks -> samples (windows: average, one aggregate, total) -+
//!                                       replica 1: ...                                                         +-> dedup
//! ```
//!
//! Sources: Thanos' `pkg/query/iter.go` and `pkg/dedup/iter.go`; `AverageChunkIterator` and
//! `ApplyCounterResetsSeriesIterator` of `pkg/compact/downsample`.

mod reader;
#[cfg(test)]
mod tests;

pub use reader::SeriesReader;

use crate::chunk::{Aggregate, ChunkPayload, SeriesChunk};
use crate::dedup::Dedup;
use crate::time::TimeRange;

/// How the chunks of a series are to be read as samples. The default suits what a database holds: raw chunks, which
/// are parts of the same samples where they overlap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reading {
    /// What stands for the samples of a downsampled window.
    pub windows: WindowValue,
    /// How replicas become one; without it, chunks that overlap hold parts of the same samples.
    pub dedup: Option<Dedup>,
    /// The times that the query needs. Replicas are chosen from its start on, wherever their chunks begin.
    pub range: TimeRange,
}

/// What stands for the samples of a downsampled window. Raw samples serve every function as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WindowValue {
    /// The sum by the count.
    #[default]
    Average,
    /// The number of samples; a raw sample beside windows counts as 1.
    Count,
    /// The sum of the samples.
    Sum,
    /// The smallest sample; histograms have none.
    Min,
    /// The largest sample; histograms have none.
    Max,
    /// The running total of a counter, resets taken out.
    Total,
}

impl WindowValue {
    /// Returns what answers a request for `aggregates`.
    pub fn of(aggregates: &[Aggregate]) -> Self {
        match aggregates {
            [Aggregate::Count] => Self::Count,
            [Aggregate::Sum] => Self::Sum,
            [Aggregate::Min] => Self::Min,
            [Aggregate::Max] => Self::Max,
            [Aggregate::Counter] => Self::Total,
            _ => Self::Average,
        }
    }
}

impl Reading {
    /// Reports whether the samples of `chunks` are what decoding gives, chunk after chunk, where equal times of chunks
    /// that overlap count once.
    pub fn is_plain(&self, chunks: &[SeriesChunk]) -> bool {
        let is_raw = |chunk: &SeriesChunk| matches!(chunk.payload, ChunkPayload::Raw(_));
        let follow = |two: &[SeriesChunk]| two[0].max_time < two[1].min_time;
        chunks.iter().all(is_raw) && (self.dedup.is_none() || chunks.windows(2).all(follow))
    }

    /// Returns how a series is read whose parts are to be read in either way.
    #[must_use]
    pub(super) fn or(self, other: Self) -> Self {
        if self == Self::default() { other } else { self }
    }
}
