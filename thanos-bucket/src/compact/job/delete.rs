//! Deleting series: a block is written anew without the samples that tombstones hide.
//!
//! Most blocks have nothing of what is deleted, and their indexes alone tell that: the rest of a block comes only when
//! there is something to leave out.

use std::path::PathBuf;
use std::sync::Arc;

use thanos_core::block::{Block, BlockWriterOptions, HealthStats, Intervals, Meta};
use thanos_core::index::{ChunkMeta, IndexReader, SeriesScratch};
use thanos_core::mmap::open_bytes;
use thanos_core::rewrite::{
    DeletionRequest, NoLog, RewriteOptions, RewriteRules, preview_rewrite, rewrite_block,
};
use thanos_core::{Error, ErrorKind, Result};

use super::compact::SOURCE_COMPACTOR;
use super::predict::{Kernel, Prediction};
use super::sources::{Trouble, trouble_of};
use super::streamed::Chunks;
use super::{JobRunner, Step, Suspects, Told, work_dir};
use crate::compact::deletions::Deletion;
use crate::compact::lease::Lease;
use crate::compact::work::Outcome;
use crate::tombstones::{TombstoneStore, selects};
use crate::transfer::download_index;

/// What is left of a block.
enum Left {
    /// All of it: it has nothing of the requests.
    All,
    /// A new block, or nothing at all.
    Some(Option<Box<Meta>>),
}

impl JobRunner {
    /// Deletes up to the decision.
    pub(super) async fn delete_leased(
        &self,
        told: Told,
        deletion: Deletion,
        lease: Arc<Lease>,
    ) -> Result<Step> {
        let id = deletion.block.meta.ulid;
        if self.is_outdated(&[id], &lease).await? {
            return Ok(Step::Ended(Outcome::Elsewhere));
        }
        let dir = self.options.data_dir.join("delete").join(id.to_string());
        self.prepare_deletion(&deletion, dir.clone()).await?;
        let mut suspects = Suspects::default();
        loop {
            let trouble = match self.try_delete(&deletion, &lease, &dir).await {
                Ok(step) => {
                    self.options
                        .compute
                        .run(move || work_dir::remove(&dir))
                        .await??;
                    return Ok(step);
                }
                Err(trouble) => trouble,
            };
            match suspects.once_more(trouble) {
                Ok(id) => self.forget_download(id, &dir).await?,
                Err(trouble) => return self.settle(trouble, &told, &lease, &dir).await,
            }
        }
    }

    async fn prepare_deletion(&self, deletion: &Deletion, dir: PathBuf) -> Result<()> {
        let id = deletion.block.meta.ulid.to_string();
        let prediction = Prediction::new(std::iter::once(deletion.block.as_ref()), Kernel::Merge);
        let options = self.options.clone();
        let prepared = tokio::task::spawn_blocking(move || {
            work_dir::keep_only(&dir, |name| name == id)?;
            prediction.check(&options, &dir, work_dir::bytes_in(&dir))
        });
        prepared
            .await
            .map_err(|_| Error::cancelled("the runtime shuts down"))?
    }

    async fn try_delete(
        &self,
        deletion: &Deletion,
        lease: &Lease,
        dir: &std::path::Path,
    ) -> std::result::Result<Step, Trouble> {
        let id = deletion.block.meta.ulid;
        if !self.has_any(deletion, dir).await? {
            return Ok(self.note_clean(deletion).await?);
        }
        let block = self.download(id, dir).await?;
        let mut options = BlockWriterOptions::new(lease.block_id(0));
        options.budget = self.options.budget.clone();
        let options = RewriteOptions {
            block: options,
            source: SOURCE_COMPACTOR.to_owned(),
            budget: self.options.budget.clone(),
        };
        let (source, parent, wanted) = (block.clone(), dir.to_owned(), deletion.clone());
        let kernel = move || write_without(&source, &parent, &options, &wanted);
        let left = match self.options.compute.run(kernel).await? {
            Ok(left) => left,
            Err(error) => return Err(self.blame(error, vec![block], &mut Chunks::Files).await),
        };
        drop(block);
        match left {
            Left::All => Ok(self.note_clean(deletion).await?),
            Left::Some(meta) => {
                let mut commit = lease.decision();
                commit.details = "block rewritten".to_owned();
                commit.sources = vec![id];
                let metas = meta.map(|meta| *meta).into_iter().collect();
                Ok(self
                    .stage_and_decide(lease, dir, metas, commit, &mut Chunks::Files)
                    .await?)
            }
        }
    }

    /// Reports whether the index of the block has series with samples that are to be deleted.
    async fn has_any(
        &self,
        deletion: &Deletion,
        dir: &std::path::Path,
    ) -> std::result::Result<bool, Trouble> {
        let id = deletion.block.meta.ulid;
        let block_dir = dir.join(id.to_string());
        let index = match download_index(&self.bucket, id, &block_dir).await {
            // Whether the block is not there any more, or is damaged, the whole download tells.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(true),
            index => index?,
        };
        let wanted = deletion.clone();
        let look = move || -> Result<bool> {
            let index = IndexReader::open(&index.display().to_string(), open_bytes(&index)?)?;
            deletes_of(&index, &wanted)
        };
        let found = self.options.compute.run(look).await?;
        found.map_err(|error| trouble_of(id, error))
    }

    /// Notes that the block has nothing of the requests.
    async fn note_clean(&self, deletion: &Deletion) -> Result<Step> {
        let store = TombstoneStore::new(self.bucket.clone());
        for tombstone in &deletion.requests {
            let block = deletion.block.meta.ulid;
            store.note_clean(&tombstone.request_id, block).await?;
        }
        Ok(Step::Ended(Outcome::Done {
            new: Vec::new(),
            marked: 0,
        }))
    }
}

/// Reports whether a series of `index` has a chunk with times that `deletion` deletes of it.
fn deletes_of(index: &IndexReader, deletion: &Deletion) -> Result<bool> {
    let meta = &deletion.block.meta;
    let labels = meta.external_labels();
    let mut scratch = SeriesScratch::default();
    for tombstone in &deletion.requests {
        let times = Intervals::from_ranges(vec![tombstone.range]).widened(meta.resolution_ms());
        let is_deleted = |chunk: &ChunkMeta| {
            let range = chunk.time_range();
            times.ranges().iter().any(|times| times.overlaps(range))
        };
        for selector in tombstone.selectors_within(labels.as_ref()) {
            for series in index.postings_for_matchers(&selector)?.into_vec() {
                index.series(series.into(), &mut scratch)?;
                let has_chunk = scratch.chunks().iter().any(is_deleted);
                if has_chunk && selects(&selector, scratch.labels()) {
                    return Ok(true);
                }
            }
        }
    }
    Ok(false)
}

/// Writes what `deletion` leaves of `block`.
fn write_without(
    block: &Block,
    parent: &std::path::Path,
    options: &RewriteOptions,
    deletion: &Deletion,
) -> Result<Left> {
    let rules = RewriteRules {
        deletions: requests_within(block, deletion),
        ..RewriteRules::default()
    };
    let seen = preview_rewrite(block, &rules, &options.budget, &mut NoLog)?;
    if seen.deleted_series == 0 && seen.cut_series == 0 {
        return Ok(Left::All);
    }
    let (meta, _) = rewrite_block(block, parent, options, &rules, &mut NoLog)?;
    let Some(mut meta) = meta else {
        return Ok(Left::Some(None));
    };
    meta.compaction = block.meta().compaction.clone();
    // More sources than before: then the old block is the one that filters of duplicates drop, and blocks of all
    // resolutions that had the same sources still have.
    let sources = &mut meta.compaction.sources;
    let before = sources.len();
    sources.extend(deletion.requests.iter().map(|tombstone| tombstone.source()));
    sources.sort_unstable();
    sources.dedup();
    if sources.len() == before {
        sources.push(meta.ulid);
        sources.sort_unstable();
    }
    let dir = parent.join(meta.ulid.to_string());
    meta.write_dir(&dir)?;
    let checked = HealthStats::of_index_in(&dir, &meta)?.check_any();
    checked.map_err(|error| Error::internal(format!("invalid result block: {error}")))?;
    Ok(Left::Some(Some(Box::new(meta))))
}

/// Returns what the requests delete of the series of `block`.
fn requests_within(block: &Block, deletion: &Deletion) -> Vec<DeletionRequest> {
    let labels = block.meta().external_labels();
    let mut all = Vec::new();
    for tombstone in &deletion.requests {
        let selectors = tombstone.selectors_within(labels.as_ref());
        all.extend(selectors.into_iter().map(|matchers| DeletionRequest {
            matchers,
            intervals: vec![tombstone.range],
            request_id: tombstone.request_id.to_string(),
        }));
    }
    all
}
