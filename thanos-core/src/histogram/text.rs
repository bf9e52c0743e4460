//! The text of a histogram, as Prometheus' tools and error messages print it.
//!
//! ```text
//! {count:4, sum:2.5, [-1,-0.5):1, [-0.001,0.001]:1, (0.5,1]:2}
//! ```
//!
//! Source: Prometheus model/histogram, Histogram.String and FloatHistogram.String.

use std::fmt;

use super::buckets::{Bucket, Side};
use super::{FloatHistogram, Histogram};
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
