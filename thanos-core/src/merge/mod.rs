//! Merging blocks, the heart of compaction: several blocks made into one, one series at a time.
//!
//! ```text
//! blocks -> symbols, each once (symbols) -> series in label order, as symbols (sources)
//!        -> chunks of the same series -> one after another: copied as they are
//!              (chunks)                  overlapping: decoded, merged, encoded anew
//!        -> BlockWriter, or one for each part of the series (parts)
//! ```
//!
//! With [`MergeOptions::threads`] chunks are read and merged ahead of the writer (ahead), with the same result.
//!
//! Deleted samples are left out on the way. Memory is leased from the budget of [`BlockWriterOptions`]; what grows with
//! the blocks goes to files in the directory of the unfinished block when it does not fit, but for what the writer holds
//! of each label value and the samples of one series that overlap.
//!
//! Where chunks of replicas overlap, the penalty chooses between the replicas, from one end of the overlap to the other,
//! as it does in queries. Thanos' compactor folds chunk after chunk instead: it takes the end of a chunk for the end of the
//! replica, goes over to another one, and passes over what follows by a penalty that this gap has made, without going
//! back. It loses samples that way, for minutes or to the end of the overlap, and keeps to a replica with fewer samples;
//! `tests/replicas.rs` has examples beside a model of it. Where each replica has one chunk, both write the same.
//!
//! Blocks whose index would grow too large are merged into several, each with the series of some hashes:
//! [`merge_blocks_into_parts`].
//!
//! Sources: Prometheus `tsdb/compact.go` and `storage/merge.go`; Thanos' `pkg/dedup` for replicas.

mod aggregates;
mod ahead;
mod chunks;
mod counters;
mod options;
mod parts;
mod replicas;
mod samples;
mod sources;
mod symbols;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::Path;

pub use chunks::{MergeOverlaps, merge_chunks};
pub use options::{MergeOptions, MergeProgress};
pub use parts::{PART_EXTENSION, PartOfSeries, part_of, seal_parts};

use self::ahead::merge_ahead;
use self::chunks::ChunkMerger;
use self::parts::Parts;
use self::sources::Sources;
use self::symbols::unite;
use crate::block::{Block, BlockId, BlockWriterOptions, Compaction, Meta, ParentBlock};
use crate::budget::MemoryBudget;
use crate::chunk::SeriesChunk;
use crate::error::{Error, Result};
use crate::index::SymbolRef;

/// Writes one block with the samples of `sources` into the database directory `parent`; returns its meta.json, or
/// nothing where no sample is left.
///
/// The options say what the block is called. Unless they say otherwise, it covers the time of all sources, and its
/// `compaction` is that of Prometheus: a level above the highest source, all their sources, and the blocks as parents.
/// The result does not depend on the order of `sources`.
///
/// # Errors
///
/// `Invalid` without sources or with blocks of different resolutions, `Corrupt` when a source is damaged,
/// `LimitExceeded` when the budget of the options is too small or a section of the index would be too long (see
/// [`merge_blocks_into_parts`] then), `Cancelled` when [`MergeProgress::stop`] was called, and what the file system
/// reports. Nothing is left of the block then.
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
    options: BlockWriterOptions,
    merge: impl Into<MergeOptions>,
) -> Result<Option<Meta>> {
    let ids = [options.id];
    let metas = merge_series(sources, parent, &ids, options, &merge.into())?;
    Ok(metas.into_iter().next())
}

/// Writes the series of `sources` into as many blocks as there are `ids`: a series into that of its hash modulo their
/// number. It is for blocks whose index would be too large for one. Returns the meta.json of each block that has
/// series, in the order in which they have to be published.
///
/// `options` speak of every part; the id in them is not used. The hash is that of Thanos' query sharding over all labels
/// ([`LabelHasher::separated`](crate::labels::LabelHasher::separated)), the same for every merge.
///
/// # How parts look to others
///
/// Thanos drops a block as a duplicate when all its `compaction.sources` are sources of another one, and it takes the
/// sources of a compaction for replaced as soon as such a block is there. So a part names itself alone as its source,
/// but for the last one, which names all sources of what was merged as well. Published in the returned order, the parts
/// stand beside the blocks that they were made of, with samples that are equal, until the last one replaces these; no
/// order of crashes hides a sample. What the parts were made of stands in the `parents` of each.
///
/// Parts cover the same time, which a planner takes for blocks to be merged: each has to be published with a
/// `no-compact-mark.json`. That they belong together says `thanos.extensions`, if the options have a Thanos section
/// ([`part_of`]); Thanos carries extensions along and does not look at them.
///
/// # Errors
///
/// As [`merge_blocks`], and `Invalid` without ids. Nothing is left of any part then.
///
/// # Example
///
/// ```
/// use thanos_core::block::{BlockWriterOptions, Blocks};
/// use thanos_core::merge::{MergeOverlaps, merge_blocks_into_parts};
/// # use thanos_core::testkit::TempDir;
/// # let data = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/compaction/horizontal-in");
/// # let out = TempDir::new("merge-parts-example");
///
/// let sources = Blocks::open_dir(data.as_ref())?;
/// let ids = ["01M81M50C1GHABPQN27M3727VX".parse()?, "01M81M50C1GHABPQN27M3727VY".parse()?];
/// let options = BlockWriterOptions::new(ids[0]);
/// let parts = merge_blocks_into_parts(sources.blocks(), out.path(), &ids, options, MergeOverlaps::Chain)?;
/// assert_eq!(parts[0].compaction.sources, [ids[0]]);
/// assert_eq!(parts[1].compaction.sources.len(), 1 + 6);
/// # Ok::<(), thanos_core::Error>(())
/// ```
pub fn merge_blocks_into_parts(
    sources: &[Block],
    parent: &Path,
    ids: &[BlockId],
    options: BlockWriterOptions,
    merge: impl Into<MergeOptions>,
) -> Result<Vec<Meta>> {
    merge_series(sources, parent, ids, options, &merge.into())
}

fn merge_series(
    sources: &[Block],
    parent: &Path,
    ids: &[BlockId],
    mut options: BlockWriterOptions,
    merge: &MergeOptions,
) -> Result<Vec<Meta>> {
    let mut blocks = sources.to_vec();
    blocks.sort_by_key(|block| (block.meta().min_time, block.id()));
    check_resolutions(&blocks)?;
    let [first, ..] = &blocks[..] else {
        return Err(Error::invalid("there is no block to merge"));
    };
    let metas = || blocks.iter().map(Block::meta);
    let max_time = metas().map(|meta| meta.max_time).max();
    let covered = (first.meta().min_time, max_time.unwrap_or_default());
    options.time.get_or_insert(covered);
    options
        .compaction
        .get_or_insert_with(|| compaction_of(metas()));
    let budget = options.budget.clone();
    let parts = Parts::create(parent, ids, options, merge.only_part)?;
    let union = unite(&blocks, &parts.spool_place()?)?;
    let mut series = Sources::new(&blocks, union.names, &union.symbols)?;
    let mut writers = parts.start(&union.symbols, &mut series)?;
    let write = |labels: &[(SymbolRef, SymbolRef)], merged: Result<Vec<SeriesChunk>>| {
        let merged = merged.map_err(|error| error.context(writers.name_of(labels)))?;
        if !merged.is_empty() {
            writers.add_series(labels, &merged)?;
        }
        merge.progress.count_series()
    };
    match merge.threads {
        0 | 1 => merge_inline(&mut series, (merge.overlaps, &budget), write)?,
        threads => merge_ahead(&mut series, (merge.overlaps, &budget), threads, write)?,
    }
    writers.finish()
}

/// Calls `write` with the labels and the merged chunks of all series in their order.
fn merge_inline(
    series: &mut Sources,
    (overlaps, budget): (MergeOverlaps, &MemoryBudget),
    mut write: impl FnMut(&[(SymbolRef, SymbolRef)], Result<Vec<SeriesChunk>>) -> Result<()>,
) -> Result<()> {
    let mut chunks = ChunkMerger::new(overlaps, budget.clone())?;
    while let Some(next) = series.next()? {
        write(next.labels, chunks.merge(next.chunks))?;
    }
    Ok(())
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
