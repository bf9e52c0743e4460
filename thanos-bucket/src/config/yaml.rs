//! Strict reading of configuration YAML: every mistake is an error that names the field and never shows a value.

#[cfg(feature = "cloud")]
use std::fmt;
use std::time::Duration;

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use thanos_core::time::SignedDuration;
use thanos_core::{Error, Result};

/// Reads `text` as a `T`.
///
/// # Errors
///
/// `Invalid` with the field and the place of the problem. Values are left out, because any of them can be a secret that
/// was put into the wrong line; the parser's own error is no source for the same reason.
pub(super) fn parse<T: DeserializeOwned>(text: &str) -> Result<T> {
    let options = serde_saphyr::options! { with_snippet: false };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        Error::invalid(format!("bucket configuration: {}", describe(text, &error)))
    })
}

fn describe(text: &str, error: &serde_saphyr::Error) -> String {
    let problem = problem_of(error);
    let Some(location) = error.location() else {
        return problem;
    };
    let place = format!("line {}, column {}", location.line(), location.column());
    match key_before(text, location.line(), location.column()) {
        Some(key) => format!("field `{key}` ({place}): {problem}"),
        None => format!("{place}: {problem}"),
    }
}

fn problem_of(error: &serde_saphyr::Error) -> String {
    use serde_saphyr::Error as Yaml;
    match error {
        Yaml::SerdeInvalidType { expected, .. } | Yaml::SerdeInvalidValue { expected, .. } => {
            format!("expected {expected}")
        }
        Yaml::SerdeUnknownVariant { expected, .. } => {
            format!("expected one of {}", expected.join(", "))
        }
        Yaml::NonFiniteFloat { .. } => "expected a finite number".to_owned(),
        Yaml::SerdeUnknownField {
            field, expected, ..
        } => format!(
            "unknown field `{field}`, expected one of {}",
            expected.join(", ")
        ),
        other => other.to_string(),
    }
}

/// Returns the key of the value that starts at a line and column, both counted from 1.
fn key_before(text: &str, line: u64, column: u64) -> Option<String> {
    let line = usize::try_from(line).ok()?.checked_sub(1)?;
    let column = usize::try_from(column).ok()?.checked_sub(1)?;
    let before: String = text.lines().nth(line)?.chars().take(column).collect();
    let key = before.trim_end().strip_suffix(':')?;
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let key = key.rsplit(|c| !is_name(c)).next()?;
    Some(key.to_owned()).filter(|key| !key.is_empty())
}

/// A value that is not shown.
#[cfg(feature = "cloud")]
#[derive(Clone, PartialEq, Eq, Default)]
pub(super) struct Secret(String);

#[cfg(feature = "cloud")]
impl Secret {
    pub(super) fn expose(&self) -> &str {
        &self.0
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(feature = "azure")]
impl From<String> for Secret {
    fn from(value: String) -> Self {
        Self(value)
    }
}

#[cfg(feature = "cloud")]
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() {
            "\"\""
        } else {
            "<secret>"
        })
    }
}

#[cfg(feature = "cloud")]
impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text(deserializer).map(Self)
    }
}

/// Reads a string; an empty value (`endpoint:`) is an empty string, as in Go.
pub(super) fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.unwrap_or_default())
}

/// Reads a duration in Prometheus' notation: `90s`, `2m`, `1m30s`, `0`.
pub(super) fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = text(deserializer)?;
    SignedDuration::parse_prometheus(&text)
        .ok()
        .and_then(SignedDuration::to_std)
        .ok_or_else(|| D::Error::custom("expected a duration such as 90s or 2m"))
}
