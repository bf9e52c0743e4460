//! Stored series as the naive evaluator takes them.

use std::sync::Arc;

use thanos_core::chunk::{self, Aggregate, SampleRef, Samples, SeriesChunk};
use thanos_core::labels::Labels;
use thanos_core::time::Timestamp;

use crate::value::SampleValue;

/// A sample of stored data.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredSample {
    /// When.
    pub time: Timestamp,
    /// When the counter began, if that is known.
    pub start: Option<Timestamp>,
    /// What.
    pub value: SampleValue,
}

/// A stored series.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct StoredSeries {
    /// The labels.
    pub labels: Labels,
    /// The samples, ascending in time.
    pub samples: Vec<StoredSample>,
}

impl StoredSeries {
    /// Returns the chunks of the series, for those who read chunks.
    pub fn to_chunks(&self) -> Vec<SeriesChunk> {
        let mut samples = Samples::new();
        for sample in &self.samples {
            let value = match &sample.value {
                SampleValue::Float(value) => SampleRef::Float(*value),
                SampleValue::Histogram(histogram) => SampleRef::Histogram((&**histogram).into()),
            };
            let start = sample.start.unwrap_or(Timestamp::from_millis(0));
            samples.push_with_start(start, sample.time, value);
        }
        chunk::encode(&samples)
    }

    /// Returns the series that `chunks` hold; the hints of histograms may be others than before.
    ///
    /// # Errors
    ///
    /// When a chunk is corrupt.
    pub fn from_chunks(labels: Labels, chunks: &[SeriesChunk]) -> thanos_core::Result<Self> {
        let mut columns = Samples::new();
        for chunk in chunks.iter().filter_map(|part| part.get(Aggregate::Raw)) {
            chunk::decode(chunk, &mut columns)?;
        }
        let sample = |(index, (time, sample)): (usize, (Timestamp, SampleRef<'_>))| {
            let start = columns.start(index);
            StoredSample {
                time,
                start: (start.as_millis() != 0).then_some(start),
                value: match sample {
                    SampleRef::Float(value) => SampleValue::Float(value),
                    SampleRef::Histogram(view) => SampleValue::Histogram(Arc::new(view.to_float())),
                },
            }
        };
        let samples = columns.iter().enumerate().map(sample).collect();
        Ok(Self { labels, samples })
    }
}
