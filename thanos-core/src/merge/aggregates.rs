//! Downsampled chunks that overlap: windows of one replica or another, and counters that go on where it changes.
//!
//! Thanos merges the five aggregates one by one and the values of a counter as they stand in the chunks. Each chunk begins
//! its total anew, so that a new chunk of parts of several looks as if there had been resets. Here all aggregates of a
//! window are of the same replica, and the total goes on.
//!
//! The choice is that of the penalty also where all samples are wanted: a window of some of them and one of others can not
//! be added up when they may have samples in common.

use super::chunks::Part;
use super::counters::{MergedCounter, ReplicaCounter};
use super::replicas::penalty_takes;
use super::samples::{SampleMerger, replicas_of};
use crate::chunk::{self, Aggregate, AggregateSet, ChunkPayload, SampleRef, Samples, SeriesChunk};
use crate::downsample::{HistogramWindow, put_histogram_windows};
use crate::error::{Error, Result};
use crate::histogram::{CounterResetHint, FloatHistogram};
use crate::time::Timestamp;

/// The windows of a chunk, as Thanos cuts chunks that it has merged.
const CHUNK_WINDOWS: usize = 120;

/// Appends the windows of `group`, merged, as chunks to `out`; memory is leased by `lease`.
///
/// # Errors
///
/// `Corrupt` when a chunk is damaged, `LimitExceeded` when memory does not suffice.
pub(super) fn merge_aggregates(
    group: &[Part],
    lease: &mut SampleMerger,
    out: &mut Vec<SeriesChunk>,
) -> Result<()> {
    lease.lease(group)?;
    let replicas = decode(group)?;
    let mut takes = Vec::new();
    let times: Vec<&[i64]> = replicas.iter().map(|own| own.counts.times()).collect();
    penalty_takes(&times, &mut takes);
    let taken: Vec<(usize, usize)> = (takes.iter())
        .flat_map(|take| take.range().map(|at| (take.source, at)))
        .collect();
    let is_histogram = |(replica, at): &(usize, usize)| replicas[*replica].is_histogram(*at);
    for stretch in taken.chunk_by(|a, b| is_histogram(a) == is_histogram(b)) {
        match stretch.first().is_some_and(is_histogram) {
            true => put_histograms(&replicas, stretch, out)?,
            false => put_floats(&replicas, stretch, out),
        }
    }
    Ok(())
}

/// The windows of a replica. Every column but that of counts may lack some.
#[derive(Debug, Default)]
struct Replica {
    counts: Samples,
    sums: Samples,
    minima: Samples,
    maxima: Samples,
    /// Of histograms; those of floats are in `counter`.
    totals: Samples,
    counter: ReplicaCounter,
}

fn decode(group: &[Part]) -> Result<Vec<Replica>> {
    let mut replicas: Vec<Replica> = Vec::new();
    for (part, number) in replicas_of(group) {
        if number == replicas.len() {
            replicas.push(Replica::default());
        }
        replicas[number].append(&part.chunk)?;
    }
    Ok(replicas)
}

impl Replica {
    fn append(&mut self, chunk: &SeriesChunk) -> Result<()> {
        let counts = chunk.get(Aggregate::Count);
        let counts = counts.ok_or_else(|| Error::corrupt("container has no count aggregate"))?;
        chunk::decode(counts, &mut self.counts)?;
        if !self.counts.times().is_sorted_by(|a, b| a < b) {
            return Err(Error::corrupt(
                "windows of a downsampled chunk are out of order",
            ));
        }
        for (aggregate, column) in [
            (Aggregate::Sum, &mut self.sums),
            (Aggregate::Min, &mut self.minima),
            (Aggregate::Max, &mut self.maxima),
        ] {
            if let Some(chunk) = chunk.get(aggregate) {
                chunk::decode(chunk, column)?;
            }
        }
        let Some(counter) = chunk.get(Aggregate::Counter) else {
            return Ok(());
        };
        let values = chunk::samples(counter)?;
        match values.is_float_only() {
            true => self.counter.append(&values),
            false => {
                for (time, sample) in values.iter() {
                    self.totals.push(time, sample);
                }
            }
        }
        Ok(())
    }

    fn time(&self, at: usize) -> i64 {
        self.counts.times()[at]
    }

    fn is_histogram(&self, at: usize) -> bool {
        matches!(
            sample_of(&self.sums, self.time(at), at),
            Some(SampleRef::Histogram(_))
        )
    }

    fn histogram(&self, column: &Samples, at: usize) -> Option<FloatHistogram> {
        match sample_of(column, self.time(at), at)? {
            SampleRef::Histogram(histogram) => Some(histogram.to_float()),
            SampleRef::Float(_) => None,
        }
    }
}

/// Returns the sample at `time`, which is likely to be at position `near`.
fn sample_of(column: &Samples, time: i64, near: usize) -> Option<SampleRef<'_>> {
    if column.times().get(near) == Some(&time) {
        return Some(column.get(near));
    }
    let found = column.times().binary_search(&time).ok()?;
    Some(column.get(found))
}

fn put_histograms(
    replicas: &[Replica],
    taken: &[(usize, usize)],
    out: &mut Vec<SeriesChunk>,
) -> Result<()> {
    let mut before = None;
    let windows = taken.iter().filter_map(|(replica, at)| {
        let own = &replicas[*replica];
        let mut total = own.histogram(&own.totals, *at)?;
        let follows = before.replace(*replica) == Some(*replica);
        if !follows && total.counter_reset_hint != CounterResetHint::Gauge {
            total.counter_reset_hint = CounterResetHint::Unknown;
        }
        Some(HistogramWindow {
            time: own.time(*at),
            count: own.counts.values()[*at],
            sum: own.histogram(&own.sums, *at)?,
            total,
        })
    });
    put_histogram_windows(windows, out)
}

/// The aggregates of floats in the order of the container, and what the counter has beside its windows.
#[derive(Debug, Default)]
struct Columns {
    times: Vec<i64>,
    of_windows: [Samples; 4],
    counter: Samples,
}

fn put_floats(replicas: &[Replica], taken: &[(usize, usize)], out: &mut Vec<SeriesChunk>) {
    let mut counter = MergedCounter::default();
    let chunks = taken.chunks(CHUNK_WINDOWS);
    let last = chunks.len().saturating_sub(1);
    for (number, chunk) in chunks.enumerate() {
        let mut columns = Columns::default();
        for (replica, at) in chunk {
            let own = &replicas[*replica];
            let time = Timestamp::from_millis(own.time(*at));
            columns.times.push(own.time(*at));
            let windows = [&own.counts, &own.sums, &own.minima, &own.maxima];
            for (column, to) in windows.into_iter().zip(&mut columns.of_windows) {
                if let Some(SampleRef::Float(value)) = sample_of(column, own.time(*at), *at) {
                    to.push_float(time, value);
                }
            }
            counter.take(*replica, &own.counter, time, |value_time, value| {
                columns.counter.push_float(value_time, value);
            });
        }
        // A second sample at the last time says what comes before the next chunk.
        let end = match number == last {
            true => counter.last_value(),
            false => counter.total(),
        };
        if let (Some(end), Some(time)) = (end, columns.counter.times().last()) {
            columns
                .counter
                .push_float(Timestamp::from_millis(*time), end);
        }
        out.extend(columns.finish());
    }
}

impl Columns {
    fn finish(self) -> Option<SeriesChunk> {
        let mut set = AggregateSet::default();
        let columns = self.of_windows.iter().chain([&self.counter]);
        for (aggregate, column) in Aggregate::DOWNSAMPLED.into_iter().zip(columns) {
            if !column.is_empty() {
                let mut encoder = chunk::XorEncoder::new();
                encoder.extend(column.times(), column.values());
                set[aggregate as usize] = Some(encoder.finish());
            }
        }
        Some(SeriesChunk {
            min_time: Timestamp::from_millis(*self.times.first()?),
            max_time: Timestamp::from_millis(*self.times.last()?),
            payload: ChunkPayload::Aggregates(Box::new(set)),
        })
    }
}
