//! Calls over gRPC, counted with the names of Go's gRPC middleware and logged as Thanos logs them (Go pkg/logging/grpc.go).
//!
//! Only the calls that a store has are counted: anybody can ask for methods that there are not, and their names would
//! become labels.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use opentelemetry::context::FutureExt;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use thanos_core::time::{Clock, SystemClock, UtcTime};
use tonic::{Code, Status};

use super::Watch;
use super::grpc_body::{counted, until_end_of};
use super::http_log::millis;
use super::id;
use crate::traces::{REQUEST_ID, parent_of};

const DURATION_SECS: [f64; 14] = [
    0.001, 0.01, 0.1, 0.3, 0.6, 1.0, 3.0, 6.0, 9.0, 20.0, 30.0, 60.0, 90.0, 120.0,
];

pub(super) type CallLabels = [(&'static str, &'static str); 3];
pub(super) type EndLabels = [(&'static str, &'static str); 4];

/// A method: its path and Go's name for its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Method {
    service: &'static str,
    name: &'static str,
    kind: &'static str,
}

const fn unary(service: &'static str, name: &'static str) -> Method {
    let kind = "unary";
    Method {
        service,
        name,
        kind,
    }
}

const fn streamed(service: &'static str, name: &'static str) -> Method {
    let kind = "server_stream";
    Method {
        service,
        name,
        kind,
    }
}

/// The calls that a store has.
const METHODS: [Method; 4] = [
    streamed("thanos.Store", "Series"),
    unary("thanos.Store", "LabelNames"),
    unary("thanos.Store", "LabelValues"),
    unary("thanos.info.Info", "Info"),
];

/// The calls that only some components have.
const OTHER_METHODS: [Method; 7] = [
    streamed("thanos.Rules", "Rules"),
    streamed("thanos.Targets", "Targets"),
    streamed("thanos.Metadata", "MetricMetadata"),
    streamed("thanos.Exemplars", "Exemplars"),
    streamed("thanos.Query", "Query"),
    streamed("thanos.Query", "QueryRange"),
    streamed("thanos.Status", "TSDBStatistics"),
];

/// All codes and Go's names of them.
const CODES: [(Code, &str); 17] = [
    (Code::Ok, "OK"),
    (Code::Cancelled, "Canceled"),
    (Code::Unknown, "Unknown"),
    (Code::InvalidArgument, "InvalidArgument"),
    (Code::DeadlineExceeded, "DeadlineExceeded"),
    (Code::NotFound, "NotFound"),
    (Code::AlreadyExists, "AlreadyExists"),
    (Code::PermissionDenied, "PermissionDenied"),
    (Code::ResourceExhausted, "ResourceExhausted"),
    (Code::FailedPrecondition, "FailedPrecondition"),
    (Code::Aborted, "Aborted"),
    (Code::OutOfRange, "OutOfRange"),
    (Code::Unimplemented, "Unimplemented"),
    (Code::Internal, "Internal"),
    (Code::Unavailable, "Unavailable"),
    (Code::DataLoss, "DataLoss"),
    (Code::Unauthenticated, "Unauthenticated"),
];

/// Returns Go's name of `code`.
pub(super) fn name_of(code: Code) -> &'static str {
    let mut codes = CODES.into_iter();
    let found = codes.find(|(known, _)| *known == code);
    found.map_or("Unknown", |(_, name)| name)
}

impl Method {
    /// Returns the method at `path`, if a component of Thanos has it.
    pub(super) fn at(path: &str) -> Option<Self> {
        let (service, name) = path.strip_prefix('/')?.split_once('/')?;
        let mut methods = METHODS.into_iter().chain(OTHER_METHODS);
        methods.find(|method| method.service == service && method.name == name)
    }

    pub(super) fn labels(self) -> CallLabels {
        [
            ("grpc_method", self.name),
            ("grpc_service", self.service),
            ("grpc_type", self.kind),
        ]
    }

    pub(super) fn end_labels(self, code: &'static str) -> EndLabels {
        let [method, service, kind] = self.labels();
        [("grpc_code", code), method, service, kind]
    }
}

/// Counts of calls.
#[derive(Debug)]
pub(super) struct GrpcMetrics {
    started: Family<CallLabels, Counter>,
    handled: Family<EndLabels, Counter>,
    seconds: Family<CallLabels, Histogram, fn() -> Histogram>,
    received: Family<CallLabels, Counter>,
    sent: Family<CallLabels, Counter>,
}

impl Default for GrpcMetrics {
    /// All of them are there from the start, so that the first failure is an increase.
    fn default() -> Self {
        let metrics = Self {
            started: Family::default(),
            handled: Family::default(),
            seconds: Family::new_with_constructor(|| Histogram::new(DURATION_SECS)),
            received: Family::default(),
            sent: Family::default(),
        };
        for method in METHODS {
            let labels = method.labels();
            for family in [&metrics.started, &metrics.received, &metrics.sent] {
                drop(family.get_or_create(&labels));
            }
            drop(metrics.seconds.get_or_create(&labels));
            for (_, code) in CODES {
                drop(metrics.handled.get_or_create(&method.end_labels(code)));
            }
        }
        metrics
    }
}

impl GrpcMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "Total number of RPCs started on the server";
        registry.register("grpc_server_started", help, self.started.clone());
        let help = "Total number of RPCs completed on the server, regardless of success or failure";
        registry.register("grpc_server_handled", help, self.handled.clone());
        let help = "Histogram of response latency (seconds) of gRPC that had been application-level handled by the \
                    server";
        registry.register("grpc_server_handling_seconds", help, self.seconds.clone());
        let help = "Total number of RPC stream messages received on the server";
        registry.register("grpc_server_msg_received", help, self.received.clone());
        let help = "Total number of gRPC stream messages sent by the server";
        registry.register("grpc_server_msg_sent", help, self.sent.clone());
    }
}

/// Counts and logs a call.
pub(super) async fn watch(
    State(watch): State<Arc<Watch<GrpcMetrics>>>,
    mut request: Request,
    next: Next,
) -> Response {
    let Some(method) = Method::at(request.uri().path()) else {
        return next.run(request).await;
    };
    id::name(request.headers_mut());
    // What the store does is a part of the trace that the caller is in.
    let trace = parent_of(request.headers());
    let labels = method.labels();
    let metrics = &watch.metrics;
    metrics.started.get_or_create(&labels).inc();
    let received = metrics.received.get_or_create(&labels).clone();
    let sent = metrics.sent.get_or_create(&labels).clone();
    let mut call = Call::start(Arc::clone(&watch), method, &request);
    let request = request.map(|body| counted(body, received));

    let response = next.run(request).with_context(trace).await;

    // A failure without an answer says so among the headers.
    if let Some(status) = Status::from_header_map(response.headers()) {
        call.end(&status);
    }
    response.map(|body| until_end_of(counted(body, sent), call))
}

/// Returns how Go's gRPC says why a call failed; `None` for one that did not.
fn error_of(status: &Status) -> Option<String> {
    let (code, message) = (status.code(), status.message());
    let failed = code != Code::Ok;
    failed.then(|| format!("rpc error: code = {} desc = {message}", name_of(code)))
}

/// A call under way, which ends once: with a code, or as cancelled when it is dropped.
pub(super) struct Call {
    watch: Arc<Watch<GrpcMetrics>>,
    method: Method,
    started: Instant,
    /// For the log; `None` when the call is not logged.
    told: Option<Told>,
    has_ended: bool,
}

impl Call {
    fn start(watch: Arc<Watch<GrpcMetrics>>, method: Method, request: &Request) -> Self {
        let rule = watch.log.as_ref();
        let rule = rule.filter(|rule| rule.covers(request.uri().path(), None));
        let told = rule.map(|_| Told::of(request));
        if let (Some(told), true) = (&told, rule.is_some_and(|rule| rule.start)) {
            told.started(method);
        }
        Self {
            watch,
            method,
            started: Instant::now(),
            told,
            has_ended: false,
        }
    }

    /// Counts and logs the end.
    pub(super) fn end(&mut self, status: &Status) {
        if std::mem::replace(&mut self.has_ended, true) {
            return;
        }
        let took = self.started.elapsed();
        let metrics = &self.watch.metrics;
        let labels = self.method.end_labels(name_of(status.code()));
        metrics.handled.get_or_create(&labels).inc();
        let seconds = metrics.seconds.get_or_create(&self.method.labels()).clone();
        seconds.observe(took.as_secs_f64());
        if let Some(told) = &self.told {
            told.finished(self.method, status, took);
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.end(&Status::cancelled("the client is gone"));
    }
}

/// What the log tells of a call.
struct Told {
    started: UtcTime,
    request_id: String,
    peer: String,
}

impl Told {
    fn of(request: &Request) -> Self {
        let id = request.headers().get(REQUEST_ID);
        let id = id.and_then(|value| value.to_str().ok());
        let extensions = request.extensions();
        let tcp = extensions.get::<tonic::transport::server::TcpConnectInfo>();
        let peer = tcp.and_then(tonic::transport::server::TcpConnectInfo::remote_addr);
        let peer = peer.or_else(|| Some(extensions.get::<ConnectInfo<SocketAddr>>()?.0));
        Self {
            started: UtcTime::from_timestamp(SystemClock.now()),
            request_id: id.unwrap_or_default().to_owned(),
            peer: peer.map(|peer| peer.to_string()).unwrap_or_default(),
        }
    }

    fn started(&self, method: Method) {
        tracing::debug!(
            protocol = "grpc",
            grpc.component = "server",
            grpc.service = method.service,
            grpc.method = method.name,
            grpc.method_type = method.kind,
            peer.address = %self.peer,
            grpc.start_time = %self.started,
            requestID = %self.request_id,
            "started call"
        );
    }

    fn finished(&self, method: Method, status: &Status, took: Duration) {
        let (code, error) = (status.code(), error_of(status));
        // An event has one level, which is fixed where it is written.
        macro_rules! tell {
            ($level:ident) => {
                tracing::$level!(
                    protocol = "grpc",
                    grpc.component = "server",
                    grpc.service = method.service,
                    grpc.method = method.name,
                    grpc.method_type = method.kind,
                    peer.address = %self.peer,
                    grpc.start_time = %self.started,
                    grpc.code = name_of(code),
                    grpc.error = error,
                    grpc.time_ms = %millis(took),
                    requestID = %self.request_id,
                    "finished call"
                )
            };
        }
        match code {
            Code::Unknown | Code::Unimplemented | Code::Internal | Code::DataLoss => tell!(error),
            _ => tell!(debug),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    ///
    #[test]
    fn failures_are_told_as_go_tells_them() {
        assert_eq!(error_of(&Status::ok("fine")), None);
        let status = Status::invalid_argument("no matchers specified");
        let wanted = "rpc error: code = InvalidArgument desc = no matchers specified";
        assert_eq!(error_of(&status).as_deref(), Some(wanted));
    }
}
