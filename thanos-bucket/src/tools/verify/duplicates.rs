//! Blocks that a compactor made twice.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use thanos_core::Result;
use thanos_core::block::{BlockId, Meta};

use super::backup::{back_up_and_remove, check_absent};
use super::index::WorkDir;
use super::{Finding, Issue, Outcome, RepairInto, VerifyOptions};
use crate::Bucket;
use crate::fetch::BlockEntry;
use crate::tools::overlaps::{described, overlapping_blocks};
use crate::transfer::{DownloadOptions, download_block};

pub(super) async fn verify(
    bucket: &Bucket,
    blocks: &BTreeMap<BlockId, Arc<BlockEntry>>,
    options: &VerifyOptions,
    tell: &mut impl FnMut(Finding),
) {
    let mut removed = BTreeSet::new();
    for overlap in overlapping_blocks(blocks) {
        for equal in equal_blocks(&overlap.blocks) {
            let copies: Vec<_> = equal[1..]
                .iter()
                .filter(|meta| removed.insert(meta.ulid))
                .collect();
            if copies.is_empty() {
                continue;
            }
            let ids: Vec<BlockId> = copies.iter().map(|meta| meta.ulid).collect();
            let texts: Vec<String> = copies.iter().map(|meta| described(meta)).collect();
            let outcome = match &options.repair {
                None => Outcome::Reported,
                Some(into) => remove(bucket, &ids, into, options).await,
            };
            tell(Finding {
                issue: Issue::DuplicatedCompaction,
                group: Some(overlap.group.to_string()),
                blocks: equal.iter().map(|meta| meta.ulid).collect(),
                problem: format!(
                    "found duplicated blocks that are ok to be removed: blocks: {}, [{}]",
                    ids.len(),
                    texts.join(",")
                ),
                outcome,
            });
        }
    }
}

/// Returns the sets of blocks that are the same but for their names, the one to stay first.
fn equal_blocks(blocks: &[Arc<BlockEntry>]) -> Vec<Vec<&Meta>> {
    let mut sets: Vec<Vec<&Meta>> = Vec::new();
    for entry in blocks {
        let meta = &entry.meta;
        match sets.iter_mut().find(|set| is_same(set[0], meta)) {
            Some(set) => set.push(meta),
            None => sets.push(vec![meta]),
        }
    }
    sets.retain(|set| set.len() > 1);
    sets
}

fn is_same(a: &Meta, b: &Meta) -> bool {
    (a.min_time, a.max_time) == (b.min_time, b.max_time)
        && a.compaction.level == b.compaction.level
        && a.compaction.sources == b.compaction.sources
        && a.stats == b.stats
}

async fn remove(
    bucket: &Bucket,
    ids: &[BlockId],
    into: &RepairInto,
    options: &VerifyOptions,
) -> Outcome {
    for id in ids {
        if let Err(error) = remove_one(bucket, *id, into, options).await {
            return Outcome::Failed {
                error: format!("{id}: {error}"),
            };
        }
    }
    Outcome::Removed {
        removed: ids.to_vec(),
    }
}

async fn remove_one(
    bucket: &Bucket,
    id: BlockId,
    into: &RepairInto,
    options: &VerifyOptions,
) -> Result<()> {
    check_absent(&into.backup, id).await?;
    let work = WorkDir::create(options.work_dir.join(format!("safe-delete-{id}")))?;
    let dir = work.path.join(id.to_string());
    let downloads = DownloadOptions {
        compute: options.compute.clone(),
        ..DownloadOptions::default()
    };
    let downloaded = download_block(bucket, id, &dir, &downloads).await;
    downloaded.map_err(|error| error.context("download from source"))?;
    back_up_and_remove(bucket, id, &dir, into, options).await
}

#[cfg(test)]
mod tests {
    use thanos_core::block::Compaction;
    use thanos_core::time::Timestamp;

    use super::*;
    use crate::testkit::block_id;

    /// T-13: the table of Thanos' TestDuplicatedBlocks.
    #[test]
    fn blocks_equal_in_everything_but_their_name_are_the_same() {
        let first = Meta {
            min_time: Timestamp::from_millis(10),
            max_time: Timestamp::from_millis(20),
            compaction: Compaction {
                level: 2,
                sources: (0..3).map(block_id).collect(),
                ..Compaction::default()
            },
            ..Meta::default()
        };
        let mut metas = vec![first; 6];
        for (number, meta) in (10..).zip(&mut metas) {
            meta.ulid = block_id(number);
        }
        metas[2].min_time = Timestamp::from_millis(1);
        metas[3].stats.num_tombstones = 1;
        metas[4].compaction.sources.remove(0);
        let entries: Vec<_> = metas
            .iter()
            .map(|meta| Arc::new(BlockEntry::new(meta.clone(), None)))
            .collect();
        let ids: Vec<Vec<BlockId>> = equal_blocks(&entries)
            .iter()
            .map(|set| set.iter().map(|meta| meta.ulid).collect())
            .collect();
        assert_eq!(ids, [[block_id(10), block_id(11), block_id(15)]]);
    }
}
