//! Reads of chunks that are much shorter than the parts in which they lie.
//!
//! A part that is fetched for a few of its bytes is mostly read in vain: series that lie scattered would cost many times
//! what they are. Such a read fetches exactly what it wants and keeps it under its own range. What was wanted of a part
//! adds up; at three quarters of its length it is fetched as a whole and serves all further reads: a part that is read
//! here and there costs little more than what is wanted of it, one that is wanted as a whole at most two and a third
//! times itself.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::ops::Range;

use parking_lot::Mutex;

/// Of how many parts it is remembered at least what was wanted of them: 2 MiB in all.
const PARTS_MAX: usize = 1 << 16;

/// What is done with a read that is much shorter than the parts in which it lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ShortReads {
    /// Only what is wanted is fetched, until that has become most of a part.
    #[default]
    Exact,
    /// The parts are fetched as wholes, as Thanos does.
    WholeParts,
}

/// What was wanted of parts that were not fetched as wholes.
#[derive(Debug, Default)]
pub(super) struct ShortReadBytes {
    hasher: RandomState,
    generations: Mutex<Generations>,
}

/// The older one is forgotten when the younger one is full.
#[derive(Debug, Default)]
struct Generations {
    young: HashMap<u64, u64>,
    old: HashMap<u64, u64>,
}

impl ShortReadBytes {
    /// Notes that `bytes` of the part of `name` that begins at `start` are wanted, and returns how many were in all.
    fn note(&self, name: &str, start: u64, bytes: u64) -> u64 {
        let part = self.hasher.hash_one((name, start));
        let mut generations = self.generations.lock();
        let Generations { young, old } = &mut *generations;
        if young.len() >= PARTS_MAX && !young.contains_key(&part) {
            *old = std::mem::take(young);
        }
        let known = young.entry(part);
        let wanted = known.or_insert_with(|| old.remove(&part).unwrap_or(0));
        *wanted = wanted.saturating_add(bytes);
        *wanted
    }

    /// Notes a read of `range` of `name` for which the parts of `part_bytes` that begin at `missing` are not known, and
    /// reports whether reading it as it is costs much less than fetching them.
    pub(super) fn is_read_exactly(
        &self,
        name: &str,
        range: &Range<u64>,
        missing: &[u64],
        part_bytes: u64,
    ) -> bool {
        let wanted = missing.iter().map(|start| {
            let end = start.saturating_add(part_bytes).min(range.end);
            self.note(name, *start, end.saturating_sub(range.start.max(*start)))
        });
        let wanted = wanted.fold(0, u64::saturating_add);
        // Of a long range most parts may be known.
        let longer = wanted.max(range.end - range.start);
        is_short(longer, missing.len(), part_bytes)
    }
}

/// Reports whether `bytes` are much less than so many parts of `part_bytes`.
pub(super) fn is_short(bytes: u64, parts: usize, part_bytes: u64) -> bool {
    let parts_bytes = part_bytes.saturating_mul(parts as u64);
    bytes < parts_bytes - parts_bytes / 4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_fetched_when_most_of_it_was_wanted() {
        let seen = ShortReadBytes::default();
        let exactly =
            |name, range, missing: &[u64]| seen.is_read_exactly(name, &range, missing, 100);
        assert!(exactly("a", 10..50, &[0]));
        assert!(exactly("a", 50..80, &[0]), "70 of 100");
        assert!(!exactly("a", 80..90, &[0]), "80 of 100");
        assert!(exactly("b", 80..90, &[0]), "another object");
        assert!(exactly("a", 90..110, &[100]), "another part");
        assert!(exactly("c", 90..110, &[0, 100]));
        assert!(!exactly("c", 10..190, &[0, 100]));
        assert!(!exactly("d", 10..410, &[400]), "the others are known");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let seen = ShortReadBytes::default();
        for start in 0..3 * PARTS_MAX as u64 {
            seen.note("a", start, 1);
            assert_eq!(seen.note("often", 0, 1), start + 1);
        }
        let generations = seen.generations.lock();
        assert!(generations.young.len() <= PARTS_MAX && generations.old.len() <= PARTS_MAX);
    }
}
