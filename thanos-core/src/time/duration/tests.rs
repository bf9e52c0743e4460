use proptest::prelude::*;

use super::*;

#[test]
fn durations_are_read_and_written_as_prometheus_and_go_do() {
    let golden = include_str!("../../../testdata/go/durations.txt");
    let mut count = 0;
    for line in golden.lines().filter(|line| !line.starts_with('#')) {
        let fields: Vec<&str> = line.split('\t').collect();
        let [kind, text, expected, back] = fields[..] else {
            panic!("four fields: {line}")
        };
        let (parsed, display) = match kind {
            "p" => {
                let parsed = SignedDuration::parse_prometheus_signed(text);
                let display = parsed.as_ref().map(|d| d.prometheus().to_string());
                (
                    parsed
                        .as_ref()
                        .map(|d| d.as_nanos())
                        .map_err(Error::to_string),
                    display.ok(),
                )
            }
            _ => {
                let parsed = SignedDuration::parse_go(text);
                let display = parsed.as_ref().map(|d| d.go().to_string());
                (
                    parsed
                        .as_ref()
                        .map(|d| d.as_nanos())
                        .map_err(Error::to_string),
                    display.ok(),
                )
            }
        };
        let shown = parsed.map_or_else(|error| error, |nanos| nanos.to_string());
        assert_eq!(shown, expected, "{line}");
        assert_eq!(display.unwrap_or_default(), back, "{line}");
        count += 1;
    }
    assert!(count > 150, "the table is there");
}

#[test]
fn a_negative_duration_needs_the_signed_grammar() {
    assert!(SignedDuration::parse_prometheus("-5m").is_err());
    let five_minutes = SignedDuration::parse_prometheus_signed("-5m").unwrap();
    assert_eq!(five_minutes.as_millis(), -300_000);
    assert_eq!(five_minutes.to_std(), None);
}

#[test]
fn conversions_stop_at_the_ends() {
    assert_eq!(SignedDuration::from_millis(i64::MAX).as_nanos(), i64::MAX);
    assert_eq!(SignedDuration::from_secs(i64::MIN).as_nanos(), i64::MIN);
    assert_eq!(SignedDuration::from_secs(90).as_secs_f64(), 90.0);
    assert_eq!(
        SignedDuration::from_millis(1500).to_std(),
        Some(std::time::Duration::from_millis(1500))
    );
}

proptest! {
    #[test]
    fn go_text_reads_back(nanos in any::<i64>(), shift in 0u32..60) {
        let duration = SignedDuration::from_nanos(nanos >> shift);
        prop_assert_eq!(SignedDuration::parse_go(&duration.go().to_string()).unwrap(), duration);
    }

    #[test]
    fn prometheus_text_reads_back_in_milliseconds(millis in any::<i64>(), shift in 21u32..60) {
        let duration = SignedDuration::from_millis(millis >> shift);
        let text = duration.prometheus().to_string();
        prop_assert_eq!(SignedDuration::parse_prometheus_signed(&text).unwrap(), duration);
    }

    #[test]
    fn no_text_panics(text in "[-+.0-9a-z\u{b5} ]{0,24}") {
        let _ = SignedDuration::parse_go(&text);
        let _ = SignedDuration::parse_prometheus_signed(&text);
    }
}
