//! Series with their samples, from which every kind of store under test is made.

use thanos_core::chunk::xor::{self, XorEncoder};
use thanos_core::chunk::{Encoding, SeriesChunk};
use thanos_core::error::{Error, Result};
use thanos_core::labels::Labels;
use thanos_core::time::Timestamp;

use super::{MemSeries, MemStore};

/// The most samples of a float chunk, as Prometheus cuts them.
pub const SAMPLES_PER_CHUNK_MAX: usize = 120;

/// The series that a store under test holds.
#[derive(Debug, Clone, Default)]
pub struct Dataset {
    /// Labels that every answer of the store carries; they win over labels of the series.
    pub external_labels: Labels,
    /// Sorted by labels, without duplicates.
    pub series: Vec<DatasetSeries>,
}

/// One series of a [`Dataset`].
#[derive(Debug, Clone, PartialEq)]
pub struct DatasetSeries {
    /// The labels, without external labels.
    pub labels: Labels,
    /// The samples in time order.
    pub samples: Vec<(Timestamp, f64)>,
}

impl Dataset {
    /// Returns the data set of `series`, which may come in any order.
    pub fn new(external_labels: Labels, mut series: Vec<DatasetSeries>) -> Self {
        series.sort_by(|a, b| a.labels.cmp(&b.labels));
        Self {
            external_labels,
            series,
        }
    }

    /// Returns a fake store of the series.
    pub fn to_mem_store(&self) -> MemStore {
        let series = self.series.iter().map(|series| MemSeries {
            labels: series.labels.clone(),
            chunks: series.to_chunks(),
        });
        MemStore::new(self.external_labels.clone(), series.collect())
    }

    /// Returns the time of the first and the last sample.
    pub fn time_bounds(&self) -> Option<(Timestamp, Timestamp)> {
        let times = || {
            self.series
                .iter()
                .flat_map(|series| series.samples.iter().map(|s| s.0))
        };
        times().min().zip(times().max())
    }
}

impl DatasetSeries {
    /// Returns the samples as XOR chunks of at most [`SAMPLES_PER_CHUNK_MAX`].
    pub fn to_chunks(&self) -> Vec<SeriesChunk> {
        let chunk = |samples: &[(Timestamp, f64)]| {
            let mut encoder = XorEncoder::new();
            for (time, value) in samples {
                encoder.append(*time, *value);
            }
            let (first, last) = (samples[0].0, samples[samples.len() - 1].0);
            SeriesChunk::raw(first, last, encoder.finish())
        };
        self.samples
            .chunks(SAMPLES_PER_CHUNK_MAX)
            .map(chunk)
            .collect()
    }
}

/// Returns the samples of a raw float chunk.
pub(super) fn decode(chunk: &SeriesChunk) -> Result<Vec<(Timestamp, f64)>> {
    let raw = chunk
        .get(thanos_core::chunk::Aggregate::Raw)
        .ok_or_else(|| Error::invalid("the chunk holds no raw samples"))?;
    if raw.encoding != Encoding::XOR {
        return Err(Error::invalid(format!(
            "the chunk is encoded as {}",
            raw.encoding
        )));
    }
    let (mut times, mut values) = (Vec::new(), Vec::new());
    xor::decode_into(&raw.data, &mut times, &mut values)?;
    let times = times.into_iter().map(Timestamp::from_millis);
    Ok(times.zip(values).collect())
}
