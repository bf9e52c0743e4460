//! Postings of a remote index: planned on the index-header, fetched by range, combined.

use std::sync::Arc;

use bytes::Bytes;
use thanos_core::index::{ListGroup, PlannedList, PostingsPlan};
use thanos_core::indexheader::IndexHeader;
use thanos_core::labels::Matcher;
use thanos_core::postings::{Postings, decode_postings, split_postings};
use thanos_core::{Error, Result};

use super::block::GatewayBlock;
use super::expanded::{keep_series, known_series};
use super::query::{Item, QueryContext};
use super::ranges::{Fetched, RangeSource, read_ranges};

/// The most bytes of one request for postings, unless a single list is longer.
const PART_BYTES_MAX: u64 = 4 << 20;

/// Returns the series of `block` that satisfy all of `matchers`, in ascending order, as postings call them: the one
/// thing whose size grows with the selection, so it stays at four bytes each.
pub(super) async fn matching_series(
    block: &GatewayBlock,
    header: &IndexHeader,
    matchers: &[Matcher],
    query: &Arc<QueryContext>,
) -> Result<Vec<u32>> {
    let in_header = |error: Error| error.in_file(block.index_object());
    let known = known_series(block, header.index_version(), matchers, query).await?;
    if let Some(known) = known {
        return Ok(known.into_vec());
    }
    let expanded = match PostingsPlan::new(header.postings_table(), matchers).map_err(in_header)? {
        PostingsPlan::Nothing => Postings::empty(),
        PostingsPlan::Lists { keep, drop } => {
            let kept = keep.len();
            let mut groups =
                fetch_groups(block, keep.into_iter().chain(drop).collect(), query).await?;
            let dropped = Postings::union(groups.split_off(kept));
            Postings::intersect(groups).subtract(&dropped)
        }
    };
    let kept = keep_series(block, matchers, expanded, query).await?;
    Ok(kept.into_vec())
}

/// Fetches the lists of all groups with as few requests as possible; returns the series of each group.
async fn fetch_groups(
    block: &GatewayBlock,
    groups: Vec<ListGroup>,
    query: &Arc<QueryContext>,
) -> Result<Vec<Postings>> {
    let mut lists: Vec<(usize, PlannedList)> = Vec::new();
    for (index, group) in groups.iter().enumerate() {
        lists.extend(group.lists.iter().map(|list| (index, *list)));
    }
    lists.sort_unstable_by_key(|(_, list)| list.location.offset);
    let ranges: Vec<_> = lists
        .iter()
        .map(|(_, list)| list.location.offset..list.location.end)
        .collect();
    // The end of the last list of an index is not known exactly: its range may pass the end of the file.
    let source = RangeSource {
        block,
        object: block.index_object(),
        item: Item::Postings,
        part_bytes_max: PART_BYTES_MAX,
        query,
    };
    // The lease is held until the lists are decoded.
    let Fetched {
        bytes: found,
        lease: _lease,
    } = read_ranges(source, &ranges).await?;
    let bytes: usize = found.iter().map(Bytes::len).sum();
    query.touched(Item::Postings, found.len() as u64, bytes as u64);
    let mut by_group: Vec<Vec<Postings>> = groups.iter().map(|_| Vec::new()).collect();
    for ((group, list), bytes) in lists.iter().zip(found) {
        let section = split_postings(&bytes, list.location.offset);
        let postings = section.and_then(decode_postings).map(Postings::compacted);
        let postings = postings.map_err(|error| error.in_file(block.index_object()))?;
        by_group[*group].push(postings);
    }
    Ok(by_group.into_iter().map(Postings::union).collect())
}
