//! Items that turned out longer than assumed: fetched again, exactly, all at once.
//!
//! Neighbours are fetched together, as at first: where `meta.json` says less than there is, all items of a block are
//! longer than assumed.

use std::ops::Range;
use std::time::Instant;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use thanos_core::budget::Lease;
use thanos_core::{Error, Result};

use super::partition::{Part, PartitionOptions, partition};
use super::ranges::{RangeSource, Trust, cut};

/// Items, and the lease of their bytes, to be kept as long as any of them.
#[derive(Debug)]
pub(super) struct Refetched {
    pub(super) bytes: Vec<Bytes>,
    pub(super) lease: Lease,
}

/// Fetches each of `ranges`, which are single items of `source`, in any order.
///
/// # Errors
///
/// Those of the bucket, also when the object ends before a range does; `LimitExceeded` when the request may not take or
/// hold so much.
pub(super) async fn refetch(source: RangeSource<'_>, ranges: &[Range<u64>]) -> Result<Refetched> {
    let RangeSource {
        block, item, query, ..
    } = source;
    let mut order: Vec<usize> = (0..ranges.len()).collect();
    order.sort_by_key(|at| ranges[*at].start);
    let sorted: Vec<Range<u64>> = order.iter().map(|at| ranges[*at].clone()).collect();
    let limits = block.limits();
    let options = PartitionOptions {
        gap_bytes_max: limits.gap_bytes_max,
        part_bytes_max: source.part_bytes_max,
        parts_max: query.parts_max(),
    };
    let parts = partition(&sorted, options);
    let bytes = parts.iter().map(|part| part.range.end - part.range.start);
    let bytes: u64 = bytes.sum();
    query.reserve_fetch(item, bytes)?;
    let lease = query.budget.lease(bytes)?;
    // The futures are collected first: a closure over references here would keep them from being `Send`.
    let mut reads = Vec::with_capacity(parts.len());
    for part in parts {
        reads.push(refetch_part(source, part));
    }
    let mut reads = futures::stream::iter(reads).buffered(limits.fetch_concurrency);
    let mut found = vec![Bytes::new(); ranges.len()];
    while let Some((part, bytes)) = reads.try_next().await? {
        for at in part.items {
            found[order[at]] = cut(&bytes, part.range.start, &sorted[at]);
        }
    }
    Ok(Refetched {
        bytes: found,
        lease,
    })
}

async fn refetch_part(source: RangeSource<'_>, part: Part) -> Result<(Part, Bytes)> {
    let (query, item) = (source.query, source.item);
    let closed = |_| Error::cancelled("the request is over");
    let _place = query.fetches.acquire().await.map_err(closed)?;
    let count = part.items.len() as u64;
    query.refetched(item, count);
    let started = Instant::now();
    let bucket = match source.trust {
        Trust::Caches => source.block.bucket().clone(),
        Trust::Bucket => source.block.bucket().clone().past_caches(),
    };
    let bytes = bucket.read_range(source.object, part.range.clone()).await?;
    query.fetched(item, count, bytes.len() as u64, started.elapsed());
    Ok((part, bytes))
}
