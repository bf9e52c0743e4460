//! The data that the load commands of a script have added so far.

use std::collections::BTreeMap;
use std::sync::Arc;

use thanos_core::chunk::{self, SampleRef, Samples};
use thanos_core::labels::Labels;
use thanos_core::query::Queryable;
use thanos_core::time::Timestamp;

use super::load::{Load, LoadedSample};
use crate::testkit::MemoryQueryable;
use crate::testkit::naive::StoredSeries;
use crate::value::SampleValue;

/// Samples by series, in time order.
#[derive(Debug, Default)]
pub(super) struct Storage {
    series: BTreeMap<Labels, Vec<LoadedSample>>,
}

impl Storage {
    /// Adds the samples of a load command.
    ///
    /// # Errors
    ///
    /// When a sample is not newer than the last of its series, or a histogram contradicts itself; the same sample
    /// again is ignored.
    pub(super) fn add(&mut self, load: &Load) -> Result<(), String> {
        for (labels, samples) in &load.series {
            let known = self.series.entry(labels.clone()).or_default();
            for sample in samples {
                if let SampleValue::Histogram(histogram) = &sample.value {
                    let invalid = |error| format!("{labels} at {} ms: {error}", sample.time_ms);
                    histogram.validate().map_err(invalid)?;
                }
                match known.last() {
                    Some(last) if last.time_ms > sample.time_ms => {
                        let ms = sample.time_ms;
                        return Err(format!("out of order sample at {ms} ms of {labels}"));
                    }
                    Some(last) if last.time_ms == sample.time_ms => {
                        if !is_same(&last.value, &sample.value) {
                            let ms = sample.time_ms;
                            return Err(format!("second value at {ms} ms of {labels}"));
                        }
                    }
                    _ => known.push(sample.clone()),
                }
            }
        }
        Ok(())
    }

    /// Returns the data for queries.
    pub(super) fn queryable(&self) -> Arc<dyn Queryable> {
        let mut memory = MemoryQueryable::default();
        for (labels, samples) in &self.series {
            memory.push_samples(labels.clone(), &columns(samples));
        }
        memory.into_queryable()
    }

    /// Returns the data for the naive evaluator.
    pub(super) fn stored(&self) -> Vec<StoredSeries> {
        let series = self.series.iter().map(|(labels, samples)| {
            let chunks = chunk::encode(&columns(samples));
            StoredSeries::from_chunks(labels.clone(), &chunks).expect("it was encoded a moment ago")
        });
        series.collect()
    }
}

fn is_same(a: &SampleValue, b: &SampleValue) -> bool {
    match (a, b) {
        (SampleValue::Float(a), SampleValue::Float(b)) => a.to_bits() == b.to_bits(),
        (SampleValue::Histogram(a), SampleValue::Histogram(b)) => a.same_data(b),
        _ => false,
    }
}

fn columns(samples: &[LoadedSample]) -> Samples {
    let mut columns = Samples::new();
    for sample in samples {
        let [start, time] = [sample.start_ms, sample.time_ms].map(Timestamp::from_millis);
        let value = match &sample.value {
            SampleValue::Float(value) => SampleRef::Float(*value),
            SampleValue::Histogram(histogram) => SampleRef::Histogram((&**histogram).into()),
        };
        columns.push_with_start(start, time, value);
    }
    columns
}
