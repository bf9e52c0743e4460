//! Versions, cipher suites and curves under the names that Go has for them.

use std::fmt;
use std::str::FromStr;

use rustls::crypto::CryptoProvider;
use rustls::{CipherSuite, NamedGroup, SupportedCipherSuite, SupportedProtocolVersion};
use thanos_core::{Error, Result};

/// A version of TLS. The two old ones are not spoken; as lower bounds they mean 1.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TlsVersion {
    /// 1.0.
    V1_0,
    /// 1.1.
    V1_1,
    /// 1.2.
    V1_2,
    /// 1.3.
    V1_3,
}

/// All versions as flags name them.
const VERSIONS: [(&str, TlsVersion); 4] = [
    ("1.0", TlsVersion::V1_0),
    ("1.1", TlsVersion::V1_1),
    ("1.2", TlsVersion::V1_2),
    ("1.3", TlsVersion::V1_3),
];

impl FromStr for TlsVersion {
    type Err = Error;

    /// Reads `1.2`, as in Thanos' flags, or `TLS12`, as in Prometheus' files.
    fn from_str(name: &str) -> Result<Self> {
        let mut versions = VERSIONS.into_iter();
        let known = versions.find(|(known, _)| {
            let digits = name.strip_prefix("TLS").map(str::as_bytes);
            name == *known || digits == Some(&[b'1', known.as_bytes()[2]])
        });
        let names = VERSIONS.map(|(known, _)| known).join(", ");
        known.map(|(_, version)| version).ok_or_else(|| {
            Error::invalid(format!(
                "invalid TLS version: {name}, valid values are {names}"
            ))
        })
    }
}

impl fmt::Display for TlsVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(VERSIONS[*self as usize].0)
    }
}

/// Returns the versions from `min` to `max`; 1.2 and 1.3 where there is no bound.
pub(super) fn versions(
    min: Option<TlsVersion>,
    max: Option<TlsVersion>,
) -> Result<Vec<&'static SupportedProtocolVersion>> {
    let min = min.unwrap_or(TlsVersion::V1_0);
    let max = max.unwrap_or(TlsVersion::V1_3);
    let spoken = [
        (TlsVersion::V1_3, &rustls::version::TLS13),
        (TlsVersion::V1_2, &rustls::version::TLS12),
    ];
    let spoken = spoken
        .into_iter()
        .filter(|(version, _)| (min..=max).contains(version));
    let versions: Vec<_> = spoken.map(|(_, protocol)| protocol).collect();
    match versions.is_empty() {
        false => Ok(versions),
        true if min > max => Err(Error::invalid(format!(
            "the lowest TLS version {min} is above the highest {max}"
        ))),
        true => Err(Error::invalid(format!(
            "TLS versions up to {max} are not spoken, only 1.2 and 1.3"
        ))),
    }
}

/// Narrows the cipher suites of `provider` to those called `names`, if there are any. Those of TLS 1.3 stay when none of
/// them is named.
///
/// COMPAT: in Go the list says nothing about TLS 1.3, whose suites are always on (`tls.Config.CipherSuites`). Here
/// naming one switches off the others.
pub(super) fn choose_cipher_suites(provider: &mut CryptoProvider, names: &[String]) -> Result<()> {
    let known: Vec<String> = provider.cipher_suites.iter().map(go_suite_name).collect();
    check("cipher suite", names, &known)?;
    let is_named = |suite: &SupportedCipherSuite| names.contains(&go_suite_name(suite));
    let is_1_3 = |suite: &SupportedCipherSuite| suite.tls13().is_some();
    let names_1_3 = provider
        .cipher_suites
        .iter()
        .any(|suite| is_1_3(suite) && is_named(suite));
    if !names.is_empty() {
        let suites = &mut provider.cipher_suites;
        suites.retain(|suite| is_named(suite) || (is_1_3(suite) && !names_1_3));
    }
    Ok(())
}

fn go_suite_name(suite: &SupportedCipherSuite) -> String {
    let suite: CipherSuite = suite.suite();
    let name = suite.as_str().unwrap_or_default();
    name.replace("TLS13_", "TLS_")
}

/// Go's names of curves.
const CURVES: [(&str, NamedGroup); 7] = [
    ("CurveP256", NamedGroup::secp256r1),
    ("CurveP384", NamedGroup::secp384r1),
    ("CurveP521", NamedGroup::secp521r1),
    ("SecP256r1MLKEM768", NamedGroup::secp256r1MLKEM768),
    // Its number is registered; rustls has no name for it.
    ("SecP384r1MLKEM1024", NamedGroup::Unknown(0x11ed)),
    ("X25519", NamedGroup::X25519),
    ("X25519MLKEM768", NamedGroup::X25519MLKEM768),
];

/// Narrows the curves of `provider` to those called `names`, if there are any.
pub(super) fn choose_curves(provider: &mut CryptoProvider, names: &[String]) -> Result<()> {
    let groups: Vec<NamedGroup> = provider
        .kx_groups
        .iter()
        .map(|group| group.name())
        .collect();
    let known = CURVES
        .into_iter()
        .filter(|(_, group)| groups.contains(group));
    let known: Vec<String> = known.map(|(name, _)| name.to_owned()).collect();
    check("curve", names, &known)?;
    let is_named = |group: NamedGroup| {
        let mut curves = CURVES.into_iter();
        curves.any(|(name, of)| of == group && names.iter().any(|named| named == name))
    };
    if !names.is_empty() {
        provider.kx_groups.retain(|group| is_named(group.name()));
    }
    Ok(())
}

fn check(what: &str, names: &[String], known: &[String]) -> Result<()> {
    let Some(wrong) = names.iter().find(|name| !known.contains(name)) else {
        return Ok(());
    };
    let mut known = known.to_vec();
    known.sort_unstable();
    let known = known.join(", ");
    Err(Error::invalid(format!(
        "invalid {what}: {wrong}, valid values are {known}"
    )))
}
