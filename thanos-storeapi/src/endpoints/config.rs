//! The YAML file of endpoints (`--endpoint.sd-config`), each with its own client settings.
//!
//! ```yaml
//! default_client_config:
//!   compression: snappy
//! endpoints:
//!   - address: dns+sidecars:10901
//!   - address: store-a:10901
//!     strict: true
//!     client_config:
//!       tls_config: { ca_file: ca.pem, min_version: "1.2" }
//!       server_name: store.example
//!   - address: dnssrv+_grpc._tcp.gateways
//!     group: true
//! ```
//!
//! What an endpoint does not say about its connection comes from `default_client_config`, and then from the flags. Unknown
//! fields are mistakes here; Thanos ignores them.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use thanos_core::error::{Error, Result};
use thanos_core::query::Missing;

use super::group::ATTEMPTS;
use super::metrics::EndpointMetrics;
use super::names::DnsName;
use super::source::{Found, Source, WatchedFile};
use super::{EndpointSpec, Health, Members};
use crate::client::ClientSettings;

/// The lowest version of TLS unless something else is said.
#[cfg(feature = "tls")]
const MIN_VERSION: &str = "1.3";

/// What is said about the encryption of a connection; what is not said comes from elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsConfig {
    /// Whether it is encrypted; saying anything else but the version means yes.
    pub enabled: Option<bool>,
    /// Whether any certificate is accepted.
    pub insecure_skip_verify: Option<bool>,
    /// The client's certificate.
    pub cert_file: Option<String>,
    /// The client's key.
    pub key_file: Option<String>,
    /// Authorities that are believed instead of the system's.
    pub ca_file: Option<String>,
    /// The lowest version.
    pub min_version: Option<String>,
}

impl TlsConfig {
    /// Returns this, with `fallback` where nothing is said.
    fn or(self, fallback: Self) -> Self {
        let says_something = self.cert_file.is_some()
            || self.key_file.is_some()
            || self.ca_file.is_some()
            || self.insecure_skip_verify.is_some();
        let implied = says_something.then_some(true);
        Self {
            enabled: self.enabled.or(implied).or(fallback.enabled),
            insecure_skip_verify: self.insecure_skip_verify.or(fallback.insecure_skip_verify),
            cert_file: self.cert_file.or(fallback.cert_file),
            key_file: self.key_file.or(fallback.key_file),
            ca_file: self.ca_file.or(fallback.ca_file),
            min_version: self.min_version.or(fallback.min_version),
        }
    }
}

/// What is said about a connection.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClientConfig {
    /// Its encryption.
    pub tls_config: TlsConfig,
    /// The name that the server's certificate must be for, instead of the one that is connected to.
    pub server_name: Option<String>,
    /// How requests are compressed.
    pub compression: Option<String>,
}

impl ClientConfig {
    /// Returns this, with `fallback` where nothing is said.
    #[must_use]
    pub fn or(self, fallback: Self) -> Self {
        Self {
            tls_config: self.tls_config.or(fallback.tls_config),
            server_name: self.server_name.or(fallback.server_name),
            compression: self.compression.or(fallback.compression),
        }
    }

    /// Returns how connections are made; all that is not said here is as in `base`.
    ///
    /// # Errors
    ///
    /// `Invalid` for an unknown compression or version, for certificates that cannot be used; `NotFound` for missing files.
    pub fn settings(self, base: &ClientSettings) -> Result<ClientSettings> {
        let mut settings = base.clone();
        match self.compression.as_deref() {
            None | Some("") => {}
            Some(name) => settings.compression = name.parse()?,
        }
        self.or(Self::default()).encrypt(&mut settings)?;
        Ok(settings)
    }

    #[cfg(feature = "tls")]
    fn encrypt(self, settings: &mut ClientSettings) -> Result<()> {
        use crate::net::tls::{ClientTls, Pem};
        let tls = self.tls_config;
        if tls.enabled != Some(true) {
            settings.tls = None;
            return Ok(());
        }
        let file = |path: Option<String>| path.as_deref().and_then(Pem::file);
        let min_version = tls.min_version.filter(|version| !version.is_empty());
        let min_version = min_version.as_deref().unwrap_or(MIN_VERSION);
        settings.tls = Some(ClientSettings::tls_client(ClientTls {
            authorities: file(tls.ca_file),
            certificate: file(tls.cert_file),
            key: file(tls.key_file),
            server_name: self.server_name.unwrap_or_default(),
            insecure_skip_verify: tls.insecure_skip_verify.unwrap_or_default(),
            min_version: Some(min_version.parse()?),
            max_version: None,
        })?);
        Ok(())
    }

    #[cfg(not(feature = "tls"))]
    fn encrypt(self, _settings: &mut ClientSettings) -> Result<()> {
        match self.tls_config.enabled {
            Some(true) => Err(Error::invalid("this build has no TLS")),
            Some(false) | None => Ok(()),
        }
    }
}

/// One endpoint of the file.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EndpointConfig {
    /// `host:port`, or a name to look up.
    pub address: String,
    /// Whether it is always asked; not for names.
    pub strict: bool,
    /// Whether the name stands for replicas.
    pub group: bool,
    /// How replicas are called, as gRPC has it (JSON).
    pub service_config: String,
    /// How it is connected to.
    pub client_config: ClientConfig,
}

impl EndpointConfig {
    /// Returns the endpoint; what it does not say about connections is as in `fallback`, and then as in `base`.
    ///
    /// # Errors
    ///
    /// `Invalid` with the address.
    pub fn spec(self, fallback: &ClientConfig, base: &ClientSettings) -> Result<EndpointSpec> {
        let address = self.address.clone();
        self.checked_spec(fallback, base)
            .map_err(|error| error.context(format_args!("endpoint {address}")))
    }

    fn checked_spec(self, fallback: &ClientConfig, base: &ClientSettings) -> Result<EndpointSpec> {
        if self.address.is_empty() {
            return Err(Error::invalid("no address"));
        }
        let is_name = DnsName::parse(&self.address)?.is_some();
        if is_name && self.strict && !self.group {
            let address = &self.address;
            return Err(Error::invalid(format!(
                "{address} is a dynamically specified endpoint i.e. it uses SD and that is not permitted under strict mode."
            )));
        }
        if !self.group && !self.service_config.is_empty() {
            return Err(Error::invalid(
                "service_config is only valid for endpoint groups",
            ));
        }
        let attempts = attempts(&self.service_config)?;
        Ok(EndpointSpec {
            health: if self.strict {
                Health::Strict
            } else {
                Health::Checked
            },
            members: if self.group {
                Members::AnyOf { attempts }
            } else {
                Members::Each
            },
            client: self.client_config.or(fallback.clone()).settings(base)?,
            address: self.address,
        })
    }
}

/// The part of gRPC's service config that means something here.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ServiceConfig {
    retry_policy: RetryPolicy,
    method_config: Vec<MethodConfig>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct MethodConfig {
    retry_policy: RetryPolicy,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RetryPolicy {
    max_attempts: Option<u32>,
}

fn attempts(service_config: &str) -> Result<u32> {
    if service_config.is_empty() {
        return Ok(ATTEMPTS);
    }
    let parsed = serde_saphyr::from_str(service_config);
    let parsed: ServiceConfig =
        parsed.map_err(|error| Error::invalid(format!("service_config: {error}")))?;
    let methods = parsed.method_config.iter().map(|it| &it.retry_policy);
    let policies = std::iter::once(&parsed.retry_policy).chain(methods);
    let attempts = policies.filter_map(|policy| policy.max_attempts).max();
    // As in gRPC, which tries five times at most.
    Ok(attempts.unwrap_or(ATTEMPTS).clamp(1, 5))
}

/// The whole file.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EndpointsConfig {
    /// How endpoints are connected to that do not say it themselves.
    pub default_client_config: ClientConfig,
    /// The endpoints.
    pub endpoints: Vec<EndpointConfig>,
}

impl EndpointsConfig {
    /// Reads `yaml`; nothing is an empty list.
    ///
    /// # Errors
    ///
    /// `Invalid` with the place of the mistake.
    pub fn from_yaml(yaml: &str) -> Result<Self> {
        if yaml.trim().is_empty() {
            return Ok(Self::default());
        }
        let parsed: Option<Self> = serde_saphyr::from_str(yaml)
            .map_err(|error| Error::invalid(format!("endpoint config: {error}")))?;
        Ok(parsed.unwrap_or_default())
    }

    /// Returns the endpoints; connections are made as in `flags` and `base` where the file says nothing.
    ///
    /// # Errors
    ///
    /// Those of [`EndpointConfig::spec`].
    pub fn specs(self, flags: &ClientConfig, base: &ClientSettings) -> Result<Vec<EndpointSpec>> {
        let fallback = self.default_client_config.or(flags.clone());
        let specs = self.endpoints.into_iter();
        specs
            .map(|endpoint| endpoint.spec(&fallback, base))
            .collect()
    }
}

/// Makes endpoints of a parsed file.
type MakeSpecs = Box<dyn Fn(EndpointsConfig) -> Result<Vec<EndpointSpec>> + Send>;

/// The endpoints of a file that is read again when it changes (`--endpoint.sd-config-file`).
///
/// A file that cannot be used leaves the endpoints as they were.
pub struct ConfigSource {
    file: WatchedFile,
    specs: MakeSpecs,
    endpoints: Vec<EndpointSpec>,
    metrics: EndpointMetrics,
}

impl ConfigSource {
    /// Returns the endpoints of the file at `path`, as `specs` makes them, read again every `interval` even if it looks the
    /// same.
    ///
    /// # Errors
    ///
    /// When the file cannot be used now.
    pub fn new(
        path: PathBuf,
        interval: Duration,
        specs: impl Fn(EndpointsConfig) -> Result<Vec<EndpointSpec>> + Send + 'static,
        metrics: EndpointMetrics,
    ) -> Result<Self> {
        let mut source = Self {
            file: WatchedFile::new(path, interval),
            specs: Box::new(specs),
            endpoints: Vec::new(),
            metrics,
        };
        match source.file.changed() {
            Some(content) => source.endpoints = source.read(content)?,
            None => return Err(Error::internal("a file that was never read is new")),
        }
        Ok(source)
    }

    fn read(&self, content: Result<String>) -> Result<Vec<EndpointSpec>> {
        let path = self.file.path().display();
        let parsed = content.and_then(|content| EndpointsConfig::from_yaml(&content));
        parsed
            .and_then(&self.specs)
            .map_err(|error| error.context(format_args!("unable to load config file {path}")))
    }
}

impl fmt::Debug for ConfigSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConfigSource")
            .field("file", &self.file)
            .finish_non_exhaustive()
    }
}

impl Source for ConfigSource {
    fn find(&mut self) -> Found {
        if let Some(content) = self.file.changed() {
            match self.read(content) {
                Ok(endpoints) => {
                    self.endpoints = endpoints;
                    self.metrics.config_is_bad.set(0);
                }
                Err(error) => {
                    tracing::error!(%error, "failed to reload endpoint config, the old one stays");
                    self.metrics.config_reload_failures.inc();
                    self.metrics.config_is_bad.set(1);
                }
            }
        }
        Found {
            endpoints: self.endpoints.clone(),
            gaps: Vec::<Missing>::new(),
        }
    }
}
