//! One side's buckets laid over those of another histogram of the same schema.

use std::sync::Arc;

use super::BucketLayout;
use super::bounds::exponential_bound;
use super::spans::{Span, SpanBuilder, indices, pairs};

/// A run of the other side's buckets, at consecutive places on both sides or only on the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    own: Option<usize>,
    other: usize,
    len: usize,
}

/// Yields the runs of `other` over `own`.
#[derive(Debug)]
struct Runs<'a> {
    own: std::slice::Iter<'a, Span>,
    /// Bucket index and place of the first bucket of the current span of `own`, and the bucket index behind it.
    start: i64,
    place: usize,
    end: i64,
    other: std::slice::Iter<'a, Span>,
    /// Bucket index and place of the next bucket of `other`, and the bucket index behind its span.
    next: i64,
    other_place: usize,
    other_end: i64,
}

impl<'a> Runs<'a> {
    fn new(own: &'a [Span], other: &'a [Span]) -> Self {
        // Bucket indices may be negative, so the walk begins inside the first span.
        let mut own = own.iter();
        let first = own.next().copied().unwrap_or_default();
        let start = i64::from(first.offset);
        Self {
            own,
            start,
            place: 0,
            end: start + i64::from(first.length),
            other: other.iter(),
            next: 0,
            other_place: 0,
            other_end: 0,
        }
    }
}

impl Iterator for Runs<'_> {
    type Item = Run;

    #[inline]
    fn next(&mut self) -> Option<Run> {
        while self.next == self.other_end {
            let span = self.other.next()?;
            self.next += i64::from(span.offset);
            self.other_end = self.next + i64::from(span.length);
        }
        while self.end <= self.next {
            let Some(span) = self.own.next() else {
                break;
            };
            self.place += width(self.start, self.end);
            self.start = self.end + i64::from(span.offset);
            self.end = self.start + i64::from(span.length);
        }
        // Before, inside or behind the span of `own`.
        let (own, end) = if self.next < self.start {
            (None, self.other_end.min(self.start))
        } else if self.next < self.end {
            let own = self.place + width(self.start, self.next);
            (Some(own), self.other_end.min(self.end))
        } else {
            (None, self.other_end)
        };
        let run = Run {
            own,
            other: self.other_place,
            len: width(self.next, end),
        };
        self.other_place += run.len;
        self.next = end;
        Some(run)
    }
}

fn width(start: i64, end: i64) -> usize {
    usize::try_from(end - start).unwrap_or_default()
}

/// Reports whether `own` has all buckets of `other`.
fn covers(own: &[Span], other: &[Span]) -> bool {
    std::ptr::eq(own, other) || own == other || Runs::new(own, other).all(|run| run.own.is_some())
}

/// Adds each of the other's counts, which `own` covers, to the own count of the same bucket.
#[inline]
fn overlay<C, O: Copy>(
    (own_spans, own): (&[Span], &mut [C]),
    (other_spans, other): (&[Span], &[O]),
    add: impl Fn(&mut C, O),
) {
    for run in Runs::new(own_spans, other_spans) {
        let Some(place) = run.own else { continue };
        let own = &mut own[place..place + run.len];
        let other = &other[run.other..run.other + run.len];
        own.iter_mut()
            .zip(other)
            .for_each(|(own, other)| add(own, *other));
    }
}

/// The positive and then the negative buckets of another histogram.
pub(super) type Sides<'a, O> = [(&'a [Span], &'a [O]); 2];

/// Adds another histogram's buckets of the same schema or custom bounds. A count of a new bucket is made by `new`.
/// Buckets of the other inside the zero bucket are left out.
///
/// The layout stays the same object unless there are new buckets.
#[inline]
pub(super) fn add_sides<C: Copy, O: Copy>(
    layout: &mut Arc<BucketLayout>,
    counts: &mut Vec<C>,
    other: Sides<'_, O>,
    new: impl Fn(O) -> C,
    add: impl Fn(&mut C, O),
) {
    let [(positive, above), (negative, below)] = other;
    let spans = (&layout.positive_spans[..], &layout.negative_spans[..]);
    let hidden = [positive, negative].map(|spans| inside_zero_bucket(spans, layout));
    let is_covered = covers(spans.0, positive) && covers(spans.1, negative);
    if hidden == [0, 0] && is_covered {
        let (own_above, own_below) = counts.split_at_mut(layout.positive_len());
        overlay((spans.0, own_above), (positive, above), &add);
        overlay((spans.1, own_below), (negative, below), &add);
        return;
    }
    let (own_above, own_below) = counts.split_at(layout.positive_len());
    let own = (spans.0, own_above);
    let (positive_spans, mut sums) = add_side(own, (positive, above), hidden[0], &new, &add);
    let own = (spans.1, own_below);
    let (negative_spans, rest) = add_side(own, (negative, below), hidden[1], &new, &add);
    sums.extend(rest);
    if sums.len() != counts.len() {
        *layout = Arc::new(BucketLayout {
            positive_spans,
            negative_spans,
            ..BucketLayout::clone(layout)
        });
    }
    *counts = sums;
}

/// Returns the buckets of both sides; the first `hidden` of the other side are left out.
fn add_side<C: Copy, O: Copy>(
    (spans, counts): (&[Span], &[C]),
    (other_spans, other): (&[Span], &[O]),
    hidden: usize,
    new: impl Fn(O) -> C,
    add: impl Fn(&mut C, O),
) -> (Vec<Span>, Vec<C>) {
    let mut builder = SpanBuilder::default();
    let mut sums = Vec::with_capacity(counts.len().max(other.len()));
    for pair in pairs(spans, other_spans) {
        let own = pair.a.map(|at| counts[at]);
        let theirs = pair.b.filter(|&at| at >= hidden).map(|at| other[at]);
        let sum = match (own, theirs) {
            (Some(mut own), Some(theirs)) => {
                add(&mut own, theirs);
                own
            }
            (Some(own), None) => own,
            (None, Some(theirs)) => new(theirs),
            (None, None) => continue,
        };
        builder.push(pair.index);
        sums.push(sum);
    }
    (builder.finish(), sums)
}

/// Returns how many of the first buckets in `spans` end inside the zero bucket of `layout`, whose schema they have.
pub(super) fn inside_zero_bucket(spans: &[Span], layout: &BucketLayout) -> usize {
    if layout.has_custom_buckets() {
        return 0;
    }
    indices(spans)
        .take_while(|&index| exponential_bound(index, layout.schema) <= layout.zero_threshold)
        .count()
}

impl BucketLayout {
    /// Reports whether no bucket ends inside the zero bucket.
    pub(super) fn buckets_are_outside_zero(&self) -> bool {
        inside_zero_bucket(&self.positive_spans, self) == 0
            && inside_zero_bucket(&self.negative_spans, self) == 0
    }

    /// Yields for each positive custom bucket the place of the first of `bounds` that is not below its own,
    /// or one past the last.
    pub(super) fn targets(&self, bounds: &[f64]) -> impl Iterator<Item = usize> {
        let mut target = 0;
        indices(&self.positive_spans).map(move |index| {
            let bound = self.bound(index);
            while bounds.get(target).is_some_and(|&common| common < bound) {
                target += 1;
            }
            target
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::histogram::spans::{span_buckets, tests::side};

    proptest! {
        #[test]
        fn runs_are_the_pairs_of_the_other_side(a in side(), b in side()) {
            let mut expected = vec![None; span_buckets(&b)];
            for pair in pairs(&a, &b) {
                if let Some(at) = pair.b {
                    expected[at] = pair.a;
                }
            }
            let mut found = Vec::new();
            for run in Runs::new(&a, &b) {
                prop_assert_eq!(run.other, found.len());
                found.extend((0..run.len).map(|at| run.own.map(|place| place + at)));
            }
            prop_assert_eq!(covers(&a, &b), expected.iter().all(Option::is_some));
            prop_assert_eq!(found, expected);
        }
    }
}
