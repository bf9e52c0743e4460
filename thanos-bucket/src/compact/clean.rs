//! Removing blocks from the bucket: those that were marked long enough ago, and what broken uploads left.
//!
//! This is the only place of the compactor that deletes; everything else marks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::StreamExt;
use thanos_core::block::{BlockId, DeletionMark, Marker};
use thanos_core::time::{Clock, Timestamp};
use thanos_core::{Error, ErrorKind, Result};
use tokio::sync::Mutex;

use super::metrics::CompactMetrics;
use super::view::CompactView;
use crate::Bucket;
use crate::bucket::ObjectInfo;
use crate::transfer::delete_block;

/// How long nothing must have been written to a directory without `meta.json` until it counts as abandoned: 48 hours, in
/// milliseconds (Go pkg/compact/clean.go PartialUploadThresholdAge).
pub const PARTIAL_UPLOAD_AGE_MS: i64 = 48 * 3600 * 1000;
/// How many blocks are deleted at once.
const CONCURRENCY: usize = 32;
/// The largest marker that is read.
const MARK_BYTES_MAX: u64 = 1 << 20;

/// Deletes blocks. Only one deletion runs at a time.
#[derive(Debug)]
pub(super) struct Cleaner {
    bucket: Bucket,
    delete_delay_ms: i64,
    metrics: CompactMetrics,
    clock: Arc<dyn Clock>,
    one_at_a_time: Mutex<()>,
}

/// What a directory without `meta.json` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Partial {
    /// Somebody may still upload it, or it was marked a short while ago.
    Recent,
    /// An upload that was given up.
    Abandoned,
    /// A deletion that was cut off.
    HalfDeleted,
}

impl Cleaner {
    pub(super) fn new(
        bucket: Bucket,
        delete_delay_ms: i64,
        metrics: CompactMetrics,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            bucket,
            delete_delay_ms,
            metrics,
            clock,
            one_at_a_time: Mutex::default(),
        }
    }

    /// Deletes the blocks of `view` that were marked longer ago than the delay (row C-22 of the specification); returns
    /// which are gone, and the first error. One that cannot be deleted does not keep the others.
    pub(super) async fn delete_marked(
        &self,
        view: &CompactView,
    ) -> (BTreeSet<BlockId>, Result<()>) {
        let _place = self.one_at_a_time.lock().await;
        let now = self.clock.now();
        let due: Vec<BlockId> = view
            .marked
            .iter()
            .filter(|(_, marked)| self.is_due(**marked, now))
            .map(|(id, _)| *id)
            .collect();
        let mut deletions = futures::stream::iter(due)
            .map(|id| async move { (id, self.delete(id).await) })
            .buffer_unordered(CONCURRENCY);
        let (mut gone, mut outcome) = (BTreeSet::new(), Ok(()));
        while let Some((id, deleted)) = deletions.next().await {
            match deleted {
                Ok(()) => {
                    tracing::info!(block = %id, "deleted block marked for deletion");
                    gone.insert(id);
                }
                Err(error) => outcome = outcome.and(Err(error.context("delete block"))),
            }
        }
        (gone, outcome)
    }

    /// Removes what uploads and deletions left that were cut off (row C-23 of the specification). What cannot be removed
    /// is logged, counted and tried again by the next call.
    ///
    /// A directory whose `meta.json` is damaged is no broken upload: it may hold all of its data. Unlike Thanos, which
    /// deletes it, this leaves it to whoever looks at `thanos_blocks_meta_synced{state="corrupted-meta-json"}`.
    pub(super) async fn delete_partial(&self, partial: &BTreeMap<BlockId, Arc<Error>>) {
        let _place = self.one_at_a_time.lock().await;
        // A list, not an iterator over `partial`: with closures about references the future could not go to any thread.
        let without_meta: Vec<BlockId> = partial
            .iter()
            .filter(|(_, error)| error.kind() == ErrorKind::NotFound)
            .map(|(id, _)| *id)
            .collect();
        let mut cleaned = futures::stream::iter(without_meta)
            .map(|id| async move { (id, self.clean_partial(id).await) })
            .buffer_unordered(CONCURRENCY);
        while let Some((id, outcome)) = cleaned.next().await {
            if let Err(error) = outcome {
                tracing::warn!(block = %id, %error, "cannot clean up a partial block, will retry in the next iteration");
            }
        }
        self.metrics.cleanups.inc();
    }

    async fn clean_partial(&self, id: BlockId) -> Result<()> {
        let objects = self.bucket.infos_under(&id.to_string()).await?;
        if objects.is_empty() {
            // Cleaned up since somebody looked at the bucket.
            return Ok(());
        }
        match self.judge(id, &objects).await? {
            Partial::Recent => Ok(()),
            Partial::Abandoned => {
                self.metrics.partial_deletions.inc();
                self.delete(id).await?;
                tracing::info!(block = %id, "deleted aborted partial upload");
                Ok(())
            }
            Partial::HalfDeleted => {
                self.delete(id).await?;
                tracing::info!(block = %id, "finished the deletion of a block");
                Ok(())
            }
        }
    }

    async fn judge(&self, id: BlockId, objects: &[ObjectInfo]) -> Result<Partial> {
        let now = self.clock.now();
        let mark = format!("{id}/{}", DeletionMark::FILE);
        if objects.iter().any(|object| object.name == mark) {
            let bytes = self.bucket.read(&mark, MARK_BYTES_MAX).await?;
            match DeletionMark::parse(&bytes) {
                Ok(mark) if self.is_due(mark.deletion_time, now) => {
                    return Ok(Partial::HalfDeleted);
                }
                Ok(_) => return Ok(Partial::Recent),
                // Half a mark is none.
                Err(error) if error.kind() == ErrorKind::Corrupt => {}
                Err(error) => return Err(error),
            }
        }
        let newest = objects.iter().map(|object| object.modified).max();
        let age_ms = now - newest.unwrap_or(id.created());
        Ok(match age_ms > PARTIAL_UPLOAD_AGE_MS {
            true => Partial::Abandoned,
            false => Partial::Recent,
        })
    }

    fn is_due(&self, marked: Timestamp, now: Timestamp) -> bool {
        now - marked > self.delete_delay_ms
    }

    async fn delete(&self, id: BlockId) -> Result<()> {
        let deleted = delete_block(&self.bucket, id).await;
        match &deleted {
            Ok(()) => self.metrics.blocks_cleaned.inc(),
            Err(_) => self.metrics.cleanup_failures.inc(),
        };
        deleted
    }
}
