//! Collects which series have which label while series are written, and hands the lists out in order.
//!
//! The series go to a [`Spool`]: 4 bytes for each series, each of its labels and their number. In memory are 4 bytes for
//! each symbol and about 40 for each label value, leased from the budget of the spool. Handing out sorts some label values
//! at a time, as many as there is memory for, each time with one pass over what was collected.

use std::ops::Range;

use hashbrown::HashMap;

use super::format::SymbolRef;
use crate::budget::{Lease, MemoryBudget};
use crate::error::Result;
use crate::spool::{Spool, SpoolPlace, Spooled};

/// The postings that are sorted at a time at most, unless there are more series: 64 MiB.
const BATCH_POSTINGS: usize = 16 << 20;
/// Of the room that is left in the budget, the part that sorting takes.
const BATCH_ROOM_PART: u64 = 4;
const POSTING_BYTES: u64 = 4;
/// What a pair takes while all are sorted: itself, its sorted copy, its place in the order and its rank.
const PAIR_BYTES: u64 = 2 * size_of::<LabelPair>() as u64 + 8;
/// A pair outside of the table by values.
const OTHER_BYTES: u64 = 32;
/// How many pairs are leased at once.
const PAIRS_LEASED: usize = 1024;

/// A label value with the number of its series.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LabelPair {
    pub(super) name: SymbolRef,
    pub(super) value: SymbolRef,
    pub(super) series_count: u32,
}

/// No pair.
const NONE: u32 = u32::MAX;

/// The labels of the series so far.
#[derive(Debug)]
pub(super) struct PostingsBuilder {
    /// The pair met first with each symbol as its value: nearly every value has one name only.
    by_value: Vec<u32>,
    /// The other pairs.
    others: HashMap<(SymbolRef, SymbolRef), u32>,
    /// Numbered in the order in which they are met.
    pairs: Vec<LabelPair>,
    /// For each series its reference, the number of its labels and the pairs of them.
    series: Spool,
    series_count: u32,
    record: Vec<u8>,
    budget: MemoryBudget,
    lease: Lease,
    pairs_leased: usize,
}

impl PostingsBuilder {
    /// Returns a builder for labels among this many symbols.
    pub(super) fn new(symbol_count: u32, place: SpoolPlace) -> Result<Self> {
        let budget = place.budget.clone();
        let lease = budget.lease(u64::from(symbol_count) * 4)?;
        Ok(Self {
            by_value: vec![NONE; symbol_count as usize],
            others: HashMap::new(),
            pairs: Vec::new(),
            series: Spool::new(place, "postings.spool")?,
            series_count: 0,
            record: Vec::new(),
            budget,
            lease,
            pairs_leased: 0,
        })
    }

    /// Adds a series whose labels are among the symbols.
    pub(super) fn add(&mut self, reference: u32, labels: &[(SymbolRef, SymbolRef)]) -> Result<()> {
        if self.pairs.len() + labels.len() > self.pairs_leased {
            self.lease_pairs(labels.len())?;
        }
        self.record.clear();
        self.record.extend_from_slice(&reference.to_le_bytes());
        let count = u32::try_from(labels.len()).unwrap_or(u32::MAX);
        self.record.extend_from_slice(&count.to_le_bytes());
        for (name, value) in labels {
            let id = self.pair(*name, *value);
            self.pairs[id as usize].series_count += 1;
            self.record.extend_from_slice(&id.to_le_bytes());
        }
        self.series_count += 1;
        self.series.append(&self.record)
    }

    /// Leases what as many more pairs may take, and those that are likely to follow.
    #[cold]
    fn lease_pairs(&mut self, more: usize) -> Result<()> {
        let pairs = (self.pairs.len() + more).max(self.pairs_leased + PAIRS_LEASED);
        let others = self.others.len() as u64;
        let symbols = self.by_value.len() as u64 * 4;
        let bytes = symbols + pairs as u64 * PAIR_BYTES + others * OTHER_BYTES;
        self.lease.resize(bytes)?;
        self.pairs_leased = pairs;
        Ok(())
    }

    #[inline]
    fn pair(&mut self, name: SymbolRef, value: SymbolRef) -> u32 {
        let first = self.by_value[value.0 as usize];
        if first != NONE && self.pairs[first as usize].name == name {
            return first;
        }
        self.other_pair(name, value, first)
    }

    fn other_pair(&mut self, name: SymbolRef, value: SymbolRef, first: u32) -> u32 {
        // The labels of 2^32 series references run out of memory long before the numbers run out.
        let next = u32::try_from(self.pairs.len()).unwrap_or(NONE);
        let new = LabelPair {
            name,
            value,
            series_count: 0,
        };
        if first == NONE {
            self.by_value[value.0 as usize] = next;
            self.pairs.push(new);
            return next;
        }
        *self.others.entry((name, value)).or_insert_with(|| {
            self.pairs.push(new);
            next
        })
    }

    /// Ends collecting: puts the pairs in the order of names and values.
    pub(super) fn finish(self) -> Result<SortedPostings> {
        let mut order: Vec<u32> = (0..).take(self.pairs.len()).collect();
        order.sort_unstable_by_key(|id| self.pairs.get(*id as usize));
        let mut rank_of = vec![0; order.len()];
        for (rank, id) in (0..).zip(&order) {
            if let Some(slot) = rank_of.get_mut(*id as usize) {
                *slot = rank;
            }
        }
        let pairs = order.iter().filter_map(|id| self.pairs.get(*id as usize));
        Ok(SortedPostings {
            pairs: pairs.copied().collect(),
            rank_of,
            series: self.series.finish()?,
            series_count: self.series_count,
            budget: self.budget,
            _lease: self.lease,
        })
    }
}

/// The collected labels, with the pairs in order.
#[derive(Debug)]
pub(super) struct SortedPostings {
    pairs: Vec<LabelPair>,
    /// The position in `pairs` of each number in `series`.
    rank_of: Vec<u32>,
    series: Spooled,
    series_count: u32,
    budget: MemoryBudget,
    _lease: Lease,
}

impl SortedPostings {
    /// Returns the pairs in the order of names and values.
    pub(super) fn pairs(&self) -> &[LabelPair] {
        &self.pairs
    }

    /// Returns the number of series.
    pub(super) fn series_count(&self) -> u32 {
        self.series_count
    }

    /// Returns the references of all series.
    pub(super) fn all_series(&self) -> impl Iterator<Item = u32> {
        self.records().map(|(reference, _)| reference)
    }

    /// Yields the reference of each series and the numbers of its pairs.
    fn records(&self) -> impl Iterator<Item = (u32, &[[u8; 4]])> {
        let (mut rest, _) = self.series.bytes().as_chunks::<4>();
        std::iter::from_fn(move || {
            let ([reference, count], labels) = rest.split_first_chunk::<2>()?;
            let count = u32::from_le_bytes(*count) as usize;
            let (labels, others) = labels.split_at_checked(count)?;
            rest = others;
            Some((u32::from_le_bytes(*reference), labels))
        })
    }

    /// Calls `visit` with the list of every pair, in order.
    ///
    /// # Errors
    ///
    /// The first one of `visit`; `LimitExceeded` when not even one list fits the budget.
    pub(super) fn for_each_list(&self, visit: impl FnMut(&[u32]) -> Result<()>) -> Result<()> {
        let room = self.budget.room_bytes() / BATCH_ROOM_PART / POSTING_BYTES;
        let room = usize::try_from(room).unwrap_or(usize::MAX);
        self.for_each_list_batched(
            BATCH_POSTINGS.max(self.series_count as usize).min(room),
            visit,
        )
    }

    fn for_each_list_batched(
        &self,
        postings_max: usize,
        mut visit: impl FnMut(&[u32]) -> Result<()>,
    ) -> Result<()> {
        let mut start = 0;
        while start < self.pairs.len() {
            let (batch, total) = self.batch(start, postings_max);
            let pairs = self.pairs.get(batch.clone()).unwrap_or_default();
            let memory = total as u64 * POSTING_BYTES + pairs.len() as u64 * 8;
            let _lease = self.budget.lease(memory)?;
            let sorted = self.sort(&batch, pairs);
            let mut rest = sorted.as_slice();
            for pair in pairs {
                let (list, others) = rest.split_at(pair.series_count as usize);
                visit(list)?;
                rest = others;
            }
            start = batch.end;
        }
        Ok(())
    }

    /// Returns the pairs from `start` on that are sorted together, as many as fit, but at least one; and their postings.
    fn batch(&self, start: usize, postings_max: usize) -> (Range<usize>, usize) {
        let mut end = start;
        let mut total = 0;
        for pair in self.pairs.get(start..).unwrap_or_default() {
            let postings = pair.series_count as usize;
            if end > start && total + postings > postings_max {
                break;
            }
            total += postings;
            end += 1;
        }
        (start..end, total)
    }

    /// Counting sort: the references of each pair of `batch`, one pair after another.
    fn sort(&self, batch: &Range<usize>, pairs: &[LabelPair]) -> Vec<u32> {
        let mut next = Vec::with_capacity(pairs.len());
        let mut total = 0;
        for pair in pairs {
            next.push(total);
            total += pair.series_count as usize;
        }
        let mut sorted = vec![0; total];
        for (reference, labels) in self.records() {
            for id in labels {
                let rank = self.rank_of[u32::from_le_bytes(*id) as usize] as usize;
                let Some(place) = rank.checked_sub(batch.start) else {
                    continue;
                };
                if let Some(next) = next.get_mut(place) {
                    sorted[*next] = reference;
                    *next += 1;
                }
            }
        }
        sorted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn builder(budget: &MemoryBudget) -> PostingsBuilder {
        let place = SpoolPlace::in_memory(budget.clone());
        let mut builder = PostingsBuilder::new(50, place).unwrap();
        for series in 0..50 {
            // Values are shared by names, as `0` by all three.
            let labels = [(9, series % 3), (2, series), (5, series / 10)];
            let labels = labels.map(|(name, value)| (SymbolRef(name), SymbolRef(value)));
            builder.add(100 + series, &labels).unwrap();
        }
        builder
    }

    #[test]
    fn lists_do_not_depend_on_the_size_of_a_batch() {
        let sorted = builder(&MemoryBudget::unlimited()).finish().unwrap();
        assert_eq!(sorted.series_count(), 50);
        assert!(sorted.all_series().eq(100..150));
        assert!(sorted.pairs().is_sorted());
        let lists_of = |postings_max| {
            let mut lists = Vec::new();
            let visit = |list: &[u32]| {
                lists.push(list.to_vec());
                Ok(())
            };
            sorted.for_each_list_batched(postings_max, visit).unwrap();
            lists
        };
        let expected = lists_of(usize::MAX);
        assert_eq!(expected.len(), 50 + 5 + 3);
        assert_eq!(expected[..2], [[100], [101]]);
        assert_eq!(expected[50], (100..110).collect::<Vec<_>>());
        assert_eq!(expected[55], (100..150).step_by(3).collect::<Vec<_>>());
        for postings_max in [0, 1, 7, 49, 50, 51, 149] {
            assert_eq!(lists_of(postings_max), expected);
        }
    }

    #[test]
    fn what_is_held_is_leased() {
        let budget = MemoryBudget::new("index", 1 << 20);
        let sorted = builder(&budget).finish().unwrap();
        assert!(budget.used_bytes() >= 58 * PAIR_BYTES + 50 * 4 + 50 * 5 * 4);
        let _others = budget.lease(budget.room_bytes() - 8).unwrap();
        let error = sorted.for_each_list(|_| Ok(())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LimitExceeded);
        drop((sorted, _others));
        assert_eq!(budget.used_bytes(), 0);
        let place = SpoolPlace::in_memory(budget);
        let error = PostingsBuilder::new(1 << 20, place).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LimitExceeded);
    }
}
