//! The two duration grammars: Prometheus' (`1h30m`, whole numbers, days to years) and Go's (`1.5h`, `-90s`).
//!
//! Prometheus' is used in queries, rules and block configuration, Go's in flags and most Thanos YAML. Both
//! count signed nanoseconds, as Go's `time.Duration` does.

use std::fmt::{self, Write};

use crate::error::{Error, Result};
use crate::text::write_go_quoted;

const MICROSECOND: u64 = 1_000;
const MILLISECOND: u64 = 1_000 * MICROSECOND;
const SECOND: u64 = 1_000 * MILLISECOND;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// One past the largest size: the magnitude of `i64::MIN`.
const SIZE_LIMIT: u64 = 1 << 63;

/// A signed span of time in nanoseconds, up to about 292 years.
///
/// # Example
///
/// ```
/// use thanos_core::time::SignedDuration;
///
/// let prometheus = SignedDuration::parse_prometheus("1h30m")?;
/// assert_eq!(prometheus, SignedDuration::parse_go("1.5h")?);
/// assert_eq!(prometheus.as_millis(), 5_400_000);
/// assert_eq!(prometheus.prometheus().to_string(), "1h30m");
/// assert_eq!(prometheus.go().to_string(), "1h30m0s");
/// # Ok::<(), thanos_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SignedDuration {
    nanos: i64,
}

impl SignedDuration {
    /// No time.
    pub const ZERO: Self = Self { nanos: 0 };

    /// Returns the duration of `nanos` nanoseconds.
    pub const fn from_nanos(nanos: i64) -> Self {
        Self { nanos }
    }

    /// Returns the duration of `millis` milliseconds, stopping at the ends of the range.
    pub const fn from_millis(millis: i64) -> Self {
        Self {
            nanos: millis.saturating_mul(MILLISECOND.cast_signed()),
        }
    }

    /// Returns the duration of `secs` seconds, stopping at the ends of the range.
    pub const fn from_secs(secs: i64) -> Self {
        Self {
            nanos: secs.saturating_mul(SECOND.cast_signed()),
        }
    }

    /// Returns the nanoseconds.
    pub const fn as_nanos(self) -> i64 {
        self.nanos
    }

    /// Returns the whole milliseconds, rounded towards zero.
    pub const fn as_millis(self) -> i64 {
        self.nanos / MILLISECOND.cast_signed()
    }

    /// Returns the seconds as a float.
    #[expect(
        clippy::cast_precision_loss,
        reason = "as Go does: seconds and fraction are converted apart"
    )]
    pub const fn as_secs_f64(self) -> f64 {
        let second = SECOND.cast_signed();
        (self.nanos / second) as f64 + (self.nanos % second) as f64 / 1e9
    }

    /// Returns the non-negative duration as std's type, `None` for a negative one.
    pub const fn to_std(self) -> Option<std::time::Duration> {
        if self.nanos < 0 {
            return None;
        }
        Some(std::time::Duration::from_nanos(self.nanos.cast_unsigned()))
    }

    /// Parses Prometheus' grammar: `0`, or whole numbers with the units y, w, d, h, m, s, ms, biggest first.
    ///
    /// A year has 365 days. Source: `model.ParseDuration`.
    ///
    /// # Errors
    ///
    /// `Invalid` with Prometheus' text.
    pub fn parse_prometheus(text: &str) -> Result<Self> {
        match text {
            "0" => return Ok(Self::ZERO),
            "" => return Err(Error::invalid("empty duration string")),
            _ => {}
        }
        let mut rest = text;
        let mut nanos = 0;
        let mut last_rank = 0;
        while !rest.is_empty() {
            let (number, unit, after) = split_term(rest).ok_or_else(|| not_valid(text))?;
            let (rank, factor) =
                prometheus_unit(unit).ok_or_else(|| unknown_prometheus_unit(unit, text))?;
            if rank <= last_rank {
                return Err(not_valid(text));
            }
            let term = number.checked_mul(factor).filter(|term| *term < SIZE_LIMIT);
            nanos = term
                .and_then(|term| i64::try_from(nanos + term).ok())
                .ok_or_else(|| Error::invalid("duration out of range"))?
                .cast_unsigned();
            last_rank = rank;
            rest = after;
        }
        Ok(Self {
            nanos: nanos.cast_signed(),
        })
    }

    /// Parses Prometheus' grammar with an optional leading minus (`model.ParseDurationAllowNegative`).
    ///
    /// # Errors
    ///
    /// As [`SignedDuration::parse_prometheus`].
    pub fn parse_prometheus_signed(text: &str) -> Result<Self> {
        match text.strip_prefix('-') {
            None => Self::parse_prometheus(text),
            Some(size) => Ok(Self {
                nanos: -Self::parse_prometheus(size)?.nanos,
            }),
        }
    }

    /// Parses Go's grammar: an optional sign, then `0` or decimal numbers with the units h, m, s, ms, us, ns.
    ///
    /// Source: `time.ParseDuration`.
    ///
    /// # Errors
    ///
    /// `Invalid` with Go's text.
    pub fn parse_go(text: &str) -> Result<Self> {
        let is_negative = text.starts_with('-');
        let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
        if rest == "0" {
            return Ok(Self::ZERO);
        }
        if rest.is_empty() {
            return Err(go_error("invalid duration", text));
        }
        let mut size: u64 = 0;
        while !rest.is_empty() {
            let (term, after) = parse_go_term(rest, text)?;
            size = size
                .checked_add(term)
                .filter(|sum| *sum <= SIZE_LIMIT)
                .ok_or_else(|| go_error("invalid duration", text))?;
            rest = after;
        }
        if is_negative {
            return Ok(Self {
                nanos: size.cast_signed().wrapping_neg(),
            });
        }
        let nanos = i64::try_from(size).map_err(|_| go_error("invalid duration", text))?;
        Ok(Self { nanos })
    }

    /// Returns a display of the duration in Prometheus' grammar, whole milliseconds (`model.Duration.String`).
    pub const fn prometheus(self) -> DisplayPrometheus {
        DisplayPrometheus(self)
    }

    /// Returns a display of the duration in Go's grammar (`time.Duration.String`).
    pub const fn go(self) -> DisplayGo {
        DisplayGo(self)
    }
}

fn quoted(text: &str) -> String {
    let mut out = String::new();
    write_go_quoted(&mut out, text).expect("writing to memory cannot fail");
    out
}

fn not_valid(text: &str) -> Error {
    Error::invalid(format!("not a valid duration string: {}", quoted(text)))
}

fn unknown_prometheus_unit(unit: &str, text: &str) -> Error {
    let (unit, text) = (quoted(unit), quoted(text));
    Error::invalid(format!("unknown unit {unit} in duration {text}"))
}

fn go_error(what: &str, text: &str) -> Error {
    Error::invalid(format!("time: {what} {}", go_time_quoted(text)))
}

/// Quotes as package `time` does for its errors: bytes outside printable ASCII as `\xNN`.
fn go_time_quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => out.extend(['\\', char::from(byte)]),
            b' '..=0x7F => out.push(char::from(byte)),
            _ => write!(out, "\\x{byte:02x}").expect("writing to memory cannot fail"),
        }
    }
    out.push('"');
    out
}

/// Splits `text` into a number, its unit and the rest; `None` when it does not start with a number and a unit.
fn split_term(text: &str) -> Option<(u64, &str, &str)> {
    let is_digit = |c: char| c.is_ascii_digit();
    let number_len = text.find(|c| !is_digit(c)).unwrap_or(text.len());
    let number = text[..number_len].parse().ok()?;
    let rest = &text[number_len..];
    let unit_len = rest.find(is_digit).unwrap_or(rest.len());
    let (unit, rest) = rest.split_at(unit_len);
    (!unit.is_empty()).then_some((number, unit, rest))
}

/// Returns the place in the order of units, biggest first, and the nanoseconds of a Prometheus unit.
fn prometheus_unit(unit: &str) -> Option<(u8, u64)> {
    Some(match unit {
        "y" => (1, 365 * DAY),
        "w" => (2, 7 * DAY),
        "d" => (3, DAY),
        "h" => (4, HOUR),
        "m" => (5, MINUTE),
        "s" => (6, SECOND),
        "ms" => (7, MILLISECOND),
        _ => return None,
    })
}

fn go_unit(unit: &str) -> Option<u64> {
    Some(match unit {
        "ns" => 1,
        // The micro sign and the Greek letter mu.
        "us" | "\u{b5}s" | "\u{3bc}s" => MICROSECOND,
        "ms" => MILLISECOND,
        "s" => SECOND,
        "m" => MINUTE,
        "h" => HOUR,
        _ => return None,
    })
}

/// Parses one `12.5h` of `whole`: its nanoseconds and the rest.
fn parse_go_term<'a>(text: &'a str, whole: &str) -> Result<(u64, &'a str)> {
    let invalid = || go_error("invalid duration", whole);
    let (integer, rest) = text.split_at(digits_len(text));
    let (fraction, rest) = match rest.strip_prefix('.') {
        None => ("", rest),
        Some(rest) => rest.split_at(digits_len(rest)),
    };
    if integer.is_empty() && fraction.is_empty() {
        return Err(invalid());
    }
    let integer: u64 = match integer {
        "" => 0,
        digits => digits.parse().map_err(|_| invalid())?,
    };
    let unit_len = rest
        .find(|c: char| c == '.' || c.is_ascii_digit())
        .unwrap_or(rest.len());
    let (unit, rest) = rest.split_at(unit_len);
    if integer > SIZE_LIMIT {
        return Err(invalid());
    }
    if unit.is_empty() {
        return Err(go_error("missing unit in duration", whole));
    }
    let factor = go_unit(unit).ok_or_else(|| {
        let unit = go_time_quoted(unit);
        go_error(&format!("unknown unit {unit} in duration"), whole)
    })?;
    integer
        .checked_mul(factor)
        .and_then(|nanos| nanos.checked_add(fraction_nanos(fraction, factor)))
        .filter(|nanos| *nanos <= SIZE_LIMIT)
        .map(|nanos| (nanos, rest))
        .ok_or_else(invalid)
}

fn digits_len(text: &str) -> usize {
    text.find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len())
}

/// Returns the nanoseconds of a decimal fraction of a unit, computed in floats as Go does.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "Go's own arithmetic; the result lies below one hour"
)]
fn fraction_nanos(digits: &str, factor: u64) -> u64 {
    let mut value: u64 = 0;
    let mut scale = 1.0;
    for digit in digits.bytes() {
        let next = value
            .checked_mul(10)
            .and_then(|tens| tens.checked_add(u64::from(digit - b'0')))
            .filter(|next| *next <= SIZE_LIMIT);
        // Digits past the 63 bits are dropped.
        let Some(next) = next else { break };
        value = next;
        scale *= 10.0;
    }
    (value as f64 * (factor as f64 / scale)) as u64
}

/// Displays a [`SignedDuration`] in Prometheus' grammar.
#[derive(Debug, Clone, Copy)]
pub struct DisplayPrometheus(SignedDuration);

impl fmt::Display for DisplayPrometheus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        if millis == 0 {
            return f.write_str("0s");
        }
        if millis < 0 {
            f.write_str("-")?;
        }
        let mut rest = millis.unsigned_abs();
        let units = ["y", "w", "d", "h", "m", "s", "ms"];
        for unit in units {
            let (_, nanos) = prometheus_unit(unit).expect("a unit of the table");
            let factor = nanos / MILLISECOND;
            // 90d reads better than 12w6d: years and weeks only stand for all that is left.
            let wants_exact = matches!(unit, "y" | "w");
            if rest < factor || (wants_exact && !rest.is_multiple_of(factor)) {
                continue;
            }
            write!(f, "{}{unit}", rest / factor)?;
            rest %= factor;
        }
        Ok(())
    }
}

/// Displays a [`SignedDuration`] in Go's grammar.
#[derive(Debug, Clone, Copy)]
pub struct DisplayGo(SignedDuration);

impl fmt::Display for DisplayGo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.nanos;
        let size = nanos.unsigned_abs();
        if nanos < 0 {
            f.write_str("-")?;
        }
        match size {
            0 => f.write_str("0s"),
            1..MICROSECOND => write!(f, "{size}ns"),
            MICROSECOND..MILLISECOND => write_decimal(f, size, MICROSECOND, 3, "\u{b5}s"),
            MILLISECOND..SECOND => write_decimal(f, size, MILLISECOND, 6, "ms"),
            _ => {
                let (hours, minutes) = (size / HOUR, size % HOUR / MINUTE);
                if hours > 0 {
                    write!(f, "{hours}h")?;
                }
                if size >= MINUTE {
                    write!(f, "{minutes}m")?;
                }
                write_decimal(f, size % MINUTE, SECOND, 9, "s")
            }
        }
    }
}

/// Writes `size / factor` with up to `places` decimals, without trailing zeros.
fn write_decimal(
    f: &mut fmt::Formatter<'_>,
    size: u64,
    factor: u64,
    places: usize,
    unit: &str,
) -> fmt::Result {
    write!(f, "{}", size / factor)?;
    let fraction = size % factor;
    if fraction > 0 {
        let digits = format!("{fraction:0places$}");
        write!(f, ".{}", digits.trim_end_matches('0'))?;
    }
    f.write_str(unit)
}

#[cfg(test)]
mod tests;
