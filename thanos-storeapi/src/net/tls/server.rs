//! What servers show and demand.

use std::fmt;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use thanos_core::{Error, Result};

use super::names::{choose_cipher_suites, choose_curves, versions};
use super::pair::Pair;
use super::verify::{AllowedNames, AnyCertificate};
use super::{Pem, TlsVersion, provider};

/// How a server takes TLS connections; without certificate and key it takes none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServerTls {
    /// The server's certificate.
    pub certificate: Option<Pem>,
    /// The server's key.
    pub key: Option<Pem>,
    /// The authorities that may vouch for clients.
    pub client_authorities: Option<Pem>,
    /// What clients have to show. Without it a certificate of the authorities, if there are any.
    pub client_auth: Option<ClientAuth>,
    /// The alternative names of which a client's certificate must have one; any where there are none.
    pub client_allowed_names: Vec<String>,
    /// The lowest version; 1.2 without it.
    pub min_version: Option<TlsVersion>,
    /// The highest version.
    pub max_version: Option<TlsVersion>,
    /// Go's names of the cipher suites; all where there are none.
    pub cipher_suites: Vec<String>,
    /// Go's names of the curves; all where there are none.
    pub curves: Vec<String>,
}

/// What clients have to show of themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAuth {
    /// Nothing, and they are not asked.
    None,
    /// They are asked, and may show any certificate.
    Request,
    /// Any certificate.
    RequireAny,
    /// Nothing, or a certificate of the authorities.
    VerifyIfGiven,
    /// A certificate of the authorities.
    RequireAndVerify,
}

impl ServerTls {
    /// Returns what connections that speak one of `protocols` (ALPN, best first) are accepted with; `None` when they are
    /// not encrypted.
    ///
    /// # Errors
    ///
    /// `Invalid` for one of certificate and key without the other, for authorities without them, for names and versions
    /// that there are not and for unusable files; `NotFound` for missing files.
    pub fn config(&self, protocols: &[&str]) -> Result<Option<ServerConfig>> {
        let (certificate, key) = match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => (certificate, key),
            (None, None) if self.client_authorities.is_none() => return Ok(None),
            (None, None) => {
                let message =
                    "when a client CA is used a server key and certificate must also be provided";
                return Err(Error::invalid(message));
            }
            (None, Some(_)) | (Some(_), None) => {
                return Err(Error::invalid(
                    "both server key and certificate must be provided",
                ));
            }
        };
        let versions = versions(self.min_version, self.max_version)?;
        let mut provider = provider();
        choose_cipher_suites(&mut provider, &self.cipher_suites)?;
        choose_curves(&mut provider, &self.curves)?;
        let provider = Arc::new(provider);
        let pair = Pair::read(certificate, key, "server", Arc::clone(&provider))?;
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&versions)
            .map_err(|error| {
                Error::invalid("the cipher suites and curves fit no TLS version").with_source(error)
            })?;
        let builder = match self.verifier(provider)? {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::new(pair));
        config.alpn_protocols = protocols
            .iter()
            .map(|name| name.as_bytes().to_vec())
            .collect();
        Ok(Some(config))
    }

    fn verifier(
        &self,
        provider: Arc<CryptoProvider>,
    ) -> Result<Option<Arc<dyn ClientCertVerifier>>> {
        let by_default = match self.client_authorities {
            Some(_) => ClientAuth::RequireAndVerify,
            None => ClientAuth::None,
        };
        let verifier: Arc<dyn ClientCertVerifier> = match self.client_auth.unwrap_or(by_default) {
            ClientAuth::None => return Ok(None),
            ClientAuth::Request => Arc::new(AnyCertificate::new(provider)),
            ClientAuth::RequireAny => Arc::new(AnyCertificate::new(provider).mandatory(true)),
            ClientAuth::VerifyIfGiven => self.by_authorities(provider, false)?,
            ClientAuth::RequireAndVerify => self.by_authorities(provider, true)?,
        };
        if self.client_allowed_names.is_empty() {
            return Ok(Some(verifier));
        }
        Ok(Some(Arc::new(AllowedNames {
            names: self.client_allowed_names.clone(),
            inner: verifier,
        })))
    }

    fn by_authorities(
        &self,
        provider: Arc<CryptoProvider>,
        is_mandatory: bool,
    ) -> Result<Arc<dyn ClientCertVerifier>> {
        let Some(authorities) = &self.client_authorities else {
            return Err(Error::invalid(
                "client certificates cannot be verified without a client CA",
            ));
        };
        let of_clients = |error: Error| error.context("client CA");
        let roots = Arc::new(authorities.authorities().map_err(of_clients)?);
        let builder = WebPkiClientVerifier::builder_with_provider(roots, provider);
        let builder = match is_mandatory {
            true => builder,
            false => builder.allow_unauthenticated(),
        };
        let built = builder.build();
        let unusable = |error| of_clients(Error::invalid("cannot be used").with_source(error));
        built.map_err(unusable)
    }
}

/// What TLS connections are accepted with; clones share it.
#[derive(Clone)]
pub struct TlsServer {
    settings: Arc<ServerTls>,
    config: Arc<ServerConfig>,
}

impl TlsServer {
    /// Reads the files of `settings`, for connections that speak one of `protocols` (ALPN, best first); `None` when
    /// connections are not encrypted.
    ///
    /// # Errors
    ///
    /// Those of [`ServerTls::config`].
    pub fn new(settings: ServerTls, protocols: &[&str]) -> Result<Option<Self>> {
        Ok(settings.config(protocols)?.map(|config| Self {
            settings: Arc::new(settings),
            config: Arc::new(config),
        }))
    }

    /// Returns the configuration.
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }
}

/// Equal when the settings are: what is in the files may differ.
impl PartialEq for TlsServer {
    fn eq(&self, other: &Self) -> bool {
        self.settings == other.settings && self.config.alpn_protocols == other.config.alpn_protocols
    }
}

impl Eq for TlsServer {}

impl fmt::Debug for TlsServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings.fmt(f)
    }
}
