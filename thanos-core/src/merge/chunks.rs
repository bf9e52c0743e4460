//! The chunks of one series from several blocks as one list that does not overlap.

use crate::block::{GoHeap, chain_order};
use crate::chunk::{self, Aggregate, HistogramRef, SampleRef, Samples, SeriesChunk};
use crate::dedup::{Dedup, split_overlapping};
use crate::error::{Error, Result};
use crate::histogram::CounterResetHint;
use crate::time::Timestamp;

/// What becomes of samples of the same series where chunks of several blocks overlap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MergeOverlaps {
    /// All of them, one for each time: the blocks hold parts of the same samples.
    #[default]
    Chain,
    /// Those of one replica, and of another one after a gap: the blocks come from servers that scrape the same
    /// targets. See [`Dedup::Penalty`].
    Penalty,
}

/// A chunk and the number of the block that it comes from.
#[derive(Debug)]
struct Part {
    source: usize,
    chunk: SeriesChunk,
}

/// Returns the chunks of all `sources`, each of which is a series in one block, sorted by time.
///
/// Chunks that overlap no other are handed on as they are, and so is one of several that are equal.
///
/// # Errors
///
/// `Corrupt` when chunks that overlap can not be decoded, `Invalid` when they are downsampled.
pub fn merge_chunks(
    sources: Vec<Vec<SeriesChunk>>,
    overlaps: MergeOverlaps,
) -> Result<Vec<SeriesChunk>> {
    let mut sources = sources;
    if sources.len() == 1 && !has_overlap(&sources[0]) {
        return Ok(sources.pop().unwrap_or_default());
    }
    let mut out = Vec::with_capacity(sources.iter().map(Vec::len).sum());
    let mut walk = Walk::new(sources);
    while let Some(first) = walk.next() {
        let group = walk.overlapping(first);
        match <[Part; 1]>::try_from(group) {
            Ok([only]) => out.push(only.chunk),
            Err(group) => out.extend(merge_group(&group, overlaps)?),
        }
    }
    Ok(out)
}

fn has_overlap(chunks: &[SeriesChunk]) -> bool {
    let mut pairs = chunks.windows(2);
    pairs.any(|two| two[1].min_time <= two[0].max_time)
}

/// The chunks of all sources by their times, equals in the order of Prometheus.
struct Walk {
    sources: Vec<std::vec::IntoIter<SeriesChunk>>,
    /// The sources that have a chunk left, by the times of that.
    waiting: GoHeap<(Timestamp, Timestamp)>,
}

impl Walk {
    fn new(sources: Vec<Vec<SeriesChunk>>) -> Self {
        let mut walk = Self {
            sources: sources.into_iter().map(Vec::into_iter).collect(),
            waiting: GoHeap::default(),
        };
        for source in 0..walk.sources.len() {
            walk.wait(source);
        }
        walk
    }

    fn wait(&mut self, source: usize) {
        if let Some(chunk) = self.sources[source].as_slice().first() {
            let times = (chunk.min_time, chunk.max_time);
            self.waiting.push(times, source);
        }
    }

    fn next(&mut self) -> Option<Part> {
        let (_, source) = self.waiting.pop()?;
        let chunk = self.sources[source].next()?;
        self.wait(source);
        Some(Part { source, chunk })
    }

    /// Returns `first` with all chunks that overlap it or each other, without those that are equal to the one before.
    fn overlapping(&mut self, first: Part) -> Vec<Part> {
        let mut end = first.chunk.max_time;
        let mut group = vec![first];
        while self.waiting.first().is_some_and(|(min, _)| *min <= end)
            && let Some(next) = self.next()
        {
            end = end.max(next.chunk.max_time);
            if group.last().is_none_or(|last| last.chunk != next.chunk) {
                group.push(next);
            }
        }
        group
    }
}

fn merge_group(group: &[Part], overlaps: MergeOverlaps) -> Result<Vec<SeriesChunk>> {
    let merged = match overlaps {
        MergeOverlaps::Chain => chained(group)?,
        MergeOverlaps::Penalty => deduplicated(group)?,
    };
    Ok(chunk::encode(&merged))
}

fn decode_into(part: &Part, samples: &mut Samples) -> Result<()> {
    let Some(raw) = part.chunk.get(Aggregate::Raw) else {
        return Err(Error::invalid(format!(
            "cannot merge downsampled chunks that overlap, at {:?}",
            part.chunk.time_range()
        )));
    };
    chunk::decode(raw, samples)
}

/// Returns every time once. COMPAT: of two samples at the same time the one that Prometheus' compaction keeps.
fn chained(group: &[Part]) -> Result<Samples> {
    let mut sources = Vec::with_capacity(group.len());
    // The first chunk is the last to be asked.
    for part in group[1..].iter().chain(&group[..1]) {
        let mut samples = Samples::new();
        decode_into(part, &mut samples)?;
        sources.push(samples);
    }
    let mut merged = Merged::default();
    chain_order(&sources, |source, index| {
        merged.push(source, index, &sources[source]);
    });
    Ok(merged.samples)
}

/// Returns the samples of one replica at a time. The chunks of a block are of one replica, unless they overlap.
fn deduplicated(group: &[Part]) -> Result<Samples> {
    let mut replicas: Vec<Samples> = Vec::new();
    let mut by_source: Vec<usize> = group.iter().map(|part| part.source).collect();
    by_source.sort_unstable();
    by_source.dedup();
    // The replica of the first chunk comes first: where nothing else decides, it is stayed with.
    let first = group.first().map_or(0, |part| part.source);
    by_source.sort_by_key(|source| *source != first);
    for source in by_source {
        let own: Vec<&Part> = group.iter().filter(|part| part.source == source).collect();
        let numbers = split_overlapping(own.iter().map(|part| part.chunk.time_range()));
        let before = replicas.len();
        for (part, number) in own.into_iter().zip(numbers) {
            let number = before + number;
            if number == replicas.len() {
                replicas.push(Samples::new());
            }
            decode_into(part, &mut replicas[number])?;
        }
    }
    let sources: Vec<&Samples> = replicas.iter().collect();
    let mut merged = Merged::default();
    for pick in Dedup::Penalty.pick(&sources) {
        merged.push(pick.replica, pick.sample, sources[pick.replica]);
    }
    Ok(merged.samples)
}

/// Samples picked out of several sources.
#[derive(Debug, Default)]
struct Merged {
    samples: Samples,
    last: Option<(usize, usize)>,
}

impl Merged {
    fn push(&mut self, source: usize, index: usize, samples: &Samples) {
        let follows = index
            .checked_sub(1)
            .is_some_and(|before| self.last == Some((source, before)));
        let sample = match samples.get(index) {
            // What a histogram says of the one before it holds for that one only.
            SampleRef::Histogram(histogram) if !follows => {
                SampleRef::Histogram(with_unknown_reset(histogram))
            }
            sample => sample,
        };
        let time = Timestamp::from_millis(samples.times()[index]);
        self.samples
            .push_with_start(samples.start(index), time, sample);
        self.last = Some((source, index));
    }
}

fn with_unknown_reset(mut histogram: HistogramRef<'_>) -> HistogramRef<'_> {
    if histogram.counter_reset_hint != CounterResetHint::Gauge {
        histogram.counter_reset_hint = CounterResetHint::Unknown;
    }
    histogram
}
