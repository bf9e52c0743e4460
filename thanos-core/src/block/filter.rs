//! Chunks without their deleted samples.
//!
//! A chunk with no deleted time passes untouched and one that is deleted whole is dropped without being read. Only
//! a chunk that is deleted in part is decoded and encoded anew, as Prometheus does when it populates a chunk
//! (`populateWithDelChunkSeriesIterator`).

use super::Intervals;
use crate::chunk::{
    self, Aggregate, AggregateSet, Chunk, ChunkPayload, Encoding, OpenChunk, SampleRef, Samples,
    SeriesChunk,
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
    if chunk.encoding == Encoding::AGGREGATES {
        let set = chunk::decode_aggregates(&chunk.data)?;
        out.extend(remaining_windows(&set, range, deleted)?);
        return Ok(());
    }
    let samples = chunk::samples(&chunk)?;
    // Usually one chunk comes out, more where the histograms left do not fit one.
    let mut open = OpenChunk::new(chunk.encoding)?;
    for (start, time, sample) in remaining(&samples, range, deleted) {
        out.extend(open.append(start, time, sample)?);
    }
    out.extend(open.finish());
    Ok(())
}

/// Returns what remains of the chunks of a series after the times of `deleted` are gone: raw samples, or any of the
/// aggregates of downsampled windows.
///
/// A window of downsampled data says something of all its time: give [`Intervals::widened`] for those.
///
/// # Errors
///
/// `Corrupt` when a chunk that is deleted in part does not decode, `Invalid` when its encoding is one that this crate
/// can not write.
pub fn without_deleted(chunks: Vec<SeriesChunk>, deleted: &Intervals) -> Result<Vec<SeriesChunk>> {
    let mut out = Vec::with_capacity(chunks.len());
    for part in chunks {
        let range = part.time_range();
        if deleted.covers(range) {
            continue;
        }
        if deleted.overlapping(range).next().is_none() {
            out.push(part);
            continue;
        }
        match part.payload {
            ChunkPayload::Raw(chunk) => push_remaining(chunk, range, Some(deleted), &mut out)?,
            ChunkPayload::Aggregates(set) => out.extend(remaining_windows(&set, range, deleted)?),
        }
    }
    Ok(out)
}

/// Returns the windows of `set` that are left, if there are any.
fn remaining_windows(
    set: &AggregateSet,
    range: TimeRange,
    deleted: &Intervals,
) -> Result<Option<SeriesChunk>> {
    let mut left = AggregateSet::default();
    let mut covered: Option<TimeRange> = None;
    for (index, chunk) in set.iter().enumerate() {
        let Some(chunk) = chunk else { continue };
        let is_counter = index == Aggregate::Counter as usize;
        let Some(part) = remaining_aggregate(chunk, is_counter, range, deleted)? else {
            continue;
        };
        let own = part.time_range();
        covered = Some(covered.map_or(own, |all| TimeRange {
            min: all.min.min(own.min),
            max: all.max.max(own.max),
        }));
        left[index] = part.get(Aggregate::Raw).cloned();
    }
    Ok(covered.map(|covered| SeriesChunk {
        min_time: covered.min,
        max_time: covered.max,
        payload: ChunkPayload::Aggregates(Box::new(left)),
    }))
}

/// Returns what is left of one aggregate.
///
/// A counter ends with its last time twice, and the second value is the last one that was scraped: by it a reader sees a
/// reset before the next chunk. It stays the last one, at the last time that is left.
fn remaining_aggregate(
    chunk: &Chunk,
    is_counter: bool,
    range: TimeRange,
    deleted: &Intervals,
) -> Result<Option<SeriesChunk>> {
    let samples = chunk::samples(chunk)?;
    let times = samples.times();
    let scraped = match times {
        [.., before, last] if is_counter && before == last => Some(samples.get(times.len() - 1)),
        _ => None,
    };
    let mut open = OpenChunk::new(chunk.encoding)?;
    let mut last_left = None;
    for (start, time, sample) in remaining(&samples, range, deleted) {
        if open.append(start, time, sample)?.is_some() {
            let message = "what is left of a chunk of aggregates does not fit one chunk";
            return Err(Error::invalid(message));
        }
        last_left = Some(time);
    }
    if let (Some(scraped), Some(time)) = (scraped, last_left)
        && Some(time.as_millis()) != times.last().copied()
        && let Some(without) = open.append(Timestamp::from_millis(0), time, scraped)?
    {
        // A histogram that can not follow in the same chunk: the next chunk is read as going on from the total.
        return Ok(Some(without));
    }
    Ok(open.finish())
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
    use crate::chunk::{Xor2Encoder, XorEncoder};

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

    fn floats(samples: &[(i64, f64)]) -> Chunk {
        let mut encoder = XorEncoder::new();
        for (time, value) in samples {
            encoder.append(Timestamp::from_millis(*time), *value);
        }
        encoder.finish()
    }

    fn aggregates(parts: &[(Aggregate, &[(i64, f64)])]) -> SeriesChunk {
        let mut set = AggregateSet::default();
        for (aggregate, samples) in parts {
            set[*aggregate as usize] = Some(floats(samples));
        }
        SeriesChunk {
            min_time: Timestamp::from_millis(10),
            max_time: Timestamp::from_millis(180),
            payload: ChunkPayload::Aggregates(Box::new(set)),
        }
    }

    fn pairs(chunk: &Chunk) -> Vec<(i64, f64)> {
        let samples = chunk::samples(chunk).unwrap();
        (samples.times().iter().copied())
            .zip(samples.values().iter().copied())
            .collect()
    }

    #[test]
    fn deleted_windows_are_gone_and_the_last_scraped_value_stays_last() {
        let chunk = aggregates(&[
            (
                Aggregate::Count,
                &[(49, 3.0), (99, 3.0), (149, 3.0), (180, 2.0)],
            ),
            (
                Aggregate::Counter,
                &[
                    (10, 1.0),
                    (49, 5.0),
                    (99, 15.0),
                    (149, 35.0),
                    (180, 55.0),
                    (180, 40.0),
                ],
            ),
        ]);
        let mut deleted = Intervals::default();
        deleted.add(TimeRange::from_millis(120, 500));
        let left = without_deleted(vec![chunk.clone()], &deleted.widened(50)).unwrap();
        let [left] = &left[..] else {
            panic!("{left:?}")
        };
        assert_eq!(left.time_range(), TimeRange::from_millis(10, 99));
        let count = left.get(Aggregate::Count).unwrap();
        assert_eq!(pairs(count), [(49, 3.0), (99, 3.0)]);
        let counter = left.get(Aggregate::Counter).unwrap();
        assert_eq!(
            pairs(counter),
            [(10, 1.0), (49, 5.0), (99, 15.0), (99, 40.0)]
        );
        assert_eq!(left.get(Aggregate::Sum), None);

        let all = Intervals::from_ranges(vec![TimeRange::from_millis(0, 200)]);
        assert_eq!(without_deleted(vec![chunk.clone()], &all).unwrap(), []);
        let none = Intervals::from_ranges(vec![TimeRange::from_millis(200, 900)]);
        assert_eq!(
            without_deleted(vec![chunk.clone()], &none).unwrap(),
            [chunk]
        );
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
