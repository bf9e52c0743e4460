//! Flags of traces, and what steers the garbage collector of Go, which there is none of.

use std::path::PathBuf;

use clap::{ArgAction, Args};
use thanos_core::{Error, Result};

use super::content;
use crate::traces::TracingConfig;

/// Which spans are sent where.
#[derive(Debug, Clone, Args)]
pub struct TracingFlags {
    /// Path to YAML file with tracing configuration; `$(NAME)` in it stands for an environment variable.
    #[arg(
        id = "tracing.config-file",
        long = "tracing.config-file",
        global = true,
        value_name = "FILE"
    )]
    file: Option<PathBuf>,
    /// Alternative to 'tracing.config-file' flag (mutually exclusive): the content of the file.
    #[arg(
        id = "tracing.config",
        long = "tracing.config",
        global = true,
        value_name = "CONTENT"
    )]
    inline: Option<String>,
    /// Taken and ignored: it steers Go's garbage collector. Memory is bounded by the flags with memory-limit in their names.
    #[arg(id = "enable-auto-gomemlimit", long = "enable-auto-gomemlimit", global = true, action = ArgAction::SetTrue, hide = true)]
    _auto_gomemlimit: bool,
    /// Checked and ignored, like --enable-auto-gomemlimit.
    #[arg(
        id = "auto-gomemlimit.ratio",
        long = "auto-gomemlimit.ratio",
        global = true,
        value_name = "RATIO",
        default_value_t = 0.9,
        hide = true
    )]
    auto_gomemlimit_ratio: f64,
}

impl TracingFlags {
    /// Returns which spans are sent where; `None` sends none.
    ///
    /// # Errors
    ///
    /// `Invalid` for a wrong configuration, and for a ratio of memory that is none.
    pub fn config(&self) -> Result<Option<TracingConfig>> {
        let ratio = self.auto_gomemlimit_ratio;
        if !(ratio > 0.0 && ratio <= 1.0) {
            let message =
                "--auto-gomemlimit.ratio must be greater than 0 and less than or equal to 1.";
            return Err(Error::invalid(message));
        }
        let yaml = content("tracing.config", &self.inline, &self.file)?;
        yaml.map(|yaml| TracingConfig::from_yaml(&yaml)).transpose()
    }
}
