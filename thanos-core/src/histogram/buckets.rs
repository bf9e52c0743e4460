//! Walks over the buckets of a histogram with their bounds.

use super::bounds::exponential_bound;
use super::spans::{Indices, indices};
use super::{BucketLayout, FloatHistogram, Histogram};

/// One bucket with its bounds and its count.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bucket {
    /// The lower bound.
    pub lower: f64,
    /// The upper bound.
    pub upper: f64,
    /// Whether the lower bound belongs to the bucket.
    pub lower_inclusive: bool,
    /// Whether the upper bound belongs to the bucket.
    pub upper_inclusive: bool,
    /// The number of observations.
    pub count: f64,
    /// The index within the schema; 0 and without meaning for the zero bucket.
    pub index: i32,
}

impl Bucket {
    /// Returns the number by which the HTTP API says which bounds belong to the bucket:
    /// 0 the upper, 1 the lower, 2 none, 3 both.
    pub fn boundary_rule(&self) -> u8 {
        match (self.lower_inclusive, self.upper_inclusive) {
            (false, true) => 0,
            (true, false) => 1,
            (false, false) => 2,
            (true, true) => 3,
        }
    }
}

/// Which side of zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Positive,
    Negative,
}

impl BucketLayout {
    /// Returns the upper bound of the positive bucket `index`, or the mirrored lower bound of a negative one.
    ///
    /// Indices outside the list of custom bounds, which a valid histogram does not have, are at infinity.
    pub fn bound(&self, index: i32) -> f64 {
        if !self.has_custom_buckets() {
            return exponential_bound(index, self.schema);
        }
        match usize::try_from(index) {
            Ok(at) => *self.custom_values.get(at).unwrap_or(&f64::INFINITY),
            Err(_) => f64::NEG_INFINITY,
        }
    }

    pub(super) fn bucket(&self, side: Side, index: i32, count: f64) -> Bucket {
        let inner = self.bound(index - 1);
        self.bucket_behind(inner, side, index, count)
    }

    /// Returns the bucket whose bound towards zero is known.
    fn bucket_behind(&self, inner: f64, side: Side, index: i32, count: f64) -> Bucket {
        let (inner, outer) = match side {
            // COMPAT: the bounds are those of the positive side; a negative bucket reaches to infinity.
            Side::Negative if self.has_custom_buckets() => (f64::NEG_INFINITY, f64::INFINITY),
            Side::Negative | Side::Positive => (inner, self.bound(index)),
        };
        let (lower, upper) = match side {
            Side::Positive => (inner, outer),
            Side::Negative => (-outer, -inner),
        };
        let custom = self.has_custom_buckets();
        Bucket {
            lower,
            upper,
            lower_inclusive: if custom { index == 0 } else { lower < 0.0 },
            upper_inclusive: custom || upper > 0.0,
            count,
            index,
        }
    }

    /// Lets a bucket that overlaps the zero bucket begin or end at the zero threshold.
    pub(super) fn clip(&self, mut bucket: Bucket) -> Bucket {
        let threshold = self.zero_threshold;
        if bucket.upper < 0.0 && bucket.upper > -threshold {
            bucket.upper = -threshold;
        } else if bucket.lower > 0.0 && bucket.lower < threshold {
            bucket.lower = threshold;
        }
        bucket
    }

    pub(super) fn zero_bucket(&self, count: f64) -> Bucket {
        Bucket {
            lower: -self.zero_threshold,
            upper: self.zero_threshold,
            lower_inclusive: true,
            upper_inclusive: true,
            count,
            index: 0,
        }
    }
}

/// The buckets of one side, from zero outwards; walk it backwards to come from the far end.
#[derive(Debug, Clone)]
pub struct SideBuckets<'a> {
    layout: &'a BucketLayout,
    side: Side,
    indices: Indices<'a>,
    counts: std::slice::Iter<'a, f64>,
    /// The last bucket from the front and its far bound, where the next one mostly begins.
    passed: (i32, f64),
}

impl SideBuckets<'_> {
    pub(super) fn is_negative(&self) -> bool {
        self.side == Side::Negative
    }

    pub(super) fn is_custom(&self) -> bool {
        self.layout.has_custom_buckets()
    }
}

impl Iterator for SideBuckets<'_> {
    type Item = Bucket;

    fn next(&mut self) -> Option<Bucket> {
        let (index, count) = (self.indices.next()?, self.counts.next()?);
        let inner = if index - 1 == self.passed.0 {
            self.passed.1
        } else {
            self.layout.bound(index - 1)
        };
        let bucket = self.layout.bucket_behind(inner, self.side, index, *count);
        let outer = match self.side {
            Side::Positive => bucket.upper,
            Side::Negative => -bucket.lower,
        };
        self.passed = (index, outer);
        Some(bucket)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.counts.size_hint()
    }
}

impl DoubleEndedIterator for SideBuckets<'_> {
    fn next_back(&mut self) -> Option<Bucket> {
        let (index, count) = (self.indices.next_back()?, self.counts.next_back()?);
        Some(self.layout.bucket(self.side, index, *count))
    }
}

impl ExactSizeIterator for SideBuckets<'_> {}

impl FloatHistogram {
    /// Returns the positive buckets, the lowest first.
    pub fn positive(&self) -> SideBuckets<'_> {
        SideBuckets {
            layout: self.layout(),
            side: Side::Positive,
            indices: indices(&self.layout().positive_spans),
            counts: self.positive_buckets().iter(),
            passed: (i32::MIN, f64::NAN),
        }
    }

    /// Returns the negative buckets, the highest (next to zero) first.
    pub fn negative(&self) -> SideBuckets<'_> {
        SideBuckets {
            layout: self.layout(),
            side: Side::Negative,
            indices: indices(&self.layout().negative_spans),
            counts: self.negative_buckets().iter(),
            passed: (i32::MIN, f64::NAN),
        }
    }

    /// Returns the zero bucket.
    pub fn zero_bucket(&self) -> Bucket {
        self.layout().zero_bucket(self.zero_count)
    }

    /// Returns all buckets in ascending order: negative, zero (if it has observations), positive.
    ///
    /// A bucket that overlaps the zero bucket begins or ends at the zero threshold.
    pub fn all_buckets(&self) -> impl DoubleEndedIterator<Item = Bucket> {
        let clip = |bucket| self.layout().clip(bucket);
        let zero = (self.zero_count > 0.0).then(|| self.zero_bucket());
        self.negative()
            .rev()
            .map(clip)
            .chain(zero)
            .chain(self.positive().map(clip))
    }
}

impl Histogram {
    /// Returns the counts of the positive buckets with their indices, the lowest first.
    pub fn positive_counts(&self) -> impl Iterator<Item = (i32, i64)> {
        side_counts(
            indices(&self.layout().positive_spans),
            self.positive_deltas(),
        )
    }

    /// Returns the counts of the negative buckets with their indices, the one next to zero first.
    pub fn negative_counts(&self) -> impl Iterator<Item = (i32, i64)> {
        side_counts(
            indices(&self.layout().negative_spans),
            self.negative_deltas(),
        )
    }
}

fn side_counts<'a>(
    indices: Indices<'a>,
    deltas: &'a [i64],
) -> impl Iterator<Item = (i32, i64)> + 'a {
    let counts = deltas.iter().scan(0_i64, |count, &delta| {
        *count = count.wrapping_add(delta);
        Some(*count)
    });
    indices.zip(counts)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::histogram::{CUSTOM_BUCKETS_SCHEMA, Span};

    #[test]
    fn buckets_are_clipped_at_the_zero_bucket() {
        let spans = vec![
            Span {
                offset: -1,
                length: 2,
            },
            Span {
                offset: 1,
                length: 1,
            },
        ];
        let layout = Arc::new(BucketLayout {
            zero_threshold: 0.3,
            positive_spans: spans.clone(),
            negative_spans: spans,
            ..BucketLayout::default()
        });
        let mut histogram =
            FloatHistogram::new(layout, &[1.0, 2.0, 3.0], &[4.0, 5.0, 6.0]).unwrap();
        histogram.zero_count = 7.0;
        let all: Vec<_> = histogram
            .all_buckets()
            .map(|b| (b.lower, b.upper, b.count, b.boundary_rule()))
            .collect();
        assert_eq!(
            all,
            [
                (-4.0, -2.0, 6.0, 1),
                (-1.0, -0.5, 5.0, 1),
                (-0.5, -0.3, 4.0, 1),
                (-0.3, 0.3, 7.0, 3),
                (0.3, 0.5, 1.0, 0),
                (0.5, 1.0, 2.0, 0),
                (2.0, 4.0, 3.0, 0),
            ]
        );
        let mut backwards: Vec<_> = histogram.all_buckets().rev().map(|b| b.count).collect();
        backwards.reverse();
        assert!(all.iter().map(|bucket| bucket.2).eq(backwards));
    }

    #[test]
    fn custom_buckets_begin_and_end_at_infinity() {
        let layout = Arc::new(BucketLayout {
            schema: CUSTOM_BUCKETS_SCHEMA,
            positive_spans: vec![Span {
                offset: 0,
                length: 4,
            }],
            custom_values: vec![1.0, 2.5],
            ..BucketLayout::default()
        });
        let histogram = FloatHistogram::new(layout, &[1.0; 4], &[]).unwrap();
        let bounds: Vec<_> = histogram
            .all_buckets()
            .map(|b| (b.lower, b.upper, b.boundary_rule()))
            .collect();
        let inf = f64::INFINITY;
        assert_eq!(
            bounds,
            [(-inf, 1.0, 3), (1.0, 2.5, 0), (2.5, inf, 0), (inf, inf, 0)]
        );
    }
}
