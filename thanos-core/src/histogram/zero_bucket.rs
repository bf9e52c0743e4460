//! The zero bucket of a histogram when it grows over other buckets.

use super::BucketLayout;
use super::bounds::exponential_bound;
use super::buckets::Side;
use super::compensated::Compensated;
use super::spans::{Span, indices};

/// Returns what the zero count would be with a larger zero threshold, and that threshold: it grows to the end
/// of a bucket with observations that it would cut. `buckets` are the positive and then the negative counts.
///
/// Source: Prometheus model/histogram, zeroCountForLargerThreshold.
pub(super) fn zero_count_for(
    layout: &BucketLayout,
    zero_count: Compensated,
    buckets: impl Iterator<Item = Compensated> + Clone,
    mut threshold: f64,
) -> (Compensated, f64) {
    let mut count = zero_count;
    if threshold == layout.zero_threshold {
        return (count, threshold);
    }
    'grown: loop {
        // COMPAT: only the sum starts again after the threshold grew, what rounding took from it does not.
        count.sum = zero_count.sum;
        for (side, spans) in [
            (Side::Positive, &layout.positive_spans),
            (Side::Negative, &layout.negative_spans),
        ] {
            let skipped = if side == Side::Positive {
                0
            } else {
                layout.positive_len()
            };
            for (index, bucket) in indices(spans).zip(buckets.clone().skip(skipped)) {
                let inner = exponential_bound(index - 1, layout.schema);
                let outer = exponential_bound(index, layout.schema);
                if inner >= threshold {
                    break;
                }
                count.add_both(bucket);
                if outer > threshold {
                    if bucket.sum != 0.0 {
                        threshold = outer;
                        if side == Side::Negative {
                            // The positive side was summed up to the smaller threshold.
                            continue 'grown;
                        }
                    }
                    break;
                }
            }
        }
        return (count, threshold);
    }
}

/// Empties the buckets that begin below `threshold`.
pub(super) fn clear_below<C: Default>(layout: &BucketLayout, counts: &mut [C], threshold: f64) {
    let (positive, negative) = counts.split_at_mut(layout.positive_len());
    let clear = |spans: &[Span], counts: &mut [C]| {
        let below = indices(spans)
            .take_while(|&index| exponential_bound(index - 1, layout.schema) < threshold)
            .count();
        counts[..below].fill_with(C::default);
    };
    clear(&layout.positive_spans, positive);
    clear(&layout.negative_spans, negative);
}
