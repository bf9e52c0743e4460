//! Timestamps in milliseconds, time ranges, and the clock seam.
//!
//! Prometheus counts time in signed milliseconds since the Unix epoch; every bound here is inclusive unless a
//! name says otherwise. Block ranges in `meta.json` are half-open and are converted where they are read.

mod duration;
mod rfc3339;
mod window;

use std::fmt;
use std::ops::{Add, Sub};

pub use duration::{DisplayGo, DisplayPrometheus, SignedDuration};
pub use rfc3339::{Civil, UtcTime, days_in_month};
pub use window::{TimeBound, TimeWindow};

/// Milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The earliest time.
    pub const MIN: Self = Self(i64::MIN);
    /// The latest time.
    pub const MAX: Self = Self(i64::MAX);

    /// Returns the time `ms` milliseconds after the epoch.
    pub const fn from_millis(ms: i64) -> Self {
        Self(ms)
    }

    /// Returns the milliseconds since the epoch.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Returns this time moved by `delta_ms`, stopping at the ends of the range.
    #[must_use]
    pub const fn saturating_add_millis(self, delta_ms: i64) -> Self {
        Self(self.0.saturating_add(delta_ms))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Add<i64> for Timestamp {
    type Output = Self;

    fn add(self, delta_ms: i64) -> Self {
        self.saturating_add_millis(delta_ms)
    }
}

impl Sub for Timestamp {
    type Output = i64;

    fn sub(self, other: Self) -> i64 {
        self.0.saturating_sub(other.0)
    }
}

/// A span of time with both ends inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TimeRange {
    /// The first time of the range.
    pub min: Timestamp,
    /// The last time of the range; a range with `max < min` holds nothing.
    pub max: Timestamp,
}

impl TimeRange {
    /// All of time.
    pub const ALL: Self = Self {
        min: Timestamp::MIN,
        max: Timestamp::MAX,
    };

    /// Returns the range from `min_ms` to `max_ms`, both inclusive.
    pub const fn from_millis(min_ms: i64, max_ms: i64) -> Self {
        Self {
            min: Timestamp(min_ms),
            max: Timestamp(max_ms),
        }
    }

    /// Reports whether `time` lies in the range.
    pub fn contains(self, time: Timestamp) -> bool {
        self.min <= time && time <= self.max
    }

    /// Reports whether the two ranges share a time.
    pub fn overlaps(self, other: Self) -> bool {
        self.min <= other.max && other.min <= self.max
    }

    /// Reports whether the range holds no time at all.
    pub fn is_empty(self) -> bool {
        self.max < self.min
    }
}

impl Default for TimeRange {
    fn default() -> Self {
        Self::ALL
    }
}

/// Where the current time comes from; tests use a clock that stands still.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// Returns the current time.
    fn now(&self) -> Timestamp;
}

/// The clock of the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the system's clock"
    )]
    fn now(&self) -> Timestamp {
        let since_epoch = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        Timestamp(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
    }
}

/// A clock that always says the same time.
#[derive(Debug, Clone, Copy, Default)]
pub struct FixedClock(pub Timestamp);

impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_touch_at_inclusive_ends() {
        let range = TimeRange::from_millis(10, 20);
        assert!(range.overlaps(TimeRange::from_millis(20, 30)));
        assert!(!range.overlaps(TimeRange::from_millis(21, 30)));
        assert!(range.contains(Timestamp::from_millis(10)));
        assert!(TimeRange::from_millis(5, 4).is_empty());
    }
}
