//! What a reloader counts, with Thanos' names.

use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use thanos_core::time::Clock;

/// The metrics of a reloader.
#[derive(Debug, Clone, Default)]
pub struct ReloaderMetrics {
    pub(super) reloads: Counter,
    reload_failures: Counter,
    last_successful: Gauge,
    last_success_secs: Gauge<f64, AtomicU64>,
    pub(super) applies: Counter,
    pub(super) apply_failures: Counter,
    unset_variables: Gauge,
    info: Family<[(&'static str, &'static str); 1], Gauge>,
    watches: Gauge,
    pub(super) events: Counter,
    pub(super) watch_errors: Counter,
}

impl ReloaderMetrics {
    /// Registers the metrics; components put their own name before them, such as `thanos_sidecar`.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "reloader_reloads",
            "Total number of reload requests",
            self.reloads.clone(),
        );
        registry.register(
            "reloader_reloads_failed",
            "Total number of reload requests that failed",
            self.reload_failures.clone(),
        );
        registry.register(
            "reloader_last_reload_successful",
            "Whether the last reload attempt was successful",
            self.last_successful.clone(),
        );
        registry.register(
            "reloader_last_reload_success_timestamp_seconds",
            "Timestamp of the last successful reload",
            self.last_success_secs.clone(),
        );
        self.register_applies(registry);
        self.register_watches(registry);
    }

    fn register_applies(&self, registry: &mut Registry) {
        registry.register(
            "reloader_config_apply_operations",
            "Total number of config apply operations",
            self.applies.clone(),
        );
        registry.register(
            "reloader_config_apply_operations_failed",
            "Total number of config apply operations that failed",
            self.apply_failures.clone(),
        );
        registry.register(
            "reloader_config_environment_variable_expansion_errors",
            "Number of environment variable expansions that failed during the last operation",
            self.unset_variables.clone(),
        );
    }

    fn register_watches(&self, registry: &mut Registry) {
        registry.register(
            "reloader_info",
            "A metric with a constant '1' value labeled by reload method (either 'http' or 'signal')",
            self.info.clone(),
        );
        registry.register(
            "reloader_watches",
            "Number of resources watched by the reloader",
            self.watches.clone(),
        );
        registry.register(
            "reloader_watch_events",
            "Total number of changes of watched files found by the reloader",
            self.events.clone(),
        );
        registry.register(
            "reloader_watch_errors",
            "Total number of times that the reloader could not look at watched files",
            self.watch_errors.clone(),
        );
    }

    pub(super) fn method(&self, name: &'static str) {
        self.info.get_or_create(&[("method", name)]).set(1);
    }

    pub(super) fn succeeded(&self, clock: &dyn Clock) {
        self.last_successful.set(1);
        self.last_success_secs
            .set(clock.now().as_millis() as f64 / 1000.0);
    }

    pub(super) fn failed(&self) {
        self.reload_failures.inc();
        self.last_successful.set(0);
    }

    pub(super) fn unset(&self, count: usize) {
        self.unset_variables
            .set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    pub(super) fn watched(&self, count: usize) {
        self.watches.set(i64::try_from(count).unwrap_or(i64::MAX));
    }
}
