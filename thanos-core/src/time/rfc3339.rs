//! Points in time as dates: RFC 3339 text as Go reads and writes it, and the parts that PromQL's date functions
//! return.
//!
//! The calendar is the proleptic Gregorian one in UTC; there are no leap seconds and no time zones but fixed
//! offsets in text that is read.

use std::fmt;

use super::Timestamp;
use crate::error::{Error, Result};
use crate::text::write_go_quoted;

const SECS_PER_DAY: i64 = 86_400;
const NANOS_PER_MILLI: u32 = 1_000_000;
/// The calendar repeats after this many days: 400 years.
const DAYS_PER_ERA: i64 = 146_097;
/// Days from 1 March of the year 0 to 1 January 1970.
const EPOCH_DAYS: i64 = 719_468;

/// A point in time with nanoseconds: what Go's `time.Time` in UTC holds.
///
/// # Example
///
/// ```
/// use thanos_core::time::UtcTime;
///
/// let time = UtcTime::parse_rfc3339("2024-02-29T13:00:00.25+01:00")?;
/// assert_eq!(time.to_string(), "2024-02-29T12:00:00.25Z");
/// assert_eq!(time.timestamp().as_millis(), 1_709_208_000_250);
/// assert_eq!(UtcTime::GO_ZERO.to_string(), "0001-01-01T00:00:00Z");
/// # Ok::<(), thanos_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UtcTime {
    unix_secs: i64,
    nanos: u32,
}

impl UtcTime {
    /// The zero value of Go's `time.Time`, which JSON of Prometheus and Thanos shows for "never".
    pub const GO_ZERO: Self = Self {
        unix_secs: -62_135_596_800,
        nanos: 0,
    };

    /// Returns the time `secs` seconds after the Unix epoch.
    pub const fn from_unix_secs(secs: i64) -> Self {
        Self {
            unix_secs: secs,
            nanos: 0,
        }
    }

    /// Returns the time `nanos` nanoseconds into the second `secs` after the Unix epoch, or nothing when that is a second or
    /// more.
    pub const fn from_unix_secs_and_nanos(secs: i64, nanos: u32) -> Option<Self> {
        if nanos >= 1_000_000_000 {
            return None;
        }
        Some(Self {
            unix_secs: secs,
            nanos,
        })
    }

    /// Returns the time of `timestamp`.
    pub fn from_timestamp(timestamp: Timestamp) -> Self {
        let millis = timestamp.as_millis();
        let below_second = u32::try_from(millis.rem_euclid(1000)).expect("below 1000");
        Self {
            unix_secs: millis.div_euclid(1000),
            nanos: below_second * NANOS_PER_MILLI,
        }
    }

    /// Returns the whole milliseconds, rounded down, stopping at the ends of the range.
    pub fn timestamp(self) -> Timestamp {
        let millis = i128::from(self.unix_secs) * 1000 + i128::from(self.nanos / NANOS_PER_MILLI);
        let end = if millis < 0 { i64::MIN } else { i64::MAX };
        Timestamp(i64::try_from(millis).unwrap_or(end))
    }

    /// Returns the whole seconds since the Unix epoch, rounded down.
    pub const fn unix_secs(self) -> i64 {
        self.unix_secs
    }

    /// Returns the nanoseconds of the second, below 10^9.
    pub const fn nanos(self) -> u32 {
        self.nanos
    }

    /// Returns the date and the time of day.
    pub fn civil(self) -> Civil {
        Civil::from_unix_secs(self.unix_secs)
    }

    /// Parses `2006-01-02T15:04:05`, optionally a fraction, and `Z` or an offset like `+01:00`.
    ///
    /// Digits below the nanosecond are dropped. Source: `time.Parse(time.RFC3339Nano)`.
    ///
    /// # Errors
    ///
    /// `Invalid` when the text has another form or names no existing date.
    pub fn parse_rfc3339(text: &str) -> Result<Self> {
        parse(text.as_bytes()).ok_or_else(|| {
            let mut message = String::from("not an RFC 3339 time: ");
            write_go_quoted(&mut message, text).expect("writing to memory cannot fail");
            Error::invalid(message)
        })
    }
}

/// Formats as Go's `time.RFC3339Nano` in UTC: no fraction when it is zero, no trailing zeros in it.
impl fmt::Display for UtcTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let civil = self.civil();
        if civil.year < 0 {
            f.write_str("-")?;
        }
        write!(
            f,
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}",
            civil.year.unsigned_abs(),
            civil.month,
            civil.day,
            civil.hour,
            civil.minute,
            civil.second
        )?;
        if self.nanos > 0 {
            let digits = format!("{:09}", self.nanos);
            write!(f, ".{}", digits.trim_end_matches('0'))?;
        }
        f.write_str("Z")
    }
}

/// A date and a time of day in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Civil {
    /// The year; 0 is the year before 1.
    pub year: i64,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
    /// 0 to 59.
    pub second: u8,
    /// 0 is Sunday, 6 is Saturday.
    pub weekday: u8,
    /// 1 to 366.
    pub day_of_year: u16,
}

impl Civil {
    /// Returns the parts of the time `secs` seconds after the Unix epoch.
    pub fn from_unix_secs(secs: i64) -> Self {
        let days = secs.div_euclid(SECS_PER_DAY);
        let second_of_day = secs.rem_euclid(SECS_PER_DAY);
        let (year, month, day) = date_of_days(days);
        let days_before_year = days_of_date(year, 1, 1);
        Self {
            year,
            month,
            day,
            hour: small(second_of_day / 3600),
            minute: small(second_of_day / 60 % 60),
            second: small(second_of_day % 60),
            // The epoch was a Thursday.
            weekday: small((days + 4).rem_euclid(7)),
            day_of_year: u16::try_from(days - days_before_year + 1).expect("at most 366"),
        }
    }

    /// Returns the number of days of the month.
    pub fn days_in_month(self) -> u8 {
        days_in_month(self.year, self.month)
    }
}

/// Returns the number of days of `month` (1 to 12) of `year`.
pub fn days_in_month(year: i64, month: u8) -> u8 {
    match month {
        2 if is_leap_year(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn is_leap_year(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn small(value: i64) -> u8 {
    u8::try_from(value).expect("a part of a date is small")
}

/// Returns (year, month, day) of a day counted from the epoch.
///
/// Years are counted from March, so that the leap day is the last one and months follow a linear pattern of
/// 153 days in five months.
fn date_of_days(days: i64) -> (i64, u8, u8) {
    let days = days + EPOCH_DAYS;
    let era = days.div_euclid(DAYS_PER_ERA);
    let day_of_era = days.rem_euclid(DAYS_PER_ERA);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, small(month), small(day))
}

/// Returns the day, counted from the epoch, of an existing date: the inverse of [`date_of_days`].
fn days_of_date(year: i64, month: u8, day: u8) -> i64 {
    let year_from_march = year - i64::from(month <= 2);
    let era = year_from_march.div_euclid(400);
    let year_of_era = year_from_march.rem_euclid(400);
    let month_from_march = (i64::from(month) + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + i64::from(day) - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * DAYS_PER_ERA + day_of_era - EPOCH_DAYS
}

fn parse(text: &[u8]) -> Option<UtcTime> {
    let (date, rest) = text.split_at_checked(b"2006-01-02T15:04:05".len())?;
    let marks = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if marks.iter().any(|(place, mark)| date[*place] != *mark) {
        return None;
    }
    let year = number(&date[..4], 0, 9999)?;
    let month = number(&date[5..7], 1, 12)?;
    let days_in_month = days_in_month(year, small(month)).into();
    let day = number(&date[8..10], 1, days_in_month)?;
    let second_of_day = number(&date[11..13], 0, 23)? * 3600
        + number(&date[14..16], 0, 59)? * 60
        + number(&date[17..19], 0, 59)?;
    let (nanos, zone) = split_fraction(rest);
    let days = days_of_date(year, small(month), small(day));
    Some(UtcTime {
        unix_secs: days * SECS_PER_DAY + second_of_day - zone_secs(zone)?,
        nanos,
    })
}

/// Reads a number that is all digits and lies in the range.
fn number(digits: &[u8], min: i64, max: i64) -> Option<i64> {
    let mut value = 0;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        value = value * 10 + i64::from(digit - b'0');
    }
    (min..=max).contains(&value).then_some(value)
}

/// Splits off a fraction of a second: its nanoseconds and the rest.
fn split_fraction(text: &[u8]) -> (u32, &[u8]) {
    let Some((b'.', after)) = text.split_first() else {
        return (0, text);
    };
    let len = after
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    if len == 0 {
        return (0, text);
    }
    let padded = after[..len].iter().copied().chain(std::iter::repeat(b'0'));
    let nanos = padded
        .take(9)
        .fold(0, |nanos, digit| nanos * 10 + u32::from(digit - b'0'));
    (nanos, &after[len..])
}

/// Returns how many seconds the zone is ahead of UTC.
fn zone_secs(zone: &[u8]) -> Option<i64> {
    match zone {
        b"Z" => Some(0),
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let secs = number(&[*h1, *h2], 0, 23)? * 3600 + number(&[*m1, *m2], 0, 59)? * 60;
            Some(if *sign == b'-' { -secs } else { secs })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
