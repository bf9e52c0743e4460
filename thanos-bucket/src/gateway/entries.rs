//! Series entries of a remote index, fetched by range.
//!
//! The index does not say how long an entry is before it is read. A length is assumed (the largest of the block when
//! its `meta.json` knows it) and what turns out longer is fetched again, exactly.

use std::ops::Range;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use thanos_core::index::{SeriesRef, series_entry_len};
use thanos_core::{Error, Result};

use super::block::GatewayBlock;
use super::partition::{PartitionOptions, partition};

/// No entry of a sane index is longer: a million chunks, or labels of megabytes.
const ENTRY_BYTES_MAX: u64 = 64 << 20;

/// How many bytes of entries one window may fetch, so that memory does not grow with the number of series.
pub(super) const WINDOW_BYTES_MAX: u64 = 4 << 20;

/// The bytes of one series entry, and where they start in the index.
#[derive(Debug)]
pub(super) struct EntryBytes {
    pub(super) offset: u64,
    pub(super) bytes: Bytes,
}

/// Takes the references of the next window off the front of `series`: at most `series_max`, and about
/// [`WINDOW_BYTES_MAX`] of index, counting the gaps that are fetched too.
pub(super) fn take_window<'s>(
    block: &GatewayBlock,
    series: &mut &'s [u32],
    series_max: usize,
) -> Result<&'s [u32]> {
    let mut taken = 0;
    let mut bytes = 0;
    let mut end = 0;
    for reference in series.iter().take(series_max) {
        let range = block.entry_range(SeriesRef::from(*reference))?;
        let is_joined = taken > 0 && range.start <= end + block.limits().gap_bytes_max;
        bytes += if is_joined {
            range.end.saturating_sub(end)
        } else {
            range.end - range.start
        };
        end = range.end;
        if taken > 0 && bytes > WINDOW_BYTES_MAX {
            break;
        }
        taken += 1;
    }
    let (window, rest) = series.split_at(taken);
    *series = rest;
    Ok(window)
}

/// Fetches the entries of `series`, which ascend, in their order.
pub(super) async fn fetch_entries(block: &GatewayBlock, series: &[u32]) -> Result<Vec<EntryBytes>> {
    let mut ranges = Vec::with_capacity(series.len());
    for reference in series {
        ranges.push(block.entry_range(SeriesRef::from(*reference))?);
    }
    let limits = block.limits();
    let options = PartitionOptions {
        gap_bytes_max: limits.gap_bytes_max,
        part_bytes_max: WINDOW_BYTES_MAX,
    };
    let ranges = &ranges;
    let parts: Vec<Vec<EntryBytes>> = futures::stream::iter(partition(ranges, options))
        .map(|part| async move {
            let bytes = block
                .bucket()
                .read_range_up_to(block.index_object(), part.range.clone())
                .await?;
            let mut entries = Vec::with_capacity(part.items.len());
            for range in &ranges[part.items] {
                entries.push(entry_in(block, &bytes, part.range.start, range).await?);
            }
            Ok::<_, Error>(entries)
        })
        .buffered(limits.fetch_concurrency)
        .try_collect()
        .await?;
    Ok(parts.into_iter().flatten().collect())
}

/// Cuts the entry that starts at `range.start` out of `bytes`, which lie at `base`, or fetches it when it is longer.
async fn entry_in(
    block: &GatewayBlock,
    bytes: &Bytes,
    base: u64,
    range: &Range<u64>,
) -> Result<EntryBytes> {
    let in_file = |error: Error| error.in_file(block.index_object());
    let start = usize::try_from(range.start - base)
        .unwrap_or(usize::MAX)
        .min(bytes.len());
    let rest = bytes.slice(start..);
    let len = series_entry_len(&rest, range.start).map_err(in_file)?;
    if len > ENTRY_BYTES_MAX {
        let message = format!("series entry says that it has {len} bytes");
        return Err(in_file(Error::corrupt(message).at(range.start)));
    }
    let bytes = match usize::try_from(len) {
        Ok(len) if len <= rest.len() => rest.slice(..len),
        _ => {
            block
                .bucket()
                .read_range(block.index_object(), range.start..range.start + len)
                .await?
        }
    };
    Ok(EntryBytes {
        offset: range.start,
        bytes,
    })
}
