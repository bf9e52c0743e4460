//! Which buckets a histogram has: schema, zero threshold, spans of used buckets, custom bounds.

use super::spans::{Span, check_spans, span_buckets};
use crate::error::{Error, Result};

/// The lowest resolution: each bucket is 65536 times as wide as the one before.
pub const EXPONENTIAL_SCHEMA_MIN: i32 = -4;
/// The highest resolution: 256 buckets per power of two.
pub const EXPONENTIAL_SCHEMA_MAX: i32 = 8;
/// The schema of histograms whose bucket bounds are listed ("native histograms with custom buckets").
pub const CUSTOM_BUCKETS_SCHEMA: i32 = -53;

/// The highest schema that the format reserves for exponential buckets.
const EXPONENTIAL_SCHEMA_MAX_RESERVED: i32 = 52;
/// The lowest schema that the format reserves for exponential buckets.
const EXPONENTIAL_SCHEMA_MIN_RESERVED: i32 = -9;

/// The buckets of a histogram, without their counts.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct BucketLayout {
    /// The resolution, or [`CUSTOM_BUCKETS_SCHEMA`].
    pub schema: i32,
    /// The largest magnitude that counts as zero.
    pub zero_threshold: f64,
    /// The used buckets of positive observations (or all of them, with custom bounds).
    pub positive_spans: Vec<Span>,
    /// The used buckets of negative observations.
    pub negative_spans: Vec<Span>,
    /// The upper bounds, when the schema is [`CUSTOM_BUCKETS_SCHEMA`].
    pub custom_values: Vec<f64>,
}

impl BucketLayout {
    /// Reports whether the bucket bounds are listed instead of computed.
    pub fn has_custom_buckets(&self) -> bool {
        self.schema == CUSTOM_BUCKETS_SCHEMA
    }

    /// Returns the number of positive buckets.
    pub fn positive_len(&self) -> usize {
        span_buckets(&self.positive_spans)
    }

    /// Returns the number of negative buckets.
    pub fn negative_len(&self) -> usize {
        span_buckets(&self.negative_spans)
    }

    /// Reports whether a stored histogram may have this schema; the reserved ones above
    /// [`EXPONENTIAL_SCHEMA_MAX`] are readable after a reduction of the resolution.
    pub fn has_known_schema(&self) -> bool {
        self.has_custom_buckets()
            || (EXPONENTIAL_SCHEMA_MIN_RESERVED..=EXPONENTIAL_SCHEMA_MAX_RESERVED)
                .contains(&self.schema)
    }

    /// Checks that the bucket indices grow and stay small, which all walks over spans rely on.
    pub(crate) fn check_spans(&self) -> Result<()> {
        check_spans(&self.positive_spans).map_err(|e| e.context("positive side"))?;
        check_spans(&self.negative_spans).map_err(|e| e.context("negative side"))
    }

    /// Checks that lists of buckets fit the spans.
    pub(crate) fn check_lengths(&self, positive: usize, negative: usize) -> Result<()> {
        self.check_spans()?;
        for (side, spans, buckets) in [
            ("positive", &self.positive_spans, positive),
            ("negative", &self.negative_spans, negative),
        ] {
            let needed = span_buckets(spans);
            if needed != buckets {
                return Err(Error::invalid(format!(
                    "{side} side: spans need {needed} buckets, have {buckets} buckets"
                )));
            }
        }
        Ok(())
    }
}
