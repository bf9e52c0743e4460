//! Blocks that exist only as entries of a view, for tests of decisions.

use std::collections::BTreeMap;
use std::sync::Arc;

use thanos_core::block::{BlockId, Meta, ThanosMeta};
use thanos_core::time::Timestamp;

use super::group::{Group, GroupKey};
use crate::fetch::BlockEntry;
use crate::testkit::block_id;

/// Returns block `number` from `min_ms` up to `max_ms`, which is its own source.
pub(super) fn block(number: u32, min_ms: i64, max_ms: i64) -> BlockEntry {
    let mut meta = Meta {
        ulid: block_id(number),
        min_time: Timestamp::from_millis(min_ms),
        max_time: Timestamp::from_millis(max_ms),
        version: 1,
        thanos: Some(ThanosMeta {
            version: 1,
            ..ThanosMeta::default()
        }),
        ..Meta::default()
    };
    meta.compaction.level = 1;
    meta.compaction.sources = vec![block_id(number)];
    BlockEntry::new(meta, None)
}

/// Returns `entry` with external labels and a resolution.
pub(super) fn labelled(
    mut entry: BlockEntry,
    labels: &[(&str, &str)],
    resolution_ms: i64,
) -> BlockEntry {
    let thanos = entry.meta.thanos.get_or_insert_default();
    let pairs = labels.iter();
    thanos.labels = pairs
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    thanos.downsample.resolution_ms = resolution_ms;
    entry
}

/// Returns the group of `blocks`, whatever their labels.
pub(super) fn group(blocks: Vec<BlockEntry>) -> Group {
    let key = GroupKey {
        resolution_ms: blocks.first().map_or(0, |entry| entry.meta.resolution_ms()),
        labels_hash: 0,
    };
    let mut group = Group {
        key,
        labels: BTreeMap::new(),
        blocks: blocks.into_iter().map(Arc::new).collect(),
    };
    group.sort();
    group
}

/// Returns `entry` made from blocks of these numbers.
pub(super) fn made_from(mut entry: BlockEntry, sources: &[u32]) -> BlockEntry {
    entry.meta.compaction.sources = sources.iter().map(|number| block_id(*number)).collect();
    entry
}

/// Returns `blocks` by their ids.
pub(super) fn view(blocks: Vec<BlockEntry>) -> BTreeMap<BlockId, Arc<BlockEntry>> {
    let entries = blocks.into_iter();
    entries
        .map(|entry| (entry.meta.ulid, Arc::new(entry)))
        .collect()
}
