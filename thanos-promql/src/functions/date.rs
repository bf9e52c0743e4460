//! The date functions: parts of the UTC date that a value in Unix seconds is.

use thanos_core::time::Civil;

/// A date function of PromQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DatePart {
    Minute,
    Hour,
    DayOfWeek,
    DayOfMonth,
    DayOfYear,
    DaysInMonth,
    Month,
    Year,
}

impl DatePart {
    /// Returns the part that the function `name` gives.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "minute" => Self::Minute,
            "hour" => Self::Hour,
            "day_of_week" => Self::DayOfWeek,
            "day_of_month" => Self::DayOfMonth,
            "day_of_year" => Self::DayOfYear,
            "days_in_month" => Self::DaysInMonth,
            "month" => Self::Month,
            "year" => Self::Year,
            _ => return None,
        })
    }

    /// Returns this part of the time `secs`, a sample value.
    pub(crate) fn of(self, secs: f64) -> f64 {
        let (secs, years) = wrapped(whole_secs(secs));
        let civil = Civil::from_unix_secs(secs);
        match self {
            Self::Minute => f64::from(civil.minute),
            Self::Hour => f64::from(civil.hour),
            Self::DayOfWeek => f64::from(civil.weekday),
            Self::DayOfMonth => f64::from(civil.day),
            Self::DayOfYear => f64::from(civil.day_of_year),
            Self::DaysInMonth => f64::from(civil.days_in_month()),
            Self::Month => f64::from(civil.month),
            #[expect(
                clippy::cast_precision_loss,
                reason = "the years of 2^63 seconds stay below 2^53"
            )]
            Self::Year => (civil.year + years) as f64,
        }
    }
}

/// Returns a time on which Go's calendar shows the same but for the year, and the years that are missing.
///
/// COMPAT: Go counts seconds without sign from the year -292277022400, so what lies before comes out 2^64 seconds
/// later; every value that is no time, NaN among them, does (package time, `Time.abs`).
fn wrapped(secs: i64) -> (i64, i64) {
    /// The first second that Go's calendar knows.
    const FIRST: i64 = -9_223_372_028_741_760_000;
    /// The calendar repeats after 400 years; 2^64 seconds are so many years and a rest.
    const PERIOD_SECS: i64 = 146_097 * 86_400;
    const YEARS: i64 = 584_554_049_200;
    const REST_SECS: i64 = 1_699_513_216;
    const {
        let periods = (YEARS / 400) as i128;
        assert!(periods * PERIOD_SECS as i128 + REST_SECS as i128 == 1 << 64);
    }
    if secs < FIRST {
        (secs + REST_SECS, YEARS)
    } else {
        (secs, 0)
    }
}

/// Cuts off the fraction; what does not fit becomes what Go on amd64 makes of it.
#[expect(
    clippy::cast_possible_truncation,
    reason = "out of range is handled before"
)]
fn whole_secs(secs: f64) -> i64 {
    const TWO_TO_63: f64 = 9_223_372_036_854_775_808.0;
    if secs.is_nan() || secs.abs() >= TWO_TO_63 {
        return i64::MIN;
    }
    secs as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_known_days() {
        // Thursday 1970-01-01, leap day 2020-02-29 12:34:56, the last second of 1969.
        for (secs, parts) in [
            (0.0, [0.0, 0.0, 4.0, 1.0, 1.0, 31.0, 1.0, 1970.0]),
            (
                1_582_979_696.9,
                [34.0, 12.0, 6.0, 29.0, 60.0, 29.0, 2.0, 2020.0],
            ),
            (-1.0, [59.0, 23.0, 3.0, 31.0, 365.0, 31.0, 12.0, 1969.0]),
        ] {
            let all = [
                "minute",
                "hour",
                "day_of_week",
                "day_of_month",
                "day_of_year",
                "days_in_month",
                "month",
                "year",
            ];
            let got = all.map(|name| DatePart::from_name(name).unwrap().of(secs));
            assert_eq!(got, parts, "{secs}");
        }
    }

    /// The values are those of Prometheus on amd64.
    #[test]
    fn what_is_no_time_has_the_parts_that_go_gives_it() {
        for secs in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300] {
            for (name, value) in [
                ("minute", 30.0),
                ("hour", 15.0),
                ("day_of_week", 0.0),
                ("day_of_month", 4.0),
                ("day_of_year", 339.0),
                ("days_in_month", 31.0),
                ("month", 12.0),
                ("year", 292_277_026_596.0),
            ] {
                let part = DatePart::from_name(name).unwrap();
                assert_eq!(part.of(secs), value, "{name} of {secs}");
            }
        }
        assert_eq!(DatePart::Year.of(-9.223_371_999_9e18), -292_277_021_486.0);
        assert_eq!(DatePart::Year.of(9.223_372e18), 292_277_025_429.0);
    }
}
