//! Repairing a block: the same data as a new block that keeps the promises of an index.
//!
//! What [`HealthStats`] finds and nobody loses by: chunks that are never read, chunks that are there twice, labels and
//! series out of order. Chunks that overlap with different data are left to somebody who knows which is right.
//!
//! Source: Thanos `pkg/block/index.go`, `Repair`. Other than there, deleted samples stay deleted, series that are there
//! twice are merged instead of losing the second, and what was written is checked.

use std::path::Path;

use super::{
    Block, BlockId, BlockWriter, BlockWriterOptions, HealthStats, Meta, OrderedSeries, SeriesOrder,
    UploadTime,
};
use crate::budget::MemoryBudget;
use crate::chunk::SeriesChunk;
use crate::error::{Error, Result};
use crate::index::{ChunkMeta, RawSeries, SeriesRef};
use crate::labels::LabelsBuilder;
use crate::merge::{MergeOverlaps, merge_chunks};

/// What is repaired, and what the new block is called.
#[derive(Debug, Clone)]
pub struct RepairOptions {
    /// The id of the new block.
    pub id: BlockId,
    /// The `thanos.source` of the new block: `bucket.repair` or `compactor.repair` in Thanos.
    pub source: String,
    /// What chunks are left out.
    pub faults: RepairedFaults,
    /// Where memory for series that move is leased.
    pub budget: MemoryBudget,
}

/// The chunks that a repair leaves out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RepairedFaults {
    /// Chunks that lie outside the block as a whole.
    pub complete_outside: bool,
    /// Chunks that begin when the block ends.
    pub issue_347: bool,
    /// Chunks with the times and the data of the one before them. Without it, chunks that overlap fail the repair.
    pub duplicates: bool,
}

impl RepairedFaults {
    /// All that can be repaired.
    pub const ALL: Self = Self {
        complete_outside: true,
        issue_347: true,
        duplicates: true,
    };
    /// What a compactor may repair on its own: the next block has these chunks too.
    pub const ISSUE_347: Self = Self {
        complete_outside: false,
        issue_347: true,
        duplicates: false,
    };
}

/// What a repair did.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Repaired {
    /// The new block; `None` when nothing is left of it, and then nothing was written.
    pub meta: Option<Meta>,
    /// Chunks outside the block that were left out.
    pub complete_outside_chunks: u64,
    /// Chunks of issue 347 that were left out.
    pub issue_347_chunks: u64,
    /// Chunks that were there twice.
    pub duplicated_chunks: u64,
    /// Series whose labels were put in order.
    pub sorted_label_sets: u64,
    /// Series that were there twice, and were merged.
    pub merged_series: u64,
}

/// Writes the data of `block` without its faults as a new block into the database directory `parent`.
///
/// The new meta.json is that of the old block but for id, statistics and `thanos.source`.
///
/// # Errors
///
/// `Invalid` for a downsampled block, `Corrupt` when the block is damaged in a way that is not repaired here; what the
/// file system reports. Nothing is left of the new block then.
pub fn repair_block(block: &Block, parent: &Path, options: &RepairOptions) -> Result<Repaired> {
    if block.meta().resolution_ms() > 0 {
        return Err(Error::invalid("cannot repair downsampled block"));
    }
    let mut repair = Repair {
        block,
        faults: options.faults,
        raw: RawSeries::default(),
        builder: LabelsBuilder::new(),
        done: Repaired::default(),
    };
    let series = repair.order(&options.budget)?;
    let writer = BlockWriter::create(
        parent,
        BlockWriterOptions {
            compaction: Some(block.meta().compaction.clone()),
            ..BlockWriterOptions::new(options.id)
        },
        all_symbols(block)?,
    )?;
    let Some(written) = repair.write(series, writer)? else {
        return Ok(repair.done);
    };
    let dir = parent.join(options.id.to_string());
    let finished = finish(&dir, written, block.meta(), &options.source);
    if finished.is_err() {
        // Best effort: the error that matters is the first one.
        let _ = std::fs::remove_dir_all(&dir);
    }
    repair.done.meta = Some(finished?);
    Ok(repair.done)
}

/// Gives the block in `dir` the meta.json that follows from the old one, and checks the block.
fn finish(dir: &Path, written: Meta, old: &Meta, source: &str) -> Result<Meta> {
    let mut thanos = old.thanos.clone().unwrap_or_default();
    source.clone_into(&mut thanos.source);
    thanos.segment_files = Vec::new();
    thanos.files = Vec::new();
    thanos.upload_time = UploadTime::default();
    let meta = Meta {
        min_time: old.min_time,
        max_time: old.max_time,
        thanos: Some(thanos),
        extra: old.extra.clone(),
        ..written
    };
    let health = HealthStats::of_index_in(dir, &meta)?;
    health
        .check_any()
        .map_err(|error| error.context("repaired block is invalid"))?;
    meta.write_dir(dir)?;
    Ok(meta)
}

fn all_symbols(block: &Block) -> Result<Vec<&str>> {
    let symbols = block.index().symbols().iter();
    symbols.map(|symbol| Ok(symbol?.1)).collect()
}

struct Repair<'a> {
    block: &'a Block,
    faults: RepairedFaults,
    raw: RawSeries,
    builder: LabelsBuilder,
    done: Repaired,
}

impl Repair<'_> {
    /// Returns the series in the order of their sorted labels.
    fn order(&mut self, budget: &MemoryBudget) -> Result<OrderedSeries> {
        let mut order = SeriesOrder::new(budget)?;
        let mut key = Vec::new();
        for series in &self.block.index().all_postings()? {
            key.clear();
            let is_sorted = self.append_sorted_key(series, &mut key)?;
            self.done.sorted_label_sets += u64::from(!is_sorted);
            if key.is_empty() {
                let message = format!("empty label set detected for series {series}");
                return Err(Error::corrupt(message));
            }
            order.add(series, &key)?;
        }
        Ok(order.finish())
    }

    /// Appends the sorted labels of `series`; returns whether the index has them in order.
    fn append_sorted_key(&mut self, series: u32, key: &mut Vec<u8>) -> Result<bool> {
        let index = self.block.index();
        index.raw_series(SeriesRef::from(series), &mut self.raw)?;
        self.builder = LabelsBuilder::new();
        let mut is_sorted = true;
        let mut previous = "";
        for (name, value) in &self.raw.labels {
            let (name, value) = (
                index.symbols().lookup(*name)?,
                index.symbols().lookup(*value)?,
            );
            is_sorted &= previous < name;
            previous = name;
            self.builder.set(name, value);
        }
        self.builder.append_key(key);
        Ok(is_sorted)
    }

    fn write(
        &mut self,
        mut series: OrderedSeries,
        mut writer: BlockWriter,
    ) -> Result<Option<Meta>> {
        let mut is_empty = true;
        while series.advance(|series, key| self.append_sorted_key(series, key).map(drop))? {
            let mut parts = Vec::with_capacity(series.group().len());
            for part in series.group() {
                let chunks = self.chunks(*part);
                parts.push(chunks.map_err(|error| error.context(series.labels()))?);
            }
            self.done.merged_series += parts.len() as u64 - 1;
            let chunks = match <[Vec<SeriesChunk>; 1]>::try_from(parts) {
                Ok([only]) => only,
                Err(parts) => merge_chunks(parts, MergeOverlaps::Chain)?,
            };
            if !chunks.is_empty() {
                writer.add_series(series.labels(), &chunks)?;
                is_empty = false;
            }
        }
        // A writer that is dropped removes what it has begun.
        (!is_empty).then(|| writer.finish()).transpose()
    }

    /// Returns the chunks of a series that are to stay, sorted.
    fn chunks(&mut self, series: u32) -> Result<Vec<SeriesChunk>> {
        let reference = SeriesRef::from(series);
        self.block.index().raw_series(reference, &mut self.raw)?;
        let mut places = std::mem::take(&mut self.raw.chunks);
        places.sort_by_key(|place| place.min_time);
        let mut kept: Vec<ChunkMeta> = Vec::with_capacity(places.len());
        for place in &places {
            if self.is_wanted(kept.last(), place)? {
                kept.push(*place);
            }
        }
        self.raw.chunks = places;
        let deleted = self.block.tombstones().get(reference);
        let mut chunks = Vec::new();
        self.block.chunks_left(&kept, deleted, &mut chunks)?;
        Ok(chunks)
    }

    fn is_wanted(&mut self, last: Option<&ChunkMeta>, place: &ChunkMeta) -> Result<bool> {
        let (min, max) = (self.block.meta().min_time, self.block.meta().max_time);
        if self.faults.complete_outside && (place.min_time > max || place.max_time < min) {
            self.done.complete_outside_chunks += 1;
            return Ok(false);
        }
        // COMPAT: a chunk of one sample at the very end is not outside, but Thanos takes it for one of these too.
        if self.faults.issue_347 && place.min_time == max {
            self.done.issue_347_chunks += 1;
            return Ok(false);
        }
        if let Some(last) = last
            && self.faults.duplicates
            && place.min_time <= last.max_time
        {
            self.check_duplicate(last, place)?;
            self.done.duplicated_chunks += 1;
            return Ok(false);
        }
        Ok(true)
    }

    /// Checks that two chunks that overlap are the same.
    fn check_duplicate(&self, last: &ChunkMeta, place: &ChunkMeta) -> Result<()> {
        let bounds = |place: &ChunkMeta| format!("[{}, {}]", place.min_time, place.max_time);
        let chunks = self.block.chunks();
        let is_same = last.time_range() == place.time_range()
            && chunks.chunk(last.reference)? == chunks.chunk(place.reference)?;
        if is_same {
            return Ok(());
        }
        Err(Error::corrupt(format!(
            "non-sequential chunks not equal: {} and {}",
            bounds(last),
            bounds(place)
        )))
    }
}

#[cfg(test)]
mod tests;
