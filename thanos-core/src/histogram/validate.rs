//! Whether a histogram from outside makes sense.
//!
//! The messages are upstream's, because remote write answers carry them.
//! Source: Prometheus model/histogram, Histogram.Validate and FloatHistogram.Validate.

use std::fmt::Display;

use super::{
    BucketLayout, EXPONENTIAL_SCHEMA_MAX, EXPONENTIAL_SCHEMA_MIN, FloatHistogram, Histogram, Span,
};
use crate::error::{Error, Result};

impl Histogram {
    /// Checks that the layout is one that Prometheus stores and that the counts add up.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) says what is wrong.
    pub fn validate(&self) -> Result<()> {
        let layout = self.layout();
        check_layout(layout, self.zero_count == 0)?;
        let negative = sum_counts("negative", self.negative_counts().map(|(_, count)| count))?;
        let positive = sum_counts("positive", self.positive_counts().map(|(_, count)| count))?;
        let in_buckets = negative
            .wrapping_add(positive)
            .wrapping_add(self.zero_count);
        let found = format!(
            "{in_buckets} observations found in buckets, but the Count field is {}",
            self.count
        );
        if self.sum.is_nan() {
            // Observations of NaN are counted but fall into no bucket.
            if in_buckets > self.count {
                return Err(Error::invalid(format!(
                    "{found}: histogram's observation count should be at least the number of observations \
                     found in the buckets"
                )));
            }
        } else if in_buckets != self.count {
            return Err(Error::invalid(format!(
                "{found}: histogram's observation count should equal the number of observations found in \
                 the buckets (in absence of NaN)"
            )));
        }
        Ok(())
    }
}

fn sum_counts(side: &str, counts: impl Iterator<Item = i64>) -> Result<u64> {
    let mut sum = 0_u64;
    for (at, count) in counts.enumerate() {
        let count = u64::try_from(count).map_err(|_| negative_bucket(side, at, count))?;
        sum = sum.wrapping_add(count);
    }
    Ok(sum)
}

impl FloatHistogram {
    /// Checks that the layout is one that Prometheus stores and that no count is negative.
    ///
    /// Sums are not compared: rounding makes them differ.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) says what is wrong.
    pub fn validate(&self) -> Result<()> {
        check_layout(self.layout(), self.zero_count == 0.0)?;
        check_counts("negative", self.negative_buckets())?;
        if self.zero_count < 0.0 {
            return Err(Error::invalid(format!(
                "zero bucket has observation count of {}: {NEGATIVE_BUCKET}",
                self.zero_count
            )));
        }
        if self.count < 0.0 {
            return Err(Error::invalid(format!(
                "observation count is {}: histogram's observation count is negative",
                self.count
            )));
        }
        check_counts("positive", self.positive_buckets())
    }
}

fn check_counts(side: &str, counts: &[f64]) -> Result<()> {
    match counts.iter().position(|&count| count < 0.0) {
        Some(at) => Err(negative_bucket(side, at, counts[at])),
        None => Ok(()),
    }
}

const NEGATIVE_BUCKET: &str = "histogram has a bucket whose observation count is negative";

fn negative_bucket(side: &str, at: usize, count: impl Display) -> Error {
    Error::invalid(format!(
        "{side} side: bucket number {} has observation count of {count}: {NEGATIVE_BUCKET}",
        at + 1
    ))
}

fn check_layout(layout: &BucketLayout, zero_bucket_is_empty: bool) -> Result<()> {
    if layout.has_custom_buckets() {
        check_bounds(&layout.custom_values)?;
        check_coverage(&layout.positive_spans, &layout.custom_values)?;
        return check_no_other_side(layout, zero_bucket_is_empty);
    }
    if !(EXPONENTIAL_SCHEMA_MIN..=EXPONENTIAL_SCHEMA_MAX).contains(&layout.schema) {
        return Err(Error::invalid(format!(
            "histogram has an invalid schema, which must be between -4 and 8 for exponential buckets, \
             or -53 for custom buckets, got schema {}",
            layout.schema
        )));
    }
    if !layout.custom_values.is_empty() {
        return Err(Error::invalid(
            "histogram with exponential schema must not have custom bounds",
        ));
    }
    layout.check_spans()
}

fn check_bounds(bounds: &[f64]) -> Result<()> {
    let wrong = |message: &str| Err(Error::invalid(format!("custom buckets: {message}")));
    for (at, &bound) in bounds.iter().enumerate() {
        if bound.is_nan() {
            return wrong("histogram custom bounds must not be NaN");
        }
        if at > 0 && bound <= bounds[at - 1] {
            return wrong(&format!(
                "previous bound is {:.6} and current is {bound:.6}: histogram custom bounds must be in \
                 strictly increasing order",
                bounds[at - 1]
            ));
        }
    }
    if bounds.last() == Some(&f64::INFINITY) {
        return wrong(
            "last +Inf bound must not be explicitly defined: histogram custom bounds must be finite",
        );
    }
    Ok(())
}

/// Checks that no span reaches past the bounds, after which comes one bucket up to infinity.
fn check_coverage(spans: &[Span], bounds: &[f64]) -> Result<()> {
    let mut covered = 0_i64;
    for (at, span) in spans.iter().enumerate() {
        if span.offset < 0 {
            return Err(Error::invalid(format!(
                "custom buckets: span number {} with offset {}: histogram has a span whose offset is negative",
                at + 1,
                span.offset
            )));
        }
        covered += i64::from(span.offset) + i64::from(span.length);
    }
    if bounds.len() as u64 + 1 < covered.unsigned_abs() {
        return Err(Error::invalid(format!(
            "custom buckets: only {} custom bounds defined which is insufficient to cover total span length \
             of {covered}: histogram custom bounds are too few",
            bounds.len()
        )));
    }
    Ok(())
}

fn check_no_other_side(layout: &BucketLayout, zero_bucket_is_empty: bool) -> Result<()> {
    let message = if !zero_bucket_is_empty {
        "custom buckets: must have zero count of 0"
    } else if layout.zero_threshold != 0.0 {
        "custom buckets: must have zero threshold of 0"
    } else if !layout.negative_spans.is_empty() {
        "custom buckets: must not have negative spans"
    } else {
        return Ok(());
    };
    Err(Error::invalid(message))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::histogram::CUSTOM_BUCKETS_SCHEMA;

    fn layout() -> BucketLayout {
        BucketLayout {
            positive_spans: vec![Span {
                offset: 0,
                length: 2,
            }],
            negative_spans: vec![Span {
                offset: 0,
                length: 1,
            }],
            ..BucketLayout::default()
        }
    }

    fn integer(change: impl Fn(&mut Histogram)) -> Result<()> {
        let mut histogram = Histogram::new(Arc::new(layout()), &[2, -1], &[3]).unwrap();
        histogram.count = 7;
        histogram.zero_count = 1;
        change(&mut histogram);
        histogram.validate()
    }

    fn custom(change: impl Fn(&mut BucketLayout)) -> Result<()> {
        let mut layout = BucketLayout {
            schema: CUSTOM_BUCKETS_SCHEMA,
            positive_spans: vec![Span {
                offset: 1,
                length: 2,
            }],
            custom_values: vec![1.0, 2.0],
            ..BucketLayout::default()
        };
        change(&mut layout);
        let buckets = vec![0.0; layout.positive_len()];
        FloatHistogram::new(Arc::new(layout), &buckets, &[])?.validate()
    }

    #[test]
    fn counts_must_add_up_unless_nan_was_observed() {
        integer(|_| {}).unwrap();
        let error = integer(|histogram| histogram.count = 8).unwrap_err();
        assert!(
            error
                .message()
                .starts_with("7 observations found in buckets, but the Count field is 8: "),
            "{error}"
        );
        integer(|histogram| (histogram.count, histogram.sum) = (8, f64::NAN)).unwrap();
        assert!(integer(|histogram| (histogram.count, histogram.sum) = (6, f64::NAN)).is_err());
    }

    #[test]
    fn negative_counts_are_named() {
        let histogram = Histogram::new(Arc::new(layout()), &[2, -3], &[3]).unwrap();
        assert_eq!(
            histogram.validate().unwrap_err().message(),
            "positive side: bucket number 2 has observation count of -1: \
             histogram has a bucket whose observation count is negative"
        );
        let histogram = FloatHistogram::new(Arc::new(layout()), &[2.0, 0.5], &[-1.5]).unwrap();
        assert!(histogram.validate().unwrap_err().message().contains("-1.5"));
    }

    #[test]
    fn custom_bounds_must_be_finite_increasing_and_enough() {
        type Change = fn(&mut BucketLayout);
        custom(|_| {}).unwrap();
        let wrong: [(&str, Change); 6] = [
            ("NaN", |layout| layout.custom_values[0] = f64::NAN),
            ("increasing", |layout| layout.custom_values[1] = 1.0),
            ("finite", |layout| layout.custom_values[1] = f64::INFINITY),
            ("too few", |layout| layout.positive_spans[0].length = 3),
            ("zero threshold", |layout| layout.zero_threshold = 0.1),
            ("offset is negative", |layout| {
                layout.positive_spans[0].offset = -1
            }),
        ];
        for (word, change) in wrong {
            let error = custom(change).unwrap_err();
            assert!(error.message().contains(word), "{error}");
        }
    }

    #[test]
    fn wrong_schemas_and_lengths_are_refused() {
        let layout = BucketLayout {
            schema: 9,
            ..layout()
        };
        let histogram = Histogram::new(Arc::new(layout.clone()), &[0, 0], &[0]).unwrap();
        assert!(
            histogram
                .validate()
                .unwrap_err()
                .message()
                .contains("got schema 9")
        );
        let error = Histogram::new(Arc::new(layout), &[0], &[0]).unwrap_err();
        assert_eq!(
            error.message(),
            "positive side: spans need 2 buckets, have 1 buckets"
        );
    }
}
