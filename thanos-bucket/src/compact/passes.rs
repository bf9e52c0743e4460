//! Which blocks are to be downsampled: a pass over all of them finds raw blocks for five minutes and blocks of five
//! minutes for an hour. Two passes make an hour of raw blocks.

use std::collections::BTreeMap;
use std::sync::Arc;

use thanos_core::block::BlockId;
use thanos_core::time::Timestamp;

use super::group::Resolution;
use super::retention::{Copies, DOWNSAMPLE_FIVE_MINUTES_MS, DOWNSAMPLE_RAW_MS, Retention};
use crate::fetch::BlockEntry;

/// A block and what it is to be downsampled to.
#[derive(Debug, Clone)]
pub struct Downsampling {
    /// The block.
    pub block: Arc<BlockEntry>,
    /// The resolution of the new block.
    pub to: Resolution,
}

/// Returns what one pass over `blocks` is to downsample, in the order of their ids (rows C-17, C-18 of the specification).
///
/// Long blocks are, unless blocks of the target resolution hold their data already; shorter ones only when retention
/// waits for their copies at `now`. Blocks that are marked for deletion or not to be downsampled are left alone.
///
/// Source: Go cmd/thanos/downsample.go downsampleBucket.
pub fn downsamplings(
    blocks: &BTreeMap<BlockId, Arc<BlockEntry>>,
    retention: &Retention,
    now: Timestamp,
) -> Vec<Downsampling> {
    let copies = Copies::new(blocks.values());
    let awaited = retention.expired(blocks, now).only_copies;
    let is_awaited = |entry: &BlockEntry| {
        let id = entry.meta.ulid;
        awaited
            .binary_search_by_key(&id, |entry| entry.meta.ulid)
            .is_ok()
    };
    let wanted = blocks.values().filter_map(|entry| {
        let (to, length_min) = next(Resolution(entry.meta.resolution_ms()))?;
        let marks = &entry.marks;
        if marks.no_downsample.is_some() || marks.deletion.is_some() || copies.cover(entry, to) {
            return None;
        }
        let length = entry.meta.max_time - entry.meta.min_time;
        (length >= length_min || is_awaited(entry)).then(|| Downsampling {
            block: Arc::clone(entry),
            to,
        })
    });
    wanted.collect()
}

/// Returns the next coarser resolution and how long a block must be for it, in milliseconds.
fn next(resolution: Resolution) -> Option<(Resolution, i64)> {
    match resolution {
        Resolution::RAW => Some((Resolution::FIVE_MINUTES, DOWNSAMPLE_RAW_MS)),
        Resolution::FIVE_MINUTES => Some((Resolution::HOUR, DOWNSAMPLE_FIVE_MINUTES_MS)),
        Resolution(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compact::testing::{block, labelled, made_from, view};
    use crate::testkit::block_id;

    const LONG: i64 = DOWNSAMPLE_RAW_MS;
    const LONGER: i64 = DOWNSAMPLE_FIVE_MINUTES_MS;

    fn sized(number: u32, length_ms: i64, resolution_ms: i64, sources: &[u32]) -> BlockEntry {
        made_from(
            labelled(block(number, 0, length_ms), &[], resolution_ms),
            sources,
        )
    }

    fn found(blocks: Vec<BlockEntry>) -> Vec<(BlockId, i64)> {
        let found = downsamplings(&view(blocks), &Retention::default(), Timestamp::MAX);
        found
            .iter()
            .map(|found| (found.block.meta.ulid, found.to.0))
            .collect()
    }

    /// C-17: the tables of Thanos' TestDownsampleProgressCalculate.
    #[test]
    fn long_blocks_without_copies_are_downsampled() {
        let five = (block_id(1), 300_000);
        let hour = (block_id(1), 3_600_000);
        let cases = [
            (vec![sized(1, LONG, 0, &[10, 11])], vec![five]),
            (vec![sized(1, LONG - 1, 0, &[10, 11])], vec![]),
            (vec![sized(1, LONGER, 300_000, &[10, 11])], vec![hour]),
            (vec![sized(1, LONGER - 1, 300_000, &[10, 11])], vec![]),
            (vec![sized(1, LONGER, 3_600_000, &[10, 11])], vec![]),
            // Copies of all, of one, and of all together.
            (
                vec![
                    sized(1, LONG, 0, &[10, 11]),
                    sized(2, LONG, 300_000, &[10, 11, 12]),
                ],
                vec![],
            ),
            (
                vec![sized(1, LONG, 0, &[10, 11]), sized(2, LONG, 300_000, &[10])],
                vec![five],
            ),
            (
                vec![
                    sized(1, LONG, 0, &[10, 11]),
                    sized(2, LONG, 300_000, &[10]),
                    sized(3, LONG, 300_000, &[11]),
                ],
                vec![],
            ),
        ];
        for (number, (blocks, expected)) in cases.into_iter().enumerate() {
            assert_eq!(found(blocks), expected, "case {number}");
        }
    }

    /// C-18, E-03: a marked block is never downsampled, and one that will be deleted is not worth it.
    #[test]
    fn marked_blocks_are_left_alone() {
        let mut marked = sized(1, LONGER, 0, &[10]);
        marked.marks.no_downsample = Some(Timestamp::MIN);
        let mut doomed = sized(2, LONGER, 0, &[11]);
        doomed.marks.deletion = Some(Timestamp::MIN);
        assert_eq!(found(vec![marked, doomed]), []);
    }

    /// C-20: what retention waits for is downsampled, however short it is.
    #[test]
    fn short_blocks_are_downsampled_before_they_go() {
        let retention = Retention {
            raw_ms: LONG,
            ..Retention::default()
        };
        let blocks = view(vec![sized(1, 1000, 0, &[10])]);
        let after = |ms| downsamplings(&blocks, &retention, Timestamp::from_millis(ms)).len();
        assert_eq!(after(1000 + LONG), 0);
        assert_eq!(after(1001 + LONG), 1);
    }
}
