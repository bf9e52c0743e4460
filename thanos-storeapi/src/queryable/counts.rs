//! How much was selected.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::StreamExt;
use thanos_core::chunk::{ChunkPayload, SeriesChunk, num_samples};
use thanos_core::query::{SeriesBatch, SeriesEvent, SeriesStream};

/// What the selections of a query have brought so far.
#[derive(Debug, Default)]
pub struct SelectCounts {
    series: AtomicU64,
    chunks: AtomicU64,
    samples: AtomicU64,
}

impl SelectCounts {
    /// Returns the number of series.
    pub fn series(&self) -> u64 {
        self.series.load(Ordering::Relaxed)
    }

    /// Returns the number of chunks.
    pub fn chunks(&self) -> u64 {
        self.chunks.load(Ordering::Relaxed)
    }

    /// Returns the number of samples, whether they are needed or not.
    pub fn samples(&self) -> u64 {
        self.samples.load(Ordering::Relaxed)
    }

    fn add(&self, batch: &SeriesBatch) {
        let samples = samples_of(batch);
        self.series.fetch_add(batch.len() as u64, Ordering::Relaxed);
        self.chunks
            .fetch_add(batch.chunk_count() as u64, Ordering::Relaxed);
        self.samples.fetch_add(samples, Ordering::Relaxed);
    }
}

/// Returns how many samples the chunks of `batch` say to have.
pub(crate) fn samples_of(batch: &SeriesBatch) -> u64 {
    let chunks = batch.iter().flat_map(|series| series.chunks);
    chunks.map(samples_of_chunk).sum()
}

/// Of a downsampled chunk those of all aggregates count, as Thanos counts them.
fn samples_of_chunk(chunk: &SeriesChunk) -> u64 {
    // Whoever decodes a damaged chunk says what is wrong with it.
    let count = |chunk| num_samples(chunk).unwrap_or(0) as u64;
    match &chunk.payload {
        ChunkPayload::Raw(raw) => count(raw),
        ChunkPayload::Aggregates(set) => set.iter().flatten().map(count).sum(),
    }
}

/// Returns `series`, counted as it is read.
pub(super) fn counted(series: SeriesStream, counts: Arc<SelectCounts>) -> SeriesStream {
    let count = move |event: &_| {
        if let Ok(SeriesEvent::Batch(batch)) = event {
            counts.add(batch);
        }
    };
    series.inspect(count).boxed()
}
