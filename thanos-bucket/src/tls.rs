//! TLS of clients, to object stores and to caches: roots of the system or of a file, a certificate of our own, and Go's
//! two ways to be lax.

use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme, SupportedProtocolVersion,
};
use thanos_core::{Error, Result};

/// What a client shows and believes; empty texts mean what is usual.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClientTls<'a> {
    /// PEM file of authorities that are believed instead of the system's.
    pub(crate) ca_file: &'a str,
    /// PEM file of the client's certificate.
    pub(crate) cert_file: &'a str,
    /// PEM file of the client's key.
    pub(crate) key_file: &'a str,
    /// The name that the server's certificate must be for, instead of the one that the handshake asks for.
    pub(crate) proven_name: &'a str,
    /// Whether any certificate is accepted.
    pub(crate) believes_any: bool,
    pub(crate) versions: &'static [&'static SupportedProtocolVersion],
}

impl ClientTls<'_> {
    /// Returns what connections are made with.
    ///
    /// # Errors
    ///
    /// `Invalid` for files that hold no usable certificate or key, `NotFound` for missing files.
    pub(crate) fn config(&self) -> Result<ClientConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(self.versions)
            .map_err(|error| Error::internal("no TLS version").with_source(error))?;
        let builder = if self.believes_any {
            let any = Arc::new(AnyCertificate(provider));
            builder.dangerous().with_custom_certificate_verifier(any)
        } else if self.proven_name.is_empty() {
            builder.with_root_certificates(self.roots()?)
        } else {
            let verifier = Arc::new(OtherName::new(self, provider)?);
            builder
                .dangerous()
                .with_custom_certificate_verifier(verifier)
        };
        match self.own_certificate()? {
            None => Ok(builder.with_no_client_auth()),
            Some((chain, key)) => builder.with_client_auth_cert(chain, key).map_err(|error| {
                Error::invalid("the client certificate and its key cannot be used")
                    .in_file(self.cert_file)
                    .with_source(error)
            }),
        }
    }

    fn roots(&self) -> Result<RootCertStore> {
        let mut roots = RootCertStore::empty();
        if self.ca_file.is_empty() {
            // None at all is an error of the first https request, not of a bucket that needs none.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            return Ok(roots);
        }
        for certificate in certificates(self.ca_file)? {
            roots.add(certificate).map_err(|error| {
                Error::invalid("not a certificate of an authority")
                    .in_file(self.ca_file)
                    .with_source(error)
            })?;
        }
        Ok(roots)
    }

    fn own_certificate(
        &self,
    ) -> Result<Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>> {
        match (self.cert_file, self.key_file) {
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
    fn new(tls: &ClientTls<'_>, provider: Arc<CryptoProvider>) -> Result<Self> {
        let name = ServerName::try_from(tls.proven_name.to_owned())
            .map_err(|_| Error::invalid("tls_config: server_name is no host name"))?;
        let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(tls.roots()?), provider)
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
