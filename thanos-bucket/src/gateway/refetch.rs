//! Items that turned out longer than assumed: fetched again, exactly, all at once.

use std::ops::Range;
use std::time::Instant;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use thanos_core::budget::Lease;
use thanos_core::{Error, Result};

use super::ranges::{RangeSource, Trust};

/// Items, and the lease of their bytes, to be kept as long as any of them.
#[derive(Debug)]
pub(super) struct Refetched {
    pub(super) bytes: Vec<Bytes>,
    pub(super) lease: Lease,
}

/// Fetches each of `ranges`, which are single items of `source`.
///
/// # Errors
///
/// Those of the bucket, also when the object ends before a range does; `LimitExceeded` when the request may not take or
/// hold so much.
pub(super) async fn refetch(source: RangeSource<'_>, ranges: &[Range<u64>]) -> Result<Refetched> {
    let RangeSource {
        block, item, query, ..
    } = source;
    let bytes: u64 = ranges.iter().map(|range| range.end - range.start).sum();
    query.reserve_fetch(item, bytes)?;
    let lease = query.budget.lease(bytes)?;
    // The futures are collected first: a closure over references here would keep them from being `Send`.
    let mut reads = Vec::with_capacity(ranges.len());
    for range in ranges {
        reads.push(refetch_one(source, range.clone()));
    }
    let reads = futures::stream::iter(reads).buffered(block.limits().fetch_concurrency);
    let bytes = reads.try_collect().await?;
    Ok(Refetched { bytes, lease })
}

async fn refetch_one(source: RangeSource<'_>, range: Range<u64>) -> Result<Bytes> {
    let (query, item) = (source.query, source.item);
    let closed = |_| Error::cancelled("the request is over");
    let _place = query.fetches.acquire().await.map_err(closed)?;
    query.refetched(item);
    let started = Instant::now();
    let len = range.end - range.start;
    let bucket = match source.trust {
        Trust::Caches => source.block.bucket().clone(),
        Trust::Bucket => source.block.bucket().clone().past_caches(),
    };
    let bytes = bucket.read_range(source.object, range).await?;
    query.fetched(item, 1, len, started.elapsed());
    Ok(bytes)
}
