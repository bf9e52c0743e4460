//! TLS of clients and servers: what Thanos' flags and files say, as configurations of rustls.
//!
//! [`ServerTls`] and [`ClientTls`] are plain settings. [`TlsServer`] holds what connections are accepted with, [`TlsClient`]
//! what they are made with, for any number of them. Both fail at once on files that are missing or unusable.
//!
//! A certificate and its key are read again when either file has changed, at the next handshake. Until both fit, the
//! pair that was good last stays in use: whoever replaces two files cannot replace them at once. Authorities are
//! read once.
//!
//! Cryptography is ring's, named in each configuration: a process may install whatever default it likes, or none.
//! The versions are 1.2 and 1.3. Older ones can be asked for as the lowest, which then is 1.2.

mod client;
mod names;
mod pair;
mod peer;
mod pem;
mod server;
#[cfg(test)]
pub(crate) mod testkit;
mod verify;

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

pub use client::{ClientTls, TlsClient};
pub use names::TlsVersion;
pub use peer::{PeerCertificate, SubjectField};
pub use pem::Pem;
pub use server::{ClientAuth, ServerTls, TlsServer};

/// Returns the cryptography of all connections.
pub(crate) fn provider() -> CryptoProvider {
    rustls::crypto::ring::default_provider()
}

fn shared_provider() -> Arc<CryptoProvider> {
    Arc::new(provider())
}

#[cfg(test)]
mod tests;
