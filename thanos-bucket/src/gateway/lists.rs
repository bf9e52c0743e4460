//! Fetches postings lists and combines them.
//!
//! ```text
//! little: lists -> runs of lists that touch -> one step of requests -> combined as they are stored
//! much:   each group in parts -> one bit for each series that there can be -> groups combined
//! ```
//!
//! Of what is much only a few parts are in memory at once, so that the memory of a request does not depend on how many
//! lists it wants or how long they are, but on how many series the block has: a bit or so for each.

use std::ops::{Range, RangeInclusive};
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesOrdered;
use thanos_core::Result;
use thanos_core::budget::{Lease, MemoryBudget};
use thanos_core::index::{IndexVersion, ListGroup, ListLocation, PlannedList};
use thanos_core::indexheader::IndexHeader;
use thanos_core::postings::{Combined, DenseSet, StoredGroup, StoredList, combine};

use super::block::GatewayBlock;
use super::postings::Lists;
use super::query::{Item, QueryContext};
use super::ranges::{Fetched, RangeSource, Trust, look_twice, read_ranges};

/// The most bytes of one request for postings, unless a single list is longer.
const PART_BYTES_MAX: u64 = 4 << 20;
/// A part is not made smaller than this, however little memory there is.
const PART_BYTES_MIN: u64 = 64 << 10;
/// A part takes at most this share of the memory that is left.
const PARTS_IN_ROOM: u64 = 16;
/// How many parts are in memory at once.
const PARTS_AT_ONCE: usize = 4;
/// A run of lists is cut when it is so long: what a cache knows of a part of it would not be used.
const RUN_BYTES_MAX: u64 = 64 << 10;
/// The bytes of an index of version 2 that one reference stands for.
const BYTES_PER_REFERENCE: u64 = 16;

/// Returns the series of `lists`.
///
/// # Errors
///
/// Those of the bucket; `Corrupt` with the object; `LimitExceeded` when the request may not take or hold so much.
pub(super) async fn read_lists(
    block: &GatewayBlock,
    header: &IndexHeader,
    lists: Lists,
    query: &Arc<QueryContext>,
) -> Result<Combined> {
    let part_bytes = query.budget.room_bytes() / PARTS_IN_ROOM;
    let part_bytes = part_bytes.clamp(PART_BYTES_MIN, PART_BYTES_MAX);
    let groups = lists.keep.iter().chain(&lists.drop);
    let bytes: u64 = groups.flat_map(|group| &group.lists).map(bytes_of).sum();
    let references = references_of(header);
    let is_much = bytes > part_bytes * PARTS_AT_ONCE as u64;
    let in_parts = is_much && 2 * DenseSet::bytes_of(&references) < bytes;
    let lists = Arc::new(lists);
    let attempt = async |trust| {
        let reader = ListReader {
            block,
            query,
            trust,
            part_bytes,
        };
        match in_parts {
            true => reader.read_in_parts(&lists, &references).await,
            false => reader.read_at_once(Arc::clone(&lists)).await,
        }
    };
    look_twice(query, Item::Postings, attempt).await
}

fn bytes_of(list: &PlannedList) -> u64 {
    list.location.end.saturating_sub(list.location.offset)
}

/// Returns the references that the series of an index can have.
fn references_of(header: &IndexHeader) -> RangeInclusive<u32> {
    let toc = header.source().toc;
    let per_reference = match header.index_version() {
        IndexVersion::V1 => 1,
        IndexVersion::V2 => BYTES_PER_REFERENCE,
    };
    let (first, end) = (
        toc.series / per_reference,
        toc.label_indices / per_reference,
    );
    let number = |reference: u64| u32::try_from(reference).unwrap_or(u32::MAX);
    number(first)..=number(end.max(first))
}

#[derive(Clone, Copy)]
struct ListReader<'a> {
    block: &'a GatewayBlock,
    query: &'a Arc<QueryContext>,
    trust: Trust,
    /// How many bytes one part may have, unless a single list is longer.
    part_bytes: u64,
}

impl ListReader<'_> {
    /// Fetches all lists in one step.
    async fn read_at_once(&self, lists: Arc<Lists>) -> Result<Combined> {
        let groups = || lists.keep.iter().chain(&lists.drop);
        let count = groups().map(|group| group.lists.len()).sum();
        let places = Places::of(groups(), count, &self.query.budget)?;
        let found = self.fetch(places.part(0..places.locations.len())).await?;
        let budget = self.query.budget.clone();
        let work = move || {
            let _lease = budget.lease((count * size_of::<StoredList<'_>>()) as u64)?;
            let (keep, drop) = (found.groups(&lists.keep), found.groups(&lists.drop));
            combine(&keep, &drop, &budget)
        };
        self.compute(work).await
    }

    /// Fetches one group after the other, each in parts.
    async fn read_in_parts(
        &self,
        lists: &Lists,
        references: &RangeInclusive<u32>,
    ) -> Result<Combined> {
        let mut kept: Option<DenseSet> = None;
        for group in &lists.keep {
            let set = self.unite(group, references).await?;
            kept = Some(match kept {
                None => set,
                Some(kept) => self.apply(DenseSet::intersect, kept, set).await?,
            });
        }
        let Some(mut kept) = kept else {
            return combine(&[], &[], &self.query.budget);
        };
        for group in &lists.drop {
            let set = self.unite(group, references).await?;
            kept = self.apply(DenseSet::subtract, kept, set).await?;
        }
        let budget = self.query.budget.clone();
        self.compute(move || kept.into_series(&budget)).await
    }

    async fn apply(
        &self,
        operation: fn(&mut DenseSet, &DenseSet),
        mut kept: DenseSet,
        set: DenseSet,
    ) -> Result<DenseSet> {
        let work = move || {
            operation(&mut kept, &set);
            Ok(kept)
        };
        self.compute(work).await
    }

    /// Returns the series that are in any list of `group`.
    async fn unite(&self, group: &ListGroup, references: &RangeInclusive<u32>) -> Result<DenseSet> {
        let budget = &self.query.budget;
        let mut set = DenseSet::new(references.clone(), budget)?;
        let places = Places::of(std::iter::once(group), group.lists.len(), budget)?;
        let (mut next, mut reads) = (0, FuturesOrdered::new());
        loop {
            while reads.len() < PARTS_AT_ONCE && next < places.locations.len() {
                let end = places.part_end(next, self.part_bytes);
                reads.push_back(self.fetch(places.part(next..end)));
                next = end;
            }
            let Some(found) = reads.next().await.transpose()? else {
                return Ok(set);
            };
            let work = move || {
                let mut lists = found.part.locations().iter();
                lists.try_for_each(|location| set.insert(found.list(*location)))?;
                Ok(set)
            };
            set = self.compute(work).await?;
        }
    }

    /// Does work for the processor; its errors are about the index.
    async fn compute<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let done = self.block.compute().run(work).await?;
        done.map_err(|error| error.in_file(self.block.index_object()))
    }

    /// Fetches the lists of `part`.
    async fn fetch(&self, part: PlacesPart) -> Result<Found> {
        let query = self.query;
        let count = part.range.len();
        let runs_bytes =
            |count: usize| (count * (size_of::<Range<u64>>() + size_of::<u32>())) as u64;
        let mut runs_lease = query.budget.lease(runs_bytes(count))?;
        let (runs, lists) = runs_of(part.locations());
        runs_lease.resize(runs_bytes(runs.len()))?;
        let source = RangeSource {
            block: self.block,
            object: self.block.index_object(),
            item: Item::Postings,
            part_bytes_max: PART_BYTES_MAX,
            query,
            items: &lists,
            trust: self.trust,
        };
        let Fetched { bytes, lease } = read_ranges(source, &runs).await?;
        let sum: usize = bytes.iter().map(Bytes::len).sum();
        query.touched(Item::Postings, count as u64, sum as u64);
        Ok(Found {
            part,
            runs,
            bytes,
            _leases: [runs_lease, lease],
        })
    }
}

/// Where lists lie, in the order of the index, each once.
#[derive(Debug)]
struct Places {
    locations: Vec<ListLocation>,
    _lease: Lease,
}

/// Some of them.
#[derive(Debug)]
struct PlacesPart {
    places: Arc<Places>,
    range: Range<usize>,
}

impl Places {
    /// Returns the places of the `count` lists of `groups`.
    fn of<'g>(
        groups: impl Iterator<Item = &'g ListGroup>,
        count: usize,
        budget: &MemoryBudget,
    ) -> Result<Arc<Self>> {
        let lease = budget.lease((count * size_of::<ListLocation>()) as u64)?;
        let mut locations = Vec::with_capacity(count);
        for group in groups {
            locations.extend(group.lists.iter().map(|list| list.location));
        }
        locations.sort_unstable_by_key(|location| (location.offset, location.end));
        locations.dedup();
        Ok(Arc::new(Self {
            locations,
            _lease: lease,
        }))
    }

    fn part(self: &Arc<Self>, range: Range<usize>) -> PlacesPart {
        PlacesPart {
            places: Arc::clone(self),
            range,
        }
    }

    /// Returns where the part ends that starts with list `start`: one list, or as many as have `part_bytes`.
    fn part_end(&self, start: usize, part_bytes: u64) -> usize {
        let rest = self.locations.get(start..).unwrap_or_default();
        let first = rest.first().map_or(0, |list| list.offset);
        let fits = rest.partition_point(|list| list.end - first <= part_bytes);
        start + fits.max(1)
    }
}

impl PlacesPart {
    fn locations(&self) -> &[ListLocation] {
        let range = self.range.clone();
        self.places.locations.get(range).unwrap_or_default()
    }
}

/// Returns the ranges to read for lists in the order of the index: those that touch are one run. And how many lists
/// lie in each.
fn runs_of(locations: &[ListLocation]) -> (Vec<Range<u64>>, Vec<u32>) {
    let mut runs: Vec<Range<u64>> = Vec::new();
    let mut lists: Vec<u32> = Vec::new();
    for location in locations {
        match (runs.last_mut(), lists.last_mut()) {
            (Some(run), Some(count))
                if run.end == location.offset && location.end - run.start <= RUN_BYTES_MAX =>
            {
                run.end = location.end;
                *count += 1;
            }
            _ => {
                runs.push(location.offset..location.end);
                lists.push(1);
            }
        }
    }
    (runs, lists)
}

/// Fetched lists.
#[derive(Debug)]
struct Found {
    part: PlacesPart,
    /// In the order of their starts.
    runs: Vec<Range<u64>>,
    /// One for each run; fewer where the index ends.
    bytes: Vec<Bytes>,
    _leases: [Lease; 2],
}

impl Found {
    /// Returns the list at `location`, which is one of those that were fetched.
    fn list(&self, location: ListLocation) -> StoredList<'_> {
        let after = self
            .runs
            .partition_point(|run| run.start <= location.offset);
        let run = after.saturating_sub(1);
        let within = |at: u64, bytes: &[u8]| {
            let start = self.runs.get(run).map_or(0, |run| run.start);
            let at = usize::try_from(at.saturating_sub(start)).unwrap_or(usize::MAX);
            at.min(bytes.len())
        };
        let bytes: &[u8] = self.bytes.get(run).map_or(&[], |bytes| bytes);
        // The end of the last list of an index is not known exactly: its range may pass the end of the file.
        let bytes = &bytes[within(location.offset, bytes)..within(location.end, bytes)];
        StoredList {
            bytes,
            offset: location.offset,
        }
    }

    fn groups(&self, groups: &[ListGroup]) -> Vec<StoredGroup<'_>> {
        let list = |list: &PlannedList| self.list(list.location);
        let group = |group: &ListGroup| group.lists.iter().map(list).collect();
        groups.iter().map(group).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(offset: u64, end: u64) -> ListLocation {
        ListLocation { offset, end }
    }

    #[test]
    fn lists_that_touch_are_one_run_up_to_a_length() {
        let (runs, lists) = runs_of(&[at(10, 30), at(30, 70), at(80, 100), at(100, 70_000)]);
        assert_eq!(runs, [10..70, 80..100, 100..70_000]);
        assert_eq!(lists, [2, 1, 1]);
        let many: Vec<_> = (0..10_000).map(|n| at(n * 16, (n + 1) * 16)).collect();
        let (runs, lists) = runs_of(&many);
        assert_eq!((runs.len(), lists[0], runs[2].end), (3, 4096, 160_000));
    }

    proptest! {
        /// Whatever the places are, each list is found in what was fetched, and parts are whole lists.
        #[test]
        fn each_list_is_found(lens in prop::collection::vec((12_u64..300, 0_u64..3), 1..200), part_bytes in 1_u64..2000) {
            let mut end = 7;
            let mut locations = Vec::new();
            for (len, gap) in lens {
                locations.push(at(end + gap, end + gap + len));
                end += gap + len;
            }
            let object: Vec<u8> = (0..end).map(|at| u8::try_from(at % 251).unwrap()).collect();
            let lease = || MemoryBudget::unlimited().lease(0).unwrap();
            let places = Arc::new(Places { locations: locations.clone(), _lease: lease() });
            let (mut next, mut found) = (0, Vec::new());
            while next < locations.len() {
                let end = places.part_end(next, part_bytes);
                let part = places.part(next..end);
                let (runs, _) = runs_of(part.locations());
                let position = |at: u64| usize::try_from(at).unwrap();
                let cut = |run: &Range<u64>| Bytes::copy_from_slice(&object[position(run.start)..position(run.end)]);
                let bytes = runs.iter().map(cut).collect();
                let read = Found { part, runs, bytes, _leases: [lease(), lease()] };
                for location in read.part.locations() {
                    let list = read.list(*location);
                    prop_assert_eq!(list.bytes, &object[position(location.offset)..position(location.end)]);
                    found.push(*location);
                }
                next = end;
            }
            prop_assert_eq!(found, locations);
        }
    }
}
