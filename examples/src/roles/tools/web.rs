//! `thanos tools bucket web`.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{StatusCode, Uri, header};
use axum::response::IntoResponse;
use clap::{ArgAction, Args};
use thanos_bucket::Bucket;
use thanos_bucket::fetch::FetchOptions;
use thanos_bucket::fetch::filter::{BlockFilter, DuplicateFilter};
use thanos_bucket::http::{AdminOperations, BlockViewer, Cors, View, ViewerOptions};
use thanos_bucket::layers::BucketMetrics;
use thanos_bucket::tools::list_blocks;
use thanos_core::{Error, Result};
use tower::Service;

use super::flags::{SelectorFlags, WindowFlags};
use crate::flags::{BucketFlags, HttpFlags, duration};
use crate::process::Process;
use crate::requests::RequestLog;
use crate::shutdown::Shutdown;

/// How long it waits after a refresh that failed.
const RETRY: Duration = Duration::from_secs(60);

/// Flags of `thanos tools bucket web`.
#[derive(Debug, Clone, Args)]
pub(super) struct WebFlags {
    #[command(flatten)]
    http: HttpFlags,
    #[command(flatten)]
    bucket: BucketFlags,
    /// Prefix for API and UI endpoints, which allows the UI to be served on a sub-path. Defaults to --web.external-prefix.
    #[arg(
        id = "web.route-prefix",
        long = "web.route-prefix",
        value_name = "PATH",
        default_value = ""
    )]
    route_prefix: String,
    /// Static prefix for all HTML links and redirect URLs, for reverse proxies that strip a sub-path. Endpoints are still
    /// served on / or --web.route-prefix.
    #[arg(
        id = "web.external-prefix",
        long = "web.external-prefix",
        value_name = "PATH",
        default_value = ""
    )]
    external_prefix: String,
    /// Name of HTTP request header used for dynamic prefixing of UI links; ignored with --web.external-prefix. Name one only
    /// if the proxy in front sets it anew, such as X-Forwarded-Prefix of Traefik.
    #[arg(
        id = "web.prefix-header",
        long = "web.prefix-header",
        value_name = "HEADER",
        default_value = ""
    )]
    prefix_header: String,
    /// Whether to disable CORS headers to be set by Thanos.
    #[arg(id = "web.disable-cors", long = "web.disable-cors", action = ArgAction::SetTrue)]
    disable_cors: bool,
    /// Refresh interval to download metadata from remote storage.
    #[arg(long, value_name = "DURATION", default_value = "30m", value_parser = duration)]
    refresh: Duration,
    /// Timeout to download metadata from remote storage.
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration)]
    timeout: Duration,
    /// External block label to use as group title.
    #[arg(long, value_name = "LABEL", default_value = "")]
    label: String,
    /// Disable UI/API admin operations like marking blocks for deletion and no compaction.
    #[arg(long, action = ArgAction::SetTrue)]
    disable_admin_operations: bool,
    #[command(flatten)]
    window: WindowFlags,
    #[command(flatten)]
    selector: SelectorFlags,
}

impl WebFlags {
    fn viewer(&self, bucket: Bucket) -> BlockViewer {
        let options = ViewerOptions {
            label: self.label.clone(),
            admin_operations: match self.disable_admin_operations {
                true => AdminOperations::Refused,
                false => AdminOperations::Allowed,
            },
            cors: match self.disable_cors {
                true => Cors::Off,
                false => Cors::Any,
            },
            external_prefix: self.external_prefix.clone(),
            prefix_header: self.prefix_header.clone(),
            ..ViewerOptions::default()
        };
        BlockViewer::new(bucket, options)
    }

    /// Returns the path under which everything is served, without a slash at its end.
    fn route_prefix(&self) -> String {
        let prefix = match self.route_prefix.is_empty() {
            true => &self.external_prefix,
            false => &self.route_prefix,
        };
        if *prefix != self.external_prefix {
            tracing::warn!(
                "different values for --web.route-prefix and --web.external-prefix detected, web UI may not work without \
                 a reverse-proxy."
            );
        }
        match prefix.trim_matches('/') {
            "" => String::new(),
            prefix => format!("/{prefix}"),
        }
    }

    fn warn(&self) {
        if self.refresh < Duration::from_secs(5 * 60) {
            tracing::warn!("Refreshing more often than 5m could lead to large data transfers");
        }
        if self.timeout < Duration::from_secs(60) {
            tracing::warn!("Timeout less than 1m could lead to frequent failures");
        }
        if self.refresh < self.timeout * 2 {
            tracing::warn!("Refresh interval should be at least 2 times the timeout");
        }
    }
}

pub(super) async fn run(flags: WebFlags) -> Result<()> {
    flags.warn();
    let bucket_metrics = BucketMetrics::default();
    let bucket = flags.bucket.open(bucket_metrics.clone())?;
    let fetch = FetchOptions::default();
    let duplicates = DuplicateFilter::new(fetch.compute.clone());
    let filters = vec![
        flags.window.filter()?,
        flags.selector.filter()?,
        Arc::new(duplicates),
    ];
    let viewer = flags.viewer(bucket.clone());
    let router = under(flags.route_prefix(), viewer.router());
    let metrics = fetch.metrics.clone();
    let register = |registry: &mut _| {
        bucket_metrics.register(registry);
        metrics.register(registry);
    };
    let log = RequestLog::default();
    let mut process = Process::start_http("bucket", &flags.http, log, router, register).await?;
    let refresh = Refresh {
        bucket,
        fetch,
        filters,
        viewer,
        interval: flags.refresh,
        timeout: flags.timeout,
    };
    process.spawn(refresh.repeat(process.shutdown()));
    process.ready().await;
    process.run().await
}

struct Refresh {
    bucket: Bucket,
    fetch: FetchOptions,
    filters: Vec<Arc<dyn BlockFilter>>,
    viewer: BlockViewer,
    interval: Duration,
    timeout: Duration,
}

impl Refresh {
    async fn repeat(self, shutdown: Shutdown) -> Result<()> {
        loop {
            let turn = async {
                let wait = match self.once().await {
                    Ok(()) => self.interval,
                    Err(error) => {
                        tracing::error!(%error, "refreshing failed, the blocks known before are still shown");
                        RETRY
                    }
                };
                tokio::time::sleep(wait).await;
            };
            tokio::select! {
                () = shutdown.clone().wait() => return Ok(()),
                () = turn => {}
            }
        }
    }

    async fn once(&self) -> Result<()> {
        let listing = list_blocks(&self.bucket, self.fetch.clone(), &self.filters);
        let listed = tokio::time::timeout(self.timeout, listing).await;
        let listed =
            listed.unwrap_or_else(|_| Err(Error::unavailable("context deadline exceeded")));
        let blocks = listed
            .as_ref()
            .map(|listing| listing.blocks.values().cloned().collect());
        self.viewer.set(View::Global, blocks);
        listed.map(drop)
    }
}

/// Serves `router` under `prefix`, and sends those who ask for `/` there.
fn under(prefix: String, router: Router) -> Router {
    if prefix.is_empty() {
        return router;
    }
    Router::new().fallback(move |request: Request| {
        let (prefix, mut router) = (prefix.clone(), router.clone());
        async move {
            let path = request.uri().path();
            if path == "/" || path == prefix {
                let location = [(header::LOCATION, format!("{prefix}/"))];
                return (StatusCode::FOUND, location).into_response();
            }
            match without_prefix(request, &prefix) {
                Some(request) => match Service::call(&mut router, request).await {
                    Ok(response) => response,
                    Err(never) => match never {},
                },
                None => StatusCode::NOT_FOUND.into_response(),
            }
        }
    })
}

/// Returns the request as if there were no prefix, unless it does not begin with it.
fn without_prefix(mut request: Request<Body>, prefix: &str) -> Option<Request<Body>> {
    let wanted = request.uri().path_and_query()?.as_str();
    let rest = wanted
        .strip_prefix(prefix)
        .filter(|rest| rest.starts_with('/'))?;
    *request.uri_mut() = rest.parse::<Uri>().ok()?;
    Some(request)
}
