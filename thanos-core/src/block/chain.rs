//! Samples of one series from several blocks as one run: the choice that Prometheus' querier makes.
//!
//! COMPAT: when several blocks hold a sample at the same time, Prometheus keeps "a random one", which is not random
//! but falls out of the order of its heap (`storage.chainSampleIterator` over Go's `container/heap`). To give the
//! same answers over overlapping blocks, the heap is the same here, down to the order of equals. A merge
//! of blocks makes the same choice, over its chunks in another order.

use crate::chunk::{SampleRef, Samples};
use crate::error::Result;
use crate::time::Timestamp;

/// Calls `emit` for the samples of `sources` in time order, one for each time.
///
/// The sources are those of one series, in the order in which Prometheus' merge of the blocks comes to them.
///
/// # Errors
///
/// The first one of `emit`, which stops the walk.
pub fn chain_samples<'a>(
    sources: &'a [Samples],
    mut emit: impl FnMut(Timestamp, SampleRef<'a>) -> Result<()>,
) -> Result<()> {
    let mut chain = Chain::new(sources);
    while let Some((source, index)) = chain.next() {
        let samples = &sources[source];
        let time = Timestamp::from_millis(samples.times()[index]);
        emit(time, samples.get(index))?;
    }
    Ok(())
}

/// Calls `emit` with source and index of the samples that [`chain_samples`] takes.
pub(crate) fn chain_order(sources: &[Samples], mut emit: impl FnMut(usize, usize)) {
    let mut chain = Chain::new(sources);
    while let Some((source, index)) = chain.next() {
        emit(source, index);
    }
}

#[derive(Debug)]
struct Chain<'a> {
    sources: &'a [Samples],
    /// How many samples of each source were taken; the last taken one is where the source stands.
    taken: Vec<usize>,
    /// The sources that wait, by the time at which they stand.
    waiting: GoHeap<i64>,
    current: usize,
    last_time: i64,
}

impl<'a> Chain<'a> {
    fn new(sources: &'a [Samples]) -> Self {
        let mut chain = Self {
            sources,
            taken: vec![0; sources.len()],
            waiting: GoHeap::default(),
            current: 0,
            last_time: i64::MIN,
        };
        for source in 1..sources.len() {
            if let Some(time) = chain.advance(source) {
                chain.waiting.push(time, source);
            }
        }
        chain
    }

    /// Moves `source` to its next sample and returns the time there.
    fn advance(&mut self, source: usize) -> Option<i64> {
        let time = *self.sources.get(source)?.times().get(self.taken[source])?;
        self.taken[source] += 1;
        Some(time)
    }

    /// Returns source and index of the next sample.
    fn next(&mut self) -> Option<(usize, usize)> {
        self.last_time = self.next_time()?;
        Some((self.current, self.taken[self.current] - 1))
    }

    /// Makes the source of the next sample the current one and returns the time of the sample.
    fn next_time(&mut self) -> Option<i64> {
        loop {
            if let Some(time) = self.advance(self.current) {
                if time == self.last_time {
                    continue;
                }
                match self.waiting.first() {
                    Some(first) if *first <= time => self.waiting.push(time, self.current),
                    _ => return Some(time),
                }
            }
            let (time, source) = self.waiting.pop()?;
            self.current = source;
            if time != self.last_time {
                return Some(time);
            }
        }
    }
}

/// A binary heap that leaves equal keys in the order in which Go's `container/heap` leaves them.
#[derive(Debug)]
pub(crate) struct GoHeap<K> {
    items: Vec<(K, usize)>,
}

impl<K> Default for GoHeap<K> {
    fn default() -> Self {
        Self { items: Vec::new() }
    }
}

impl<K: Ord> GoHeap<K> {
    /// Adds `id` with its key.
    pub(crate) fn push(&mut self, key: K, id: usize) {
        self.items.push((key, id));
        let mut child = self.items.len() - 1;
        while child > 0 {
            let parent = (child - 1) / 2;
            if !self.less(child, parent) {
                break;
            }
            self.items.swap(child, parent);
            child = parent;
        }
    }

    /// Removes the smallest key and its id.
    pub(crate) fn pop(&mut self) -> Option<(K, usize)> {
        let last = self.items.len().checked_sub(1)?;
        self.items.swap(0, last);
        let popped = self.items.pop();
        let mut parent = 0;
        loop {
            let (left, right) = (2 * parent + 1, 2 * parent + 2);
            if left >= last {
                break;
            }
            let smaller = if right < last && self.less(right, left) {
                right
            } else {
                left
            };
            if !self.less(smaller, parent) {
                break;
            }
            self.items.swap(smaller, parent);
            parent = smaller;
        }
        popped
    }

    /// Returns the smallest key.
    pub(crate) fn first(&self) -> Option<&K> {
        self.items.first().map(|(key, _)| key)
    }

    fn less(&self, i: usize, j: usize) -> bool {
        self.items[i].0 < self.items[j].0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn samples(source: u32, times: &[i64]) -> Samples {
        let mut samples = Samples::new();
        for time in times {
            samples.push_float(Timestamp::from_millis(*time), f64::from(source));
        }
        samples
    }

    fn chained(sources: &[&[i64]]) -> Vec<(i64, u32)> {
        let sources: Vec<Samples> = (0..)
            .zip(sources)
            .map(|(i, times)| samples(i, times))
            .collect();
        let mut out = Vec::new();
        let mut chain = Chain::new(&sources);
        while let Some((source, index)) = chain.next() {
            out.push((
                sources[source].times()[index],
                u32::try_from(source).unwrap(),
            ));
        }
        out
    }

    #[test]
    fn at_equal_times_the_waiting_source_wins() {
        // Worked out by hand from chainSampleIterator.Next: the source that reaches the time of a waiting one
        // joins the heap behind it.
        assert_eq!(chained(&[&[1, 2, 3], &[1, 2, 3]]), [(1, 1), (2, 1), (3, 1)]);
        assert_eq!(chained(&[&[2, 3], &[1, 2, 3]]), [(1, 1), (2, 0), (3, 0)]);
        assert_eq!(chained(&[&[1, 5], &[5], &[]]), [(1, 0), (5, 1)]);
        assert_eq!(chained(&[&[], &[4]]), [(4, 1)]);
        assert_eq!(chained(&[]), []);
    }

    proptest! {
        #[test]
        fn every_time_comes_once_and_in_order(
            sources in prop::collection::vec(prop::collection::btree_set(0_i64..30, 0..12), 0..6)
        ) {
            let lists: Vec<Vec<i64>> = sources.iter().map(|set| set.iter().copied().collect()).collect();
            let slices: Vec<&[i64]> = lists.iter().map(Vec::as_slice).collect();
            let out = chained(&slices);
            let all: std::collections::BTreeSet<i64> = sources.iter().flatten().copied().collect();
            prop_assert!(out.iter().map(|(time, _)| *time).eq(all));
            for (time, source) in out {
                prop_assert!(sources[source as usize].contains(&time));
            }
        }

        #[test]
        fn the_heap_sorts(keys in prop::collection::vec(0_u8..20, 0..40)) {
            let mut heap = GoHeap::default();
            for (id, key) in keys.iter().enumerate() {
                heap.push(*key, id);
            }
            let popped: Vec<u8> = std::iter::from_fn(|| heap.pop()).map(|(key, _)| key).collect();
            let mut sorted = keys;
            sorted.sort_unstable();
            prop_assert_eq!(popped, sorted);
        }
    }
}
