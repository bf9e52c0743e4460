//! The heap of `topk` and its kin. Which of several equal members stay, and in which order, is decided by the
//! heap, so it is Go's `container/heap`.

use crate::functions::order::{descending_nan_last, nan_last};

/// A series and its value.
pub(super) type Member = (usize, f64);

/// Returns the `count` largest members, the largest first.
pub(super) fn largest(count: usize, members: impl Iterator<Item = Member>) -> Vec<Member> {
    best(count, members, |a, b| a < b || a.is_nan())
}

/// Returns the `count` smallest members, the smallest first.
pub(super) fn smallest(count: usize, members: impl Iterator<Item = Member>) -> Vec<Member> {
    best(count, members, |a, b| a > b || a.is_nan())
}

/// Returns all members in the order of the heap that Prometheus leaves them in.
pub(super) fn heaped(members: impl Iterator<Item = Member>) -> Vec<Member> {
    let mut heap = Vec::new();
    for member in members {
        heap.push(member);
        sift_up(&mut heap, |a: f64, b: f64| a < b || a.is_nan());
    }
    heap
}

/// Returns the `count` best members, the best first; `is_worse(a, b)` is the order of the heap.
fn best(
    count: usize,
    members: impl Iterator<Item = Member>,
    is_worse: impl Fn(f64, f64) -> bool,
) -> Vec<Member> {
    let mut heap: Vec<Member> = Vec::new();
    if count == 0 {
        return heap;
    }
    for member in members {
        if heap.len() < count {
            heap.push(member);
            sift_up(&mut heap, &is_worse);
        } else if is_replaced(heap[0].1, member.1, &is_worse) {
            heap[0] = member;
            sift_down(&mut heap, &is_worse);
        }
    }
    sort_best_first(&mut heap, &is_worse);
    heap
}

fn is_replaced(root: f64, value: f64, is_worse: impl Fn(f64, f64) -> bool) -> bool {
    if root.is_nan() {
        return !value.is_nan();
    }
    is_worse(root, value)
}

fn sift_up(heap: &mut [Member], is_worse: impl Fn(f64, f64) -> bool) {
    let mut at = heap.len() - 1;
    while at > 0 {
        let parent = (at - 1) / 2;
        if !is_worse(heap[at].1, heap[parent].1) {
            return;
        }
        heap.swap(at, parent);
        at = parent;
    }
}

fn sift_down(heap: &mut [Member], is_worse: impl Fn(f64, f64) -> bool) {
    let mut at = 0;
    loop {
        let left = 2 * at + 1;
        if left >= heap.len() {
            return;
        }
        let mut child = left;
        if left + 1 < heap.len() && is_worse(heap[left + 1].1, heap[left].1) {
            child = left + 1;
        }
        if !is_worse(heap[child].1, heap[at].1) {
            return;
        }
        heap.swap(at, child);
        at = child;
    }
}

/// Sorts as Go's `sort.Sort` does up to 12 elements, by insertion; longer ones keep ties in place.
fn sort_best_first(heap: &mut [Member], is_worse: impl Fn(f64, f64) -> bool) {
    if heap.len() > 12 {
        let is_top = is_worse(0.0, 1.0);
        let order = if is_top {
            descending_nan_last
        } else {
            nan_last
        };
        heap.sort_by(|a, b| order(a.1, b.1));
        return;
    }
    for i in 1..heap.len() {
        let mut at = i;
        while at > 0 && is_worse(heap[at - 1].1, heap[at].1) {
            heap.swap(at - 1, at);
            at -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn top(count: usize, values: &[f64]) -> Vec<usize> {
        let members = values.iter().copied().enumerate();
        let picked = largest(count, members);
        picked.into_iter().map(|(series, _)| series).collect()
    }

    #[test]
    fn the_best_come_first() {
        assert_eq!(top(2, &[1.0, 3.0, 2.0]), [1, 2]);
        assert_eq!(top(5, &[1.0, 3.0, 2.0]), [1, 2, 0]);
        assert_eq!(top(0, &[1.0]), [0; 0]);
    }

    #[test]
    fn ties_are_broken_as_by_gos_heap() {
        // The root of the heap, the first of the equal ones, makes place.
        assert_eq!(top(2, &[1.0, 1.0, 2.0]), [2, 1]);
        assert_eq!(top(2, &[1.0, 1.0, 1.0]), [0, 1]);
    }

    #[test]
    fn nan_is_worse_than_anything() {
        assert_eq!(top(1, &[f64::NAN, f64::NEG_INFINITY]), [1]);
        assert_eq!(top(2, &[f64::NAN, 1.0, 2.0]), [2, 1]);
        assert_eq!(top(2, &[1.0, f64::NAN]), [0, 1]);
    }
}
