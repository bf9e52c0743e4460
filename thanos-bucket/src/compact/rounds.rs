//! Compacting and downsampling: rounds of decisions, each carried out for many groups at once.

use std::collections::{BTreeSet, HashSet};
use std::time::Instant;

use futures::StreamExt;
use parking_lot::Mutex;
use thanos_core::block::BlockId;
use thanos_core::{Error, Result};

use super::compactor::{Compactor, Errors};
use super::garbage;
use super::group::{Group, GroupKey, Resolution};
use super::metrics::GroupEvent;
use super::passes::{Downsampling, downsamplings};
use super::planner::{Plan, PlanKind};
use super::work::Outcome;

/// Whether to look at a group again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// Something has changed: there may be more to do.
    Again,
    /// There is nothing to do for now.
    Nothing,
}

/// The plans that were begun. One that comes again, because its sources are kept, say, must not be carried out forever.
type Tried = Mutex<HashSet<Vec<BlockId>>>;

impl Compactor {
    /// Compacts all groups until nothing is left to do (row C-01 of the specification).
    ///
    /// # Errors
    ///
    /// When the bucket cannot be looked at or cleaned, and the first error of a group: the others are compacted
    /// nevertheless, and so is what is left of the group in the next iteration.
    pub async fn compact(&self) -> Result<()> {
        let mut errors = Errors::default();
        let mut failed: BTreeSet<GroupKey> = BTreeSet::new();
        let tried = Tried::default();
        loop {
            tracing::info!("start sync of metas");
            let view = self.sync().await?;
            let (deleted, cleaned) = self.cleaner.delete_marked(&view).await;
            errors.note("cleaning marked blocks", cleaned);
            let collected = garbage::collect(&view, &deleted, &self.marks, &self.metrics).await;
            errors.note("garbage collection", collected);
            let mut groups = self.grouper.groups(&view.unmarked());
            for group in &groups {
                self.metrics.show_group(group.key);
            }
            let keys: Vec<GroupKey> = groups.iter().map(|group| group.key).collect();
            if let Err(error) = self.work.tidy(&keys).await {
                tracing::warn!(%error, "cannot remove what is left of other work, some disk space may be lost");
            }
            groups.retain(|group| group.blocks.len() > 1 && !failed.contains(&group.key));
            let tried = &tried;
            let mut running = futures::stream::iter(groups)
                .map(|group| async move { (group.key, self.compact_group(&group, tried).await) })
                .buffer_unordered(self.concurrency);
            let mut next = Next::Nothing;
            while let Some((key, outcome)) = running.next().await {
                match outcome {
                    Ok(Next::Again) => next = Next::Again,
                    Ok(Next::Nothing) => {}
                    Err(error) => {
                        failed.insert(key);
                        errors.note(&format!("group {key}"), Err::<(), Error>(error));
                    }
                }
            }
            if next == Next::Nothing {
                tracing::info!("compaction iterations done");
                return errors.first();
            }
        }
    }

    /// Plans `group` and carries out the plan.
    async fn compact_group(&self, group: &Group, tried: &Tried) -> Result<Next> {
        self.metrics.group(group.key, GroupEvent::RunStarted);
        let outcome = self.plan_and_compact(group, tried).await;
        let event = match outcome {
            Ok(_) => GroupEvent::RunCompleted,
            Err(_) => GroupEvent::Failed,
        };
        self.metrics.group(group.key, event);
        outcome
    }

    async fn plan_and_compact(&self, group: &Group, tried: &Tried) -> Result<Next> {
        let planned = self.planner.plan(group);
        for mark in &planned.marks {
            tracing::info!(block = %mark.id, reason = mark.reason, "marking block for no compaction");
            self.marks.no_compact(mark).await?;
        }
        let Some(plan) = planned.plan else {
            return Ok(Next::Nothing);
        };
        let ids: Vec<BlockId> = plan.blocks.iter().map(|entry| entry.meta.ulid).collect();
        let blocks: Vec<String> = ids.iter().map(BlockId::to_string).collect();
        let blocks = blocks.join(", ");
        if !tried.lock().insert(ids) {
            tracing::warn!(group = %group.key, %blocks, "these blocks are planned again although they were worked on");
            return Ok(Next::Nothing);
        }
        tracing::info!(group = %group.key, kind = ?plan.kind, shards = plan.shards, %blocks, "compaction available and planned");
        warn_of_shared_sources(group, &plan);
        self.hooks.before_compaction(group, &plan).await?;
        let started = Instant::now();
        match self.work.compact(group, &plan, &self.hooks).await? {
            Outcome::Done { new, marked } => {
                self.count_compaction(group, &plan, new.len(), marked);
                let new: Vec<String> = new.iter().map(|meta| meta.ulid.to_string()).collect();
                let (new, duration) = (new.join(", "), started.elapsed());
                tracing::info!(group = %group.key, %new, ?duration, %blocks, "compacted blocks");
                Ok(Next::Again)
            }
            Outcome::PutAside(ids) => {
                for block in ids {
                    tracing::warn!(group = %group.key, %block, "block was put aside");
                }
                Ok(Next::Again)
            }
            Outcome::Elsewhere => {
                tracing::info!(group = %group.key, "another compactor works on this group");
                Ok(Next::Nothing)
            }
        }
    }

    fn count_compaction(&self, group: &Group, plan: &Plan, new: usize, marked: u64) {
        use thanos_core::block::{DeletionMark, Marker};
        self.metrics.marked(DeletionMark::FILE, "", marked);
        self.metrics.garbage_blocks.inc_by(marked);
        if new > 0 {
            self.metrics.group(group.key, GroupEvent::Compacted);
            if plan.kind == PlanKind::Overlap {
                self.metrics
                    .group(group.key, GroupEvent::CompactedVertically);
            }
        }
    }

    /// Makes one pass over the blocks and downsamples what is to be (row C-17 of the specification).
    ///
    /// # Errors
    ///
    /// When the bucket cannot be looked at, and the first error of a block: the others are downsampled nevertheless.
    pub async fn downsample(&self) -> Result<()> {
        let view = self.sync().await?;
        for entry in view.blocks.values() {
            let from = Resolution(entry.meta.resolution_ms());
            self.metrics.show_downsampling(from);
        }
        let wanted = downsamplings(&view.blocks, self.retention(), self.clock.now());
        let mut running = futures::stream::iter(wanted)
            .map(|wanted| async move { self.downsample_block(&wanted).await })
            .buffer_unordered(self.downsample_concurrency);
        let mut errors = Errors::default();
        while let Some(outcome) = running.next().await {
            errors.note("downsampling", outcome);
        }
        errors.first()
    }

    async fn downsample_block(&self, wanted: &Downsampling) -> Result<()> {
        let (block, from) = (
            wanted.block.meta.ulid,
            Resolution(wanted.block.meta.resolution_ms()),
        );
        let started = Instant::now();
        match self.work.downsample(wanted).await {
            Ok(Outcome::Done { new, .. }) => {
                let duration = started.elapsed();
                self.metrics.downsampled(from, Some(duration.as_secs_f64()));
                for meta in new {
                    tracing::info!(from = %block, to = %meta.ulid, ?duration, "downsampled block");
                }
                Ok(())
            }
            Ok(Outcome::PutAside(_)) => {
                tracing::warn!(%block, "block was put aside");
                self.metrics.downsampled(from, None);
                Ok(())
            }
            Ok(Outcome::Elsewhere) => Ok(()),
            Err(error) => {
                self.metrics.downsampled(from, None);
                Err(error.context(format_args!("block {block} to {} ms", wanted.to)))
            }
        }
    }
}

/// Says when blocks of `plan` were made from the same blocks: their samples are merged, but somebody has compacted twice.
fn warn_of_shared_sources(group: &Group, plan: &Plan) {
    let mut seen = BTreeSet::new();
    for entry in &plan.blocks {
        let sources = entry.meta.compaction.sources.iter();
        if let Some(source) = sources.copied().find(|source| !seen.insert(*source)) {
            let block = entry.meta.ulid;
            tracing::warn!(group = %group.key, %block, %source, "overlapping sources detected for plan");
        }
    }
}
