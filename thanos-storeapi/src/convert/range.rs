//! Times that mean "from the start" and "until the end".

use thanos_core::time::{TimeRange, Timestamp};

/// The earliest time of Prometheus' API.
///
/// Source: Prometheus `web/api/v1/api.go`, `MinTime`.
const EARLIEST: Timestamp = Timestamp::from_millis((i64::MIN / 1000 + SECS_OF_THE_ERA) * 1000);
/// The latest time of Prometheus' API.
const LATEST: Timestamp = Timestamp::from_millis((i64::MAX / 1000 - SECS_OF_THE_ERA) * 1000 + 999);
/// From the first of January of the year one until 1970.
const SECS_OF_THE_ERA: i64 = 62_135_596_801;

/// Returns the ends of `range` as messages have them.
///
/// COMPAT: Thanos' sidecar hands the ends to Prometheus as seconds in floating point. The greatest number of milliseconds
/// is rounded up there, overflows, and then nothing is found; so the ends of all time are sent as those of Prometheus' API.
pub(in crate::convert) fn range_to_pb(range: TimeRange) -> (i64, i64) {
    let end = |time: Timestamp| match time {
        Timestamp::MIN => EARLIEST.as_millis(),
        Timestamp::MAX => LATEST.as_millis(),
        other => other.as_millis(),
    };
    (end(range.min), end(range.max))
}

/// The opposite of [`range_to_pb`].
pub(in crate::convert) fn range_from_pb(min: i64, max: i64) -> TimeRange {
    let end = |ms: i64| match Timestamp::from_millis(ms) {
        EARLIEST => Timestamp::MIN,
        LATEST => Timestamp::MAX,
        other => other,
    };
    TimeRange {
        min: end(min),
        max: end(max),
    }
}
