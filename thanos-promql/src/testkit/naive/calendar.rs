//! The parts of a date, by counting years and months from 1970.

use crate::parser::FunctionId as Id;

const DAY_SECS: i64 = 86_400;

/// Returns the part of the date that `id` asks for; a time is in seconds.
pub(super) fn part(id: Id, time: f64) -> f64 {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "times too large for any calendar are not told apart"
    )]
    let secs = time as i64;
    let (mut day, second) = (secs.div_euclid(DAY_SECS), secs.rem_euclid(DAY_SECS));
    // 1970-01-01 was a Thursday.
    let weekday = (day + 4).rem_euclid(7);
    let mut year = 1970;
    // The calendar repeats itself after 400 years, which have this many days.
    let cycles = day.div_euclid(146_097);
    year += 400 * cycles;
    day -= 146_097 * cycles;
    while day >= year_days(year) {
        day -= year_days(year);
        year += 1;
    }
    let day_of_year = day + 1;
    let mut month = 1;
    while day >= month_days(year, month) {
        day -= month_days(year, month);
        month += 1;
    }
    let part = match id {
        Id::Minute => second / 60 % 60,
        Id::Hour => second / 3600,
        Id::DayOfWeek => weekday,
        Id::DayOfMonth => day + 1,
        Id::DayOfYear => day_of_year,
        Id::DaysInMonth => month_days(year, month),
        Id::Month => month,
        _ => year,
    };
    part as f64
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn year_days(year: i64) -> i64 {
    if is_leap(year) { 366 } else { 365 }
}

fn month_days(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if is_leap(year) => 29,
        2 => 28,
        _ => 31,
    }
}
