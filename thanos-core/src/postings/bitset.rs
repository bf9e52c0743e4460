//! A plain bitmap over a stretch of references: the scratch space of the dense cases.

use roaring::RoaringBitmap;

use super::decode::within;
use super::search::Reference;

/// One bit for each reference from `base` on.
#[derive(Debug)]
pub(super) struct Bitset {
    /// A multiple of 64.
    base: u32,
    words: Vec<u64>,
}

impl Bitset {
    /// Returns an empty bitmap for references from `first` to `last` if clearing and scanning it costs less than
    /// handling `items` references one by one: at most a word for each of them.
    pub(super) fn if_dense(first: u32, last: u32, items: usize) -> Option<Self> {
        Self::if_at_most(first, last, items)
    }

    /// Returns an empty bitmap for references from `first` to `last` if clearing and scanning it costs less than
    /// sorting `items` references, which takes about 14 ns each against a third of a nanosecond for a word.
    pub(super) fn if_cheaper_than_sorting(first: u32, last: u32, items: usize) -> Option<Self> {
        /// Below what time allows, so that a bitmap takes at most 64 bytes of memory for each reference.
        const WORDS_PER_ITEM: usize = 8;
        Self::if_at_most(first, last, items.saturating_mul(WORDS_PER_ITEM))
    }

    fn if_at_most(first: u32, last: u32, words_max: usize) -> Option<Self> {
        let words = Self::words_between(first, last);
        (words <= words_max).then(|| Self::between(first, last))
    }

    /// Returns the bytes of a bitmap for references from `first` to `last` if it is to be used to unite `items`
    /// references: it may be larger than their list where both are small.
    pub(super) fn bytes_if_smaller_than_sorting(
        first: u32,
        last: u32,
        items: usize,
    ) -> Option<u64> {
        const SMALL_WORDS: usize = 64 << 10;
        let words = Self::words_between(first, last);
        let words_max = items.saturating_mul(8).min(SMALL_WORDS).max(items / 2);
        (words <= words_max).then_some((words * size_of::<u64>()) as u64)
    }

    /// Returns the number of words of a bitmap for references from `first` to `last`.
    pub(super) fn words_between(first: u32, last: u32) -> usize {
        (last / 64 - first / 64) as usize + 1
    }

    /// Returns an empty bitmap for references from `first` to `last`.
    pub(super) fn between(first: u32, last: u32) -> Self {
        Self {
            base: first & !63,
            words: vec![0; Self::words_between(first, last)],
        }
    }

    /// Adds the references of `list`, all of which lie in the stretch.
    pub(super) fn insert_all<R: Reference>(&mut self, list: &[R]) {
        for reference in list {
            let bit = reference.get() - self.base;
            self.words[(bit / 64) as usize] |= 1 << (bit % 64);
        }
    }

    /// Adds those references of `list`, which ascends, that lie in the stretch.
    pub(super) fn insert_within<R: Reference>(&mut self, list: &[R]) {
        self.insert_all(within(list, (self.base, self.end())));
    }

    /// Returns the last reference that has a bit.
    fn end(&self) -> u32 {
        let span = (self.words.len() * 64).saturating_sub(1);
        self.base
            .saturating_add(u32::try_from(span).unwrap_or(u32::MAX))
    }

    /// Adds the references that `iter` yields, all of which lie in the stretch.
    pub(super) fn insert_iter(&mut self, iter: impl Iterator<Item = u32>) {
        for reference in iter {
            let bit = reference - self.base;
            self.words[(bit / 64) as usize] |= 1 << (bit % 64);
        }
    }

    /// Reports whether `reference` is there; one outside the stretch is not.
    #[inline]
    pub(super) fn contains(&self, reference: u32) -> bool {
        let bit = reference.wrapping_sub(self.base);
        let word = self.words.get((bit / 64) as usize);
        word.is_some_and(|word| word >> (bit % 64) & 1 == 1)
    }

    /// Sets each word to what `word` makes of it and the one of `other`, which has the same stretch.
    pub(super) fn combine(&mut self, other: &Self, word: impl Fn(u64, u64) -> u64) {
        for (ours, theirs) in self.words.iter_mut().zip(&other.words) {
            *ours = word(*ours, *theirs);
        }
    }

    /// Returns the number of 64-reference words of the stretch.
    pub(super) fn word_count(&self) -> usize {
        self.words.len()
    }

    /// Returns the number of references.
    pub(super) fn count(&self) -> usize {
        let ones = self.words.iter().map(|word| word.count_ones() as usize);
        ones.sum()
    }

    /// Returns the references as a list.
    pub(super) fn to_list(&self) -> Vec<u32> {
        let mut list = Vec::with_capacity(self.count());
        let mut start = self.base;
        for word in &self.words {
            let mut left = *word;
            while left != 0 {
                list.push(start + left.trailing_zeros());
                left &= left - 1;
            }
            start = start.wrapping_add(64);
        }
        list
    }

    /// Returns the references as a roaring bitmap.
    pub(super) fn into_bitmap(self) -> RoaringBitmap {
        let mut bytes = Vec::with_capacity(self.words.len() * 8);
        for word in &self.words {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        RoaringBitmap::from_lsb0_bytes(self.base, &bytes)
    }
}
