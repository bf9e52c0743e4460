//! Calls of other components over gRPC, counted with the names of Go's gRPC middleware: Thanos' alerts are about them.

use std::time::Instant;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use thanos_storeapi::client::{CallContext, CallWatch, ClientSettings, SharedContext};
use tonic::Code;
use tracing::Span;

use super::grpc::{CallLabels, EndLabels, Method, name_of};
use crate::traces::Propagation;

/// The bounds of durations that Thanos has for its clients.
const DURATION_SECS: [f64; 17] = [
    0.001, 0.01, 0.1, 0.3, 0.6, 1.0, 3.0, 6.0, 9.0, 20.0, 30.0, 60.0, 90.0, 120.0, 240.0, 360.0,
    720.0,
];

/// Counts of the calls that a process makes; clones share them.
#[derive(Debug, Clone)]
pub struct ClientCalls {
    started: Family<CallLabels, Counter>,
    handled: Family<EndLabels, Counter>,
    seconds: Family<CallLabels, Histogram, fn() -> Histogram>,
}

impl Default for ClientCalls {
    fn default() -> Self {
        Self {
            started: Family::default(),
            handled: Family::default(),
            seconds: Family::new_with_constructor(|| Histogram::new(DURATION_SECS)),
        }
    }
}

impl ClientCalls {
    /// Registers what is counted.
    pub fn register(&self, registry: &mut Registry) {
        let help = "Total number of RPCs started on the client";
        registry.register("grpc_client_started", help, self.started.clone());
        let help = "Total number of RPCs completed by the client, regardless of success or failure";
        registry.register("grpc_client_handled", help, self.handled.clone());
        let help = "Histogram of response latency (seconds) of the gRPC until it is finished by the application";
        registry.register("grpc_client_handling_seconds", help, self.seconds.clone());
    }

    /// Returns `settings` of connections whose calls are counted and tell what they are a part of.
    #[must_use]
    pub fn counted(&self, settings: ClientSettings) -> ClientSettings {
        ClientSettings {
            context: Some(SharedContext::new(self.clone())),
            ..settings
        }
    }
}

impl CallContext for ClientCalls {
    fn metadata(&self, span: &Span) -> Vec<(String, String)> {
        Propagation.metadata(span)
    }

    fn watch(&self, path: &str) -> Option<Box<dyn CallWatch>> {
        let method = Method::at(path)?;
        self.started.get_or_create(&method.labels()).inc();
        Some(Box::new(Call {
            calls: self.clone(),
            method,
            started: Instant::now(),
            has_ended: false,
        }))
    }
}

/// A call under way.
struct Call {
    calls: ClientCalls,
    method: Method,
    started: Instant,
    has_ended: bool,
}

impl CallWatch for Call {
    fn end(&mut self, code: Code) {
        if std::mem::replace(&mut self.has_ended, true) {
            return;
        }
        let Self { calls, method, .. } = self;
        let labels = method.end_labels(name_of(code));
        calls.handled.get_or_create(&labels).inc();
        let seconds = calls.seconds.get_or_create(&method.labels());
        seconds.observe(self.started.elapsed().as_secs_f64());
    }
}

impl Drop for Call {
    /// Whoever made the call did not wait for its end.
    fn drop(&mut self) {
        self.end(Code::Cancelled);
    }
}
