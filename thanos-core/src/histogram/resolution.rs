//! Lower resolutions: neighbouring exponential buckets joined into one.

use std::sync::Arc;

use super::spans::{Span, SpanBuilder, indices, to_counts, to_deltas};
use super::{BucketLayout, FloatHistogram, Histogram};
use crate::error::{Error, Result};

/// Returns the index of the bucket of schema `to` that holds bucket `index` of schema `from`.
fn target_index(index: i32, from: i32, to: i32) -> i32 {
    // A bucket ends at the bound of its index, so index 1 of two halves belongs to bucket 1 with index 2.
    let shift = from.saturating_sub(to).clamp(0, 31);
    ((index - 1) >> shift) + 1
}

/// Joins the buckets of one side.
pub(super) fn reduce_side<C: Copy>(
    spans: &[Span],
    counts: &[C],
    (from, to): (i32, i32),
    add: impl Fn(C, C) -> C,
) -> (Vec<Span>, Vec<C>) {
    let mut builder = SpanBuilder::default();
    let mut joined: Vec<C> = Vec::with_capacity(counts.len());
    let mut last_index = None;
    for (index, &count) in indices(spans).zip(counts) {
        let target = target_index(index, from, to);
        match joined.last_mut() {
            Some(last) if last_index == Some(target) => *last = add(*last, count),
            _ => {
                builder.push(target);
                joined.push(count);
            }
        }
        last_index = Some(target);
    }
    (builder.finish(), joined)
}

/// Returns an error unless `layout` can be reduced to `schema`.
fn check(layout: &BucketLayout, schema: i32) -> Result<()> {
    if layout.has_custom_buckets() || schema == super::CUSTOM_BUCKETS_SCHEMA {
        return Err(Error::invalid(
            "cannot reduce the resolution of custom buckets",
        ));
    }
    if schema > layout.schema {
        return Err(Error::invalid(format!(
            "cannot reduce resolution from schema {} to {schema}",
            layout.schema
        )));
    }
    Ok(())
}

fn with_spans(
    layout: &BucketLayout,
    schema: i32,
    positive: Vec<Span>,
    negative: Vec<Span>,
) -> Arc<BucketLayout> {
    Arc::new(BucketLayout {
        schema,
        zero_threshold: layout.zero_threshold,
        positive_spans: positive,
        negative_spans: negative,
        custom_values: Vec::new(),
    })
}

impl FloatHistogram {
    /// Joins buckets until the histogram has the lower resolution `schema`.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) when `schema` is a higher resolution or the bounds are custom.
    pub fn reduce_resolution(&mut self, schema: i32) -> Result<()> {
        let layout = Arc::clone(self.layout());
        check(&layout, schema)?;
        if schema == layout.schema {
            return Ok(());
        }
        let reduce = |spans: &[Span], counts: &[f64]| {
            reduce_side(spans, counts, (layout.schema, schema), |a, b| a + b)
        };
        let (positive, mut buckets) = reduce(&layout.positive_spans, self.positive_buckets());
        let (negative, rest) = reduce(&layout.negative_spans, self.negative_buckets());
        buckets.extend(rest);
        self.set_buckets(with_spans(&layout, schema, positive, negative), buckets);
        Ok(())
    }
}

impl Histogram {
    /// Joins buckets until the histogram has the lower resolution `schema`.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) when `schema` is a higher resolution or the bounds are custom.
    pub fn reduce_resolution(&mut self, schema: i32) -> Result<()> {
        let layout = Arc::clone(self.layout());
        check(&layout, schema)?;
        if schema == layout.schema {
            return Ok(());
        }
        let reduce = |spans: &[Span], deltas: &[i64]| {
            let schemas = (layout.schema, schema);
            let (spans, counts) =
                reduce_side(spans, &to_counts(deltas), schemas, i64::wrapping_add);
            (spans, to_deltas(&counts))
        };
        let (positive, mut deltas) = reduce(&layout.positive_spans, self.positive_deltas());
        let (negative, rest) = reduce(&layout.negative_spans, self.negative_deltas());
        deltas.extend(rest);
        self.set_deltas(with_spans(&layout, schema, positive, negative), deltas);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_join_as_upstream_joins_them() {
        // Source of the case: Prometheus model/histogram, reduceResolution test.
        let spans = |list: &[(i32, u32)]| -> Vec<Span> {
            list.iter()
                .map(|&(offset, length)| Span { offset, length })
                .collect()
        };
        let layout = Arc::new(BucketLayout {
            positive_spans: spans(&[(0, 4), (0, 0), (3, 2)]),
            ..BucketLayout::default()
        });
        let mut histogram = Histogram::new(layout, &[1, 2, -2, 1, -1, 0], &[]).unwrap();
        histogram.reduce_resolution(-1).unwrap();
        assert_eq!(histogram.layout().positive_spans, spans(&[(0, 3), (1, 1)]));
        assert_eq!(histogram.positive_deltas(), [1, 3, -2, 0]);
        assert!(histogram.reduce_resolution(2).is_err());
    }
}
