//! Equality of data and the smallest form of a layout.

use std::sync::Arc;

use super::spans::{Span, SpanBuilder, indices, to_counts, to_deltas};
use super::{BucketLayout, FloatHistogram, Histogram};

/// Drops empty buckets except in gaps of at most `empty_max` between two others, where they are also added.
pub(super) fn compact_side<C: Copy + Default + PartialEq>(
    spans: &[Span],
    counts: &[C],
    empty_max: u32,
) -> (Vec<Span>, Vec<C>) {
    let mut builder = SpanBuilder::default();
    let mut kept = Vec::with_capacity(counts.len());
    let mut end: Option<i32> = None;
    for (index, &count) in indices(spans).zip(counts) {
        if count == C::default() {
            continue;
        }
        if let Some(end) = end
            && (index - end).unsigned_abs() <= empty_max
        {
            for empty in end..index {
                builder.push(empty);
                kept.push(C::default());
            }
        }
        builder.push(index);
        kept.push(count);
        end = Some(index + 1);
    }
    (builder.finish(), kept)
}

fn with_spans(
    layout: &BucketLayout,
    positive: Vec<Span>,
    negative: Vec<Span>,
) -> Arc<BucketLayout> {
    Arc::new(BucketLayout {
        positive_spans: positive,
        negative_spans: negative,
        ..layout.clone()
    })
}

fn same_buckets(a: &BucketLayout, b: &BucketLayout) -> bool {
    let same = |a: &[Span], b: &[Span]| a == b || indices(a).eq(indices(b));
    // Both zeros are the same bound: a chunk stores them the same way.
    let same_bound = |a: f64, b: f64| a == b || a.to_bits() == b.to_bits();
    let same_bounds = |a: &[f64], b: &[f64]| {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_bound(*a, *b))
    };
    a.schema == b.schema
        && same_bound(a.zero_threshold, b.zero_threshold)
        && (!a.has_custom_buckets() || same_bounds(&a.custom_values, &b.custom_values))
        && same(&a.positive_spans, &b.positive_spans)
        && same(&a.negative_spans, &b.negative_spans)
}

impl FloatHistogram {
    /// Reports whether [`compact`](Self::compact) without empty buckets would change nothing.
    pub fn is_compact(&self) -> bool {
        let tight = |spans: &[Span]| {
            spans.iter().all(|span| span.length > 0)
                && spans.iter().skip(1).all(|span| span.offset > 0)
        };
        let layout = self.layout();
        tight(&layout.positive_spans)
            && tight(&layout.negative_spans)
            && (self.buckets().iter()).fold(true, |full, &count| full & (count != 0.0))
    }

    /// Drops empty buckets and joins spans. Runs of at most `empty_max` empty buckets between two others stay,
    /// or are added, when that saves a span.
    pub fn compact(&mut self, empty_max: u32) {
        if empty_max == 0 && self.is_compact() {
            return;
        }
        let layout = Arc::clone(self.layout());
        let (positive, mut buckets) =
            compact_side(&layout.positive_spans, self.positive_buckets(), empty_max);
        let (negative, rest) =
            compact_side(&layout.negative_spans, self.negative_buckets(), empty_max);
        buckets.extend(rest);
        if positive == layout.positive_spans && negative == layout.negative_spans {
            return;
        }
        self.set_buckets(with_spans(&layout, positive, negative), buckets);
    }

    /// Reports whether the other histogram has the same data: the same buckets, however their spans are cut,
    /// and bit by bit the same numbers. The hints may differ.
    pub fn same_data(&self, other: &Self) -> bool {
        let bits = |histogram: &Self| {
            [histogram.count, histogram.zero_count, histogram.sum].map(f64::to_bits)
        };
        let buckets = self.buckets().iter().map(|count| count.to_bits());
        bits(self) == bits(other)
            && (Arc::ptr_eq(self.layout(), other.layout())
                || same_buckets(self.layout(), other.layout()))
            && buckets.eq(other.buckets().iter().map(|count| count.to_bits()))
    }
}

impl Histogram {
    /// Drops empty buckets and joins spans, as [`FloatHistogram::compact`].
    pub fn compact(&mut self, empty_max: u32) {
        let layout = Arc::clone(self.layout());
        let side = |spans: &[Span], deltas: &[i64]| {
            let (spans, counts) = compact_side(spans, &to_counts(deltas), empty_max);
            (spans, to_deltas(&counts))
        };
        let (positive, mut deltas) = side(&layout.positive_spans, self.positive_deltas());
        let (negative, rest) = side(&layout.negative_spans, self.negative_deltas());
        deltas.extend(rest);
        if positive == layout.positive_spans && negative == layout.negative_spans {
            return;
        }
        self.set_deltas(with_spans(&layout, positive, negative), deltas);
    }

    /// Reports whether the other histogram has the same data, as [`FloatHistogram::same_data`].
    pub fn same_data(&self, other: &Self) -> bool {
        (self.count, self.zero_count) == (other.count, other.zero_count)
            && self.sum.to_bits() == other.sum.to_bits()
            && (Arc::ptr_eq(self.layout(), other.layout())
                || same_buckets(self.layout(), other.layout()))
            && self.deltas() == other.deltas()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spans(list: &[(i32, u32)]) -> Vec<Span> {
        list.iter()
            .map(|&(offset, length)| Span { offset, length })
            .collect()
    }

    fn histogram(list: &[(i32, u32)], counts: &[f64]) -> FloatHistogram {
        let layout = Arc::new(BucketLayout {
            positive_spans: spans(list),
            ..BucketLayout::default()
        });
        FloatHistogram::new(layout, counts, &[]).unwrap()
    }

    #[test]
    fn empty_buckets_go_unless_they_save_a_span() {
        // Source of the cases: Prometheus model/histogram, TestFloatHistogramCompact.
        type Case<'a> = (
            &'a [(i32, u32)],
            &'a [f64],
            u32,
            &'a [(i32, u32)],
            &'a [f64],
        );
        let table: [Case<'_>; 6] = [
            (
                &[(-2, 1), (2, 3)],
                &[1., 3.3, 4.2, 0.1],
                0,
                &[(-2, 1), (2, 3)],
                &[1., 3.3, 4.2, 0.1],
            ),
            (
                &[(-2, 4), (2, 5)],
                &[0., 0., 1., 3.3, 4.2, 0.1, 3.3, 0., 0.],
                0,
                &[(0, 2), (2, 3)],
                &[1., 3.3, 4.2, 0.1, 3.3],
            ),
            (
                &[(0, 4)],
                &[1., 0., 0., 2.],
                0,
                &[(0, 1), (2, 1)],
                &[1., 2.],
            ),
            (
                &[(0, 4)],
                &[1., 0., 0., 2.],
                2,
                &[(0, 4)],
                &[1., 0., 0., 2.],
            ),
            (
                &[(-4, 1), (1, 2), (2, 1)],
                &[1., 2., 3., 4.],
                1,
                &[(-4, 4), (2, 1)],
                &[1., 0., 2., 3., 4.],
            ),
            (&[(5, 2), (0, 0)], &[0., 0.], 3, &[], &[]),
        ];
        for (from, counts, empty_max, to, expected) in table {
            let mut histogram = histogram(from, counts);
            if empty_max == 0 {
                assert_eq!(histogram.is_compact(), from == to);
            }
            histogram.compact(empty_max);
            assert_eq!(histogram.layout().positive_spans, spans(to));
            assert_eq!(histogram.positive_buckets(), expected);
        }
    }

    #[test]
    fn data_is_compared_by_buckets_and_bits() {
        let a = histogram(&[(0, 2), (0, 0), (1, 1)], &[1., 2., 3.]);
        let b = histogram(&[(0, 1), (0, 1), (1, 1)], &[1., 2., 3.]);
        assert!(a.same_data(&b) && a != b);
        assert!(!a.same_data(&histogram(&[(0, 3)], &[1., 2., 3.])));
        let mut negative_zero = a.clone();
        negative_zero.sum = -0.0;
        assert!(!a.same_data(&negative_zero));
        let (mut stale, other) = (a.clone(), FloatHistogram::stale());
        stale.sum = other.sum;
        assert!(!stale.same_data(&other) && other.same_data(&FloatHistogram::stale()));
    }
}
