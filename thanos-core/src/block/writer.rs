//! Writing a block: segments, index, tombstones and meta.json, visible all at once or not at all.
//!
//! Everything is written to a directory beside the final one and renamed at the end, so that a reader never meets
//! half a block and a crash leaves a directory that nobody takes for one.

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::files::sync_dir;
use super::segment::{CHUNKS_DIR, ChunkWriter, SEGMENT_LEN_MAX, SegmentPlace};
use super::tombstones::Tombstones;
use super::{BlockId, Compaction, INDEX_FILE, IndexStats, Meta, Stats, ThanosMeta};
use crate::budget::MemoryBudget;
use crate::chunk::{self, Chunk, ChunkPayload, Encoding, SeriesChunk};
use crate::error::{Error, Result};
use crate::index::{ChunkMeta, ChunkRef, IndexWriter, LabelIndices, SymbolRef, SymbolTable};
use crate::labels::LabelsRef;
use crate::spool::SpoolPlace;
use crate::time::{TimeRange, Timestamp};

/// What Prometheus appends to the name of a block that is not ready; its start removes such directories.
const UNFINISHED: &str = ".tmp-for-creation";
/// The bytes of the index that are gathered before they go to the file.
const INDEX_BUFFER_BYTES: usize = 1 << 20;

/// What a new block is called and says of itself.
#[derive(Debug, Clone)]
pub struct BlockWriterOptions {
    /// The block's id, and so the name of its directory.
    pub id: BlockId,
    /// The first time of the block and the first time after it; by default from the first sample to just after
    /// the last. Prometheus widens this to whole windows when it cuts a block from its head.
    pub time: Option<(Timestamp, Timestamp)>,
    /// What it was made from; by default it is its own only source, at level 1.
    pub compaction: Option<Compaction>,
    /// The Thanos section of meta.json; the writer adds the names of the chunk files and the largest entries.
    pub thanos: Option<ThanosMeta>,
    /// Whether the index gets the sections that nobody reads any more.
    pub label_indices: LabelIndices,
    /// The size at which the next chunk segment begins.
    pub segment_len_max: u64,
    /// Where chunk segments go instead of into the directory of the block, which then has none.
    pub segments: Option<Arc<dyn SegmentPlace>>,
    /// What the memory for symbols and postings is leased from. What does not fit goes to files in the directory of the
    /// block while it is written, but for symbols that are given one by one and about 40 bytes for each label value.
    pub budget: MemoryBudget,
}

impl BlockWriterOptions {
    /// Returns the default options of a block called `id`.
    pub fn new(id: BlockId) -> Self {
        Self {
            id,
            time: None,
            compaction: None,
            thanos: None,
            label_indices: LabelIndices::default(),
            segment_len_max: SEGMENT_LEN_MAX,
            segments: None,
            budget: MemoryBudget::unlimited(),
        }
    }
}

/// Writes one block from its series in label order.
///
/// In memory it holds the symbols and about 40 bytes for each label value, leased from the budget of the options. A
/// writer that is dropped unfinished removes what it wrote.
///
/// # Example
///
/// ```
/// use thanos_core::block::{Block, BlockWriter, BlockWriterOptions};
/// use thanos_core::chunk::{SeriesChunk, XorEncoder};
/// use thanos_core::labels::Labels;
/// use thanos_core::time::Timestamp;
/// # use thanos_core::testkit::TempDir;
/// # let data = TempDir::new("writer-example");
///
/// let mut encoder = XorEncoder::new();
/// let time = Timestamp::from_millis(1_793_491_200_000);
/// encoder.append(time, 1.0);
/// let chunk = SeriesChunk::raw(time, time, encoder.finish());
///
/// let options = BlockWriterOptions::new("01M81JDC7R8JKP7SEW1VN2HAQ9".parse()?);
/// let mut writer = BlockWriter::create(data.path(), options, ["__name__", "up"])?;
/// writer.add_series(Labels::from_pairs([("__name__", "up")]).as_ref(), &[chunk])?;
/// let meta = writer.finish()?;
/// assert_eq!(meta.stats.num_samples, 1);
/// let block = Block::open(&data.path().join("01M81JDC7R8JKP7SEW1VN2HAQ9"))?;
/// assert_eq!(block.label_values("__name__", &[])?, ["up"]);
/// # Ok::<(), thanos_core::Error>(())
/// ```
#[derive(Debug)]
pub struct BlockWriter {
    options: BlockWriterOptions,
    directory: UnfinishedDir,
    index: IndexWriter<BufWriter<File>>,
    segments: ChunkWriter,
    stats: Stats,
    /// The times of all chunks so far.
    covered: Option<TimeRange>,
    chunks: Vec<Chunk>,
    references: Vec<ChunkRef>,
    metas: Vec<ChunkMeta>,
}

/// The directory that is written to; removed when dropped before it got its final name.
#[derive(Debug)]
struct UnfinishedDir {
    path: PathBuf,
    target: PathBuf,
    is_finished: bool,
}

impl BlockWriter {
    /// Starts a block in the database directory `parent`; `symbols` are all label names and values of all series
    /// to come, in strictly ascending order.
    ///
    /// # Errors
    ///
    /// `Invalid` when the symbols are out of order or the block exists already, or what the file system reports.
    pub fn create<S: AsRef<str>>(
        parent: &Path,
        options: BlockWriterOptions,
        symbols: impl IntoIterator<Item = S>,
    ) -> Result<Self> {
        let unfinished = UnfinishedBlock::create(parent, options)?;
        unfinished.start(|out, options, place| {
            IndexWriter::within(out, symbols, options.label_indices, place)
        })
    }

    /// Writes a series, which comes after all others in label order, with its chunks in the order of their times.
    ///
    /// # Errors
    ///
    /// `Invalid` when series, chunks or symbols are out of order, `Corrupt` when a chunk is damaged, or
    /// what the file system reports. The writer is of no use then.
    pub fn add_series(&mut self, labels: LabelsRef<'_>, chunks: &[SeriesChunk]) -> Result<()> {
        self.write_chunks(chunks)?;
        self.index.add_series(labels, &self.metas)?;
        self.stats.num_series += 1;
        Ok(())
    }

    /// Writes like [`BlockWriter::add_series`] a series whose labels are known as symbols.
    pub(crate) fn add_series_by_symbols(
        &mut self,
        labels: &[(SymbolRef, SymbolRef)],
        chunks: &[SeriesChunk],
    ) -> Result<()> {
        self.write_chunks(chunks)?;
        self.index.add_series_by_symbols(labels, &self.metas)?;
        self.stats.num_series += 1;
        Ok(())
    }

    /// Writes the chunks of a series and notes where they lie.
    fn write_chunks(&mut self, chunks: &[SeriesChunk]) -> Result<()> {
        self.chunks.clear();
        self.references.clear();
        for part in chunks {
            let chunk = stored_chunk(part)?;
            self.count(part, &chunk)?;
            self.chunks.push(chunk);
        }
        self.segments.write(&self.chunks, &mut self.references)?;
        let metas = chunks.iter().zip(&self.references);
        self.metas.clear();
        self.metas.extend(metas.map(|(part, reference)| ChunkMeta {
            reference: *reference,
            min_time: part.min_time,
            max_time: part.max_time,
        }));
        Ok(())
    }

    /// Counts a chunk into the statistics and the range of the block.
    fn count(&mut self, part: &SeriesChunk, stored: &Chunk) -> Result<()> {
        let samples = sample_count(stored)?;
        self.stats.num_samples += samples;
        match stored.encoding {
            Encoding::HISTOGRAM
            | Encoding::FLOAT_HISTOGRAM
            | Encoding::HISTOGRAM_ST
            | Encoding::FLOAT_HISTOGRAM_ST => self.stats.num_histogram_samples += samples,
            Encoding::XOR | Encoding::XOR2 => self.stats.num_float_samples += samples,
            _ => {}
        }
        self.stats.num_chunks += 1;
        let range = part.time_range();
        self.covered = Some(self.covered.map_or(range, |covered| TimeRange {
            min: covered.min.min(range.min),
            max: covered.max.max(range.max),
        }));
        Ok(())
    }

    /// Returns the number of series so far.
    pub(crate) fn num_series(&self) -> u64 {
        self.stats.num_series
    }

    /// Writes what is left, gives the block its name and returns its meta.json.
    ///
    /// # Errors
    ///
    /// `Invalid` when samples lie outside the time that the options say, or what the file system reports.
    pub fn finish(self) -> Result<Meta> {
        let (min_time, max_time) = block_time(self.options.time, self.covered)?;
        let Self {
            mut options,
            directory,
            index,
            segments,
            stats,
            ..
        } = self;
        let chunk_max_size = segments.chunk_len_max();
        let segments = segments.finish()?;
        let index_path = directory.path.join(INDEX_FILE);
        let (file, summary) = index.finish()?;
        if let Some(thanos) = &mut options.thanos {
            thanos.segment_files = segments.into_iter().map(|file| file.name).collect();
            thanos.index_stats = IndexStats {
                series_max_size: summary.series_len_max,
                chunk_max_size,
            };
        }
        let synced = file.get_ref().sync_all();
        synced.map_err(|error| in_file(error, &index_path))?;
        Tombstones::default().write_dir(&directory.path)?;
        let compaction = options.compaction.unwrap_or_else(|| Compaction {
            level: 1,
            sources: vec![options.id],
            ..Compaction::default()
        });
        let meta = Meta {
            ulid: options.id,
            min_time,
            max_time,
            stats,
            compaction,
            version: 1,
            thanos: options.thanos,
            ..Meta::default()
        };
        meta.write_dir(&directory.path)?;
        directory.finish()?;
        Ok(meta)
    }
}

/// A block of which nothing is written.
#[derive(Debug)]
pub(crate) struct UnfinishedBlock {
    options: BlockWriterOptions,
    directory: UnfinishedDir,
}

impl UnfinishedBlock {
    /// Makes the directory in which the block called `options.id` is written.
    pub(crate) fn create(parent: &Path, options: BlockWriterOptions) -> Result<Self> {
        let directory = UnfinishedDir::create(parent, options.id)?;
        Ok(Self { options, directory })
    }

    /// Returns where bytes can be kept until the block is finished.
    pub(crate) fn spool_place(&self) -> SpoolPlace {
        SpoolPlace::in_dir(self.options.budget.clone(), &self.directory.path)
    }

    /// Starts the block with the symbols of `table`, to which the labels of its series refer.
    pub(crate) fn start_with_table(self, table: SymbolTable) -> Result<BlockWriter> {
        self.start(|out, options, place| {
            IndexWriter::with_table(out, table, options.label_indices, place)
        })
    }

    fn start(
        self,
        index: impl FnOnce(
            BufWriter<File>,
            &BlockWriterOptions,
            SpoolPlace,
        ) -> Result<IndexWriter<BufWriter<File>>>,
    ) -> Result<BlockWriter> {
        let place = self.spool_place();
        let Self { options, directory } = self;
        let path = directory.path.join(INDEX_FILE);
        let file = File::create_new(&path).map_err(|error| in_file(error, &path))?;
        let file = BufWriter::with_capacity(INDEX_BUFFER_BYTES, file);
        let segments = match &options.segments {
            Some(elsewhere) => {
                ChunkWriter::to(elsewhere.output(options.id)?, options.segment_len_max)?
            }
            None => {
                let chunks_dir = directory.path.join(CHUNKS_DIR);
                ChunkWriter::with_segment_len_max(&chunks_dir, options.segment_len_max)?
            }
        };
        Ok(BlockWriter {
            index: index(file, &options, place)?,
            segments,
            options,
            directory,
            stats: Stats::default(),
            covered: None,
            chunks: Vec::new(),
            references: Vec::new(),
            metas: Vec::new(),
        })
    }
}

impl UnfinishedDir {
    fn create(parent: &Path, id: BlockId) -> Result<Self> {
        let target = parent.join(id.to_string());
        if target.exists() {
            let message = format!("block {id} exists already");
            return Err(Error::invalid(message).in_file(target.display().to_string()));
        }
        let path = parent.join(format!("{id}{UNFINISHED}"));
        // What a writer that was killed left behind.
        if path.exists() {
            std::fs::remove_dir_all(&path).map_err(|error| in_file(error, &path))?;
        }
        std::fs::create_dir_all(&path).map_err(|error| in_file(error, &path))?;
        Ok(Self {
            path,
            target,
            is_finished: false,
        })
    }

    fn finish(mut self) -> Result<()> {
        let parent = self.target.parent().unwrap_or(Path::new("."));
        sync_dir(&self.path)
            .and_then(|()| std::fs::rename(&self.path, &self.target))
            .and_then(|()| sync_dir(parent))
            .map_err(|error| in_file(error, &self.target))?;
        self.is_finished = true;
        Ok(())
    }
}

impl Drop for UnfinishedDir {
    fn drop(&mut self) {
        if !self.is_finished {
            // Best effort: whoever writes the block again removes it too.
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

/// The half-open range of the block, which must hold all chunks.
fn block_time(
    wanted: Option<(Timestamp, Timestamp)>,
    covered: Option<TimeRange>,
) -> Result<(Timestamp, Timestamp)> {
    let from_chunks = covered.map(|covered| (covered.min, covered.max + 1));
    let Some((min, max)) = wanted else {
        return Ok(from_chunks.unwrap_or_default());
    };
    if max < min || from_chunks.is_some_and(|(first, end)| first < min || max < end) {
        return Err(Error::invalid(format!(
            "samples from {covered:?} do not lie in a block from {min} to {max}"
        )));
    }
    Ok((min, max))
}

/// The chunk as the segment file holds it: aggregates in their container.
fn stored_chunk(part: &SeriesChunk) -> Result<Chunk> {
    match &part.payload {
        ChunkPayload::Raw(chunk) => Ok(chunk.clone()),
        ChunkPayload::Aggregates(set) => chunk::encode_aggregates(set),
    }
}

/// The number of samples that the statistics count, for a downsampled chunk its windows.
///
/// Chunks that this crate can not decode are written all the same; of those nothing is known.
fn sample_count(stored: &Chunk) -> Result<u64> {
    match stored.encoding {
        Encoding::XOR
        | Encoding::XOR2
        | Encoding::HISTOGRAM
        | Encoding::HISTOGRAM_ST
        | Encoding::FLOAT_HISTOGRAM
        | Encoding::FLOAT_HISTOGRAM_ST
        | Encoding::AGGREGATES => Ok(chunk::num_samples(stored)? as u64),
        _ => Ok(0),
    }
}

fn in_file(error: std::io::Error, path: &Path) -> Error {
    Error::from(error).in_file(path.display().to_string())
}

#[cfg(test)]
mod tests;
