//! The text of real histograms, as promtool printed it, and operations on those that are not valid.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::chunk::{self, segment_chunks};

#[test]
fn scraped_histograms_print_as_promtool_dumps_them() {
    let read = |name: &str| {
        let path = format!("{}/testdata/chunks/{name}", env!("CARGO_MANIFEST_DIR"));
        std::fs::read(path).unwrap()
    };
    let mut by_time = std::collections::HashMap::<i64, Vec<String>>::new();
    for chunk in segment_chunks(&read("native-histograms")) {
        let samples = chunk::samples(&chunk).unwrap();
        for (index, &time) in samples.times().iter().enumerate() {
            let view = samples.histogram(index).unwrap();
            let integer = view.to_integer().unwrap();
            if !integer.is_stale() {
                integer.validate().unwrap();
                integer.to_float().validate().unwrap();
            }
            assert_eq!(integer.to_string(), integer.to_float().to_string());
            by_time.entry(time).or_default().push(integer.to_string());
        }
    }
    let dump = String::from_utf8(read("native-histograms-dump.txt")).unwrap();
    let mut lines = 0;
    for line in dump.lines() {
        let (text, time) = line.rsplit_once(' ').unwrap();
        let printed = &by_time[&time.parse().unwrap()];
        assert!(printed.iter().any(|other| other == text), "{line}");
        lines += 1;
    }
    assert_eq!(lines, 11);
}

/// A histogram that only keeps the promises of its constructor.
fn any_histogram() -> impl Strategy<Value = Arc<FloatHistogram>> {
    let float = || {
        prop_oneof![
            any::<f64>(),
            prop::sample::select(vec![0.0, 1.0, 0.5, f64::INFINITY, f64::NAN, f64::MAX]),
        ]
    };
    let schema = prop_oneof![Just(CUSTOM_BUCKETS_SCHEMA), -4..=8, -60..60, any::<i32>()];
    let first = prop_oneof![-20..20, -(1_i32 << 28)..1 << 28];
    let spans = move || {
        let rest = prop::collection::vec((0_i32..3, 0_u32..3), 0..4);
        (first.clone(), rest).prop_map(|(first, rest)| {
            let spans = rest.into_iter().enumerate();
            let span = |(at, (gap, length))| Span {
                offset: if at == 0 { first + gap } else { gap },
                length,
            };
            spans.map(span).collect::<Vec<_>>()
        })
    };
    let numbers = prop::collection::vec(float(), 3 + 2 * 6);
    let bounds = prop::collection::vec(float(), 0..4);
    let parts = (schema, float(), spans(), spans(), bounds, numbers);
    parts.prop_map(
        |(schema, zero_threshold, positive_spans, negative_spans, bounds, numbers)| {
            let layout = BucketLayout {
                schema,
                zero_threshold,
                positive_spans,
                negative_spans,
                custom_values: bounds,
            };
            let (positive, negative) = (layout.positive_len(), layout.negative_len());
            let (scalars, counts) = numbers.split_at(3);
            let (positive, negative) = (&counts[..positive], &counts[6..6 + negative]);
            let mut histogram = FloatHistogram::new(Arc::new(layout), positive, negative).unwrap();
            (histogram.count, histogram.zero_count, histogram.sum) =
                (scalars[0], scalars[1], scalars[2]);
            Arc::new(histogram)
        },
    )
}

proptest! {
    #[test]
    fn no_operation_panics_on_whatever_a_chunk_holds(
        a in any_histogram(), b in any_histogram(), c in any_histogram(), at in any::<f64>()
    ) {
        let mut sum = HistogramSum::new(Arc::clone(&a));
        let mut mean = HistogramMean::new(Arc::clone(&a));
        for other in [&b, &c] {
            // Kinds that do not mix are an error, which is what they should be.
            let _ = sum.add(other);
            let _ = mean.add(other);
            let mut changed = FloatHistogram::clone(&a);
            let _ = changed.subtract(other);
            changed.compact(0);
            changed.detect_reset(other);
            changed.trim(Keep::Above, at);
            changed.to_string();
        }
        for histogram in [a, sum.total(), mean.mean()] {
            for q in [0.0, 0.3, 0.9, 1.0, at] {
                histogram.quantile(q);
            }
            histogram.fraction(at, f64::INFINITY);
            histogram.fraction(f64::NEG_INFINITY, at);
            histogram.variance();
            let mut changed = FloatHistogram::clone(&histogram);
            changed.trim(Keep::Below, at);
            prop_assert_eq!(changed.buckets().len(), changed.all_buckets().count() - usize::from(changed.zero_count > 0.0));
        }
    }
}
