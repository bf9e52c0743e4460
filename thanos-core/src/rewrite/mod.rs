//! Rewriting a block: the same data with other labels, or without some of it.
//!
//! ```text
//! series of the block -> relabelled -> put in order again -> deletions -> BlockWriter
//!                            |                                   |
//!                            +-----------> change log <----------+
//! ```
//!
//! Labels are looked at first and chunks after that: memory holds the series that change their place, not the data.
//! Chunks are copied as they are; only those that lose some of their samples, or share a time with a chunk of a series
//! that has the same labels now, are encoded anew, with the type that they have.
//!
//! Source: Thanos `pkg/compactv2`. Other than there, histograms stay histograms, deleted samples stay deleted, and
//! symbols that no series has any more are left out.

mod log;
mod request;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::Path;

use roaring::RoaringBitmap;

pub use self::log::{ChangeLog, Changes, NoLog};
use self::request::Deleted;
pub use self::request::DeletionRequest;
use crate::block::{
    Block, BlockWriter, BlockWriterOptions, Compaction, Intervals, Meta, OrderedSeries, Rewrite,
    SeriesOrder, UploadTime,
};
use crate::budget::MemoryBudget;
use crate::chunk::SeriesChunk;
use crate::error::{Error, Result};
use crate::index::{LabelDecoder, RawSeries, SeriesRef};
use crate::labels::relabel::{RelabelConfig, Relabeler};
use crate::labels::{Labels, LabelsRef};
use crate::merge::{MergeOverlaps, merge_chunks};
use crate::time::TimeRange;

/// What is changed.
#[derive(Debug, Clone, Default)]
pub struct RewriteRules {
    /// Rules over the labels of series, applied first; series that they drop or leave without labels are deleted.
    pub relabels: Vec<RelabelConfig>,
    /// What is deleted of the relabelled series.
    pub deletions: Vec<DeletionRequest>,
}

/// How a block is rewritten.
#[derive(Debug, Clone)]
pub struct RewriteOptions {
    /// What the new block is called and says of itself.
    pub block: BlockWriterOptions,
    /// The `thanos.source` of the new block, `bucket.rewrite` in Thanos.
    pub source: String,
    /// Where memory for series that move is leased.
    pub budget: MemoryBudget,
}

/// What a rewrite did, or would do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RewriteStats {
    /// Series of the old block.
    pub series: u64,
    /// Series that got other labels.
    pub relabelled_series: u64,
    /// Series that are gone as a whole, by relabelling or deletion.
    pub deleted_series: u64,
    /// Series that lost some of their samples.
    pub cut_series: u64,
    /// Series that joined another one, because they have the same labels now.
    pub merged_series: u64,
}

impl RewriteRules {
    /// Reports whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        self.relabels.is_empty() && self.deletions.is_empty()
    }

    fn compile(&self) -> Result<Relabeler> {
        Relabeler::new(self.relabels.iter().cloned())
    }
}

/// Writes what `rules` leave of `block` as a new block into the database directory `parent`, and tells `changes` what
/// they change. The meta.json is `None`, and no block is written, when nothing is left.
///
/// The new block covers the time of the old one, is its own only source, and lists the rules among its rewrites.
///
/// # Errors
///
/// `Invalid` for rules that make no sense; `Corrupt` when the block is damaged; `LimitExceeded` when the budget does not hold the series that move; what the file system or
/// `changes` report.
pub fn rewrite_block(
    block: &Block,
    parent: &Path,
    options: &RewriteOptions,
    rules: &RewriteRules,
    changes: &mut dyn Changes,
) -> Result<(Option<Meta>, RewriteStats)> {
    let mut job = Job::new(block, rules, changes)?;
    let plan = job.plan(&options.budget)?;
    let symbols = plan.symbols(block)?;
    let writer = BlockWriter::create(
        parent,
        BlockWriterOptions {
            compaction: Some(Compaction {
                sources: vec![options.block.id],
                ..block.meta().compaction.clone()
            }),
            thanos: Some(rewritten_meta(block.meta(), rules, &options.source)),
            ..options.block.clone()
        },
        symbols,
    )?;
    let written = job.write(plan.series, Some(writer))?;
    let stats = job.stats;
    let Some(written) = written else {
        return Ok((None, stats));
    };
    let old = block.meta();
    let meta = Meta {
        min_time: old.min_time,
        max_time: old.max_time,
        extra: old.extra.clone(),
        ..written
    };
    meta.write_dir(&parent.join(options.block.id.to_string()))?;
    Ok((Some(meta), stats))
}

/// Tells `changes` what `rules` would change in `block`, without reading a chunk or writing anything.
///
/// # Errors
///
/// As [`rewrite_block`], as far as it can be told from the index.
pub fn preview_rewrite(
    block: &Block,
    rules: &RewriteRules,
    budget: &MemoryBudget,
    changes: &mut dyn Changes,
) -> Result<RewriteStats> {
    let mut job = Job::new(block, rules, changes)?;
    let plan = job.plan(budget)?;
    job.write(plan.series, None)?;
    Ok(job.stats)
}

/// Returns the deletions with whole windows of a downsampled block: each says something of all its time. A request of
/// nothing but empty intervals deletes nothing, and must not become one without intervals, which deletes everything.
fn widened(deletions: &[DeletionRequest], resolution_ms: i64) -> Vec<DeletionRequest> {
    let wider = |request: &DeletionRequest| {
        let intervals = Intervals::from_ranges(request.intervals.clone()).widened(resolution_ms);
        let is_void = intervals.is_empty() && !request.intervals.is_empty();
        (!is_void).then(|| DeletionRequest {
            intervals: intervals.ranges().to_vec(),
            ..request.clone()
        })
    };
    deletions.iter().filter_map(wider).collect()
}

/// The Thanos section of the new block.
fn rewritten_meta(old: &Meta, rules: &RewriteRules, source: &str) -> crate::block::ThanosMeta {
    let mut thanos = old.thanos.clone().unwrap_or_default();
    source.clone_into(&mut thanos.source);
    thanos.segment_files = Vec::new();
    thanos.files = Vec::new();
    thanos.upload_time = UploadTime::default();
    thanos.rewrites.push(Rewrite {
        sources: old.compaction.sources.clone(),
        deletions_applied: rules.deletions.iter().map(DeletionRequest::json).collect(),
        relabels_applied: rules.relabels.iter().map(request::relabel_json).collect(),
    });
    thanos
}

/// The series that are left, and what texts they are made of.
struct Plan {
    series: OrderedSeries,
    /// Symbols of the old index that series with their old labels use.
    kept_symbols: RoaringBitmap,
    /// Texts of labels that are new.
    new_texts: BTreeSet<String>,
}

impl Plan {
    /// Returns all texts of the new block, sorted; some of a series that loses all samples may be among them.
    fn symbols<'a>(&'a self, block: &'a Block) -> Result<Vec<&'a str>> {
        let mut symbols: Vec<&str> = self.new_texts.iter().map(String::as_str).collect();
        for symbol in block.index().symbols().iter() {
            let (reference, text) = symbol?;
            if self.kept_symbols.contains(reference.0) {
                symbols.push(text);
            }
        }
        symbols.sort_unstable();
        symbols.dedup();
        Ok(symbols)
    }
}

struct Job<'a> {
    block: &'a Block,
    relabeler: Relabeler,
    deletions: Vec<DeletionRequest>,
    changes: &'a mut dyn Changes,
    stats: RewriteStats,
    raw: RawSeries,
    decoder: LabelDecoder,
    /// The labels that the index has.
    old: Vec<u8>,
}

impl<'a> Job<'a> {
    fn new(
        block: &'a Block,
        rules: &'a RewriteRules,
        changes: &'a mut dyn Changes,
    ) -> Result<Self> {
        Ok(Self {
            block,
            relabeler: rules.compile()?,
            deletions: widened(&rules.deletions, block.meta().resolution_ms()),
            changes,
            stats: RewriteStats::default(),
            raw: RawSeries::default(),
            decoder: LabelDecoder::new(),
            old: Vec::new(),
        })
    }

    /// Relabels all series and puts them in order.
    fn plan(&mut self, budget: &MemoryBudget) -> Result<Plan> {
        let mut order = SeriesOrder::new(budget)?;
        let mut kept_symbols = RoaringBitmap::new();
        let mut new_texts = BTreeSet::new();
        let mut lease = budget.lease(0)?;
        for series in &self.block.index().all_postings()? {
            self.stats.series += 1;
            let Some(labels) = self.relabelled(series)? else {
                self.deleted_by_relabelling()?;
                continue;
            };
            if labels.key()[..] == self.old[..] {
                let symbols = self.raw.labels.iter();
                kept_symbols.extend(symbols.flat_map(|(name, value)| [name.0, value.0]));
            } else {
                self.stats.relabelled_series += 1;
                let old = LabelsRef::from_trusted_key(&self.old);
                self.changes.relabelled(old, labels.as_ref())?;
                for (name, value) in labels.iter() {
                    for text in [name, value] {
                        if !new_texts.contains(&*text) {
                            lease.grow(text.len() as u64 + 64)?;
                            new_texts.insert(text.into_owned());
                        }
                    }
                }
            }
            order.add(series, labels.key())?;
        }
        Ok(Plan {
            series: order.finish(),
            kept_symbols,
            new_texts,
        })
    }

    /// Reads a series, and returns the labels that it is to have, unless it is to be gone.
    fn relabelled(&mut self, series: u32) -> Result<Option<Labels>> {
        let index = self.block.index();
        index.raw_series(SeriesRef::from(series), &mut self.raw)?;
        self.old.clear();
        self.decoder
            .append_key(index.symbols(), &self.raw.labels, &mut self.old)?;
        let old = LabelsRef::from_trusted_key(&self.old);
        if self.relabeler.is_empty() {
            return Ok(Some(old.to_labels()));
        }
        Ok(self.relabeler.process(old).filter(|new| !new.is_empty()))
    }

    fn deleted_by_relabelling(&mut self) -> Result<()> {
        self.stats.deleted_series += 1;
        let all = self.raw.chunks.iter().map(|chunk| chunk.time_range());
        let whole = all.reduce(|all, range| TimeRange {
            min: all.min.min(range.min),
            max: all.max.max(range.max),
        });
        let whole = Intervals::from_ranges(whole.into_iter().collect());
        let old = LabelsRef::from_trusted_key(&self.old);
        self.changes.deleted(old, &whole)?;
        self.changes.processed(1)
    }

    /// Deletes, and writes what is left; without a writer it only looks.
    fn write(
        &mut self,
        mut series: OrderedSeries,
        mut writer: Option<BlockWriter>,
    ) -> Result<Option<Meta>> {
        let mut is_empty = true;
        let mut places = Vec::new();
        loop {
            let next = series.advance(|series, key| {
                let labels = self.relabelled(series)?;
                key.extend_from_slice(labels.unwrap_or_default().key());
                Ok(())
            });
            if !next? {
                break;
            }
            let group = series.group();
            self.stats.merged_series += group.len() as u64 - 1;
            places.clear();
            for part in group {
                let index = self.block.index();
                index.raw_series(SeriesRef::from(*part), &mut self.raw)?;
                places.push((*part, std::mem::take(&mut self.raw.chunks)));
            }
            let deleted = Deleted::of(&self.deletions, series.labels());
            if self.log_deletion(series.labels(), &deleted, &places)?
                && let Some(writer) = &mut writer
            {
                let read = self.chunks_left(&places, &deleted);
                let chunks = read.map_err(|error| error.context(series.labels()))?;
                if !chunks.is_empty() {
                    writer.add_series(series.labels(), &chunks)?;
                    is_empty = false;
                }
            }
            self.changes.processed(series.group().len() as u64)?;
        }
        match writer {
            Some(writer) if !is_empty => writer.finish().map(Some),
            // A writer that is dropped removes what it has begun.
            _ => Ok(None),
        }
    }

    /// Logs what is deleted of a series; returns whether something of it may be left.
    fn log_deletion(
        &mut self,
        labels: LabelsRef<'_>,
        deleted: &Deleted,
        places: &[(u32, Vec<crate::index::ChunkMeta>)],
    ) -> Result<bool> {
        let ranges = || places.iter().flat_map(|(_, chunks)| chunks);
        let gone = deleted.within(ranges().map(|chunk| chunk.time_range()));
        if gone.is_empty() && !deleted.is_whole() {
            return Ok(true);
        }
        self.changes.deleted(labels, &gone)?;
        let is_left = ranges().any(|chunk| !gone.covers(chunk.time_range()));
        match is_left {
            true => self.stats.cut_series += 1,
            false => self.stats.deleted_series += 1,
        }
        Ok(is_left)
    }

    fn chunks_left(
        &self,
        places: &[(u32, Vec<crate::index::ChunkMeta>)],
        deleted: &Deleted,
    ) -> Result<Vec<SeriesChunk>> {
        let mut parts = Vec::with_capacity(places.len());
        for (series, places) in places {
            let mut gone = deleted.intervals().cloned().unwrap_or_default();
            if let Some(before) = self.block.tombstones().get((*series).into()) {
                before.ranges().iter().for_each(|range| gone.add(*range));
            }
            let mut chunks = Vec::new();
            self.block.chunks_left(places, Some(&gone), &mut chunks)?;
            parts.push(chunks);
        }
        match <[Vec<SeriesChunk>; 1]>::try_from(parts) {
            Ok([only]) => Ok(only),
            Err(parts) => merge_chunks(parts, MergeOverlaps::Chain),
        }
    }
}

impl From<log::WriteFailed> for Error {
    fn from(error: log::WriteFailed) -> Self {
        Self::from(error.0).context("write the change log")
    }
}
