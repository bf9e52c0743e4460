//! Classic histograms as native histograms with custom buckets.
//!
//! Source: Prometheus util/convertnhcb.

use std::sync::Arc;

use thanos_core::histogram::{BucketLayout, CUSTOM_BUCKETS_SCHEMA, FloatHistogram, Span};
use thanos_core::labels::{Labels, LabelsBuilder};
use thanos_core::text::{FloatFormat, GoFloat};

/// Which part of a classic histogram a series is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Part {
    /// The observations up to a bound.
    Bucket(f64),
    /// All observations.
    Count,
    /// Their sum.
    Sum,
}

/// Returns the labels of the histogram that a series is a part of.
///
/// # Errors
///
/// When a bucket has no label `le`.
pub(super) fn part_of(labels: &Labels) -> Result<Option<(Labels, Part)>, String> {
    let Some(name) = labels.get("__name__") else {
        return Ok(None);
    };
    let (base, part) = if let Some(base) = name.strip_suffix("_bucket") {
        let le = labels
            .get("le")
            .ok_or_else(|| format!("expected bucket label in metric {labels}"))?;
        match le.parse::<f64>() {
            Ok(bound) if !bound.is_nan() => (base, Part::Bucket(bound)),
            _ => return Ok(None),
        }
    } else if let Some(base) = name.strip_suffix("_sum") {
        (base, Part::Sum)
    } else if let Some(base) = name.strip_suffix("_count") {
        (base, Part::Count)
    } else {
        return Ok(None);
    };
    let mut builder = LabelsBuilder::from_labels(labels.as_ref());
    builder.set("__name__", base).remove("le");
    Ok(Some((builder.build(), part)))
}

/// The parts of a classic histogram at one time.
#[derive(Debug, Default)]
pub(super) struct Classic {
    /// Bounds and counts up to them, ascending.
    buckets: Vec<(f64, f64)>,
    count: Option<f64>,
    sum: f64,
}

impl Classic {
    /// Takes over one part. Of a bound that comes twice, the first counts.
    pub(super) fn set(&mut self, part: Part, value: f64) -> Result<(), String> {
        match part {
            Part::Sum => self.sum = value,
            Part::Count if value < 0.0 => {
                return Err(format!(
                    "count must be non-negative: count={}",
                    number(value)
                ));
            }
            Part::Count => self.count = Some(value),
            Part::Bucket(bound) => self.set_bucket(bound, value)?,
        }
        Ok(())
    }

    fn set_bucket(&mut self, bound: f64, count: f64) -> Result<(), String> {
        if count < 0.0 {
            let (bound, count) = (number(bound), number(count));
            return Err(format!(
                "bucket count must be non-negative: le={bound}, count={count}"
            ));
        }
        let at = self.buckets.partition_point(|known| known.0 < bound);
        if self.buckets.get(at).is_some_and(|known| known.0 == bound) {
            return Ok(());
        }
        let below = at.checked_sub(1).map_or(0.0, |below| self.buckets[below].1);
        let above = self.buckets.get(at).map_or(f64::INFINITY, |above| above.1);
        if count < below || count > above {
            let (sign, other) = if count < below {
                ('<', below)
            } else {
                ('>', above)
            };
            let (count, other) = (number(count), number(other));
            return Err(format!("count is not cumulative: {count} {sign} {other}"));
        }
        self.buckets.insert(at, (bound, count));
        Ok(())
    }

    /// Returns the native histogram.
    pub(super) fn convert(mut self) -> Result<FloatHistogram, String> {
        let highest = self.buckets.last().map_or(0.0, |bucket| bucket.1);
        let count = self.count.unwrap_or(highest);
        if self
            .buckets
            .last()
            .is_none_or(|last| last.0 != f64::INFINITY)
        {
            self.buckets.push((f64::INFINITY, count));
        } else if count != highest {
            let (count, highest) = (number(count), number(highest));
            return Err(format!(
                "count mismatch: count={count} != le=+Inf count={highest}"
            ));
        }
        let mut histogram = self.build(count)?;
        // Integer counts are stored with short gaps, float counts without.
        let is_integer = histogram.buckets().iter().all(|count| count.fract() == 0.0);
        histogram.compact(if is_integer { 2 } else { 0 });
        histogram.validate().map_err(|error| error.to_string())?;
        Ok(histogram)
    }

    fn build(&self, count: f64) -> Result<FloatHistogram, String> {
        let length = u32::try_from(self.buckets.len()).map_err(|_| "too many buckets")?;
        let bounds = self.buckets.iter().map(|bucket| bucket.0);
        let layout = BucketLayout {
            schema: CUSTOM_BUCKETS_SCHEMA,
            positive_spans: vec![Span { offset: 0, length }],
            // The last bound is infinite and not listed.
            custom_values: bounds.filter(|bound| *bound != f64::INFINITY).collect(),
            ..BucketLayout::default()
        };
        let mut below = 0.0;
        let mut counts = Vec::with_capacity(self.buckets.len());
        for &(_, up_to) in &self.buckets {
            counts.push(up_to - below);
            below = up_to;
        }
        let mut histogram = FloatHistogram::new(Arc::new(layout), &counts, &[])
            .map_err(|error| error.to_string())?;
        (histogram.count, histogram.sum) = (count, self.sum);
        Ok(histogram)
    }
}

fn number(value: f64) -> GoFloat {
    GoFloat(value, FloatFormat::General)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn convert(parts: &[(Part, f64)]) -> Result<FloatHistogram, String> {
        let mut classic = Classic::default();
        for &(part, value) in parts {
            classic.set(part, value)?;
        }
        classic.convert()
    }

    #[test]
    fn parts_in_any_order_make_a_histogram() {
        let inf = f64::INFINITY;
        let histogram = convert(&[
            (Part::Bucket(inf), 10.0),
            (Part::Sum, 5.5),
            (Part::Bucket(1.0), 3.0),
            (Part::Bucket(2.0), 3.0),
            (Part::Bucket(0.5), 1.0),
        ])
        .unwrap();
        assert_eq!(histogram.layout().custom_values, [0.5, 1.0, 2.0]);
        assert_eq!(histogram.positive_buckets(), [1.0, 2.0, 0.0, 7.0]);
        assert_eq!((histogram.count, histogram.sum), (10.0, 5.5));
    }

    #[test]
    fn the_count_stands_for_an_infinite_bucket() {
        let histogram = convert(&[(Part::Count, 4.5), (Part::Bucket(1.0), 3.0)]).unwrap();
        assert_eq!(histogram.positive_buckets(), [3.0, 1.5]);
    }

    #[test]
    fn contradictions_are_refused() {
        let inf = f64::INFINITY;
        for (parts, why) in [
            (
                vec![(Part::Bucket(1.0), -1.0)],
                "must be non-negative: le=1",
            ),
            (vec![(Part::Count, -1.0)], "count must be non-negative"),
            (
                vec![(Part::Bucket(1.0), 3.0), (Part::Bucket(2.0), 2.0)],
                "not cumulative: 2 < 3",
            ),
            (
                vec![(Part::Bucket(2.0), 2.0), (Part::Bucket(1.0), 3.0)],
                "not cumulative: 3 > 2",
            ),
            (
                vec![(Part::Bucket(inf), 2.0), (Part::Count, 3.0)],
                "count mismatch: count=3 != le=+Inf count=2",
            ),
        ] {
            let error = convert(&parts).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }
}
