//! Raw chunks that overlap: decoded, merged and encoded anew.

use super::MergeOverlaps;
use super::chunks::Part;
use super::replicas::{Take, penalty_takes};
use crate::block::chain_order;
use crate::budget::{Lease, MemoryBudget};
use crate::chunk::{
    self, Aggregate, Chunk, Encoding, HistogramRef, SampleRef, Samples, SeriesChunk,
};
use crate::dedup::split_overlapping;
use crate::error::{Error, Result};
use crate::histogram::CounterResetHint;
use crate::time::Timestamp;

/// What a float takes: time and value where it is decoded and in the result, and its place among those that are taken.
const FLOAT_BYTES: u64 = 48;
/// A bucket of a native histogram takes a bit in a chunk, and eight bytes in each of both.
const HISTOGRAM_GROWTH: u64 = 128;

/// Merges raw chunks; keeps its memory from group to group.
#[derive(Debug)]
pub(super) struct SampleMerger {
    overlaps: MergeOverlaps,
    lease: Lease,
    /// Decoded samples, one list for each chunk or replica.
    columns: Vec<Samples>,
    takes: Vec<Take>,
    merged: Samples,
}

impl SampleMerger {
    pub(super) fn new(overlaps: MergeOverlaps, budget: MemoryBudget) -> Result<Self> {
        Ok(Self {
            overlaps,
            lease: budget.lease(0)?,
            columns: Vec::new(),
            takes: Vec::new(),
            merged: Samples::new(),
        })
    }

    /// Leases the memory that decoding `group` takes.
    ///
    /// # Errors
    ///
    /// `LimitExceeded` that names the budget, `Corrupt` when a chunk says that it has more samples than fit its bytes.
    pub(super) fn lease(&mut self, group: &[Part]) -> Result<()> {
        let mut bytes = 0;
        for part in group {
            for aggregate in [Aggregate::Raw].iter().chain(&Aggregate::DOWNSAMPLED) {
                bytes += part.chunk.get(*aggregate).map_or(Ok(0), decoded_bytes)?;
            }
        }
        self.lease.resize(bytes)
    }

    /// Appends the samples of `group`, merged, as chunks to `out`.
    pub(super) fn merge(&mut self, group: &[Part], out: &mut Vec<SeriesChunk>) -> Result<()> {
        self.lease(group)?;
        self.merged.clear();
        match self.overlaps {
            MergeOverlaps::Chain => self.chain(group)?,
            MergeOverlaps::Penalty => self.penalty(group)?,
        }
        out.extend(chunk::encode(&self.merged));
        Ok(())
    }

    /// Returns the columns with this number, empty.
    fn cleared(&mut self, number: usize) -> &mut Samples {
        if self.columns.len() == number {
            self.columns.push(Samples::new());
        }
        let column = &mut self.columns[number];
        column.clear();
        column
    }

    /// Merges every time once. COMPAT: of two samples at the same time the one that Prometheus' compaction keeps.
    fn chain(&mut self, group: &[Part]) -> Result<()> {
        // The first chunk is the last to be asked.
        for (number, part) in group[1..].iter().chain(&group[..1]).enumerate() {
            decode(part, self.cleared(number))?;
        }
        let sources = &self.columns[..group.len()];
        self.takes.clear();
        let takes = &mut self.takes;
        chain_order(sources, |source, at| Take::push(takes, source, at));
        take_all(&self.takes, sources, &mut self.merged);
        Ok(())
    }

    /// Merges the samples of one replica at a time.
    fn penalty(&mut self, group: &[Part]) -> Result<()> {
        let mut count = 0;
        for (part, replica) in replicas_of(group) {
            if replica == count {
                self.cleared(replica);
                count += 1;
            }
            decode(part, &mut self.columns[replica])?;
        }
        let sources = &self.columns[..count];
        let times: Vec<&[i64]> = sources.iter().map(Samples::times).collect();
        penalty_takes(&times, &mut self.takes);
        take_all(&self.takes, sources, &mut self.merged);
        Ok(())
    }
}

/// Returns the bytes that decoding a chunk takes at most.
fn decoded_bytes(chunk: &Chunk) -> Result<u64> {
    let floats = chunk::num_samples(chunk)? as u64 * FLOAT_BYTES;
    Ok(match chunk.encoding {
        Encoding::XOR | Encoding::XOR2 => floats,
        _ => floats + chunk.data.len() as u64 * HISTOGRAM_GROWTH,
    })
}

fn raw(part: &Part) -> Result<&Chunk> {
    let raw = part.chunk.get(Aggregate::Raw);
    raw.ok_or_else(|| Error::internal("a group of raw chunks has a downsampled one"))
}

/// Appends the samples of `part`, which have to come after those in `column`.
fn decode(part: &Part, column: &mut Samples) -> Result<()> {
    let before = column.len().saturating_sub(1);
    chunk::decode(raw(part)?, column)?;
    if column.times()[before..].is_sorted_by(|a, b| a < b) {
        return Ok(());
    }
    let range = part.chunk.time_range();
    let message = format!("samples of the chunk at {range:?} are out of order");
    Err(Error::corrupt(message))
}

/// Returns the chunks of `group` by replica, each with the number of its replica. The chunks of a block are of one
/// replica, unless they overlap.
pub(super) fn replicas_of(group: &[Part]) -> Vec<(&Part, usize)> {
    let mut by_source: Vec<usize> = group.iter().map(|part| part.source).collect();
    by_source.sort_unstable();
    by_source.dedup();
    // The replica of the first chunk comes first: where nothing else decides, it is stayed with.
    let first = group.first().map_or(0, |part| part.source);
    by_source.sort_by_key(|source| *source != first);
    let mut of_replicas = Vec::with_capacity(group.len());
    let mut before = 0;
    for source in by_source {
        let own: Vec<&Part> = group.iter().filter(|part| part.source == source).collect();
        let numbers = split_overlapping(own.iter().map(|part| part.chunk.time_range()));
        let replicas = numbers.iter().max().map_or(0, |number| number + 1);
        let numbered = own.into_iter().zip(numbers);
        of_replicas.extend(numbered.map(|(part, number)| (part, before + number)));
        before += replicas;
    }
    of_replicas
}

/// Copies what is taken of `sources` to `merged`.
fn take_all(takes: &[Take], sources: &[Samples], merged: &mut Samples) {
    let is_plain = |samples: &Samples| samples.is_float_only() && samples.starts().is_empty();
    let is_plain = sources.iter().all(is_plain);
    for take in takes {
        let samples = &sources[take.source];
        if is_plain {
            merged.extend_floats(
                &samples.times()[take.range()],
                &samples.values()[take.range()],
            );
            continue;
        }
        for at in take.range() {
            let sample = match samples.get(at) {
                // What a histogram says of the one before it holds for that one only.
                SampleRef::Histogram(histogram) if at == take.start => {
                    SampleRef::Histogram(with_unknown_reset(histogram))
                }
                sample => sample,
            };
            let time = Timestamp::from_millis(samples.times()[at]);
            merged.push_with_start(samples.start(at), time, sample);
        }
    }
}

fn with_unknown_reset(mut histogram: HistogramRef<'_>) -> HistogramRef<'_> {
    if histogram.counter_reset_hint != CounterResetHint::Gauge {
        histogram.counter_reset_hint = CounterResetHint::Unknown;
    }
    histogram
}
