//! The metrics of a process, with Thanos' names where Thanos has them.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::probe::Probe;

type StatusLabels = [(&'static str, &'static str); 2];
type BuildLabels = [(&'static str, &'static str); 2];

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
    resident_bytes: Gauge,
    cpu_seconds: Gauge<f64, AtomicU64>,
    open_fds: Gauge,
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
        build
            .get_or_create(&[("version", env!("CARGO_PKG_VERSION")), ("language", "rust")])
            .set(1);
        registry.register(
            "thanos_build_info",
            "A metric with a constant '1' value",
            build,
        );
        let resident_bytes = Gauge::default();
        registry.register(
            "process_resident_memory_bytes",
            "Resident memory size in bytes",
            resident_bytes.clone(),
        );
        let cpu_seconds = Gauge::<f64, AtomicU64>::default();
        registry.register(
            "process_cpu_seconds",
            "User and system CPU time in seconds",
            cpu_seconds.clone(),
        );
        let open_fds = Gauge::default();
        registry.register(
            "process_open_fds",
            "Number of open file descriptors",
            open_fds.clone(),
        );
        register(&mut registry);
        Self {
            inner: Arc::new(Inner {
                component,
                registry,
                status,
                resident_bytes,
                cpu_seconds,
                open_fds,
            }),
        }
    }

    /// Returns the metrics as OpenMetrics text.
    pub fn render(&self, probe: &Probe) -> String {
        let inner = &*self.inner;
        for (check, holds) in [("healthy", probe.is_healthy()), ("ready", probe.is_ready())] {
            let labels = [("component", inner.component), ("check", check)];
            inner.status.get_or_create(&labels).set(i64::from(holds));
        }
        if let Some(process) = ProcessStat::read() {
            inner.resident_bytes.set(process.resident_bytes);
            inner.cpu_seconds.set(process.cpu_seconds);
            inner.open_fds.set(process.open_fds);
        }
        let mut text = String::new();
        encode(&mut text, &inner.registry).expect("writing to a string cannot fail");
        text
    }
}

/// What Linux says about this process.
struct ProcessStat {
    resident_bytes: i64,
    cpu_seconds: f64,
    open_fds: i64,
}

impl ProcessStat {
    /// Reads `/proc/self`; `None` on systems without it.
    fn read() -> Option<Self> {
        /// The page size and the clock tick of every Linux that Rust's standard library runs on.
        const PAGE_BYTES: i64 = 4096;
        const TICKS_PER_SECOND: f64 = 100.0;
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        // The process name, in parentheses, may hold spaces; fields are counted after it.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let field = |index: usize| fields.get(index)?.parse::<i64>().ok();
        let ticks = field(11)?.checked_add(field(12)?)?;
        let open_fds = std::fs::read_dir("/proc/self/fd").ok()?.count();
        Some(Self {
            resident_bytes: field(21)?.checked_mul(PAGE_BYTES)?,
            cpu_seconds: ticks as f64 / TICKS_PER_SECOND,
            open_fds: i64::try_from(open_fds).ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_shows_in_the_status_gauge() {
        let metrics = Metrics::new("store", |_| {});
        let probe = Probe::default();
        probe.healthy();
        let text = metrics.render(&probe);
        assert!(
            text.contains(r#"thanos_status{component="store",check="healthy"} 1"#),
            "{text}"
        );
        assert!(
            text.contains(r#"thanos_status{component="store",check="ready"} 0"#),
            "{text}"
        );
        assert!(text.contains("process_resident_memory_bytes "), "{text}");
    }
}
