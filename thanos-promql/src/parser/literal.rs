//! Values of literals: numbers, durations and texts, read and quoted as Go does.

use std::fmt::Write;
use std::sync::Arc;

use thanos_core::text::write_go_quoted;

/// Returns `text` in double quotes with Go's escapes.
pub(super) fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    write_go_quoted(&mut quoted, text).expect("writing to a String cannot fail");
    quoted
}

/// Returns `text` quoted and cut to ten characters when it is longer than ten bytes.
pub(super) fn quote_shortened(text: &str) -> String {
    if text.len() <= 10 {
        return quote(text);
    }
    let cut: String = text.chars().take(10).collect();
    quote(&cut) + "..."
}

/// Returns `char` in single quotes with Go's escapes; none stands for the end of the input.
pub(super) fn quote_char(char: Option<char>) -> String {
    match char {
        // COMPAT: Go formats the end-of-input mark (-1) as the replacement character.
        None => "'\u{fffd}'".to_owned(),
        Some('\'') => r"'\''".to_owned(),
        Some('"') => "'\"'".to_owned(),
        Some(char) => {
            let quoted = quote(char.encode_utf8(&mut [0; 4]));
            format!("'{}'", &quoted[1..quoted.len() - 1])
        }
    }
}

/// Returns `char` as Go's `%#U`: `U+0063 'c'`, without the character when it is not printable.
pub(super) fn code_point(char: char) -> String {
    let number = u32::from(char);
    let quoted = quote(char.encode_utf8(&mut [0; 4]));
    if quoted.len() == char.len_utf8() + 2 || matches!(char, '"' | '\\') {
        format!("U+{number:04X} '{char}'")
    } else {
        format!("U+{number:04X}")
    }
}

/// The value of a quoted text. Go strings are bytes, so escapes may spell what is not UTF-8.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unquoted {
    Text(Arc<str>),
    Bytes(Vec<u8>),
}

impl Unquoted {
    /// Returns the value as text, every byte that is not UTF-8 replaced by U+FFFD as Go's JSON does.
    pub(super) fn into_text(self) -> Arc<str> {
        match self {
            Self::Text(text) => text,
            Self::Bytes(bytes) => {
                let mut text = String::with_capacity(bytes.len());
                for chunk in bytes.utf8_chunks() {
                    text.push_str(chunk.valid());
                    text.extend(chunk.invalid().iter().map(|_| '\u{fffd}'));
                }
                text.into()
            }
        }
    }

    /// Returns the bytes of a value that is no text.
    pub(super) fn exact_bytes(&self) -> Option<Arc<[u8]>> {
        match self {
            Self::Text(_) => None,
            Self::Bytes(bytes) => Some(bytes.as_slice().into()),
        }
    }

    /// Returns the value as Prometheus names it in messages.
    pub(super) fn quoted(&self) -> String {
        match self {
            Self::Text(text) => quote(text),
            Self::Bytes(bytes) => quote_bytes(bytes),
        }
    }
}

/// Returns `bytes` in double quotes with Go's escapes, `\xff` for each byte that is not UTF-8.
pub(super) fn quote_bytes(bytes: &[u8]) -> String {
    let mut quoted = String::from("\"");
    for chunk in bytes.utf8_chunks() {
        let valid = quote(chunk.valid());
        quoted.push_str(&valid[1..valid.len() - 1]);
        for byte in chunk.invalid() {
            write!(quoted, "\\x{byte:02x}").expect("writing to a String cannot fail");
        }
    }
    quoted + "\""
}

/// Returns the value of a string token, which the lexer has checked.
pub(super) fn unquote(token: &str) -> Unquoted {
    let inner = &token[1..token.len() - 1];
    if token.starts_with('`') || !inner.contains('\\') {
        return Unquoted::Text(inner.into());
    }
    let bytes = unescape(inner);
    match String::from_utf8(bytes) {
        Ok(text) => Unquoted::Text(text.into()),
        Err(error) => Unquoted::Bytes(error.into_bytes()),
    }
}

fn unescape(escaped: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(escaped.len());
    let mut rest = escaped;
    while let Some(backslash) = rest.find('\\') {
        bytes.extend_from_slice(&rest.as_bytes()[..backslash]);
        rest = unescape_one(&rest[backslash + 1..], &mut bytes);
    }
    bytes.extend_from_slice(rest.as_bytes());
    bytes
}

/// Appends the value of the escape whose text behind the backslash starts `rest`; returns what follows it.
fn unescape_one<'a>(rest: &'a str, bytes: &mut Vec<u8>) -> &'a str {
    let Some(kind) = rest.chars().next() else {
        return rest;
    };
    let after = &rest[kind.len_utf8()..];
    let digits = |from: &'a str, count: usize, radix: u32| -> (u32, &'a str) {
        let count = count.min(from.len());
        let value = u32::from_str_radix(from.get(..count).unwrap_or("0"), radix).unwrap_or(0);
        (value, from.get(count..).unwrap_or(""))
    };
    let (value, after) = match kind {
        'x' => digits(after, 2, 16),
        '0'..='7' => digits(rest, 3, 8),
        'u' | 'U' => {
            let (value, after) = digits(after, if kind == 'u' { 4 } else { 8 }, 16);
            let char = char::from_u32(value).unwrap_or('\u{fffd}');
            bytes.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
            return after;
        }
        'a' => (0x07, after),
        'b' => (0x08, after),
        'f' => (0x0c, after),
        'n' => (0x0a, after),
        'r' => (0x0d, after),
        't' => (0x09, after),
        'v' => (0x0b, after),
        // A backslash or the quote itself.
        other => (u32::from(other), after),
    };
    bytes.push(u8::try_from(value).unwrap_or(b'?'));
    after
}

/// Returns the value of a number token.
///
/// # Errors
///
/// Go's reason why it is none: `invalid syntax` or `value out of range`.
pub(super) fn parse_number(text: &str) -> Result<f64, &'static str> {
    // Plain decimal digits are by far the most common; up to 15 of them are exact.
    if text.len() <= 15 && !text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit())
    {
        return text.parse().map_err(|_| "invalid syntax");
    }
    match parse_go_int(text) {
        Some(value) => Ok(int_to_float(value)),
        None => parse_go_float(text),
    }
}

#[expect(clippy::cast_precision_loss, reason = "Go rounds the same way")]
fn int_to_float(value: i64) -> f64 {
    value as f64
}

/// Go's `strconv.ParseInt(text, 0, 64)` for texts without sign.
fn parse_go_int(text: &str) -> Option<i64> {
    let (radix, digits) = match text.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &text[2..]),
        [b'0', _, ..] => (8, &text[1..]),
        _ => (10, text),
    };
    if !digits.contains('_') {
        return parse_digits(digits, radix);
    }
    if !underscores_separate_digits(text) {
        return None;
    }
    parse_digits(&digits.replace('_', ""), radix)
}

fn parse_digits(digits: &str, radix: u32) -> Option<i64> {
    // `from_str_radix` would take a sign.
    if !digits.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return None;
    }
    i64::from_str_radix(digits, radix).ok()
}

/// The bits of Go's `math.NaN()`, which differ from Rust's and can be seen in stored samples.
const GO_NAN: f64 = f64::from_bits(0x7FF8_0000_0000_0001);

/// Go's `strconv.ParseFloat(text, 64)` for texts without sign. Hexadecimal floats need an exponent `p`,
/// which the lexer does not read.
fn parse_go_float(text: &str) -> Result<f64, &'static str> {
    if text.eq_ignore_ascii_case("inf") {
        return Ok(f64::INFINITY);
    }
    if text.eq_ignore_ascii_case("nan") {
        return Ok(GO_NAN);
    }
    let starts_as_number = text.starts_with(|first: char| first.is_ascii_digit() || first == '.');
    if !starts_as_number || !underscores_separate_digits(text) {
        return Err("invalid syntax");
    }
    let value: f64 = text
        .replace('_', "")
        .parse()
        .map_err(|_| "invalid syntax")?;
    if value.is_infinite() {
        return Err("value out of range");
    }
    Ok(value)
}

/// Go's rule: every underscore stands between two digits, or between the base prefix and a digit.
fn underscores_separate_digits(text: &str) -> bool {
    let is_hex = text.starts_with("0x") || text.starts_with("0X");
    let body = if is_hex { &text[2..] } else { text };
    let is_digit = |byte: u8| {
        if is_hex {
            byte.is_ascii_hexdigit()
        } else {
            byte.is_ascii_digit()
        }
    };
    let mut after_digit = is_hex;
    for (at, byte) in body.bytes().enumerate() {
        let before_digit = body
            .as_bytes()
            .get(at + 1)
            .is_some_and(|next| is_digit(*next));
        if byte == b'_' && !(after_digit && before_digit) {
            return false;
        }
        after_digit = is_digit(byte);
    }
    true
}

/// Units from large to small, with their milliseconds.
const UNITS: [(&str, u64); 7] = [
    ("y", 365 * 24 * 60 * 60 * 1000),
    ("w", 7 * 24 * 60 * 60 * 1000),
    ("d", 24 * 60 * 60 * 1000),
    ("h", 60 * 60 * 1000),
    ("m", 60 * 1000),
    ("s", 1000),
    ("ms", 1),
];

/// Most milliseconds that Go's nanosecond durations can hold.
const DURATION_MS_MAX: u64 = 9_223_372_036_854;

/// Returns the milliseconds of a duration such as `1h30m`: units from large to small, each at most once.
///
/// # Errors
///
/// Prometheus' message.
pub(super) fn parse_duration_ms(text: &str) -> Result<u64, String> {
    let invalid = || format!("not a valid duration string: {}", quote(text));
    let out_of_range = || "duration out of range".to_owned();
    match text {
        "0" => return Ok(0),
        "" => return Err("empty duration string".to_owned()),
        _ => {}
    }
    let mut total: u64 = 0;
    let mut units_left = &UNITS[..];
    let mut rest = text;
    while !rest.is_empty() {
        let digits_end = rest
            .find(|char: char| !char.is_ascii_digit())
            .ok_or_else(invalid)?;
        let count: u64 = rest[..digits_end].parse().map_err(|_| invalid())?;
        rest = &rest[digits_end..];
        let unit_end = rest
            .find(|char: char| char.is_ascii_digit())
            .unwrap_or(rest.len());
        let unit = &rest[..unit_end];
        rest = &rest[unit_end..];
        if !UNITS.iter().any(|(name, _)| *name == unit) {
            return Err(format!(
                "unknown unit {} in duration {}",
                quote(unit),
                quote(text)
            ));
        }
        let place = units_left
            .iter()
            .position(|(name, _)| *name == unit)
            .ok_or_else(invalid)?;
        let part = count.checked_mul(units_left[place].1);
        total = part
            .and_then(|part| total.checked_add(part))
            .filter(|total| *total <= DURATION_MS_MAX)
            .ok_or_else(out_of_range)?;
        units_left = &units_left[place + 1..];
    }
    Ok(total)
}

/// Writes milliseconds as Prometheus writes durations: `1h30m`, whole years and weeks only when nothing is left.
pub(super) fn write_duration_ms(out: &mut impl Write, ms: u64) -> std::fmt::Result {
    if ms == 0 {
        return out.write_str("0s");
    }
    let mut rest = ms;
    for (unit, unit_ms) in UNITS {
        let count = rest / unit_ms;
        let must_divide = matches!(unit, "y" | "w");
        if count == 0 || (must_divide && !rest.is_multiple_of(unit_ms)) {
            continue;
        }
        write!(out, "{count}{unit}")?;
        rest -= count * unit_ms;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_go_reads_them() {
        let good = [
            ("1", 1.0),
            ("123456789012345", 123_456_789_012_345.0),
            ("0755", 493.0),
            ("0899", 899.0),
            ("0xc", 12.0),
            ("0X_1f", 31.0),
            ("1_000", 1000.0),
            ("1_000.2_5e0_1", 10_002.5),
            ("017_7", 127.0),
            (".5", 0.5),
            ("5.", 5.0),
            ("5e-3", 0.005),
            ("18446744073709551616", 18_446_744_073_709_551_616.0),
            ("iNf", f64::INFINITY),
        ];
        for (text, value) in good {
            assert_eq!(parse_number(text), Ok(value), "{text}");
        }
        assert!(parse_number("nan").is_ok_and(f64::is_nan));
        for (text, reason) in [
            ("1e999", "value out of range"),
            ("1_.5", "invalid syntax"),
            ("1__0", "invalid syntax"),
            ("0xffffffffffffffffff", "invalid syntax"),
            ("infinity", "invalid syntax"),
        ] {
            assert_eq!(parse_number(text), Err(reason), "{text}");
        }
    }

    #[test]
    fn durations_read_and_write() {
        for (text, ms, written) in [
            ("0", 0, "0s"),
            ("1h30m", 5_400_000, "1h30m"),
            ("1y2w3d", 33_004_800_000, "382d"),
            ("90d", 7_776_000_000, "90d"),
            ("2w", 1_209_600_000, "2w"),
            ("1002ms", 1002, "1s2ms"),
            ("292y", 9_208_512_000_000, "292y"),
        ] {
            assert_eq!(parse_duration_ms(text), Ok(ms), "{text}");
            let mut out = String::new();
            write_duration_ms(&mut out, ms).unwrap();
            assert_eq!(out, written);
        }
        for (text, message) in [
            ("", "empty duration string"),
            ("5m1h", "not a valid duration string: \"5m1h\""),
            ("5", "not a valid duration string: \"5\""),
            ("5y1hs", "unknown unit \"hs\" in duration \"5y1hs\""),
            ("293y", "duration out of range"),
            ("99999999999999999y", "duration out of range"),
            (
                "99999999999999999999y",
                "not a valid duration string: \"99999999999999999999y\"",
            ),
        ] {
            assert_eq!(parse_duration_ms(text), Err(message.to_owned()), "{text}");
        }
    }

    #[test]
    fn quoted_texts_lose_quotes_and_escapes() {
        for (token, value) in [
            (r#""a""#, "a"),
            (r"'it\'s'", "it's"),
            (r"`a\n`", r"a\n"),
            (r#""\a\b\f\n\r\t\v\\\"""#, "\x07\x08\x0c\n\r\t\x0b\\\""),
            (r#""\u263a\U0001F600\x41\101""#, "\u{263a}\u{1f600}AA"),
        ] {
            assert_eq!(unquote(token), Unquoted::Text(value.into()), "{token}");
        }
        let bytes = unquote(r#""a\xff\377b""#);
        assert_eq!(bytes.quoted(), r#""a\xff\xffb""#);
        assert_eq!(&*bytes.into_text(), "a\u{fffd}\u{fffd}b");
    }

    #[test]
    fn characters_are_quoted_as_go_quotes_runes() {
        for (char, quoted) in [
            (Some('x'), "'x'"),
            (Some('\''), r"'\''"),
            (Some('"'), "'\"'"),
            (Some('\n'), r"'\n'"),
            (None, "'\u{fffd}'"),
        ] {
            assert_eq!(quote_char(char), quoted);
        }
        assert_eq!(code_point('c'), "U+0063 'c'");
        assert_eq!(code_point('"'), "U+0022 '\"'");
        assert_eq!(code_point('\n'), "U+000A");
        assert_eq!(quote_shortened("01234567890"), "\"0123456789\"...");
    }
}
