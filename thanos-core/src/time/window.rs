//! A span of time whose ends may move with the clock: `--min-time` and `--max-time`.

use std::fmt;
use std::str::FromStr;

use super::{SignedDuration, TimeRange, Timestamp, UtcTime};
use crate::error::{Error, Result};

/// A point in time, or a distance from now.
///
/// # Example
///
/// ```
/// use thanos_core::time::{TimeBound, Timestamp};
///
/// let now = Timestamp::from_millis(1_000_000_000_000);
/// let six_weeks_ago: TimeBound = "-6w".parse()?;
/// assert_eq!(six_weeks_ago.at(now), Timestamp::from_millis(1_000_000_000_000 - 6 * 7 * 86_400_000));
/// let fixed: TimeBound = "1970-01-01T00:00:01Z".parse()?;
/// assert_eq!(fixed.at(now), Timestamp::from_millis(1000));
/// # Ok::<(), thanos_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeBound {
    /// Always the same time.
    At(Timestamp),
    /// So much after now, or before it when negative.
    FromNow(SignedDuration),
}

impl TimeBound {
    /// Returns the time that is meant when it is `now`.
    pub const fn at(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(time) => time,
            Self::FromNow(distance) => now.saturating_add_millis(distance.as_millis()),
        }
    }
}

impl FromStr for TimeBound {
    type Err = Error;

    /// Parses an RFC 3339 time, or a duration of Prometheus with an optional minus (`model.TimeOrDurationValue`).
    fn from_str(text: &str) -> Result<Self> {
        if let Ok(time) = UtcTime::parse_rfc3339(text) {
            return Ok(Self::At(time.timestamp()));
        }
        SignedDuration::parse_prometheus_signed(text).map(Self::FromNow)
    }
}

/// From one bound to another, both inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeWindow {
    /// The first time.
    pub min: TimeBound,
    /// The last time.
    pub max: TimeBound,
}

impl TimeWindow {
    /// All of time.
    pub const ALL: Self = Self {
        min: TimeBound::At(Timestamp::MIN),
        max: TimeBound::At(Timestamp::MAX),
    };

    /// Returns the range that is meant when it is `now`.
    pub const fn at(self, now: Timestamp) -> TimeRange {
        TimeRange {
            min: self.min.at(now),
            max: self.max.at(now),
        }
    }

    /// Checks that the window is not empty at `now`.
    ///
    /// # Errors
    ///
    /// `Invalid` in Thanos' words when it ends before it begins.
    pub fn validate(self, now: Timestamp) -> Result<()> {
        if self.at(now).is_empty() {
            let Self { min, max } = self;
            let message = format!(
                "invalid argument: --min-time '{min}' can't be greater than --max-time '{max}'"
            );
            return Err(Error::invalid(message));
        }
        Ok(())
    }
}

impl Default for TimeWindow {
    fn default() -> Self {
        Self::ALL
    }
}

impl fmt::Display for TimeBound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(time) => time.fmt(f),
            Self::FromNow(distance) => distance.prometheus().fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ST-10: what `--min-time` and `--max-time` accept.
    #[test]
    fn bounds_are_times_or_signed_durations() {
        let now = Timestamp::from_millis(1_700_000_000_000);
        for (text, wanted_ms) in [
            ("2023-11-14T22:13:20Z", 1_700_000_000_000),
            ("2023-11-14T23:13:20.5+01:00", 1_700_000_000_500),
            ("0000-01-01T00:00:00Z", -62_167_219_200_000),
            ("9999-12-31T23:59:59Z", 253_402_300_799_000),
            ("-2h", 1_700_000_000_000 - 7_200_000),
            ("1d12h", 1_700_000_000_000 + 129_600_000),
            ("0", 1_700_000_000_000),
        ] {
            let bound: TimeBound = text.parse().unwrap();
            assert_eq!(bound.at(now).as_millis(), wanted_ms, "{text}");
        }
        for text in ["", "-", "now", "2h-", "1.5h", "2023-11-14"] {
            assert!(text.parse::<TimeBound>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_window_moves_with_the_clock_and_must_not_be_empty() {
        let window = TimeWindow {
            min: "-2h".parse().unwrap(),
            max: "-1h".parse().unwrap(),
        };
        let hour = 3_600_000;
        for now_ms in [0, 10 * hour] {
            let range = window.at(Timestamp::from_millis(now_ms));
            assert_eq!(
                range,
                TimeRange::from_millis(now_ms - 2 * hour, now_ms - hour)
            );
        }
        let now = Timestamp::from_millis(0);
        window.validate(now).unwrap();
        TimeWindow::ALL.validate(now).unwrap();
        let backwards = TimeWindow {
            min: window.max,
            max: window.min,
        };
        let error = backwards.validate(now).unwrap_err().to_string();
        assert!(error.contains("--min-time '-1h'"), "{error}");
    }

    #[test]
    fn far_bounds_stop_at_the_ends_of_time() {
        let far = TimeBound::FromNow(SignedDuration::from_nanos(i64::MAX));
        assert_eq!(far.at(Timestamp::MAX), Timestamp::MAX);
        let far = TimeBound::FromNow(SignedDuration::from_nanos(i64::MIN));
        assert_eq!(far.at(Timestamp::MIN), Timestamp::MIN);
    }
}
