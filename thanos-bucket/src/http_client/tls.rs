//! TLS for the HTTP client: roots of the system or of a file, a certificate of our own, and Go's two ways to be lax.

use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use thanos_core::{Error, Result};

use crate::config::{HttpConfig, TlsConfig};

/// Returns the TLS side of `config`.
///
/// # Errors
///
/// `Invalid` for files that hold no usable certificate or key, `NotFound` for missing files.
pub(super) fn client_config(config: &HttpConfig) -> Result<ClientConfig> {
    let tls = &config.tls_config;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::internal("no TLS version").with_source(error))?;
    let lax = config.insecure_skip_verify || tls.insecure_skip_verify;
    let builder = if lax {
        let any = Arc::new(AnyCertificate(provider));
        builder.dangerous().with_custom_certificate_verifier(any)
    } else if tls.server_name.is_empty() {
        builder.with_root_certificates(roots(tls)?)
    } else {
        let verifier = Arc::new(OtherName::new(tls, provider)?);
        builder
            .dangerous()
            .with_custom_certificate_verifier(verifier)
    };
    let mut config = match own_certificate(tls)? {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => builder.with_client_auth_cert(chain, key).map_err(|error| {
            Error::invalid("the client certificate and its key cannot be used")
                .in_file(&tls.cert_file)
                .with_source(error)
        })?,
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn roots(tls: &TlsConfig) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    if tls.ca_file.is_empty() {
        // None at all is an error of the first https request, not of a bucket that needs none.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return Ok(roots);
    }
    for certificate in certificates(&tls.ca_file)? {
        roots.add(certificate).map_err(|error| {
            Error::invalid("not a certificate of an authority")
                .in_file(&tls.ca_file)
                .with_source(error)
        })?;
    }
    Ok(roots)
}

fn own_certificate(
    tls: &TlsConfig,
) -> Result<Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>> {
    match (tls.cert_file.as_str(), tls.key_file.as_str()) {
        ("", "") => Ok(None),
        (_, "") => Err(Error::invalid(
            "tls_config: cert_file is given without key_file",
        )),
        ("", _) => Err(Error::invalid(
            "tls_config: key_file is given without cert_file",
        )),
        (cert_file, key_file) => {
            let key = PrivateKeyDer::from_pem_slice(&read(key_file)?)
                .map_err(|_| Error::invalid("no private key in PEM").in_file(key_file))?;
            Ok(Some((certificates(cert_file)?, key)))
        }
    }
}

fn certificates(file: &str) -> Result<Vec<CertificateDer<'static>>> {
    let pem = read(file)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match found {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(Error::invalid("no certificates in PEM").in_file(file)),
    }
}

fn read(file: &str) -> Result<Vec<u8>> {
    std::fs::read(Path::new(file)).map_err(|error| Error::from(error).in_file(file))
}

/// Checks the certificate for another name than the host's: `server_name`. The host is still what the handshake asks for.
#[derive(Debug)]
struct OtherName {
    name: ServerName<'static>,
    inner: Arc<WebPkiServerVerifier>,
}

impl OtherName {
    fn new(tls: &TlsConfig, provider: Arc<CryptoProvider>) -> Result<Self> {
        let name = ServerName::try_from(tls.server_name.clone())
            .map_err(|_| Error::invalid("tls_config: server_name is no host name"))?;
        let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots(tls)?), provider)
            .build()
            .map_err(|error| {
                Error::invalid("tls_config: no authorities to check against").with_source(error)
            })?;
        Ok(Self { name, inner })
    }
}

impl ServerCertVerifier for OtherName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.inner
            .verify_server_cert(end_entity, intermediates, &self.name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// Believes any certificate whose owner has its key: `insecure_skip_verify`.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
