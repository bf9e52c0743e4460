//! Who the other side is, as its certificate says.

use std::str::FromStr;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use thanos_core::{Error, Result};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;
use x509_parser::x509::AttributeTypeAndValue;

use crate::tenant::TenantId;

/// A field of a certificate's subject that may name a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubjectField {
    /// `organization`.
    Organization,
    /// `organizationalUnit`.
    OrganizationalUnit,
    /// `commonName`.
    CommonName,
}

impl SubjectField {
    /// Returns the name of the field in flags.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Organization => "organization",
            Self::OrganizationalUnit => "organizationalUnit",
            Self::CommonName => "commonName",
        }
    }
}

impl FromStr for SubjectField {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let fields = [
            Self::Organization,
            Self::OrganizationalUnit,
            Self::CommonName,
        ];
        let known = fields.into_iter().find(|field| field.as_str() == name);
        known.ok_or_else(|| Error::invalid("tls client cert field requested is not supported"))
    }
}

/// The certificate that the other side has shown, which the handshake has checked as the server demands.
///
/// Servers put it among the extensions of each request of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerCertificate {
    der: Arc<CertificateDer<'static>>,
}

impl PeerCertificate {
    /// Returns the first, which is the peer's own, of the certificates that a handshake has brought.
    pub fn of(chain: Option<&[CertificateDer<'static>]>) -> Option<Self> {
        let der = Arc::new(chain?.first()?.clone());
        Some(Self { der })
    }

    /// Returns the first value of `field`.
    ///
    /// # Errors
    ///
    /// `Invalid` when there is none: who is known by his certificate must be named there.
    pub fn subject(&self, field: SubjectField) -> Result<String> {
        let name = field.as_str();
        let missing = || Error::invalid(format!("could not get {name} field from client cert"));
        let (_, certificate) = X509Certificate::from_der(&self.der).map_err(|_| missing())?;
        let subject = certificate.subject();
        let text =
            |attribute: &AttributeTypeAndValue<'_>| attribute.as_str().ok().map(str::to_owned);
        let value = match field {
            SubjectField::Organization => subject.iter_organization().find_map(text),
            SubjectField::OrganizationalUnit => subject.iter_organizational_unit().find_map(text),
            SubjectField::CommonName => subject.iter_common_name().find_map(text),
        };
        value.filter(|value| !value.is_empty()).ok_or_else(missing)
    }

    /// Returns the tenant whom `field` names.
    ///
    /// # Errors
    ///
    /// `Invalid` when there is none, or its name is not one of a tenant.
    pub fn tenant(&self, field: SubjectField) -> Result<TenantId> {
        let name = self.subject(field)?;
        TenantId::parse(&name).map_err(|error| error.context("tenant name not valid"))
    }
}

/// Returns the alternative names of a certificate: hosts, mail and IP addresses, URIs.
pub(super) fn alternative_names(der: &CertificateDer<'_>) -> Vec<String> {
    let Ok((_, certificate)) = X509Certificate::from_der(der) else {
        return Vec::new();
    };
    let Ok(Some(extension)) = certificate.subject_alternative_name() else {
        return Vec::new();
    };
    let names = extension.value.general_names.iter();
    names.filter_map(name_text).collect()
}

fn name_text(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(text) | GeneralName::RFC822Name(text) | GeneralName::URI(text) => {
            Some((*text).to_owned())
        }
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(std::net::IpAddr::from);
            let v6 = <[u8; 16]>::try_from(*bytes).map(std::net::IpAddr::from);
            v4.or(v6).ok().map(|address| address.to_string())
        }
        _ => None,
    }
}
