//! `prometheus.ReadResponse`: the older answer, series with their samples in one compressed message.
//!
//! ```text
//! ReadResponse  1 QueryResult ...
//! QueryResult   1 TimeSeries ...
//! TimeSeries    1 Label ...  2 Sample ...  4 Histogram ...
//! Sample        1 value (double)  2 timestamp (ms)
//! ```
//!
//! Samples become chunks where Prometheus would cut them.

use bytes::Bytes;
use thanos_core::budget::{Lease, MemoryBudget};
use thanos_core::chunk::{self, Samples};
use thanos_core::labels::KeyReader;
use thanos_core::query::{SeriesBatch, SeriesBatchBuilder};
use thanos_core::time::Timestamp;
use thanos_core::{Error, Result};

use super::histogram::{self, AnyHistogram};
use super::series::split_label;
use crate::wire::proto::Cursor;

/// The series of an answer.
#[derive(Debug, Default)]
pub(in crate::prometheus) struct Sampled {
    pub(in crate::prometheus) batches: Vec<SeriesBatch>,
    /// Series without any sample, which are left out.
    pub(in crate::prometheus) empty_series: u64,
}

/// Returns the message in `compressed`, on lease from `budget`.
///
/// # Errors
///
/// `Corrupt` for bytes that are not compressed by snappy, `LimitExceeded` when the message is too large.
pub(in crate::prometheus) fn decompress(
    compressed: &[u8],
    budget: &MemoryBudget,
) -> Result<(Bytes, Lease)> {
    let corrupt = |error: snap::Error| Error::corrupt(error.to_string());
    let bytes = snap::raw::decompress_len(compressed).map_err(corrupt)?;
    let lease = budget.lease(bytes as u64)?;
    let message = snap::raw::Decoder::new().decompress_vec(compressed);
    Ok((message.map_err(corrupt)?.into(), lease))
}

/// Reads the answer to one query.
///
/// # Errors
///
/// `Corrupt` with the offset when `message` is not such an answer.
pub(in crate::prometheus) fn read(message: &Bytes) -> Result<Sampled> {
    let mut reader = Reader::default();
    let mut results = 0;
    let mut message = Cursor::new(message);
    while let Some((field, wire_type)) = message.field()? {
        match field {
            1 => {
                results += 1;
                reader.read_result(message.expect_message(wire_type)?)?;
            }
            _ => message.skip(wire_type)?,
        }
    }
    if results != 1 {
        return Err(Error::corrupt(format!("{results} results for one query")));
    }
    reader.end_batch();
    Ok(reader.out)
}

#[derive(Debug, Default)]
struct Reader {
    out: Sampled,
    series: SeriesBatchBuilder,
    key: KeyReader,
    floats: Vec<(i64, f64)>,
    histograms: Vec<(i64, AnyHistogram)>,
}

impl Reader {
    fn read_result(&mut self, mut message: Cursor<'_>) -> Result<()> {
        while let Some((field, wire_type)) = message.field()? {
            match field {
                1 => self.read_series(message.expect_message(wire_type)?)?,
                _ => message.skip(wire_type)?,
            }
        }
        Ok(())
    }

    fn read_series(&mut self, mut message: Cursor<'_>) -> Result<()> {
        let offset = message.offset();
        self.key.clear();
        self.floats.clear();
        self.histograms.clear();
        while let Some((field, wire_type)) = message.field()? {
            match field {
                1 => {
                    let (name, value) = split_label(message.expect_message(wire_type)?)?;
                    self.key
                        .push(name, value)
                        .map_err(|error| error.at(offset))?;
                }
                2 => self
                    .floats
                    .push(read_sample(message.expect_message(wire_type)?)?),
                4 => {
                    let histogram = histogram::read(message.expect_message(wire_type)?);
                    self.histograms
                        .push(histogram.map_err(|error| error.at(offset))?);
                }
                _ => message.skip(wire_type)?,
            }
        }
        if self.floats.is_empty() && self.histograms.is_empty() {
            self.out.empty_series += 1;
            return Ok(());
        }
        let samples = self.samples();
        let labels = self.key.finish().map_err(|error| error.at(offset))?;
        self.series.push(labels, chunk::encode(&samples));
        if self.series.is_full() {
            self.end_batch();
        }
        Ok(())
    }

    /// Returns floats and histograms in time order.
    fn samples(&mut self) -> Samples {
        self.floats.sort_by_key(|sample| sample.0);
        self.histograms.sort_by_key(|sample| sample.0);
        let mut samples = Samples::new();
        let mut histograms = self.histograms.drain(..).peekable();
        for (time, value) in self.floats.drain(..) {
            while let Some((time, histogram)) = histograms.next_if(|(before, _)| *before < time) {
                histogram.push_to(&mut samples, Timestamp::from_millis(time));
            }
            samples.push_float(Timestamp::from_millis(time), value);
        }
        for (time, histogram) in histograms {
            histogram.push_to(&mut samples, Timestamp::from_millis(time));
        }
        samples
    }

    fn end_batch(&mut self) {
        if !self.series.is_empty() {
            self.out.batches.push(self.series.finish());
        }
    }
}

fn read_sample(mut message: Cursor<'_>) -> Result<(i64, f64)> {
    let (mut time, mut value) = (0, 0.0);
    while let Some((field, wire_type)) = message.field()? {
        match field {
            1 => value = message.expect_double(wire_type)?,
            2 => time = message.expect_varint(wire_type)?.cast_signed(),
            _ => message.skip(wire_type)?,
        }
    }
    Ok((time, value))
}
