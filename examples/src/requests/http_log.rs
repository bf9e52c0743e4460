//! What the log tells of requests over HTTP (Go pkg/logging/http.go).

use std::net::SocketAddr;
use std::time::Duration;

use axum::extract::{ConnectInfo, Request};
use axum::http::{HeaderMap, StatusCode, header};
use thanos_core::time::{Clock, SystemClock, UtcTime};

use super::config::Rule;

/// What the log tells of a request.
pub(super) struct Told {
    pub(super) path: String,
    pub(super) port: Option<u16>,
    method: String,
    name: &'static str,
    request_id: String,
    user_agent: String,
    remote: String,
}

impl Told {
    pub(super) fn of(request: &Request, name: &'static str) -> Self {
        let text = |header: &str| text_of(request.headers(), header);
        let host = Some(text("host")).filter(|host| !host.is_empty());
        let host = host.or_else(|| Some(request.uri().authority()?.to_string()));
        let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
        let remote = match text("x-forwarded-for") {
            forwarded if forwarded.is_empty() => {
                peer.map(|peer| peer.0.to_string()).unwrap_or_default()
            }
            forwarded => forwarded,
        };
        Self {
            path: request.uri().path().to_owned(),
            port: host.and_then(|host| host.rsplit_once(':')?.1.parse().ok()),
            method: format!("{} {}", request.method(), request.uri()),
            name,
            request_id: text("x-request-id"),
            user_agent: text(header::USER_AGENT.as_str()),
            remote,
        }
    }

    pub(super) fn started(&self) {
        tracing::debug!(
            protocol = "http",
            http.component = "server",
            http.start_time = %UtcTime::from_timestamp(SystemClock.now()),
            http.method = %self.method,
            http.request_id = %self.request_id,
            http.user_agent = %self.user_agent,
            thanos.method_name = %self.name,
            "started call"
        );
    }

    pub(super) fn finished(&self, rule: &Rule, status: StatusCode, took: Duration) {
        // An event has one level, which is fixed where it is written.
        macro_rules! tell {
            ($level:ident) => {
                tracing::$level!(
                    protocol = "http",
                    http.component = "server",
                    http.method = %self.method,
                    http.request_id = %self.request_id,
                    http.user_agent = %self.user_agent,
                    http.status_code = %status.as_u16(),
                    http.time_ms = %millis(took),
                    http.remote_addr = %self.remote,
                    thanos.method_name = %self.name,
                    "finished call"
                )
            };
        }
        match (status.as_u16(), rule.failures_only) {
            (200..500, true) => {}
            (200..500, false) => tell!(debug),
            _ => tell!(error),
        }
    }
}

fn text_of(headers: &HeaderMap, name: &str) -> String {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    value.unwrap_or_default().to_owned()
}

/// Returns milliseconds down to the microsecond, as Go logs them.
pub(super) fn millis(took: Duration) -> f64 {
    took.as_micros() as f64 / 1000.0
}
