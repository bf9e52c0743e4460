//! Intersection.

use std::cmp::Reverse;

use roaring::RoaringBitmap;

use super::bitset::Bitset;
use super::search::{retain_found, skip_to};
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
            Postings::from_list(intersect_lists(small, &large))
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

/// Keeps the references of `small` that `large` has too, in place.
fn intersect_lists(mut small: Vec<u32>, large: &[u32]) -> Vec<u32> {
    let large = cut_to_overlap(&mut small, large);
    let (Some(first), Some(last)) = (large.first(), large.last()) else {
        return Vec::new();
    };
    // Cutting may have left the smaller list the larger one: that costs speed only.
    if small.len() * GALLOP_RATIO <= large.len() {
        retain_found(&mut small, large, true);
    } else if let Some(mut bits) = Bitset::if_dense(*first, *last, large.len()) {
        bits.insert_all(large);
        filter(&mut small, |reference| bits.contains(reference));
    } else {
        retain_merged(&mut small, large);
    }
    small
}

/// Cuts both lists to the stretch in which both have references.
fn cut_to_overlap<'a>(small: &mut Vec<u32>, large: &'a [u32]) -> &'a [u32] {
    let (Some(small_ends), Some(large_ends)) = (ends(small), ends(large)) else {
        return &[];
    };
    let first = small_ends.0.max(large_ends.0);
    let last = small_ends.1.min(large_ends.1);
    small.truncate(small.partition_point(|reference| *reference <= last));
    small.drain(..small.partition_point(|reference| *reference < first));
    let start = large.partition_point(|reference| *reference < first);
    let end = large.partition_point(|reference| *reference <= last);
    large.get(start..end).unwrap_or_default()
}

fn ends(list: &[u32]) -> Option<(u32, u32)> {
    Some((*list.first()?, *list.last()?))
}

/// Keeps the references that satisfy `keep`, without a branch for each.
pub(super) fn filter(list: &mut Vec<u32>, keep: impl Fn(u32) -> bool) {
    let mut count = 0;
    for i in 0..list.len() {
        let reference = list[i];
        list[count] = reference;
        count += usize::from(keep(reference));
    }
    list.truncate(count);
}

/// Walks both lists without a branch that depends on the data.
fn retain_merged(small: &mut Vec<u32>, large: &[u32]) {
    let (mut i, mut j, mut count) = (0, 0, 0);
    while i < small.len() && j < large.len() {
        let (a, b) = (small[i], large[j]);
        // Not more are kept than were read, so that nothing unread is overwritten.
        small[count] = a;
        count += usize::from(a == b);
        i += usize::from(a <= b);
        j += usize::from(b <= a);
    }
    small.truncate(count);
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
