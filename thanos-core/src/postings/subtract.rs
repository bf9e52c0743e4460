//! Difference.

use super::bitset::Bitset;
use super::intersect::filter;
use super::search::{LOOK_UP_RATIO, retain_found, retain_merged, skip_to};
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

/// Removes the references of `what` from `from`, in place.
fn subtract_lists(mut from: Vec<u32>, what: &[u32]) -> Vec<u32> {
    let (Some(first), Some(last)) = (what.first(), what.last()) else {
        return from;
    };
    if what.len() * GALLOP_RATIO <= from.len() {
        cut_out(&mut from, what);
    } else if from.len() * LOOK_UP_RATIO <= what.len() {
        retain_found(&mut from, what, false);
    } else if let Some(mut bits) = Bitset::if_dense(*first, *last, from.len() + what.len()) {
        bits.insert_all(what);
        filter(&mut from, |reference| !bits.contains(reference));
    } else {
        retain_merged(&mut from, what, false);
    }
    from
}

/// Moves the stretches of `from` between the few references of `what` together.
fn cut_out(from: &mut Vec<u32>, what: &[u32]) {
    let (mut read, mut kept) = (0, 0);
    for reference in what {
        let rest = skip_to(from.get(read..).unwrap_or_default(), *reference);
        let found = rest.first() == Some(reference);
        let end = from.len() - rest.len();
        from.copy_within(read..end, kept);
        kept += end - read;
        read = end + usize::from(found);
    }
    let end = from.len();
    from.copy_within(read..end, kept);
    from.truncate(kept + end - read);
}
