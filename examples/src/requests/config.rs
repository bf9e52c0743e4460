//! The YAML of `--request.logging-config`: which requests are logged, and when.
//!
//! Source: Go pkg/logging (yaml_parser.go, http.go, grpc.go).

use serde::Deserialize;
use thanos_core::{Error, Result};

/// Which requests are logged, by protocol; `None` logs none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestLog {
    pub(super) http: Option<Rule>,
    pub(super) grpc: Option<Rule>,
}

/// Which requests of a protocol are logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    /// Whether the start of a request has a line, too; its end always has.
    pub(super) start: bool,
    /// Whether only what failed is logged. Answered requests are on the level debug, failed ones on error.
    pub(super) failures_only: bool,
    /// The only requests that are logged; all, if there are none.
    pub(super) only: Vec<Only>,
}

/// Requests that are logged: for HTTP a path and a port (0: any), for gRPC the path of a method.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Only {
    pub(super) path: String,
    pub(super) port: u16,
}

impl RequestLog {
    /// Parses the configuration.
    ///
    /// # Errors
    ///
    /// `Invalid` for YAML that is malformed or has unknown keys, for a level that is none, and for requests whose start is to
    /// be logged but not their end.
    pub fn from_yaml(yaml: &str) -> Result<Self> {
        let config: Config = serde_saphyr::from_str(yaml)
            .map_err(|error| Error::invalid(format!("request logging: {error}")))?;
        let http = options(&config.options, &config.http.options)?;
        // COMPAT: the level is looked at for HTTP even where nothing is logged, for gRPC only where something is.
        let (level, decision) = http;
        let level = Level::parse(level)?;
        let http = rule(decision, "log start call is not supported")?.map(|start| Rule {
            start,
            failures_only: level == Level::Other,
            only: config.http.config.iter().map(HttpRequest::only).collect(),
        });
        let (level, decision) = options(&config.options, &config.grpc.options)?;
        let grpc = rule(decision, "log decision combination is not supported")?;
        if grpc.is_some() {
            Level::parse(level)?;
        }
        let grpc = grpc.map(|start| Rule {
            start,
            // COMPAT: the level of the configuration filters no gRPC call.
            failures_only: false,
            only: config.grpc.config.iter().map(GrpcRequest::only).collect(),
        });
        Ok(Self { http, grpc })
    }
}

/// Which levels of the log are let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    /// All.
    Debug,
    /// No answered request, which is on the level debug.
    Other,
}

impl Level {
    fn parse(name: &str) -> Result<Self> {
        match name {
            // COMPAT: WARNING is a level that the filter does not know, and then it lets everything through.
            "DEBUG" | "WARNING" => Ok(Self::Debug),
            "INFO" | "ERROR" => Ok(Self::Other),
            other => Err(Error::invalid(format!(
                "the format of level is invalid. Expected INFO/DEBUG/ERROR/WARNING, got this {other}"
            ))),
        }
    }
}

/// Returns the level and the decision for a protocol: its own, else the common ones.
fn options<'a>(common: &'a Options, own: &'a Options) -> Result<(&'a str, Decision)> {
    let mut found = ("ERROR", Decision::default());
    for options in [common, own] {
        let Options { level, decision } = options;
        let decides = decision.log_start || decision.log_end;
        if level.is_empty() && decides {
            return Err(Error::invalid("request logging: level field is empty"));
        }
        if !level.is_empty() {
            found = (level, *decision);
        }
    }
    Ok(found)
}

/// Returns whether starts are logged, `None` where nothing is.
fn rule(decision: Decision, start_alone: &str) -> Result<Option<bool>> {
    match (decision.log_start, decision.log_end) {
        (false, false) => Ok(None),
        (start, true) => Ok(Some(start)),
        (true, false) => Err(Error::invalid(format!("request logging: {start_alone}"))),
    }
}

impl Rule {
    /// Reports whether a request for `path` at `port` is logged.
    pub(super) fn covers(&self, path: &str, port: Option<u16>) -> bool {
        let covers = |only: &Only| only.path == path && (only.port == 0 || Some(only.port) == port);
        self.only.is_empty() || self.only.iter().any(covers)
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Config {
    http: Protocol<HttpRequest>,
    grpc: Protocol<GrpcRequest>,
    options: Options,
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields, bound = "T: Deserialize<'de>")]
struct Protocol<T> {
    options: Options,
    config: Vec<T>,
}

impl<T> Default for Protocol<T> {
    fn default() -> Self {
        Self {
            options: Options::default(),
            config: Vec::new(),
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Options {
    level: String,
    decision: Decision,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Decision {
    log_start: bool,
    log_end: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct HttpRequest {
    path: String,
    port: u16,
}

impl HttpRequest {
    fn only(&self) -> Only {
        Only {
            path: self.path.clone(),
            port: self.port,
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct GrpcRequest {
    service: String,
    method: String,
}

impl GrpcRequest {
    fn only(&self) -> Only {
        Only {
            path: format!("/{}/{}", self.service, self.method),
            port: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Rule = Rule {
        start: true,
        failures_only: false,
        only: Vec::new(),
    };

    fn parsed(yaml: &str) -> RequestLog {
        RequestLog::from_yaml(yaml).unwrap()
    }

    ///
    #[test]
    fn options_of_a_protocol_come_before_the_common_ones() {
        let common = "options: {level: DEBUG, decision: {log_start: true, log_end: true}}\n";
        let both = parsed(common);
        assert_eq!((both.http, both.grpc), (Some(ALL), Some(ALL)));
        let own = "http: {options: {level: ERROR, decision: {log_end: true}}}\n";
        let found = parsed(&format!("{common}{own}"));
        let ends = Rule {
            start: false,
            failures_only: true,
            ..ALL
        };
        assert_eq!((found.http, found.grpc), (Some(ends), Some(ALL)));
        assert_eq!(parsed("http: {}\n"), RequestLog::default());
    }

    ///
    #[test]
    fn only_the_listed_requests_are_covered() {
        let found = parsed(
            "options: {level: INFO, decision: {log_end: true}}\nhttp:\n  config:\n  - {path: /api/v1/blocks, port: \
             10902}\n  - {path: /loaded}\ngrpc:\n  config: [{service: thanos.Store, method: Series}]\n",
        );
        let (http, grpc) = (found.http.unwrap(), found.grpc.unwrap());
        assert!(http.covers("/api/v1/blocks", Some(10902)));
        assert!(!http.covers("/api/v1/blocks", None));
        assert!(http.covers("/loaded", None) && !http.covers("/", Some(10902)));
        assert!(grpc.covers("/thanos.Store/Series", None));
        assert!(!grpc.covers("/thanos.info.Info/Info", None));
    }

    ///
    #[test]
    fn what_cannot_be_is_an_error() {
        for (yaml, expected) in [
            ("options: {level: LOUD}", "got this LOUD"),
            (
                "options: {decision: {log_end: true}}",
                "level field is empty",
            ),
            (
                "options: {level: INFO, decision: {log_start: true}}",
                "log start call is not supported",
            ),
            (
                "grpc: {options: {level: INFO, decision: {log_start: true}}}",
                "combination is not supported",
            ),
            ("grpc: {port: 1}", "port"),
        ] {
            let error = RequestLog::from_yaml(yaml).unwrap_err().to_string();
            assert!(error.contains(expected), "{yaml}: {error}");
        }
    }
}
