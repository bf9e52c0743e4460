//! Which buckets a histogram has: schema, zero threshold, spans of used buckets, custom bounds.

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

/// A run of neighbouring buckets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Span {
    /// The gap to the end of the previous span, or for the first span the index of its first bucket.
    pub offset: i32,
    /// The number of buckets.
    pub length: u32,
}

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

    /// Returns the error of a layout whose bucket list is not as long as its spans say.
    pub(crate) fn wrong_length(side: &str, spans: usize, buckets: usize) -> Error {
        Error::invalid(format!(
            "{side} side: spans need {spans} buckets, have {buckets} buckets"
        ))
    }

    /// Checks that lists of buckets fit the spans.
    pub(crate) fn check_lengths(&self, positive: usize, negative: usize) -> Result<()> {
        for (side, spans, buckets) in [
            ("positive", &self.positive_spans, positive),
            ("negative", &self.negative_spans, negative),
        ] {
            let needed = span_buckets(spans);
            if needed != buckets {
                return Err(Self::wrong_length(side, needed, buckets));
            }
        }
        Ok(())
    }
}

/// Returns the number of buckets in `spans`, stopping at the largest integer.
pub(crate) fn span_buckets(spans: &[Span]) -> usize {
    spans
        .iter()
        .fold(0, |sum, span| sum.saturating_add(span.length as usize))
}
