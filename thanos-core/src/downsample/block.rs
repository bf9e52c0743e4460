//! Downsampling a whole block, series by series.

use std::path::Path;

use super::downsample;
use crate::block::{Block, BlockId, BlockWriter, BlockWriterOptions, Meta};
use crate::budget::{Lease, MemoryBudget};
use crate::chunk::{self, Chunk, ChunkPayload, Encoding, SeriesChunk};
use crate::error::{Error, Result};
use crate::index::LabelIndices;
use crate::query::Select;

/// What Thanos' section of meta.json calls whoever makes blocks of blocks.
const SOURCE_COMPACTOR: &str = "compactor";
/// What decoding and aggregating takes for a float: a time and a value, twice.
const FLOAT_BYTES: u64 = 32;
/// A bucket of a native histogram takes a bit in a chunk, and eight bytes outside.
const HISTOGRAM_GROWTH: u64 = 64;
/// What the index remembers of each label of a series until it ends.
const LABEL_BYTES: u64 = 8;

/// What [`downsample_block`] makes.
#[derive(Debug, Clone)]
pub struct DownsampleBlockOptions {
    /// The id of the new block, and so the name of its directory.
    pub id: BlockId,
    /// The resolution of the new block, in milliseconds; see
    /// [`FIVE_MINUTES_MS`](super::FIVE_MINUTES_MS) and [`ONE_HOUR_MS`](super::ONE_HOUR_MS).
    pub resolution_ms: i64,
    /// Whether the index gets the sections that nobody reads any more.
    pub label_indices: LabelIndices,
    /// What memory is leased from.
    pub budget: MemoryBudget,
}

impl DownsampleBlockOptions {
    /// Returns the options of a block called `id` at `resolution_ms`, without a limit on memory.
    pub fn new(id: BlockId, resolution_ms: i64) -> Self {
        Self {
            id,
            resolution_ms,
            label_indices: LabelIndices::default(),
            budget: MemoryBudget::unlimited(),
        }
    }
}

/// Writes the block's series at a lower resolution as a block of its own into the database directory `parent`; returns
/// its meta.json.
///
/// The new block has the time range, the compaction, the labels and the symbols of `block`, and what was deleted in
/// that is left out. Series of which nothing is left are left out too; a block of nothing else becomes one without
/// series, which says that there is nothing more to do.
///
/// In memory are the symbols, eight bytes for each label of each series, and the samples of one series.
///
/// # Errors
///
/// `Invalid` when the resolution is no lower than that of the block or the new block exists already, `Corrupt` when the
/// block is damaged, `LimitExceeded` when the budget is too small, and what the file system reports. Nothing is left of
/// the new block then.
///
/// # Example
///
/// ```
/// use thanos_core::block::Block;
/// use thanos_core::downsample::{DownsampleBlockOptions, FIVE_MINUTES_MS, downsample_block};
/// # use thanos_core::testkit::TempDir;
/// # let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/block-1k-2h/01M81JDC7R8JKP7SEW1VN2HAQ9");
/// # let out = TempDir::new("downsample-block-example");
///
/// let raw = Block::open(dir.as_ref())?;
/// let options = DownsampleBlockOptions::new("01M81M50C1GHABPQN27M3727VX".parse()?, FIVE_MINUTES_MS);
/// let meta = downsample_block(&raw, out.path(), options)?;
/// assert_eq!(meta.resolution_ms(), FIVE_MINUTES_MS);
/// assert_eq!(meta.compaction, raw.meta().compaction);
/// # Ok::<(), thanos_core::Error>(())
/// ```
pub fn downsample_block(
    block: &Block,
    parent: &Path,
    options: DownsampleBlockOptions,
) -> Result<Meta> {
    let (from_ms, to_ms) = (block.meta().resolution_ms(), options.resolution_ms);
    if to_ms <= from_ms {
        return Err(super::not_lower(from_ms, to_ms));
    }
    let mut held = options.budget.lease(symbol_bytes(block))?;
    let mut at_work = options.budget.lease(0)?;
    let mut writer = create_writer(block, parent, &options)?;
    for batch in block.select(&Select::default())? {
        let batch = batch?;
        for series in batch.iter() {
            let named = |error: Error| error.context(format_args!("series {}", series.labels));
            at_work.resize(work_bytes(series.chunks).map_err(named)?)?;
            let made = downsample(series.chunks, from_ms, to_ms).map_err(named)?;
            if !made.is_empty() {
                hold_labels(&mut held, series.labels.iter_bytes().count())?;
                writer.add_series(series.labels, &made)?;
            }
        }
    }
    writer.finish()
}

/// Starts the block that says of itself what `block` does, but for its name and resolution.
fn create_writer(
    block: &Block,
    parent: &Path,
    options: &DownsampleBlockOptions,
) -> Result<BlockWriter> {
    let meta = block.meta();
    let mut thanos = meta.thanos.clone().unwrap_or_default();
    thanos.downsample.resolution_ms = options.resolution_ms;
    thanos.source = SOURCE_COMPACTOR.to_owned();
    // These speak of files of the other block.
    thanos.files = Vec::new();
    thanos.segment_files = Vec::new();
    thanos.index_stats = Default::default();
    thanos.upload_time = Default::default();
    let mut writer_options = BlockWriterOptions::new(options.id);
    writer_options.time = Some((meta.min_time, meta.max_time));
    writer_options.compaction = Some(meta.compaction.clone());
    writer_options.thanos = Some(thanos);
    writer_options.label_indices = options.label_indices;
    let mut damaged = None;
    let symbols = block.index().symbols().iter();
    let symbols = symbols.map_while(|symbol| match symbol {
        Ok((_, symbol)) => Some(symbol),
        Err(error) => {
            damaged = Some(error);
            None
        }
    });
    let writer = BlockWriter::create(parent, writer_options, symbols)?;
    match damaged {
        Some(error) => Err(error),
        None => Ok(writer),
    }
}

/// Returns what the symbols of the block take in a writer: their text, and where each lies.
fn symbol_bytes(block: &Block) -> u64 {
    let toc = block.index().toc();
    let text = toc.series.saturating_sub(toc.symbols);
    let symbols = u64::try_from(block.index().symbols().len()).unwrap_or(u64::MAX);
    text.saturating_add(symbols.saturating_mul(16))
}

fn hold_labels(held: &mut Lease, labels: usize) -> Result<()> {
    let labels = u64::try_from(labels).unwrap_or(u64::MAX);
    held.grow(labels.saturating_mul(LABEL_BYTES))
}

/// Returns what the samples of a series take when they are decoded and aggregated.
fn work_bytes(chunks: &[SeriesChunk]) -> Result<u64> {
    let mut bytes: u64 = 0;
    for part in chunks {
        bytes = bytes.saturating_add(match &part.payload {
            ChunkPayload::Raw(chunk) => decoded_bytes(chunk)?,
            ChunkPayload::Aggregates(set) => {
                let mut sum: u64 = 0;
                for chunk in set.iter().flatten() {
                    sum = sum.saturating_add(decoded_bytes(chunk)?);
                }
                sum
            }
        });
    }
    Ok(bytes)
}

fn decoded_bytes(chunk: &Chunk) -> Result<u64> {
    let times = |count: usize, each: u64| u64::try_from(count).map_or(u64::MAX, |n| n * each);
    Ok(match chunk.encoding {
        Encoding::XOR | Encoding::XOR2 => times(chunk::num_samples(chunk)?, FLOAT_BYTES),
        _ => times(chunk.data.len(), HISTOGRAM_GROWTH),
    })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::ErrorKind;
    use crate::block::{Blocks, ThanosMeta};
    use crate::downsample::{FIVE_MINUTES_MS, ONE_HOUR_MS, RAW_MS};
    use crate::testkit::{TempDir, copy_dir};

    fn only_block(dir: PathBuf) -> Block {
        Blocks::open_dir(&dir).unwrap().blocks()[0].clone()
    }

    fn recorded(resolution: &str) -> Block {
        let testdata = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/downsample");
        only_block(testdata.join(resolution))
    }

    /// A-06, C-17: the chunks that Thanos made of a raw block and of that, as they lie in their file.
    #[test]
    fn the_chunks_of_a_block_are_those_of_thanos() {
        let dir = TempDir::new("downsample-block");
        let mut from = recorded("raw");
        for (to, resolution_ms) in [("5m", FIVE_MINUTES_MS), ("1h", ONE_HOUR_MS)] {
            let theirs = recorded(to);
            let options = DownsampleBlockOptions::new(theirs.id(), resolution_ms);
            let parent = dir.path().join(to);
            let meta = downsample_block(&from, &parent, options).unwrap();
            let ours = only_block(parent);
            assert_eq!(*ours.meta(), meta);
            let segment = |block: &Block| std::fs::read(block.dir().join("chunks/000001")).unwrap();
            assert!(segment(&ours) == segment(&theirs), "{to}");
            let counts = |meta: &Meta| {
                let stats = &meta.stats;
                (stats.num_samples, stats.num_series, stats.num_chunks)
            };
            assert_eq!(counts(&meta), counts(theirs.meta()));
            from = ours;
        }
    }

    #[test]
    fn the_meta_is_that_of_the_source_but_for_name_and_resolution() {
        let dir = TempDir::new("downsample-block-meta");
        let raw = recorded("raw");
        let mut meta = raw.meta().clone();
        meta.compaction.level = 4;
        let mut thanos = ThanosMeta {
            version: 1,
            source: "sidecar".to_owned(),
            segment_files: ["000001", "000002"].map(str::to_owned).to_vec(),
            ..ThanosMeta::default()
        };
        thanos
            .labels
            .insert("prometheus".to_owned(), "bench".to_owned());
        meta.thanos = Some(thanos.clone());
        let copy = dir.path().join(raw.id().to_string());
        copy_dir(raw.dir(), &copy);
        meta.write_dir(&copy).unwrap();
        let id = "01M81NXXCYF2E0R3VCTW4QEBJN".parse().unwrap();
        let options = DownsampleBlockOptions::new(id, FIVE_MINUTES_MS);
        let made = downsample_block(&Block::open(&copy).unwrap(), dir.path(), options).unwrap();
        assert_eq!((made.ulid, made.compaction), (id, meta.compaction));
        assert_eq!(
            (made.min_time, made.max_time),
            (meta.min_time, meta.max_time)
        );
        thanos.source = "compactor".to_owned();
        thanos.segment_files.truncate(1);
        thanos.downsample.resolution_ms = FIVE_MINUTES_MS;
        let mut made_thanos = made.thanos.unwrap();
        let stats = std::mem::take(&mut made_thanos.index_stats);
        assert!(stats.series_max_size > 0 && stats.chunk_max_size > 0);
        assert_eq!(made_thanos, thanos);
        // It is not made finer again.
        let five = Block::open(&dir.path().join(id.to_string())).unwrap();
        for resolution_ms in [RAW_MS, FIVE_MINUTES_MS] {
            let options = DownsampleBlockOptions::new(raw.id(), resolution_ms);
            let error = downsample_block(&five, dir.path(), options).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        }
    }

    #[test]
    fn memory_is_leased_and_given_back() {
        let dir = TempDir::new("downsample-block-budget");
        let raw = recorded("raw");
        let budget = MemoryBudget::new("compaction memory", 64 << 20);
        let mut options = DownsampleBlockOptions::new(raw.id(), FIVE_MINUTES_MS);
        options.budget = budget.clone();
        downsample_block(&raw, dir.path(), options.clone()).unwrap();
        assert_eq!(budget.used_bytes(), 0);
        let peak = budget.peak_bytes();
        assert!(peak > 0);

        let dir = TempDir::new("downsample-block-small-budget");
        options.budget = MemoryBudget::new("compaction memory", peak - 1);
        let error = downsample_block(&raw, dir.path(), options).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LimitExceeded, "{error}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
