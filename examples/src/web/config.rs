//! The YAML of the file.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use thanos_core::{Error, Result};
use thanos_storeapi::net::tls::{ClientAuth, Pem, ServerTls};

/// No configuration is near this.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// A web configuration file.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct WebConfig {
    tls_server_config: TlsConfig,
    http_server_config: HttpConfig,
    rate_limit: RateLimit,
    basic_auth_users: BTreeMap<String, Secret>,
    /// The directory that relative paths start from.
    #[serde(skip)]
    dir: PathBuf,
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct TlsConfig {
    cert: String,
    key: Secret,
    client_ca: String,
    cert_file: String,
    key_file: String,
    client_auth_type: String,
    client_ca_file: String,
    cipher_suites: Vec<String>,
    curve_preferences: Vec<String>,
    min_version: String,
    max_version: String,
    /// Go ignores it since 1.18; the server's order of its few good suites is used in any case.
    #[serde(rename = "prefer_server_cipher_suites")]
    _prefer_server_cipher_suites: bool,
    client_allowed_sans: Vec<String>,
}

impl Default for TlsConfig {
    fn default() -> Self {
        Self {
            cert: String::new(),
            key: Secret::default(),
            client_ca: String::new(),
            cert_file: String::new(),
            key_file: String::new(),
            client_auth_type: String::new(),
            client_ca_file: String::new(),
            cipher_suites: Vec::new(),
            curve_preferences: Vec::new(),
            min_version: "TLS12".to_owned(),
            max_version: "TLS13".to_owned(),
            _prefer_server_cipher_suites: true,
            client_allowed_sans: Vec::new(),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct HttpConfig {
    http2: bool,
    headers: BTreeMap<String, String>,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            http2: true,
            headers: BTreeMap::new(),
        }
    }
}

/// How many requests are answered.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RateLimit {
    /// How many may come at once after a pause.
    pub(super) burst: u32,
    /// One more after each of these, in Go's words; none is limited without it.
    pub(super) interval: String,
}

/// A text that is not shown.
#[derive(Clone, Default, Deserialize)]
#[serde(transparent)]
pub(super) struct Secret(pub(super) String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<hidden>")
    }
}

/// The headers that may be set, with their only values where there are some.
const HEADERS: [(&str, &[&str]); 5] = [
    ("Strict-Transport-Security", &[]),
    ("X-Content-Type-Options", &["nosniff"]),
    ("X-Frame-Options", &["deny", "sameorigin"]),
    ("X-XSS-Protection", &[]),
    ("Content-Security-Policy", &[]),
];

impl WebConfig {
    /// Reads the file at `path`. Values are never shown in errors.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let in_file = |error: Error| error.in_file(path.display().to_string());
        let len = std::fs::metadata(path)
            .map_err(|error| in_file(error.into()))?
            .len();
        if len > FILE_BYTES_MAX {
            return Err(in_file(Error::invalid(
                "longer than 16 MiB, which is no web configuration",
            )));
        }
        let yaml = std::fs::read_to_string(path).map_err(|error| in_file(error.into()))?;
        let mut config = Self::from_yaml(&yaml).map_err(in_file)?;
        config.dir = path.parent().map(Path::to_owned).unwrap_or_default();
        Ok(config)
    }

    pub(super) fn from_yaml(yaml: &str) -> Result<Self> {
        let options = serde_saphyr::options! { with_snippet: false };
        let parsed: std::result::Result<Option<Self>, _> =
            serde_saphyr::from_str_with_options(yaml, options);
        let parsed =
            parsed.map_err(|error| Error::invalid(format!("web configuration: {error}")))?;
        Ok(parsed.unwrap_or_default())
    }

    pub(super) fn is_http2(&self) -> bool {
        self.http_server_config.http2
    }

    pub(super) fn rate_limit(&self) -> &RateLimit {
        &self.rate_limit
    }

    pub(super) fn users(&self) -> &BTreeMap<String, Secret> {
        &self.basic_auth_users
    }

    /// Returns the file of the authorities of clients, which tells of no change by itself.
    pub(super) fn client_authorities_file(&self) -> Option<PathBuf> {
        let file = &self.tls_server_config.client_ca_file;
        (!file.is_empty()).then(|| self.dir.join(file))
    }

    fn pem(&self, file: &str, inline: &str) -> Option<Pem> {
        match (file, inline) {
            ("", "") => None,
            ("", inline) => Some(Pem::Inline(inline.to_owned())),
            (file, _) => Some(Pem::File(self.dir.join(file))),
        }
    }

    /// Returns how connections are encrypted; `None` when they are not.
    pub(super) fn tls(&self) -> Result<Option<ServerTls>> {
        let tls = &self.tls_server_config;
        let certificate = self.pem(&tls.cert_file, &tls.cert);
        let key = self.pem(&tls.key_file, &tls.key.0);
        let client_authorities = self.pem(&tls.client_ca_file, &tls.client_ca);
        let parts = [&certificate, &key, &client_authorities];
        if parts.into_iter().all(Option::is_none) && tls.client_auth_type.is_empty() {
            return Ok(None);
        }
        if certificate.is_none() {
            return Err(Error::invalid("missing one of cert or cert_file"));
        }
        if key.is_none() {
            return Err(Error::invalid("missing one of key or key_file"));
        }
        let client_auth = client_auth(&tls.client_auth_type)?;
        if client_authorities.is_some() && client_auth == ClientAuth::None {
            let message = "client CA's have been configured without a Client Auth Policy";
            return Err(Error::invalid(message));
        }
        Ok(Some(ServerTls {
            certificate,
            key,
            client_authorities,
            client_auth: Some(client_auth),
            client_allowed_names: tls.client_allowed_sans.clone(),
            min_version: Some(tls.min_version.parse()?),
            max_version: Some(tls.max_version.parse()?),
            cipher_suites: tls.cipher_suites.clone(),
            curves: tls.curve_preferences.clone(),
        }))
    }

    /// Returns the headers of all answers.
    pub(super) fn headers(&self) -> Result<HeaderMap> {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.http_server_config.headers {
            let Some((_, allowed)) = HEADERS.into_iter().find(|(known, _)| known == name) else {
                return Err(Error::invalid(format!(
                    "HTTP header {name:?} can not be configured"
                )));
            };
            if !allowed.is_empty() && !allowed.contains(&value.as_str()) {
                return Err(Error::invalid(format!(
                    "invalid value for {name}. Expected one of: {allowed:?}, but got: {value:?}"
                )));
            }
            let invalid = |_| Error::invalid(format!("invalid value for {name}: {value:?}"));
            let header = HeaderName::try_from(name.as_str()).map_err(|_| invalid(()))?;
            let value = HeaderValue::try_from(value).map_err(|_| invalid(()))?;
            headers.insert(header, value);
        }
        Ok(headers)
    }
}

fn client_auth(name: &str) -> Result<ClientAuth> {
    Ok(match name {
        "" | "NoClientCert" => ClientAuth::None,
        "RequestClientCert" => ClientAuth::Request,
        // The second is the old name of the first.
        "RequireAnyClientCert" | "RequireClientCert" => ClientAuth::RequireAny,
        "VerifyClientCertIfGiven" => ClientAuth::VerifyIfGiven,
        "RequireAndVerifyClientCert" => ClientAuth::RequireAndVerify,
        other => return Err(Error::invalid(format!("invalid ClientAuth: {other}"))),
    })
}
