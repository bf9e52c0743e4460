//! What stands behind a flag as text: durations, byte sizes, labels.

use std::time::Duration;

use thanos_core::time::SignedDuration;

/// Parses a duration for a flag: Prometheus' (`5m`, `1d12h`) or Go's (`1.5h`, `0`).
///
/// COMPAT: each flag of Thanos takes one of the two; where they agree on a text, they agree on its meaning.
///
/// # Errors
///
/// The message for the user.
pub fn duration(text: &str) -> Result<Duration, String> {
    let parsed = SignedDuration::parse_prometheus(text)
        .or_else(|error| SignedDuration::parse_go(text).map_err(|_| error))
        .map_err(|error| error.to_string())?;
    parsed
        .to_std()
        .ok_or_else(|| format!("negative duration {text:?}"))
}

/// Parses a byte size (`250MB`, `2GiB`, `1024`) for a flag; all units are powers of two, as in Thanos (row X-46).
///
/// # Errors
///
/// The message for the user.
pub fn bytes(text: &str) -> Result<u64, String> {
    let bad = || {
        format!(
            "invalid byte size {text:?}: a number and one of B, KB, MB, GB, TB, PB, EB or KiB, MiB, ..., EiB"
        )
    };
    let digits = text
        .bytes()
        .take_while(|c| c.is_ascii_digit() || *c == b'.')
        .count();
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim().to_uppercase().as_str() {
        "" | "B" => 0,
        "K" | "KB" | "KIB" => 10,
        "M" | "MB" | "MIB" => 20,
        "G" | "GB" | "GIB" => 30,
        "T" | "TB" | "TIB" => 40,
        "P" | "PB" | "PIB" => 50,
        "E" | "EB" | "EIB" => 60,
        _ => return Err(bad()),
    };
    let number: f64 = number.parse().map_err(|_| bad())?;
    let bytes = number * 2_f64.powi(shift);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked to fit just before"
    )]
    let whole = (bytes >= 0.0 && bytes < 2_f64.powi(63)).then_some(bytes as u64);
    whole.ok_or_else(bad)
}

/// Parses how many may run at once for a flag; 0 means no limit, and so does what is negative, as in Thanos (row X-47).
///
/// # Errors
///
/// The message for the user.
pub fn concurrency(text: &str) -> Result<usize, String> {
    let number = text
        .parse::<i64>()
        .map_err(|error| format!("{error}: {text:?}"))?;
    usize::try_from(number.max(0)).map_err(|error| error.to_string())
}

/// Parses a label (`name="value"`, the quotes may be left out) for a flag.
///
/// # Errors
///
/// The message for the user.
pub fn label(text: &str) -> Result<(String, String), String> {
    let (name, value) = text
        .split_once('=')
        .ok_or_else(|| format!("label {text:?} is not of the form name=\"value\""))?;
    if name.is_empty() {
        return Err(format!("label {text:?} has no name"));
    }
    let unquoted = value
        .strip_prefix('"')
        .and_then(|value| value.strip_suffix('"'))
        .unwrap_or(value);
    Ok((name.to_owned(), unquoted.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    ///
    #[test]
    fn byte_sizes_are_powers_of_two() {
        assert_eq!(bytes("250MB"), Ok(250 << 20));
        assert_eq!(bytes("2GiB"), Ok(2 << 30));
        assert_eq!(bytes("1.5K"), Ok(1536));
        assert_eq!(bytes("7"), Ok(7));
        assert_eq!(bytes("3PB"), Ok(3 << 50));
        assert_eq!(bytes("1EiB"), Ok(1 << 60));
        for bad in ["", "x", "1XB", "-1", "1e99GB", "99999999999TB", "8EB"] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
    }

    ///
    #[test]
    fn what_is_negative_limits_nothing() {
        assert_eq!(concurrency("20"), Ok(20));
        assert_eq!(concurrency("0"), Ok(0));
        assert_eq!(concurrency("-1"), Ok(0));
        for bad in ["", "many", "1.5", "99999999999999999999"] {
            assert!(concurrency(bad).is_err(), "{bad}");
        }
    }

    ///
    #[test]
    fn durations_are_those_of_prometheus_and_go() {
        assert_eq!(duration("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(duration("1.5h"), Ok(Duration::from_secs(5400)));
        assert_eq!(duration("2d"), Ok(Duration::from_secs(2 * 86_400)));
        assert_eq!(duration("0"), Ok(Duration::ZERO));
        assert!(duration("-5m").is_err());
        assert!(duration("soon").unwrap_err().contains("soon"));
    }
}
