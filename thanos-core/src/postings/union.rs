//! Union.

use super::bitset::Bitset;
use super::{Postings, Repr};

/// A result with at least this many references for each 64 of its stretch stays a bitmap.
const BITMAP_DENSITY: usize = 8;

pub(super) fn union(mut sets: Vec<Postings>) -> Postings {
    sets.retain(|set| !set.is_empty());
    if sets.len() <= 1 {
        return sets.pop().unwrap_or_default();
    }
    let bounds = sets.iter().filter_map(Postings::bounds);
    let bounds = bounds.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)));
    let items: usize = sets.iter().map(Postings::len).sum();
    match bounds.and_then(|(first, last)| Bitset::if_cheaper_than_sorting(first, last, items)) {
        Some(bits) => union_dense(sets, bits),
        None => union_sparse(sets, items),
    }
}

fn union_dense(sets: Vec<Postings>, mut bits: Bitset) -> Postings {
    for set in &sets {
        match &set.0 {
            Repr::List(list) => bits.insert_all(list),
            Repr::Bitmap(bitmap) => bits.insert_iter(bitmap.iter()),
        }
    }
    if bits.count() >= bits.word_count() * BITMAP_DENSITY {
        return Postings(Repr::Bitmap(bits.into_bitmap()));
    }
    Postings::from_list(bits.to_list())
}

/// Sorts all references together: the sort finds the ascending runs and merges them.
fn union_sparse(sets: Vec<Postings>, items: usize) -> Postings {
    let mut list = Vec::with_capacity(items);
    for set in sets {
        match set.0 {
            Repr::List(part) => list.extend_from_slice(&part),
            Repr::Bitmap(bitmap) => list.extend(bitmap.iter()),
        }
    }
    list.sort();
    list.dedup();
    Postings::from_list(list)
}
