//! Blocks whose data other blocks hold.
//!
//! A compacted block names the blocks that it was made from. Until those are deleted, both are in the bucket; the ones
//! whose sources are all among the sources of another block of the same labels and resolution are not needed.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use thanos_core::Result;
use thanos_core::block::BlockId;

use super::source_sets::SourceSets;
use super::{BlockFilter, Candidates};
use crate::compute::Compute;
use crate::fetch::{BlockEntry, BlockState};

/// Takes out blocks whose sources are a subset of those of another block.
///
/// Source: Go pkg/block/fetcher.go DefaultDeduplicateFilter, but for two things: groups are told apart by their labels
/// themselves and not by a hash of them, and a block that names no source counts as its own source, where upstream has
/// it covered by any other block.
#[derive(Debug, Default)]
pub struct DuplicateFilter {
    compute: Compute,
    /// The last candidates and which of them were duplicates: from sync to sync, most often nothing changes.
    last: Mutex<Option<Answered>>,
}

#[derive(Debug, Clone)]
struct Answered {
    candidates: Arc<Vec<Arc<BlockEntry>>>,
    duplicates: Arc<Vec<BlockId>>,
}

impl DuplicateFilter {
    /// Returns the filter, which does its work in `compute`.
    pub fn new(compute: Compute) -> Self {
        Self {
            compute,
            last: Mutex::default(),
        }
    }

    /// Returns the duplicates that the last call found.
    pub fn last_duplicates(&self) -> Vec<BlockId> {
        let last = self.last.lock();
        last.as_ref()
            .map(|last| last.duplicates.to_vec())
            .unwrap_or_default()
    }

    async fn answer(&self, candidates: Vec<Arc<BlockEntry>>) -> Result<Arc<Vec<BlockId>>> {
        if let Some(last) = self.last.lock().as_ref()
            && is_same(&last.candidates, &candidates)
        {
            return Ok(Arc::clone(&last.duplicates));
        }
        let candidates = Arc::new(candidates);
        let asked = Arc::clone(&candidates);
        let duplicates = Arc::new(self.compute.run(move || duplicates(&asked)).await?);
        *self.last.lock() = Some(Answered {
            candidates,
            duplicates: Arc::clone(&duplicates),
        });
        Ok(duplicates)
    }
}

#[async_trait]
impl BlockFilter for DuplicateFilter {
    async fn filter(&self, candidates: &mut Candidates) -> Result<()> {
        let asked = candidates.blocks().values().map(Arc::clone).collect();
        let duplicates = self.answer(asked).await?;
        candidates.exclude(BlockState::Duplicate, |id, _| {
            duplicates.binary_search(id).is_ok()
        });
        Ok(())
    }
}

fn is_same(one: &[Arc<BlockEntry>], other: &[Arc<BlockEntry>]) -> bool {
    one.len() == other.len() && one.iter().zip(other).all(|(a, b)| Arc::ptr_eq(a, b))
}

/// Returns those of `blocks` whose sources others cover, sorted.
pub(crate) fn duplicates(blocks: &[Arc<BlockEntry>]) -> Vec<BlockId> {
    type Group<'a> = (i64, Option<&'a BTreeMap<String, String>>);
    let mut groups: HashMap<Group<'_>, Vec<&BlockEntry>> = HashMap::new();
    for entry in blocks {
        let labels = entry.meta.thanos.as_ref().map(|thanos| &thanos.labels);
        let group = (
            entry.meta.resolution_ms(),
            labels.filter(|labels| !labels.is_empty()),
        );
        groups.entry(group).or_default().push(entry);
    }
    let mut found = Vec::new();
    for group in groups.values() {
        duplicates_of_group(group, &mut found);
    }
    found.sort_unstable();
    found
}

fn duplicates_of_group(group: &[&BlockEntry], found: &mut Vec<BlockId>) {
    if group.len() < 2 {
        return;
    }
    let members = group
        .iter()
        .map(|entry| entry.meta.compaction.sources.len().max(1));
    let mut sets = SourceSets::with_capacity(members.sum());
    for entry in group {
        match &entry.meta.compaction.sources[..] {
            [] => sets.push(&[entry.meta.ulid]),
            sources => sets.push(sources),
        }
    }
    // A set can only be covered by one that is not smaller; among equal ones the oldest block stays.
    let mut order: Vec<usize> = (0..group.len()).collect();
    order.sort_by_key(|place| (Reverse(sets.set(*place).len()), group[*place].meta.ulid));
    sets.covered(&order, |place| found.push(group[place].meta.ulid));
}
