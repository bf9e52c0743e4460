//! Prometheus told to read its configuration and rules again when they change.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args};
use thanos_core::{Error, Result};
use thanos_storeapi::prometheus::PrometheusClient;
use thanos_storeapi::prometheus::reloader::{
    ReloadMethod, Reloader, ReloaderMetrics, ReloaderOptions,
};

use crate::flags::duration;
use crate::shutdown::Shutdown;

/// Flags of the reloader.
#[derive(Debug, Clone, Args)]
pub(super) struct ReloadFlags {
    /// Config file watched by the reloader.
    #[arg(
        id = "reloader.config-file",
        long = "reloader.config-file",
        value_name = "FILE",
        default_value = ""
    )]
    config_file: String,
    /// Output file for environment variable substituted config file.
    #[arg(
        id = "reloader.config-envsubst-file",
        long = "reloader.config-envsubst-file",
        value_name = "FILE",
        default_value = ""
    )]
    config_envsubst_file: String,
    /// Rule directories for the reloader to refresh (repeated field).
    #[arg(id = "reloader.rule-dir", long = "reloader.rule-dir", value_name = "DIR", action = ArgAction::Append)]
    rule_dirs: Vec<PathBuf>,
    /// Controls how often reloader re-reads config and rules.
    #[arg(id = "reloader.watch-interval", long = "reloader.watch-interval", value_name = "DURATION", default_value = "3m", value_parser = duration)]
    watch_interval: Duration,
    /// Controls how often reloader retries config reload in case of error.
    #[arg(id = "reloader.retry-interval", long = "reloader.retry-interval", value_name = "DURATION", default_value = "5s", value_parser = duration)]
    retry_interval: Duration,
    /// Method used to reload the configuration.
    #[arg(
        id = "reloader.method",
        long = "reloader.method",
        value_name = "METHOD",
        default_value = "http",
        value_parser = ["http", "signal"]
    )]
    method: String,
    /// Executable name used to match the process being reloaded when using the signal method.
    #[arg(
        id = "reloader.process-name",
        long = "reloader.process-name",
        value_name = "NAME",
        default_value = "prometheus"
    )]
    process_name: String,
}

impl ReloadFlags {
    /// Checks the flags.
    ///
    /// # Errors
    ///
    /// `Invalid` for flags that contradict each other.
    pub(super) fn validate(&self) -> Result<()> {
        self.options(&ReloaderMetrics::default())
            .validate()
            .map_err(in_flags)
    }

    /// Returns the reloader of the Prometheus behind `client`.
    ///
    /// # Errors
    ///
    /// `Invalid` for flags that contradict each other.
    pub(super) fn reloader(
        &self,
        client: PrometheusClient,
        metrics: &ReloaderMetrics,
    ) -> Result<Reloader> {
        let method = match self.method.as_str() {
            "signal" => ReloadMethod::Signal {
                process_name: self.process_name.clone(),
            },
            _ => ReloadMethod::Http,
        };
        Reloader::new(client, method, self.options(metrics)).map_err(in_flags)
    }

    fn options(&self, metrics: &ReloaderMetrics) -> ReloaderOptions {
        let path = |text: &str| (!text.is_empty()).then(|| PathBuf::from(text));
        ReloaderOptions {
            config_file: path(&self.config_file),
            config_output: path(&self.config_envsubst_file),
            rule_dirs: self.rule_dirs.clone(),
            watch_interval: self.watch_interval,
            retry_interval: self.retry_interval,
            environment: ReloaderOptions::process_environment(),
            metrics: metrics.clone(),
            ..ReloaderOptions::default()
        }
    }
}

fn in_flags(error: Error) -> Error {
    error.context("--reloader.*")
}

/// Watches until `shutdown`.
///
/// # Errors
///
/// None: what fails is tried again.
pub(super) async fn keep(reloader: Reloader, shutdown: Shutdown) -> Result<()> {
    tokio::select! {
        () = shutdown.wait() => {}
        () = reloader.watch() => {}
    }
    Ok(())
}
