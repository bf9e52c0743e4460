//! Sets with a bit for every reference that there can be: for lists that do not fit into memory together.

use std::ops::RangeInclusive;

use super::bitset::Bitset;
use super::combine::{Combined, StoredList};
use super::decode::{Block, empty_block, ends};
use crate::budget::{Lease, MemoryBudget};
use crate::error::{Error, Result};

/// A set of references within a range, on lease. Its memory depends on the range alone.
#[derive(Debug)]
pub struct DenseSet {
    range: RangeInclusive<u32>,
    bits: Bitset,
    block: Box<Block>,
    _lease: Lease,
}

impl DenseSet {
    /// Returns the bytes that a set of references in `range` takes.
    pub fn bytes_of(range: &RangeInclusive<u32>) -> u64 {
        let (first, last) = (*range.start(), *range.end());
        (Bitset::words_between(first, last.max(first)) * size_of::<u64>()) as u64
    }

    /// Returns an empty set for references in `range`.
    ///
    /// # Errors
    ///
    /// `LimitExceeded` when `budget` has no room for it.
    pub fn new(range: RangeInclusive<u32>, budget: &MemoryBudget) -> Result<Self> {
        let lease = budget.lease(Self::bytes_of(&range))?;
        let (first, last) = (*range.start(), *range.end());
        Ok(Self {
            bits: Bitset::between(first, last.max(first)),
            range,
            block: Box::new(empty_block()),
            _lease: lease,
        })
    }

    /// Adds the references of a list.
    ///
    /// # Errors
    ///
    /// `Corrupt` when the list is damaged or names a series outside of the range.
    pub fn insert(&mut self, list: StoredList<'_>) -> Result<()> {
        let references = list.open()?.checked(&mut self.block)?;
        if let Some((first, last)) = ends(references)
            && !(self.range.contains(&first) && self.range.contains(&last))
        {
            let range = &self.range;
            let message = format!(
                "postings name series {first} to {last}, but there are {range:?} at the most"
            );
            return Err(Error::corrupt(message).at(list.offset));
        }
        self.bits.insert_all(references);
        Ok(())
    }

    /// Keeps what is in `other` too, which has the same range.
    pub fn intersect(&mut self, other: &Self) {
        self.combine(other, |ours, theirs| ours & theirs);
    }

    /// Removes what is in `other`, which has the same range.
    pub fn subtract(&mut self, other: &Self) {
        self.combine(other, |ours, theirs| ours & !theirs);
    }

    fn combine(&mut self, other: &Self, word: impl Fn(u64, u64) -> u64) {
        assert_eq!(self.range, other.range, "sets of different ranges");
        self.bits.combine(&other.bits, word);
    }

    /// Returns the references.
    ///
    /// # Errors
    ///
    /// `LimitExceeded` when `budget` has no room for them.
    pub fn into_series(self, budget: &MemoryBudget) -> Result<Combined> {
        let lease = budget.lease((self.bits.count() * size_of::<u32>()) as u64)?;
        let series = self.bits.to_list();
        Ok(Combined { series, lease })
    }
}
