//! Downsampled chunks as the samples that a function reads.
//!
//! PromQL knows samples, not windows. Which aggregate stands for the samples follows from the function
//! ([`aggregates_for`](super::aggregates_for)): one of count, sum, min and max is handed on as it is, the average is sum by
//! count window by window, and counters are made whole again over all chunks of a series. Raw chunks serve every
//! function and pass untouched.
//!
//! Sources: Thanos pkg/query/iter.go, pkg/compact/downsample (`AverageChunkIterator`, `ApplyCounterResetsSeriesIterator`).

use futures::StreamExt;
use thanos_core::chunk::{
    self, Aggregate, Chunk, ChunkPayload, Encoding, FloatHistogramEncoder, SampleRef, Samples,
    SeriesChunk, XorEncoder,
};
use thanos_core::downsample::CounterTotal;
use thanos_core::error::{Error, Result};
use thanos_core::histogram::FloatHistogram;
use thanos_core::query::{SeriesBatch, SeriesBatchBuilder, SeriesEvent, SeriesStream};
use thanos_core::time::{TimeRange, Timestamp};

use crate::policy::until_error;

/// The samples after which a counter chunk is cut, as everywhere.
const SAMPLES_PER_CHUNK_MAX: usize = 120;

/// Returns the series with raw chunks only, made from the aggregates that the function reads.
///
/// Every series must come whole: a counter is a running total over its chunks.
pub(super) fn to_samples(series: SeriesStream, wanted: Vec<Aggregate>) -> SeriesStream {
    let converted = series.map(move |event| match event {
        Ok(SeriesEvent::Batch(batch)) if batch.iter().any(|s| is_downsampled(s.chunks)) => {
            convert(&batch, &wanted).map(SeriesEvent::Batch)
        }
        other => other,
    });
    until_error(converted.boxed())
}

fn is_downsampled(chunks: &[SeriesChunk]) -> bool {
    chunks
        .iter()
        .any(|chunk| matches!(chunk.payload, ChunkPayload::Aggregates(_)))
}

fn convert(batch: &SeriesBatch, wanted: &[Aggregate]) -> Result<SeriesBatch> {
    let mut converted = SeriesBatchBuilder::new();
    for series in batch.iter() {
        let mut chunks = series.chunks.to_vec();
        if is_downsampled(&chunks) {
            chunks = match wanted {
                [Aggregate::Counter] => counters(&chunks),
                [one] => chunks
                    .iter()
                    .filter_map(|chunk| pick(chunk, *one).transpose())
                    .collect(),
                _ => averages(&chunks),
            }
            .map_err(|error| error.context(format_args!("downsampled series {}", series.labels)))?;
        }
        converted.push(series.labels, chunks);
    }
    Ok(converted.finish())
}

/// Returns the raw chunk, or else the chunk of `aggregate`.
fn part(chunk: &SeriesChunk, aggregate: Aggregate) -> Option<&Chunk> {
    chunk.get(Aggregate::Raw).or_else(|| chunk.get(aggregate))
}

fn missing(aggregate: Aggregate) -> Error {
    Error::corrupt(format!(
        "a chunk has neither raw samples nor the aggregate {aggregate:?}"
    ))
}

/// Returns the chunk with one aggregate as its samples; `None` where no function that reads it reads the series.
fn pick(chunk: &SeriesChunk, aggregate: Aggregate) -> Result<Option<SeriesChunk>> {
    if let Some(found) = part(chunk, aggregate) {
        return Ok(Some(SeriesChunk::raw(
            chunk.min_time,
            chunk.max_time,
            found.clone(),
        )));
    }
    // Native histograms have no minimum and maximum, and the functions that want one pass over histograms.
    let has_no_order = matches!(aggregate, Aggregate::Min | Aggregate::Max);
    let is_histogram = |sum: &Chunk| !matches!(sum.encoding, Encoding::XOR | Encoding::XOR2);
    let sum = chunk
        .get(Aggregate::Sum)
        .or_else(|| chunk.get(Aggregate::Counter));
    if has_no_order && sum.is_none_or(is_histogram) {
        return Ok(None);
    }
    Err(missing(aggregate))
}

fn averages(chunks: &[SeriesChunk]) -> Result<Vec<SeriesChunk>> {
    let mut out = Vec::with_capacity(chunks.len());
    for chunk in chunks {
        if let Some(raw) = chunk.get(Aggregate::Raw) {
            out.push(SeriesChunk::raw(
                chunk.min_time,
                chunk.max_time,
                raw.clone(),
            ));
            continue;
        }
        let aggregate = |which| chunk.get(which).ok_or_else(|| missing(which));
        let counts = chunk::samples(aggregate(Aggregate::Count)?)?;
        let sums = chunk::samples(aggregate(Aggregate::Sum)?)?;
        if counts.times() != sums.times() {
            return Err(Error::corrupt("the windows of count and sum differ"));
        }
        let mut writer = Writer::default();
        for ((time, sum), count) in sums.iter().zip(counts.values()) {
            match sum {
                SampleRef::Float(sum) => writer.push_float(time, sum / count, &mut out),
                SampleRef::Histogram(sum) => {
                    writer.push_histogram(time, &divided(sum.to_float(), *count), &mut out);
                }
            }
        }
        writer.flush(&mut out);
    }
    Ok(out)
}

fn divided(mut histogram: FloatHistogram, by: f64) -> FloatHistogram {
    histogram.count /= by;
    histogram.sum /= by;
    histogram.zero_count /= by;
    histogram
        .buckets_mut()
        .iter_mut()
        .for_each(|bucket| *bucket /= by);
    histogram
}

/// Returns the counter over all chunks with the resets taken out.
///
/// Chunks of replicas overlap; each run of chunks that do not is a counter of its own.
fn counters(chunks: &[SeriesChunk]) -> Result<Vec<SeriesChunk>> {
    let mut runs: Vec<Vec<&SeriesChunk>> = Vec::new();
    for chunk in chunks {
        let follows = |run: &&mut Vec<&SeriesChunk>| {
            run.last()
                .is_some_and(|last| last.max_time < chunk.min_time)
        };
        match runs.iter_mut().find(follows) {
            Some(run) => run.push(chunk),
            None => runs.push(vec![chunk]),
        }
    }
    let mut out = Vec::new();
    for run in runs {
        counter(&run, &mut out)?;
    }
    out.sort_by_key(|chunk| (chunk.min_time, chunk.max_time));
    Ok(out)
}

/// Adds up one counter.
///
/// A downsampled counter chunk ends with a second sample at the last time: the true last value, which tells whether the
/// next chunk begins after a reset.
fn counter(run: &[&SeriesChunk], out: &mut Vec<SeriesChunk>) -> Result<()> {
    let mut total = CounterTotal::default();
    let mut writer = Writer::default();
    let mut samples = Samples::new();
    for chunk in run {
        let part = part(chunk, Aggregate::Counter).ok_or_else(|| missing(Aggregate::Counter))?;
        samples.clear();
        chunk::decode(part, &mut samples)?;
        for (time, sample) in samples.iter() {
            match sample {
                SampleRef::Float(value) => {
                    if let Some(value) = total.add(time, value) {
                        writer.push_float(time, value, out);
                    }
                }
                SampleRef::Histogram(histogram) => {
                    // The resets of histograms show in their buckets and need no help.
                    if total.is_news(time) {
                        writer.push_histogram(time, &histogram.to_float(), out);
                    }
                }
            }
        }
    }
    writer.flush(out);
    Ok(())
}

/// Writes samples into raw chunks.
#[derive(Debug, Default)]
struct Writer {
    floats: Option<(TimeRange, XorEncoder)>,
    histograms: Option<(TimeRange, FloatHistogramEncoder)>,
}

impl Writer {
    fn push_float(&mut self, time: Timestamp, value: f64, out: &mut Vec<SeriesChunk>) {
        let is_full = |encoder: &XorEncoder| encoder.num_samples() >= SAMPLES_PER_CHUNK_MAX;
        if self.histograms.is_some() || self.floats.as_ref().is_some_and(|(_, e)| is_full(e)) {
            self.flush(out);
        }
        let start = TimeRange {
            min: time,
            max: time,
        };
        let (range, encoder) = self
            .floats
            .get_or_insert_with(|| (start, XorEncoder::new()));
        range.max = time;
        encoder.append(time, value);
    }

    fn push_histogram(
        &mut self,
        time: Timestamp,
        value: &FloatHistogram,
        out: &mut Vec<SeriesChunk>,
    ) {
        if self.floats.is_some() {
            self.flush(out);
        }
        let start = TimeRange {
            min: time,
            max: time,
        };
        let (range, encoder) = self
            .histograms
            .get_or_insert_with(|| (start, FloatHistogramEncoder::new()));
        if let Some(full) = encoder.append(time, value) {
            out.push(SeriesChunk::raw(range.min, range.max, full));
            range.min = time;
        }
        range.max = time;
    }

    fn flush(&mut self, out: &mut Vec<SeriesChunk>) {
        if let Some((range, encoder)) = self.floats.take() {
            out.push(SeriesChunk::raw(range.min, range.max, encoder.finish()));
        }
        if let Some((range, encoder)) = self.histograms.take() {
            out.push(SeriesChunk::raw(range.min, range.max, encoder.finish()));
        }
    }
}

#[cfg(test)]
mod tests;
