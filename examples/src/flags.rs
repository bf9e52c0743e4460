//! Flags that every role has, with Thanos' names and defaults.

use std::time::Duration;

use clap::{Args, ValueEnum};
use thanos_core::time::SignedDuration;

/// Logging flags.
#[derive(Debug, Clone, Args)]
pub struct LogFlags {
    /// Log filtering level.
    #[arg(long = "log.level", value_name = "LEVEL", default_value = "info")]
    pub level: LogLevel,
    /// Log format to use.
    #[arg(long = "log.format", value_name = "FORMAT", default_value = "logfmt")]
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
        long = "http-address",
        value_name = "ADDRESS",
        default_value = "0.0.0.0:10902"
    )]
    pub address: String,
    /// Time to wait after an interrupt received for HTTP server.
    #[arg(long = "http-grace-period", value_name = "DURATION", default_value = "2m", value_parser = duration)]
    pub grace_period: Duration,
}

/// Flags of the gRPC server.
#[derive(Debug, Clone, Args)]
pub struct GrpcFlags {
    /// Listen ip:port address for gRPC endpoints (StoreAPI).
    #[arg(
        long = "grpc-address",
        value_name = "ADDRESS",
        default_value = "0.0.0.0:10901"
    )]
    pub address: String,
    /// Time to wait after an interrupt received for gRPC server.
    #[arg(long = "grpc-grace-period", value_name = "DURATION", default_value = "2m", value_parser = duration)]
    pub grace_period: Duration,
}

/// Flags that say which bucket to use.
#[derive(Debug, Clone, Args)]
pub struct BucketFlags {
    /// Path to YAML file that contains object store configuration.
    #[arg(long = "objstore.config-file", value_name = "FILE")]
    pub config_file: Option<std::path::PathBuf>,
    /// Object store configuration in YAML; alternative to 'objstore.config-file'.
    #[arg(
        long = "objstore.config",
        value_name = "CONTENT",
        conflicts_with = "config_file"
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
