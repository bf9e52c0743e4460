//! The life of a role: HTTP first, gRPC when ready, and a graceful end.

use std::sync::Arc;

use prometheus_client::registry::Registry;
use thanos_core::{Error, Result};
use thanos_storeapi::apis::Apis;
use thanos_storeapi::matchers::{MatcherSource, NewMatchers};
use thanos_storeapi::server::{Readiness, StoreServer};
use thanos_storeapi::store::Store;
use tokio::task::JoinSet;

use crate::flags::{HttpFlags, ServerFlags};
use crate::metrics::Metrics;
use crate::probe::{self, Probe};
use crate::requests::{RequestLog, Requests};
use crate::shutdown::{self, Shutdown, ShutdownTrigger};
use crate::ui::Site;
use crate::{debug, grpc, http};

/// A running role.
#[derive(Debug)]
pub struct Process {
    probe: Probe,
    readiness: Vec<Readiness>,
    requests: Requests,
    trigger: ShutdownTrigger,
    shutdown: Shutdown,
    tasks: JoinSet<Result<()>>,
    /// The HTTP server, which ends after everything else: until then it says that the role is not ready any more.
    http: JoinSet<Result<()>>,
    http_trigger: ShutdownTrigger,
}

impl Process {
    /// Starts to answer HTTP: probes, metrics, profiles and `site`. The role is healthy and not ready.
    ///
    /// # Errors
    ///
    /// When the address cannot be opened, or the flags ask for what is not there.
    pub async fn start(
        component: &'static str,
        flags: &ServerFlags,
        site: impl Into<Site>,
        register: impl FnOnce(&mut Registry),
    ) -> Result<Self> {
        let log = flags.request_log()?;
        // A role that cannot serve gRPC later should not start at all.
        flags.grpc.tls.server()?;
        Self::start_http(component, &flags.http, log, site, register).await
    }

    /// Starts a role that answers HTTP alone; as [`Process::start`].
    ///
    /// # Errors
    ///
    /// When the address cannot be opened, or the flags ask for what is not there.
    pub async fn start_http(
        component: &'static str,
        flags: &HttpFlags,
        log: RequestLog,
        site: impl Into<Site>,
        register: impl FnOnce(&mut Registry),
    ) -> Result<Self> {
        let web = flags.web()?;
        let (trigger, shutdown) = shutdown::channel();
        trigger.stop_on_signal()?;
        let probe = Probe::default();
        let requests = Requests::new(log);
        let metrics = Metrics::new(component, |registry| {
            requests.register(registry);
            register(registry);
        });
        let (listener, address) = http::listen(&flags.address).await?;
        tracing::info!(component, %address, "listening for requests and metrics");
        let Site { router, prefixes } = site.into();
        let router = prefixes
            .serve(requests.watch_http(router))
            .merge(probe::routes(probe.clone(), metrics))
            .merge(debug::routes());
        let (http_trigger, http_shutdown) = shutdown::channel();
        let mut http = JoinSet::new();
        http.spawn(http::serve(
            listener,
            router,
            web,
            http_shutdown,
            flags.grace_period,
        ));
        probe.healthy();
        Ok(Self {
            probe,
            readiness: Vec::new(),
            requests,
            trigger,
            shutdown,
            tasks: JoinSet::new(),
            http,
            http_trigger,
        })
    }

    /// Starts to answer gRPC for `store`.
    ///
    /// # Errors
    ///
    /// When the address cannot be opened.
    pub async fn serve_store(&mut self, flags: &ServerFlags, store: Arc<dyn Store>) -> Result<()> {
        self.serve_store_with(flags, store, Arc::new(NewMatchers))
            .await
    }

    /// Starts to answer gRPC for `store`, whose requests get their matchers from `matchers`.
    ///
    /// # Errors
    ///
    /// When the address cannot be opened.
    pub async fn serve_store_with(
        &mut self,
        flags: &ServerFlags,
        store: Arc<dyn Store>,
        matchers: Arc<dyn MatcherSource>,
    ) -> Result<()> {
        self.serve_component(flags, store, Apis::default(), matchers)
            .await
    }

    /// Starts to answer gRPC for `store` and for `apis`.
    ///
    /// # Errors
    ///
    /// When the address cannot be opened.
    pub async fn serve_component(
        &mut self,
        flags: &ServerFlags,
        store: Arc<dyn Store>,
        apis: Apis,
        matchers: Arc<dyn MatcherSource>,
    ) -> Result<()> {
        let settings = flags.grpc.settings()?;
        let store = self.requests.watch_store(store);
        let server = StoreServer::new(store, settings.clone())
            .with_matchers(matchers)
            .with_apis(apis);
        self.readiness.push(server.readiness());
        let (listener, address) = grpc::listen(&flags.grpc.address)?;
        tracing::info!(%address, "listening for serving gRPC");
        let shutdown = self.shutdown.clone();
        let router = self.requests.watch_grpc(&server);
        self.tasks.spawn(async move {
            thanos_storeapi::server::serve(listener, router, &settings, shutdown.wait()).await
        });
        Ok(())
    }

    /// Runs `work` beside the servers; it should end soon after `shutdown` turns. An error ends the process.
    pub fn spawn(&mut self, work: impl Future<Output = Result<()>> + Send + 'static) {
        self.tasks.spawn(work);
    }

    /// Returns the switch that turns when the process is to end.
    pub fn shutdown(&self) -> Shutdown {
        self.shutdown.clone()
    }

    /// Says that the role can serve.
    pub async fn ready(&self) {
        self.ready_switch().set(true).await;
    }

    /// Returns what says whether the role can serve, for roles that lose and regain what they depend on. The gRPC servers
    /// of now are told.
    pub fn ready_switch(&self) -> ReadySwitch {
        ReadySwitch {
            probe: self.probe.clone(),
            readiness: self.readiness.clone(),
        }
    }

    /// Runs until SIGINT or SIGTERM, or until a part fails; then stops everything and waits for it: first gRPC, whose open
    /// calls have its grace period to end, then HTTP.
    ///
    /// # Errors
    ///
    /// That of the part that failed.
    pub async fn run(mut self) -> Result<()> {
        let ended = tokio::select! {
            () = self.shutdown.clone().wait() => Ok(()),
            Some(task) = self.tasks.join_next() => flatten(task),
            Some(task) = self.http.join_next() => flatten(task),
        };
        self.probe.ready(false);
        for readiness in &self.readiness {
            readiness.set_not_ready().await;
        }
        tracing::info!("changing probe status to not ready");
        let mut outcome = ended;
        self.trigger.stop();
        while let Some(task) = self.tasks.join_next().await {
            outcome = outcome.and(flatten(task));
        }
        self.http_trigger.stop();
        while let Some(task) = self.http.join_next().await {
            outcome = outcome.and(flatten(task));
        }
        tracing::info!("exiting");
        outcome
    }
}

/// Says whether a role can serve.
#[derive(Debug, Clone)]
pub struct ReadySwitch {
    probe: Probe,
    readiness: Vec<Readiness>,
}

impl ReadySwitch {
    /// Says whether the role can serve now.
    pub async fn set(&self, is_ready: bool) {
        for readiness in &self.readiness {
            if is_ready {
                readiness.set_ready().await;
            } else {
                readiness.set_not_ready().await;
            }
        }
        if self.probe.is_ready() != is_ready {
            let status = if is_ready { "ready" } else { "not ready" };
            tracing::info!("changing probe status to {status}");
        }
        self.probe.ready(is_ready);
    }
}

fn flatten(task: std::result::Result<Result<()>, tokio::task::JoinError>) -> Result<()> {
    task.unwrap_or_else(|error| {
        Err(Error::internal(format!(
            "a part of the process ended: {error}"
        )))
    })
}
