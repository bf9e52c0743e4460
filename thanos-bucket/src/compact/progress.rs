//! How much there is to do, told by planning ahead without doing anything (row C-28 of the specification).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use thanos_core::block::BlockId;
use thanos_core::merge::compaction_of;
use thanos_core::time::Timestamp;

use super::group::{Group, GroupKey, Grouper, Resolution};
use super::passes::downsamplings;
use super::planner::{Plan, Planner};
use super::retention::{Downsampling, Retention};
use crate::fetch::{BlockEntry, BlockObjects};

/// What is still to be done.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Progress {
    /// Compactions, those that others make possible included.
    pub compactions: usize,
    /// The blocks that go into them.
    pub compaction_blocks: usize,
    /// Blocks that could be downsampled now.
    pub downsample_blocks: usize,
    /// Blocks that are past their retention.
    pub deletion_blocks: usize,
    /// For each group with a compaction to do: how long ago the data ended that waits the longest, in seconds.
    pub oldest_seconds: Vec<(GroupKey, f64)>,
}

/// Returns what is to be done about `blocks` at `now`.
pub fn progress(
    blocks: &BTreeMap<BlockId, Arc<BlockEntry>>,
    grouper: &dyn Grouper,
    planner: &dyn Planner,
    retention: &Retention,
    now: Timestamp,
) -> Progress {
    let mut progress = Progress::default();
    for group in grouper.groups(blocks) {
        let key = group.key;
        let ahead = simulate(group, planner);
        progress.compactions += ahead.compactions;
        progress.compaction_blocks += ahead.blocks;
        if let Some(oldest) = ahead.oldest {
            let age_ms = (now - oldest).max(0);
            progress.oldest_seconds.push((key, age_ms as f64 / 1000.0));
        }
    }
    if retention.downsampling == Downsampling::On {
        progress.downsample_blocks = downsamplings(blocks, retention, now).len();
    }
    let is_over = |entry: &&Arc<BlockEntry>| {
        let meta = &entry.meta;
        retention.is_over(Resolution(meta.resolution_ms()), meta.max_time, now)
    };
    progress.deletion_blocks = blocks.values().filter(is_over).count();
    progress
}

#[derive(Debug, Default)]
struct Ahead {
    compactions: usize,
    blocks: usize,
    /// The first end of a block that is to be compacted.
    oldest: Option<Timestamp>,
}

/// Plans `group` until nothing is left, each time as if the plan had been carried out.
fn simulate(mut group: Group, planner: &dyn Planner) -> Ahead {
    let mut ahead = Ahead::default();
    // Each compaction leaves fewer blocks or rids one of its deletions; a planner that does otherwise must not hang us.
    let rounds_max = 2 * group.blocks.len();
    while group.blocks.len() > 1 && ahead.compactions < rounds_max {
        let Some(plan) = planner.plan(&group).plan else {
            break;
        };
        ahead.compactions += 1;
        ahead.blocks += plan.blocks.len();
        let ends = plan.blocks.iter().map(|entry| entry.meta.max_time);
        ahead.oldest = ahead.oldest.into_iter().chain(ends).min();
        carry_out(&mut group, &plan);
    }
    ahead
}

/// Replaces the blocks of `plan` by the one that they would become. Shards leave the group.
fn carry_out(group: &mut Group, plan: &Plan) {
    let planned: BTreeSet<BlockId> = plan.blocks.iter().map(|entry| entry.meta.ulid).collect();
    group
        .blocks
        .retain(|entry| !planned.contains(&entry.meta.ulid));
    let (Some(first), 1) = (plan.blocks.first(), plan.shards) else {
        return;
    };
    let mut meta = first.meta.clone();
    let metas = || plan.blocks.iter().map(|entry| &entry.meta);
    meta.min_time = metas().map(|meta| meta.min_time).min().unwrap_or_default();
    meta.max_time = metas().map(|meta| meta.max_time).max().unwrap_or_default();
    meta.stats.num_tombstones = 0;
    meta.compaction = compaction_of(metas());
    let objects = plan
        .blocks
        .iter()
        .filter_map(|entry| entry.objects.as_ref());
    let objects = BlockObjects {
        index_bytes: objects.map(|objects| objects.index_bytes).sum(),
        ..BlockObjects::default()
    };
    group
        .blocks
        .push(Arc::new(BlockEntry::new(meta, Some(objects))));
    group.sort();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compact::group::DefaultGrouper;
    use crate::compact::planner::DefaultPlanner;
    use crate::compact::testing::{block, labelled, view};

    const HOUR: i64 = 3_600_000;

    type Spec = (u32, i64, i64, &'static [(&'static str, &'static str)], i64);

    fn progress_of(blocks: &[Spec], retention: &Retention, now_hours: i64) -> Progress {
        let blocks = blocks.iter().map(|(number, from, to, labels, resolution)| {
            labelled(block(*number, from * HOUR, to * HOUR), labels, *resolution)
        });
        let planner = DefaultPlanner::new(vec![HOUR, 2 * HOUR, 4 * HOUR, 8 * HOUR]);
        let now = Timestamp::from_millis(now_hours * HOUR);
        progress(
            &view(blocks.collect()),
            &DefaultGrouper,
            &planner,
            retention,
            now,
        )
    }

    /// C-28: the tables of Thanos' TestCompactProgressCalculate.
    #[test]
    fn compactions_are_planned_to_the_end() {
        let a: &'static [(&str, &str)] = &[("a", "1")];
        let b: &'static [(&str, &str)] = &[("b", "2")];
        let ab: &'static [(&str, &str)] = &[("a", "1"), ("b", "2")];
        let cases: [(&[Spec], usize, usize, f64); 3] = [
            (
                &[
                    (0, 0, 2, a, 0),
                    (1, 2, 4, a, 0),
                    (2, 4, 6, b, 0),
                    (3, 6, 8, b, 0),
                    (4, 8, 10, b, 0),
                    (5, 10, 12, ab, 1),
                    (6, 12, 20, ab, 1),
                    (7, 20, 28, ab, 1),
                ],
                1,
                2,
                94.0,
            ),
            (
                &[
                    (0, 0, 2, a, 0),
                    (3, 2, 4, a, 0),
                    (4, 4, 6, a, 0),
                    (5, 6, 8, a, 0),
                    (6, 8, 10, a, 0),
                    (1, 2, 4, b, 0),
                    (2, 4, 6, b, 0),
                ],
                3,
                6,
                98.0,
            ),
            (
                &[
                    (1, 2, 4, ab, 1),
                    (2, 4, 6, ab, 1),
                    (3, 6, 8, ab, 1),
                    (4, 10, 12, ab, 1),
                ],
                1,
                2,
                94.0,
            ),
        ];
        for (blocks, compactions, compaction_blocks, oldest_hours) in cases {
            let found = progress_of(blocks, &Retention::default(), 100);
            assert_eq!(found.compactions, compactions, "{found:?}");
            assert_eq!(found.compaction_blocks, compaction_blocks, "{found:?}");
            let hours: Vec<f64> = found.oldest_seconds.iter().map(|o| o.1 / 3600.0).collect();
            assert_eq!(hours, [oldest_hours], "{found:?}");
        }
    }

    /// C-28: retention and downsampling.
    #[test]
    fn other_work_is_counted() {
        let retention = Retention {
            raw_ms: 40 * HOUR,
            ..Retention::default()
        };
        let blocks: &[Spec] = &[(1, 0, 40, &[], 0), (2, 40, 50, &[], 0)];
        let found = progress_of(blocks, &retention, 81);
        assert_eq!((found.downsample_blocks, found.deletion_blocks), (1, 1));
        let off = Retention {
            downsampling: Downsampling::Off,
            ..retention
        };
        let found = progress_of(blocks, &off, 81);
        assert_eq!((found.downsample_blocks, found.deletion_blocks), (0, 1));
        assert_eq!(found.oldest_seconds, []);
    }
}
