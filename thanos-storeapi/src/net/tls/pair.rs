//! A certificate with its key, read again when the files change.

use std::sync::Arc;

use parking_lot::Mutex;
use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use thanos_core::{Error, Result};

use super::pem::{Pem, Version};

/// What a side of a connection shows of itself.
///
/// Each handshake asks the file system for the state of both files; that and reading them when they have changed is so
/// little that it is done where the handshake is.
#[derive(Debug)]
pub(super) struct Pair {
    certificate: Pem,
    key: Pem,
    /// "server" or "client", for messages.
    side: &'static str,
    provider: Arc<CryptoProvider>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The states of the files that were looked at last, whether they could be used or not.
    seen: [Version; 2],
    good: Arc<CertifiedKey>,
}

impl Pair {
    /// Reads the files for the first time.
    ///
    /// # Errors
    ///
    /// `NotFound` for missing files, `Invalid` for such that hold no certificate and key that belong together.
    pub(super) fn read(
        certificate: &Pem,
        key: &Pem,
        side: &'static str,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self> {
        // The states are taken before the contents: what changes in between is read again.
        let seen = [certificate.version(), key.version()];
        let good = load(certificate, key, &provider)
            .map_err(|error| error.context(format!("{side} credentials")))?;
        Ok(Self {
            certificate: certificate.clone(),
            key: key.clone(),
            side,
            provider,
            state: Mutex::new(State { seen, good }),
        })
    }

    /// Returns the pair that is in the files now, or the last that could be used.
    pub(super) fn current(&self) -> Arc<CertifiedKey> {
        let seen = [self.certificate.version(), self.key.version()];
        let mut state = self.state.lock();
        if state.seen != seen {
            state.seen = seen;
            let side = self.side;
            match load(&self.certificate, &self.key, &self.provider) {
                Ok(good) => {
                    state.good = good;
                    tracing::info!(side, "read changed TLS credentials");
                }
                Err(error) => {
                    tracing::warn!(side, %error, "changed TLS credentials cannot be used, the old ones stay");
                }
            }
        }
        Arc::clone(&state.good)
    }
}

fn load(certificate: &Pem, key: &Pem, provider: &CryptoProvider) -> Result<Arc<CertifiedKey>> {
    let chain = certificate.certificates()?;
    let pair = CertifiedKey::from_der(chain, key.private_key()?, provider).map_err(|error| {
        certificate
            .at(Error::invalid("the certificate and its key cannot be used").with_source(error))
    })?;
    Ok(Arc::new(pair))
}

impl ResolvesServerCert for Pair {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }
}

impl ResolvesClientCert for Pair {
    fn resolve(
        &self,
        _root_hint_subjects: &[&[u8]],
        _schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }

    fn has_certs(&self) -> bool {
        true
    }
}
