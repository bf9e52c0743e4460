//! Serves a [`Store`] over gRPC: the services `thanos.Store` and `thanos.info.Info`, with health and reflection, and
//! those of the [`Apis`] that its component has beside.
//!
//! Frames are made when the connection can take them: a slow reader holds the store back, and a reader that goes
//! away drops the store's stream. There is no queue in between.
//!
//! TLS is not made here: [`StoreServer::router`] is an [`axum::Router`]
//! that can be merged with others and served on one port with [`serve`].

mod apis;
mod call;
mod counters;
mod frames;
mod query;
mod serve;
mod service;

use std::sync::Arc;

use axum::Router;
use futures::FutureExt;
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::server::{HealthReporter, HealthService};
use tonic_reflection::server::Builder;

pub use counters::ServerCounters;
pub use serve::{ServerSettings, serve};

use crate::apis::Apis;
use crate::matchers::{MatcherSource, NewMatchers};
use crate::pb;
use crate::pb::thanos::info::info_server::{self, InfoServer};
use crate::pb::thanos::store_server;
use crate::store::Store;
use service::StoreService;

/// The services of one store.
///
/// # Example
///
/// ```no_run
/// use std::net::TcpListener;
/// use std::sync::Arc;
/// use thanos_storeapi::server::{ServerSettings, StoreServer, serve};
/// use thanos_storeapi::store::Store;
///
/// async fn run(store: Arc<dyn Store>) -> thanos_core::Result<()> {
///     let server = StoreServer::new(store, ServerSettings::default());
///     server.readiness().set_ready().await;
///     let listener = TcpListener::bind("127.0.0.1:10901")?;
///     let ctrl_c = std::future::pending();
///     serve(listener, server.router(), &ServerSettings::default(), ctrl_c).await
/// }
/// ```
#[derive(Debug, Clone)]
pub struct StoreServer {
    store: Arc<dyn Store>,
    settings: ServerSettings,
    readiness: Readiness,
    counters: Arc<ServerCounters>,
    matchers: Arc<dyn MatcherSource>,
    apis: Apis,
}

impl StoreServer {
    /// Returns the services of `store`; they say that they are not ready.
    pub fn new(store: Arc<dyn Store>, settings: ServerSettings) -> Self {
        Self {
            store,
            settings,
            readiness: Readiness::new(),
            counters: Arc::default(),
            matchers: Arc::new(NewMatchers),
            apis: Apis::default(),
        }
    }

    /// Serves `apis` as well; the info of the store announces them.
    #[must_use]
    pub fn with_apis(mut self, apis: Apis) -> Self {
        self.readiness.names.extend(apis::service_names(&apis));
        self.apis = apis;
        self
    }

    /// Takes the matchers of requests from `matchers`, such as a cache.
    #[must_use]
    pub fn with_matchers(mut self, matchers: Arc<dyn MatcherSource>) -> Self {
        self.matchers = matchers;
        self
    }

    /// Returns the switch for what the health service answers.
    pub fn readiness(&self) -> Readiness {
        self.readiness.clone()
    }

    /// Returns the counts of what was served.
    pub fn counters(&self) -> Arc<ServerCounters> {
        Arc::clone(&self.counters)
    }

    /// Returns the services as a router.
    ///
    /// # Panics
    ///
    /// When the embedded descriptors do not decode, which is a bug of this crate.
    pub fn router(&self) -> Router {
        let service = Arc::new(StoreService::new(
            Arc::clone(&self.store),
            Arc::clone(&self.counters),
            Arc::clone(&self.matchers),
            self.apis.clone(),
        ));
        let bytes_max = self.settings.message_bytes_max;
        let shared = apis::Shared {
            counters: Arc::clone(&self.counters),
            matchers: Arc::clone(&self.matchers),
            message_bytes_max: bytes_max,
        };
        let store = store_server::StoreServer::from_arc(Arc::clone(&service))
            .max_decoding_message_size(bytes_max)
            .max_encoding_message_size(usize::MAX);
        let info = InfoServer::from_arc(service)
            .max_decoding_message_size(bytes_max)
            .max_encoding_message_size(usize::MAX);
        let reflection = || {
            let builder = Builder::configure()
                .register_encoded_file_descriptor_set(pb::FILE_DESCRIPTOR_SET)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
            let names = SERVICE_NAMES.into_iter();
            names
                .chain(apis::service_names(&self.apis))
                .fold(builder, Builder::with_service_name)
        };
        let routes = Routes::new(store).add_service(info);
        apis::add_services(routes, &self.apis, &shared)
            .add_service(self.readiness.service())
            .add_service(
                reflection()
                    .build_v1()
                    .expect("the committed descriptors decode"),
            )
            .add_service(
                reflection()
                    .build_v1alpha()
                    .expect("the committed descriptors decode"),
            )
            .prepare()
            .into_axum_router()
    }
}

/// What reflection lists; the descriptors know more services than a store serves.
const SERVICE_NAMES: [&str; 5] = [
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
    store_server::SERVICE_NAME,
    info_server::SERVICE_NAME,
];

/// What the health service answers, for the server as a whole (`""`) and for each of its services.
#[derive(Clone)]
pub struct Readiness {
    reporter: HealthReporter,
    /// The services that the answer is for.
    names: Vec<&'static str>,
}

impl Readiness {
    fn new() -> Self {
        let readiness = Self {
            reporter: HealthReporter::new(),
            names: vec!["", store_server::SERVICE_NAME, info_server::SERVICE_NAME],
        };
        // Nobody else has the reporter yet, so its lock is free.
        readiness
            .set_not_ready()
            .now_or_never()
            .expect("a lock without contention is taken at once");
        readiness
    }

    /// Answers SERVING from now on.
    pub async fn set_ready(&self) {
        self.set(ServingStatus::Serving).await;
    }

    /// Answers NOT_SERVING from now on.
    pub async fn set_not_ready(&self) {
        self.set(ServingStatus::NotServing).await;
    }

    async fn set(&self, status: ServingStatus) {
        for name in &self.names {
            self.reporter.set_service_status(*name, status).await;
        }
    }

    fn service(
        &self,
    ) -> tonic_health::pb::health_server::HealthServer<impl tonic_health::pb::health_server::Health>
    {
        tonic_health::pb::health_server::HealthServer::new(HealthService::from_health_reporter(
            self.reporter.clone(),
        ))
    }
}

impl std::fmt::Debug for Readiness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Readiness").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
