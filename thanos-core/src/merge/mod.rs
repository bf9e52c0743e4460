//! Merging blocks, the heart of compaction: several blocks made into one, one series at a time.
//!
//! ```text
//! blocks -> series in label order -> chunks of the same series -> one after another: copied as they are
//!                                       (chunks)                  overlapping: decoded, merged, encoded anew
//!                                                              -> BlockWriter
//! ```
//!
//! Deleted samples are left out on the way. Memory does not grow with the blocks but for their symbols, what
//! [`BlockWriter`] needs, and the chunks of one series that overlap.
//!
//! Sources: Prometheus `tsdb/compact.go` and `storage/merge.go`; Thanos' `pkg/dedup` for replicas.

mod chunks;
mod symbols;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::Path;

pub use chunks::{MergeOverlaps, merge_chunks};

use self::symbols::merged_symbols;
use crate::block::{
    Block, BlockWriter, BlockWriterOptions, Compaction, Meta, ParentBlock, SeriesOfBlocks,
};
use crate::error::{Error, Result};

/// Writes one block with the samples of `sources` into the database directory `parent`; returns its meta.json, or
/// nothing where no sample is left.
///
/// The options say what the block is called. Unless they say otherwise, it covers the time of all sources, and its
/// `compaction` is that of Prometheus: a level above the highest source, all their sources, and the blocks as parents.
///
/// # Errors
///
/// `Invalid` without sources or with blocks of different resolutions, `Corrupt` when a source is damaged, and what the
/// file system reports. Nothing is left of the block then.
///
/// # Example
///
/// ```
/// use thanos_core::block::{BlockWriterOptions, Blocks};
/// use thanos_core::merge::{MergeOverlaps, merge_blocks};
/// # use thanos_core::testkit::TempDir;
/// # let data = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/compaction/horizontal-in");
/// # let out = TempDir::new("merge-example");
///
/// let sources = Blocks::open_dir(data.as_ref())?;
/// let options = BlockWriterOptions::new("01M81M50C1GHABPQN27M3727VX".parse()?);
/// let meta = merge_blocks(sources.blocks(), out.path(), options, MergeOverlaps::Chain)?;
/// assert_eq!(meta.map(|meta| meta.compaction.parents.len()), Some(6));
/// # Ok::<(), thanos_core::Error>(())
/// ```
pub fn merge_blocks(
    sources: &[Block],
    parent: &Path,
    mut options: BlockWriterOptions,
    overlaps: MergeOverlaps,
) -> Result<Option<Meta>> {
    let mut sources = sources.to_vec();
    sources.sort_by_key(|block| (block.meta().min_time, block.id()));
    check_resolutions(&sources)?;
    let [first, ..] = &sources[..] else {
        return Err(Error::invalid("there is no block to merge"));
    };
    let metas = || sources.iter().map(Block::meta);
    let max_time = metas().map(|meta| meta.max_time).max();
    let covered = (first.meta().min_time, max_time.unwrap_or_default());
    options.time.get_or_insert(covered);
    options
        .compaction
        .get_or_insert_with(|| compaction_of(metas()));
    let mut writer = BlockWriter::create(parent, options, merged_symbols(&sources)?)?;
    let mut series = SeriesOfBlocks::new(&sources)?;
    let mut is_empty = true;
    while let Some((labels, parts)) = series.next()? {
        let named = |error: Error| error.context(format_args!("series {}", labels.as_ref()));
        let chunks = merge_chunks(parts, overlaps).map_err(named)?;
        if !chunks.is_empty() {
            writer.add_series(labels.as_ref(), &chunks)?;
            is_empty = false;
        }
    }
    match is_empty {
        // Dropping the writer removes what it has begun.
        true => Ok(None),
        false => writer.finish().map(Some),
    }
}

fn check_resolutions(sources: &[Block]) -> Result<()> {
    let resolution = |block: &Block| block.meta().resolution_ms();
    let differ = |two: &&[Block]| resolution(&two[0]) != resolution(&two[1]);
    let Some([a, b]) = sources.windows(2).find(differ) else {
        return Ok(());
    };
    Err(Error::invalid(format!(
        "cannot merge blocks of different resolutions: {} has {} ms, {} has {} ms",
        a.id(),
        resolution(a),
        b.id(),
        resolution(b)
    )))
}

/// Returns the `compaction` of a block made of blocks with these meta.jsons.
pub fn compaction_of<'a>(metas: impl Iterator<Item = &'a Meta> + Clone) -> Compaction {
    let level = metas.clone().map(|meta| meta.compaction.level).max();
    let sources = metas.clone().flat_map(|meta| &meta.compaction.sources);
    let sources: BTreeSet<_> = sources.copied().collect();
    let parents = metas.map(|meta| ParentBlock {
        ulid: meta.ulid,
        min_time: meta.min_time,
        max_time: meta.max_time,
    });
    Compaction {
        level: level.map_or(1, |level| level.saturating_add(1)),
        sources: sources.into_iter().collect(),
        parents: parents.collect(),
        ..Compaction::default()
    }
}
