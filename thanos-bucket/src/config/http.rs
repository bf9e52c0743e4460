//! `http_config`: how the clients of all clouds use HTTP.

use std::time::Duration;

use serde::Deserialize;

use super::yaml::{duration, text};

/// Settings of an HTTP client, with Thanos' names and defaults. A duration of 0 means no limit.
///
/// Some are facts of this client and have no effect: it never asks for compressed bodies (`disable_compression`), never
/// waits for `100 Continue` (`expect_continue_timeout`), and bounds idle connections by host alone (`max_idle_conns`).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpConfig {
    /// How long an unused connection is kept.
    #[serde(deserialize_with = "duration")]
    pub idle_conn_timeout: Duration,
    /// How long the answer may take to begin once the request is sent; also how long a body may stand still.
    #[serde(deserialize_with = "duration")]
    pub response_header_timeout: Duration,
    /// Accept any certificate.
    pub insecure_skip_verify: bool,
    /// How long it may take to connect, the handshake included.
    #[serde(deserialize_with = "duration")]
    pub tls_handshake_timeout: Duration,
    /// Has no effect: this client sends bodies at once.
    #[serde(deserialize_with = "duration")]
    pub expect_continue_timeout: Duration,
    /// Has no effect beside `max_idle_conns_per_host`: a bucket has one host.
    pub max_idle_conns: usize,
    /// How many unused connections are kept; 0 means 2, as in Go.
    pub max_idle_conns_per_host: usize,
    /// How many requests may run at once; 0 means no limit.
    pub max_conns_per_host: usize,
    /// Certificates.
    pub tls_config: TlsConfig,
    /// Has no effect: objects come as they are stored.
    pub disable_compression: bool,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            idle_conn_timeout: Duration::from_secs(90),
            response_header_timeout: Duration::from_secs(120),
            insecure_skip_verify: false,
            tls_handshake_timeout: Duration::from_secs(10),
            expect_continue_timeout: Duration::from_secs(1),
            max_idle_conns: 100,
            max_idle_conns_per_host: 100,
            max_conns_per_host: 0,
            tls_config: TlsConfig::default(),
            disable_compression: false,
        }
    }
}

/// Which certificates to show and to believe.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsConfig {
    /// PEM file of authorities that are believed instead of the system's.
    #[serde(deserialize_with = "text")]
    pub ca_file: String,
    /// PEM file of the client's certificate.
    #[serde(deserialize_with = "text")]
    pub cert_file: String,
    /// PEM file of the client's key.
    #[serde(deserialize_with = "text")]
    pub key_file: String,
    /// The name that the server's certificate must be for, instead of the host's.
    #[serde(deserialize_with = "text")]
    pub server_name: String,
    /// Accept any certificate.
    pub insecure_skip_verify: bool,
}
