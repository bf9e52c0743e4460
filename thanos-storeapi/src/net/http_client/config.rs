//! The settings of an HTTP client as YAML: Thanos' format, with what Prometheus has beyond it.

use std::fmt;
use std::time::Duration;

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize};
use thanos_core::time::SignedDuration;
use thanos_core::{Error, Result};

/// The settings of an HTTP client.
///
/// Source: Thanos pkg/clientconfig/http.go and prometheus/common config/http_config.go. What neither knows is refused.
///
/// # Example
///
/// ```
/// use thanos_storeapi::net::http_client::HttpClientConfig;
///
/// let config = HttpClientConfig::from_yaml("basic_auth: {username: ann, password: secret}")?;
/// assert_eq!(config.basic_auth.unwrap().username, "ann");
/// assert!(HttpClientConfig::from_yaml("basic_auth: {user: ann}").is_err());
/// # Ok::<(), thanos_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpClientConfig {
    /// A user and a password.
    pub basic_auth: Option<BasicAuth>,
    /// The `Authorization` header.
    pub authorization: Option<Authorization>,
    /// A token, sent as `Authorization: Bearer`.
    pub bearer_token: Secret,
    /// The file of such a token, read for each request.
    pub bearer_token_file: String,
    /// The proxy; empty means none, whatever the environment says.
    pub proxy_url: String,
    /// What is shown and believed.
    pub tls_config: TlsConfig,
    /// Limits of connections.
    pub transport_config: TransportConfig,
    /// Whether answers that point elsewhere are followed.
    pub follow_redirects: bool,
}

impl Default for HttpClientConfig {
    fn default() -> Self {
        Self {
            basic_auth: None,
            authorization: None,
            bearer_token: Secret::default(),
            bearer_token_file: String::new(),
            proxy_url: String::new(),
            tls_config: TlsConfig::default(),
            transport_config: TransportConfig::default(),
            follow_redirects: true,
        }
    }
}

/// Text that is not shown.
#[derive(Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

impl Secret {
    /// Reports whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_empty() { "\"\"" } else { "<secret>" })
    }
}

/// A user and a password.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BasicAuth {
    /// The user.
    pub username: String,
    /// The file of the user's name, read for each request.
    pub username_file: String,
    /// The password.
    pub password: Secret,
    /// The file of the password, read for each request.
    pub password_file: String,
}

/// The `Authorization` header.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Authorization {
    /// The scheme; empty means `Bearer`.
    #[serde(rename = "type")]
    pub scheme: String,
    /// What follows it.
    pub credentials: Secret,
    /// The file of that, read for each request.
    pub credentials_file: String,
}

/// What is shown to servers and believed of them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsConfig {
    /// PEM file of authorities that are believed instead of the system's.
    pub ca_file: String,
    /// PEM file of the client's certificate.
    pub cert_file: String,
    /// PEM file of its key.
    pub key_file: String,
    /// The name that the server's certificate must be for, instead of the host's.
    pub server_name: String,
    /// Whether any certificate is believed.
    pub insecure_skip_verify: bool,
}

/// Limits of connections. The defaults are Thanos'.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TransportConfig {
    /// The most unused connections to all hosts; one client asks one host, so that the next one decides.
    pub max_idle_conns: usize,
    /// The most unused connections to a host; 0 means 2, as in Go.
    pub max_idle_conns_per_host: usize,
    /// How long an unused connection is kept; 0 means for ever.
    #[serde(deserialize_with = "nanos")]
    pub idle_conn_timeout: Duration,
    /// How long the head of an answer may take; 0 means for ever.
    #[serde(deserialize_with = "nanos")]
    pub response_header_timeout: Duration,
    /// Taken and not needed: bodies are sent at once.
    #[serde(deserialize_with = "nanos")]
    pub expect_continue_timeout: Duration,
    /// The most requests at once; 0 means any number.
    pub max_conns_per_host: usize,
    /// Taken and not needed: compressed answers are not asked for.
    pub disable_compression: bool,
    /// How long encryption may take to be agreed on.
    #[serde(deserialize_with = "nanos")]
    pub tls_handshake_timeout: Duration,
    /// How long connecting may take.
    #[serde(deserialize_with = "nanos")]
    pub dialer_timeout: Duration,
}

impl Default for TransportConfig {
    fn default() -> Self {
        Self {
            max_idle_conns: 100,
            max_idle_conns_per_host: 2,
            idle_conn_timeout: Duration::from_secs(90),
            response_header_timeout: Duration::ZERO,
            expect_continue_timeout: Duration::from_secs(10),
            max_conns_per_host: 0,
            disable_compression: false,
            tls_handshake_timeout: Duration::from_secs(10),
            dialer_timeout: Duration::from_secs(5),
        }
    }
}

impl HttpClientConfig {
    /// Returns the settings in `yaml`; an empty text means the defaults.
    ///
    /// # Errors
    ///
    /// `Invalid` for text that is not YAML, unknown fields, and settings that contradict each other.
    pub fn from_yaml(yaml: &str) -> Result<Self> {
        if yaml.trim().is_empty() {
            return Ok(Self::default());
        }
        let config: Self = serde_saphyr::from_str(yaml)
            .map_err(|error| Error::invalid(format!("HTTP client configuration: {error}")))?;
        config.validate()?;
        Ok(config)
    }

    /// Checks that there are credentials of one kind at most, and each from one place.
    ///
    /// # Errors
    ///
    /// `Invalid` that names the settings that exclude each other.
    pub fn validate(&self) -> Result<()> {
        let exclude = |first: bool, second: bool, what: &str| match first && second {
            true => Err(Error::invalid(format!(
                "at most one of {what} may be configured"
            ))),
            false => Ok(()),
        };
        let has_token = !self.bearer_token.is_empty() || !self.bearer_token_file.is_empty();
        exclude(
            !self.bearer_token.is_empty(),
            !self.bearer_token_file.is_empty(),
            "bearer_token and bearer_token_file",
        )?;
        exclude(
            self.basic_auth.is_some(),
            has_token,
            "basic_auth, bearer_token and bearer_token_file",
        )?;
        exclude(
            self.authorization.is_some(),
            has_token || self.basic_auth.is_some(),
            "authorization, basic_auth and bearer_token",
        )?;
        if let Some(basic) = &self.basic_auth {
            exclude(
                !basic.username.is_empty(),
                !basic.username_file.is_empty(),
                "basic_auth's username and username_file",
            )?;
            exclude(
                !basic.password.is_empty(),
                !basic.password_file.is_empty(),
                "basic_auth's password and password_file",
            )?;
        }
        let Some(authorization) = &self.authorization else {
            return Ok(());
        };
        if authorization.scheme.trim().eq_ignore_ascii_case("basic") {
            return Err(Error::invalid(
                "authorization's type cannot be \"basic\": use basic_auth",
            ));
        }
        exclude(
            !authorization.credentials.is_empty(),
            !authorization.credentials_file.is_empty(),
            "authorization's credentials and credentials_file",
        )
    }
}

/// Reads a duration as Thanos writes it, in nanoseconds, or as `10s`.
fn nanos<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Duration, D::Error> {
    struct Nanos;

    impl Visitor<'_> for Nanos {
        type Value = Duration;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("nanoseconds or a duration such as 10s")
        }

        fn visit_u64<E: de::Error>(self, nanos: u64) -> std::result::Result<Duration, E> {
            Ok(Duration::from_nanos(nanos))
        }

        fn visit_i64<E: de::Error>(self, nanos: i64) -> std::result::Result<Duration, E> {
            let nanos = u64::try_from(nanos);
            Ok(Duration::from_nanos(
                nanos.map_err(|_| E::custom("a negative duration"))?,
            ))
        }

        fn visit_str<E: de::Error>(self, text: &str) -> std::result::Result<Duration, E> {
            if let Ok(nanos) = text.parse() {
                return self.visit_i64(nanos);
            }
            let parsed = SignedDuration::parse_go(text).map_err(E::custom)?;
            parsed
                .to_std()
                .ok_or_else(|| E::custom("a negative duration"))
        }
    }

    deserializer.deserialize_any(Nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_means_the_defaults_of_thanos() {
        let config = HttpClientConfig::from_yaml(" \n").unwrap();
        assert_eq!(config, HttpClientConfig::default());
        let transport = config.transport_config;
        assert_eq!(transport.idle_conn_timeout, Duration::from_secs(90));
        assert!(config.follow_redirects);
    }

    #[test]
    fn durations_are_nanoseconds_or_text() {
        let yaml = "transport_config: {idle_conn_timeout: 5000000000, dialer_timeout: 1m30s, response_header_timeout: 0}";
        let transport = HttpClientConfig::from_yaml(yaml).unwrap().transport_config;
        assert_eq!(transport.idle_conn_timeout, Duration::from_secs(5));
        assert_eq!(transport.dialer_timeout, Duration::from_secs(90));
        assert_eq!(transport.response_header_timeout, Duration::ZERO);
        for bad in ["-5", "soon"] {
            let yaml = format!("transport_config: {{idle_conn_timeout: {bad}}}");
            assert!(HttpClientConfig::from_yaml(&yaml).is_err(), "{bad}");
        }
    }

    #[test]
    fn settings_that_contradict_each_other_are_refused_by_name() {
        for (yaml, named) in [
            ("bearer_token: a\nbearer_token_file: b", "bearer_token_file"),
            ("bearer_token: a\nbasic_auth: {username: u}", "basic_auth"),
            (
                "authorization: {credentials: a}\nbasic_auth: {username: u}",
                "authorization",
            ),
            (
                "authorization: {credentials: a, credentials_file: b}",
                "credentials_file",
            ),
            ("authorization: {type: Basic, credentials: a}", "basic"),
            (
                "basic_auth: {password: a, password_file: b}",
                "password_file",
            ),
            (
                "basic_auth: {username: a, username_file: b}",
                "username_file",
            ),
            ("tls_config: {ca: x}", "ca"),
            ("nonsense: 1", "nonsense"),
        ] {
            let error = HttpClientConfig::from_yaml(yaml).unwrap_err().to_string();
            assert!(error.contains(named), "{yaml}: {error}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let yaml = "basic_auth: {username: ann, password: hidden}\n";
        let shown = format!("{:?}", HttpClientConfig::from_yaml(yaml).unwrap());
        assert!(
            shown.contains("ann") && !shown.contains("hidden"),
            "{shown}"
        );
    }
}
