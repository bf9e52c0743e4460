//! Native histograms: one sample that holds the counts of many buckets.
//!
//! A [`Histogram`] has integer counts as scraped and stored; a [`FloatHistogram`] has float counts as PromQL
//! computes with them. Both share a [`BucketLayout`] behind an `Arc`: all samples of a chunk have the same
//! layout, so comparing two layouts is mostly comparing two pointers.

mod arithmetic;
mod bounds;
mod buckets;
mod compact;
mod compensated;
#[cfg(test)]
mod golden;
mod layout;
mod model;
mod overlay;
mod reset;
mod resolution;
pub(crate) mod spans;
mod statistics;
mod sum;
mod text;
mod trim;
mod validate;
mod zero_bucket;

pub use arithmetic::Combined;
pub use buckets::{Bucket, SideBuckets};
pub use layout::{
    BucketLayout, CUSTOM_BUCKETS_SCHEMA, EXPONENTIAL_SCHEMA_MAX, EXPONENTIAL_SCHEMA_MIN,
};
pub use model::{CounterResetHint, FloatHistogram, Histogram};
pub(crate) use model::{count_to_float, push_counts};
pub use spans::Span;
pub use statistics::{Estimate, NanObservations};
pub use sum::{HistogramMean, HistogramSum};
pub use text::HistogramLiteral;
pub use trim::Keep;

/// The bits of the NaN that marks the end of a series.
pub const STALE_NAN_BITS: u64 = 0x7FF0_0000_0000_0002;

/// The value that marks the end of a series.
pub const STALE_NAN: f64 = f64::from_bits(STALE_NAN_BITS);

/// Reports whether `value` is the marker of the end of a series.
#[inline]
pub fn is_stale_nan(value: f64) -> bool {
    value.to_bits() == STALE_NAN_BITS
}

#[cfg(test)]
mod tests;
