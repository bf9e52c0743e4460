//! Blocks of one group that cover the same time.
//!
//! Source: Prometheus `tsdb/db.go`, `OverlappingBlocks`, over the groups of Thanos' `pkg/verifier`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use thanos_core::block::{BlockId, Meta};
use thanos_core::time::{SignedDuration, Timestamp};

use crate::compact::group::{DefaultGrouper, GroupKey, Grouper};
use crate::fetch::BlockEntry;

/// Blocks that all cover some time.
#[derive(Debug, Clone)]
pub struct Overlap {
    /// The group that they are of.
    pub group: GroupKey,
    /// The first time that all of them cover, and the first one after that.
    pub time: (Timestamp, Timestamp),
    /// The blocks, by their first time.
    pub blocks: Vec<Arc<BlockEntry>>,
}

/// Returns the overlaps in each group of `blocks`.
pub fn overlapping_blocks(blocks: &BTreeMap<BlockId, Arc<BlockEntry>>) -> Vec<Overlap> {
    let mut found = Vec::new();
    for mut group in DefaultGrouper.groups(blocks) {
        group
            .blocks
            .sort_by_key(|entry| (entry.meta.min_time, entry.meta.ulid));
        let overlaps = overlaps_of(&group.blocks).into_iter();
        found.extend(overlaps.map(|blocks| Overlap::new(group.key, blocks)));
    }
    found
}

/// Returns the overlaps of `blocks`, which are sorted by their first time.
fn overlaps_of(blocks: &[Arc<BlockEntry>]) -> Vec<Vec<Arc<BlockEntry>>> {
    let Some((first, rest)) = blocks.split_first() else {
        return Vec::new();
    };
    let mut overlaps: Vec<Vec<Arc<BlockEntry>>> = Vec::new();
    // The blocks that have not ended when the one at hand begins.
    let mut pending = vec![Arc::clone(first)];
    // Whether none has ended since the last overlap: then this one is part of it.
    let mut goes_on = true;
    for block in rest {
        let before = pending.len();
        pending.retain(|other| block.meta.min_time < other.meta.max_time);
        goes_on &= pending.len() == before;
        let is_alone = pending.is_empty();
        pending.push(Arc::clone(block));
        match overlaps.last_mut() {
            _ if is_alone => {}
            Some(last) if goes_on => last.push(Arc::clone(block)),
            _ => {
                overlaps.push(pending.clone());
                goes_on = true;
            }
        }
    }
    overlaps
}

impl Overlap {
    fn new(group: GroupKey, blocks: Vec<Arc<BlockEntry>>) -> Self {
        let starts = blocks.iter().map(|entry| entry.meta.min_time);
        let ends = blocks.iter().map(|entry| entry.meta.max_time);
        let time = (
            starts.max().unwrap_or_default(),
            ends.min().unwrap_or_default(),
        );
        Self {
            group,
            time,
            blocks,
        }
    }
}

/// Formats as Prometheus does.
impl fmt::Display for Overlap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (min, max) = self.time;
        write!(
            f,
            "[mint: {min}, maxt: {max}, range: {}, blocks: {}]: ",
            whole_seconds(max - min).go(),
            self.blocks.len()
        )?;
        for (at, entry) in self.blocks.iter().enumerate() {
            let separator = if at > 0 { ", " } else { "" };
            write!(f, "{separator}{}", described(&entry.meta))?;
        }
        Ok(())
    }
}

/// Returns what messages say of a block.
pub(super) fn described(meta: &Meta) -> String {
    format!(
        "<ulid: {}, mint: {}, maxt: {}, range: {}>",
        meta.ulid,
        meta.min_time,
        meta.max_time,
        whole_seconds(meta.max_time - meta.min_time).go()
    )
}

fn whole_seconds(ms: i64) -> SignedDuration {
    SignedDuration::from_secs(ms / 1000)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testkit::block_id;

    fn entry(number: u32, min_ms: i64, max_ms: i64) -> Arc<BlockEntry> {
        let meta = Meta {
            ulid: block_id(number),
            min_time: Timestamp::from_millis(min_ms),
            max_time: Timestamp::from_millis(max_ms),
            ..Meta::default()
        };
        Arc::new(BlockEntry::new(meta, None))
    }

    fn overlaps(times: &[(i64, i64)]) -> Vec<Overlap> {
        let blocks = (1..)
            .zip(times)
            .map(|(number, (min, max))| entry(number, *min, *max));
        overlapping_blocks(&blocks.map(|entry| (entry.meta.ulid, entry)).collect())
    }

    /// T-09: the cases of Prometheus' TestOverlappingBlocksDetectsAllOverlaps, in short.
    #[test]
    fn overlaps_are_told_apart() {
        assert!(overlaps(&[(0, 10), (10, 20), (20, 30)]).is_empty());
        let found = overlaps(&[(0, 10), (10, 20), (5, 6), (15, 17), (16, 18)]);
        let sizes: Vec<_> = found
            .iter()
            .map(|overlap| (overlap.time, overlap.blocks.len()))
            .collect();
        let time = |min, max| (Timestamp::from_millis(min), Timestamp::from_millis(max));
        assert_eq!(sizes, [(time(5, 6), 2), (time(16, 17), 3)]);
        assert_eq!(
            overlaps(&[(0, 7_200_000), (3_600_000, 9_000_000)])[0].to_string(),
            format!(
                "[mint: 3600000, maxt: 7200000, range: 1h0m0s, blocks: 2]: \
                 <ulid: {}, mint: 0, maxt: 7200000, range: 2h0m0s>, \
                 <ulid: {}, mint: 3600000, maxt: 9000000, range: 1h30m0s>",
                block_id(1),
                block_id(2)
            )
        );
    }

    proptest! {
        /// There is an overlap exactly when two blocks share a time, and all blocks of one do.
        #[test]
        fn overlaps_are_what_they_say(times in prop::collection::vec((0_i64..50, 1_i64..15), 0..10)) {
            let times: Vec<_> = times.into_iter().map(|(min, len)| (min, min + len)).collect();
            let found = overlaps(&times);
            let share = |a: &(i64, i64), b: &(i64, i64)| a.0 < b.1 && b.0 < a.1;
            let any = (0..times.len()).any(|a| (0..a).any(|b| share(&times[a], &times[b])));
            prop_assert_eq!(!found.is_empty(), any);
            for overlap in found {
                prop_assert!(overlap.blocks.len() > 1);
            }
        }
    }
}
