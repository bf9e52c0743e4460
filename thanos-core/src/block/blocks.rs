//! Several blocks as one: the series of all of them, merged in label order.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;

use super::reader::limited;
use super::{Block, BlockId, BlockSeries, META_FILE};
use crate::error::{Error, Result};
use crate::labels::Matcher;
use crate::query::{
    Completeness, LabelQuery, LabelStrings, MergeStep, Missing, Queryable, Select, SeriesBatch,
    SeriesBatchBuilder, SeriesEvent, SeriesMerge, SeriesStream,
};
use crate::time::TimeRange;

/// Several open blocks that answer as one; cheap to clone.
///
/// A block that can not be opened is put aside with the reason and does not stop the others: every answer then
/// says that it is not complete. Blocks may overlap; a series that several blocks have comes once, with the chunks
/// of all of them sorted by time.
///
/// # Example
///
/// ```
/// use futures::executor::block_on;
/// use thanos_core::block::Blocks;
/// use thanos_core::query::{LabelQuery, Queryable};
/// # let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/block-1k-2h");
///
/// let blocks = Blocks::open_dir(dir.as_ref())?;
/// let jobs = block_on(Queryable::label_values(&blocks, "job", LabelQuery::default()))?;
/// assert_eq!(jobs.values, ["api"]);
/// # Ok::<(), thanos_core::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Blocks {
    /// Sorted by start, then id.
    blocks: Arc<[Block]>,
    refused: Arc<[RefusedBlock]>,
}

/// A block directory that was put aside.
#[derive(Debug)]
pub struct RefusedBlock {
    /// The directory.
    pub dir: PathBuf,
    /// Why it can not be used.
    pub error: Error,
}

impl Blocks {
    /// Returns the given blocks as one.
    pub fn new(blocks: impl IntoIterator<Item = Block>) -> Self {
        Self::with_refused(blocks.into_iter().collect(), Vec::new())
    }

    fn with_refused(mut blocks: Vec<Block>, refused: Vec<RefusedBlock>) -> Self {
        blocks.sort_by_key(|block| (block.meta().min_time, block.id()));
        Self {
            blocks: blocks.into(),
            refused: refused.into(),
        }
    }

    /// Opens every block in the database directory `dir`: the directories that are named like a block and have a
    /// meta.json. Anything else there is left alone.
    ///
    /// # Errors
    ///
    /// What the file system reports for `dir` itself.
    pub fn open_dir(dir: &Path) -> Result<Self> {
        let named = |error| Error::from(error).in_file(dir.display().to_string());
        let (mut blocks, mut refused) = (Vec::new(), Vec::new());
        for entry in std::fs::read_dir(dir).map_err(named)? {
            let dir = entry.map_err(named)?.path();
            if !is_block_dir(&dir) {
                continue;
            }
            match Block::open(&dir) {
                Ok(block) => blocks.push(block),
                Err(error) => refused.push(RefusedBlock { dir, error }),
            }
        }
        Ok(Self::with_refused(blocks, refused))
    }

    /// Returns the blocks, by start.
    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// Returns the blocks that were put aside.
    pub fn refused(&self) -> &[RefusedBlock] {
        &self.refused
    }

    /// Returns the times from the first to the last block; empty without blocks.
    pub fn time_range(&self) -> TimeRange {
        let ranges = self.blocks.iter().map(|block| block.meta().time_range());
        ranges
            .reduce(|all, range| TimeRange {
                min: all.min.min(range.min),
                max: all.max.max(range.max),
            })
            .unwrap_or(TimeRange::from_millis(0, -1))
    }

    /// Returns the matching series of all blocks in label order; see [`Block::select`].
    ///
    /// # Errors
    ///
    /// As [`Block::select`].
    pub fn select(&self, select: &Select) -> Result<MergedSeries> {
        let mut sources = Vec::new();
        for block in self.overlapping(select.range) {
            sources.push(block.select(select)?);
        }
        let limit = match select.hints.limit {
            0 => usize::MAX,
            limit => limit,
        };
        Ok(MergedSeries::new(sources, limit))
    }

    /// Returns the names of the labels of the matching series of the blocks in `range`, sorted.
    ///
    /// # Errors
    ///
    /// As [`Block::label_names`].
    pub fn label_names(&self, matchers: &[Matcher], range: TimeRange) -> Result<Vec<String>> {
        self.strings(range, |block| block.label_names(matchers))
    }

    /// Returns the values of the label `name` in the matching series of the blocks in `range`, sorted.
    ///
    /// # Errors
    ///
    /// As [`Block::label_values`].
    pub fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Result<Vec<String>> {
        self.strings(range, |block| block.label_values(name, matchers))
    }

    fn strings(
        &self,
        range: TimeRange,
        of_block: impl Fn(&Block) -> Result<Vec<String>>,
    ) -> Result<Vec<String>> {
        let mut blocks = self.overlapping(range);
        let Some(first) = blocks.next() else {
            return Ok(Vec::new());
        };
        let first = of_block(first)?;
        let Some(second) = blocks.next() else {
            return Ok(first);
        };
        let mut all = BTreeSet::from_iter(first);
        all.extend(of_block(second)?);
        for block in blocks {
            all.extend(of_block(block)?);
        }
        Ok(all.into_iter().collect())
    }

    fn overlapping(&self, range: TimeRange) -> impl Iterator<Item = &Block> {
        let overlaps = move |block: &&Block| block.meta().time_range().overlaps(range);
        self.blocks.iter().filter(overlaps)
    }

    /// The blocks that were put aside, as an answer reports them.
    fn missing(&self) -> impl Iterator<Item = Missing> + '_ {
        self.refused.iter().map(|refused| Missing {
            source: refused.dir.display().to_string(),
            reason: refused.error.to_string(),
        })
    }

    fn complete(&self, mut strings: LabelStrings) -> LabelStrings {
        let mut completeness = Completeness::Complete;
        self.missing().for_each(|missing| completeness.add(missing));
        strings.completeness = completeness;
        strings
    }
}

/// Whether the last part of the path names a block and the block was written to its end.
fn is_block_dir(dir: &Path) -> bool {
    let name = dir.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| name.parse::<BlockId>().is_ok()) && dir.join(META_FILE).exists()
}

/// Answers without ever waiting, as [`Block`] does.
#[async_trait]
impl Queryable for Blocks {
    async fn select(&self, select: Select) -> Result<SeriesStream> {
        let series = Self::select(self, &select)?;
        let missing: Vec<Missing> = self.missing().collect();
        let notices = missing
            .into_iter()
            .map(|missing| Ok(SeriesEvent::Missing(missing)));
        let batches = series.map(|batch| batch.map(SeriesEvent::Batch));
        Ok(Box::pin(futures::stream::iter(notices.chain(batches))))
    }

    async fn label_names(&self, query: LabelQuery) -> Result<LabelStrings> {
        let values = Self::label_names(self, &query.matchers, query.range)?;
        Ok(self.complete(limited(values, query.limit)))
    }

    async fn label_values(&self, name: &str, query: LabelQuery) -> Result<LabelStrings> {
        let values = Self::label_values(self, name, &query.matchers, query.range)?;
        Ok(self.complete(limited(values, query.limit)))
    }
}

/// The series of several blocks, merged; memory does not grow with their number but for their references.
#[derive(Debug)]
pub struct MergedSeries {
    sources: Vec<BlockSeries>,
    merge: SeriesMerge,
    /// How many series may still come.
    limit: usize,
}

impl MergedSeries {
    fn new(sources: Vec<BlockSeries>, limit: usize) -> Self {
        let names = sources.iter().map(|source| source.block().id().to_string());
        Self {
            merge: SeriesMerge::new(names),
            sources,
            limit,
        }
    }

    fn next_batch(&mut self) -> Result<Option<SeriesBatch>> {
        if let [source] = &mut self.sources[..] {
            return source.next().transpose();
        }
        loop {
            match self.merge.step()? {
                MergeStep::Batch(batch) => return Ok(Some(batch)),
                MergeStep::Done => return Ok(None),
                MergeStep::Needs(source) => match self.sources[source].next().transpose()? {
                    Some(batch) => self.merge.feed(source, batch),
                    None => self.merge.end(source),
                },
            }
        }
    }
}

impl Iterator for MergedSeries {
    type Item = Result<SeriesBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.limit == 0 {
            return None;
        }
        let result = self.next_batch();
        let limit = self.limit;
        self.limit = match &result {
            Ok(Some(batch)) => limit.saturating_sub(batch.len()),
            Ok(None) | Err(_) => 0,
        };
        let cut = |batch: SeriesBatch| match batch.len() <= limit {
            true => batch,
            false => first_series(&batch, limit),
        };
        result.map(|batch| batch.map(cut)).transpose()
    }
}

/// The first `count` series of `batch`.
fn first_series(batch: &SeriesBatch, count: usize) -> SeriesBatch {
    let mut first = SeriesBatchBuilder::new();
    for series in batch.iter().take(count) {
        first.push(series.labels, series.chunks.iter().cloned());
    }
    first.finish()
}

#[cfg(test)]
mod tests;
