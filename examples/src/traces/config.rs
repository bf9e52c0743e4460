//! The YAML of `--tracing.config`.
//!
//! Source: Go pkg/tracing/client/factory.go and pkg/tracing/otlp/config_yaml.go; for type JAEGER see `jaeger::config`. Thanos ignores what it does not know in
//! `config`; here that is an error, as in `--objstore.config`.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::de::{Deserializer, IgnoredAny, Visitor};
use serde::{Deserialize, de};
use thanos_core::time::SignedDuration;
use thanos_core::{Error, Result};

use super::jaeger::JaegerConfig;

/// Where spans go, and which.
#[derive(Debug, Clone, PartialEq)]
pub struct TracingConfig(pub(super) Provider);

/// What takes spans.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Provider {
    Otlp(Box<OtlpConfig>, Sampling),
    Jaeger(Box<JaegerConfig>),
}

/// How spans are sent to a collector that speaks OTLP.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct OtlpConfig {
    pub(super) client_type: ClientType,
    pub(super) service_name: String,
    pub(super) resource_attributes: BTreeMap<String, Text>,
    /// COMPAT: taken and without effect: a lost connection is made again with the next export.
    #[serde(rename = "reconnection_period")]
    _reconnection_period: GoDuration,
    pub(super) compression: String,
    pub(super) insecure: bool,
    pub(super) endpoint: String,
    pub(super) url_path: String,
    pub(super) timeout: GoDuration,
    pub(super) retry_config: RetryConfig,
    pub(super) headers: BTreeMap<String, Text>,
    pub(super) tls_config: TlsFiles,
    sampler_type: String,
    sampler_param: Text,
}

/// The protocol under OTLP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum ClientType {
    /// Not said, which is an error.
    #[default]
    #[serde(skip)]
    Missing,
    Grpc,
    Http,
}

/// How failed exports are tried again.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RetryConfig {
    pub(super) retry_enabled: bool,
    pub(super) retry_initial_interval: GoDuration,
    pub(super) retry_max_interval: GoDuration,
    pub(super) retry_max_elapsed_time: GoDuration,
}

/// What is shown to the collector and believed of it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct TlsFiles {
    pub(super) ca_file: String,
    pub(super) cert_file: String,
    pub(super) key_file: String,
    pub(super) server_name: String,
    pub(super) insecure_skip_verify: bool,
}

/// Which traces are kept.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sampling {
    /// Whether a caller's decision counts before the own one.
    pub(super) asks_parent: bool,
    /// Which part of the others, from 0 to 1.
    pub(super) ratio: f64,
}

/// What is the same for all types.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    #[serde(rename = "type")]
    provider: String,
    #[serde(default, rename = "config")]
    _config: IgnoredAny,
}

#[derive(Debug, Deserialize)]
struct Body<T> {
    config: Option<T>,
}

impl TracingConfig {
    /// Parses the configuration.
    ///
    /// # Errors
    ///
    /// `Invalid` for YAML that is malformed or has unknown fields, and for a type that is not spoken here, with what to use
    /// instead.
    pub fn from_yaml(yaml: &str) -> Result<Self> {
        let head: Head = parse(yaml)?;
        match head.provider.to_uppercase().as_str() {
            "OTLP" => Self::otlp(yaml),
            "JAEGER" => Ok(Self(Provider::Jaeger(Box::new(body(yaml)?)))),
            "GOOGLE_CLOUD" | "STACKDRIVER" | "ELASTIC_APM" | "LIGHTSTEP" => {
                let provider = &head.provider;
                Err(Error::invalid(format!(
                    "tracing with type {provider} is not supported here: use type OTLP, which Elastic APM, Lightstep and \
                     the OpenTelemetry collector (for Google Cloud and all others) take"
                )))
            }
            _ => {
                let provider = head.provider;
                Err(Error::invalid(format!(
                    "tracing with type {provider} is not supported"
                )))
            }
        }
    }

    fn otlp(yaml: &str) -> Result<Self> {
        let otlp: OtlpConfig = body(yaml)?;
        if otlp.client_type == ClientType::Missing {
            let message = "otlp: invalid client type. Only 'http' and 'grpc' are accepted.";
            return Err(Error::invalid(message));
        }
        if !matches!(otlp.compression.as_str(), "" | "none" | "gzip") {
            let found = &otlp.compression;
            return Err(Error::invalid(format!(
                "otlp: compression {found:?} is none of gzip and none"
            )));
        }
        let sampling = Sampling::parse(&otlp.sampler_type, &otlp.sampler_param.0)?;
        Ok(Self(Provider::Otlp(Box::new(otlp), sampling)))
    }
}

/// Returns `config`, whose fields have defaults.
fn body<T: de::DeserializeOwned + Default>(yaml: &str) -> Result<T> {
    Ok(parse::<Body<T>>(yaml)?.config.unwrap_or_default())
}

fn parse<T: de::DeserializeOwned>(yaml: &str) -> Result<T> {
    serde_saphyr::from_str(yaml)
        .map_err(|error| Error::invalid(format!("parsing config tracing YAML: {error}")))
}

impl Sampling {
    /// Returns what `sampler_type` and `sampler_param` say.
    ///
    /// A parameter or a type that means nothing is an error; Thanos logs the first, ignores the second, and then keeps all.
    fn parse(name: &str, param: &str) -> Result<Self> {
        let asks_parent = |ratio| Self {
            asks_parent: true,
            ratio,
        };
        let decides = |ratio| Self {
            asks_parent: false,
            ratio,
        };
        let ratio = || match param.parse::<f64>() {
            Ok(ratio) if (0.0..=1.0).contains(&ratio) => Ok(ratio),
            _ => Err(Error::invalid(format!(
                "otlp: sampler_param {param:?} is no number from 0 to 1"
            ))),
        };
        Ok(match name.to_lowercase().as_str() {
            "alwayssample" => decides(1.0),
            "neversample" => decides(0.0),
            "traceidratiobased" => decides(ratio()?),
            "" | "parentbasedalwayssample" => asks_parent(1.0),
            "parentbasedneversample" => asks_parent(0.0),
            "parentbasedtraceidratiobased" => asks_parent(ratio()?),
            _ => {
                return Err(Error::invalid(format!(
                    "otlp: sampler_type {name:?} is none of alwayssample, neversample, traceidratiobased, \
                     parentbasedalwayssample, parentbasedneversample, parentbasedtraceidratiobased"
                )));
            }
        })
    }
}

/// A scalar that counts as text however it is written.
#[derive(Clone, PartialEq, Eq, Default)]
pub(super) struct Text(pub(super) String);

impl fmt::Debug for Text {
    /// Headers hold keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<text>")
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_any(TextVisitor).map(Self)
    }
}

struct TextVisitor;

impl Visitor<'_> for TextVisitor {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a scalar")
    }

    fn visit_str<E>(self, text: &str) -> std::result::Result<String, E> {
        Ok(text.to_owned())
    }

    fn visit_bool<E>(self, value: bool) -> std::result::Result<String, E> {
        Ok(value.to_string())
    }

    fn visit_i64<E>(self, value: i64) -> std::result::Result<String, E> {
        Ok(value.to_string())
    }

    fn visit_u64<E>(self, value: u64) -> std::result::Result<String, E> {
        Ok(value.to_string())
    }

    fn visit_f64<E>(self, value: f64) -> std::result::Result<String, E> {
        Ok(value.to_string())
    }

    fn visit_unit<E>(self) -> std::result::Result<String, E> {
        Ok(String::new())
    }
}

/// A duration as Go writes it, or a number of nanoseconds; zero means that it is not set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct GoDuration(Duration);

impl GoDuration {
    pub(super) fn set(self) -> Option<Duration> {
        Some(self.0).filter(|duration| !duration.is_zero())
    }
}

impl<'de> Deserialize<'de> for GoDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let Text(text) = Text::deserialize(deserializer)?;
        if let Ok(nanos) = text.parse() {
            return Ok(Self(Duration::from_nanos(nanos)));
        }
        let parsed = SignedDuration::parse_go(&text).map_err(de::Error::custom)?;
        let duration = parsed.to_std();
        duration
            .map(Self)
            .ok_or_else(|| de::Error::custom(format!("negative duration {text:?}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// every field of Thanos is taken.
    #[test]
    fn a_whole_configuration_is_understood() {
        let config = TracingConfig::from_yaml(
            "type: otlp
config:
  client_type: http
  service_name: querier
  resource_attributes: {zone: a, shard: 3}
  reconnection_period: 5s
  compression: gzip
  insecure: true
  endpoint: localhost:4318
  url_path: /v2/traces
  timeout: 1500ms
  retry_config: {retry_enabled: true, retry_initial_interval: 1s, retry_max_interval: 5s, retry_max_elapsed_time: 1m}
  headers: {authorization: secret}
  tls_config: {ca_file: a, cert_file: b, key_file: c, server_name: d, insecure_skip_verify: true}
  sampler_type: TraceIDRatioBased
  sampler_param: 0.25
",
        )
        .unwrap();
        let Provider::Otlp(otlp, sampling) = &config.0 else {
            panic!("{config:?}");
        };
        assert_eq!(otlp.client_type, ClientType::Http);
        assert_eq!(otlp.resource_attributes["shard"].0, "3");
        assert_eq!(otlp.timeout.set(), Some(Duration::from_millis(1500)));
        let retry = &otlp.retry_config;
        assert_eq!(
            retry.retry_max_elapsed_time.set(),
            Some(Duration::from_secs(60))
        );
        assert_eq!(otlp.tls_config.server_name, "d");
        let expected = Sampling {
            asks_parent: false,
            ratio: 0.25,
        };
        assert_eq!(*sampling, expected);
        assert!(!format!("{config:?}").contains("secret"));
    }

    /// what is not known is fatal, and says what there is.
    #[test]
    fn what_cannot_be_is_an_error() {
        let otlp = |rest: &str| format!("type: OTLP\nconfig: {{client_type: grpc, {rest}}}\n");
        for (yaml, expected) in [
            ("type: NOPE\n".to_owned(), "type NOPE is not supported"),
            ("type: LIGHTSTEP\n".to_owned(), "type LIGHTSTEP"),
            ("type: GOOGLE_CLOUD\n".to_owned(), "use type OTLP"),
            ("type: stackdriver\n".to_owned(), "use type OTLP"),
            ("type: Elastic_APM\n".to_owned(), "use type OTLP"),
            (
                "type: JAEGER\nconfig: {end_point: x}\n".to_owned(),
                "end_point",
            ),
            ("type: OTLP\nkonfig: {}\n".to_owned(), "konfig"),
            ("type: OTLP\n".to_owned(), "invalid client type"),
            ("type: OTLP\nconfig: {client_type: udp}\n".to_owned(), "udp"),
            (otlp("end_point: x"), "end_point"),
            (otlp("timeout: soon"), "soon"),
            (otlp("compression: snappy"), "snappy"),
            (otlp("sampler_type: sometimes"), "sometimes"),
            (
                otlp("sampler_type: traceidratiobased, sampler_param: 2"),
                "from 0 to 1",
            ),
        ] {
            let error = TracingConfig::from_yaml(&yaml).unwrap_err().to_string();
            assert!(error.contains(expected), "{yaml}: {error}");
        }
    }

    /// every field of Thanos is taken, and passwords are not shown.
    #[test]
    fn a_whole_configuration_of_jaeger_is_understood() {
        let config = TracingConfig::from_yaml(
            "type: Jaeger
config:
  service_name: a
  disabled: false
  rpc_metrics: false
  tags: a=b
  sampler_type: remote
  sampler_param: 0.5
  sampler_manager_host_port: a:1
  sampler_max_operations: 1
  sampler_refresh_interval: 1s
  sampler_parent_config: {local_parent_sampled: true, remote_parent_sampled: true}
  sampling_server_url: http://a
  operation_name_late_binding: false
  initial_sampler_rate: 0.5
  reporter_max_queue_size: 1
  reporter_flush_interval: 1s
  reporter_log_spans: false
  reporter_disable_attempt_reconnecting: true
  reporter_attempt_reconnect_interval: 1s
  endpoint: http://a
  user: u
  password: secret
  agent_host: a
  agent_port: 6831
  traceid_128bit: true
",
        );
        let config = config.unwrap();
        assert!(matches!(config.0, Provider::Jaeger(_)));
        assert!(!format!("{config:?}").contains("secret"));
        assert!(TracingConfig::from_yaml("type: JAEGER\n").is_ok());
    }

    #[test]
    fn samplers_have_the_names_of_thanos() {
        for (name, param, asks_parent, ratio) in [
            ("", "", true, 1.0),
            ("alwaysSample", "", false, 1.0),
            ("neverSample", "", false, 0.0),
            ("traceidratiobased", "0.5", false, 0.5),
            ("parentbasedalwayssample", "", true, 1.0),
            ("parentbasedneversample", "", true, 0.0),
            ("parentbasedtraceidratiobased", "0.5", true, 0.5),
        ] {
            let found = Sampling::parse(name, param).unwrap();
            assert_eq!((found.asks_parent, found.ratio), (asks_parent, ratio));
        }
    }
}
