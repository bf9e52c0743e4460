//! Requests to delete series: which blocks still have to be written anew for them, and when they are done.
//!
//! A compaction leaves out what active requests delete. Blocks that no compaction is planned for are compacted alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use thanos_core::Result;
use thanos_core::block::Meta;
use thanos_core::labels::Labels;

use super::clean::PARTIAL_UPLOAD_AGE_MS;
use super::compactor::Compactor;
use super::group::Group;
use super::planner::{Plan, PlanKind};
use crate::tombstones::{AppliedRecord, Tombstone, TombstoneStore};

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

/// Reports whether the block of `meta` was made without what `tombstone` deletes.
fn is_applied(tombstone: &Tombstone, meta: &Meta) -> bool {
    let rewrites = meta.thanos.iter().flat_map(|thanos| &thanos.rewrites);
    let mut applied = rewrites.flat_map(|rewrite| &rewrite.deletions_applied);
    let id = tombstone.request_id.as_str();
    applied.any(|deletion| deletion.get("request_id").and_then(Value::as_str) == Some(id))
}

/// Returns the compaction of one block of `group`, alone, that still has samples of `active` requests.
pub(super) fn pending(group: &Group, active: &[Arc<Tombstone>]) -> Option<Plan> {
    let is_pending = |meta: &Meta| {
        concerning(active, &group.labels, meta).any(|tombstone| !is_applied(tombstone, meta))
    };
    let mut blocks = group.blocks.iter();
    let block = blocks.find(|entry| entry.marks.no_compact.is_none() && is_pending(&entry.meta))?;
    Some(Plan {
        blocks: vec![Arc::clone(block)],
        kind: PlanKind::Tombstones,
        shards: 1,
    })
}

impl Compactor {
    /// Puts the requests to rest that no block of the bucket has samples of any more, marked ones included.
    ///
    /// Blocks of those times may still come from uploaders that are late: a request stays for the time after which an
    /// upload counts as given up.
    ///
    /// # Errors
    ///
    /// When the bucket cannot be read or written.
    pub async fn finish_deletions(&self) -> Result<()> {
        let active = self.tombstones.read().await?;
        if active.is_empty() {
            return Ok(());
        }
        let view = self.viewer.fetcher().fetch().await?;
        if !view.unread.is_empty() {
            return Ok(());
        }
        let now = self.clock.now();
        let store = TombstoneStore::new(self.bucket.clone());
        for tombstone in active.iter() {
            let one = std::slice::from_ref(tombstone);
            let concerns = |meta: &&Meta| {
                let labels = meta.thanos.as_ref().map(|thanos| thanos.labels.clone());
                concerning(one, &labels.unwrap_or_default(), meta)
                    .next()
                    .is_some()
            };
            let metas = view.blocks.values().map(|entry| &entry.meta);
            let concerned: Vec<&Meta> = metas.filter(concerns).collect();
            let is_settled = now - tombstone.created > PARTIAL_UPLOAD_AGE_MS
                && now - tombstone.range.max > PARTIAL_UPLOAD_AGE_MS;
            if is_settled && concerned.iter().all(|meta| is_applied(tombstone, meta)) {
                let record = AppliedRecord {
                    tombstone: Tombstone::clone(tombstone),
                    finished: now,
                    blocks: concerned.iter().map(|meta| meta.ulid).collect(),
                };
                store.finish(&record).await?;
                tracing::info!(request = %tombstone.request_id, "series of a request are deleted for good");
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use thanos_core::block::Rewrite;
    use thanos_core::labels::Matcher;
    use thanos_core::time::{TimeRange, Timestamp};

    use super::*;
    use crate::compact::testing::{block, group};

    fn request(id: &str, min: i64, max: i64, matchers: &[(&str, &str)]) -> Arc<Tombstone> {
        let mut request = Tombstone::new(id.parse().unwrap(), Timestamp::from_millis(0));
        let matchers = matchers.iter();
        let matchers = matchers.map(|(name, value)| Matcher::equal(name, value));
        request.selectors = vec![matchers.collect()];
        request.range = TimeRange::from_millis(min, max);
        Arc::new(request)
    }

    /// Blocks are written anew once for each request that concerns them, and no other block is.
    #[test]
    fn concerned_blocks_are_pending_until_they_say_so() {
        let mut group = group(vec![block(1, 0, 20), block(2, 20, 40), block(3, 40, 60)]);
        group.labels = [("tenant".to_owned(), "a".to_owned())].into();
        let planned = |group: &Group, active: &[Arc<Tombstone>]| {
            let plan = pending(group, active)?;
            assert_eq!((plan.blocks.len(), plan.shards), (1, 1));
            Some(plan.blocks[0].meta.min_time.as_millis())
        };
        let up = [("__name__", "up")];
        assert_eq!(planned(&group, &[]), None);
        assert_eq!(planned(&group, &[request("x", 60, 90, &up)]), None);
        let other = [("tenant", "b"), ("__name__", "up")];
        assert_eq!(planned(&group, &[request("x", 0, 90, &other)]), None);
        let active = [request("x", 25, 45, &up), request("y", 0, 90, &other)];
        assert_eq!(planned(&group, &active), Some(20));
        for (place, next) in [(1, Some(40)), (2, None)] {
            let entry = Arc::make_mut(&mut group.blocks[place]);
            let thanos = entry.meta.thanos.get_or_insert_default();
            thanos.rewrites = vec![Rewrite {
                deletions_applied: vec![serde_json::json!({"request_id": "x"})],
                ..Rewrite::default()
            }];
            assert_eq!(planned(&group, &active), next);
        }
    }
}
