//! Chunks without their deleted samples.
//!
//! A chunk with no deleted time passes untouched and one that is deleted whole is dropped without being read. Only
//! a chunk that is deleted in part is decoded and encoded anew, as Prometheus does when it populates a chunk
//! (`populateWithDelChunkSeriesIterator`).

use super::Intervals;
use crate::chunk::{
    self, Chunk, Encoding, FloatHistogramEncoder, HistogramEncoder, SampleRef, Samples,
    SeriesChunk, XorEncoder,
};
use crate::error::{Error, Result};
use crate::time::{TimeRange, Timestamp};

/// Appends to `out` what remains of `chunk`, which covers `range`, after the times of `deleted` are gone. The
/// container of aggregates of a downsampled block is taken apart.
///
/// # Errors
///
/// `Corrupt` when the chunk does not decode, `Invalid` when its encoding is one that this crate can not write.
pub(super) fn push_remaining(
    chunk: Chunk,
    range: TimeRange,
    deleted: Option<&Intervals>,
    out: &mut Vec<SeriesChunk>,
) -> Result<()> {
    let Some(deleted) = deleted.filter(|deleted| deleted.overlapping(range).next().is_some())
    else {
        out.push(SeriesChunk {
            min_time: range.min,
            max_time: range.max,
            payload: chunk::payload(chunk)?,
        });
        return Ok(());
    };
    let samples = chunk::samples(&chunk)?;
    let mut rewrite = Rewrite::new(chunk.encoding)?;
    for (time, sample) in remaining(&samples, range, deleted) {
        rewrite.append(time, sample, out)?;
    }
    rewrite.finish(out);
    Ok(())
}

/// Yields the samples that are not deleted.
fn remaining<'a>(
    samples: &'a Samples,
    range: TimeRange,
    deleted: &'a Intervals,
) -> impl Iterator<Item = (Timestamp, SampleRef<'a>)> {
    let mut deleted = deleted.overlapping(range).peekable();
    samples.iter().filter(move |(time, _)| {
        while deleted.next_if(|gone| gone.max < *time).is_some() {}
        deleted.peek().is_none_or(|gone| *time < gone.min)
    })
}

/// A chunk in the making; usually one comes out, more where the samples left do not fit one histogram chunk.
#[derive(Debug)]
struct Rewrite {
    encoder: Encoder,
    /// The first and last time in the encoder.
    range: Option<TimeRange>,
}

#[derive(Debug)]
enum Encoder {
    Xor(XorEncoder),
    Histogram(HistogramEncoder),
    FloatHistogram(FloatHistogramEncoder),
}

impl Rewrite {
    fn new(encoding: Encoding) -> Result<Self> {
        let encoder = match encoding {
            Encoding::XOR => Encoder::Xor(XorEncoder::new()),
            Encoding::HISTOGRAM => Encoder::Histogram(HistogramEncoder::new()),
            Encoding::FLOAT_HISTOGRAM => Encoder::FloatHistogram(FloatHistogramEncoder::new()),
            other => {
                return Err(Error::invalid(format!(
                    "a chunk of encoding {other} is deleted in part and can not be encoded anew"
                )));
            }
        };
        let range = None;
        Ok(Self { encoder, range })
    }

    fn append(
        &mut self,
        time: Timestamp,
        sample: SampleRef<'_>,
        out: &mut Vec<SeriesChunk>,
    ) -> Result<()> {
        let finished = match (&mut self.encoder, sample) {
            (Encoder::Xor(encoder), SampleRef::Float(value)) => {
                encoder.append(time, value);
                None
            }
            (Encoder::Histogram(encoder), SampleRef::Histogram(histogram)) => {
                let histogram = histogram.to_integer().ok_or_else(mixed)?;
                encoder.append(time, &histogram)
            }
            (Encoder::FloatHistogram(encoder), SampleRef::Histogram(histogram)) => {
                encoder.append(time, &histogram.to_float())
            }
            (Encoder::Xor(_), SampleRef::Histogram(_))
            | (Encoder::Histogram(_) | Encoder::FloatHistogram(_), SampleRef::Float(_)) => {
                return Err(mixed());
            }
        };
        if let Some(chunk) = finished
            && let Some(range) = self.range.take()
        {
            out.push(SeriesChunk::raw(range.min, range.max, chunk));
        }
        let min = self.range.map_or(time, |range| range.min);
        self.range = Some(TimeRange { min, max: time });
        Ok(())
    }

    fn finish(self, out: &mut Vec<SeriesChunk>) {
        let Some(range) = self.range else {
            return;
        };
        let chunk = match self.encoder {
            Encoder::Xor(encoder) => encoder.finish(),
            Encoder::Histogram(encoder) => encoder.finish(),
            Encoder::FloatHistogram(encoder) => encoder.finish(),
        };
        out.push(SeriesChunk::raw(range.min, range.max, chunk));
    }
}

fn mixed() -> Error {
    Error::internal("a chunk decoded to samples of another kind than its encoding")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::chunk::Aggregate;

    fn xor(times: &[i64]) -> Chunk {
        let mut encoder = XorEncoder::new();
        for time in times {
            encoder.append(Timestamp::from_millis(*time), *time as f64);
        }
        encoder.finish()
    }

    fn decoded(chunks: &[SeriesChunk]) -> Vec<i64> {
        let mut times = Vec::new();
        for part in chunks {
            let samples = chunk::samples(part.get(Aggregate::Raw).unwrap()).unwrap();
            assert_eq!(samples.times().first(), Some(&part.min_time.as_millis()));
            assert_eq!(samples.times().last(), Some(&part.max_time.as_millis()));
            for (time, value) in samples.times().iter().zip(samples.values()) {
                assert_eq!(*time as f64, *value);
                times.push(*time);
            }
        }
        times
    }

    #[test]
    fn a_chunk_outside_the_deleted_time_is_not_touched() {
        let mut deleted = Intervals::default();
        deleted.add(TimeRange::from_millis(10, 20));
        // Not a readable chunk: it would fail if anybody looked inside.
        let opaque = Chunk {
            encoding: Encoding(99),
            data: vec![1].into(),
        };
        let mut out = Vec::new();
        let range = TimeRange::from_millis(21, 30);
        push_remaining(opaque.clone(), range, Some(&deleted), &mut out).unwrap();
        assert_eq!(
            out,
            [SeriesChunk::raw(range.min, range.max, opaque.clone())]
        );
        let range = TimeRange::from_millis(20, 30);
        assert!(push_remaining(opaque, range, Some(&deleted), &mut out).is_err());
    }

    proptest! {
        #[test]
        fn exactly_the_deleted_samples_are_gone(
            times in prop::collection::btree_set(0_i64..100, 1..30),
            deleted in prop::collection::vec((0_i64..100, 0_i64..15), 0..5),
        ) {
            let times: Vec<i64> = times.into_iter().collect();
            let ranges = deleted.iter().map(|(min, len)| TimeRange::from_millis(*min, min + len));
            let deleted = Intervals::from_ranges(ranges.collect());
            let range = TimeRange::from_millis(times[0], times[times.len() - 1]);
            let mut out = Vec::new();
            push_remaining(xor(&times), range, Some(&deleted), &mut out).unwrap();
            let left: Vec<i64> = times
                .into_iter()
                .filter(|time| !deleted.contains(Timestamp::from_millis(*time)))
                .collect();
            prop_assert_eq!(decoded(&out), left);
        }
    }
}
