use proptest::prelude::*;

use super::*;

#[test]
fn dates_are_those_of_go() {
    let golden = include_str!("../../../testdata/go/times.txt");
    let mut count = 0;
    for line in golden.lines().filter(|line| !line.starts_with('#')) {
        let fields: Vec<&str> = line.split(' ').collect();
        let time = UtcTime::from_unix_secs(fields[0].parse().unwrap());
        let civil = time.civil();
        assert_eq!(time.to_string(), fields[1]);
        assert_eq!(civil.weekday.to_string(), fields[2], "{line}");
        assert_eq!(civil.day_of_year.to_string(), fields[3], "{line}");
        assert_eq!(civil.days_in_month().to_string(), fields[4], "{line}");
        if (0..10_000).contains(&civil.year) {
            assert_eq!(UtcTime::parse_rfc3339(fields[1]).unwrap(), time, "{line}");
        }
        count += 1;
    }
    assert!(count > 150, "the table is there");
}

#[test]
fn fractions_and_offsets_are_read() {
    for (text, expected) in [
        (
            "2024-01-01T00:00:00.123456789Z",
            "2024-01-01T00:00:00.123456789Z",
        ),
        (
            "2024-01-01T00:00:00.1234567899Z",
            "2024-01-01T00:00:00.123456789Z",
        ),
        ("2024-01-01T00:00:00.10Z", "2024-01-01T00:00:00.1Z"),
        ("2024-01-01T00:00:00.000Z", "2024-01-01T00:00:00Z"),
        ("2024-01-01T00:30:00+01:00", "2023-12-31T23:30:00Z"),
        ("2024-01-01T00:30:00-23:59", "2024-01-02T00:29:00Z"),
        ("1969-12-31T23:59:59.999Z", "1969-12-31T23:59:59.999Z"),
    ] {
        assert_eq!(UtcTime::parse_rfc3339(text).unwrap().to_string(), expected);
    }
}

#[test]
fn other_forms_and_dates_that_do_not_exist_are_refused() {
    for text in [
        "",
        "2024-01-01",
        "2024-01-01T00:00:00",
        "2024-01-01t00:00:00z",
        "2024-01-01 00:00:00Z",
        "2023-02-29T00:00:00Z",
        "2024-00-01T00:00:00Z",
        "2024-01-00T00:00:00Z",
        "2024-01-01T24:00:00Z",
        "2024-01-01T00:60:00Z",
        "2024-01-01T00:00:60Z",
        "2024-01-01T00:00:00.Z",
        "2024-01-01T00:00:00+0100",
        "2024-01-01T00:00:00+24:00",
        "2024-01-01T00:00:00Z ",
        "+024-01-01T00:00:00Z",
        "2024-01-01T00:00:0\u{e9}Z",
    ] {
        let error = UtcTime::parse_rfc3339(text).unwrap_err();
        assert!(
            error.message().starts_with("not an RFC 3339 time"),
            "{text}"
        );
    }
}

#[test]
fn milliseconds_before_the_epoch_round_down() {
    let time = UtcTime::from_timestamp(Timestamp::from_millis(-1));
    assert_eq!(time.to_string(), "1969-12-31T23:59:59.999Z");
    assert_eq!(time.timestamp().as_millis(), -1);
    assert_eq!((time.unix_secs(), time.nanos()), (-1, 999_000_000));
    for end in [Timestamp::MIN, Timestamp::MAX] {
        assert_eq!(UtcTime::from_timestamp(end).timestamp(), end);
    }
}

proptest! {
    #[test]
    fn text_reads_back(secs in -62_167_219_200i64..253_402_300_800, nanos in 0u32..1_000_000_000) {
        let time = UtcTime { unix_secs: secs, nanos };
        prop_assert_eq!(UtcTime::parse_rfc3339(&time.to_string()).unwrap(), time);
    }

    #[test]
    fn every_second_has_a_date(secs in any::<i64>()) {
        let civil = Civil::from_unix_secs(secs);
        let days = days_of_date(civil.year, civil.month, civil.day);
        prop_assert_eq!(days, secs.div_euclid(SECS_PER_DAY));
        prop_assert!(civil.day <= civil.days_in_month());
    }

    #[test]
    fn no_text_panics(text in "[-+.:TZ0-9\u{e9}]{0,36}") {
        let _ = UtcTime::parse_rfc3339(&text);
    }
}
