//! Durations and sizes as Thanos' configurations have them.

use std::time::Duration;

use serde::{Deserialize, Deserializer, de};
use thanos_core::time::SignedDuration;

/// A number of bytes, written with a unit: `250MB` is 250 times 1024 times 1024, and so is `250MiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ByteSize(pub u64);

impl ByteSize {
    /// Returns the size in `text`.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let split = text.find(|character: char| !character.is_ascii_digit() && character != '.');
        let (number, unit) = text.split_at(split.unwrap_or(text.len()));
        let shift = match unit.trim() {
            "" | "B" => 0,
            "K" | "KB" | "KiB" => 10,
            "M" | "MB" | "MiB" => 20,
            "G" | "GB" | "GiB" => 30,
            "T" | "TB" | "TiB" => 40,
            _ => return None,
        };
        if let Ok(whole) = number.parse::<u64>() {
            return whole.checked_mul(1 << shift).map(Self);
        }
        fraction(number, shift).map(Self)
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "fractions of sizes are rounded, and those that are too large are refused"
)]
fn fraction(number: &str, shift: u32) -> Option<u64> {
    let bytes = number.parse::<f64>().ok()? * (1_u64 << shift) as f64;
    (bytes.is_finite() && bytes < u64::MAX as f64).then_some(bytes as u64)
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match TextOrNumber::deserialize(deserializer)? {
            TextOrNumber::Number(bytes) => Ok(Self(bytes)),
            TextOrNumber::Text(text) => Self::parse(&text)
                .ok_or_else(|| de::Error::custom(format!("{text:?} is not a size in bytes"))),
        }
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum TextOrNumber {
    Number(u64),
    Text(String),
}

/// Reads a duration as Go writes it; a number alone is nanoseconds.
pub(super) fn go_duration<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Duration, D::Error> {
    match TextOrNumber::deserialize(deserializer)? {
        TextOrNumber::Number(nanos) => Ok(Duration::from_nanos(nanos)),
        TextOrNumber::Text(text) => SignedDuration::parse_go(&text)
            .map_err(de::Error::custom)?
            .to_std()
            .ok_or_else(|| de::Error::custom(format!("{text:?} is negative"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_powers_of_1024() {
        for (text, bytes) in [
            ("0", 0),
            ("17", 17),
            ("250MB", 250 << 20),
            ("250MiB", 250 << 20),
            ("1.5KiB", 1536),
            ("2GB", 2 << 30),
        ] {
            assert_eq!(ByteSize::parse(text), Some(ByteSize(bytes)), "{text}");
        }
        for text in ["", "x", "1XB", "-1MB", "99999999999999999999TB", "1.2.3MB"] {
            assert_eq!(ByteSize::parse(text), None, "{text}");
        }
    }
}
