//! Which endpoints a querier asks: flags, and the discovery that they describe.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{ArgAction, Args};
use thanos_core::{Error, Result};
use thanos_storeapi::client::ClientSettings;
use thanos_storeapi::endpoints::config::{
    ClientConfig, ConfigSource, EndpointConfig, EndpointsConfig,
};
use thanos_storeapi::endpoints::dns::DnsResolver;
use thanos_storeapi::endpoints::file::FileSource;
use thanos_storeapi::endpoints::source::{Source, StaticSource};
use thanos_storeapi::endpoints::{
    ConnectionLabel, Discovery, DiscoveryOptions, EndpointMetrics, EndpointSpec,
};

use crate::flags::{content, duration};
use crate::glob::glob;

/// Flags that say which endpoints there are.
#[derive(Debug, Clone, Args)]
pub(super) struct EndpointFlags {
    /// (Deprecated): Addresses of statically configured Thanos API servers (repeatable). The scheme may be prefixed with
    /// 'dns+' or 'dnssrv+' to detect Thanos API servers through respective DNS lookups.
    #[arg(id = "endpoint", long = "endpoint", value_name = "ENDPOINT", action = ArgAction::Append)]
    endpoints: Vec<String>,
    /// (Deprecated, Experimental): DNS name of statically configured Thanos API server groups (repeatable). Targets resolved
    /// from the DNS name will be queried in a round-robin, instead of a fanout manner.
    #[arg(id = "endpoint-group", long = "endpoint-group", value_name = "ENDPOINT-GROUP", action = ArgAction::Append)]
    groups: Vec<String>,
    /// (Deprecated): Addresses of only statically configured Thanos API servers that are always used, even if the health
    /// check fails.
    #[arg(id = "endpoint-strict", long = "endpoint-strict", value_name = "ENDPOINT", action = ArgAction::Append)]
    strict: Vec<String>,
    /// (Deprecated, Experimental): DNS name of statically configured Thanos API server groups (repeatable) that are always
    /// used, even if the health check fails.
    #[arg(id = "endpoint-group-strict", long = "endpoint-group-strict", value_name = "ENDPOINT-GROUP", action = ArgAction::Append)]
    strict_groups: Vec<String>,
    /// Path to Config File with endpoint definitions.
    #[arg(
        id = "endpoint.sd-config-file",
        long = "endpoint.sd-config-file",
        value_name = "FILE"
    )]
    config_file: Option<PathBuf>,
    /// Alternative to 'endpoint.sd-config-file' flag (mutually exclusive). Content of Config File with endpoint definitions.
    #[arg(
        id = "endpoint.sd-config",
        long = "endpoint.sd-config",
        value_name = "CONTENT"
    )]
    config: Option<String>,
    /// Interval between endpoint config refreshes; a file that changed is read at once.
    #[arg(id = "endpoint.sd-config-reload-interval", long = "endpoint.sd-config-reload-interval", value_name = "DURATION", default_value = "5m", value_parser = duration)]
    config_interval: Duration,
    /// (Deprecated) Path to files that contain addresses of store API servers. The path can be a glob pattern (repeatable).
    #[arg(id = "store.sd-files", long = "store.sd-files", value_name = "PATH", action = ArgAction::Append)]
    files: Vec<String>,
    /// (Deprecated) Refresh interval to re-read file SD files. It is used as a resync fallback.
    #[arg(id = "store.sd-interval", long = "store.sd-interval", value_name = "DURATION", default_value = "5m", value_parser = duration)]
    files_interval: Duration,
    /// Interval between DNS resolutions.
    #[arg(id = "store.sd-dns-interval", long = "store.sd-dns-interval", value_name = "DURATION", default_value = "30s", value_parser = duration)]
    dns_interval: Duration,
    /// Resolver to use: both names mean the same one here.
    #[arg(
        id = "store.sd-dns-resolver",
        long = "store.sd-dns-resolver",
        value_name = "NAME",
        default_value = "miekgdns",
        hide = true
    )]
    dns_resolver: String,
    /// Timeout before an unhealthy store is cleaned from the store UI page. Until then it counts as missing.
    #[arg(id = "store.unhealthy-timeout", long = "store.unhealthy-timeout", value_name = "DURATION", default_value = "5m", value_parser = duration)]
    unhealthy_timeout: Duration,
    /// Timeout of gRPC Info requests.
    #[arg(id = "endpoint.info-timeout", long = "endpoint.info-timeout", value_name = "DURATION", default_value = "5s", value_parser = duration, hide = true)]
    info_timeout: Duration,
    /// Optional selection of query connection metric labels to be collected from endpoint set.
    #[arg(id = "query.conn-metric.label", long = "query.conn-metric.label", value_name = "LABEL", action = ArgAction::Append,
        value_parser = ["external_labels", "store_type", "ip_port"])]
    connection_labels: Vec<String>,
    /// Refused: replaces DNS in tests of Thanos itself.
    #[arg(id = "inject-test-addresses", long = "inject-test-addresses", value_name = "ADDRESS", action = ArgAction::Append, hide = true)]
    test_addresses: Vec<String>,
}

impl EndpointFlags {
    /// Returns the longest wait for the info of an endpoint.
    pub(super) fn info_timeout(&self) -> Duration {
        self.info_timeout
    }

    /// Returns the labels of the metric of connections.
    pub(super) fn connection_labels(&self) -> Vec<ConnectionLabel> {
        let label = |name: &String| match name.as_str() {
            "store_type" => ConnectionLabel::StoreType,
            "ip_port" => ConnectionLabel::IpPort,
            _ => ConnectionLabel::ExternalLabels,
        };
        self.connection_labels.iter().map(label).collect()
    }

    /// Returns what finds the endpoints; connections are made as in `fallback`, and then `base`, where a configuration says
    /// nothing.
    ///
    /// # Errors
    ///
    /// `Invalid` for addresses, patterns and configurations that cannot be.
    pub(super) fn discovery(
        &self,
        fallback: &ClientConfig,
        base: &ClientSettings,
        metrics: EndpointMetrics,
    ) -> Result<Arc<Discovery>> {
        if !self.test_addresses.is_empty() {
            let message = "--inject-test-addresses is for tests of Thanos; --endpoint takes addresses as they are";
            return Err(Error::invalid(message));
        }
        if !["golang", "miekgdns"].contains(&self.dns_resolver.as_str()) {
            tracing::warn!(
                resolver = self.dns_resolver,
                "no such resolver type, the only one is used"
            );
        }
        let mut sources = self.configured(fallback, base, &metrics)?;
        sources.push(Box::new(StaticSource(self.listed(fallback, base)?)));
        if !self.files.is_empty() {
            sources.push(Box::new(self.target_files(base)?));
        }
        let options = DiscoveryOptions {
            info_timeout: self.info_timeout,
            unhealthy_timeout: self.unhealthy_timeout,
            dns_interval: self.dns_interval,
            resolver: Arc::new(DnsResolver::system()),
            metrics,
            ..DiscoveryOptions::default()
        };
        Ok(Arc::new(Discovery::new(sources, options)))
    }

    fn configured(
        &self,
        fallback: &ClientConfig,
        base: &ClientSettings,
        metrics: &EndpointMetrics,
    ) -> Result<Vec<Box<dyn Source>>> {
        let yaml = content("endpoint.sd-config", &self.config, &self.config_file)?;
        let (fallback, base) = (fallback.clone(), base.clone());
        let specs = move |config: EndpointsConfig| config.specs(&fallback, &base);
        match (&self.config_file, yaml) {
            (Some(path), _) if !path.as_os_str().is_empty() => {
                let (path, metrics) = (path.clone(), metrics.clone());
                let source = ConfigSource::new(path, self.config_interval, specs, metrics)?;
                Ok(vec![Box::new(source)])
            }
            (_, Some(yaml)) => {
                let listed = specs(EndpointsConfig::from_yaml(&yaml)?)?;
                Ok(vec![Box::new(StaticSource(listed))])
            }
            (_, None) => Ok(Vec::new()),
        }
    }

    /// Returns the endpoints that flags name.
    fn listed(&self, fallback: &ClientConfig, base: &ClientSettings) -> Result<Vec<EndpointSpec>> {
        let kinds = [
            (&self.endpoints, false, false),
            (&self.groups, true, false),
            (&self.strict, false, true),
            (&self.strict_groups, true, true),
        ];
        let mut specs = Vec::new();
        for (addresses, group, strict) in kinds {
            for address in addresses {
                // What can never be reached is a mistake in the command line, not an endpoint that is down.
                if !address.contains([':', '+']) {
                    let message = format!(
                        "address {address:?} is not of <host>:<port> format or a valid DNS query"
                    );
                    return Err(Error::invalid(message));
                }
                // COMPAT: a strict group may be a name; it is one endpoint, whatever it resolves to.
                let config = EndpointConfig {
                    address: address.clone(),
                    strict,
                    group,
                    ..EndpointConfig::default()
                };
                specs.push(config.spec(fallback, base)?);
            }
        }
        Ok(specs)
    }

    fn target_files(&self, base: &ClientSettings) -> Result<FileSource> {
        let patterns = self.files.clone();
        let list = move || -> Result<Vec<PathBuf>> {
            let mut files = Vec::new();
            for pattern in &patterns {
                let found = glob(pattern);
                files.extend(found.map_err(|error: Error| {
                    error.context(format!("--store.sd-files {pattern}"))
                })?);
            }
            files.sort();
            files.dedup();
            Ok(files)
        };
        list()?;
        Ok(FileSource::new(list, self.files_interval, base.clone()))
    }
}
