//! The configuration of tracing with type JAEGER.
//!
//! Source: Go pkg/tracing/jaeger/config_yaml.go.

use serde::Deserialize;
use thanos_core::{Error, Result};

use super::super::config::{GoDuration, Text};

/// Where spans go, and which. Zero means the default, as in Go.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct JaegerConfig {
    pub(super) service_name: String,
    pub(super) tags: String,
    sampler_type: String,
    sampler_param: f64,
    pub(super) sampler_max_operations: usize,
    pub(super) sampler_refresh_interval: GoDuration,
    pub(super) sampler_parent_config: ParentConfig,
    pub(super) sampling_server_url: String,
    pub(super) initial_sampler_rate: f64,
    pub(super) reporter_max_queue_size: usize,
    pub(super) reporter_flush_interval: GoDuration,
    pub(super) reporter_disable_attempt_reconnecting: bool,
    pub(super) reporter_attempt_reconnect_interval: GoDuration,
    pub(super) endpoint: String,
    pub(super) user: String,
    pub(super) password: Text,
    pub(super) agent_host: String,
    pub(super) agent_port: u16,
    /// COMPAT: these are taken and without effect, as in Thanos.
    #[serde(rename = "disabled")]
    _disabled: bool,
    #[serde(rename = "rpc_metrics")]
    _rpc_metrics: bool,
    #[serde(rename = "sampler_manager_host_port")]
    _sampler_manager_host_port: String,
    #[serde(rename = "operation_name_late_binding")]
    _operation_name_late_binding: bool,
    #[serde(rename = "reporter_log_spans")]
    _reporter_log_spans: bool,
    #[serde(rename = "traceid_128bit")]
    _traceid_128bit: bool,
}

/// Whether the own sampler decides again about what a caller has kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ParentConfig {
    pub(super) local_parent_sampled: bool,
    pub(super) remote_parent_sampled: bool,
}

/// Which traces are kept, of those that begin here.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Sampling {
    /// A part of them, from 0 to 1.
    Ratio(f64),
    /// So many in a second.
    PerSecond(f64),
    /// What a server says.
    Remote,
}

impl JaegerConfig {
    /// Returns which traces are kept.
    ///
    /// COMPAT: Thanos means `ratelimiting` as it is here, and asks the server for samplings instead, because of a cast that
    /// never holds. Without a type it asks that server as well; here too. Other types are errors and not that default.
    ///
    /// # Errors
    ///
    /// `Invalid` for a type that there is not, and a parameter that means nothing.
    pub(super) fn sampling(&self) -> Result<Sampling> {
        let param = self.sampler_param;
        let wrong = |what: &str| Error::invalid(format!("jaeger: sampler_param {param} is {what}"));
        match self.sampler_type.as_str() {
            "" | "remote" => Ok(Sampling::Remote),
            // What Go rounds to 1 is all.
            "const" => Ok(Sampling::Ratio(f64::from(u8::from(param >= 0.5)))),
            "probabilistic" if (0.0..=1.0).contains(&param) => Ok(Sampling::Ratio(param)),
            "probabilistic" => Err(wrong("no number from 0 to 1")),
            "ratelimiting" if param >= 0.0 && param.is_finite() => Ok(Sampling::PerSecond(param)),
            "ratelimiting" => Err(wrong("no number of traces per second")),
            name => Err(Error::invalid(format!(
                "jaeger: sampler_type {name:?} is none of const, probabilistic, ratelimiting, remote"
            ))),
        }
    }

    /// Returns the tags of the process: pairs `key=value`, where `${NAME:value}` stands for an environment variable that
    /// `variable` returns, or for the value.
    pub(super) fn tags(&self, variable: impl Fn(&str) -> Option<String>) -> Vec<(String, String)> {
        let pairs = self.tags.split(',').filter_map(|pair| pair.split_once('='));
        let value = |text: &str| {
            let name = text
                .strip_prefix("${")
                .and_then(|rest| rest.strip_suffix('}'));
            let Some(name) = name else {
                return text.to_owned();
            };
            let (name, default) = name.split_once(':').unwrap_or((name, ""));
            let found = variable(name).filter(|value| !value.is_empty());
            found.unwrap_or_else(|| default.to_owned())
        };
        let tags = pairs.map(|(key, text)| (key.trim().to_owned(), value(text.trim())));
        tags.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(fields: &str) -> JaegerConfig {
        serde_saphyr::from_str(&format!("{{{fields}}}")).unwrap()
    }

    /// types of samplers, and what their parameter means.
    #[test]
    fn samplers_have_the_names_of_jaeger() {
        for (fields, expected) in [
            ("", Sampling::Remote),
            ("sampler_type: remote, sampler_param: 1", Sampling::Remote),
            (
                "sampler_type: const, sampler_param: 1",
                Sampling::Ratio(1.0),
            ),
            (
                "sampler_type: const, sampler_param: 7",
                Sampling::Ratio(1.0),
            ),
            (
                "sampler_type: const, sampler_param: 0.4",
                Sampling::Ratio(0.0),
            ),
            (
                "sampler_type: const, sampler_param: -3",
                Sampling::Ratio(0.0),
            ),
            (
                "sampler_type: probabilistic, sampler_param: 0.25",
                Sampling::Ratio(0.25),
            ),
            (
                "sampler_type: ratelimiting, sampler_param: 2.5",
                Sampling::PerSecond(2.5),
            ),
        ] {
            assert_eq!(parse(fields).sampling().unwrap(), expected, "{fields}");
        }
        for (fields, expected) in [
            ("sampler_type: sometimes", "none of const"),
            (
                "sampler_type: probabilistic, sampler_param: 2",
                "from 0 to 1",
            ),
            (
                "sampler_type: ratelimiting, sampler_param: -1",
                "per second",
            ),
        ] {
            let error = parse(fields).sampling().unwrap_err().to_string();
            assert!(error.contains(expected), "{fields}: {error}");
        }
    }

    ///
    #[test]
    fn tags_may_come_from_the_environment() {
        let config = parse("tags: 'zone = a , e=${SET:x}, d=${UNSET:fallback}, n=${UNSET}, none'");
        let tags = config.tags(|name| (name == "SET").then(|| "found".to_owned()));
        let expected = [("zone", "a"), ("e", "found"), ("d", "fallback"), ("n", "")];
        assert_eq!(
            tags,
            expected.map(|(key, value)| (key.into(), value.into()))
        );
    }
}
