//! Series entries of a remote index, fetched by range.
//!
//! The index does not say how long an entry is before it is read. A length is assumed (the largest of the block when
//! its `meta.json` knows it) and what turns out longer is fetched again, exactly.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use thanos_core::index::{SeriesRef, series_entry_len};
use thanos_core::indexheader::IndexHeader;
use thanos_core::{Error, Result};

use super::block::GatewayBlock;
use super::query::{Item, QueryContext};
use super::ranges::{RangeSource, read_ranges};

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
    header: &IndexHeader,
    series: &mut &'s [u32],
    series_max: usize,
) -> Result<&'s [u32]> {
    let mut taken = 0;
    let mut bytes = 0;
    let mut end = 0;
    for reference in series.iter().take(series_max) {
        let range = block.entry_range(header.index_version(), SeriesRef::from(*reference))?;
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
pub(super) async fn fetch_entries(
    block: &GatewayBlock,
    header: &IndexHeader,
    series: &[u32],
    query: &Arc<QueryContext>,
) -> Result<Vec<EntryBytes>> {
    let mut ranges = Vec::with_capacity(series.len());
    for reference in series {
        ranges.push(block.entry_range(header.index_version(), SeriesRef::from(*reference))?);
    }
    let source = RangeSource {
        block,
        object: block.index_object(),
        item: Item::Series,
        part_bytes_max: WINDOW_BYTES_MAX,
        query,
    };
    let found = read_ranges(source, &ranges).await?.bytes;
    let mut entries = Vec::with_capacity(series.len());
    for (range, bytes) in ranges.iter().zip(found) {
        entries.push(whole_entry(block, bytes, range.start, query).await?);
    }
    let bytes: usize = entries
        .iter()
        .map(|entry: &EntryBytes| entry.bytes.len())
        .sum();
    query.touched(Item::Series, entries.len() as u64, bytes as u64);
    Ok(entries)
}

/// Returns the entry that starts at `offset`, of which `found` are the first bytes; fetches it when it is longer.
async fn whole_entry(
    block: &GatewayBlock,
    found: Bytes,
    offset: u64,
    query: &QueryContext,
) -> Result<EntryBytes> {
    let in_file = |error: Error| error.in_file(block.index_object());
    let len = series_entry_len(&found, offset).map_err(in_file)?;
    if len > ENTRY_BYTES_MAX {
        let message = format!("series entry says that it has {len} bytes");
        return Err(in_file(Error::corrupt(message).at(offset)));
    }
    let bytes = match usize::try_from(len) {
        Ok(len) if len <= found.len() => found.slice(..len),
        _ => {
            query.refetched(Item::Series);
            query.reserve_fetch(Item::Series, len)?;
            let started = Instant::now();
            let range = offset..offset + len;
            let bytes = block
                .bucket()
                .read_range(block.index_object(), range)
                .await?;
            query.fetched(Item::Series, 1, len, started.elapsed());
            bytes
        }
    };
    Ok(EntryBytes { offset, bytes })
}
