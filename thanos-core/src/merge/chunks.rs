//! The chunks of one series from several blocks as one list that does not overlap.

use super::aggregates::merge_aggregates;
use super::samples::SampleMerger;
use crate::block::GoHeap;
use crate::budget::MemoryBudget;
use crate::chunk::{ChunkPayload, SeriesChunk};
use crate::error::{Error, Result};
use crate::time::Timestamp;

/// What becomes of samples of the same series where chunks of several blocks overlap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MergeOverlaps {
    /// All of them, one for each time: the blocks hold parts of the same samples. Downsampled windows are those of one
    /// replica at a time even so.
    #[default]
    Chain,
    /// Those of one replica, and of another one after a gap: the blocks come from servers that scrape the same
    /// targets. See [`Dedup::Penalty`](crate::dedup::Dedup::Penalty).
    ///
    /// The chunks of a block are of one replica, unless they overlap. Thanos takes each chunk for a replica of its own,
    /// and so it loses a few samples wherever one ends; here only the gaps of replicas count.
    Penalty,
}

/// A chunk and the number of the block that it comes from.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) source: usize,
    pub(super) chunk: SeriesChunk,
}

/// Returns the chunks of all `sources`, each of which is a series in one block, sorted by time.
///
/// Chunks that overlap no other are handed on as they are, and so is one of several that are equal. Of downsampled chunks
/// whole windows are taken of one replica or the other; a counter goes on where the replica changes.
///
/// # Errors
///
/// `Corrupt` when chunks that overlap can not be decoded, or are raw and downsampled ones.
pub fn merge_chunks(
    sources: Vec<Vec<SeriesChunk>>,
    overlaps: MergeOverlaps,
) -> Result<Vec<SeriesChunk>> {
    ChunkMerger::new(overlaps, MemoryBudget::unlimited())?.merge(sources)
}

/// Merges the chunks of series after series.
#[derive(Debug)]
pub(super) struct ChunkMerger {
    samples: SampleMerger,
    group: Vec<Part>,
}

impl ChunkMerger {
    /// Returns a merger that leases what it decodes from `budget`.
    pub(super) fn new(overlaps: MergeOverlaps, budget: MemoryBudget) -> Result<Self> {
        Ok(Self {
            samples: SampleMerger::new(overlaps, budget)?,
            group: Vec::new(),
        })
    }

    /// Returns what [`merge_chunks`] does.
    pub(super) fn merge(&mut self, mut sources: Vec<Vec<SeriesChunk>>) -> Result<Vec<SeriesChunk>> {
        if sources.len() == 1 && !has_overlap(&sources[0]) {
            return Ok(sources.pop().unwrap_or_default());
        }
        let mut out = Vec::with_capacity(sources.iter().map(Vec::len).sum());
        let mut walk = Walk::new(sources);
        while let Some(first) = walk.next() {
            walk.overlapping(first, &mut self.group);
            match self.group.len() {
                1 => out.extend(self.group.drain(..).map(|part| part.chunk)),
                _ => self.merge_group(&mut out)?,
            }
        }
        Ok(out)
    }

    fn merge_group(&mut self, out: &mut Vec<SeriesChunk>) -> Result<()> {
        let raw = |part: &&Part| matches!(part.chunk.payload, ChunkPayload::Raw(_));
        match self.group.iter().filter(raw).count() {
            0 => merge_aggregates(&self.group, &mut self.samples, out),
            raw if raw == self.group.len() => self.samples.merge(&self.group, out),
            _ => Err(Error::corrupt(format!(
                "raw and downsampled chunks overlap at {:?}",
                self.group[0].chunk.time_range()
            ))),
        }
    }
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

    /// Puts `first` and all chunks that overlap it or each other into `group`, without those that are equal to the one
    /// before.
    fn overlapping(&mut self, first: Part, group: &mut Vec<Part>) {
        let mut end = first.chunk.max_time;
        group.clear();
        group.push(first);
        while self.waiting.first().is_some_and(|(min, _)| *min <= end)
            && let Some(next) = self.next()
        {
            end = end.max(next.chunk.max_time);
            if group.last().is_none_or(|last| last.chunk != next.chunk) {
                group.push(next);
            }
        }
    }
}
