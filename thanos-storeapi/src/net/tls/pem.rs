//! Certificates and keys as PEM, in files or in a configuration itself.

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use thanos_core::{Error, Result};

/// No bundle of authorities is near this; a path that leads elsewhere must not fill the memory.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// A PEM text: the path of its file, or the text itself.
#[derive(Clone, PartialEq, Eq)]
pub enum Pem {
    /// It is read from this file.
    File(PathBuf),
    /// This is it; never shown, because it may be a key.
    Inline(String),
}

impl Pem {
    /// Returns the PEM of the file at `path`, or nothing for the empty path that flags have by default.
    pub fn file(path: &str) -> Option<Self> {
        (!path.is_empty()).then(|| Self::File(PathBuf::from(path)))
    }

    /// Returns the certificates, at least one.
    pub(super) fn certificates(&self) -> Result<Vec<CertificateDer<'static>>> {
        let pem = self.read()?;
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
        match found {
            Ok(certificates) if !certificates.is_empty() => Ok(certificates),
            _ => Err(self.at(Error::invalid("no certificates in PEM"))),
        }
    }

    pub(super) fn private_key(&self) -> Result<PrivateKeyDer<'static>> {
        PrivateKeyDer::from_pem_slice(&self.read()?)
            .map_err(|_| self.at(Error::invalid("no private key in PEM")))
    }

    /// Returns the certificates as authorities.
    pub(super) fn authorities(&self) -> Result<RootCertStore> {
        let mut roots = RootCertStore::empty();
        for certificate in self.certificates()? {
            roots.add(certificate).map_err(|error| {
                self.at(Error::invalid("not a certificate of an authority").with_source(error))
            })?;
        }
        Ok(roots)
    }

    /// Returns what changes when the text does.
    pub(super) fn version(&self) -> Version {
        match self {
            Self::File(path) => Version::of(path),
            Self::Inline(_) => Version::default(),
        }
    }

    /// Returns `error` with the file's name, if there is a file.
    pub(super) fn at(&self, error: Error) -> Error {
        match self {
            Self::File(path) => error.in_file(path.display().to_string()),
            Self::Inline(_) => error,
        }
    }

    fn read(&self) -> Result<Vec<u8>> {
        match self {
            Self::Inline(text) => Ok(text.as_bytes().to_vec()),
            Self::File(path) => read(path).map_err(|error| self.at(error)),
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let mut pem = Vec::new();
    let read_len = File::open(path)?
        .take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut pem)?;
    if read_len as u64 > FILE_BYTES_MAX {
        return Err(Error::invalid(
            "longer than 16 MiB, which is no PEM of certificates",
        ));
    }
    Ok(pem)
}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Inline(_) => f.write_str("Inline(<hidden>)"),
        }
    }
}

/// What tells one state of a file from another. Besides the time of the change, which Go goes by, its length and number
/// count: two changes may fall into one tick of a file system's clock. A missing file has none of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Version {
    modified: Option<SystemTime>,
    len: u64,
    inode: u64,
}

impl Version {
    fn of(path: &Path) -> Self {
        let Ok(meta) = std::fs::metadata(path) else {
            return Self::default();
        };
        #[cfg(unix)]
        let inode = std::os::unix::fs::MetadataExt::ino(&meta);
        #[cfg(not(unix))]
        let inode = 0;
        Self {
            modified: meta.modified().ok(),
            len: meta.len(),
            inode,
        }
    }
}
