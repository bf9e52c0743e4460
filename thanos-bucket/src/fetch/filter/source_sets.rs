//! Sets of block ids: which of them are subsets of others.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::ops::Range;

use thanos_core::block::BlockId;

/// No place in a list.
const END: u32 = u32::MAX;

/// Sets whose members are numbered.
#[derive(Debug, Default)]
pub(super) struct SourceSets {
    numbers: HashMap<BlockId, u32, FoldedState>,
    /// The members of all sets, each set sorted.
    members: Vec<u32>,
    sets: Vec<Range<usize>>,
}

impl SourceSets {
    /// Returns no sets, with room for `members` members.
    pub(super) fn with_capacity(members: usize) -> Self {
        Self {
            // Most sources are sources of several blocks.
            numbers: HashMap::with_capacity_and_hasher(members / 2, FoldedState::default()),
            members: Vec::with_capacity(members),
            sets: Vec::new(),
        }
    }

    /// Appends a set.
    pub(super) fn push(&mut self, ids: &[BlockId]) {
        let start = self.members.len();
        for id in ids {
            let next = u32::try_from(self.numbers.len()).unwrap_or(END);
            self.members.push(*self.numbers.entry(*id).or_insert(next));
        }
        let set = &mut self.members[start..];
        set.sort_unstable();
        let mut len = usize::from(!set.is_empty());
        for place in 1..set.len() {
            if set[place] != set[len - 1] {
                set[len] = set[place];
                len += 1;
            }
        }
        self.members.truncate(start + len);
        self.sets.push(start..start + len);
    }

    /// Returns the members of the set at `place`, sorted.
    pub(super) fn set(&self, place: usize) -> &[u32] {
        self.sets
            .get(place)
            .map_or(&[], |range| &self.members[range.clone()])
    }

    /// Calls `covered` with the place of each set that is a subset of one before it in `order`, which goes from larger to
    /// smaller sets. Sets that are covered cover nothing themselves: whoever covers them does.
    ///
    /// Only the sets that share the rarest member of a set are compared with it, so that the time grows with the
    /// number of members and not with the square of the number of sets.
    pub(super) fn covered(&self, order: &[usize], mut covered: impl FnMut(usize)) {
        let mut holders = Holders::new(self.numbers.len(), self.members.len());
        for &place in order {
            let set = self.set(place);
            let rarest = set.iter().min_by_key(|member| holders.count(**member));
            let covers = |holder| is_subset(set, self.set(holder));
            if rarest.is_some_and(|member| holders.of(*member).any(covers)) {
                covered(place);
                continue;
            }
            for member in set {
                holders.add(*member, place);
            }
        }
    }
}

/// For each member the sets that have it, as lists in one allocation.
#[derive(Debug)]
struct Holders {
    /// The number of sets and the last of them.
    heads: Vec<(u32, u32)>,
    /// A set, and the place of the next link.
    links: Vec<(u32, u32)>,
}

impl Holders {
    fn new(members: usize, links: usize) -> Self {
        Self {
            heads: vec![(0, END); members],
            links: Vec::with_capacity(links),
        }
    }

    fn count(&self, member: u32) -> u32 {
        self.heads
            .get(member as usize)
            .map_or(0, |(count, _)| *count)
    }

    fn of(&self, member: u32) -> impl Iterator<Item = usize> {
        let mut next = self
            .heads
            .get(member as usize)
            .map_or(END, |(_, last)| *last);
        std::iter::from_fn(move || {
            let (set, rest) = *self.links.get(next as usize)?;
            next = rest;
            Some(set as usize)
        })
    }

    fn add(&mut self, member: u32, set: usize) {
        let (Ok(set), Ok(link)) = (u32::try_from(set), u32::try_from(self.links.len())) else {
            return;
        };
        if let Some((count, last)) = self.heads.get_mut(member as usize) {
            self.links.push((set, *last));
            (*count, *last) = (*count + 1, link);
        }
    }
}

/// Reports whether `larger` has all of `smaller`; both are sorted.
fn is_subset(smaller: &[u32], larger: &[u32]) -> bool {
    let mut rest = larger.iter();
    smaller.len() <= larger.len()
        && smaller.iter().all(|wanted| {
            let found = rest.find(|member| *member >= wanted);
            found == Some(wanted)
        })
}

/// Hashes ids, most bits of which are random already, by one seeded multiplication: a set of ids that collide cannot be
/// prepared.
#[derive(Debug, Clone)]
pub(super) struct FoldedState(u64, u64);

impl Default for FoldedState {
    fn default() -> Self {
        let state = RandomState::new();
        Self(state.hash_one(0), state.hash_one(1))
    }
}

impl BuildHasher for FoldedState {
    type Hasher = FoldedHasher;

    fn build_hasher(&self) -> FoldedHasher {
        FoldedHasher(self.0, self.1)
    }
}

#[derive(Debug)]
pub(super) struct FoldedHasher(u64, u64);

impl Hasher for FoldedHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u128(u128::from(*byte));
        }
    }

    fn write_u128(&mut self, id: u128) {
        let (high, low) = halves(id);
        let product = u128::from(high ^ self.0) * u128::from(low ^ self.1);
        let (high, low) = halves(product);
        self.0 = high ^ low;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

fn halves(number: u128) -> (u64, u64) {
    let low = number & u128::from(u64::MAX);
    let half = |bits: u128| u64::try_from(bits).unwrap_or(u64::MAX);
    (half(number >> 64), half(low))
}
