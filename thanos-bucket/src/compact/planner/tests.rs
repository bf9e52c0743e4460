use proptest::prelude::*;
use thanos_core::time::Timestamp;

use super::*;
use crate::compact::testing::{block, group, labelled};
use crate::fetch::BlockObjects;
use crate::testkit::block_id;

const RANGES: [i64; 5] = [20, 60, 180, 540, 1620];
type Times = (i64, i64);

fn planner() -> DefaultPlanner {
    DefaultPlanner::new(RANGES.to_vec())
}

/// Blocks of these times, numbered from 1.
fn blocks(times: &[Times]) -> Vec<BlockEntry> {
    let numbered = (1..).zip(times);
    numbered
        .map(|(number, (min, max))| block(number, *min, *max))
        .collect()
}

fn times(plan: Option<&Plan>) -> Vec<Times> {
    let blocks = plan.iter().flat_map(|plan| &plan.blocks);
    blocks
        .map(|entry| {
            let meta = &entry.meta;
            (meta.min_time.as_millis(), meta.max_time.as_millis())
        })
        .collect()
}

fn mark(blocks: &mut [BlockEntry], number: usize) {
    blocks[number - 1].marks.no_compact = Some(Timestamp::from_millis(1));
}

fn index_of(entry: &mut BlockEntry, bytes: u64) {
    entry.objects = Some(BlockObjects {
        index_bytes: bytes,
        ..BlockObjects::default()
    });
}

/// C-05, A-05: the vectors of section 2.10 and of Thanos' planner tests.
#[test]
fn plans_are_those_of_thanos() {
    use PlanKind::{Overlap, Range};
    type Case<'a> = (&'a [Times], &'a [Times], PlanKind);
    let cases: [Case<'_>; 15] = [
        (&[], &[], Range),
        (&[(0, 20)], &[], Range),
        (&[(0, 20), (20, 40)], &[], Range),
        (&[(0, 20), (20, 40), (40, 60)], &[], Range),
        (
            &[(0, 20), (20, 40), (40, 60), (60, 80)],
            &[(0, 20), (20, 40), (40, 60)],
            Range,
        ),
        (
            &[(0, 60), (60, 120), (120, 180), (180, 200), (200, 220)],
            &[(0, 60), (60, 120), (120, 180)],
            Range,
        ),
        (&[(0, 20), (20, 40), (60, 80)], &[], Range),
        (
            &[(0, 20), (20, 40), (60, 80), (80, 100)],
            &[(0, 20), (20, 40)],
            Range,
        ),
        (
            &[(0, 20), (20, 40), (40, 60), (60, 120), (120, 180)],
            &[(0, 20), (20, 40), (40, 60)],
            Range,
        ),
        (
            &[(0, 60), (120, 180), (180, 200), (200, 220)],
            &[(0, 60), (120, 180)],
            Range,
        ),
        (
            &[(20, 40), (60, 120), (960, 980), (120, 180), (720, 960)],
            &[(20, 40), (60, 120), (120, 180)],
            Range,
        ),
        (
            &[(0, 360), (540, 560), (360, 420), (420, 540)],
            &[(360, 420), (420, 540)],
            Range,
        ),
        (
            &[(0, 20), (19, 40), (40, 60)],
            &[(0, 20), (19, 40)],
            Overlap,
        ),
        (
            &[(0, 20), (10, 40), (30, 50)],
            &[(0, 20), (10, 40), (30, 50)],
            Overlap,
        ),
        (
            &[(0, 10), (9, 20), (30, 40), (39, 50)],
            &[(0, 10), (9, 20)],
            Overlap,
        ),
    ];
    for (given, expected, kind) in cases {
        let planned = planner().plan(&group(blocks(given)));
        assert_eq!(times(planned.plan.as_ref()), expected, "{given:?}");
        assert!(
            planned.plan.is_none_or(|plan| plan.kind == kind),
            "{given:?}"
        );
        assert_eq!(planned.marks, []);
    }
}

/// C-05: times before 1970 lie in ranges that begin at multiples of the range, too.
#[test]
fn ranges_go_on_below_zero() {
    let given = [(-60, -40), (-40, -20), (-20, 0), (0, 20), (20, 40)];
    let planned = planner().plan(&group(blocks(&given)));
    assert_eq!(times(planned.plan.as_ref()), given[..3]);
}

/// C-05: more than 5 % of deletions, in a large block, when a newer block is there.
#[test]
fn large_blocks_with_deletions_are_written_anew() {
    let cases: [(&[Times], u64, bool); 5] = [
        (&[(0, 540)], 3, false),
        (&[(0, 540), (540, 560)], 3, true),
        (&[(0, 540), (540, 560)], 0, false),
        (&[(0, 60), (60, 80)], 3, false),
        (&[(0, 180), (180, 200)], 3, true),
    ];
    for (given, tombstones, is_planned) in cases {
        let mut blocks = blocks(given);
        blocks[0].meta.stats.num_series = 10;
        blocks[0].meta.stats.num_tombstones = tombstones;
        let plan = planner().plan(&group(blocks.clone())).plan;
        assert_eq!(plan.is_some(), is_planned, "{given:?}");
        if let Some(plan) = plan {
            assert_eq!(plan.kind, PlanKind::Tombstones);
            assert_eq!(times(Some(&plan)), given[..1]);
        }
        mark(&mut blocks, 1);
        assert!(planner().plan(&group(blocks)).plan.is_none(), "marked");
    }
}

/// a block that failed keeps its range from being compacted.
#[test]
fn a_range_with_a_failed_block_is_left_alone() {
    let cases: [&[Times]; 3] = [
        &[(0, 20), (20, 40), (40, 60), (60, 80)],
        &[(0, 20), (20, 40), (60, 80), (80, 100)],
        &[
            (0, 20),
            (20, 40),
            (40, 60),
            (60, 120),
            (120, 180),
            (180, 200),
        ],
    ];
    for given in cases {
        let mut blocks = blocks(given);
        blocks[1].meta.compaction.failed = true;
        assert!(planner().plan(&group(blocks)).plan.is_none(), "{given:?}");
    }
}

/// C-16: marked blocks split a range and are in no plan.
#[test]
fn marked_blocks_split_ranges() {
    type Case<'a> = (&'a [Times], &'a [usize], &'a [Times]);
    let four: &[Times] = &[(0, 20), (20, 40), (40, 60), (60, 80)];
    let wide: &[Times] = &[(20, 40), (60, 120), (960, 980), (120, 180), (720, 960)];
    let cases: [Case<'_>; 11] = [
        (&[(0, 20)], &[1], &[]),
        (four, &[1], &[(20, 40), (40, 60)]),
        (four, &[2], &[]),
        (four, &[4], &[(0, 20), (20, 40), (40, 60)]),
        (four, &[1, 4], &[(20, 40), (40, 60)]),
        (four, &[1, 2, 3, 4], &[]),
        (&[(0, 20), (20, 40), (60, 80), (80, 100)], &[2], &[]),
        (wide, &[4], &[(20, 40), (60, 120)]),
        (wide, &[2], &[]),
        (&[(0, 540), (540, 560)], &[1], &[]),
        (&[(0, 20), (19, 40), (40, 60)], &[1], &[]),
    ];
    for (given, marked, expected) in cases {
        let mut blocks = blocks(given);
        marked.iter().for_each(|number| mark(&mut blocks, *number));
        let planned = planner().plan(&group(blocks));
        assert_eq!(
            times(planned.plan.as_ref()),
            expected,
            "{given:?} {marked:?}"
        );
    }
}

/// C-15: with Thanos' guard the largest index is marked and the rest planned again.
#[test]
fn the_largest_index_is_marked() {
    type Case<'a> = (&'a [Times], &'a [u64], &'a [Times], &'a [u32]);
    let four: &[Times] = &[(0, 20), (20, 40), (40, 60), (60, 80)];
    let cases: [Case<'_>; 7] = [
        (&[(0, 20)], &[100], &[], &[]),
        (four, &[41, 30, 30, 30], &[(20, 40), (40, 60)], &[1]),
        (four, &[30, 41, 30, 20], &[], &[2]),
        (four, &[10, 10, 10, 90], &[(0, 20), (20, 40), (40, 60)], &[]),
        (
            &[(0, 20), (20, 40), (40, 50), (50, 60), (60, 80)],
            &[90, 30, 30, 90, 90],
            &[(20, 40), (40, 50)],
            &[1, 4],
        ),
        (
            &[(20, 40), (60, 120), (960, 980), (120, 180), (720, 960)],
            &[30, 30, 30, 90, 30],
            &[(20, 40), (60, 120)],
            &[4],
        ),
        (&[(0, 20), (19, 40), (40, 60)], &[90, 30, 30], &[], &[1]),
    ];
    let planner = DefaultPlanner {
        index_bytes_max: 100,
        index_guard: IndexGuard::Mark,
        ..planner()
    };
    for (given, sizes, expected, marked) in cases {
        let mut blocks = blocks(given);
        for (entry, bytes) in blocks.iter_mut().zip(sizes) {
            index_of(entry, *bytes);
        }
        let planned = planner.plan(&group(blocks));
        assert_eq!(times(planned.plan.as_ref()), expected, "{given:?}");
        let ids: Vec<_> = planned.marks.iter().map(|mark| mark.id).collect();
        let expected: Vec<_> = marked.iter().map(|number| block_id(*number)).collect();
        assert_eq!(ids, expected, "{given:?}");
        let is_named = |mark: &PlannedMark| mark.reason == no_compact_reason::INDEX_SIZE_EXCEEDING;
        assert!(planned.marks.iter().all(is_named));
    }
}

/// C-15, better: series are split instead.
#[test]
fn too_large_an_index_is_split() {
    let planner = DefaultPlanner {
        index_bytes_max: 100,
        ..planner()
    };
    let mut blocks = blocks(&[(0, 20), (20, 40), (40, 60), (60, 80)]);
    for (entry, bytes) in blocks.iter_mut().zip([100, 60, 60, 1]) {
        index_of(entry, bytes);
    }
    let group = group(blocks);
    let planned = planner.plan(&group);
    assert_eq!(planned.marks, []);
    let plan = planned.plan.unwrap();
    // 220 bytes in parts of less than 85: three would do, and parts of parts fit into powers of two.
    assert_eq!((plan.blocks.len(), plan.shards), (3, 4));

    let too_small = DefaultPlanner {
        index_bytes_max: 0,
        ..planner
    };
    assert!(
        too_small.plan(&group).plan.is_none(),
        "no limit makes sense of this"
    );
}

/// The size of an index is what the meta.json says where the listing does not tell.
#[test]
fn index_sizes_come_from_the_listing_first() {
    let mut entry = block(1, 0, 20);
    assert_eq!(index_bytes(&entry), 0);
    let thanos = entry.meta.thanos.get_or_insert_default();
    thanos.files = vec![thanos_core::block::BlockFile {
        rel_path: INDEX_FILE.to_owned(),
        size_bytes: 7,
        hash: None,
    }];
    assert_eq!(index_bytes(&entry), 7);
    index_of(&mut entry, 8);
    assert_eq!(index_bytes(&entry), 8);
}

/// C-14: downsampled blocks that overlap are marked, and what remains is planned.
#[test]
fn downsampled_overlaps_are_marked() {
    let given = [
        (0, 20),
        (10, 40),
        (40, 60),
        (60, 80),
        (80, 100),
        (120, 140),
        (140, 160),
    ];
    let blocks = blocks(&given);
    let blocks = blocks
        .into_iter()
        .map(|entry| labelled(entry, &[], 300_000))
        .collect();
    let planned = planner().plan(&group(blocks));
    let marked: Vec<_> = planned
        .marks
        .iter()
        .map(|mark| (mark.id, mark.reason))
        .collect();
    let reason = no_compact_reason::DOWNSAMPLE_VERTICAL_COMPACTION;
    assert_eq!(marked, [(block_id(1), reason), (block_id(2), reason)]);
    assert_eq!(times(planned.plan.as_ref()), [(60, 80), (80, 100)]);
}

/// The definition of section 2.10, straight and slow.
fn naive(blocks: &[BlockEntry]) -> Vec<Times> {
    let time = |entry: &BlockEntry| {
        let meta = &entry.meta;
        (meta.min_time.as_millis(), meta.max_time.as_millis())
    };
    let is_marked = |entry: &BlockEntry| entry.marks.no_compact.is_some();
    let all: Vec<Times> = blocks.iter().map(time).collect();
    let free: Vec<Times> = blocks.iter().filter(|b| !is_marked(b)).map(time).collect();
    for first in 0..free.len() {
        let reach = |until: usize| free[..until].iter().map(|t| t.1).max().unwrap_or(i64::MIN);
        if first + 1 < free.len() && free[first + 1].0 < reach(first + 1) {
            let mut end = first + 1;
            while end < free.len() && free[end].0 < reach(end) {
                end += 1;
            }
            return free[first..end].to_vec();
        }
    }
    let Some(settled) = all.len().checked_sub(1).filter(|count| *count > 0) else {
        return Vec::new();
    };
    let high = all[settled - 1].0;
    for range in &RANGES[1..] {
        let mut starts: Vec<i64> = all[..settled]
            .iter()
            .map(|t| t.0.div_euclid(*range))
            .collect();
        starts.dedup();
        for start in starts {
            let (start, end) = (start * range, (start + 1) * range);
            let inside: Vec<usize> = (0..settled)
                .filter(|i| all[*i].0 >= start && all[*i].1 <= end)
                .collect();
            let (Some(first), Some(last)) = (inside.first(), inside.last()) else {
                continue;
            };
            let (min, max) = (all[*first].0, all[*last].1);
            if inside.len() < 2 || (max - min != *range && max > high) {
                continue;
            }
            for run in inside.split(|i| is_marked(&blocks[*i])) {
                if run.len() > 1 {
                    return run.iter().map(|i| all[*i]).collect();
                }
            }
        }
    }
    Vec::new()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// C-05, C-16: the planner agrees with its definition on blocks that do not overlap, with gaps and marks.
    #[test]
    fn disjoint_blocks_are_planned_by_definition(
        start in -200i64..200,
        steps in proptest::collection::vec((0i64..3, 1usize..4, any::<bool>(), 0u8..5), 0..12),
    ) {
        let mut at = start.div_euclid(20) * 20;
        let mut blocks = Vec::new();
        for (number, (gap, length, aligned, marked)) in (1..).zip(steps) {
            at += gap * 20;
            let length = [20, 60, 180][length - 1];
            if aligned {
                at = (at + length - 1).div_euclid(length) * length;
            }
            let mut entry = block(number, at, at + length);
            if marked == 0 {
                entry.marks.no_compact = Some(Timestamp::from_millis(1));
            }
            blocks.push(entry);
            at += length;
        }
        let expected = naive(&blocks);
        let planned = planner().plan(&group(blocks));
        prop_assert_eq!(times(planned.plan.as_ref()), expected);
    }

    /// C-05, C-11: overlaps come first, in whatever shape.
    #[test]
    fn overlaps_come_first(
        given in proptest::collection::vec((0i64..40, 1i64..10, 0u8..6), 0..8),
    ) {
        let numbered = (1..).zip(given);
        let mut blocks: Vec<BlockEntry> = numbered
            .map(|(number, (min, length, marked))| {
                let mut entry = block(number, min * 10, (min + length) * 10);
                if marked == 0 {
                    entry.marks.no_compact = Some(Timestamp::from_millis(1));
                }
                entry
            })
            .collect();
        blocks.sort_by_key(|entry| (entry.meta.min_time, entry.meta.ulid));
        let free: Vec<_> = blocks.iter().filter(|b| b.marks.no_compact.is_none()).collect();
        let overlaps = free.windows(2).any(|two| two[1].meta.min_time < two[0].meta.max_time);
        let planned = planner().plan(&group(blocks.clone()));
        if overlaps {
            prop_assert_eq!(times(planned.plan.as_ref()), naive(&blocks));
            prop_assert_eq!(planned.plan.map(|plan| plan.kind), Some(PlanKind::Overlap));
        }
    }

    /// C-04, C-05: carrying out plans ends, loses no block, and leaves nothing that overlaps.
    #[test]
    fn carrying_out_plans_ends(
        given in proptest::collection::vec((-30i64..60, 1i64..4), 1..20),
    ) {
        let numbered = (1..).zip(&given);
        let mut blocks: Vec<BlockEntry> = numbered
            .map(|(number, (min, length))| block(number, min * 20, (min + length) * 20))
            .collect();
        let mut number = 1000;
        let mut rounds = 0;
        while let Some(plan) = planner().plan(&group(blocks.clone())).plan {
            prop_assert!(plan.blocks.len() > 1);
            let ids: BTreeSet<BlockId> = plan.blocks.iter().map(|entry| entry.meta.ulid).collect();
            let before = blocks.len();
            blocks.retain(|entry| !ids.contains(&entry.meta.ulid));
            prop_assert_eq!(before - blocks.len(), plan.blocks.len());
            let mut merged = block(number, 0, 0);
            merged.meta.min_time = plan.blocks[0].meta.min_time;
            merged.meta.max_time = plan.blocks.iter().map(|b| b.meta.max_time).max().unwrap();
            merged.meta.compaction.sources =
                plan.blocks.iter().flat_map(|b| b.meta.compaction.sources.clone()).collect();
            blocks.push(merged);
            (number, rounds) = (number + 1, rounds + 1);
            prop_assert!(rounds <= given.len());
        }
        let mut sources: Vec<_> =
            blocks.iter().flat_map(|b| b.meta.compaction.sources.clone()).collect();
        sources.sort_unstable();
        let all: Vec<_> = (1..).take(given.len()).map(block_id).collect();
        prop_assert_eq!(sources, all);
        let left = group(blocks);
        prop_assert!(overlapping(&left.blocks).is_empty());
    }
}
