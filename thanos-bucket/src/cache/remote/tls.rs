//! TLS to cache servers (`tls_config` of Thanos' Redis client).

use rustls::{ClientConfig, SupportedProtocolVersion};
use serde::Deserialize;
use thanos_core::{Error, Result};

use crate::tls::ClientTls;

static ONLY_1_3: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];

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
        self.versions().map(drop)
    }

    fn versions(&self) -> Result<&'static [&'static SupportedProtocolVersion]> {
        match self.min_version.as_str() {
            "" | "1.0" | "1.1" | "1.2" => Ok(rustls::ALL_VERSIONS),
            "1.3" => Ok(ONLY_1_3),
            other => {
                let message = format!("tls_config.min_version invalid: {other:?}");
                Err(Error::invalid(message))
            }
        }
    }

    /// Returns what connections are made with. The name that a server has to prove is that of the handshake.
    ///
    /// # Errors
    ///
    /// `Invalid` for files that hold no usable certificate or key, `NotFound` for missing files.
    pub(in super::super) fn client_config(&self) -> Result<ClientConfig> {
        let tls = ClientTls {
            ca_file: &self.ca_file,
            cert_file: &self.cert_file,
            key_file: &self.key_file,
            proven_name: "",
            believes_any: self.insecure_skip_verify,
            versions: self.versions()?,
        };
        tls.config()
    }
}
