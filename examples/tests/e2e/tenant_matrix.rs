//! Tenants that want to see each other's data: every endpoint, every way to name a tenant, every trick with matchers.

use futures::TryStreamExt;
use thanos_core::labels::{Labels, LabelsBuilder, MatchOp, Matcher};
use thanos_core::testkit::peer::Peer;
use thanos_core::time::{TimeRange, Timestamp};
use thanos_storeapi::apis::exemplars::{ExemplarsApi as _, ExemplarsRequest};
use thanos_storeapi::apis::metadata::{MetadataApi as _, MetadataRequest};
use thanos_storeapi::apis::query::{QueryApi as _, QueryRequest, QueryTimes};
use thanos_storeapi::apis::rules::{Rule, RulesApi as _, RulesRequest};
use thanos_storeapi::apis::status::{StatusApi as _, StatusRequest};
use thanos_storeapi::apis::targets::{TargetsApi as _, TargetsRequest};
use thanos_storeapi::client::{CallContext, ClientSettings, RemoteStore, SharedContext};
use thanos_storeapi::store::{
    LabelNamesRequest, LabelValuesRequest, PartialResponse, SeriesEvent, SeriesRequest, Store as _,
};
use thanos_storeapi::tenant::TenantId;
use thanos_storeapi::testkit::{Dataset, DatasetSeries, FixedApis};

use crate::fakes::component;
use crate::programs::{grpc_address, querier};

/// Stands in everything that belongs to the other tenant, and in nothing else.
const FOREIGN: &str = "foreign_secret";
/// Stands in everything that is the asking tenant's own.
const OWN: &str = "own_data";
const TIME_MS: i64 = 1_700_000_000_000;

/// Everything that a component of `tenant` has, with `mark` in it.
fn marked(tenant: &str, mark: &str) -> FixedApis {
    let with = |labels: &Labels| {
        let mut builder = LabelsBuilder::from_labels(labels.as_ref());
        builder.set("tenant_id", tenant);
        builder.set("mark", mark);
        builder.build()
    };
    let mut apis = FixedApis::sample("r");
    for group in &mut apis.rules {
        group.name = format!("group of {mark}");
        for rule in &mut group.rules {
            match rule {
                Rule::Recording(rule) => rule.labels = with(&rule.labels),
                Rule::Alerting(rule) => {
                    rule.labels = with(&rule.labels);
                    rule.alerts[0].labels = with(&rule.alerts[0].labels);
                }
            }
        }
    }
    for target in &mut apis.targets.active {
        target.labels = with(&target.labels);
        target.discovered_labels = with(&target.discovered_labels);
    }
    for target in &mut apis.targets.dropped {
        target.discovered_labels = with(&target.discovered_labels);
    }
    for series in &mut apis.exemplars {
        series.labels = with(&series.labels);
    }
    for entries in apis.metadata.values_mut() {
        entries[0].help = mark.to_owned();
    }
    let statistics = apis.statistics.remove("").map(|mut statistics| {
        statistics.series_by_metric_name[0].name = mark.to_owned();
        statistics
    });
    apis.statistics
        .insert(tenant.to_owned(), statistics.unwrap());
    apis
}

/// Serves a component of `tenant` until the test process ends, and returns its address.
fn component_of(tenant: &str, mark: &str) -> String {
    let series = DatasetSeries {
        labels: Labels::from_pairs([("__name__", "x"), ("mark", mark), (mark, "1")]),
        samples: vec![(Timestamp::from_millis(TIME_MS), 1.0)],
    };
    let external = Labels::from_pairs([("tenant_id", tenant)]);
    let store = Dataset::new(external, vec![series]).to_mem_store();
    component(store, marked(tenant, mark))
}

/// A querier that enforces tenancy over a component of `team-a` and one of `team-b`.
fn enforcing() -> Peer {
    let ends = [component_of("team-a", OWN), component_of("team-b", FOREIGN)];
    let ends = [ends[0].as_str(), ends[1].as_str()];
    querier(
        &ends,
        &["--query.enforce-tenancy", "--query.replica-label=replica"],
    )
}

/// Expressions that ask for the series of `team-b` in every way that a matcher can.
const SELECTORS: [&str; 10] = [
    "x",
    "x{tenant_id=\"team-b\"}",
    "x{tenant_id=~\".*\"}",
    "x{tenant_id=~\"team-b|team-a\"}",
    "x{tenant_id!=\"team-a\"}",
    "x{tenant_id!~\"team-a\"}",
    "x{tenant_id=\"\"}",
    "x{tenant_id=\"team-a\",tenant_id=\"team-b\"}",
    "{\"tenant_id\"=~\".+\",__name__=~\".+\"}",
    "{mark=\"foreign_secret\"}",
];

/// Whole expressions, beside the selectors alone.
const EXPRESSIONS: [&str; 7] = [
    "x or x{tenant_id=\"team-b\"}",
    "max_over_time(x{tenant_id=\"team-b\"}[1h:1m])",
    "label_replace(x, \"tenant_id\", \"team-b\", \"\", \"\") or x{tenant_id=\"team-b\"}",
    "count by (mark) ({__name__=~\".+\"})",
    "x unless x{tenant_id=\"team-a\"} or x{tenant_id=\"team-b\"}",
    "sum by (tenant_id, mark) (x offset -1m or x @ 1700000000)",
    "absent(x{tenant_id=\"team-b\"})",
];

/// Each endpoint, with the parameter that takes what is asked for; whether an answer without tricks has own data.
const ENDPOINTS: [(&str, &str, bool); 13] = [
    ("query", "query", true),
    ("query_range", "query", true),
    ("query_exemplars", "query", true),
    ("query_explain", "query", false),
    ("series", "match[]", true),
    ("labels", "match[]", true),
    ("label/mark/values", "match[]", true),
    ("label/tenant_id/values", "match[]", false),
    ("metadata", "metric_is_not_this", true),
    ("rules", "match_is_not_this", true),
    ("alerts", "match_is_not_this", true),
    ("targets", "match_is_not_this", true),
    ("status/tsdb", "match[]", true),
];

/// Parameters that ask for another tenant, or for the label that tells tenants apart to be forgotten.
const EXTRAS: [(&str, &str); 6] = [
    ("tenant", "team-b"),
    ("THANOS-TENANT", "team-b"),
    ("tenant_id", "team-b"),
    ("replicaLabels[]", "tenant_id"),
    ("dedup", "false"),
    ("match[]", "x{tenant_id=\"team-b\"}"),
];

fn ask(querier: &Peer, headers: &[&str], endpoint: &str, more: &[(&str, &str)]) -> (u16, String) {
    let mut parameters = vec![
        ("time", "1700000000"),
        ("start", "1699999990"),
        ("end", "1700000010"),
        ("step", "10"),
    ];
    if endpoint == "query_explain" {
        parameters.push(("engine", "thanos"));
    }
    parameters.extend(more);
    let path = format!("/api/v1/{endpoint}");
    let answer = querier.query_with(&path, &parameters, headers);
    (answer.status, String::from_utf8(answer.body).unwrap())
}

/// E-56, Q-31: over HTTP, what a tenant asks for in its own name.
#[test]
fn no_matcher_and_no_parameter_reaches_another_tenant() {
    let querier = enforcing();
    let team_a = ["THANOS-TENANT: team-a"];
    for (endpoint, parameter, has_own) in ENDPOINTS {
        let (status, text) = ask(&querier, &team_a, endpoint, &[(parameter, "x")]);
        assert_eq!(status, 200, "{endpoint}: {text}");
        assert!(
            !text.contains(FOREIGN) && !text.contains("team-b"),
            "{endpoint}: {text}"
        );
        assert_eq!(text.contains(OWN), has_own, "{endpoint}: {text}");
        let expressions = match parameter {
            "query" => &EXPRESSIONS[..],
            _ => &[],
        };
        let values = SELECTORS.iter().chain(expressions).copied();
        for value in values {
            // An answer may quote the question.
            let says_no_more = |text: &str| {
                let found = text.replace(&value.replace('"', "\\\""), "");
                !found.contains(FOREIGN)
            };
            for extra in [None].into_iter().chain(EXTRAS.map(Some)) {
                let mut parameters = vec![(parameter, value)];
                parameters.extend(extra);
                let (status, text) = ask(&querier, &team_a, endpoint, &parameters);
                let is_answer = status == 200 || status == 400 || status == 500;
                let ok = is_answer && (endpoint == "query_explain" || says_no_more(&text));
                assert!(ok, "{endpoint} {parameters:?}: {status} {text}");
            }
        }
    }
    let (status, text) = ask(&querier, &team_a, "status/active_queries", &[]);
    assert_eq!(status, 404, "{text}");
}

/// E-56, X-40: over HTTP, names that are none, or are somebody else's.
#[test]
fn a_name_of_a_tenant_is_one_name_or_refused() {
    let querier = enforcing();
    let long = format!("THANOS-TENANT: {}", "a".repeat(151));
    for (headers, allowed) in [
        (&["THANOS-TENANT: team-a"][..], Some(OWN)),
        (
            &["thanos-tenant: team-a", "x-scope-orgid: team-b"],
            Some(OWN),
        ),
        (
            &["THANOS-TENANT: team-a", "THANOS-TENANT: team-a"],
            Some(OWN),
        ),
        (&["THANOS-TENANT: "], None),
        (&["Accept: */*"], None),
        (&["THANOS-TENANT: default-tenant"], None),
        (&["THANOS-TENANT: team-"], None),
        (&["THANOS-TENANT: TEAM-B"], None),
        (&["THANOS-TENANT: .*"], None),
    ] {
        for (endpoint, parameter, has_own) in ENDPOINTS {
            let (status, text) = ask(&querier, headers, endpoint, &[(parameter, "x")]);
            // Statistics of a tenant that there is not are refused, as in Thanos.
            let is_refused = allowed.is_none() && endpoint == "status/tsdb" && status == 500;
            assert!(
                status == 200 || is_refused,
                "{headers:?} {endpoint}: {text}"
            );
            assert!(!text.contains(FOREIGN), "{headers:?} {endpoint}: {text}");
            let expected = allowed.is_some() && has_own;
            assert_eq!(
                text.contains(OWN),
                expected,
                "{headers:?} {endpoint}: {text}"
            );
        }
    }
    for headers in [
        &["THANOS-TENANT: team-a", "THANOS-TENANT: team-b"][..],
        &["THANOS-TENANT: .."],
        &["THANOS-TENANT: ."],
        &["THANOS-TENANT: ../team-b"],
        &["THANOS-TENANT: team-a/../team-b"],
        &["THANOS-TENANT: team-b/"],
        &["THANOS-TENANT: team-a|team-b"],
        &["THANOS-TENANT: team-a,team-b"],
        &["THANOS-TENANT: team-a team-b"],
        &["THANOS-TENANT: team-a\"} or x{tenant_id=\"team-b"],
        &["THANOS-TENANT: team-b%00"],
        &["THANOS-TENANT: t\u{e9}am-b"],
        &[long.as_str()],
    ] {
        for (endpoint, parameter, _) in ENDPOINTS {
            let (status, text) = ask(&querier, headers, endpoint, &[(parameter, "x")]);
            assert_eq!(status, 400, "{headers:?} {endpoint}: {text}");
            let says_why = text.contains("tenant name not valid");
            assert!(
                says_why && !text.contains(FOREIGN),
                "{headers:?} {endpoint}: {text}"
            );
        }
    }
}

/// Puts any text where the name of the tenant stands in the metadata of calls.
#[derive(Debug)]
struct Spoofed(&'static str);

impl CallContext for Spoofed {
    fn metadata(&self, _: &tracing::Span) -> Vec<(String, String)> {
        vec![("thanos-tenant".into(), self.0.into())]
    }
}

fn sets() -> Vec<Vec<Matcher>> {
    let new = |op, value| Matcher::new(op, "tenant_id", value).unwrap();
    let name = || Matcher::equal("__name__", "x");
    vec![
        vec![name()],
        vec![name(), new(MatchOp::Equal, "team-b")],
        vec![name(), new(MatchOp::NotEqual, "team-a")],
        vec![name(), new(MatchOp::Regex, ".*")],
        vec![new(MatchOp::Regex, "team-b|team-a")],
        vec![new(MatchOp::NotRegex, "team-a")],
        vec![new(MatchOp::Equal, "team-a"), new(MatchOp::Equal, "team-b")],
        vec![name(), new(MatchOp::Equal, "")],
    ]
}

fn query_request(query: &str, times: QueryTimes, tenant: TenantId) -> QueryRequest {
    QueryRequest {
        query: query.into(),
        plan: None,
        times,
        timeout: None,
        max_resolution_ms: 0,
        replica_labels: vec!["tenant_id".into()],
        store_matchers: Vec::new(),
        dedup: true,
        partial_response: PartialResponse::Abort,
        skip_chunks: false,
        shard: None,
        lookback_delta: None,
        response_batch_size: 0,
        tenant,
    }
}

/// Asks everything that a querier answers over gRPC, and returns what each call said.
async fn ask_all(remote: &RemoteStore, tenant: &TenantId) -> Vec<(String, Result<String, String>)> {
    let mut said = Vec::new();
    macro_rules! call {
        ($name:expr, $call:expr) => {{
            let answer = $call.await.map(|answer| format!("{answer:?}"));
            said.push(($name, answer.map_err(|error| error.to_string())));
        }};
    }
    let tenant = || tenant.clone();
    for matchers in sets() {
        let shown = format!("{matchers:?}");
        let request = SeriesRequest {
            range: TimeRange::ALL,
            matchers: matchers.clone(),
            without_replica_labels: vec!["tenant_id".into()],
            tenant: tenant(),
            ..SeriesRequest::default()
        };
        call!(format!("series {shown}"), async {
            let events: Vec<_> = remote.series(request).await?.try_collect().await?;
            let labels = events.iter().flat_map(|event| match event {
                SeriesEvent::Batch(batch) => (0..batch.len())
                    .map(|index| batch.labels(index).to_string())
                    .collect(),
                other => vec![format!("{other:?}")],
            });
            Ok::<_, thanos_core::Error>(labels.collect::<Vec<_>>())
        });
        let request = LabelNamesRequest {
            range: TimeRange::ALL,
            matchers: matchers.clone(),
            tenant: tenant(),
            ..LabelNamesRequest::default()
        };
        call!(format!("names {shown}"), remote.label_names(request));
        for label in ["mark", "tenant_id"] {
            let request = LabelValuesRequest {
                label: label.into(),
                range: TimeRange::ALL,
                matchers: matchers.clone(),
                tenant: tenant(),
                ..LabelValuesRequest::default()
            };
            call!(
                format!("values {label} {shown}"),
                remote.label_values(request)
            );
        }
        let request = StatusRequest {
            matchers,
            entries_max: 10,
            tenant: tenant(),
            only_tenant: Some(TenantId::parse("team-b").unwrap()),
            ..StatusRequest::default()
        };
        call!(
            format!("statistics {shown}"),
            remote.tsdb_statistics(request)
        );
    }
    let (start, end) = (
        Timestamp::from_millis(TIME_MS),
        Timestamp::from_millis(TIME_MS + 10_000),
    );
    let range = QueryTimes::Range {
        start,
        end,
        step_ms: 5000,
    };
    for query in SELECTORS.iter().chain(&EXPRESSIONS) {
        for times in [QueryTimes::Instant(start), range] {
            let request = query_request(query, times, tenant());
            call!(format!("query {query}"), async {
                let events: Vec<_> = remote.query(request).await?.try_collect().await?;
                Ok::<_, thanos_core::Error>(events)
            });
        }
        let request = ExemplarsRequest {
            query: (*query).into(),
            tenant: tenant(),
            ..ExemplarsRequest::default()
        };
        call!(format!("exemplars {query}"), remote.exemplars(request));
    }
    let request = RulesRequest {
        tenant: tenant(),
        ..RulesRequest::default()
    };
    call!("rules".into(), remote.rules(request));
    let request = TargetsRequest {
        tenant: tenant(),
        ..TargetsRequest::default()
    };
    call!("targets".into(), remote.targets(request));
    let request = MetadataRequest {
        tenant: tenant(),
        ..MetadataRequest::default()
    };
    call!("metadata".into(), remote.metadata(request));
    said
}

/// E-56, X-40: over gRPC, the same: the metadata of the call says who asks, and nothing else does.
#[test]
fn calls_of_other_components_see_their_tenant_alone() {
    let querier = enforcing();
    let address = grpc_address(&querier);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let remote = |context: Option<&'static str>| {
        let settings = ClientSettings {
            context: context.map(|name| SharedContext::new(Spoofed(name))),
            ..ClientSettings::default()
        };
        RemoteStore::new(&address, settings).unwrap()
    };
    let team_a = TenantId::parse("team-a").unwrap();
    let ask = |context, tenant: &TenantId| {
        let remote = runtime.block_on(async { remote(context) });
        runtime.block_on(ask_all(&remote, tenant))
    };
    for (call, said) in ask(None, &team_a) {
        let text = said.unwrap_or_else(|error| panic!("{call}: {error}"));
        assert!(!text.contains(FOREIGN), "{call}: {text}");
        let label_of_tenants = call.starts_with("values tenant_id");
        let silent = label_of_tenants
            || call.contains("foreign_secret")
            || call.contains("unless")
            || call.contains("absent")
            || call.contains("max_over_time");
        assert!(silent || text.contains(OWN), "{call}: {text}");
    }
    for (call, said) in ask(None, &TenantId::default()) {
        let text = said.unwrap_or_else(|error| error);
        assert!(
            !text.contains(FOREIGN) && !text.contains(OWN),
            "{call}: {text}"
        );
    }
    for name in ["../team-b", "..", "", "team-a,team-b", "team-a/../team-b"] {
        for (call, said) in ask(Some(name), &team_a) {
            let error = said.unwrap_err();
            assert!(error.contains("tenant"), "{name} {call}: {error}");
        }
    }
}
