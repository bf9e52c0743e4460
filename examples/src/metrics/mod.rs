//! The metrics of a process, with Thanos' names where Thanos has them.

mod process;
mod text;

use std::sync::Arc;

use axum::http::HeaderMap;
use axum::http::header::ACCEPT;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::probe::Probe;

type StatusLabels = [(&'static str, &'static str); 2];
type BuildLabels = [(&'static str, &'static str); 7];

/// The registry of one process.
#[derive(Debug, Clone)]
pub struct Metrics {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    component: &'static str,
    registry: Registry,
    status: Family<StatusLabels, Gauge>,
}

/// How metrics are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' older text format.
    Plain,
    /// OpenMetrics text, which has exemplars.
    OpenMetrics,
}

impl Format {
    /// Returns the best format that `headers` say is accepted.
    pub fn accepted_by(headers: &HeaderMap) -> Self {
        let mut accepted = headers.get_all(ACCEPT).iter();
        let is_open = accepted.any(|value| {
            let value = value.to_str().unwrap_or_default();
            value.contains("application/openmetrics-text")
        });
        if is_open {
            Self::OpenMetrics
        } else {
            Self::Plain
        }
    }

    /// Returns the content type.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Plain => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

impl Metrics {
    /// Returns the metrics of `component` after `register` has added the role's own.
    pub fn new(component: &'static str, register: impl FnOnce(&mut Registry)) -> Self {
        let mut registry = Registry::default();
        let status = Family::default();
        registry.register(
            "thanos_status",
            "Represents status (0 indicates failure, 1 indicates success)",
            status.clone(),
        );
        let build = Family::<BuildLabels, Gauge>::default();
        build.get_or_create(&build_labels()).set(1);
        registry.register(
            "thanos_build_info",
            "A metric with a constant '1' value labeled by version and the language and platform from which thanos was \
             built",
            build,
        );
        registry.register_collector(Box::new(process::Process));
        register(&mut registry);
        Self {
            inner: Arc::new(Inner {
                component,
                registry,
                status,
            }),
        }
    }

    /// Returns the metrics as text.
    pub fn render(&self, probe: &Probe, format: Format) -> String {
        let inner = &*self.inner;
        for (check, holds) in [("healthy", probe.is_healthy()), ("ready", probe.is_ready())] {
            let labels = [("component", inner.component), ("check", check)];
            inner.status.get_or_create(&labels).set(i64::from(holds));
        }
        let mut open = String::new();
        encode(&mut open, &inner.registry).expect("writing to a string cannot fail");
        match format {
            Format::OpenMetrics => open,
            Format::Plain => text::plain(&open),
        }
    }
}

/// COMPAT: the labels of Prometheus' build info, without those of Go; what is not known is empty.
fn build_labels() -> BuildLabels {
    [
        ("version", env!("CARGO_PKG_VERSION")),
        ("revision", ""),
        ("branch", ""),
        ("goos", std::env::consts::OS),
        ("goarch", std::env::consts::ARCH),
        ("goversion", ""),
        ("language", "rust"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    ///
    #[test]
    fn readiness_shows_in_the_status_gauge() {
        let metrics = Metrics::new("store", |_| {});
        let probe = Probe::default();
        let shows = |probe: &Probe, check: &str, value: u8| {
            let text = metrics.render(probe, Format::Plain);
            let line = format!("thanos_status{{component=\"store\",check=\"{check}\"}} {value}\n");
            assert!(text.contains(&line), "{line} is not in\n{text}");
        };
        shows(&probe, "healthy", 0);
        shows(&probe, "ready", 0);
        probe.healthy();
        shows(&probe, "healthy", 1);
        shows(&probe, "ready", 0);
    }

    ///
    #[test]
    fn formats_are_negotiated() {
        let metrics = Metrics::new("store", |_| {});
        let probe = Probe::default();
        let ask = |accept: &str| {
            let headers = [(ACCEPT, accept.parse().unwrap())].into_iter().collect();
            let format = Format::accepted_by(&headers);
            (format, metrics.render(&probe, format))
        };
        let (format, open) = ask("application/openmetrics-text;version=1.0.0,text/plain;q=0.5");
        assert_eq!(format, Format::OpenMetrics);
        assert!(open.ends_with("# EOF\n"), "{open}");
        assert!(open.contains("# TYPE process_cpu_seconds counter\nprocess_cpu_seconds_total "));
        let (format, plain) = ask("*/*");
        assert_eq!(format, Format::Plain);
        assert!(!plain.contains("# EOF"), "{plain}");
        for name in [
            "process_cpu_seconds_total",
            "process_start_time_seconds",
            "process_resident_memory_bytes",
            "process_max_fds",
            "thanos_build_info{version=",
        ] {
            assert!(
                plain.contains(&format!("\n{name}")),
                "{name} is not in\n{plain}"
            );
        }
    }
}
