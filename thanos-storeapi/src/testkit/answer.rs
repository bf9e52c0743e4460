//! A series stream read to its end, for tests to look at.

use bytes::Bytes;
use futures::StreamExt;
use thanos_core::chunk::SeriesChunk;
use thanos_core::error::Result;
use thanos_core::labels::Labels;
use thanos_core::query::{Missing, SeriesEvent, SeriesStream};
use thanos_core::time::{TimeRange, Timestamp};

use super::dataset::decode;

/// All that a series stream said.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Answer {
    /// The series in the order they came, neighbouring parts of one series joined.
    pub series: Vec<AnswerSeries>,
    /// The warnings.
    pub warnings: Vec<String>,
    /// What was missing.
    pub missing: Vec<Missing>,
    /// The hints.
    pub hints: Vec<Bytes>,
}

/// One series of an [`Answer`].
#[derive(Debug, Clone, PartialEq)]
pub struct AnswerSeries {
    /// The labels.
    pub labels: Labels,
    /// The chunks of each of its parts, in the order they came.
    pub parts: Vec<Vec<SeriesChunk>>,
}

impl Answer {
    /// Reads `stream` to its end.
    ///
    /// # Errors
    ///
    /// The error that ended the stream.
    pub async fn collect(mut stream: SeriesStream) -> Result<Self> {
        let mut answer = Self::default();
        while let Some(event) = stream.next().await {
            match event? {
                SeriesEvent::Batch(batch) => {
                    for part in batch.iter() {
                        answer.push(part.labels.to_labels(), part.chunks);
                    }
                }
                SeriesEvent::Warning(warning) => answer.warnings.push(warning),
                SeriesEvent::Missing(missing) => answer.missing.push(missing),
                SeriesEvent::Hints(hints) => answer.hints.push(hints),
            }
        }
        Ok(answer)
    }

    fn push(&mut self, labels: Labels, chunks: &[SeriesChunk]) {
        match self.series.last_mut() {
            Some(last) if last.labels == labels => last.parts.push(chunks.to_vec()),
            _ => self.series.push(AnswerSeries {
                labels,
                parts: vec![chunks.to_vec()],
            }),
        }
    }

    /// Returns the label sets in the order they came.
    pub fn labels(&self) -> Vec<Labels> {
        self.series
            .iter()
            .map(|series| series.labels.clone())
            .collect()
    }
}

impl AnswerSeries {
    /// Returns the chunks of all parts.
    pub fn chunks(&self) -> impl Iterator<Item = &SeriesChunk> {
        self.parts.iter().flatten()
    }

    /// Returns the samples of all chunks in `range`, sorted, equal ones once.
    ///
    /// # Errors
    ///
    /// When a chunk cannot be decoded.
    pub fn samples(&self, range: TimeRange) -> Result<Vec<(Timestamp, f64)>> {
        let mut samples = Vec::new();
        for chunk in self.chunks() {
            samples.extend(decode(chunk)?);
        }
        samples.retain(|(time, _)| range.contains(*time));
        samples.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
        samples.dedup_by(|a, b| a.0 == b.0 && a.1.to_bits() == b.1.to_bits());
        Ok(samples)
    }
}
