//! Postings of a remote index: planned on the index-header, fetched by range, combined.

use futures::{StreamExt, TryStreamExt};
use thanos_core::index::{ListGroup, PlannedList, PostingsPlan};
use thanos_core::labels::Matcher;
use thanos_core::postings::{Postings, decode_postings, split_postings};
use thanos_core::{Error, Result};

use super::block::GatewayBlock;
use super::partition::{PartitionOptions, partition};

/// The most bytes of one request for postings, unless a single list is longer.
const PART_BYTES_MAX: u64 = 4 << 20;

/// Returns the series of `block` that satisfy all of `matchers`, in ascending order, as postings call them: the one
/// thing whose size grows with the selection, so it stays at four bytes each.
pub(super) async fn matching_series(
    block: &GatewayBlock,
    matchers: &[Matcher],
) -> Result<Vec<u32>> {
    let in_header = |error: Error| error.in_file(block.index_object());
    match PostingsPlan::new(block.postings_table(), matchers).map_err(in_header)? {
        PostingsPlan::Nothing => Ok(Vec::new()),
        PostingsPlan::Lists { keep, drop } => {
            let kept = keep.len();
            let mut groups = fetch_groups(block, keep.into_iter().chain(drop).collect()).await?;
            let dropped = Postings::union(groups.split_off(kept));
            Ok(Postings::intersect(groups).subtract(&dropped).into_vec())
        }
    }
}

/// Fetches the lists of all groups with as few requests as possible; returns the series of each group.
async fn fetch_groups(block: &GatewayBlock, groups: Vec<ListGroup>) -> Result<Vec<Postings>> {
    let mut lists: Vec<(usize, PlannedList)> = Vec::new();
    for (index, group) in groups.iter().enumerate() {
        lists.extend(group.lists.iter().map(|list| (index, *list)));
    }
    lists.sort_unstable_by_key(|(_, list)| list.location.offset);
    let ranges: Vec<_> = lists
        .iter()
        .map(|(_, list)| list.location.offset..list.location.end)
        .collect();
    let limits = block.limits();
    let options = PartitionOptions {
        gap_bytes_max: limits.gap_bytes_max,
        part_bytes_max: PART_BYTES_MAX,
    };

    let lists = &lists;
    let fetched: Vec<Vec<(usize, Postings)>> = futures::stream::iter(partition(&ranges, options))
        .map(|part| async move {
            // The end of the last list of an index is not known exactly: the range may pass the end of the file.
            let bytes = block
                .bucket()
                .read_range_up_to(block.index_object(), part.range.clone())
                .await?;
            let mut decoded = Vec::with_capacity(part.items.len());
            for (group, list) in &lists[part.items] {
                let offset = list.location.offset;
                let start = usize::try_from(offset - part.range.start).unwrap_or(usize::MAX);
                let section = split_postings(bytes.get(start..).unwrap_or_default(), offset);
                let postings = section.and_then(decode_postings).map(Postings::compacted);
                decoded.push((
                    *group,
                    postings.map_err(|error| error.in_file(block.index_object()))?,
                ));
            }
            Ok::<_, Error>(decoded)
        })
        .buffered(limits.fetch_concurrency)
        .try_collect()
        .await?;

    let mut by_group: Vec<Vec<Postings>> = groups.iter().map(|_| Vec::new()).collect();
    for (group, postings) in fetched.into_iter().flatten() {
        by_group[group].push(postings);
    }
    Ok(by_group.into_iter().map(Postings::union).collect())
}
