//! Carrying out a decision: new blocks become visible, and then their sources are marked.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use thanos_core::block::{
    BlockFile, BlockId, DeletionMark, INDEX_FILE, META_FILE, Marker, Meta, NoCompactMark,
    no_compact_reason,
};
use thanos_core::{Error, ErrorKind, Result};

use super::{JobRunner, Told};
use crate::compact::lease::{Commit, Lease};
use crate::compact::work::Outcome;
use crate::transfer::{mark_block, publish};

/// How many objects are asked for at once.
const LOOKED_AT_ONCE: usize = 8;

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
            if !self.make_visible(meta).await.map_err(upload_failed)? {
                return Ok(Outcome::Elsewhere);
            }
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

    /// Makes a block visible; returns whether it still is one.
    ///
    /// Others may have carried out the decision while this was held up, and have compacted the block and deleted it
    /// since: then what is published is a `meta.json` without a block, which goes again. A deletion removes its mark
    /// last, so whoever finds neither that nor a missing index has published before the deletion, which takes it.
    async fn make_visible(&self, meta: &Meta) -> Result<bool> {
        let published = publish(&self.bucket, meta).await?;
        if !published.is_ours || !self.is_deleted(meta.ulid).await? {
            return Ok(true);
        }
        tracing::warn!(block = %meta.ulid, "block was deleted before it was published here, it is not shown again");
        let object = format!("{}/{META_FILE}", meta.ulid);
        self.bucket.delete(&object).await?;
        Ok(false)
    }

    /// Reports whether a block that has just become visible is being deleted, or was.
    async fn is_deleted(&self, id: BlockId) -> Result<bool> {
        let object = |file: &str| format!("{id}/{file}");
        if self.bucket.exists(&object(DeletionMark::FILE)).await? {
            return Ok(true);
        }
        let index = object(INDEX_FILE);
        if self.bucket.exists(&index).await? {
            return Ok(false);
        }
        // Twice: what is taken for deleted is not shown.
        let listed = self.bucket.objects_under(&id.to_string()).await?;
        Ok(!listed.iter().any(|(name, _)| *name == index))
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

    /// Reports whether everything that the blocks consist of is in the bucket. Each object is asked for: a listing may be
    /// late, and what is given up is deleted.
    async fn is_whole(&self, blocks: &[Meta]) -> Result<bool> {
        let files = |meta: &Meta| {
            let files = meta.thanos.iter().flat_map(|thanos| &thanos.files);
            let files = files.filter(|file| file.rel_path != META_FILE);
            let of =
                |file: &BlockFile| (format!("{}/{}", meta.ulid, file.rel_path), file.size_bytes);
            files.map(of).collect::<Vec<_>>()
        };
        let reader = &self.bucket.clone().expecting_missing().past_caches();
        let asked = stream::iter(blocks.iter().flat_map(files).collect::<Vec<_>>())
            .map(|(object, size)| async move {
                match reader.size(&object).await {
                    Ok(found) if found == size => Ok(None),
                    Ok(_) => Ok(Some(object)),
                    Err(error) if error.kind() == ErrorKind::NotFound => Ok(Some(object)),
                    Err(error) => Err(error),
                }
            })
            .buffer_unordered(LOOKED_AT_ONCE);
        let lost: Vec<Option<String>> = asked.try_collect().await?;
        let lost = lost.into_iter().flatten().next();
        if let Some(object) = &lost {
            tracing::warn!(
                object,
                "decided block has lost an object, its sources are compacted again"
            );
        }
        Ok(lost.is_none())
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
