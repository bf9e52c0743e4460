//! The merge itself: plain code on batches in memory, asked for step by step.

use std::cmp::Ordering;
use std::ops::Range;

use bytes::Bytes;

use super::code::{EQUAL, EXHAUSTED, compare};
use super::tree::LoserTree;
use crate::chunk::SeriesChunk;
use crate::error::{Error, Result};
use crate::labels::LabelsRef;
use crate::query::batch::Ends;
use crate::query::{Reading, SeriesBatch, SeriesBatchBuilder};

/// What a [`SeriesMerge`] can do next.
#[derive(Debug)]
pub enum MergeStep {
    /// The next series, in label order.
    Batch(SeriesBatch),
    /// The source at this place has no series left: feed it, or say that it ended.
    Needs(usize),
    /// Every source ended and all series were handed out.
    Done,
}

/// Merges sorted batches of several sources into sorted batches, without waiting for anything.
///
/// Equal label sets become one series with the chunks of all of them, sorted by start time, then end time;
/// of chunks that are equal byte for byte, one stays.
///
/// # Example
///
/// ```
/// use thanos_core::labels::Labels;
/// use thanos_core::query::{MergeStep, SeriesBatchBuilder, SeriesMerge};
///
/// let mut merge = SeriesMerge::new(["east", "west"]);
/// let mut names = Vec::new();
/// loop {
///     match merge.step()? {
///         MergeStep::Needs(source) if source == 0 && names.is_empty() => {
///             let mut batch = SeriesBatchBuilder::new();
///             batch.push(Labels::from_pairs([("__name__", "up")]).as_ref(), []);
///             merge.feed(source, batch.finish());
///             names.push("fed".to_owned());
///         }
///         MergeStep::Needs(source) => merge.end(source),
///         MergeStep::Batch(batch) => names.extend(batch.iter().map(|s| s.labels.to_string())),
///         MergeStep::Done => break,
///     }
/// }
/// assert_eq!(names, ["fed", r#"{__name__="up"}"#]);
/// # Ok::<(), thanos_core::Error>(())
/// ```
#[derive(Debug)]
pub struct SeriesMerge {
    sources: Vec<Source>,
    /// Absent until every source has a first series or has ended.
    tree: Option<LoserTree>,
    /// The winner's series was taken and its next one is not in the tree yet.
    is_winner_taken: bool,
    out: SeriesBatchBuilder,
    /// Where the chunks of the open output series start; none is open before the first and after each batch.
    open_chunks: Option<usize>,
    /// How what was fed is to be read.
    reading: Reading,
}

impl SeriesMerge {
    /// Returns a merge of sources with these names, which appear in errors.
    pub fn new<N: Into<String>>(names: impl IntoIterator<Item = N>) -> Self {
        Self {
            sources: names
                .into_iter()
                .map(|name| Source::new(name.into()))
                .collect(),
            tree: None,
            is_winner_taken: false,
            out: SeriesBatchBuilder::new(),
            open_chunks: None,
            reading: Reading::default(),
        }
    }

    /// Gives the source at place `source` more series; only when [`MergeStep::Needs`] asked for them.
    ///
    /// All sources are to be read in one way: what one of them says holds for the merged series.
    ///
    /// # Panics
    ///
    /// When there is no such source, or it still has series.
    pub fn feed(&mut self, source: usize, batch: SeriesBatch) {
        self.reading = batch.reading().or(self.reading);
        self.sources[source].feed(batch);
    }

    /// Says that the source at place `source` has no more series.
    ///
    /// # Panics
    ///
    /// When there is no such source.
    pub fn end(&mut self, source: usize) {
        self.sources[source].has_ended = true;
    }

    /// Merges until a batch is full or a source has to be fed.
    ///
    /// # Errors
    ///
    /// `Internal` when a source is not sorted; it names the source.
    pub fn step(&mut self) -> Result<MergeStep> {
        let Some(mut tree) = self.tree.take() else {
            return self.start();
        };
        let step = self.merge(&mut tree);
        self.tree = Some(tree);
        step
    }

    fn start(&mut self) -> Result<MergeStep> {
        if let Some(waiting) = self.sources.iter().position(Source::is_waiting) {
            return Ok(MergeStep::Needs(waiting));
        }
        if self.sources.is_empty() {
            return Ok(MergeStep::Done);
        }
        let code_of = |source: &Source| match source.has_series() {
            true => compare(source.key(), b"", 0).1,
            false => EXHAUSTED,
        };
        let codes = self.sources.iter().map(code_of).collect();
        self.tree = Some(LoserTree::new(codes, |source| self.sources[source].key()));
        self.step()
    }

    fn merge(&mut self, tree: &mut LoserTree) -> Result<MergeStep> {
        loop {
            if self.is_winner_taken {
                let (winner, _) = tree.winner();
                let Some(code) = self.sources[winner].next_code()? else {
                    return Ok(MergeStep::Needs(winner));
                };
                tree.replace_winner(code, |source| self.sources[source].key());
                self.is_winner_taken = false;
            }
            let (winner, code) = tree.winner();
            if self.open_chunks.is_none() || code != EQUAL {
                self.end_series();
                if self.out.is_full() || (code == EXHAUSTED && !self.out.is_empty()) {
                    return Ok(MergeStep::Batch(
                        self.out.finish().with_reading(self.reading),
                    ));
                }
                if code == EXHAUSTED {
                    return Ok(MergeStep::Done);
                }
                self.out.push_key(self.sources[winner].key());
                self.open_chunks = Some(self.out.chunks_mut().len());
            }
            let open = self.open_chunks.unwrap_or_default();
            self.sources[winner].take_chunks(self.out.chunks_mut(), open);
            self.is_winner_taken = true;
        }
    }

    fn end_series(&mut self) {
        if let Some(start) = self.open_chunks.take() {
            sort_and_dedup(self.out.chunks_mut(), start);
            self.out.end_series();
        }
    }
}

/// Sorts the chunks from `start` on, whichever source they come from, and drops those that are equal byte for byte.
fn sort_and_dedup(chunks: &mut Vec<SeriesChunk>, start: usize) {
    let added = &mut chunks[start..];
    if added.is_sorted_by(|a, b| a.cmp_by_time(b).is_lt()) {
        return;
    }
    added.sort_by(SeriesChunk::cmp_by_time);
    // The order is total: what is equal lies side by side.
    let mut kept = start + 1;
    for at in start + 1..chunks.len() {
        if chunks[at] != chunks[kept - 1] {
            chunks.swap(kept, at);
            kept += 1;
        }
    }
    chunks.truncate(kept);
}

/// A source: what is left of its last batch.
#[derive(Debug)]
struct Source {
    name: String,
    keys: Bytes,
    ends: Vec<Ends>,
    /// Which series of the batch is next, and where its key lies.
    next: usize,
    next_key: Range<usize>,
    chunks: std::vec::IntoIter<SeriesChunk>,
    /// The last key of the batch before.
    last_key: Vec<u8>,
    has_ended: bool,
}

impl Source {
    fn new(name: String) -> Self {
        Self {
            name,
            keys: Bytes::new(),
            ends: Vec::new(),
            next: 0,
            next_key: 0..0,
            chunks: Vec::new().into_iter(),
            last_key: Vec::new(),
            has_ended: false,
        }
    }

    fn feed(&mut self, batch: SeriesBatch) {
        assert!(!self.has_series(), "{} was fed before it asked", self.name);
        let (keys, ends, chunks) = batch.into_parts();
        self.next_key = 0..ends.first().map_or(0, |ends| ends.key as usize);
        (self.keys, self.ends, self.next) = (keys, ends, 0);
        self.chunks = chunks.into_iter();
    }

    fn has_series(&self) -> bool {
        self.next < self.ends.len()
    }

    fn is_waiting(&self) -> bool {
        !self.has_series() && !self.has_ended
    }

    /// Returns the key of the next series.
    fn key(&self) -> &[u8] {
        &self.keys[self.next_key.clone()]
    }

    /// Moves the chunks of the next series to `out`, where those of the same series start at `open`, and goes on to the
    /// series after it. What is there already is dropped at once: replicas of a block are the most common overlap.
    fn take_chunks(&mut self, out: &mut Vec<SeriesChunk>, open: usize) {
        let start = self
            .next
            .checked_sub(1)
            .map_or(0, |before| self.ends[before].chunk);
        let count = (self.ends[self.next].chunk - start) as usize;
        let is_repeated = self.chunks.as_slice()[..count] == out[open..];
        let chunks = self.chunks.by_ref().take(count);
        match is_repeated {
            true => chunks.for_each(drop),
            false => out.extend(chunks),
        }
        self.next += 1;
        match self.ends.get(self.next) {
            Some(ends) => self.next_key = self.next_key.end..ends.key as usize,
            None => {
                self.last_key.clear();
                self.last_key
                    .extend_from_slice(&self.keys[self.next_key.clone()]);
            }
        }
    }

    /// Returns the code of the next key relative to the one before it; `None` when the source has to be fed.
    fn next_code(&self) -> Result<Option<u64>> {
        if !self.has_series() {
            return Ok(self.has_ended.then_some(EXHAUSTED));
        }
        let before = match self.next.checked_sub(1) {
            None => self.last_key.as_slice(),
            Some(before) => {
                let start = before
                    .checked_sub(1)
                    .map_or(0, |first| self.ends[first].key);
                &self.keys[start as usize..self.next_key.start]
            }
        };
        let (order, code) = compare(self.key(), before, 0);
        if order == Ordering::Less {
            return Err(self.unsorted(before));
        }
        Ok(Some(code))
    }

    fn unsorted(&self, before: &[u8]) -> Error {
        let [before, after] = [before, self.key()].map(LabelsRef::from_trusted_key);
        Error::internal(format!(
            "series of {} are not sorted: {after} comes after {before}",
            self.name
        ))
    }
}
