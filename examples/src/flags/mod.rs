//! Flags that every role has, with Thanos' names and defaults.

mod arguments;
mod content;
mod grpc_tls;
mod select_limits;
mod servers;
mod switches;
mod tracing;
mod values;
mod viewer;

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use thanos_bucket::Bucket;
use thanos_bucket::config::BucketConfig;
use thanos_bucket::layers::BucketMetrics;
use thanos_core::{Error, Result};

pub use arguments::with_files;
pub use content::content;
pub use grpc_tls::{GrpcClientFlags, GrpcTlsFlags};
pub use select_limits::SelectLimitFlags;
pub use servers::{GrpcFlags, HttpFlags, ServerFlags};
pub use switches::with_negations;
pub use tracing::TracingFlags;
pub use values::{bytes, concurrency, duration, label};
pub use viewer::ViewerFlags;

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
    /// Name to add as prefix to log lines.
    #[arg(
        id = "debug.name",
        long = "debug.name",
        global = true,
        value_name = "NAME",
        default_value = "",
        hide = true
    )]
    pub name: String,
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
    /// The journal of systemd.
    Journald,
}

/// Flags that say which bucket to use.
#[derive(Debug, Clone, Args)]
pub struct BucketFlags {
    /// Path to the YAML file that says which bucket to use and how; `$(NAME)` in it stands for an environment variable.
    #[arg(
        id = "objstore.config-file",
        long = "objstore.config-file",
        value_name = "FILE"
    )]
    config_file: Option<PathBuf>,
    /// The same YAML itself, instead of 'objstore.config-file'.
    #[arg(
        id = "objstore.config",
        long = "objstore.config",
        value_name = "CONTENT"
    )]
    config: Option<String>,
}

impl BucketFlags {
    /// Opens the bucket that the flags describe, and counts in `metrics` what is done with it.
    ///
    /// # Errors
    ///
    /// `Invalid` when neither flag is given or the YAML is wrong.
    pub fn open(&self, metrics: BucketMetrics) -> Result<Bucket> {
        self.config()?.open_with(metrics)
    }

    /// Returns the bucket that the flags describe.
    ///
    /// # Errors
    ///
    /// `Invalid` when neither flag is given or the YAML is wrong.
    pub fn config(&self) -> Result<BucketConfig> {
        let Some(config) = self.config_if_any()? else {
            let message = "flag objstore.config-file or objstore.config is required for running this command and \
                           content cannot be empty: --objstore.config";
            return Err(Error::invalid(message));
        };
        Ok(config)
    }

    /// Returns the bucket that the flags describe, or nothing when neither flag is given.
    ///
    /// # Errors
    ///
    /// `Invalid` when the YAML is wrong.
    pub fn config_if_any(&self) -> Result<Option<BucketConfig>> {
        let yaml = content("objstore.config", &self.config, &self.config_file)?;
        yaml.map(|yaml| BucketConfig::from_yaml(&yaml)).transpose()
    }
}
