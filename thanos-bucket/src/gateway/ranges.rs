//! Reading many byte ranges of one object with few requests.
//!
//! ```text
//! ranges -> known from the index cache?  yes -> cut out of its pages
//!                                        no  -> joined into parts -> one request each, shared by all who want the same
//!                                               -> kept in pages -> cut out of the part
//! ```
//!
//! A range is read as a whole or not at all: one of which only a piece is known is fetched. Nothing is rounded up to
//! pages, so that a cold read fetches the same bytes with a cache and without.

mod flights;
#[cfg(test)]
#[cfg(all(feature = "filesystem", feature = "memcached", feature = "redis"))]
mod lying_tests;
#[cfg(test)]
#[cfg(all(feature = "filesystem", feature = "memcached"))]
mod server_tests;
#[cfg(test)]
mod tests;
mod trust;

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use futures::{StreamExt, TryStreamExt};
use thanos_core::budget::Lease;
use thanos_core::{Error, Result};
use tracing::Instrument;

pub(super) use self::flights::Flights;
pub(super) use self::trust::{Trust, look_twice};
use super::block::GatewayBlock;
use super::partition::{Part, PartitionOptions, partition};
use super::query::{Item, QueryContext};
use crate::cache::index::page::{HELD_BYTES_MAX, PAGE_BYTES, Page, pages_of};
use crate::cache::{IndexCache, ItemType};

/// How many pages are asked for at once: 18 MiB are on lease before it is known how much of them there is.
const PAGES_AT_ONCE: usize = 1024;

/// What the reads of all blocks share.
#[derive(Debug, Default)]
pub(super) struct Reads {
    /// Where what is read of indexes is kept.
    pub(super) cache: Option<IndexCache>,
    /// The requests that are under way.
    pub(super) flights: Flights,
}

/// What is read, and why.
#[derive(Debug, Clone, Copy)]
pub(super) struct RangeSource<'a> {
    pub(super) block: &'a GatewayBlock,
    pub(super) object: &'a str,
    pub(super) item: Item,
    /// A request is not made longer than this by joining ranges.
    pub(super) part_bytes_max: u64,
    pub(super) query: &'a Arc<QueryContext>,
    /// How many items lie in each range, for the statistics; one each when there are fewer numbers than ranges.
    pub(super) items: &'a [u32],
    pub(super) trust: Trust,
}

/// Bytes that were read, and the lease of all that they hold on to.
#[derive(Debug)]
pub(super) struct Fetched {
    /// One for each range, in their order.
    pub(super) bytes: Vec<Bytes>,
    /// To be kept as long as any of the bytes.
    pub(super) lease: Lease,
}

/// Returns the bytes of each of `ranges`, which are sorted by start and may overlap; fewer where the object ends.
///
/// # Errors
///
/// Those of the bucket; `LimitExceeded` when the request may not take or hold so much.
pub(super) async fn read_ranges(source: RangeSource<'_>, ranges: &[Range<u64>]) -> Result<Fetched> {
    let headers = ranges.len() * size_of::<Bytes>();
    let mut lease = source.query.budget.lease(headers as u64)?;
    let known = source.known(ranges, &mut lease).await?;
    let mut found = Vec::with_capacity(ranges.len());
    for range in ranges {
        found.push(known.get(range, &mut lease)?);
    }
    let missing: Vec<usize> = (0..ranges.len())
        .filter(|at| found[*at].is_none())
        .collect();
    source.count_known(&found, &missing)?;

    let wanted: Vec<Range<u64>> = missing.iter().map(|at| ranges[*at].clone()).collect();
    let span = tracing::info_span!(
        "bucket_store_fetch",
        object = source.object,
        item = source.item.as_str(),
        parts = wanted.len()
    );
    let read = source
        .fetch(&wanted, &missing, &mut lease)
        .instrument(span)
        .await?;
    source.keep(&known, &read).await?;
    for (part, bytes) in read {
        for at in part.items {
            found[missing[at]] = Some(cut(&bytes, part.range.start, &wanted[at]));
        }
    }
    Ok(Fetched {
        bytes: found.into_iter().flatten().collect(),
        lease,
    })
}

impl RangeSource<'_> {
    /// Returns the cache for what is read, and what it calls it. Chunks are no matter of this cache.
    fn cache(&self) -> Option<(&IndexCache, ItemType)> {
        let item = match self.item {
            Item::Postings => ItemType::Postings,
            Item::Series => ItemType::Series,
            Item::Chunks => return None,
        };
        let cache = self.block.reads().cache.as_ref()?;
        cache.keeps(item).then_some((cache, item))
    }

    /// Returns what the cache knows of the pages of `ranges`, on lease.
    async fn known(&self, ranges: &[Range<u64>], lease: &mut Lease) -> Result<Known> {
        let mut known = Known::default();
        let Some((cache, item)) = self.cache().filter(|_| self.trust == Trust::Caches) else {
            return Ok(known);
        };
        let numbers = page_numbers(ranges);
        for numbers in numbers.chunks(PAGES_AT_ONCE) {
            let before = lease.bytes();
            lease.grow(numbers.len() as u64 * HELD_BYTES_MAX)?;
            let tenant = self.query.tenant.as_str();
            let compute = self.block.compute();
            let pages = cache
                .pages(item, self.block.id(), numbers, tenant, compute)
                .await?;
            let held: usize = pages.iter().flatten().map(Page::held_bytes).sum();
            lease.resize(before + held as u64)?;
            known.numbers.extend_from_slice(numbers);
            known.pages.extend(pages);
        }
        Ok(known)
    }

    /// Returns how many items lie in the ranges at `positions`.
    fn item_count(&self, positions: impl IntoIterator<Item = usize>) -> u64 {
        let count = |at: usize| u64::from(self.items.get(at).copied().unwrap_or(1));
        positions.into_iter().map(count).sum()
    }

    /// Counts what was found in the cache, and leases what is copied together out of several pages.
    fn count_known(&self, found: &[Option<Bytes>], missing: &[usize]) -> Result<()> {
        let query = self.query;
        let misses = self.item_count(missing.iter().copied());
        let all = self.item_count(0..found.len());
        let hits = all - misses;
        if let Some((cache, item)) = self.cache() {
            cache.looked_up(item, query.tenant.as_str(), all, hits);
        }
        query.to_fetch(self.item, misses);
        if hits > 0 {
            query.cache_hits(self.item, hits);
            let bytes: usize = found.iter().flatten().map(Bytes::len).sum();
            query.reserve_cached(self.item, bytes as u64)?;
        }
        Ok(())
    }

    /// Fetches `ranges`, which are those at `positions`, in parts, which are on lease before they are asked for.
    async fn fetch(
        &self,
        ranges: &[Range<u64>],
        positions: &[usize],
        lease: &mut Lease,
    ) -> Result<Vec<(Part, Bytes)>> {
        let limits = self.block.limits();
        let options = PartitionOptions {
            gap_bytes_max: limits.gap_bytes_max,
            part_bytes_max: self.part_bytes_max,
            parts_max: self.query.parts_max(),
        };
        let parts = partition(ranges, options);
        let wanted = parts.iter().map(|part| part.range.end - part.range.start);
        let wanted: u64 = wanted.sum();
        self.query.reserve_fetch(self.item, wanted)?;
        let before = lease.bytes();
        lease.grow(wanted)?;
        let read: Vec<(Part, Bytes)> = futures::stream::iter(parts)
            .map(|part| self.fetch_part(part, positions))
            .buffered(limits.fetch_concurrency)
            .try_collect()
            .await?;
        let came: usize = read.iter().map(|(_, bytes)| bytes.len()).sum();
        lease.resize(before + came as u64)?;
        Ok(read)
    }

    async fn fetch_part(&self, part: Part, positions: &[usize]) -> Result<(Part, Bytes)> {
        let closed = |_| Error::cancelled("the request is over");
        let _place = self.query.fetches.acquire().await.map_err(closed)?;
        let started = Instant::now();
        let flights = &self.block.reads().flights;
        let flight = flights.join(self.block.bucket(), self.object, &part.range, self.trust);
        let is_ours = flight.is_first();
        let bytes = flight.bytes().await?;
        if is_ours {
            let count = self.item_count(positions[part.items.clone()].iter().copied());
            let len = bytes.len() as u64;
            self.query.fetched(self.item, count, len, started.elapsed());
        }
        Ok((part, bytes))
    }

    /// Keeps what was read, with what was known of the same pages.
    async fn keep(&self, known: &Known, read: &[(Part, Bytes)]) -> Result<()> {
        let Some((cache, item)) = self.cache() else {
            return Ok(());
        };
        let mut pages: Vec<NewPage> = Vec::new();
        for (part, bytes) in read {
            let start = part.range.start;
            let end = start + bytes.len() as u64;
            for number in pages_of(&(start..end)) {
                match pages.last_mut().filter(|last| last.number == number) {
                    Some(last) => last.pieces.push((start, bytes.clone())),
                    None => pages.push(NewPage {
                        number,
                        pieces: vec![(start, bytes.clone())],
                        older: known.page(number).cloned(),
                    }),
                }
            }
        }
        if pages.is_empty() {
            return Ok(());
        }
        let (cache, block, trust) = (cache.clone(), self.block.id(), self.trust);
        let (query, index_bytes) = (Arc::clone(self.query), self.block.index_bytes());
        // Copying and summing up megabytes would hold up others.
        let keep = move || {
            for NewPage {
                number,
                pieces,
                older,
            } in pages
            {
                let end = pieces
                    .iter()
                    .map(|(start, bytes)| start + bytes.len() as u64);
                // That an answer is short is no proof that the object ends: it may have been cut off on its way.
                let ends_object = end.max() == Some(index_bytes);
                let Some(page) = Page::of(number, &pieces, ends_object) else {
                    continue;
                };
                let tenant = query.tenant.as_str();
                match trust {
                    Trust::Caches => cache.add_page(item, block, &page, older, tenant),
                    Trust::Bucket => cache.replace_page(item, block, &page, tenant),
                }
            }
        };
        self.block.compute().run(keep).await
    }
}

/// What was read of a page.
struct NewPage {
    number: u64,
    /// With their offsets; each may reach beyond the page.
    pieces: Vec<(u64, Bytes)>,
    /// What was known before.
    older: Option<Page>,
}

/// Returns the pages of `ranges`, which are sorted by start, each once and in order.
fn page_numbers(ranges: &[Range<u64>]) -> Vec<u64> {
    let mut numbers: Vec<u64> = Vec::new();
    for range in ranges {
        let pages = pages_of(range);
        let next = numbers.last().map_or(0, |last| last + 1);
        numbers.extend(pages.start.max(next)..pages.end);
    }
    numbers
}

/// What a cache knows of some pages.
#[derive(Debug, Default)]
struct Known {
    /// Ascending.
    numbers: Vec<u64>,
    /// One for each number.
    pages: Vec<Option<Page>>,
}

impl Known {
    fn page(&self, number: u64) -> Option<&Page> {
        let at = self.numbers.binary_search(&number).ok()?;
        self.pages[at].as_ref()
    }

    /// Returns the bytes of `range`, fewer where the object ends; `None` unless all are known. What has to be copied
    /// together out of several pages goes on `lease`.
    fn get(&self, range: &Range<u64>, lease: &mut Lease) -> Result<Option<Bytes>> {
        let pages = pages_of(range);
        let Some(head) = self.in_page(pages.start, range) else {
            return Ok(None);
        };
        let is_whole = pages.end == pages.start + 1;
        if is_whole || self.page(pages.start).is_some_and(Page::ends_object) {
            return Ok(Some(head));
        }
        let mut rest = Vec::new();
        for number in pages.start + 1..pages.end {
            let Some(bytes) = self.in_page(number, range) else {
                return Ok(None);
            };
            rest.push(bytes);
            if self.page(number).is_some_and(Page::ends_object) {
                break;
            }
        }
        let len = head.len() + rest.iter().map(Bytes::len).sum::<usize>();
        lease.grow(len as u64)?;
        let mut joined = BytesMut::with_capacity(len);
        joined.extend_from_slice(&head);
        for bytes in rest {
            joined.extend_from_slice(&bytes);
        }
        Ok(Some(joined.freeze()))
    }

    /// Returns the bytes of page `number` that lie in `range`.
    fn in_page(&self, number: u64, range: &Range<u64>) -> Option<Bytes> {
        let (start, end) = (number * PAGE_BYTES, (number + 1) * PAGE_BYTES);
        let in_page = range.start.max(start)..range.end.min(end);
        self.page(number)?.get(&in_page)
    }
}

/// Returns the bytes of `range` out of `bytes`, which lie at `base`; fewer where they end.
pub(super) fn cut(bytes: &Bytes, base: u64, range: &Range<u64>) -> Bytes {
    let position = |at: u64| {
        usize::try_from(at.saturating_sub(base))
            .unwrap_or(usize::MAX)
            .min(bytes.len())
    };
    bytes.slice(position(range.start)..position(range.end))
}
