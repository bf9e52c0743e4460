//! Spans: the used buckets of one side of a histogram as runs of neighbours.
//!
//! Everything here walks bucket indices in increasing order. [`check_spans`] guarantees that order and keeps the
//! indices small enough for plain arithmetic; layouts are checked where they enter (constructors, chunk reader).

use std::cmp::Ordering;

use crate::error::{Error, Result};

/// A run of neighbouring buckets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Span {
    /// The gap to the end of the previous span, or for the first span the index of its first bucket.
    pub offset: i32,
    /// The number of buckets.
    pub length: u32,
}

/// Bucket indices lie within this distance of zero; the buckets of all floats need less than 2^19.
const INDEX_MAX: i64 = 1 << 29;

/// Returns the number of buckets in `spans`, stopping at the largest integer.
pub(crate) fn span_buckets(spans: &[Span]) -> usize {
    spans
        .iter()
        .fold(0, |sum, span| sum.saturating_add(span.length as usize))
}

/// Checks that gaps are not negative and indices are small.
pub(crate) fn check_spans(spans: &[Span]) -> Result<()> {
    let mut index = 0_i64;
    for (at, span) in spans.iter().enumerate() {
        if at > 0 && span.offset < 0 {
            return Err(Error::invalid(format!(
                "span number {} with offset {}: histogram has a span whose offset is negative",
                at + 1,
                span.offset
            )));
        }
        index += i64::from(span.offset);
        let start = index;
        index += i64::from(span.length);
        if start < -INDEX_MAX || index > INDEX_MAX {
            return Err(Error::invalid(format!(
                "span number {} ends at bucket {index}, which is out of range",
                at + 1
            )));
        }
    }
    Ok(())
}

/// Yields the index of every bucket in `spans`, from either end.
#[derive(Debug, Clone)]
pub(crate) struct Indices<'a> {
    remaining: usize,
    front: std::slice::Iter<'a, Span>,
    next: i32,
    left: u32,
    back: std::slice::Iter<'a, Span>,
    /// The index after the next one from the back, within its span.
    end: i32,
    left_back: u32,
    /// The gap before the span that the back is in.
    gap_back: i32,
}

/// Returns the index of every bucket in checked `spans`.
pub(crate) fn indices(spans: &[Span]) -> Indices<'_> {
    let length = |span: &Span| i32::try_from(span.length).unwrap_or(i32::MAX);
    Indices {
        remaining: span_buckets(spans),
        front: spans.iter(),
        next: 0,
        left: 0,
        back: spans.iter(),
        end: spans
            .iter()
            .fold(0, |end, span| end + span.offset + length(span)),
        left_back: 0,
        gap_back: 0,
    }
}

impl Iterator for Indices<'_> {
    type Item = i32;

    #[inline]
    fn next(&mut self) -> Option<i32> {
        self.remaining = self.remaining.checked_sub(1)?;
        while self.left == 0 {
            let span = self.front.next()?;
            self.next += span.offset;
            self.left = span.length;
        }
        self.left -= 1;
        let index = self.next;
        self.next += 1;
        Some(index)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.remaining, Some(self.remaining))
    }
}

impl DoubleEndedIterator for Indices<'_> {
    fn next_back(&mut self) -> Option<i32> {
        self.remaining = self.remaining.checked_sub(1)?;
        while self.left_back == 0 {
            let span = self.back.next_back()?;
            self.end -= self.gap_back;
            self.gap_back = span.offset;
            self.left_back = span.length;
        }
        self.left_back -= 1;
        self.end -= 1;
        Some(self.end)
    }
}

impl ExactSizeIterator for Indices<'_> {}

/// Returns the index of the bucket at a place in the list of counts.
pub(crate) fn nth_index(spans: &[Span], mut at: usize) -> Option<i32> {
    let mut index = 0;
    for span in spans {
        index += span.offset;
        let length = span.length as usize;
        if at < length {
            return i32::try_from(at).ok().map(|at| index + at);
        }
        at -= length;
        index += i32::try_from(length).ok()?;
    }
    None
}

/// Collects increasing bucket indices into the fewest spans.
#[derive(Debug, Default)]
pub(crate) struct SpanBuilder {
    spans: Vec<Span>,
    /// The index after the last bucket, or 0 before the first one.
    end: i32,
}

impl SpanBuilder {
    pub(crate) fn push(&mut self, index: i32) {
        let gap = index - self.end;
        match self.spans.last_mut() {
            Some(last) if gap == 0 => last.length += 1,
            _ => self.spans.push(Span {
                offset: gap,
                length: 1,
            }),
        }
        self.end = index + 1;
    }

    pub(crate) fn finish(self) -> Vec<Span> {
        self.spans
    }
}

/// Returns the fewest spans for increasing bucket indices.
pub(crate) fn spans_of(indices: impl IntoIterator<Item = i32>) -> Vec<Span> {
    let mut builder = SpanBuilder::default();
    indices.into_iter().for_each(|index| builder.push(index));
    builder.finish()
}

/// A bucket of one or both of two sides, with its position in the bucket list of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) index: i32,
    pub(crate) a: Option<usize>,
    pub(crate) b: Option<usize>,
}

/// Yields the buckets of two sides in order.
#[derive(Debug, Clone)]
pub(crate) struct Pairs<'a> {
    a: std::iter::Peekable<std::iter::Enumerate<Indices<'a>>>,
    b: std::iter::Peekable<std::iter::Enumerate<Indices<'a>>>,
}

/// Returns the buckets that are in `a` or in `b`.
pub(crate) fn pairs<'a>(a: &'a [Span], b: &'a [Span]) -> Pairs<'a> {
    Pairs {
        a: indices(a).enumerate().peekable(),
        b: indices(b).enumerate().peekable(),
    }
}

impl Iterator for Pairs<'_> {
    type Item = Pair;

    fn next(&mut self) -> Option<Pair> {
        let order = match (self.a.peek(), self.b.peek()) {
            (None, None) => return None,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((_, a)), Some((_, b))) => a.cmp(b),
        };
        let a = (order != Ordering::Greater)
            .then(|| self.a.next())
            .flatten();
        let b = (order != Ordering::Less).then(|| self.b.next()).flatten();
        Some(Pair {
            index: a.or(b).map(|(_, index)| index)?,
            a: a.map(|(at, _)| at),
            b: b.map(|(at, _)| at),
        })
    }
}

/// Returns the counts of the buckets of `to`, with zeros where `from` has no bucket.
///
/// Buckets of `from` that are not in `to` are dropped.
pub(crate) fn spread<C: Copy + Default>(from: &[Span], counts: &[C], to: &[Span]) -> Vec<C> {
    pairs(from, to)
        .filter(|pair| pair.b.is_some())
        .map(|pair| pair.a.map_or_else(C::default, |at| counts[at]))
        .collect()
}

/// Returns absolute counts of buckets that are given as differences.
pub(crate) fn to_counts(deltas: &[i64]) -> Vec<i64> {
    deltas
        .iter()
        .scan(0_i64, |count, &delta| {
            *count = count.wrapping_add(delta);
            Some(*count)
        })
        .collect()
}

/// Returns the differences between absolute counts.
pub(crate) fn to_deltas(counts: &[i64]) -> Vec<i64> {
    let before = std::iter::once(&0).chain(counts);
    counts
        .iter()
        .zip(before)
        .map(|(count, before)| count.wrapping_sub(*before))
        .collect()
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(in crate::histogram) fn side() -> impl Strategy<Value = Vec<Span>> {
        (
            -50_i32..50,
            prop::collection::vec((0_i32..4, 0_u32..4), 0..8),
        )
            .prop_map(|(first, spans)| {
                spans
                    .into_iter()
                    .enumerate()
                    .map(|(at, (offset, length))| Span {
                        offset: if at == 0 { first } else { offset },
                        length,
                    })
                    .collect()
            })
    }

    proptest! {
        #[test]
        fn spans_of_indices_are_the_same_buckets(spans in side()) {
            let compact = spans_of(indices(&spans));
            prop_assert!(indices(&spans).eq(indices(&compact)));
            prop_assert_eq!(span_buckets(&spans), span_buckets(&compact));
            prop_assert!(compact.iter().skip(1).all(|span| span.offset > 0 && span.length > 0));
        }

        #[test]
        fn the_nth_index_is_that_of_the_walk(spans in side(), at in 0_usize..40) {
            prop_assert_eq!(nth_index(&spans, at), indices(&spans).nth(at));
        }

        #[test]
        fn indices_from_the_back_are_the_same(spans in side(), turns in any::<u64>()) {
            let expected: Vec<i32> = indices(&spans).collect();
            let mut walk = indices(&spans);
            let (mut front, mut back) = (Vec::new(), Vec::new());
            for turn in 0.. {
                let from_front = turns >> (turn % 64) & 1 == 0;
                let next = if from_front { walk.next() } else { walk.next_back() };
                match next {
                    Some(index) if from_front => front.push(index),
                    Some(index) => back.push(index),
                    None => break,
                }
            }
            back.reverse();
            front.extend(back);
            prop_assert_eq!(front, expected);
        }

        #[test]
        fn pairs_are_the_union(a in side(), b in side()) {
            use std::collections::BTreeMap;
            let mut union: BTreeMap<i32, (Option<usize>, Option<usize>)> = BTreeMap::new();
            for (at, index) in indices(&a).enumerate() {
                union.entry(index).or_default().0 = Some(at);
            }
            for (at, index) in indices(&b).enumerate() {
                union.entry(index).or_default().1 = Some(at);
            }
            let expected: Vec<_> =
                union.into_iter().map(|(index, (a, b))| Pair { index, a, b }).collect();
            prop_assert_eq!(pairs(&a, &b).collect::<Vec<_>>(), expected);
        }

        #[test]
        fn deltas_and_counts_are_inverse(counts in prop::collection::vec(any::<i64>(), 0..9)) {
            prop_assert_eq!(to_counts(&to_deltas(&counts)), counts);
        }
    }

    #[test]
    fn negative_gaps_and_far_indices_are_refused() {
        let span = |offset, length| Span { offset, length };
        assert!(check_spans(&[span(-7, 2), span(0, 1), span(3, 0)]).is_ok());
        assert!(check_spans(&[span(-7, 2), span(-1, 1)]).is_err());
        assert!(check_spans(&[span(i32::MAX, 1)]).is_err());
        assert!(check_spans(&[span(0, u32::MAX), span(i32::MAX, u32::MAX)]).is_err());
    }
}
