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
        let civil = Civil::from_unix_secs(whole_secs(secs));
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
            Self::Year => civil.year as f64,
        }
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

    #[test]
    fn times_beyond_the_range_do_not_panic() {
        for secs in [f64::NAN, f64::INFINITY, -1e300, 9e18] {
            assert!(DatePart::Year.of(secs).is_finite());
        }
    }
}
