//! Intersection.

use roaring::RoaringBitmap;

use super::bitset::Bitset;
use super::decode::{ends, within};
use super::search::{LOOK_UP_RATIO, retain_found, retain_merged, skip_to};
use super::{GALLOP_RATIO, Postings, Repr, bitmap_of};

/// Intersects smallest first, so that every step works on little; copies at most the smallest one.
pub(super) fn intersect<'p>(sets: impl IntoIterator<Item = &'p Postings>) -> Postings {
    let mut sets: Vec<&Postings> = sets.into_iter().collect();
    sets.sort_by_cached_key(|set| set.len());
    let mut sets = sets.into_iter();
    let Some(smallest) = sets.next() else {
        return Postings::empty();
    };
    let Some(next) = sets.next() else {
        return smallest.clone();
    };
    let mut result = intersect_two(smallest, next);
    for set in sets {
        if result.is_empty() {
            break;
        }
        result = intersect_two(&result, set);
    }
    result
}

fn intersect_two(small: &Postings, large: &Postings) -> Postings {
    match (&small.0, &large.0) {
        (Repr::List(small), Repr::List(large)) => {
            Postings::from_list(intersect_lists(small, large))
        }
        (Repr::Bitmap(small), Repr::Bitmap(large)) => Postings(Repr::Bitmap(small & large)),
        (Repr::List(list), Repr::Bitmap(bitmap)) | (Repr::Bitmap(bitmap), Repr::List(list)) => {
            intersect_mixed(list, bitmap)
        }
    }
}

/// A list that is short beside the bitmap is looked up, another one is made a bitmap.
fn intersect_mixed(list: &[u32], bitmap: &RoaringBitmap) -> Postings {
    if (list.len() * GALLOP_RATIO) as u64 <= bitmap.len() {
        let found = list.iter().filter(|one| bitmap.contains(**one));
        return Postings::from_list(found.copied().collect());
    }
    Postings(Repr::Bitmap(bitmap_of(list) & bitmap))
}

/// Returns the references that both lists have.
fn intersect_lists(small: &[u32], large: &[u32]) -> Vec<u32> {
    let (Some(small_ends), Some(large_ends)) = (ends(small), ends(large)) else {
        return Vec::new();
    };
    let (small, large) = (within(small, large_ends), within(large, small_ends));
    // Cutting may have left the smaller list the larger one.
    let (mut found, large) = match small.len() <= large.len() {
        true => (small.to_vec(), large),
        false => (large.to_vec(), small),
    };
    let Some((first, last)) = ends(large) else {
        return Vec::new();
    };
    if found.len() * LOOK_UP_RATIO <= large.len() {
        retain_found(&mut found, large, true);
    } else if let Some(mut bits) = Bitset::if_dense(first, last, large.len()) {
        bits.insert_all(large);
        filter(&mut found, |reference| bits.contains(reference));
    } else {
        retain_merged(&mut found, large, true);
    }
    found
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
