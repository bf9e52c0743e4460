//! The HTTP API over a proxy: flags, and what data each request sees.

mod metrics;
mod resolution;
mod source;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use clap::{ArgAction, Args};
use thanos_core::budget::MemoryBudget;
use thanos_core::time::{Clock, SystemClock, UtcTime};
use thanos_core::{Error, Result};
use thanos_promql::active::ActiveQueries;
use thanos_promql::engine::{Engine, EngineOptions, OnPartial};
use thanos_promql::http::{Api, ApiOptions, Components, Cors, Dialect, Tenancy};
use thanos_promql::parser;
use thanos_storeapi::apis::Apis;
use thanos_storeapi::fanout::{Fanout, FanoutOptions};
use thanos_storeapi::limits::SelectLimits;
use thanos_storeapi::proxy::Proxy;
use thanos_storeapi::queryable::DedupFunc;
use thanos_storeapi::store::{PartialResponse, Store};
use thanos_storeapi::tenant::{DEFAULT_TENANT, TenantId};

use crate::about::About;
use crate::flags::{bytes, concurrency, duration};
use crate::requests::{label_tenants, tenants_by_certificate};
use crate::roles::query::admission::AdmissionFlags;
use crate::roles::query::distributed::DistributedFlags;
use crate::ui::{PrefixFlags, Site};

pub use metrics::{ApiMetrics, TelemetryFlags};
pub use resolution::ResolutionFlags;
use source::ProxySource;

/// How many queries run at once when any number may.
const QUERIES_MAX: usize = 1024;
/// Data whose end lies further back than this is not asked for at the current time.
const RECENT: Duration = Duration::from_secs(5 * 60);

/// Flags of the query API.
#[derive(Debug, Clone, Args)]
pub struct ApiFlags {
    /// Labels to treat as a replica indicator along which data is deduplicated (repeatable, or comma-separated).
    #[arg(id = "query.replica-label", long = "query.replica-label", value_name = "LABEL", action = ArgAction::Append, value_delimiter = ',')]
    replica_labels: Vec<String>,
    /// Deduplication algorithm for merging overlapping series: one replica at a time (penalty), or the samples of all of
    /// them, each time once (chain). At least one replica label has to be set via --query.replica-label flag.
    #[arg(
        id = "deduplication.func",
        long = "deduplication.func",
        value_name = "FUNC",
        default_value = "penalty",
        value_parser = ["penalty", "chain"]
    )]
    deduplication_func: String,
    #[command(flatten)]
    resolution: ResolutionFlags,
    /// Maximum time to process query by query node.
    #[arg(id = "query.timeout", long = "query.timeout", value_name = "DURATION", default_value = "2m", value_parser = duration)]
    timeout: Duration,
    /// Default PromQL engine to use: both names mean the only one, which has the results of the one and the speed of the
    /// other.
    #[arg(
        id = "query.promql-engine",
        long = "query.promql-engine",
        value_name = "ENGINE",
        default_value = "prometheus",
        value_parser = ["prometheus", "thanos"]
    )]
    _engine: String,
    /// Without effect: there is no other engine to fall back to.
    #[arg(id = "query.disable-fallback", long = "query.disable-fallback", action = ArgAction::SetTrue, hide = true)]
    _disable_fallback: bool,
    /// The default metadata time range duration for retrieving labels through Labels and Series API when the range
    /// parameters are not specified. The zero value means range covers the time since the beginning.
    #[arg(id = "query.metadata.default-time-range", long = "query.metadata.default-time-range", value_name = "DURATION", default_value = "0s", value_parser = duration)]
    metadata_range: Duration,
    /// Maximum number of select requests that begin concurrently per a query; 0 means any number.
    #[arg(
        id = "query.max-concurrent-select",
        long = "query.max-concurrent-select",
        value_name = "N",
        default_value_t = 4,
        allow_hyphen_values = true,
        value_parser = concurrency
    )]
    max_concurrent_select: usize,
    #[command(flatten)]
    telemetry: TelemetryFlags,
    /// Maximum number of queries processed concurrently by query node; 0 means as many as there may ever be, 1024.
    #[arg(
        id = "query.max-concurrent",
        long = "query.max-concurrent",
        value_name = "N",
        default_value_t = 20,
        allow_hyphen_values = true,
        value_parser = concurrency
    )]
    max_concurrent: usize,
    /// The maximum lookback duration for retrieving metrics during expression evaluations.
    #[arg(id = "query.lookback-delta", long = "query.lookback-delta", value_name = "DURATION", default_value = "5m", value_parser = duration)]
    lookback_delta: Duration,
    /// Default evaluation interval for sub queries.
    #[arg(id = "query.default-evaluation-interval", long = "query.default-evaluation-interval", value_name = "DURATION", default_value = "1m", value_parser = duration)]
    default_evaluation_interval: Duration,
    /// Enable partial response for queries if no partial_response param is specified (the default).
    #[arg(id = "query.partial-response", long = "query.partial-response", overrides_with = "no-query.partial-response", action = ArgAction::SetTrue)]
    partial_response: bool,
    /// Fail queries whose data is incomplete if no partial_response param is specified.
    #[arg(id = "no-query.partial-response", long = "no-query.partial-response", action = ArgAction::SetTrue)]
    no_partial_response: bool,
    #[command(flatten)]
    partial: PartialFlags,
    /// Set default step for range queries. Default step is only used when step is not set in UI.
    #[arg(id = "query.default-step", long = "query.default-step", value_name = "DURATION", default_value = "1s", value_parser = duration)]
    default_step: Duration,
    /// Directory to log currently active queries in the queries.active file; no file if empty.
    #[arg(
        id = "query.active-query-path",
        long = "query.active-query-path",
        value_name = "DIR",
        default_value = ""
    )]
    active_query_path: String,
    /// Whether to enable extended rate functions (xrate, xincrease and xdelta).
    #[arg(id = "query.enable-x-functions", long = "query.enable-x-functions", action = ArgAction::SetTrue)]
    x_functions: bool,
    /// Comma separated experimental feature names to enable: promql-experimental-functions.
    #[arg(id = "enable-feature", long = "enable-feature", value_name = "NAME", action = ArgAction::Append, value_delimiter = ',')]
    features: Vec<String>,
    #[command(flatten)]
    distributed: DistributedFlags,
    #[command(flatten)]
    admission: AdmissionFlags,
    #[command(flatten)]
    tenancy: TenancyFlags,
    #[command(flatten)]
    prefixes: PrefixFlags,
    /// Whether to disable CORS headers to be set by Thanos.
    #[arg(id = "web.disable-cors", long = "web.disable-cors", action = ArgAction::SetTrue)]
    disable_cors: bool,
    /// The most memory that all queries may hold at once.
    #[arg(id = "query.memory-limit", long = "query.memory-limit", value_name = "BYTES", default_value = "4GB", value_parser = bytes)]
    memory_limit: u64,
    /// The most memory that one query may hold.
    #[arg(id = "query.memory-limit-per-query", long = "query.memory-limit-per-query", value_name = "BYTES", default_value = "1GB", value_parser = bytes)]
    memory_limit_per_query: u64,
}

impl ApiFlags {
    /// Returns the label that names the tenant, where each sees its own alone.
    pub fn enforced_label(&self) -> Option<&str> {
        self.tenancy.enforce.then_some(self.tenancy.label.as_str())
    }
}

/// What happens to what is not about samples when a component fails: by default the rest is the answer.
#[derive(Debug, Clone, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of Thanos")]
pub struct PartialFlags {
    /// Enable partial response for rules endpoint (the default).
    #[arg(id = "rule.partial-response", long = "rule.partial-response", overrides_with = "no-rule.partial-response", action = ArgAction::SetTrue, hide = true)]
    _rule: bool,
    /// Fail requests for rules when a component fails.
    #[arg(id = "no-rule.partial-response", long = "no-rule.partial-response", action = ArgAction::SetTrue, hide = true)]
    no_rule: bool,
    /// Enable partial response for targets endpoint (the default).
    #[arg(id = "target.partial-response", long = "target.partial-response", overrides_with = "no-target.partial-response", action = ArgAction::SetTrue, hide = true)]
    _target: bool,
    /// Fail requests for targets when a component fails.
    #[arg(id = "no-target.partial-response", long = "no-target.partial-response", action = ArgAction::SetTrue, hide = true)]
    no_target: bool,
    /// Enable partial response for metric metadata endpoint (the default).
    #[arg(id = "metric-metadata.partial-response", long = "metric-metadata.partial-response", overrides_with = "no-metric-metadata.partial-response", action = ArgAction::SetTrue, hide = true)]
    _metadata: bool,
    /// Fail requests for metadata when a component fails.
    #[arg(id = "no-metric-metadata.partial-response", long = "no-metric-metadata.partial-response", action = ArgAction::SetTrue, hide = true)]
    no_metadata: bool,
    /// Enable partial response for exemplar endpoint (the default).
    #[arg(id = "exemplar.partial-response", long = "exemplar.partial-response", overrides_with = "no-exemplar.partial-response", action = ArgAction::SetTrue, hide = true)]
    _exemplar: bool,
    /// Fail requests for exemplars when a component fails.
    #[arg(id = "no-exemplar.partial-response", long = "no-exemplar.partial-response", action = ArgAction::SetTrue, hide = true)]
    no_exemplar: bool,
    /// Enable partial response for status endpoint (the default).
    #[arg(id = "status.partial-response", long = "status.partial-response", overrides_with = "no-status.partial-response", action = ArgAction::SetTrue, hide = true)]
    _status: bool,
    /// Fail requests for statistics when a component fails.
    #[arg(id = "no-status.partial-response", long = "no-status.partial-response", action = ArgAction::SetTrue, hide = true)]
    no_status: bool,
}

/// On whose behalf requests ask, and what they may see.
#[derive(Debug, Clone, Args)]
pub struct TenancyFlags {
    /// HTTP header to determine tenant.
    #[arg(
        id = "query.tenant-header",
        long = "query.tenant-header",
        value_name = "HEADER",
        default_value = "THANOS-TENANT",
        value_parser = header_name
    )]
    header: String,
    /// Default tenant ID to use if tenant header is not present.
    #[arg(
        id = "query.default-tenant-id",
        long = "query.default-tenant-id",
        value_name = "TENANT",
        default_value = DEFAULT_TENANT,
        value_parser = |name: &str| TenantId::parse(name).map_err(|error| error.to_string())
    )]
    default_tenant: TenantId,
    /// Use TLS client's certificate field to determine tenant for requests. Must be one of organization,
    /// organizationalUnit or commonName. This setting will cause the query.tenant-header flag value to be ignored.
    #[arg(
        id = "query.tenant-certificate-field",
        long = "query.tenant-certificate-field",
        value_name = "FIELD",
        default_value = "",
        value_parser = ["", "organization", "organizationalUnit", "commonName"]
    )]
    certificate_field: String,
    /// Enforce tenancy on Query APIs. Responses are returned only if the label value of the configured tenant-label-name
    /// and the value of the tenant header matches.
    #[arg(id = "query.enforce-tenancy", long = "query.enforce-tenancy", action = ArgAction::SetTrue)]
    enforce: bool,
    /// Label name to use when enforcing tenancy (if --query.enforce-tenancy is enabled).
    #[arg(
        id = "query.tenant-label-name",
        long = "query.tenant-label-name",
        value_name = "LABEL",
        default_value = "tenant_id"
    )]
    label: String,
}

/// Takes the name of an HTTP header for a flag.
fn header_name(text: &str) -> std::result::Result<String, String> {
    match axum::http::HeaderName::try_from(text) {
        Ok(name) => Ok(name.as_str().to_owned()),
        Err(error) => Err(format!("{text:?}: {error}")),
    }
}

impl TenancyFlags {
    fn tenancy(&self) -> Result<Tenancy> {
        Ok(Tenancy {
            header: self.header.clone(),
            default_tenant: self.default_tenant.clone(),
        })
    }
}

/// What is served over a proxy.
#[derive(Debug)]
pub struct Served {
    /// The page and the API.
    pub site: Site,
    /// What answers other components: whole queries, and what those behind the proxy say beside series.
    pub apis: Apis,
    /// What the API counts.
    pub metrics: ApiMetrics,
}

/// Returns what is served over `proxy`, whose answers to queries hold no more than `limits` say, and `more` under
/// `/api/v1`.
///
/// # Errors
///
/// A file of active queries that cannot be written; flags that say what is not supported.
pub fn served(
    flags: &ApiFlags,
    limits: SelectLimits,
    proxy: Proxy,
    about: About,
    more: Router,
) -> Result<Served> {
    let budget = MemoryBudget::new("--query.memory-limit", flags.memory_limit);
    let on_partial = if flags.no_partial_response {
        OnPartial::Fail
    } else {
        OnPartial::Warn
    };
    let engine = Engine::new(EngineOptions {
        lookback: flags.lookback_delta,
        timeout: flags.timeout,
        query_bytes_max: flags.memory_limit_per_query,
        budget: budget.clone(),
        subquery_step: flags.default_evaluation_interval,
        on_partial,
        parser: language(flags),
        ..EngineOptions::default()
    });
    let metrics = ApiMetrics::new(&flags.telemetry, Arc::clone(proxy.counters()));
    let source = ProxySource {
        proxy: proxy.clone(),
        limits,
        selects_max: flags.max_concurrent_select,
        metrics: metrics.clone(),
        replica_labels: flags.replica_labels.clone(),
        dedup: match flags.deduplication_func.as_str() {
            "chain" => DedupFunc::Chain,
            _ => DedupFunc::Penalty,
        },
        resolution: flags.resolution.clone(),
        lookback: flags.lookback_delta,
        on_partial,
        distributed: flags.distributed.clone(),
        enforced_label: flags.enforced_label().map(str::to_owned),
    };
    let options = ApiOptions {
        on_partial,
        queries_max: queries_max(flags.max_concurrent),
        metadata_range: Some(flags.metadata_range).filter(|range| !range.is_zero()),
        admission: flags.admission.limits(),
        dialect: Dialect::Thanos {
            default_step: flags.default_step,
        },
        cors: if flags.disable_cors {
            Cors::Off
        } else {
            Cors::Any
        },
        tenancy: flags.tenancy.tenancy()?,
        ..ApiOptions::default()
    };
    let components = components(flags, &proxy, budget);
    let served = components.apis.clone();
    let prefixes = flags.prefixes.prefixes()?;
    let page = prefixes.page(move |text| filled(text, proxy.clone()));
    if flags.distributed.is_on() {
        tracing::info!("queries are distributed over the queriers among the endpoints");
    }
    let api = Api::with_options(engine, Arc::new(source), options)
        .with_hooks(Arc::new(about))
        .with_components(components)
        .with_routes(more)
        .with_active_queries(active_queries(flags)?);
    let apis = Apis {
        query: Some(api.query_api()),
        ..served
    };
    let metrics = metrics.with_places(api.places());
    let tenancy = &flags.tenancy;
    let header: axum::http::HeaderName = tenancy
        .header
        .parse()
        .map_err(|error| Error::invalid(format!("--query.tenant-header: {error}")))?;
    let router = api.router().merge(page);
    let router = label_tenants(router, header.clone(), tenancy.default_tenant.clone());
    let router = match tenancy.certificate_field.as_str() {
        "" => router,
        field => tenants_by_certificate(router, field.parse()?, header),
    };
    Ok(Served {
        site: Site { router, prefixes },
        apis,
        metrics,
    })
}

/// COMPAT: zero is no limit in Thanos. Here memory is set aside for every query that may run.
fn queries_max(flag: usize) -> usize {
    match flag {
        0 => QUERIES_MAX,
        max => max,
    }
}

/// Returns everything beside series from the components behind `proxy`, replicas joined, in memory of `budget`.
pub fn fanout(flags: &ApiFlags, proxy: &Proxy, budget: MemoryBudget) -> Fanout {
    let language = language(flags);
    let selectors = move |query: &str| {
        let expr =
            parser::parse(query, &language).map_err(|error| Error::invalid(error.to_string()))?;
        let selectors = expr.selectors().into_iter();
        selectors
            .map(parser::VectorSelector::compile_matchers)
            .collect()
    };
    let options = FanoutOptions {
        replica_labels: flags.replica_labels.iter().cloned().collect(),
        selector_labels: proxy.selector_labels().clone(),
        timeout: Some(flags.timeout),
        selectors: Arc::new(selectors),
        budget,
        request_bytes_max: flags.memory_limit_per_query,
        enforced_label: flags.enforced_label().map(str::to_owned),
    };
    Fanout::new(proxy.endpoints().clone(), options)
}

fn components(flags: &ApiFlags, proxy: &Proxy, budget: MemoryBudget) -> Components {
    let policy = |fails: bool| match fails {
        true => PartialResponse::Abort,
        false => PartialResponse::Warn,
    };
    let partial = &flags.partial;
    Components {
        apis: fanout(flags, proxy, budget).apis(),
        rules: policy(partial.no_rule),
        targets: policy(partial.no_target),
        metadata: policy(partial.no_metadata),
        exemplars: policy(partial.no_exemplar),
        status: policy(partial.no_status),
        enforced_label: flags.enforced_label().map(str::to_owned),
    }
}

/// The parts of the language that the flags turn on.
fn language(flags: &ApiFlags) -> parser::Options {
    let mut options = parser::Options {
        x_functions: flags.x_functions,
        ..parser::Options::default()
    };
    for feature in &flags.features {
        match feature.as_str() {
            "promql-experimental-functions" => options.experimental_functions = true,
            "" => {}
            other => {
                tracing::warn!(
                    feature = other,
                    "--enable-feature: there is no such feature"
                );
            }
        }
    }
    options
}

fn active_queries(flags: &ApiFlags) -> Result<ActiveQueries> {
    let clock = Arc::new(SystemClock);
    if flags.active_query_path.is_empty() {
        return Ok(ActiveQueries::new(clock));
    }
    let dir = Path::new(&flags.active_query_path);
    let path = dir.join("queries.active");
    let opened = std::fs::create_dir_all(dir)
        .and_then(|()| ActiveQueries::with_log(clock, &path, queries_max(flags.max_concurrent)));
    let (active, unfinished) = opened.map_err(|error| {
        Error::from(error).context(format!("--query.active-query-path {}", path.display()))
    })?;
    if let Some(queries) = unfinished {
        tracing::info!(%queries, "these queries did not finish in the last run");
    }
    Ok(active)
}

/// Fills in the time that the page asks for first: the end of the data where that is not now.
async fn filled(page: String, proxy: Proxy) -> String {
    let range = proxy.info().await.ok().and_then(|info| info.time_range());
    let recent_ms = i64::try_from(RECENT.as_millis()).unwrap_or(i64::MAX);
    let end = range
        .map(|range| range.max)
        .filter(|end| SystemClock.now() - *end > recent_ms);
    let default_time = end
        .map(|end| UtcTime::from_timestamp(end).to_string())
        .unwrap_or_default();
    page.replace("@DEFAULT_TIME@", &default_time)
}
