//! Deleting series for good: which blocks still have samples that tombstones hide.
//!
//! A compaction leaves out what active requests delete. Blocks that no compaction is planned for, or that none may have,
//! are written anew, and only those of which something is deleted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::StreamExt;
use serde_json::Value;
use thanos_core::Result;
use thanos_core::block::{BlockId, Meta};
use thanos_core::labels::Labels;

use super::compactor::{Compactor, Errors};
use super::group::GroupKey;
use super::work::Outcome;
use crate::fetch::BlockEntry;
use crate::tombstones::{AppliedRecord, RequestId, Tombstone};

/// A tombstone is active at least so long: blocks of the deleted time may still be on their way, and others that were
/// replaced are still read.
const ACTIVE_MS_MIN: i64 = 48 * 3600 * 1000;

/// A block that is to be written without some samples.
#[derive(Debug, Clone)]
pub struct Deletion {
    /// The block, with the labels that the bucket has.
    pub block: Arc<BlockEntry>,
    /// The group in which it is compacted, by its labels without those of replicas.
    pub group: GroupKey,
    /// What is deleted.
    pub requests: Vec<Arc<Tombstone>>,
}

/// The blocks that were looked through for a request and have nothing of it.
pub(crate) type Clean = BTreeMap<RequestId, BTreeSet<BlockId>>;

/// Reports whether `meta` says that `request` was applied to the block.
fn is_applied(meta: &Meta, request: &RequestId) -> bool {
    let thanos = meta.thanos.iter();
    let mut applied = thanos
        .flat_map(|thanos| &thanos.rewrites)
        .flat_map(|rewrite| &rewrite.deletions_applied);
    applied.any(|deletion| {
        deletion.get("request_id").and_then(Value::as_str) == Some(request.as_str())
    })
}

/// Returns those of `active` that may delete samples of the block of `meta`, whose labels are, or were before replica
/// labels were removed, at least `labels`.
pub(super) fn concerning<'a>(
    active: &'a [Arc<Tombstone>],
    labels: &BTreeMap<String, String>,
    meta: &Meta,
) -> impl Iterator<Item = &'a Arc<Tombstone>> {
    let (labels, range) = (Labels::from_pairs(labels), meta.time_range());
    active.iter().filter(move |tombstone| {
        tombstone.range.overlaps(range) && !tombstone.selectors_within(labels.as_ref()).is_empty()
    })
}

/// Reports whether the block may have samples that `tombstone` deletes.
fn concerns(tombstone: &Tombstone, entry: &BlockEntry, clean: &Clean) -> bool {
    let (meta, id) = (&entry.meta, &tombstone.request_id);
    let is_clean = || {
        clean
            .get(id)
            .is_some_and(|blocks| blocks.contains(&meta.ulid))
    };
    let overlaps = meta.time_range().overlaps(tombstone.range);
    let selects = |labels: Labels| !tombstone.selectors_within(labels.as_ref()).is_empty();
    overlaps && !is_applied(meta, id) && !is_clean() && selects(meta.external_labels())
}

/// Returns what is to be deleted of one block.
fn of_block(
    entry: &Arc<BlockEntry>,
    group: GroupKey,
    tombstones: &[Arc<Tombstone>],
    clean: &Clean,
) -> Option<Deletion> {
    let concerning = tombstones
        .iter()
        .filter(|tombstone| concerns(tombstone, entry, clean));
    let requests: Vec<_> = concerning.cloned().collect();
    (!requests.is_empty()).then(|| Deletion {
        block: Arc::clone(entry),
        group,
        requests,
    })
}

impl Compactor {
    /// Writes the blocks anew that have samples of tombstones, and ends the tombstones of which no block has any.
    ///
    /// # Errors
    ///
    /// When the bucket or a tombstone cannot be read, and the first error of a block: the others are written.
    pub async fn apply_deletions(&self) -> Result<()> {
        let tombstones = self.tombstones.list().await?;
        if tombstones.is_empty() {
            return Ok(());
        }
        tracing::info!(tombstones = tombstones.len(), "start deleting series");
        let clean = self.tombstones.clean_blocks().await?;
        let view = self.sync().await?;
        let own = view.unmarked();
        let all = self.all_blocks().await?;
        let wanted: Vec<Deletion> = (all.iter())
            .filter_map(|entry| {
                let group = GroupKey::of(&own.get(&entry.meta.ulid)?.meta);
                of_block(entry, group, &tombstones, &clean)
            })
            .collect();
        let mut running = futures::stream::iter(wanted)
            .map(|deletion| async move { self.delete_of(&deletion).await })
            .buffer_unordered(self.concurrency);
        let mut errors = Errors::default();
        while let Some(outcome) = running.next().await {
            errors.note("deleting series", outcome);
        }
        drop(running);
        for tombstone in &tombstones {
            errors.note("ending a tombstone", self.end_if_done(tombstone).await);
        }
        errors.first()
    }

    async fn delete_of(&self, deletion: &Deletion) -> Result<()> {
        let block = deletion.block.meta.ulid;
        let requests: Vec<&str> = (deletion.requests.iter())
            .map(|tombstone| tombstone.request_id.as_str())
            .collect();
        let requests = requests.join(", ");
        let outcome = self.work.delete(deletion).await;
        let outcome = outcome.map_err(|error| error.context(format_args!("block {block}")))?;
        match outcome {
            Outcome::Done { new, marked } => {
                use thanos_core::block::{DeletionMark, Marker};
                self.metrics.marked(DeletionMark::FILE, "", marked);
                let new = new.first().map(|meta| meta.ulid.to_string());
                tracing::info!(%block, ?new, %requests, "deleted series of block");
            }
            Outcome::PutAside(_) => tracing::warn!(%block, "block was put aside"),
            Outcome::Elsewhere => tracing::info!(%block, "another compactor works on its group"),
        }
        Ok(())
    }

    /// Ends `tombstone` when no block of the bucket, also of those that are to be removed, has samples of it.
    async fn end_if_done(&self, tombstone: &Tombstone) -> Result<()> {
        if self.clock.now() - tombstone.created < ACTIVE_MS_MIN {
            return Ok(());
        }
        let (view, clean) = (
            self.viewer.fetcher().fetch().await?,
            self.tombstones.clean_blocks().await?,
        );
        // Nobody knows what a block has that cannot be read now.
        if let Some((block, error)) = view.unread.first_key_value() {
            let request = &tombstone.request_id;
            tracing::warn!(%request, %block, %error, "deletion goes on: a block cannot be read");
            return Ok(());
        }
        let all: Vec<Arc<BlockEntry>> = view.blocks.into_values().collect();
        if all.iter().any(|entry| concerns(tombstone, entry, &clean)) {
            return Ok(());
        }
        let id = &tombstone.request_id;
        let written = all.iter().filter(|entry| is_applied(&entry.meta, id));
        let record = AppliedRecord {
            tombstone: tombstone.clone(),
            finished: self.clock.now(),
            blocks: written.map(|entry| entry.meta.ulid).collect(),
        };
        self.tombstones.finish(&record).await?;
        tracing::info!(request = %id, "deletion is done: no block has samples of it");
        Ok(())
    }
}

#[cfg(test)]
mod tests;
