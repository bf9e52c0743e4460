//! Carrying out a decision: new blocks become visible, and then their sources are marked.

use std::collections::BTreeMap;
use std::sync::Arc;

use thanos_core::block::{
    BlockId, DeletionMark, META_FILE, Meta, NoCompactMark, no_compact_reason,
};
use thanos_core::{Error, Result};

use super::{JobRunner, Told};
use crate::compact::lease::{Commit, Lease};
use crate::compact::work::Outcome;
use crate::transfer::{mark_block, publish_block};

/// Whose decision is carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    /// Of the attempt that has just uploaded everything.
    Ours,
    /// Of one that has ended, perhaps long ago.
    Another,
}

impl JobRunner {
    /// Carries out `commit` in a task of its own, which goes on when nobody waits for it any more: what is decided
    /// should be seen (row C-35 of the specification).
    pub(super) async fn carry_out(
        &self,
        lease: Arc<Lease>,
        commit: Commit,
        told: Option<Told>,
        whose: Whose,
    ) -> Result<Outcome> {
        let place = Arc::clone(&self.carrying_out).read_owned().await;
        let runner = self.clone();
        let carried_out = tokio::spawn(async move {
            let _place = place;
            let outcome = runner.publish_and_mark(&commit, told, whose).await?;
            lease.finish(commit).await?;
            Ok(outcome)
        });
        let ended = |error| Error::cancelled(format!("publishing a result: {error}"));
        carried_out.await.map_err(ended)?
    }

    async fn publish_and_mark(
        &self,
        commit: &Commit,
        told: Option<Told>,
        whose: Whose,
    ) -> Result<Outcome> {
        if whose == Whose::Another && !self.is_whole(&commit.blocks).await? {
            self.give_up(&commit.blocks).await?;
            return Ok(Outcome::Elsewhere);
        }
        for meta in &commit.blocks {
            if !commit.no_compact.is_empty() {
                let (now, reason) = (
                    self.options.clock.now(),
                    no_compact_reason::INDEX_SIZE_EXCEEDING,
                );
                let mark = NoCompactMark::new(meta.ulid, now, reason, commit.no_compact.clone());
                mark_block(&self.bucket, &mark).await?;
            }
            let upload_failed =
                |error: Error| error.context(format_args!("upload of {} failed", meta.ulid));
            publish_block(&self.bucket, meta)
                .await
                .map_err(upload_failed)?;
            if let Some(told) = &told {
                told.hooks.after_compaction(&told.group, meta).await?;
            }
        }
        let marked = self.mark_replaced(&commit.sources, &commit.details).await?;
        Ok(Outcome::Done {
            new: commit.blocks.clone(),
            marked,
        })
    }

    /// Marks `sources` for deletion; returns how many were not marked before.
    pub(super) async fn mark_replaced(&self, sources: &[BlockId], details: &str) -> Result<u64> {
        let mut marked = 0;
        for id in sources {
            let mark = DeletionMark::new(*id, self.options.clock.now(), details);
            marked += u64::from(mark_block(&self.bucket, &mark).await?);
        }
        Ok(marked)
    }

    /// Reports whether everything that the blocks consist of is in the bucket.
    async fn is_whole(&self, blocks: &[Meta]) -> Result<bool> {
        for meta in blocks {
            let found = self.bucket.objects_under(&meta.ulid.to_string()).await?;
            let found: BTreeMap<String, u64> = found.into_iter().collect();
            let object = |path: &str| format!("{}/{path}", meta.ulid);
            let mut files = meta.thanos.iter().flat_map(|thanos| &thanos.files);
            let is_there = files.all(|file| {
                file.rel_path == META_FILE
                    || found.get(&object(&file.rel_path)) == Some(&file.size_bytes)
            });
            if !is_there {
                tracing::warn!(block = %meta.ulid, "decided block has lost objects, its sources are compacted again");
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Undoes what was published of a decision that cannot be carried out any more: its sources still are there.
    async fn give_up(&self, blocks: &[Meta]) -> Result<()> {
        for meta in blocks {
            if self.are_visible(std::iter::once(meta.ulid)).await? {
                let now = self.options.clock.now();
                let mark = DeletionMark::new(meta.ulid, now, "part of a result that was given up");
                mark_block(&self.bucket, &mark).await?;
            } else {
                self.discard(std::slice::from_ref(meta)).await;
            }
        }
        Ok(())
    }
}
