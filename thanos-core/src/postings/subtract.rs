//! Difference.

use super::bitset::Bitset;
use super::intersect::{filter, skip_to};
use super::{GALLOP_RATIO, Postings, Repr, bitmap_of};

pub(super) fn subtract(from: Postings, what: &Postings) -> Postings {
    match (from.0, &what.0) {
        (Repr::List(from), Repr::List(what)) => Postings::from_list(subtract_lists(from, what)),
        (Repr::List(mut from), Repr::Bitmap(what)) => {
            from.retain(|reference| !what.contains(*reference));
            Postings::from_list(from)
        }
        (Repr::Bitmap(from), Repr::Bitmap(what)) => Postings(Repr::Bitmap(from - what)),
        (Repr::Bitmap(mut from), Repr::List(what)) => {
            if (what.len() * GALLOP_RATIO) as u64 <= from.len() {
                for reference in what {
                    from.remove(*reference);
                }
            } else {
                from -= bitmap_of(what);
            }
            Postings(Repr::Bitmap(from))
        }
    }
}

fn subtract_lists(from: Vec<u32>, what: &[u32]) -> Vec<u32> {
    let (Some(first), Some(last)) = (what.first(), what.last()) else {
        return from;
    };
    if from.len() * GALLOP_RATIO <= what.len() {
        return keep_absent(from, what);
    }
    match Bitset::if_dense(*first, *last, from.len() + what.len()) {
        Some(mut bits) => {
            bits.insert_all(what);
            filter(&from, |reference| !bits.contains(reference))
        }
        None => merge(&from, what),
    }
}

fn keep_absent(mut from: Vec<u32>, mut what: &[u32]) -> Vec<u32> {
    from.retain(|reference| {
        what = skip_to(what, *reference);
        what.first() != Some(reference)
    });
    from
}

/// Walks both lists without a branch that depends on the data.
fn merge(from: &[u32], what: &[u32]) -> Vec<u32> {
    let mut kept = vec![0; from.len()];
    let (mut i, mut j, mut count) = (0, 0, 0);
    while i < from.len() && j < what.len() {
        let (a, b) = (from[i], what[j]);
        kept[count] = a;
        count += usize::from(a < b);
        i += usize::from(a <= b);
        j += usize::from(b <= a);
    }
    kept.truncate(count);
    kept.extend_from_slice(from.get(i..).unwrap_or_default());
    kept
}
