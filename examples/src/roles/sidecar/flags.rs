//! The flags of `thanos sidecar`: Thanos' names and defaults, and what each sets.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use thanos_core::budget::MemoryBudget;
use thanos_core::time::TimeBound;
use thanos_core::{Error, Result};
use thanos_storeapi::limits::SelectLimits;
use thanos_storeapi::net::http_client::{HttpClient, HttpClientConfig};
use thanos_storeapi::prometheus::{
    PrometheusApis, PrometheusClient, PrometheusServer, PrometheusStoreOptions,
};

use super::metrics::SidecarMetrics;
use super::reload::ReloadFlags;
use super::upload::UploadFlags;
use crate::flags::{SelectLimitFlags, ServerFlags, bytes, content, duration};

/// Flags of `thanos sidecar`.
#[derive(Debug, Clone, Args)]
pub struct SidecarFlags {
    #[command(flatten)]
    pub(super) servers: ServerFlags,
    #[command(flatten)]
    pub(super) prometheus: PrometheusFlags,
    #[command(flatten)]
    pub(super) upload: UploadFlags,
    #[command(flatten)]
    pub(super) reload: ReloadFlags,
    #[command(flatten)]
    limits: LimitFlags,
    /// Start of time range limit to serve. Thanos sidecar will serve only metrics, which happened later than this value.
    /// Option can be a constant time in RFC3339 format or time duration relative to current time, such as -1d or 2h45m.
    /// Valid duration units are ms, s, m, h, d, w, y.
    #[arg(
        id = "min-time",
        long = "min-time",
        value_name = "TIME",
        default_value = "0000-01-01T00:00:00Z",
        allow_hyphen_values = true
    )]
    min_time: TimeBound,
}

/// How Prometheus is reached.
#[derive(Debug, Clone, Args)]
pub(super) struct PrometheusFlags {
    /// URL at which to reach Prometheus's API. For better performance use local network.
    #[arg(
        id = "prometheus.url",
        long = "prometheus.url",
        value_name = "URL",
        default_value = "http://localhost:9090"
    )]
    url: String,
    /// How often to get Prometheus config.
    #[arg(id = "prometheus.get_config_interval", long = "prometheus.get_config_interval", value_name = "DURATION", default_value = "30s", value_parser = duration)]
    pub(super) get_config_interval: Duration,
    /// Timeout for getting Prometheus config.
    #[arg(id = "prometheus.get_config_timeout", long = "prometheus.get_config_timeout", value_name = "DURATION", default_value = "30s", value_parser = duration)]
    pub(super) get_config_timeout: Duration,
    /// Path to YAML file or string with http client configs. See Format details:
    /// https://thanos.io/tip/components/sidecar.md/#configuration.
    #[arg(
        id = "prometheus.http-client-file",
        long = "prometheus.http-client-file",
        value_name = "FILE"
    )]
    http_client_file: Option<PathBuf>,
    /// The same YAML itself, instead of 'prometheus.http-client-file'.
    #[arg(
        id = "prometheus.http-client",
        long = "prometheus.http-client",
        value_name = "CONTENT"
    )]
    http_client: Option<String>,
}

/// How much an answer may hold.
#[derive(Debug, Clone, Args)]
struct LimitFlags {
    #[command(flatten)]
    select: SelectLimitFlags,
    /// The most memory that answers may hold at once which have to be sorted or read as a whole before they are sent on.
    #[arg(id = "store.memory-limit", long = "store.memory-limit", value_name = "BYTES", default_value = "1GB", value_parser = bytes)]
    memory_limit: u64,
}

impl SidecarFlags {
    /// Checks that nothing is asked for that is not there.
    ///
    /// # Errors
    ///
    /// `Invalid` that names the flag.
    pub(super) fn validate(&self) -> Result<()> {
        self.reload.validate()
    }

    /// Returns the settings of the store.
    pub(super) fn store_options(&self, metrics: &SidecarMetrics) -> PrometheusStoreOptions {
        PrometheusStoreOptions {
            min_time: self.min_time,
            budget: MemoryBudget::new("--store.memory-limit", self.limits.memory_limit),
            metrics: metrics.store.clone(),
            offers: PrometheusApis::offers(),
            ..PrometheusStoreOptions::default()
        }
    }

    /// Returns how much an answer may hold.
    pub(super) fn limits(&self) -> SelectLimits {
        self.limits.select.limits()
    }
}

impl PrometheusFlags {
    /// Returns the server, of which nothing is known yet.
    ///
    /// # Errors
    ///
    /// `Invalid` for a wrong address and for settings that cannot be used.
    pub(super) fn server(&self, metrics: &SidecarMetrics) -> Result<PrometheusServer> {
        let in_flag = |flag: &'static str| move |error: Error| error.context(format!("--{flag}"));
        let flag = "prometheus.http-client";
        let yaml = content(flag, &self.http_client, &self.http_client_file)?;
        let config = HttpClientConfig::from_yaml(yaml.as_deref().unwrap_or_default());
        let http = config
            .and_then(|config| HttpClient::new(&config, "thanos-sidecar", metrics.http.clone()))
            .map_err(in_flag(flag))?;
        let client = PrometheusClient::new(http, &self.url).map_err(in_flag("prometheus.url"))?;
        Ok(PrometheusServer::new(client))
    }
}
