//! What is written down about requests: counts for `/metrics`, and lines of the log where the configuration wants them.
//!
//! Both are layers around the routers of a role, so that a request counts whatever becomes of it: answered, failed, or
//! given up by its client.

mod config;
mod grpc;
mod grpc_body;
mod grpc_client;
mod http;
mod http_body;
mod http_log;
mod http_metrics;
mod id;
mod panics;
mod store;
mod tenant;

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use prometheus_client::registry::Registry;
use thanos_storeapi::server::StoreServer;
use thanos_storeapi::store::Store;

pub use self::config::RequestLog;
use self::config::Rule;
use self::grpc::GrpcMetrics;
pub use self::grpc_client::ClientCalls;
use self::http_metrics::HttpMetrics;
use self::panics::Panics;
use self::store::{AnswerMetrics, CountedStore};
pub use self::tenant::{label_tenants, tenants_by_certificate};
use crate::http::BodyTimeouts;

/// What watches the requests of a process.
#[derive(Debug, Clone, Default)]
pub struct Requests {
    http: Arc<Watch<HttpMetrics>>,
    grpc: Arc<Watch<GrpcMetrics>>,
    answers: AnswerMetrics,
    panics: Panics,
}

/// What watches the requests of one protocol.
#[derive(Debug, Default)]
struct Watch<M> {
    metrics: M,
    log: Option<Rule>,
}

impl Requests {
    /// Returns watchers that log what `log` says.
    pub fn new(log: RequestLog) -> Self {
        Self {
            http: Arc::new(Watch {
                metrics: HttpMetrics::default(),
                log: log.http,
            }),
            grpc: Arc::new(Watch {
                metrics: GrpcMetrics::default(),
                log: log.grpc,
            }),
            ..Self::default()
        }
    }

    /// Registers what is counted.
    pub fn register(&self, registry: &mut Registry) {
        self.http.metrics.register(registry);
        self.grpc.metrics.register(registry);
        self.answers.register(registry);
        registry.register_collector(Box::new(self.panics.clone()));
    }

    /// Watches the requests that `router` gets over HTTP, whose bodies have to come in time.
    pub fn watch_http(&self, router: Router) -> Router {
        let router = BodyTimeouts::default().bound(router);
        router.layer(from_fn_with_state(Arc::clone(&self.http), http::watch))
    }

    /// Returns `store`, the sizes of whose answers are counted.
    pub fn watch_store(&self, store: Arc<dyn Store>) -> Arc<dyn Store> {
        Arc::new(CountedStore::new(store, self.answers.clone()))
    }

    /// Returns the services of `server`, whose calls are watched.
    pub fn watch_grpc(&self, server: &StoreServer) -> Router {
        self.panics.read_from(server.counters());
        server
            .router()
            .layer(from_fn_with_state(Arc::clone(&self.grpc), grpc::watch))
    }
}
