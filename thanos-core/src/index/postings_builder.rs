//! Collects which series have which label while series are written, and hands the lists out in order.
//!
//! Takes 4 bytes for each label of each series and for each symbol; handing out takes about as much again, but for many series only
//! some label values at a time, each time with one pass over what was collected.

use std::ops::Range;

use hashbrown::HashMap;

use super::format::SymbolRef;

/// The postings that are sorted at a time, unless there are more series: 64 MiB.
const BATCH_POSTINGS: usize = 16 << 20;

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
#[derive(Debug, Default)]
pub(super) struct PostingsBuilder {
    /// The pair met first with each symbol as its value: nearly every value has one name only.
    by_value: Vec<u32>,
    /// The other pairs.
    others: HashMap<(SymbolRef, SymbolRef), u32>,
    /// Numbered in the order in which they are met.
    pairs: Vec<LabelPair>,
    /// The pairs of all series, one series after another.
    labels: Vec<u32>,
    /// Reference of each series, and where its labels end in `labels`.
    series: Vec<(u32, usize)>,
}

impl PostingsBuilder {
    /// Returns a builder for labels among this many symbols.
    pub(super) fn new(symbol_count: u32) -> Self {
        Self {
            by_value: vec![NONE; symbol_count as usize],
            ..Self::default()
        }
    }

    /// Adds a series whose labels are among the symbols.
    pub(super) fn add(&mut self, reference: u32, labels: &[(SymbolRef, SymbolRef)]) {
        for (name, value) in labels {
            let id = self.pair(*name, *value);
            self.pairs[id as usize].series_count += 1;
            self.labels.push(id);
        }
        self.series.push((reference, self.labels.len()));
    }

    fn pair(&mut self, name: SymbolRef, value: SymbolRef) -> u32 {
        let first = self.by_value[value.0 as usize];
        if first != NONE && self.pairs[first as usize].name == name {
            return first;
        }
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

    /// Returns the references of all series.
    pub(super) fn all_series(&self) -> impl ExactSizeIterator<Item = u32> {
        self.series.iter().map(|(reference, _)| *reference)
    }

    /// Ends collecting: puts the pairs in the order of names and values.
    pub(super) fn finish(self) -> SortedPostings {
        let mut order: Vec<u32> = (0..).take(self.pairs.len()).collect();
        order.sort_unstable_by_key(|id| self.pairs.get(*id as usize));
        let mut rank_of = vec![0; order.len()];
        for (rank, id) in (0..).zip(&order) {
            if let Some(slot) = rank_of.get_mut(*id as usize) {
                *slot = rank;
            }
        }
        let pairs = order.iter().filter_map(|id| self.pairs.get(*id as usize));
        SortedPostings {
            pairs: pairs.copied().collect(),
            rank_of,
            labels: self.labels,
            series: self.series,
        }
    }
}

/// The collected labels, with the pairs in order.
#[derive(Debug)]
pub(super) struct SortedPostings {
    pairs: Vec<LabelPair>,
    /// The position in `pairs` of each number in `labels`.
    rank_of: Vec<u32>,
    labels: Vec<u32>,
    series: Vec<(u32, usize)>,
}

impl SortedPostings {
    /// Returns the pairs in the order of names and values.
    pub(super) fn pairs(&self) -> &[LabelPair] {
        &self.pairs
    }

    /// Calls `visit` with the list of every pair, in order.
    pub(super) fn for_each_list<E>(
        &self,
        visit: impl FnMut(&[u32]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.for_each_list_batched(BATCH_POSTINGS.max(self.series.len()), visit)
    }

    fn for_each_list_batched<E>(
        &self,
        postings_max: usize,
        mut visit: impl FnMut(&[u32]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut start = 0;
        while start < self.pairs.len() {
            let batch = self.batch(start, postings_max);
            let pairs = self.pairs.get(batch.clone()).unwrap_or_default();
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

    /// Returns the pairs from `start` on that are sorted together: as many as fit, but at least one.
    fn batch(&self, start: usize, postings_max: usize) -> Range<usize> {
        let mut end = start;
        let mut postings = 0;
        for pair in self.pairs.get(start..).unwrap_or_default() {
            postings += pair.series_count as usize;
            if end > start && postings > postings_max {
                break;
            }
            end += 1;
        }
        start..end
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
        let mut start = 0;
        for (reference, end) in &self.series {
            for id in &self.labels[start..*end] {
                let rank = self.rank_of[*id as usize] as usize;
                let Some(place) = rank.checked_sub(batch.start) else {
                    continue;
                };
                if let Some(next) = next.get_mut(place) {
                    sorted[*next] = *reference;
                    *next += 1;
                }
            }
            start = *end;
        }
        sorted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_do_not_depend_on_the_size_of_a_batch() {
        let mut builder = PostingsBuilder::new(50);
        for series in 0..50 {
            // Values are shared by names, as `0` by all three.
            let labels = [(9, series % 3), (2, series), (5, series / 10)];
            let labels = labels.map(|(name, value)| (SymbolRef(name), SymbolRef(value)));
            builder.add(100 + series, &labels);
        }
        assert_eq!(builder.all_series().len(), 50);
        let sorted = builder.finish();
        assert!(sorted.pairs().is_sorted());
        let lists_of = |postings_max| {
            let mut lists = Vec::new();
            let visit = |list: &[u32]| {
                lists.push(list.to_vec());
                Ok::<(), ()>(())
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
}
