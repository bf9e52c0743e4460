//! Chunks without their deleted samples.
//!
//! A chunk with no deleted time passes untouched and one that is deleted whole is dropped without being read. Only
//! a chunk that is deleted in part is decoded and encoded anew, as Prometheus does when it populates a chunk
//! (`populateWithDelChunkSeriesIterator`).

use super::Intervals;
use crate::chunk::{self, Chunk, OpenChunk, SampleRef, Samples, SeriesChunk};
use crate::error::Result;
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
    // Usually one chunk comes out, more where the histograms left do not fit one.
    let mut open = OpenChunk::new(chunk.encoding)?;
    for (start, time, sample) in remaining(&samples, range, deleted) {
        out.extend(open.append(start, time, sample)?);
    }
    out.extend(open.finish());
    Ok(())
}

/// Yields the samples that are not deleted, with their start timestamps.
fn remaining<'a>(
    samples: &'a Samples,
    range: TimeRange,
    deleted: &'a Intervals,
) -> impl Iterator<Item = (Timestamp, Timestamp, SampleRef<'a>)> {
    let mut deleted = deleted.overlapping(range).peekable();
    let all = samples.iter().enumerate();
    let all = all.map(|(index, (time, sample))| (samples.start(index), time, sample));
    all.filter(move |(_, time, _)| {
        while deleted.next_if(|gone| gone.max < *time).is_some() {}
        deleted.peek().is_none_or(|gone| *time < gone.min)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::chunk::{Aggregate, Encoding, Xor2Encoder, XorEncoder};

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

    #[test]
    fn what_remains_keeps_its_start_timestamps() {
        let mut encoder = Xor2Encoder::new();
        for ms in 1..=5 {
            let [start, time] = [-ms, ms].map(Timestamp::from_millis);
            encoder.append(start, time, 1.0);
        }
        let deleted = Intervals::from_ranges(vec![TimeRange::from_millis(2, 3)]);
        let mut out = Vec::new();
        let range = TimeRange::from_millis(1, 5);
        push_remaining(encoder.finish(), range, Some(&deleted), &mut out).unwrap();
        let samples = chunk::samples(out[0].get(Aggregate::Raw).unwrap()).unwrap();
        assert_eq!(samples.times(), [1, 4, 5]);
        assert_eq!(samples.starts(), [-1, -4, -5]);
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
