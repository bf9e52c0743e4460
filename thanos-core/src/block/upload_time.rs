//! The RFC 3339 time of `upload_time` in meta.json, to the nanosecond, as Go prints and parses `time.Time`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Error, Result};
use crate::time::Timestamp;

/// Seconds from the epoch back to 0001-01-01T00:00:00Z, Go's zero time.
const ZERO_SECS: i64 = -62_135_596_800;

/// When the block's meta.json was uploaded; Go's zero time means that nobody knows.
///
/// # Example
///
/// ```
/// use thanos_core::block::UploadTime;
///
/// let time: UploadTime = "2026-11-22T13:00:09.054393719Z".parse()?;
/// assert_eq!(time.timestamp().map(|time| time.as_millis()), Some(1795352409054));
/// assert_eq!(UploadTime::UNKNOWN.to_string(), "0001-01-01T00:00:00Z");
/// # Ok::<(), thanos_core::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UploadTime {
    secs: i64,
    nanos: u32,
}

impl UploadTime {
    /// Go's zero time.
    pub const UNKNOWN: Self = Self {
        secs: ZERO_SECS,
        nanos: 0,
    };

    /// Returns the upload time `time`.
    pub fn at(time: Timestamp) -> Self {
        let ms = time.as_millis();
        let sub_ms = u32::try_from(ms.rem_euclid(1000)).expect("a remainder of 1000 is small");
        Self {
            secs: ms.div_euclid(1000),
            nanos: sub_ms * 1_000_000,
        }
    }

    /// Returns the time in whole milliseconds, or `None` when it is unknown.
    pub fn timestamp(self) -> Option<Timestamp> {
        (self != Self::UNKNOWN).then(|| {
            let ms = self.secs.saturating_mul(1000);
            Timestamp::from_millis(ms.saturating_add(i64::from(self.nanos / 1_000_000)))
        })
    }
}

impl Default for UploadTime {
    fn default() -> Self {
        Self::UNKNOWN
    }
}

impl fmt::Display for UploadTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = date_of(self.secs.div_euclid(86_400));
        let second = self.secs.rem_euclid(86_400);
        let (h, m, s) = (second / 3600, second / 60 % 60, second % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}")?;
        if self.nanos > 0 {
            let fraction = format!("{:09}", self.nanos);
            write!(f, ".{}", fraction.trim_end_matches('0'))?;
        }
        f.write_str("Z")
    }
}

impl fmt::Debug for UploadTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for UploadTime {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        parse(text).ok_or_else(|| Error::invalid(format!("{text:?} is not an RFC 3339 time")))
    }
}

impl Serialize for UploadTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for UploadTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Parses `YYYY-MM-DDTHH:MM:SS[.fraction](Z|+HH:MM|-HH:MM)`.
fn parse(text: &str) -> Option<UploadTime> {
    if !text.is_ascii() || text.len() < "0001-01-01T00:00:00Z".len() {
        return None;
    }
    let (stamp, rest) = text.split_at(19);
    let seps: Vec<u8> = [4, 7, 10, 13, 16].map(|i| stamp.as_bytes()[i]).to_vec();
    if seps != b"--T::" {
        return None;
    }
    let field = |from: usize, to: usize, max: i64| number(&stamp[from..to], max);
    let (year, month, day) = (field(0, 4, 9999)?, field(5, 7, 12)?, field(8, 10, 31)?);
    let (h, m, s) = (field(11, 13, 23)?, field(14, 16, 59)?, field(17, 19, 59)?);
    let days = days_of(year, month, day);
    if date_of(days) != (year, month, day) {
        return None;
    }
    let (nanos, zone) = split_fraction(rest)?;
    let secs = days * 86_400 + h * 3600 + m * 60 + s - zone_secs(zone)?;
    Some(UploadTime { secs, nanos })
}

fn number(digits: &str, max: i64) -> Option<i64> {
    if digits.is_empty() || !digits.bytes().all(|c| c.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok().filter(|number| *number <= max)
}

/// Splits `.123Z` into the nanoseconds and the zone; digits beyond nanoseconds are cut off, as Go does.
fn split_fraction(rest: &str) -> Option<(u32, &str)> {
    let Some(fraction) = rest.strip_prefix('.') else {
        return Some((0, rest));
    };
    let len = fraction.bytes().take_while(u8::is_ascii_digit).count();
    let digits = &fraction[..len.min(9)];
    let nanos = number(&format!("{digits:0<9}"), 999_999_999)?;
    (len > 0).then_some((u32::try_from(nanos).ok()?, &fraction[len..]))
}

fn zone_secs(zone: &str) -> Option<i64> {
    if zone == "Z" {
        return Some(0);
    }
    let (sign, clock) = match zone.as_bytes().first()? {
        b'+' => (1, &zone[1..]),
        b'-' => (-1, &zone[1..]),
        _ => return None,
    };
    let (h, m) = clock.split_once(':')?;
    let well_formed = h.len() == 2 && m.len() == 2;
    well_formed
        .then(|| Some(sign * (number(h, 24)? * 3600 + number(m, 59)? * 60)))
        .flatten()
}

/// Days since the epoch of a date of the proleptic Gregorian calendar, counted in years that begin in March so
/// that the leap day is the last one.
fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let march_year = if month > 2 { year } else { year - 1 };
    let (era, year_of_era) = (march_year.div_euclid(400), march_year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The inverse of [`days_of`].
fn date_of(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let (era, doe) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let day_of_year = doe - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = (march_month + 2) % 12 + 1;
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_what_go_writes() {
        for (text, ms) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2026-11-22T13:00:09.054393719Z", 1_795_352_409_054),
            ("2026-11-22T14:00:09.05+01:00", 1_795_352_409_050),
            ("2026-11-22T07:30:09-05:30", 1_795_352_409_000),
            ("2024-02-29T23:59:59.999999999Z", 1_709_251_199_999),
        ] {
            let time = text.parse::<UploadTime>().unwrap();
            assert_eq!(time.timestamp(), Some(Timestamp::from_millis(ms)), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_time() {
        for text in [
            "",
            "2026-11-22",
            "2026-13-22T13:00:09Z",
            "2026-02-30T13:00:09Z",
            "2026-11-22T24:00:09Z",
            "2026-11-22 13:00:09Z",
            "2026-11-22T13:00:09",
            "2026-11-22T13:00:09.Z",
            "2026-11-22T13:00:09+0100",
            "2026-11-22T13:00:09\u{e9}",
            "+026-11-22T13:00:09Z",
        ] {
            assert!(text.parse::<UploadTime>().is_err(), "{text}");
        }
    }

    #[test]
    fn unknown_is_gos_zero_time() {
        let zero = "0001-01-01T00:00:00Z";
        assert_eq!(zero.parse::<UploadTime>().unwrap(), UploadTime::UNKNOWN);
        assert_eq!(UploadTime::default().timestamp(), None);
        assert_eq!(UploadTime::default().to_string(), zero);
    }

    proptest! {
        #[test]
        fn printing_and_parsing_are_inverse(secs in ZERO_SECS..253_402_300_800, nanos in 0u32..1_000_000_000) {
            let time = UploadTime { secs, nanos };
            prop_assert_eq!(time.to_string().parse::<UploadTime>().unwrap(), time);
        }
    }
}
