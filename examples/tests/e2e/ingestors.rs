//! E-18, E-19: the state of databases, told by a querier over ingestors.
//!
//! There is no receiver yet. A stand-in of the SDK's parts answers in its place: it has a database for each tenant, whose
//! external labels name the tenant and the receiver, and tells statistics by tenant, of the databases whose external
//! labels match, as Thanos' receiver does.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;
use thanos_core::Result;
use thanos_core::labels::{Labels, LabelsBuilder, Matcher};
use thanos_core::testkit::peer::Peer;
use thanos_core::time::{TimeRange, Timestamp};
use thanos_storeapi::apis::status::{
    HeadStatistics, Statistic, StatusApi, StatusRequest, TenantStatistics, TsdbStatistics,
};
use thanos_storeapi::apis::{Answer, Apis};
use thanos_storeapi::proxy::{Endpoint, EndpointSet, Proxy, ProxyOptions};
use thanos_storeapi::testkit::{Dataset, DatasetSeries};

use crate::fakes::serve_component;
use crate::programs::querier;

const TIME_MS: i64 = 1_700_000_000_000;

/// What a static target of the upstream scenario exposes: the labels `a` and `b` of `test_metric1`.
const STATIC_1: &[[&str; 2]] = &[
    ["1", "1"],
    ["1", "2"],
    ["2", "1"],
    ["2", "2"],
    ["3", "1"],
    ["4", "1"],
];
const STATIC_2: &[[&str; 2]] = &[["3", "1"], ["4", "1"], ["4", "2"], ["4", "3"]];
/// What Prometheus adds for each target.
const OF_SCRAPES: [&str; 5] = [
    "up",
    "scrape_duration_seconds",
    "scrape_samples_scraped",
    "scrape_samples_post_metric_relabeling",
    "scrape_series_added",
];

/// What a Prometheus with one target sends, its own external labels added.
fn sent(prometheus: &str, replica: &str, target: &[[&str; 2]]) -> Vec<Labels> {
    let of_prometheus = |pairs: &[(&str, &str)]| {
        let mut builder = LabelsBuilder::from_labels(Labels::empty().as_ref());
        let own = [
            ("job", "myself"),
            ("prometheus", prometheus),
            ("replica", replica),
        ];
        for (name, value) in pairs.iter().chain(&own) {
            builder.set(name, value);
        }
        builder.build()
    };
    let metrics = target
        .iter()
        .map(|[a, b]| of_prometheus(&[("__name__", "test_metric1"), ("a", a), ("b", b)]));
    let scrapes = OF_SCRAPES
        .iter()
        .map(|name| of_prometheus(&[("__name__", name)]));
    metrics.chain(scrapes).collect()
}

/// The database of a tenant.
#[derive(Debug)]
struct Database {
    tenant: &'static str,
    external: Labels,
    series: Vec<Labels>,
}

impl Database {
    fn of(receiver: &str, tenant: &'static str, series: Vec<Labels>) -> Self {
        let external = Labels::from_pairs([("receive", receiver), ("tenant_id", tenant)]);
        Self {
            tenant,
            external,
            series,
        }
    }

    fn matches(&self, matchers: &[Matcher]) -> bool {
        let value = |matcher: &Matcher| self.external.get(matcher.name()).unwrap_or_default();
        matchers
            .iter()
            .all(|matcher| matcher.matches(&value(matcher)))
    }

    fn statistics(&self, entries_max: usize) -> TsdbStatistics {
        let mut values = BTreeMap::<String, BTreeSet<String>>::new();
        let (mut by_metric, mut by_pair) = (BTreeMap::new(), BTreeMap::new());
        for (name, value) in self.series.iter().flat_map(Labels::iter) {
            values
                .entry(name.to_string())
                .or_default()
                .insert(value.to_string());
            *by_pair.entry(format!("{name}={value}")).or_default() += 1;
            if name == "__name__" {
                *by_metric.entry(value.to_string()).or_default() += 1;
            }
        }
        let of_values = |of: fn(&BTreeSet<String>) -> usize| {
            let values = values.iter();
            values
                .map(|(name, values)| (name.clone(), of(values) as u64))
                .collect()
        };
        TsdbStatistics {
            head: HeadStatistics {
                series: self.series.len() as u64,
                label_pairs: i64::try_from(by_pair.len()).unwrap(),
                chunks: 0,
                range: TimeRange::from_millis(TIME_MS, TIME_MS),
            },
            values_by_label_name: top(of_values(BTreeSet::len), entries_max),
            bytes_by_label_name: top(
                of_values(|values| values.iter().map(String::len).sum()),
                entries_max,
            ),
            series_by_metric_name: top(by_metric, entries_max),
            series_by_label_pair: top(by_pair, entries_max),
        }
    }
}

/// The largest of `counts`, largest first.
fn top(counts: BTreeMap<String, u64>, entries_max: usize) -> Vec<Statistic> {
    let counts = counts.into_iter();
    let mut list: Vec<_> = counts
        .map(|(name, value)| Statistic { name, value })
        .collect();
    list.sort_by_key(|statistic| Reverse(statistic.value));
    list.truncate(entries_max);
    list
}

/// The statistics of the databases of a stand-in.
#[derive(Debug)]
struct Databases(Vec<Database>);

#[async_trait]
impl StatusApi for Databases {
    async fn tsdb_statistics(&self, request: StatusRequest) -> Result<Answer<TenantStatistics>> {
        let mut all = TenantStatistics::new();
        let matching = self.0.iter().filter(|one| one.matches(&request.matchers));
        for database in matching {
            all.entry(database.tenant.to_owned())
                .or_default()
                .add(database.statistics(request.entries_max));
        }
        Ok(Answer::complete(all))
    }
}

/// Serves a stand-in of a receiver until the test process ends, and returns its address.
fn ingestor(databases: Vec<Database>) -> String {
    let endpoints = databases.iter().map(|database| {
        let series = database.series.iter().map(|labels| DatasetSeries {
            labels: labels.clone(),
            samples: vec![(Timestamp::from_millis(TIME_MS), 1.0)],
        });
        let store = Dataset::new(database.external.clone(), series.collect()).to_mem_store();
        Endpoint::local(database.tenant, Arc::new(store))
    });
    let options = ProxyOptions {
        component: "receive".into(),
        ..ProxyOptions::default()
    };
    let store = Proxy::new(EndpointSet::new(endpoints), options);
    let apis = Apis {
        status: Some(Arc::new(Databases(databases))),
        ..Apis::default()
    };
    serve_component(Arc::new(store), apis)
}

/// The statistics as a tenant sees them.
fn statistics(querier: &Peer, tenant: Option<&str>, parameters: &[(&str, &str)]) -> Value {
    let header = tenant.map(|tenant| format!("THANOS-TENANT: {tenant}"));
    let headers: Vec<&str> = header.iter().map(String::as_str).collect();
    let answer = querier.query_with("/api/v1/status/tsdb", parameters, &headers);
    let body: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(answer.status, 200, "{body}");
    assert_eq!(body.get("warnings"), None, "{body}");
    let head = &body["data"]["headStats"];
    for time in ["minTime", "maxTime"] {
        let expected = match head["numSeries"].as_u64().unwrap() {
            0 => 0,
            _ => TIME_MS,
        };
        assert_eq!(head[time], expected, "{time} {body}");
    }
    body["data"].clone()
}

fn series(statistics: &Value) -> u64 {
    statistics["headStats"]["numSeries"].as_u64().unwrap()
}

/// The entries of a list, in its order.
fn list<'a>(statistics: &'a Value, name: &str) -> Vec<(&'a str, u64)> {
    let entries = statistics[name].as_array().unwrap().iter();
    entries
        .map(|entry| {
            let name = entry["name"].as_str().unwrap();
            (name, entry["value"].as_u64().unwrap())
        })
        .collect()
}

#[track_caller]
fn assert_contains(statistics: &Value, name: &str, expected: &[(&str, u64)]) {
    let found = list(statistics, name);
    for entry in expected {
        assert!(found.contains(entry), "{entry:?} of {name}: {found:?}");
    }
}

const BY_METRIC: &str = "seriesCountByMetricName";
const BY_LABEL: &str = "labelValueCountByLabelName";
const BY_PAIR: &str = "seriesCountByLabelValuePair";

/// E-18, Q-35, X-52: two receivers, each with all that a pair of Prometheus servers sends. Stand-ins answer in the
/// receivers' place.
#[test]
fn statistics_of_two_ingestors_are_added_up() {
    let receiver = |name| {
        let mut series = sent("prom1", "0", STATIC_1);
        series.extend(sent("prom1", "1", STATIC_2));
        ingestor(vec![Database::of(name, "default-tenant", series)])
    };
    let (one, two) = (receiver("receive-1"), receiver("receive-2"));
    let replica = ["--query.replica-label", "replica,receive"];
    let querier = querier(&[&one, &two], &replica);

    let hundred = ("limit", "100");
    let all = statistics(&querier, None, &[hundred]);
    assert_eq!(series(&all), 40);
    let by_metric = list(&all, BY_METRIC);
    assert_eq!(by_metric.len(), 6, "{by_metric:?}");
    assert_eq!(by_metric[0], ("test_metric1", 20));
    assert_contains(&all, BY_LABEL, &[("a", 4), ("b", 3)]);
    let pairs = [
        ("prometheus=prom1", 40),
        ("job=myself", 40),
        ("a=1", 4),
        ("b=1", 12),
    ];
    assert_contains(&all, BY_PAIR, &pairs);

    let short = statistics(&querier, None, &[("limit", "1")]);
    assert_eq!(series(&short), 40);
    assert_eq!(list(&short, BY_METRIC), [("test_metric1", 20)]);

    let of = |selector: &str| statistics(&querier, None, &[hundred, ("match[]", selector)]);
    let one = of(r#"{receive="receive-1"}"#);
    assert_eq!(series(&one), 20);
    assert_eq!(list(&one, BY_METRIC)[0], ("test_metric1", 10));
    assert_eq!(series(&of(r#"{tenant_id="default-tenant"}"#)), 40);
    assert_eq!(series(&of(r#"{tenant_id="not found"}"#)), 0);
}

/// E-19, Q-31, Q-35: one receiver with a database for each of two tenants. A stand-in answers in the receiver's place.
#[test]
fn tenants_see_the_statistics_of_their_own_database_alone() {
    let receiver = ingestor(vec![
        Database::of("receive-1", "tenant-1", sent("prom1", "0", STATIC_1)),
        Database::of("receive-1", "tenant-2", sent("prom2", "0", STATIC_2)),
    ]);
    let enforcing = querier(&[&receiver], &["--query.enforce-tenancy"]);
    let hundred = ("limit", "100");

    let own = statistics(&enforcing, Some("tenant-1"), &[hundred]);
    assert_eq!(series(&own), 11);
    let by_metric = list(&own, BY_METRIC);
    assert_eq!((by_metric.len(), by_metric[0]), (6, ("test_metric1", 6)));
    assert_contains(&own, BY_LABEL, &[("a", 4), ("b", 2)]);
    let pairs = [
        ("prometheus=prom1", 11),
        ("job=myself", 11),
        ("a=1", 2),
        ("a=4", 1),
        ("b=1", 4),
    ];
    assert_contains(&own, BY_PAIR, &pairs);

    let own = statistics(&enforcing, Some("tenant-2"), &[hundred]);
    assert_eq!(series(&own), 9);
    let by_metric = list(&own, BY_METRIC);
    assert_eq!((by_metric.len(), by_metric[0]), (6, ("test_metric1", 4)));
    assert_contains(&own, BY_LABEL, &[("a", 2), ("b", 3)]);
    let pairs = [
        ("prometheus=prom2", 9),
        ("job=myself", 9),
        ("a=4", 3),
        ("b=1", 2),
    ];
    assert_contains(&own, BY_PAIR, &pairs);

    // Without enforcement the same receiver tells of both.
    let open = querier(&[&receiver], &[]);
    assert_eq!(series(&statistics(&open, Some("tenant-1"), &[hundred])), 20);
    // As in Thanos, nobody is a tenant only because a request says so.
    let headers = ["THANOS-TENANT: tenant-3"];
    let stranger = enforcing.query_with("/api/v1/status/tsdb", &[], &headers);
    let text = String::from_utf8(stranger.body).unwrap();
    assert_eq!(stranger.status, 500, "{text}");
    assert!(text.contains("tenant-3 tenant not found"), "{text}");
}
