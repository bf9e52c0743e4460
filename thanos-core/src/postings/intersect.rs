//! Intersection.

use std::cmp::Reverse;

use roaring::RoaringBitmap;

use super::bitset::Bitset;
use super::{GALLOP_RATIO, Postings, Repr, bitmap_of};

/// Intersects smallest first, so that every step works on little.
pub(super) fn intersect(mut sets: Vec<Postings>) -> Postings {
    sets.sort_by_cached_key(|set| Reverse(set.len()));
    let Some(mut result) = sets.pop() else {
        return Postings::empty();
    };
    while let Some(set) = sets.pop() {
        if result.is_empty() {
            return Postings::empty();
        }
        result = intersect_two(result, set);
    }
    result
}

fn intersect_two(small: Postings, large: Postings) -> Postings {
    match (small.0, large.0) {
        (Repr::List(small), Repr::List(large)) => {
            Postings::from_list(intersect_lists(&small, &large))
        }
        (Repr::Bitmap(small), Repr::Bitmap(large)) => Postings(Repr::Bitmap(small & large)),
        (Repr::List(list), Repr::Bitmap(bitmap)) | (Repr::Bitmap(bitmap), Repr::List(list)) => {
            intersect_mixed(list, bitmap)
        }
    }
}

/// A list that is short beside the bitmap is looked up, another one is made a bitmap.
fn intersect_mixed(mut list: Vec<u32>, bitmap: RoaringBitmap) -> Postings {
    if (list.len() * GALLOP_RATIO) as u64 <= bitmap.len() {
        list.retain(|reference| bitmap.contains(*reference));
        return Postings::from_list(list);
    }
    Postings(Repr::Bitmap(bitmap_of(&list) & bitmap))
}

pub(super) fn intersect_lists(a: &[u32], b: &[u32]) -> Vec<u32> {
    let (a, b) = overlapping(a, b);
    let (small, large) = if a.len() <= b.len() { (a, b) } else { (b, a) };
    let (Some(first), Some(last)) = (large.first(), large.last()) else {
        return Vec::new();
    };
    if small.len() * GALLOP_RATIO <= large.len() {
        return gallop(small, large);
    }
    match Bitset::if_dense(*first, *last, large.len()) {
        Some(mut bits) => {
            bits.insert_all(large);
            filter(small, |reference| bits.contains(reference))
        }
        None => merge(small, large),
    }
}

/// Cuts both lists to the stretch in which both have references.
fn overlapping<'a>(a: &'a [u32], b: &'a [u32]) -> (&'a [u32], &'a [u32]) {
    let (Some(a_ends), Some(b_ends)) = (ends(a), ends(b)) else {
        return (&[], &[]);
    };
    let (first, last) = (a_ends.0.max(b_ends.0), a_ends.1.min(b_ends.1));
    (between(a, first, last), between(b, first, last))
}

fn ends(list: &[u32]) -> Option<(u32, u32)> {
    Some((*list.first()?, *list.last()?))
}

fn between(list: &[u32], first: u32, last: u32) -> &[u32] {
    let start = list.partition_point(|reference| *reference < first);
    let end = list.partition_point(|reference| *reference <= last);
    list.get(start..end).unwrap_or_default()
}

/// Keeps the references that satisfy `keep`, without a branch for each.
pub(super) fn filter(list: &[u32], keep: impl Fn(u32) -> bool) -> Vec<u32> {
    let mut kept = vec![0; list.len()];
    let mut count = 0;
    for reference in list {
        kept[count] = *reference;
        count += usize::from(keep(*reference));
    }
    kept.truncate(count);
    kept
}

/// Walks both lists without a branch that depends on the data.
fn merge(small: &[u32], large: &[u32]) -> Vec<u32> {
    let mut found = vec![0; small.len()];
    let (mut i, mut j, mut count) = (0, 0, 0);
    while i < small.len() && j < large.len() {
        let (a, b) = (small[i], large[j]);
        found[count] = a;
        count += usize::from(a == b);
        i += usize::from(a <= b);
        j += usize::from(b <= a);
    }
    found.truncate(count);
    found
}

/// Looks every reference of `small` up in `large` with steps that double.
fn gallop(small: &[u32], mut large: &[u32]) -> Vec<u32> {
    let mut found = Vec::with_capacity(small.len());
    for reference in small {
        large = skip_to(large, *reference);
        match large.first() {
            Some(next) if next == reference => found.push(*reference),
            Some(_) => {}
            None => break,
        }
    }
    found
}

/// Reports whether no reference is in both lists; stops at the first that is.
pub(super) fn are_disjoint(mut a: &[u32], mut b: &[u32]) -> bool {
    while let (Some(from_a), Some(_)) = (a.first(), b.first()) {
        b = skip_to(b, *from_a);
        match b.first() {
            Some(from_b) if from_a == from_b => return false,
            Some(from_b) => a = skip_to(a, *from_b),
            None => return true,
        }
    }
    true
}

/// Drops the references below `reference` from the front of `list`.
pub(super) fn skip_to(list: &[u32], reference: u32) -> &[u32] {
    let mut step = 1;
    while list.get(step).is_some_and(|found| *found < reference) {
        step *= 2;
    }
    // The answer lies behind the step before and not behind this one.
    let (low, high) = (step / 2, list.len().min(step + 1));
    let window = list.get(low..high).unwrap_or_default();
    let start = low + window.partition_point(|found| *found < reference);
    list.get(start..).unwrap_or_default()
}
