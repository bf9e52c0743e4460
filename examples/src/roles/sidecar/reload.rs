//! Prometheus told to read its configuration and rules again when they change.

use std::time::Duration;

use clap::{ArgAction, Args};
use thanos_core::{Error, Result};

use crate::flags::duration;

/// Flags of the reloader.
#[derive(Debug, Clone, Args)]
pub(super) struct ReloadFlags {
    /// Config file watched by the reloader: not supported.
    #[arg(
        id = "reloader.config-file",
        long = "reloader.config-file",
        value_name = "FILE",
        default_value = ""
    )]
    config_file: String,
    /// Output file for environment variable substituted config file: not supported.
    #[arg(
        id = "reloader.config-envsubst-file",
        long = "reloader.config-envsubst-file",
        value_name = "FILE",
        default_value = ""
    )]
    config_envsubst_file: String,
    /// Rule directories for the reloader to refresh (repeated field): not supported.
    #[arg(id = "reloader.rule-dir", long = "reloader.rule-dir", value_name = "DIR", action = ArgAction::Append)]
    rule_dirs: Vec<String>,
    /// Controls how often reloader re-reads config and rules.
    #[arg(id = "reloader.watch-interval", long = "reloader.watch-interval", value_name = "DURATION", default_value = "3m", value_parser = duration)]
    _watch_interval: Duration,
    /// Controls how often reloader retries config reload in case of error.
    #[arg(id = "reloader.retry-interval", long = "reloader.retry-interval", value_name = "DURATION", default_value = "5s", value_parser = duration)]
    _retry_interval: Duration,
    /// Method used to reload the configuration.
    #[arg(
        id = "reloader.method",
        long = "reloader.method",
        value_name = "METHOD",
        default_value = "http",
        value_parser = ["http", "signal"]
    )]
    _method: String,
    /// Executable name used to match the process being reloaded when using the signal method.
    #[arg(
        id = "reloader.process-name",
        long = "reloader.process-name",
        value_name = "NAME",
        default_value = "prometheus"
    )]
    _process_name: String,
}

impl ReloadFlags {
    /// Checks that nothing is asked for that is not there.
    ///
    /// # Errors
    ///
    /// `Invalid` when there is something to watch.
    pub(super) fn validate(&self) -> Result<()> {
        let watches = !self.config_file.is_empty()
            || !self.config_envsubst_file.is_empty()
            || !self.rule_dirs.is_empty();
        match watches {
            true => Err(Error::invalid("--reloader.*: reloading is not supported")),
            false => Ok(()),
        }
    }
}
