//! The text of a histogram, as Prometheus' tools and error messages print it.
//!
//! ```text
//! {count:4, sum:2.5, [-1,-0.5):1, [-0.001,0.001]:1, (0.5,1]:2}
//! ```
//!
//! Test scripts write them as literals: `{{schema:1 sum:2.5 count:4 buckets:[1 2]}}`.
//!
//! Source: Prometheus model/histogram, Histogram.String, FloatHistogram.String and TestExpression.

use std::fmt;

use super::buckets::{Bucket, Side};
use super::spans::{Span, indices};
use super::{CounterResetHint, FloatHistogram, Histogram};
use crate::text::{FloatFormat, write_float};

impl fmt::Display for FloatHistogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{count:")?;
        number(f, self.count)?;
        f.write_str(", sum:")?;
        number(f, self.sum)?;
        let zero = (self.zero_count != 0.0).then(|| self.zero_bucket());
        let buckets = self.negative().rev().chain(zero).chain(self.positive());
        for bucket in buckets.filter(|bucket| bucket.count != 0.0) {
            f.write_str(", ")?;
            bounds(f, &bucket)?;
            number(f, bucket.count)?;
        }
        f.write_str("}")
    }
}

impl fmt::Display for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{count:{}, sum:", self.count)?;
        number(f, self.sum)?;
        let layout = self.layout();
        let mut below: Vec<_> = self.negative_counts().collect();
        below.reverse();
        for (index, count) in below {
            integer_bucket(
                f,
                &layout.bucket(Side::Negative, index, 0.0),
                count.cast_unsigned(),
            )?;
        }
        integer_bucket(f, &layout.zero_bucket(0.0), self.zero_count)?;
        for (index, count) in self.positive_counts() {
            integer_bucket(
                f,
                &layout.bucket(Side::Positive, index, 0.0),
                count.cast_unsigned(),
            )?;
        }
        f.write_str("}")
    }
}

fn integer_bucket(f: &mut fmt::Formatter<'_>, bucket: &Bucket, count: u64) -> fmt::Result {
    if count == 0 {
        return Ok(());
    }
    f.write_str(", ")?;
    bounds(f, bucket)?;
    write!(f, "{count}")
}

fn bounds(f: &mut fmt::Formatter<'_>, bucket: &Bucket) -> fmt::Result {
    f.write_str(if bucket.lower_inclusive { "[" } else { "(" })?;
    number(f, bucket.lower)?;
    f.write_str(",")?;
    number(f, bucket.upper)?;
    f.write_str(if bucket.upper_inclusive { "]:" } else { "):" })
}

fn number(f: &mut fmt::Formatter<'_>, value: f64) -> fmt::Result {
    write_float(f, value, FloatFormat::General)
}

/// Displays a histogram as the literal of Prometheus' test scripts.
#[derive(Debug, Clone, Copy)]
pub struct HistogramLiteral<'a>(&'a FloatHistogram);

impl FloatHistogram {
    /// Returns the histogram as the literal of Prometheus' test scripts.
    ///
    /// # Example
    ///
    /// ```
    /// use thanos_core::histogram::FloatHistogram;
    ///
    /// let mut histogram = FloatHistogram::new(Default::default(), &[], &[])?;
    /// (histogram.count, histogram.sum) = (2.0, 0.5);
    /// assert_eq!(histogram.literal().to_string(), "{{count:2 sum:0.5}}");
    /// # Ok::<_, thanos_core::Error>(())
    /// ```
    pub fn literal(&self) -> HistogramLiteral<'_> {
        HistogramLiteral(self)
    }
}

impl fmt::Display for HistogramLiteral<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (histogram, layout) = (self.0, self.0.layout());
        let mut fields = Fields { f, is_first: true };
        fields.f.write_str("{{")?;
        fields.integer("schema", layout.schema)?;
        fields.number("count", histogram.count)?;
        fields.number("sum", histogram.sum)?;
        fields.number("z_bucket", histogram.zero_count)?;
        fields.number("z_bucket_w", layout.zero_threshold)?;
        if layout.has_custom_buckets() {
            fields.list("custom_values", layout.custom_values.iter().copied())?;
        }
        let hint = match histogram.counter_reset_hint {
            CounterResetHint::Unknown => None,
            CounterResetHint::CounterReset => Some("reset"),
            CounterResetHint::NotCounterReset => Some("not_reset"),
            CounterResetHint::Gauge => Some("gauge"),
        };
        if let Some(hint) = hint {
            fields.name("counter_reset_hint")?;
            fields.f.write_str(hint)?;
        }
        let counts = histogram.positive_buckets();
        fields.side(["offset", "buckets"], &layout.positive_spans, counts)?;
        let counts = histogram.negative_buckets();
        fields.side(["n_offset", "n_buckets"], &layout.negative_spans, counts)?;
        fields.f.write_str("}}")
    }
}

/// Writes the fields of a literal; a number that is zero is left out.
struct Fields<'a, 'b> {
    f: &'a mut fmt::Formatter<'b>,
    is_first: bool,
}

impl Fields<'_, '_> {
    fn name(&mut self, name: &str) -> fmt::Result {
        let before = if self.is_first { "" } else { " " };
        self.is_first = false;
        write!(self.f, "{before}{name}:")
    }

    fn integer(&mut self, name: &str, value: i32) -> fmt::Result {
        if value == 0 {
            return Ok(());
        }
        self.name(name)?;
        write!(self.f, "{value}")
    }

    fn number(&mut self, name: &str, value: f64) -> fmt::Result {
        if value == 0.0 {
            return Ok(());
        }
        self.name(name)?;
        number(self.f, value)
    }

    fn list(&mut self, name: &str, values: impl Iterator<Item = f64>) -> fmt::Result {
        self.name(name)?;
        self.f.write_str("[")?;
        for (at, value) in values.enumerate() {
            if at > 0 {
                self.f.write_str(" ")?;
            }
            number(self.f, value)?;
        }
        self.f.write_str("]")
    }

    /// Writes the buckets from the first to the last that is not empty, with all empty ones between.
    fn side(&mut self, [offset, name]: [&str; 2], spans: &[Span], counts: &[f64]) -> fmt::Result {
        let mut used = indices(spans)
            .zip(counts)
            .filter(|(_, count)| **count != 0.0);
        let Some((first, _)) = used.clone().next() else {
            return Ok(());
        };
        self.integer(offset, first)?;
        let mut next = used.next();
        let buckets = (first..).map_while(|index| {
            let (at, &count) = next?;
            if index < at {
                return Some(0.0);
            }
            next = used.next();
            Some(count)
        });
        self.list(name, buckets)
    }
}
