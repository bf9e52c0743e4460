//! Reading one block from its directory.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;

use super::filter::push_remaining;
use super::segment::{CHUNKS_DIR, ChunkReader};
use super::tombstones::Tombstones;
use super::{BlockId, Intervals, META_FILE, Meta};
use crate::chunk::SeriesChunk;
use crate::error::{Error, Result};
use crate::index::{ChunkMeta, IndexReader, SeriesRef, SeriesScratch};
use crate::labels::Matcher;
use crate::mmap::open_bytes;
use crate::query::{
    LabelQuery, LabelStrings, Queryable, Select, SeriesBatch, SeriesBatchBuilder, SeriesEvent,
    SeriesStream,
};
use crate::time::TimeRange;

/// The name of the index in a block directory.
pub const INDEX_FILE: &str = "index";

/// An open block; cheap to clone.
///
/// The files are mapped (feature `mmap`) and stay so while the block, a selection or a chunk of it lives. Selecting
/// is plain code without a runtime; as a [`Queryable`] the block can be asked by PromQL.
///
/// # Example
///
/// ```
/// use thanos_core::block::Block;
/// use thanos_core::labels::Matcher;
/// use thanos_core::query::Select;
/// # let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/block-1k-2h/01M81JDC7R8JKP7SEW1VN2HAQ9");
///
/// let block = Block::open(dir.as_ref())?;
/// let matchers = vec![Matcher::equal("__name__", "edge"), Matcher::equal("case", "sin")];
/// for batch in block.select(&Select { matchers, ..Select::default() })? {
///     for series in batch?.iter() {
///         println!("{} has {} chunks", series.labels, series.chunks.len());
///     }
/// }
/// # Ok::<(), thanos_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Block {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    meta: Meta,
    index: IndexReader,
    chunks: ChunkReader,
    tombstones: Tombstones,
}

impl Block {
    /// Opens the block in the directory `dir`.
    ///
    /// # Errors
    ///
    /// `NotFound` when a file is missing, `Corrupt` with file and offset when one is damaged. Series and chunks are
    /// checked when they are read.
    pub fn open(dir: &Path) -> Result<Self> {
        let chunks = || ChunkReader::open(&dir.join(CHUNKS_DIR));
        Self::open_with(dir, chunks)
    }

    /// Opens the block in the directory `dir`, which has all but the chunks: these are what `chunks` returns.
    ///
    /// # Errors
    ///
    /// As [`Block::open`], and those of `chunks`.
    pub fn open_with(dir: &Path, chunks: impl FnOnce() -> Result<ChunkReader>) -> Result<Self> {
        let meta = Meta::read_dir(dir)?;
        check_name(dir, &meta)?;
        let index = dir.join(INDEX_FILE);
        let inner = Inner {
            index: IndexReader::open(&index.display().to_string(), open_bytes(&index)?)?,
            chunks: chunks()?,
            tombstones: Tombstones::read_dir(dir)?,
            dir: dir.to_owned(),
            meta,
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Returns the same block with the tombstones that its directory has now.
    ///
    /// # Errors
    ///
    /// `Corrupt` when they are damaged, and what the file system reports.
    pub fn with_tombstones_reread(&self) -> Result<Self> {
        Ok(Self {
            inner: Arc::new(Inner {
                dir: self.inner.dir.clone(),
                meta: self.inner.meta.clone(),
                index: self.inner.index.clone(),
                chunks: self.inner.chunks.clone(),
                tombstones: Tombstones::read_dir(&self.inner.dir)?,
            }),
        })
    }

    /// Returns the block's directory.
    pub fn dir(&self) -> &Path {
        &self.inner.dir
    }

    /// Returns the id that meta.json says.
    pub fn id(&self) -> BlockId {
        self.inner.meta.ulid
    }

    /// Returns what meta.json says.
    pub fn meta(&self) -> &Meta {
        &self.inner.meta
    }

    /// Returns the index.
    pub fn index(&self) -> &IndexReader {
        &self.inner.index
    }

    /// Returns the chunk segments.
    pub fn chunks(&self) -> &ChunkReader {
        &self.inner.chunks
    }

    /// Returns the deletions.
    pub fn tombstones(&self) -> &Tombstones {
        &self.inner.tombstones
    }

    /// Returns the matching series in label order, with the chunks that share a time with the range.
    ///
    /// Chunks are whole, as in Prometheus: they may hold samples outside the range, but no deleted ones. Of
    /// `select.hints`, `limit` and `skip_chunks` are heeded.
    ///
    /// # Errors
    ///
    /// `Corrupt` when postings are damaged; damaged series and chunks are errors of the iterator.
    pub fn select(&self, select: &Select) -> Result<BlockSeries> {
        let postings = self.index().postings_for_matchers(&select.matchers)?;
        let limit = match select.hints.limit {
            0 => usize::MAX,
            limit => limit,
        };
        Ok(BlockSeries {
            block: self.clone(),
            postings: postings.into_vec().into_iter(),
            range: select.range,
            limit,
            with_chunks: !select.hints.skip_chunks,
            scratch: SeriesScratch::default(),
            chunks: Vec::new(),
            batch: SeriesBatchBuilder::new(),
        })
    }

    /// Reads the chunks at `places` into `chunks`, sorted by time and without what `deleted` covers; nothing else is
    /// left out.
    pub(crate) fn chunks_left(
        &self,
        places: &[ChunkMeta],
        deleted: Option<&Intervals>,
        chunks: &mut Vec<SeriesChunk>,
    ) -> Result<()> {
        let left = places.iter().filter(|chunk| is_left(chunk, deleted));
        populate(self.chunks(), left, deleted, chunks)
    }

    /// Reports whether anything of the chunks at `places`, which are of `series`, may not be deleted.
    pub(crate) fn is_left(&self, series: SeriesRef, places: &[ChunkMeta]) -> bool {
        let deleted = self.inner.tombstones.get(series);
        places.iter().any(|chunk| is_left(chunk, deleted))
    }

    /// Returns the names of the labels of the series that match, sorted.
    ///
    /// # Errors
    ///
    /// `Corrupt` when the index is damaged.
    pub fn label_names(&self, matchers: &[Matcher]) -> Result<Vec<String>> {
        if matchers.is_empty() {
            return Ok(self.index().label_names());
        }
        let postings = self.index().postings_for_matchers(matchers)?;
        self.index().label_names_for(&postings)
    }

    /// Returns the values of the label `name` in the series that match, sorted.
    ///
    /// # Errors
    ///
    /// `Corrupt` when the index is damaged.
    pub fn label_values(&self, name: &str, matchers: &[Matcher]) -> Result<Vec<String>> {
        if matchers.is_empty() {
            return self.index().label_values(name);
        }
        let postings = self.index().postings_for_matchers(matchers)?;
        self.index().label_values_for(name, &postings)
    }
}

/// A directory that is named like a block must hold that block.
fn check_name(dir: &Path, meta: &Meta) -> Result<()> {
    let name = dir.file_name().and_then(|name| name.to_str());
    match name.and_then(|name| name.parse::<BlockId>().ok()) {
        Some(id) if id != meta.ulid => {
            let file = dir.join(META_FILE).display().to_string();
            let message = format!("directory {id} holds block {}", meta.ulid);
            Err(Error::corrupt(message).at(0).in_file(file))
        }
        _ => Ok(()),
    }
}

/// The series of a selection in batches, read as they are asked for; memory does not grow with their number but
/// for their references.
#[derive(Debug)]
pub struct BlockSeries {
    block: Block,
    postings: std::vec::IntoIter<u32>,
    range: TimeRange,
    limit: usize,
    with_chunks: bool,
    scratch: SeriesScratch,
    chunks: Vec<SeriesChunk>,
    batch: SeriesBatchBuilder,
}

impl Iterator for BlockSeries {
    type Item = Result<SeriesBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.limit > 0
            && !self.batch.is_full()
            && let Some(series) = self.postings.next()
        {
            if let Err(error) = self.push_series(SeriesRef::from(series)) {
                // An error ends the selection: what comes after it must not look like an answer.
                self.limit = 0;
                self.batch = SeriesBatchBuilder::new();
                return Some(Err(error));
            }
        }
        (!self.batch.is_empty()).then(|| Ok(self.batch.finish()))
    }
}

impl BlockSeries {
    /// Returns the block that the series come from.
    pub fn block(&self) -> &Block {
        &self.block
    }

    /// Adds the series to the batch, if anything of it is left in the range.
    fn push_series(&mut self, series: SeriesRef) -> Result<()> {
        let block = &*self.block.inner;
        block
            .index
            .series_within(series, self.range, &mut self.scratch)?;
        let deleted = block.tombstones.get(series);
        let mut left = (self.scratch.chunks().iter()).filter(|chunk| is_left(chunk, deleted));
        if self.with_chunks {
            populate(&block.chunks, left, deleted, &mut self.chunks)?;
            if self.chunks.is_empty() {
                return Ok(());
            }
        } else if left.next().is_none() {
            return Ok(());
        }
        self.batch
            .push(self.scratch.labels(), self.chunks.drain(..));
        self.limit -= 1;
        Ok(())
    }
}

/// Reads the chunks at `places` into `chunks`, without what is deleted of them.
fn populate<'a>(
    reader: &ChunkReader,
    places: impl Iterator<Item = &'a ChunkMeta>,
    deleted: Option<&Intervals>,
    chunks: &mut Vec<SeriesChunk>,
) -> Result<()> {
    chunks.clear();
    for place in places {
        let chunk = reader.chunk(place.reference)?;
        push_remaining(chunk, place.time_range(), deleted, chunks)
            .map_err(|error| reader.locate(error, place.reference))?;
    }
    let time = |chunk: &SeriesChunk| (chunk.min_time, chunk.max_time);
    if !chunks.is_sorted_by_key(time) {
        chunks.sort_by_key(time);
    }
    Ok(())
}

/// Whether some of the chunk's time is not deleted.
fn is_left(chunk: &ChunkMeta, deleted: Option<&Intervals>) -> bool {
    deleted.is_none_or(|deleted| !deleted.covers(chunk.time_range()))
}

/// Answers without ever waiting: files are mapped and the work is done when the stream is polled.
#[async_trait]
impl Queryable for Block {
    async fn select(&self, select: Select) -> Result<SeriesStream> {
        let batches = Self::select(self, &select)?;
        let events = batches.map(|batch| batch.map(SeriesEvent::Batch));
        Ok(Box::pin(futures::stream::iter(events)))
    }

    async fn label_names(&self, query: LabelQuery) -> Result<LabelStrings> {
        let values = Self::label_names(self, &query.matchers)?;
        Ok(limited(values, query.limit))
    }

    async fn label_values(&self, name: &str, query: LabelQuery) -> Result<LabelStrings> {
        let values = Self::label_values(self, name, &query.matchers)?;
        Ok(limited(values, query.limit))
    }
}

/// A complete answer of at most `limit` strings; 0 means all.
pub(super) fn limited(mut values: Vec<String>, limit: usize) -> LabelStrings {
    if limit > 0 {
        values.truncate(limit);
    }
    LabelStrings {
        values,
        ..LabelStrings::default()
    }
}

#[cfg(test)]
mod tests;
