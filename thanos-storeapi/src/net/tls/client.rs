//! What clients show and believe.

use std::fmt;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::{ClientConfig, RootCertStore};
use thanos_core::{Error, Result};

use super::names::versions;
use super::pair::Pair;
use super::verify::{AnyCertificate, OtherName};
use super::{Pem, TlsVersion, shared_provider};

/// How a client makes TLS connections. The defaults are those of Go.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClientTls {
    /// Authorities that are believed instead of the system's.
    pub authorities: Option<Pem>,
    /// The client's certificate.
    pub certificate: Option<Pem>,
    /// The client's key.
    pub key: Option<Pem>,
    /// The name that the server's certificate must be for, instead of the one that is connected to; empty for that one.
    pub server_name: String,
    /// Whether any certificate is accepted.
    pub insecure_skip_verify: bool,
    /// The lowest version; 1.2 without it.
    pub min_version: Option<TlsVersion>,
    /// The highest version.
    pub max_version: Option<TlsVersion>,
}

impl ClientTls {
    /// Checks what can be checked without files.
    ///
    /// # Errors
    ///
    /// `Invalid` for one of certificate and key without the other, for versions that are not spoken and for a server name
    /// that is none.
    pub fn validate(&self) -> Result<()> {
        let message = "both client key and certificate must be provided";
        match (&self.certificate, &self.key) {
            (Some(_), None) => {
                return Err(Error::invalid(format!(
                    "{message}: cert_file is given without key_file"
                )));
            }
            (None, Some(_)) => {
                return Err(Error::invalid(format!(
                    "{message}: key_file is given without cert_file"
                )));
            }
            (None, None) | (Some(_), Some(_)) => {}
        }
        if !self.server_name.is_empty() {
            server_name(&self.server_name)?;
        }
        versions(self.min_version, self.max_version).map(drop)
    }

    /// Returns what connections are made with, without ALPN.
    ///
    /// # Errors
    ///
    /// As [`ClientTls::validate`], and `Invalid` for files that hold no usable certificate or key, `NotFound` for missing
    /// files.
    pub fn config(&self) -> Result<ClientConfig> {
        self.validate()?;
        let provider = shared_provider();
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&versions(self.min_version, self.max_version)?)
            .map_err(|error| Error::internal("no TLS version").with_source(error))?;
        let builder = if self.insecure_skip_verify {
            let any = Arc::new(AnyCertificate::new(Arc::clone(&provider)));
            builder.dangerous().with_custom_certificate_verifier(any)
        } else if self.server_name.is_empty() {
            builder.with_root_certificates(self.roots()?)
        } else {
            let name = server_name(&self.server_name)?;
            let verifier = OtherName::new(name, self.roots()?, Arc::clone(&provider))?;
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(verifier))
        };
        let (Some(certificate), Some(key)) = (&self.certificate, &self.key) else {
            return Ok(builder.with_no_client_auth());
        };
        let pair = Pair::read(certificate, key, "client", provider)?;
        let mut config = builder.with_client_cert_resolver(Arc::new(pair));
        // A resumed session would show the certificate of the first one, although there may be another now.
        config.resumption = Resumption::disabled();
        Ok(config)
    }

    fn roots(&self) -> Result<RootCertStore> {
        if let Some(authorities) = &self.authorities {
            return authorities.authorities();
        }
        // None at all is an error of the first handshake, not of a client that may never need one.
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Ok(roots)
    }
}

fn server_name(name: &str) -> Result<rustls::pki_types::ServerName<'static>> {
    rustls::pki_types::ServerName::try_from(name.to_owned())
        .map_err(|_| Error::invalid(format!("tls_config: server_name {name:?} is no host name")))
}

/// What TLS connections are made with; clones share it, with the certificate that is read again when it changes.
#[derive(Clone)]
pub struct TlsClient {
    settings: Arc<ClientTls>,
    config: Arc<ClientConfig>,
}

impl TlsClient {
    /// Reads the files of `settings`, for connections that speak one of `protocols` (ALPN, best first).
    ///
    /// # Errors
    ///
    /// Those of [`ClientTls::config`].
    pub fn new(settings: ClientTls, protocols: &[&str]) -> Result<Self> {
        let mut config = settings.config()?;
        config.alpn_protocols = protocols
            .iter()
            .map(|name| name.as_bytes().to_vec())
            .collect();
        Ok(Self {
            settings: Arc::new(settings),
            config: Arc::new(config),
        })
    }

    /// Returns what it was made from.
    pub fn settings(&self) -> &ClientTls {
        &self.settings
    }

    /// Returns the configuration.
    pub fn config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.config)
    }

    /// Makes `io`, a connection to `host`, an encrypted one.
    ///
    /// # Errors
    ///
    /// `Unavailable` when the handshake fails, `Invalid` for a host that is neither a name nor an address.
    pub async fn handshake<IO>(
        &self,
        host: &str,
        io: IO,
    ) -> Result<tokio_rustls::client::TlsStream<IO>>
    where
        IO: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    {
        let asked = match self.settings.server_name.as_str() {
            "" => host.trim_start_matches('[').trim_end_matches(']'),
            other => other,
        };
        let name = server_name(asked)?;
        let connector = tokio_rustls::TlsConnector::from(self.config());
        let handshake = connector.connect(name, io).await;
        handshake.map_err(|error| {
            Error::unavailable(format!("TLS handshake with {asked}: {error}")).with_source(error)
        })
    }
}

/// Equal when the settings are: what is in the files may differ.
impl PartialEq for TlsClient {
    fn eq(&self, other: &Self) -> bool {
        self.settings == other.settings && self.config.alpn_protocols == other.config.alpn_protocols
    }
}

impl Eq for TlsClient {}

impl fmt::Debug for TlsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings.fmt(f)
    }
}
