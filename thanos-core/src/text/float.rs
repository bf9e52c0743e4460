//! Floats as Go writes them: the shortest digits that read back as the same number, in Go's layouts.
//!
//! The digits come from `zmij`; std's differ from Go's on exact ties (std rounds up, Go to even). Nothing here
//! allocates. Reading floats is not done here: `str::parse::<f64>` rounds as Go does.

use std::fmt::{self, Write};

/// When a float is written with an exponent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FloatFormat {
    /// Never: `strconv.FormatFloat(f, 'f', -1, 64)`.
    Fixed,
    /// Below 1e-4 and from 1e6 on: `strconv.FormatFloat(f, 'g', -1, 64)`, and so `%g` and `%v` of Go's `fmt`.
    General,
    /// Below 1e-6 and from 1e21 on: sample values in Prometheus' JSON (`jsonutil.MarshalFloat`).
    Json,
}

impl FloatFormat {
    /// Whether a number of this size is written without an exponent.
    fn is_fixed(self, abs: f64) -> bool {
        match self {
            Self::Fixed => true,
            Self::General => abs == 0.0 || (1e-4..1e6).contains(&abs),
            Self::Json => abs == 0.0 || (1e-6..1e21).contains(&abs),
        }
    }

    /// Whether a number of this size, which is no integer, is written as `zmij` writes it: without an exponent.
    fn is_plain(self, abs: f64) -> bool {
        match self {
            Self::Fixed | Self::Json => (1e-4..1e15).contains(&abs),
            Self::General => (1e-4..1e6).contains(&abs),
        }
    }
}

/// Displays a float as Go does.
///
/// # Example
///
/// ```
/// use thanos_core::text::{FloatFormat, GoFloat};
///
/// assert_eq!(GoFloat(1e6, FloatFormat::Fixed).to_string(), "1000000");
/// assert_eq!(GoFloat(1e6, FloatFormat::General).to_string(), "1e+06");
/// assert_eq!(GoFloat(1e-7, FloatFormat::Json).to_string(), "1e-07");
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GoFloat(pub f64, pub FloatFormat);

impl fmt::Display for GoFloat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_float(f, self.0, self.1)
    }
}

/// Appends `value` to `out` in `format`.
pub fn push_float(out: &mut Vec<u8>, value: f64, format: FloatFormat) {
    if let Some(integer) = small_integer(value).filter(|_| format.is_fixed(value.abs())) {
        return push_integer(out, integer);
    }
    if !format.is_plain(value.abs()) {
        return write_float(&mut Bytes(out), value, format).expect("writing to memory cannot fail");
    }
    let mut buffer = zmij::Buffer::new();
    let text = buffer.format_finite(value);
    // An integer beyond those above.
    let text = text.strip_suffix(".0").unwrap_or(text);
    out.extend_from_slice(text.as_bytes());
}

fn push_integer(out: &mut Vec<u8>, integer: i64) {
    if integer < 0 {
        out.push(b'-');
    }
    let mut rest = integer.unsigned_abs();
    // Pairs of digits from the right, in a buffer whose length the copy knows.
    let mut digits = [b'0'; 16];
    let mut at = digits.len();
    while rest >= 100 {
        at -= 2;
        digits[at..at + 2].copy_from_slice(pair(rest % 100));
        rest /= 100;
    }
    at -= 2;
    digits[at..at + 2].copy_from_slice(pair(rest));
    at += usize::from(rest < 10);
    out.extend_from_slice(&digits[at..]);
}

/// Returns the two digits of a number below 100.
fn pair(number: u64) -> &'static [u8] {
    const PAIRS: [[u8; 2]; 100] = {
        let mut pairs = [[0; 2]; 100];
        let mut number = 0_u8;
        while number < 100 {
            pairs[number as usize] = [b'0' + number / 10, b'0' + number % 10];
            number += 1;
        }
        pairs
    };
    let index = usize::try_from(number).expect("below 100");
    &PAIRS[index]
}

/// Writes `value` to `out` in `format`.
///
/// # Errors
///
/// Those of `out`.
pub fn write_float(
    out: &mut (impl Write + ?Sized),
    value: f64,
    format: FloatFormat,
) -> fmt::Result {
    if let Some(name) = name_of_non_finite(value) {
        return out.write_str(name);
    }
    let is_fixed = format.is_fixed(value.abs());
    if is_fixed && let Some(integer) = small_integer(value) {
        return write_integer(out, integer);
    }
    let mut buffer = zmij::Buffer::new();
    let mut text = buffer.format_finite(value);
    if let Some(digits) = text.strip_prefix('-') {
        out.write_char('-')?;
        text = digits;
    }
    match (is_fixed, split_exponent(text)) {
        (true, (digits, None)) => out.write_str(digits.strip_suffix(".0").unwrap_or(digits)),
        (true, (digits, Some(exponent))) => write_shifted(out, digits, exponent),
        (false, (digits, None)) => write_scientific(out, digits),
        (false, (digits, Some(exponent))) => {
            out.write_str(digits)?;
            write_exponent(out, exponent)
        }
    }
}

fn name_of_non_finite(value: f64) -> Option<&'static str> {
    if value.is_finite() {
        return None;
    }
    Some(match value {
        f64::INFINITY => "+Inf",
        f64::NEG_INFINITY => "-Inf",
        _ => "NaN",
    })
}

/// Lets bytes take text.
struct Bytes<'a>(&'a mut Vec<u8>);

impl Write for Bytes<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

/// Returns `value` as an integer when it is one that needs no rounding; most sample values are.
fn small_integer(value: f64) -> Option<i64> {
    const EXACT_BELOW: f64 = 9_007_199_254_740_992.0; // 2^53
    #[expect(
        clippy::cast_possible_truncation,
        reason = "checked by casting back: out of range saturates and is unequal or not small"
    )]
    let integer = value as i64;
    #[expect(
        clippy::cast_precision_loss,
        reason = "an integer below 2^53 is exact, others are refused"
    )]
    let is_same = integer as f64 == value;
    let is_negative_zero = integer == 0 && value.is_sign_negative();
    (is_same && value.abs() < EXACT_BELOW && !is_negative_zero).then_some(integer)
}

fn write_integer(out: &mut (impl Write + ?Sized), integer: i64) -> fmt::Result {
    let mut digits = [b'0'; 20];
    let mut at = digits.len();
    let mut rest = integer.unsigned_abs();
    loop {
        at -= 1;
        digits[at] += u8::try_from(rest % 10).expect("a digit");
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if integer < 0 {
        at -= 1;
        digits[at] = b'-';
    }
    out.write_str(ascii(&digits[at..]))
}

/// Splits `d.ddde-ddd`; without an `e` the text is in fixed notation.
fn split_exponent(text: &str) -> (&str, Option<i32>) {
    match text.split_once('e') {
        None => (text, None),
        Some((digits, exponent)) => (
            digits,
            Some(exponent.parse().expect("zmij writes an integer after e")),
        ),
    }
}

/// Writes `d.ddd` with its point moved by `exponent` places.
fn write_shifted(out: &mut (impl Write + ?Sized), digits: &str, exponent: i32) -> fmt::Result {
    let (first, rest) = digits.split_once('.').unwrap_or((digits, ""));
    let places = usize::try_from(exponent.unsigned_abs()).expect("at most 324");
    if exponent < 0 {
        out.write_str("0.")?;
        write_zeros(out, places - 1)?;
        out.write_str(first)?;
        return out.write_str(rest);
    }
    out.write_str(first)?;
    if places >= rest.len() {
        out.write_str(rest)?;
        return write_zeros(out, places - rest.len());
    }
    let (before, after) = rest.split_at(places);
    out.write_str(before)?;
    out.write_char('.')?;
    out.write_str(after)
}

fn write_zeros(out: &mut (impl Write + ?Sized), mut count: usize) -> fmt::Result {
    const ZEROS: &str = "0000000000000000000000000000000000000000000000000000000000000000";
    while count > 0 {
        let run = count.min(ZEROS.len());
        out.write_str(&ZEROS[..run])?;
        count -= run;
    }
    Ok(())
}

/// Writes a number in fixed notation, which is not zero, as `d.ddde+dd`.
fn write_scientific(out: &mut (impl Write + ?Sized), fixed: &str) -> fmt::Result {
    let mut digits = [0; 32];
    let mut len = 0;
    for digit in fixed.bytes().filter(|byte| *byte != b'.') {
        if len > 0 || digit != b'0' {
            digits[len] = digit;
            len += 1;
        }
    }
    let integer_len = fixed.find('.').unwrap_or(fixed.len());
    let leading_zeros = fixed.len() - usize::from(integer_len < fixed.len()) - len;
    let exponent = offset(integer_len) - offset(leading_zeros) - 1;
    let significant = len
        - digits[..len]
            .iter()
            .rev()
            .take_while(|d| **d == b'0')
            .count();
    out.write_str(ascii(&digits[..1]))?;
    if significant > 1 {
        out.write_char('.')?;
        out.write_str(ascii(&digits[1..significant]))?;
    }
    write_exponent(out, exponent)
}

fn offset(len: usize) -> i32 {
    i32::try_from(len).expect("zmij writes fewer than 32 bytes")
}

/// Writes the exponent with its sign and at least two digits.
fn write_exponent(out: &mut (impl Write + ?Sized), exponent: i32) -> fmt::Result {
    out.write_str(if exponent < 0 { "e-" } else { "e+" })?;
    let size = exponent.unsigned_abs();
    if size < 10 {
        out.write_char('0')?;
    }
    write_integer(out, size.into())
}

fn ascii(digits: &[u8]) -> &str {
    std::str::from_utf8(digits).expect("digits and signs are ASCII")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(value: f64, format: FloatFormat) -> String {
        GoFloat(value, format).to_string()
    }

    #[test]
    fn floats_are_written_as_go_writes_them() {
        let golden = include_str!("../../testdata/go/floats.txt");
        let lines = golden.lines().filter(|line| !line.starts_with('#'));
        let mut count = 0;
        for line in lines {
            let fields: Vec<&str> = line.split(' ').collect();
            let value = f64::from_bits(u64::from_str_radix(fields[0], 16).unwrap());
            let formats = [FloatFormat::Fixed, FloatFormat::General, FloatFormat::Json];
            for (format, expected) in formats.into_iter().zip(&fields[1..]) {
                assert_eq!(text(value, format), *expected, "{line} {format:?}");
            }
            count += 1;
        }
        assert!(count > 500, "the table is there");
    }

    #[test]
    fn bytes_and_text_are_the_same() {
        for value in [1.5, -0.0, f64::NAN, 1e300, 7.0] {
            let mut bytes = b"v=".to_vec();
            push_float(&mut bytes, value, FloatFormat::Json);
            assert_eq!(
                String::from_utf8(bytes).unwrap(),
                format!("v={}", text(value, FloatFormat::Json))
            );
        }
    }

    proptest! {
        #[test]
        fn every_float_reads_back(bits in any::<u64>(), scale in -30i32..30, cents in any::<i32>()) {
            let cents = f64::from(cents) / 100.0;
            for value in [f64::from_bits(bits), cents, cents * 10f64.powi(scale)] {
                for format in [FloatFormat::Fixed, FloatFormat::General, FloatFormat::Json] {
                    let back: f64 = text(value, format).parse().unwrap();
                    prop_assert!(
                        back.to_bits() == value.to_bits() || (back.is_nan() && value.is_nan())
                    );
                }
            }
        }

        #[test]
        fn bytes_and_text_are_the_same_for_all(bits in any::<u64>(), whole in any::<i64>(), scale in -30i32..30) {
            let whole = whole >> (bits % 64);
            for value in [
                f64::from_bits(bits),
                whole as f64,
                whole as f64 / 1000.0,
                whole as f64 * 10f64.powi(scale),
            ] {
                for format in [FloatFormat::Fixed, FloatFormat::General, FloatFormat::Json] {
                    let mut bytes = Vec::new();
                    push_float(&mut bytes, value, format);
                    prop_assert_eq!(String::from_utf8(bytes).unwrap(), text(value, format));
                }
            }
        }

        #[test]
        fn fixed_text_has_no_exponent_and_no_idle_zero(bits in any::<u64>()) {
            let text = text(f64::from_bits(bits), FloatFormat::Fixed);
            prop_assert!(!text.contains('e'));
            prop_assert!(!text.contains('.') || !text.ends_with(['0', '.']));
        }
    }
}
