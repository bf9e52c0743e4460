//! Which blocks of a group are to become one next.
//!
//! ```text
//! overlapping blocks, whatever their size
//!   -> blocks that fill a range (2h, 8h, 2d, 14d), smallest range first, all but the newest block
//!   -> a large block alone, when more than 5 % of its series have deletions
//! ```
//!
//! Planning makes no request and changes nothing: what the plan wants to have marked is part of its answer. So the same
//! planner tells the progress of work to come ([`progress`](super::progress)).
//!
//! Source: row 2.10 of the specification; Go pkg/compact/planner.go, Prometheus tsdb/compact.go.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use thanos_core::block::{BlockId, INDEX_FILE, no_compact_reason};

use super::group::Group;
use crate::fetch::BlockEntry;

const HOUR_MS: i64 = 3_600_000;
/// The block lengths that compaction works towards, in milliseconds: 1h, 2h, 8h, 2d and 14d.
pub const DEFAULT_RANGES_MS: [i64; 5] = [
    HOUR_MS,
    2 * HOUR_MS,
    8 * HOUR_MS,
    2 * 24 * HOUR_MS,
    14 * 24 * HOUR_MS,
];
/// The share of series with deletions from which a block is written anew.
const TOMBSTONES_SHARE: f64 = 0.05;
/// The per cent of the index limit up to which the indexes of the sources may add up: a merged index can have more than
/// its sources, since references grow.
const INDEX_HEADROOM_PERCENT: u128 = 85;
/// Into how many blocks the series of one compaction are split at most, a power of two: a limit that asks for more is
/// no sensible one.
const SHARDS_MAX: u32 = 256;

/// Decides what is compacted; embedders bring their own.
pub trait Planner: fmt::Debug + Send + Sync + 'static {
    /// Returns what is to be done with `group` now. A group can have any number of blocks, sorted by their first time.
    fn plan(&self, group: &Group) -> Planned;
}

/// What a planner answers.
#[derive(Debug, Clone, Default)]
pub struct Planned {
    /// The next compaction, if there is one.
    pub plan: Option<Plan>,
    /// Blocks that are to be marked so that compaction leaves them alone from now on.
    pub marks: Vec<PlannedMark>,
}

/// Blocks that are to become one, or one for each part of their series.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The blocks, by their first time.
    pub blocks: Vec<Arc<BlockEntry>>,
    /// Why they.
    pub kind: PlanKind,
    /// Into how many blocks the series are split, by the hashes of their labels: 1 for one block.
    pub shards: u32,
}

/// Why blocks are compacted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PlanKind {
    /// They cover the same time: a vertical compaction.
    Overlap,
    /// They fill a range.
    Range,
    /// Much of it is deleted.
    Tombstones,
}

/// A no-compact mark that a planner wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedMark {
    /// The block.
    pub id: BlockId,
    /// Why, as one of [`no_compact_reason`].
    pub reason: &'static str,
    /// Why, in words.
    pub details: String,
}

/// What is done when the index of a compacted block would become too large.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IndexGuard {
    /// The series are split among several blocks.
    #[default]
    Split,
    /// As Thanos: the block with the largest index is marked, and stays alone from then on.
    Mark,
}

/// The planner of Thanos, whose answers it gives, with the guards around it.
#[derive(Debug, Clone)]
pub struct DefaultPlanner {
    /// The block lengths, in milliseconds, ascending; the first is never worked towards.
    pub ranges_ms: Vec<i64>,
    /// How large an index may become, in bytes (`--compact.block-max-index-size`).
    pub index_bytes_max: u64,
    /// What is done when it would become larger.
    pub index_guard: IndexGuard,
}

impl Default for DefaultPlanner {
    fn default() -> Self {
        Self {
            ranges_ms: DEFAULT_RANGES_MS.to_vec(),
            index_bytes_max: 64 << 30,
            index_guard: IndexGuard::default(),
        }
    }
}

type Entries<'a> = &'a [Arc<BlockEntry>];

impl DefaultPlanner {
    /// Returns the planner for these block lengths, in milliseconds.
    pub fn new(ranges_ms: Vec<i64>) -> Self {
        Self {
            ranges_ms,
            ..Self::default()
        }
    }

    /// Returns the blocks that are next when those of `excluded` are left alone.
    fn select(&self, blocks: Entries<'_>, excluded: &BTreeSet<BlockId>) -> Option<Plan> {
        let is_free = |entry: &&Arc<BlockEntry>| !excluded.contains(&entry.meta.ulid);
        let free: Vec<_> = blocks.iter().filter(is_free).map(Arc::clone).collect();
        let plan = |blocks: Entries<'_>, kind| {
            (!blocks.is_empty()).then(|| Plan {
                blocks: blocks.to_vec(),
                kind,
                shards: 1,
            })
        };
        if let Some(plan) = plan(overlapping(&free), PlanKind::Overlap) {
            return Some(plan);
        }
        // The newest block may be one of several that are still being uploaded.
        let (_, settled) = blocks.split_last()?;
        if let Some(plan) = plan(self.in_range(settled, excluded), PlanKind::Range) {
            return Some(plan);
        }
        let settled: Vec<_> = settled.iter().filter(is_free).collect();
        plan(self.mostly_deleted(&settled), PlanKind::Tombstones)
    }

    /// Returns the first run of blocks that fill a range, and none where nothing is complete.
    fn in_range<'a>(&self, blocks: Entries<'a>, excluded: &BTreeSet<BlockId>) -> Entries<'a> {
        let Some(newest) = blocks.last() else {
            return &[];
        };
        let high = newest.meta.min_time;
        for range in self.ranges_ms.iter().skip(1) {
            for part in split_by_range(blocks, *range) {
                if part.iter().any(|entry| entry.meta.compaction.failed) {
                    continue;
                }
                let [first, .., last] = part else { continue };
                let (min, max) = (first.meta.min_time, last.meta.max_time);
                // Another block may still come that fits into the range.
                if max - min != *range && max > high {
                    continue;
                }
                let mut runs = part.split(|entry| excluded.contains(&entry.meta.ulid));
                if let Some(run) = runs.find(|run| run.len() > 1) {
                    return run;
                }
            }
        }
        &[]
    }

    /// Returns the newest large block of which much is deleted, alone.
    fn mostly_deleted<'a>(&self, blocks: &[&'a Arc<BlockEntry>]) -> Entries<'a> {
        let Some(large) = self.ranges_ms.get(self.ranges_ms.len() / 2) else {
            return &[];
        };
        let is_large =
            |entry: &&&Arc<BlockEntry>| entry.meta.max_time - entry.meta.min_time >= *large;
        let mut newest_first = blocks.iter().rev().take_while(is_large);
        let found = newest_first.find(|entry| {
            let stats = &entry.meta.stats;
            stats.num_tombstones as f64 / (stats.num_series as f64 + 1.0) > TOMBSTONES_SHARE
        });
        found.map_or(&[], |entry| std::slice::from_ref(*entry))
    }

    fn index_bytes_limit(&self) -> u64 {
        let limit = u128::from(self.index_bytes_max) * INDEX_HEADROOM_PERCENT / 100;
        u64::try_from(limit).unwrap_or(u64::MAX)
    }

    /// Returns into how many blocks the series of `plan` have to go so that each index stays within the limit.
    fn shards(&self, plan: &Plan) -> u64 {
        let limit = self.index_bytes_limit();
        let total: u64 = plan.blocks.iter().map(|entry| index_bytes(entry)).sum();
        // As Thanos: the limit itself is too much.
        match limit {
            0 => u64::MAX,
            limit => total / limit + 1,
        }
    }

    /// Returns the mark that keeps downsampled blocks out of vertical compactions, for each of `plan`.
    fn downsampled_overlaps(plan: &Plan) -> impl Iterator<Item = PlannedMark> {
        let marked = plan
            .blocks
            .iter()
            .filter(|entry| plan.kind == PlanKind::Overlap && entry.meta.resolution_ms() != 0);
        marked.map(|entry| PlannedMark {
            id: entry.meta.ulid,
            reason: no_compact_reason::DOWNSAMPLE_VERTICAL_COMPACTION,
            details: "downsampled blocks that overlap are not merged".to_owned(),
        })
    }

    /// Returns the mark that keeps the block with the largest index out of `plan`.
    fn too_large(&self, plan: &Plan) -> Option<PlannedMark> {
        let mut largest: Option<&Arc<BlockEntry>> = None;
        let mut total = 0;
        let limit = self.index_bytes_limit();
        // As Thanos: the largest up to where the limit is passed.
        for entry in &plan.blocks {
            let bytes = index_bytes(entry);
            if largest.is_none_or(|largest| bytes > index_bytes(largest)) {
                largest = Some(entry);
            }
            total += bytes;
            if total >= limit {
                break;
            }
        }
        Some(PlannedMark {
            id: largest?.meta.ulid,
            reason: no_compact_reason::INDEX_SIZE_EXCEEDING,
            details: format!(
                "the index of the compacted block could exceed {} bytes with this block",
                self.index_bytes_max
            ),
        })
    }
}

impl Planner for DefaultPlanner {
    fn plan(&self, group: &Group) -> Planned {
        let marked = group
            .blocks
            .iter()
            .filter(|entry| entry.marks.no_compact.is_some());
        let mut excluded: BTreeSet<BlockId> = marked.map(|entry| entry.meta.ulid).collect();
        let mut marks = Vec::new();
        while let Some(mut plan) = self.select(&group.blocks, &excluded) {
            let mut new: Vec<PlannedMark> = Self::downsampled_overlaps(&plan).collect();
            let shards = self.shards(&plan);
            if new.is_empty() && shards > 1 {
                // Parts are not merged, so what is planned was not split before.
                match self.index_guard {
                    IndexGuard::Split if shards <= u64::from(SHARDS_MAX) => {
                        let shards = u32::try_from(shards).unwrap_or(SHARDS_MAX);
                        plan.shards = shards.next_power_of_two();
                    }
                    IndexGuard::Split | IndexGuard::Mark => new.extend(self.too_large(&plan)),
                }
            }
            if new.is_empty() {
                let plan = Some(plan);
                return Planned { plan, marks };
            }
            excluded.extend(new.iter().map(|mark| mark.id));
            marks.append(&mut new);
        }
        Planned { plan: None, marks }
    }
}

/// Returns the length of the index of a block in bytes, as the listing shows it or else its meta.json says; 0 when
/// neither does.
fn index_bytes(entry: &BlockEntry) -> u64 {
    if let Some(objects) = &entry.objects {
        return objects.index_bytes;
    }
    let files = entry.meta.thanos.iter().flat_map(|thanos| &thanos.files);
    let mut index = files.filter(|file| file.rel_path == INDEX_FILE);
    index.next().map_or(0, |file| file.size_bytes)
}

/// Returns the first run of `blocks`, which are sorted by their first time, in which each begins before all those
/// before it have ended; empty where nothing overlaps.
pub(super) fn overlapping(blocks: Entries<'_>) -> Entries<'_> {
    let mut end = match blocks.first() {
        Some(first) => first.meta.max_time,
        None => return &[],
    };
    let mut run = None;
    for (place, entry) in blocks.iter().enumerate().skip(1) {
        match run {
            None if entry.meta.min_time < end => run = Some(place - 1),
            Some(from) if entry.meta.min_time >= end => return &blocks[from..place],
            _ => {}
        }
        end = end.max(entry.meta.max_time);
    }
    run.map_or(&[], |from| &blocks[from..])
}

/// Returns the stretches of `blocks` that lie in the same multiple of `range_ms`; blocks that lie in none are left out.
fn split_by_range(blocks: Entries<'_>, range_ms: i64) -> Vec<Entries<'_>> {
    let mut parts = Vec::new();
    let mut rest = blocks;
    while let Some((first, others)) = rest.split_first() {
        let start = first.meta.min_time.as_millis().div_euclid(range_ms);
        let end = start.saturating_add(1).saturating_mul(range_ms);
        let is_inside = |entry: &Arc<BlockEntry>| entry.meta.max_time.as_millis() <= end;
        match rest.iter().take_while(|entry| is_inside(entry)).count() {
            0 => rest = others,
            inside => {
                let (part, behind) = rest.split_at(inside);
                parts.push(part);
                rest = behind;
            }
        }
    }
    parts
}

#[cfg(test)]
mod tests;
