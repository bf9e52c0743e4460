//! TLS to cache servers (`tls_config` of Thanos' Redis client).

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme, SupportedProtocolVersion,
};
use serde::Deserialize;
use thanos_core::{Error, Result};

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

    /// Returns what connections are made with.
    ///
    /// # Errors
    ///
    /// `Invalid` for files that hold no usable certificate or key.
    pub(in super::super) fn client_config(&self) -> Result<ClientConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(self.versions()?)
            .map_err(|error| Error::internal("no TLS version").with_source(error))?;
        let builder = if self.insecure_skip_verify {
            let any = Arc::new(AnyServer(provider));
            builder.dangerous().with_custom_certificate_verifier(any)
        } else {
            builder.with_root_certificates(self.roots()?)
        };
        if self.cert_file.is_empty() {
            return Ok(builder.with_no_client_auth());
        }
        let chain = certificates(&self.cert_file)?;
        let key = PrivateKeyDer::from_pem_file(&self.key_file).map_err(|error| {
            Error::invalid("no usable key")
                .in_file(&self.key_file)
                .with_source(error)
        })?;
        builder.with_client_auth_cert(chain, key).map_err(|error| {
            Error::invalid("the client certificate and its key cannot be used")
                .in_file(&self.cert_file)
                .with_source(error)
        })
    }

    fn roots(&self) -> Result<RootCertStore> {
        let mut roots = RootCertStore::empty();
        if self.ca_file.is_empty() {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            return Ok(roots);
        }
        for certificate in certificates(&self.ca_file)? {
            roots.add(certificate).map_err(|error| {
                Error::invalid("not a certificate of an authority")
                    .in_file(&self.ca_file)
                    .with_source(error)
            })?;
        }
        Ok(roots)
    }
}

fn certificates(file: &str) -> Result<Vec<CertificateDer<'static>>> {
    let bad = |error: rustls::pki_types::pem::Error| {
        Error::invalid("no usable certificate")
            .in_file(file)
            .with_source(error)
    };
    let found: std::result::Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(file).map_err(bad)?.collect();
    let found = found.map_err(bad)?;
    if found.is_empty() {
        return Err(Error::invalid("no certificate").in_file(file));
    }
    Ok(found)
}

/// Believes any server (`insecure_skip_verify`), but not that it has keys that it does not have.
#[derive(Debug)]
struct AnyServer(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
