//! Looking few references up in a long list.

/// How many references are looked up in one window: their searches have the same length and no branch that depends on
/// the data, so that a processor works on several at once.
const GROUP: usize = 16;

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

/// Cuts the part of a sorted list that one group after the other can be in.
struct Windows<'l, R> {
    rest: &'l [R],
    /// How far the window before went.
    hint: usize,
}

impl<'l, R: Reference> Windows<'l, R> {
    fn new(list: &'l [R]) -> Self {
        Self {
            rest: list,
            hint: 1,
        }
    }

    /// Returns what is left of the list up to `last`, and goes on behind it.
    fn up_to(&mut self, last: u32) -> &'l [R] {
        let end = count_while(self.rest, self.hint, |found| found.get() <= last);
        let (window, rest) = self.rest.split_at(end);
        (self.rest, self.hint) = (rest, end.max(1));
        window
    }
}

#[inline]
fn is_in<R: Reference>(window: &[R], reference: u32) -> bool {
    let at = window.partition_point(|found| found.get() < reference);
    window.get(at).is_some_and(|found| found.get() == reference)
}

/// Sets `is_hit` for those of `wanted` that are in `list`; both ascend.
pub(super) fn mark_found<R: Reference>(wanted: &[u32], list: &[R], is_hit: &mut [bool]) {
    let mut windows = Windows::new(list);
    for (group, is_hit) in wanted.chunks(GROUP).zip(is_hit.chunks_mut(GROUP)) {
        let Some(last) = group.last() else {
            return;
        };
        let window = windows.up_to(*last);
        for (reference, is_hit) in group.iter().zip(is_hit) {
            *is_hit |= is_in(window, *reference);
        }
    }
}

/// Keeps those of `from` that are in `list`, or that are not.
pub(super) fn retain_found<R: Reference>(from: &mut Vec<u32>, list: &[R], keep_found: bool) {
    let mut windows = Windows::new(list);
    let (mut start, mut kept) = (0, 0);
    while start < from.len() {
        let end = from.len().min(start + GROUP);
        let window = windows.up_to(from[end - 1]);
        for at in start..end {
            let reference = from[at];
            // Not more are kept than were read, so that nothing unread is overwritten.
            from[kept] = reference;
            kept += usize::from(is_in(window, reference) == keep_found);
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
