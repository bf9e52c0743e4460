//! Looking few references up in a long list.

use std::hint::select_unpredictable;

/// How many references are looked up together: their searches go step by step side by side, without a branch that
/// depends on the data, so that a processor waits for the memory of all of them at once.
const GROUP: usize = 16;

/// How much longer a list must be for looking the references of another one up in it to beat a bitmap of it.
pub(super) const LOOK_UP_RATIO: usize = 5;

/// A reference as memory or as a file has it.
pub(super) trait Reference: Copy {
    /// Returns the number.
    fn get(self) -> u32;
}

impl Reference for u32 {
    #[inline]
    fn get(self) -> u32 {
        self
    }
}

/// Big-endian, as in a file.
impl Reference for [u8; 4] {
    #[inline]
    fn get(self) -> u32 {
        u32::from_be_bytes(self)
    }
}

/// Looks groups of references up in a sorted list, each behind the one before.
struct Groups<'l, R> {
    rest: &'l [R],
    /// Within how many of the rest the next group is likely to lie.
    hint: usize,
}

impl<'l, R: Reference> Groups<'l, R> {
    fn new(list: &'l [R]) -> Self {
        Self {
            rest: list,
            hint: GROUP,
        }
    }

    /// Reports which of `wanted`, which ascends, are in the list.
    fn find(&mut self, wanted: &[u32; GROUP]) -> [bool; GROUP] {
        let window = self.up_to(wanted[GROUP - 1]);
        // Where the last one that is not greater lies, or the first of all.
        let mut places = [0; GROUP];
        let mut size = window.len();
        while size > 1 {
            let half = size / 2;
            for (place, wanted) in places.iter_mut().zip(wanted) {
                let middle = *place + half;
                // `place + size` is at most the length of the window.
                let is_at_most = window[middle].get() <= *wanted;
                *place = select_unpredictable(is_at_most, middle, *place);
            }
            size -= half;
        }
        let last = places[GROUP - 1];
        let is_passed = |one: &R| one.get() <= wanted[GROUP - 1];
        let passed = last + usize::from(window.get(last).is_some_and(is_passed));
        self.rest = &self.rest[passed..];
        self.hint = passed + passed / 4 + GROUP;
        let mut found = [false; GROUP];
        for ((found, place), wanted) in found.iter_mut().zip(places).zip(wanted) {
            *found = window.get(place).is_some_and(|one| one.get() == *wanted);
        }
        found
    }

    /// Returns as much of what is left of the list as may be at most `last`.
    fn up_to(&self, last: u32) -> &'l [R] {
        let mut end = self.hint;
        while self.rest.get(end).is_some_and(|one| one.get() <= last) {
            end = end.saturating_mul(2);
        }
        &self.rest[..end.min(self.rest.len())]
    }
}

/// Returns the references of a group, filled up by its last one.
fn group_of(wanted: &[u32]) -> [u32; GROUP] {
    let mut group = [wanted.last().copied().unwrap_or_default(); GROUP];
    for (to, from) in group.iter_mut().zip(wanted) {
        *to = *from;
    }
    group
}

/// Sets `is_hit` for those of `wanted` that are in `list`; both ascend.
pub(super) fn mark_found<R: Reference>(wanted: &[u32], list: &[R], is_hit: &mut [bool]) {
    let mut groups = Groups::new(list);
    for (wanted, is_hit) in wanted.chunks(GROUP).zip(is_hit.chunks_mut(GROUP)) {
        let found = groups.find(&group_of(wanted));
        for (is_hit, found) in is_hit.iter_mut().zip(found) {
            *is_hit |= found;
        }
    }
}

/// Keeps those of `from` that are in `list`, or that are not.
pub(super) fn retain_found<R: Reference>(from: &mut Vec<u32>, list: &[R], keep_found: bool) {
    let mut groups = Groups::new(list);
    let (mut start, mut kept) = (0, 0);
    while start < from.len() {
        let end = from.len().min(start + GROUP);
        let found = groups.find(&group_of(&from[start..end]));
        for (at, found) in (start..end).zip(found) {
            // Not more are kept than were read, so that nothing unread is overwritten.
            from[kept] = from[at];
            kept += usize::from(found == keep_found);
        }
        start = end;
    }
    from.truncate(kept);
}

/// Keeps those of `from` that are in `list`, or that are not, by a walk over both without a branch that depends on the
/// data.
pub(super) fn retain_merged<R: Reference>(from: &mut Vec<u32>, list: &[R], keep_found: bool) {
    let (mut i, mut j, mut kept) = (0, 0, 0);
    while i < from.len() && j < list.len() {
        let (a, b) = (from[i], list[j].get());
        // Not more are kept than were read, so that nothing unread is overwritten.
        from[kept] = a;
        kept += usize::from(if keep_found { a == b } else { a < b });
        i += usize::from(a <= b);
        j += usize::from(b <= a);
    }
    let end = from.len();
    if !keep_found {
        from.copy_within(i..end, kept);
        kept += end - i;
    }
    from.truncate(kept);
}

/// Drops the items below `reference` from the front of `list`.
pub(super) fn skip_to<R: Reference>(list: &[R], reference: u32) -> &[R] {
    let below = count_while(list, 1, |found| found.get() < reference);
    list.get(below..).unwrap_or_default()
}

/// Returns how many items at the front satisfy `holds`, which none does behind the first that does not: with steps that
/// double, the first of about `hint`.
fn count_while<R: Copy>(list: &[R], hint: usize, holds: impl Fn(R) -> bool) -> usize {
    let (mut low, mut step) = (0, hint);
    while list.get(step).is_some_and(|found| holds(*found)) {
        low = step;
        step = step.saturating_mul(2);
    }
    let high = list.len().min(step.saturating_add(1));
    let window = list.get(low..high).unwrap_or_default();
    low + window.partition_point(|found| holds(*found))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn ascending(max: u32, len: usize) -> impl Strategy<Value = Vec<u32>> {
        let set = proptest::collection::btree_set(0..=max, 0..len);
        set.prop_map(|set| set.into_iter().collect())
    }

    proptest! {
        #[test]
        fn look_ups_equal_the_model(
            wanted in ascending(300, 90),
            list in prop_oneof![ascending(400, 300), ascending(u32::MAX, 40), Just((0..=300).collect())],
            shift in prop_oneof![Just(0), Just(u32::MAX - 400)],
        ) {
            let moved = |list: Vec<u32>| list.into_iter().map(|one| one.saturating_add(shift)).collect::<BTreeSet<_>>();
            let (wanted, list) = (moved(wanted), moved(list));
            let from: Vec<u32> = wanted.iter().copied().collect();
            let plain: Vec<u32> = list.iter().copied().collect();
            let stored: Vec<[u8; 4]> = plain.iter().map(|one| one.to_be_bytes()).collect();
            let expected: Vec<bool> = from.iter().map(|one| list.contains(one)).collect();
            let mut hits = vec![false; from.len()];
            mark_found(&from, &stored, &mut hits);
            prop_assert_eq!(&hits, &expected);
            for keep_found in [true, false] {
                let mut kept = from.clone();
                retain_found(&mut kept, &stored, keep_found);
                let mut merged = from.clone();
                retain_merged(&mut merged, &plain, keep_found);
                let model: Vec<u32> = wanted.iter().copied().filter(|one| list.contains(one) == keep_found).collect();
                prop_assert_eq!(&kept, &model);
                prop_assert_eq!(merged, model);
            }
        }

        #[test]
        fn skipping_equals_the_model(list in ascending(200, 100), to in 0_u32..220) {
            let model: Vec<u32> = list.iter().copied().filter(|one| *one >= to).collect();
            prop_assert_eq!(skip_to(&list, to), &model[..]);
        }

        /// The hint is where the search starts, not what it finds.
        #[test]
        fn counting_does_not_depend_on_the_hint(list in ascending(200, 100), below in 0_u32..220, hint in 1_usize..300) {
            let model = list.iter().filter(|one| **one < below).count();
            prop_assert_eq!(count_while(&list, hint, |one| one < below), model);
        }
    }
}
