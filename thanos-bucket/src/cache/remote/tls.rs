//! TLS to cache servers (`tls_config` of Thanos' Redis client).

use rustls::ClientConfig;
use serde::Deserialize;
use thanos_core::{Error, Result};
use thanos_storeapi::net::tls::{ClientTls, Pem, TlsVersion};

/// How TLS connections are made.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsOptions {
    /// The certificates of the authorities that may vouch for a server; those of the system where there is none.
    pub ca_file: String,
    /// Our certificate.
    pub cert_file: String,
    /// Its key.
    pub key_file: String,
    /// The name that a server has to prove, where it is not that of its address.
    pub server_name: String,
    /// Whether any server is believed.
    pub insecure_skip_verify: bool,
    /// The lowest version of TLS: `1.2` or `1.3`. The older ones, which Thanos knows, are not spoken.
    pub min_version: String,
}

impl TlsOptions {
    /// Checks what can be checked without files.
    pub(in super::super) fn validate(&self) -> Result<()> {
        if self.cert_file.is_empty() != self.key_file.is_empty() {
            let message = "both client key and certificate must be provided";
            return Err(Error::invalid(message));
        }
        self.lowest_version().map(drop)
    }

    fn lowest_version(&self) -> Result<Option<TlsVersion>> {
        if self.min_version.is_empty() {
            return Ok(None);
        }
        let version = self.min_version.parse();
        version
            .map(Some)
            .map_err(|error: Error| error.context("tls_config.min_version"))
    }

    /// Returns what connections are made with. The name that a server has to prove is that of the handshake.
    ///
    /// # Errors
    ///
    /// `Invalid` for files that hold no usable certificate or key, `NotFound` for missing files.
    pub(in super::super) fn client_config(&self) -> Result<ClientConfig> {
        let tls = ClientTls {
            authorities: Pem::file(&self.ca_file),
            certificate: Pem::file(&self.cert_file),
            key: Pem::file(&self.key_file),
            insecure_skip_verify: self.insecure_skip_verify,
            min_version: self.lowest_version()?,
            ..ClientTls::default()
        };
        tls.config()
    }
}
