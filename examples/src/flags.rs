//! Flags that every role has, with Thanos' names and defaults.

use std::time::Duration;

use clap::{Args, ValueEnum};
use thanos_core::time::SignedDuration;

/// Logging flags.
#[derive(Debug, Clone, Args)]
pub struct LogFlags {
    /// Log filtering level.
    #[arg(
        id = "log.level",
        long = "log.level",
        global = true,
        value_name = "LEVEL",
        default_value = "info"
    )]
    pub level: LogLevel,
    /// Log format to use.
    #[arg(
        id = "log.format",
        long = "log.format",
        global = true,
        value_name = "FORMAT",
        default_value = "logfmt"
    )]
    pub format: LogFormat,
}

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    /// Failures only.
    Error,
    /// And what may become one.
    Warn,
    /// And what an operator wants to know.
    Info,
    /// And every step.
    Debug,
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// `ts=... level=... msg=...`
    Logfmt,
    /// One JSON object a line.
    Json,
}

/// Flags of the HTTP server.
#[derive(Debug, Clone, Args)]
pub struct HttpFlags {
    /// Listen host:port for HTTP endpoints.
    #[arg(
        id = "http-address",
        long = "http-address",
        value_name = "ADDRESS",
        default_value = "0.0.0.0:10902"
    )]
    pub address: String,
    /// Time to wait after an interrupt received for HTTP server.
    #[arg(id = "http-grace-period", long = "http-grace-period", value_name = "DURATION", default_value = "2m", value_parser = duration)]
    pub grace_period: Duration,
}

/// Flags of the gRPC server.
#[derive(Debug, Clone, Args)]
pub struct GrpcFlags {
    /// Listen ip:port address for gRPC endpoints (StoreAPI).
    #[arg(
        id = "grpc-address",
        long = "grpc-address",
        value_name = "ADDRESS",
        default_value = "0.0.0.0:10901"
    )]
    pub address: String,
    /// Time to wait after an interrupt received for gRPC server.
    #[arg(id = "grpc-grace-period", long = "grpc-grace-period", value_name = "DURATION", default_value = "2m", value_parser = duration)]
    pub grace_period: Duration,
}

/// Flags that say which bucket to use.
#[derive(Debug, Clone, Args)]
pub struct BucketFlags {
    /// Path to YAML file that contains object store configuration.
    #[arg(
        id = "objstore.config-file",
        long = "objstore.config-file",
        value_name = "FILE"
    )]
    pub config_file: Option<std::path::PathBuf>,
    /// Object store configuration in YAML; alternative to 'objstore.config-file'.
    #[arg(
        id = "objstore.config",
        long = "objstore.config",
        value_name = "CONTENT",
        conflicts_with = "objstore.config-file"
    )]
    pub config: Option<String>,
}

impl BucketFlags {
    /// Opens the bucket that the flags describe.
    ///
    /// # Errors
    ///
    /// `Invalid` when neither flag is given or the YAML is wrong.
    pub fn open(&self) -> thanos_core::Result<thanos_bucket::Bucket> {
        let yaml = match (&self.config, &self.config_file) {
            (Some(yaml), _) => yaml.clone(),
            (None, Some(file)) => std::fs::read_to_string(file).map_err(|error| {
                thanos_core::Error::from(error).in_file(file.display().to_string())
            })?,
            (None, None) => {
                return Err(thanos_core::Error::invalid(
                    "one of the flags --objstore.config and --objstore.config-file is needed",
                ));
            }
        };
        thanos_bucket::config::BucketConfig::from_yaml(&yaml)?.open()
    }
}

/// Parses a Prometheus duration (`5m`, `1h30m`) for a flag.
///
/// # Errors
///
/// The message for the user.
pub fn duration(text: &str) -> Result<Duration, String> {
    let parsed = SignedDuration::parse_prometheus(text).map_err(|error| error.to_string())?;
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
            "invalid byte size {text:?}: a number and one of B, KB, MB, GB, TB or KiB, MiB, GiB, TiB"
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
        for bad in ["", "x", "1XB", "-1", "1e99GB", "99999999999TB"] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_are_those_of_prometheus() {
        assert_eq!(duration("1h30m"), Ok(Duration::from_secs(5400)));
        assert!(duration("soon").unwrap_err().contains("soon"));
    }
}
