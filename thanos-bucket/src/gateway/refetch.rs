//! Items that turned out longer than assumed: fetched again, exactly, all at once.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use thanos_core::budget::Lease;
use thanos_core::{Error, Result};

use super::block::GatewayBlock;
use super::query::{Item, QueryContext};

/// Items, and the lease of their bytes, to be kept as long as any of them.
#[derive(Debug)]
pub(super) struct Refetched {
    pub(super) bytes: Vec<Bytes>,
    pub(super) lease: Lease,
}

/// Fetches each of `ranges` of `object`, which are single items.
///
/// # Errors
///
/// Those of the bucket, also when the object ends before a range does; `LimitExceeded` when the request may not take or
/// hold so much.
pub(super) async fn refetch(
    block: &GatewayBlock,
    object: &str,
    item: Item,
    ranges: &[Range<u64>],
    query: &Arc<QueryContext>,
) -> Result<Refetched> {
    let bytes: u64 = ranges.iter().map(|range| range.end - range.start).sum();
    query.reserve_fetch(item, bytes)?;
    let lease = query.budget.lease(bytes)?;
    // The futures are collected first: a closure over references here would keep them from being `Send`.
    let mut reads = Vec::with_capacity(ranges.len());
    for range in ranges {
        reads.push(refetch_one(block, object, item, range.clone(), query));
    }
    let reads = futures::stream::iter(reads).buffered(block.limits().fetch_concurrency);
    let bytes = reads.try_collect().await?;
    Ok(Refetched { bytes, lease })
}

async fn refetch_one(
    block: &GatewayBlock,
    object: &str,
    item: Item,
    range: Range<u64>,
    query: &QueryContext,
) -> Result<Bytes> {
    let closed = |_| Error::cancelled("the request is over");
    let _place = query.fetches.acquire().await.map_err(closed)?;
    query.refetched(item);
    let started = Instant::now();
    let len = range.end - range.start;
    let bytes = block.bucket().read_range(object, range).await?;
    query.fetched(item, 1, len, started.elapsed());
    Ok(bytes)
}
