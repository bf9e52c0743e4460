//! Compacting: several blocks become one, or one for each part of their series.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value};
use thanos_core::block::{
    Block, BlockId, BlockWriterOptions, Downsample, HealthStats, Meta, NoCompactMark,
    RepairOptions, RepairedFaults, ThanosMeta, no_compact_reason, repair_block,
};
use thanos_core::budget::MemoryBudget;
use thanos_core::merge::{MergeOptions, MergeProgress, PART_EXTENSION, merge_blocks_into_parts};
use thanos_core::{Error, Result};

use super::deletions::WithoutDeleted;
use super::predict::{Kernel, Prediction};
use super::sources::Trouble;
use super::streamed::Chunks;
use super::{
    ChunkTransfer, JobRunner, OutOfOrderChunks, OutOfOrderLabels, Step, Suspects, Told, work_dir,
};
use crate::compact::group::Group;
use crate::compact::lease::{Commit, Committed, Lease};
use crate::compact::planner::{Plan, PlanKind};
use crate::compact::quarantine::KeptOutOf;
use crate::compact::work::Outcome;
use crate::transfer::{delete_block, mark_block};

/// What Thanos' section of meta.json calls whoever makes blocks of blocks.
pub(super) const SOURCE_COMPACTOR: &str = "compactor";
const SOURCE_REPAIR: &str = "compactor.repair";
/// The most threads that merge one plan.
const MERGE_THREADS_MAX: usize = 4;
/// What a merge may hold in memory when its blocks are small.
const MERGE_BYTES_MIN: u64 = 256 << 20;
/// The number of the new block of a repair: no compaction makes so many.
const REPAIRED_BLOCK: u32 = u32::MAX;

impl JobRunner {
    /// Compacts the blocks of `plan` up to the decision.
    pub(super) async fn compact_leased(
        &self,
        told: Told,
        plan: Plan,
        lease: Arc<Lease>,
    ) -> Result<Step> {
        let group = &told.group;
        let ids: Vec<BlockId> = plan.blocks.iter().map(|entry| entry.meta.ulid).collect();
        if self.is_outdated(&ids, &lease).await? {
            return Ok(Step::Ended(Outcome::Elsewhere));
        }
        let dir = self.group_dir(group.key);
        let transfer = self.prepare(&plan, &ids, &dir).await?;
        let mut suspects = Suspects::default();
        loop {
            let mut chunks = self.chunks(transfer);
            let tried = self.try_compact(&told, &plan, &lease, &dir, &mut chunks);
            let tried = tried.await;
            self.abandon(&mut chunks).await;
            let trouble = match tried {
                Ok(step) => {
                    if let Step::Decided(_) = step {
                        self.options
                            .compute
                            .run(move || work_dir::remove(&dir))
                            .await??;
                    }
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

    /// Reports whether the plan was made before another compactor has replaced its blocks.
    pub(super) async fn is_outdated(&self, ids: &[BlockId], lease: &Lease) -> Result<bool> {
        if let Some(previous) = lease.previous()
            && previous.sources.iter().any(|source| ids.contains(source))
            && self
                .are_visible(previous.blocks.iter().map(|meta| meta.ulid))
                .await?
        {
            return Ok(true);
        }
        if let Some(block) = self.replaced_source(ids).await? {
            tracing::info!(%block, "source of a plan has been replaced, the plan is out of date");
            return Ok(true);
        }
        Ok(false)
    }

    /// Makes the work directory and checks that there is room for the job; returns how its chunks are to come.
    async fn prepare(&self, plan: &Plan, ids: &[BlockId], dir: &Path) -> Result<ChunkTransfer> {
        let (transfer, prediction) = self.transfer_of(plan);
        let kept: Vec<String> = ids.iter().map(BlockId::to_string).collect();
        let (dir, options) = (dir.to_owned(), self.options.clone());
        let prepared = tokio::task::spawn_blocking(move || {
            work_dir::keep_only(&dir, |name| kept.iter().any(|id| id == name))?;
            prediction.check(&options, &dir, work_dir::bytes_in(&dir))
        });
        let checked = prepared
            .await
            .map_err(|_| Error::cancelled("the runtime shuts down"))?;
        checked.map(|()| transfer)
    }

    async fn try_compact(
        &self,
        told: &Told,
        plan: &Plan,
        lease: &Lease,
        dir: &Path,
        chunks: &mut Chunks,
    ) -> std::result::Result<Step, Trouble> {
        let ids: Vec<BlockId> = plan.blocks.iter().map(|entry| entry.meta.ulid).collect();
        let blocks = self.fetch_all(&ids, dir, chunks).await?;
        let without = self.without_deleted(&told.group, blocks).await;
        let without = without.map_err(Trouble::Other)?;
        // Work on a thread does not end by itself when nobody waits for it any more.
        let (_stop, merge) = self.kernel(told, plan, lease, &without, dir, chunks);
        let blocks = without.blocks;
        let metas = match self.run(chunks, merge).await? {
            Ok(metas) => metas,
            Err(error) => return Err(self.blame(error, blocks, chunks).await),
        };
        if metas.is_empty() {
            if without.is_any {
                let sources = deletable(told, &ids);
                let marked = self.mark_replaced(&sources, "block rewritten").await?;
                let new = Vec::new();
                return Ok(Step::Ended(Outcome::Done { new, marked }));
            }
            return Ok(Step::Ended(self.mark_empty(told, &blocks).await?));
        }
        warn_of_counts(plan, &blocks, &metas);
        drop(blocks);
        let mut commit = lease.decision();
        commit.details = "source of compacted block".to_owned();
        if metas.len() > 1 {
            commit.no_compact = format!("split by series hash into {} blocks", metas.len());
        }
        commit.sources = deletable(told, &ids);
        Ok(self
            .stage_and_decide(lease, dir, metas, commit, chunks)
            .await?)
    }

    /// Returns what a merge may hold: of what it can put into files, no more than makes it fast.
    fn merge_budget(&self, plan: &Plan) -> MemoryBudget {
        let entries = plan.blocks.iter().map(Arc::as_ref);
        let predicted = Prediction::new(entries, Kernel::Merge).memory_bytes;
        let bytes = predicted.saturating_mul(2).max(MERGE_BYTES_MIN);
        self.options.budget.child("merge memory", bytes)
    }

    /// Returns what merges the blocks and returns the new ones, none where no sample is left, or what the kernel says; and
    /// what ends it when it is dropped.
    fn kernel(
        &self,
        told: &Told,
        plan: &Plan,
        lease: &Lease,
        without: &WithoutDeleted,
        dir: &Path,
        chunks: &Chunks,
    ) -> (
        StopOnDrop,
        impl FnOnce() -> Result<Vec<Meta>> + Send + 'static,
    ) {
        let mut ids: Vec<BlockId> = (0..plan.shards.max(1)).map(|n| lease.block_id(n)).collect();
        // The part that replaces the sources is published last, and a listing that shows it shows the others after it.
        ids.sort_unstable_by(|a, b| b.cmp(a));
        let progress = MergeProgress::default();
        let mut merge = MergeOptions {
            overlaps: self.options.overlaps,
            progress: progress.clone(),
            ..MergeOptions::default()
        };
        let mut options = BlockWriterOptions::new(ids[0]);
        options.budget = self.merge_budget(plan);
        options.thanos = Some(ThanosMeta {
            rewrites: without.rewrites.clone(),
            ..thanos_of(&told.group, &without.blocks)
        });
        chunks.direct(self, &mut options);
        let accepts_labels = self.options.out_of_order_labels == OutOfOrderLabels::Accept;
        let (blocks, dir) = (without.blocks.clone(), dir.to_owned());
        let compute = self.options.compute.clone();
        let kernel = move || {
            // It has one place of its own.
            let spare = compute.spare_places(MERGE_THREADS_MAX - 1);
            merge.threads = 1 + spare.len();
            let metas = merge_blocks_into_parts(&blocks, &dir, &ids, options, merge)?;
            drop(spare);
            for meta in &metas {
                let checked = HealthStats::of_index_in(&dir.join(meta.ulid.to_string()), meta)?;
                if !accepts_labels {
                    let invalid =
                        |error: Error| Error::internal(format!("invalid result block: {error}"));
                    checked.check_any().map_err(invalid)?;
                }
            }
            Ok(metas)
        };
        (StopOnDrop(progress), kernel)
    }

    /// C-09: marks the sources without samples when all are.
    async fn mark_empty(&self, told: &Told, blocks: &[Block]) -> Result<Outcome> {
        tracing::info!(group = %told.group.key, "no compacted blocks, deleting source blocks");
        let empty = blocks
            .iter()
            .filter(|block| block.meta().stats.num_samples == 0)
            .map(Block::id);
        let empty: Vec<BlockId> = empty.collect();
        let marked = self
            .mark_replaced(&deletable(told, &empty), "source of compacted block")
            .await?;
        Ok(Outcome::Done {
            new: Vec::new(),
            marked,
        })
    }

    /// Uploads the blocks in `dir` but for their `meta.json`, and decides that they are the result.
    pub(super) async fn stage_and_decide(
        &self,
        lease: &Lease,
        dir: &Path,
        metas: Vec<Meta>,
        mut commit: Commit,
        chunks: &mut Chunks,
    ) -> Result<Step> {
        for meta in &metas {
            match self.stage(meta, dir, chunks).await {
                Ok(staged) => commit.blocks.push(staged),
                Err(error) => {
                    self.discard(&commit.blocks).await;
                    return Err(error.context(format_args!("upload of {} failed", meta.ulid)));
                }
            }
        }
        let staged = commit.blocks.clone();
        match lease.commit(commit).await? {
            Committed::Yes(commit) => Ok(Step::Decided(commit)),
            Committed::Lost => {
                self.discard(&staged).await;
                Ok(Step::Ended(Outcome::Elsewhere))
            }
        }
    }

    /// Removes blocks that were uploaded and never became visible; cleaning up finds what stays behind.
    pub(super) async fn discard(&self, blocks: &[Meta]) {
        for meta in blocks {
            self.discard_block(meta.ulid).await;
        }
    }

    /// Removes a block that never became visible.
    pub(super) async fn discard_block(&self, id: BlockId) {
        if let Err(error) = delete_block(&self.bucket, id).await {
            tracing::warn!(block = %id, %error, "a void upload stays in the bucket");
        }
    }

    /// Does about a trouble what can be done.
    pub(super) async fn settle(
        &self,
        trouble: Trouble,
        told: &Told,
        lease: &Lease,
        dir: &Path,
    ) -> Result<Step> {
        match trouble {
            Trouble::Damaged(id, error) | Trouble::Unfit(id, error) => {
                let quarantine = &self.quarantine;
                quarantine.put_aside(id, KeptOutOf::All, &error).await?;
                self.forget_download(id, dir).await?;
                Ok(Step::Ended(Outcome::PutAside(vec![id])))
            }
            Trouble::OutOfOrderChunks(id, error) => match self.options.out_of_order_chunks {
                OutOfOrderChunks::Fail => Err(error),
                OutOfOrderChunks::Mark => {
                    let (now, reason) = (
                        self.options.clock.now(),
                        no_compact_reason::OUT_OF_ORDER_CHUNK,
                    );
                    let details = "OutofOrderChunk: marking block with out-of-order series/chunks as no compact to \
                                   unblock compaction";
                    let mark = NoCompactMark::new(id, now, reason, details);
                    mark_block(&self.bucket, &mark).await?;
                    Ok(Step::Ended(Outcome::PutAside(vec![id])))
                }
            },
            Trouble::Issue347(id, error) => {
                tracing::warn!(block = %id, %error, "block is repaired");
                self.repair(id, told, lease, dir).await
            }
            Trouble::Gone(id) => {
                tracing::info!(block = %id, "source of a plan is not there any more");
                Ok(Step::Ended(Outcome::Elsewhere))
            }
            Trouble::Other(error) => Err(error),
        }
    }

    /// C-07: writes the block anew without the chunks of issue 347.
    async fn repair(&self, id: BlockId, told: &Told, lease: &Lease, dir: &Path) -> Result<Step> {
        let options = RepairOptions {
            id: lease.block_id(REPAIRED_BLOCK),
            source: SOURCE_REPAIR.to_owned(),
            faults: RepairedFaults::ISSUE_347,
            budget: self.options.budget.clone(),
        };
        // Of a block whose chunks were to be streamed they are not there.
        let block = match self.download(id, dir).await {
            Ok(block) => block,
            Err(Trouble::Gone(_)) => return Ok(Step::Ended(Outcome::Elsewhere)),
            Err(trouble) => return Err(trouble.into_error()),
        };
        let parent = dir.to_owned();
        let repaired = self
            .options
            .compute
            .run(move || repair_block(&block, &parent, &options));
        let repaired = match repaired.await? {
            Ok(repaired) => repaired,
            Err(error) => {
                let error = error.context(format_args!("repair failed for block {id}"));
                let quarantine = &self.quarantine;
                quarantine.put_aside(id, KeptOutOf::All, &error).await?;
                return Ok(Step::Ended(Outcome::PutAside(vec![id])));
            }
        };
        let mut commit = lease.decision();
        commit.details = "source of repaired block".to_owned();
        commit.sources = deletable(told, &[id]);
        let metas = repaired.meta.into_iter().collect();
        self.stage_and_decide(lease, dir, metas, commit, &mut Chunks::Files)
            .await
    }
}

/// Ends a merge that nobody waits for.
struct StopOnDrop(MergeProgress);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// Returns those of `ids` that may be marked for deletion.
fn deletable(told: &Told, ids: &[BlockId]) -> Vec<BlockId> {
    let ids = ids.iter().copied();
    ids.filter(|id| told.hooks.can_delete(&told.group, *id))
        .collect()
}

/// Returns what the new block says of itself in Thanos' section.
fn thanos_of(group: &Group, blocks: &[Block]) -> ThanosMeta {
    ThanosMeta {
        labels: group.labels.clone(),
        downsample: Downsample {
            resolution_ms: group.key.resolution_ms,
        },
        source: SOURCE_COMPACTOR.to_owned(),
        extensions: common_extensions(blocks),
        ..ThanosMeta::default()
    }
}

/// Returns the extensions that all sources have, with the values of the first.
fn common_extensions(blocks: &[Block]) -> Option<Value> {
    let of = |block: &Block| match block.meta().thanos.as_ref()?.extensions.clone()? {
        Value::Object(extensions) => Some(extensions),
        _ => None,
    };
    let mut common: Map<String, Value> = of(blocks.first()?)?;
    for block in blocks {
        let extensions = of(block)?;
        common.retain(|name, _| extensions.contains_key(name));
    }
    // It speaks of the blocks of another merge.
    common.remove(PART_EXTENSION);
    (!common.is_empty()).then_some(Value::Object(common))
}

/// Says when there are not as many samples as there should be; damaged counts of the sources look the same.
fn warn_of_counts(plan: &Plan, blocks: &[Block], metas: &[Meta]) {
    let has_deletions = blocks.iter().any(|block| !block.tombstones().is_empty());
    if plan.kind != PlanKind::Range || has_deletions {
        return;
    }
    let sources = blocks.iter().map(|block| block.meta().stats.num_samples);
    let (before, after): (u64, u64) = (
        sources.sum(),
        metas.iter().map(|meta| meta.stats.num_samples).sum(),
    );
    if before != after {
        tracing::warn!(before, after, "number of samples has changed by compaction");
    }
}
