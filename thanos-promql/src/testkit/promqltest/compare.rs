//! Compares native histograms and single values with what is expected.

use thanos_core::histogram::{FloatHistogram, SideBuckets};

use super::number::almost_equal;
use super::values::Slot;
use crate::value::SampleValue;

/// Reports whether `found` is what `expected` says; nothing found is what `_` says.
pub(super) fn is_expected(expected: &Slot, found: Option<&SampleValue>) -> bool {
    match (expected, found) {
        (Slot::Omitted, None) => true,
        (Slot::Float(expected), Some(SampleValue::Float(found))) => almost_equal(*expected, *found),
        (
            Slot::Histogram {
                histogram,
                is_hint_written,
            },
            Some(SampleValue::Histogram(found)),
        ) => {
            let same_hint = histogram.counter_reset_hint == found.counter_reset_hint;
            is_expected_histogram(histogram, found) && (same_hint || !is_hint_written)
        }
        _ => false,
    }
}

/// Reports whether two histograms have nearly the same numbers in the same buckets; empty buckets and hints do
/// not matter.
fn is_expected_histogram(expected: &FloatHistogram, found: &FloatHistogram) -> bool {
    let [expected, found] = [expected, found].map(|histogram| {
        let mut compact = histogram.clone();
        compact.compact(0);
        compact
    });
    let (a, b) = (expected.layout(), found.layout());
    a.schema == b.schema
        && (!a.has_custom_buckets() || a.custom_values == b.custom_values)
        && a.zero_threshold == b.zero_threshold
        && almost_equal(expected.count, found.count)
        && almost_equal(expected.sum, found.sum)
        && almost_equal(expected.zero_count, found.zero_count)
        && are_expected_buckets(expected.positive(), found.positive())
        && are_expected_buckets(expected.negative(), found.negative())
}

fn are_expected_buckets(expected: SideBuckets<'_>, found: SideBuckets<'_>) -> bool {
    expected.len() == found.len()
        && expected
            .zip(found)
            .all(|(a, b)| a.index == b.index && almost_equal(a.count, b.count))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parser::Options;
    use crate::testkit::promqltest::values;

    fn slots(text: &str) -> Vec<Slot> {
        values::parse(1, &format!("x {text}"), &Options::all())
            .unwrap()
            .1
    }

    fn is_equal(expected: &str, found: &str) -> bool {
        let found = match &slots(found)[0] {
            Slot::Omitted => None,
            Slot::Float(value) => Some(SampleValue::Float(*value)),
            Slot::Histogram { histogram, .. } => Some(SampleValue::Histogram(histogram.clone())),
        };
        is_expected(&slots(expected)[0], found.as_ref())
    }

    #[test]
    fn histograms_are_compared_by_meaning() {
        for (expected, found, equal) in [
            (
                "{{count:1 buckets:[1]}}",
                "{{count:1 buckets:[1 0 0]}}",
                true,
            ),
            (
                "{{count:1 buckets:[0 1]}}",
                "{{count:1 offset:1 buckets:[1]}}",
                true,
            ),
            (
                "{{count:1 buckets:[1]}}",
                "{{count:1 n_buckets:[1]}}",
                false,
            ),
            (
                "{{count:1 buckets:[1]}}",
                "{{count:1.0000001 buckets:[1]}}",
                true,
            ),
            ("{{count:1}}", "{{count:1.1}}", false),
            ("{{sum:NaN}}", "{{sum:NaN}}", true),
            ("{{schema:1}}", "{{}}", false),
            ("{{z_bucket_w:0.1}}", "{{}}", false),
            ("{{}}", "{{counter_reset_hint:gauge}}", true),
            (
                "{{counter_reset_hint:unknown}}",
                "{{counter_reset_hint:gauge}}",
                false,
            ),
            (
                "{{counter_reset_hint:gauge}}",
                "{{counter_reset_hint:gauge}}",
                true,
            ),
            (
                "{{schema:-53 custom_values:[1]}}",
                "{{schema:-53 custom_values:[2]}}",
                false,
            ),
            ("0", "{{}}", false),
            ("{{}}", "0", false),
            ("_", "0", false),
            ("0", "_", false),
            ("_", "_", true),
        ] {
            assert_eq!(is_equal(expected, found), equal, "{expected} {found}");
        }
    }
}
