//! Authorities and certificates for tests.

use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use thanos_core::testkit::TempDir;

use super::{ClientTls, Pem, ServerTls};

/// An authority whose certificates lie in a directory of their own.
#[derive(Debug)]
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    dir: TempDir,
    pub(crate) pem: Pem,
}

/// A certificate and its key, as files.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Files {
    pub(crate) fn pems(&self) -> [Option<Pem>; 2] {
        [&self.certificate, &self.key].map(|path| Some(Pem::File(path.clone())))
    }

    /// Puts these files in the place of `old`, one after the other, as people do.
    pub(crate) fn replace(&self, old: &Self) {
        std::fs::copy(&self.certificate, &old.certificate).unwrap();
        std::fs::copy(&self.key, &old.key).unwrap();
    }
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let dir = TempDir::new("authority");
        let path = dir.path().join("ca.pem");
        std::fs::write(&path, params.self_signed(&key).unwrap().pem()).unwrap();
        Self {
            issuer: Issuer::new(params, key),
            dir,
            pem: Pem::File(path),
        }
    }

    /// Issues a certificate for the host `localhost` with this common name.
    pub(crate) fn issue(&self, common_name: &str) -> Files {
        self.issue_with(common_name, |_| ())
    }

    pub(crate) fn issue_with(
        &self,
        common_name: &str,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Files {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params
            .distinguished_name
            .push(DnType::CommonName, common_name);
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let files = Files {
            certificate: self.dir.path().join(format!("{common_name}.pem")),
            key: self.dir.path().join(format!("{common_name}.key")),
        };
        std::fs::write(&files.certificate, certificate.pem()).unwrap();
        std::fs::write(&files.key, key.serialize_pem()).unwrap();
        files
    }

    /// Returns settings of a server that shows `files`.
    pub(crate) fn server(&self, files: &Files) -> ServerTls {
        let [certificate, key] = files.pems();
        ServerTls {
            certificate,
            key,
            ..ServerTls::default()
        }
    }

    /// Returns settings of a client that believes this authority.
    pub(crate) fn client(&self) -> ClientTls {
        ClientTls {
            authorities: Some(self.pem.clone()),
            ..ClientTls::default()
        }
    }
}
