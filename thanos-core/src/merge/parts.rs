//! One block or several with the series of some hashes each, written at the same time.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::sources::Sources;
use crate::block::{BlockId, BlockWriter, BlockWriterOptions, Compaction, Meta, UnfinishedBlock};
use crate::budget::{Lease, MemoryBudget};
use crate::chunk::SeriesChunk;
use crate::error::{Error, Result};
use crate::index::{LabelDecoder, SymbolRef, SymbolTable, Symbols, UsedSymbols};
use crate::labels::{LabelHasher, LabelsRef};
use crate::spool::SpoolPlace;

/// The name in `thanos.extensions` under which a part says what it is.
pub const PART_EXTENSION: &str = "series_part";

/// Which of several blocks, that together have the series of a merge, a block is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartOfSeries {
    /// The part, counted from 0: its series are those whose hash modulo the number of parts is this.
    pub part: usize,
    /// All parts, in the order of their numbers; those without series are not there.
    pub blocks: Vec<BlockId>,
}

/// Returns which part of a merge the block with this meta.json is; nothing for most blocks.
pub fn part_of(meta: &Meta) -> Option<PartOfSeries> {
    let extensions = meta.thanos.as_ref()?.extensions.as_ref()?;
    serde_json::from_value(extensions.get(PART_EXTENSION)?.clone()).ok()
}

/// Says in the last of `parts` what all of them were made of, `compaction`, and writes its meta.json in the database
/// directory `parent` again: published last, it replaces the sources (see
/// [`merge_blocks_into_parts`](super::merge_blocks_into_parts), which does this by itself). One part alone is sealed as a
/// block that is none.
///
/// # Errors
///
/// What the file system reports.
pub fn seal_parts(parent: &Path, parts: &mut [Meta], compaction: &Compaction) -> Result<()> {
    let Some(last) = parts.last_mut() else {
        return Ok(());
    };
    last.compaction
        .sources
        .extend_from_slice(&compaction.sources);
    last.compaction.sources.sort_unstable();
    last.compaction.sources.dedup();
    last.write_dir(&parent.join(last.ulid.to_string()))
}

/// The symbols that a part has; nothing for one that is not written or has all.
type UsedByPart = Option<Arc<UsedSymbols>>;

/// The blocks before anything is written to them.
pub(super) struct Parts {
    parent: PathBuf,
    compaction: Compaction,
    budget: MemoryBudget,
    /// Nothing for a part that is not written.
    blocks: Vec<Option<UnfinishedBlock>>,
}

impl Parts {
    /// Makes a directory for each block; `options` speak of all of them.
    pub(super) fn create(
        parent: &Path,
        ids: &[BlockId],
        options: BlockWriterOptions,
        only: Option<usize>,
    ) -> Result<Self> {
        if only.map_or(ids.is_empty(), |only| only >= ids.len()) {
            return Err(Error::invalid(format!(
                "there is no part to write of {}",
                ids.len()
            )));
        }
        if ids.iter().collect::<BTreeSet<_>>().len() < ids.len() {
            return Err(Error::invalid("two parts have the same id"));
        }
        let mut blocks = Vec::with_capacity(ids.len());
        for part in 0..ids.len() {
            let options = || of_part(options.clone(), ids, part);
            blocks.push(match only.is_none_or(|only| only == part) {
                true => Some(UnfinishedBlock::create(parent, options())?),
                false => None,
            });
        }
        Ok(Self {
            parent: parent.to_owned(),
            compaction: options.compaction.unwrap_or_default(),
            budget: options.budget,
            blocks,
        })
    }

    /// Returns where bytes can be kept until the blocks are finished.
    pub(super) fn spool_place(&self) -> Result<SpoolPlace> {
        let first = self.blocks.iter().flatten().next();
        let first = first.ok_or_else(|| Error::internal("no part is written"))?;
        Ok(first.spool_place())
    }

    /// Starts the blocks with what they need of `symbols`, which are those of `series`.
    pub(super) fn start(self, symbols: &Symbols, series: &mut Sources) -> Result<Writers> {
        let mut hasher = SeriesHasher::new(symbols.clone(), self.blocks.len());
        let (used, lease) = match self.blocks.len() {
            1 => (vec![None], None),
            _ => self.used_symbols(&mut hasher, series)?,
        };
        let mut writers = Vec::with_capacity(self.blocks.len());
        for (block, used) in self.blocks.into_iter().zip(used) {
            let symbols = symbols.clone();
            let start =
                |block: UnfinishedBlock| block.start_with_table(SymbolTable { symbols, used });
            writers.push(block.map(start).transpose()?);
        }
        Ok(Writers {
            parent: self.parent,
            compaction: self.compaction,
            writers,
            hasher,
            _lease: lease,
        })
    }

    /// Finds out which symbols each part has: a part has not those of series that it has not.
    fn used_symbols(
        &self,
        hasher: &mut SeriesHasher,
        series: &mut Sources,
    ) -> Result<(Vec<UsedByPart>, Option<Lease>)> {
        let len = hasher.symbols.len();
        let written = self.blocks.iter().flatten().count() as u64;
        let lease = self.budget.lease(written * UsedSymbols::bytes_of(len))?;
        let new = |block: &UnfinishedBlock| (block, UsedSymbols::new(len)).1;
        let mut used: Vec<Option<UsedSymbols>> = self
            .blocks
            .iter()
            .map(|block| block.as_ref().map(new))
            .collect();
        series.for_each_labels(|labels| {
            let part = hasher.part_of(labels)?;
            if let Some(Some(used)) = used.get_mut(part) {
                for (name, value) in labels {
                    used.insert(*name);
                    used.insert(*value);
                }
            }
            Ok(())
        })?;
        let counted = used
            .into_iter()
            .map(|used| used.map(|used| Arc::new(used.counted())));
        Ok((counted.collect(), Some(lease)))
    }
}

/// Makes the options of a part out of those of all.
fn of_part(mut options: BlockWriterOptions, ids: &[BlockId], part: usize) -> BlockWriterOptions {
    options.id = ids[part];
    if ids.len() == 1 {
        return options;
    }
    if let Some(compaction) = &mut options.compaction {
        compaction.sources = vec![options.id];
    }
    if let Some(thanos) = &mut options.thanos {
        let extension = PartOfSeries {
            part,
            blocks: ids.to_vec(),
        };
        let mut extensions = match thanos.extensions.take() {
            Some(Value::Object(extensions)) => extensions,
            _ => Map::new(),
        };
        let extension = serde_json::to_value(extension).expect("numbers and ids are JSON");
        extensions.insert(PART_EXTENSION.to_owned(), extension);
        thanos.extensions = Some(Value::Object(extensions));
    }
    options
}

/// Tells the part of a series by its labels.
struct SeriesHasher {
    symbols: Symbols,
    parts: usize,
    decoder: LabelDecoder,
    hasher: LabelHasher,
    key: Vec<u8>,
}

impl SeriesHasher {
    fn new(symbols: Symbols, parts: usize) -> Self {
        Self {
            symbols,
            parts,
            decoder: LabelDecoder::new(),
            hasher: LabelHasher::new(),
            key: Vec::new(),
        }
    }

    fn labels(&mut self, labels: &[(SymbolRef, SymbolRef)]) -> Result<LabelsRef<'_>> {
        self.key.clear();
        self.decoder
            .append_key(&self.symbols, labels, &mut self.key)?;
        Ok(LabelsRef::from_trusted_key(&self.key))
    }

    fn part_of(&mut self, labels: &[(SymbolRef, SymbolRef)]) -> Result<usize> {
        if self.parts == 1 {
            return Ok(0);
        }
        self.labels(labels)?;
        let labels = LabelsRef::from_trusted_key(&self.key);
        let part = self.hasher.separated(labels) % self.parts as u64;
        usize::try_from(part).map_err(|_| Error::internal("a part is no position"))
    }
}

/// The blocks that are being written.
pub(super) struct Writers {
    parent: PathBuf,
    compaction: Compaction,
    writers: Vec<Option<BlockWriter>>,
    hasher: SeriesHasher,
    _lease: Option<Lease>,
}

impl Writers {
    /// Returns what errors call the series with these labels.
    pub(super) fn name_of(&mut self, labels: &[(SymbolRef, SymbolRef)]) -> String {
        match self.hasher.labels(labels) {
            Ok(labels) => format!("series {labels}"),
            Err(_) => "series with damaged labels".to_owned(),
        }
    }

    /// Writes a series that comes after all others to the block that it belongs to.
    pub(super) fn add_series(
        &mut self,
        labels: &[(SymbolRef, SymbolRef)],
        chunks: &[SeriesChunk],
    ) -> Result<()> {
        let part = self.hasher.part_of(labels)?;
        match self.writers.get_mut(part) {
            Some(Some(writer)) => writer.add_series_by_symbols(labels, chunks),
            _ => Ok(()),
        }
    }

    /// Finishes the blocks that have series, and returns their meta.jsons.
    pub(super) fn finish(self) -> Result<Vec<Meta>> {
        let is_whole = self.writers.iter().all(Option::is_some);
        let mut finished = Finished {
            parent: &self.parent,
            metas: Vec::with_capacity(self.writers.len()),
        };
        let parts = self.writers.len();
        for writer in self.writers.into_iter().flatten() {
            // Dropping a writer removes what it has begun.
            if writer.num_series() > 0 {
                finished.metas.push(writer.finish()?);
            }
        }
        if parts > 1 && is_whole {
            seal_parts(&self.parent, &mut finished.metas, &self.compaction)?;
        }
        Ok(std::mem::take(&mut finished.metas))
    }
}

/// Blocks that are there while others are still to come; removed when these fail.
struct Finished<'a> {
    parent: &'a Path,
    metas: Vec<Meta>,
}

impl Drop for Finished<'_> {
    fn drop(&mut self) {
        for meta in &self.metas {
            // Best effort: what is left is a whole block, which whoever tries again replaces.
            let _ = std::fs::remove_dir_all(self.parent.join(meta.ulid.to_string()));
        }
    }
}
