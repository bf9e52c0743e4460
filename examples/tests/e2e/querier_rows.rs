//! Rows of the querier's specification that a process of its own shows.

use serde_json::Value;
use thanos_core::testkit::TempDir;
use thanos_core::testkit::peer::Peer;

use crate::blocks::{Kind, OLD_MS, Outside};
use crate::metrics;
use crate::programs::{Store, directory_bucket, querier};

/// A bucket with a block for each cluster, and a gateway over it.
struct Clusters {
    outside: Outside,
    store: Store,
    _directory: TempDir,
}

const CLUSTERS: [&str; 5] = ["ams", "ber", "cph", "dub", "edi"];

impl Clusters {
    fn start(name: &str) -> Self {
        Self::of(name, &CLUSTERS)
    }

    fn of(name: &str, clusters: &[&str]) -> Self {
        let directory = TempDir::new(name);
        let yaml = directory_bucket(directory.path());
        let outside = Outside::open(&yaml);
        for cluster in clusters {
            let series = [("__name__", "up"), ("job", *cluster)];
            outside.upload(&series, Kind::Float, &[("cluster", cluster)], OLD_MS);
        }
        Self {
            outside,
            store: Store::over(&yaml, &[]),
            _directory: directory,
        }
    }

    fn querier(&self, flags: &[&str]) -> Peer {
        querier(&[&self.store.grpc_address], flags)
    }

    fn query(&self, querier: &Peer, query: &str) -> (u16, Value) {
        let time = self.outside.query_time();
        get(
            querier,
            "/api/v1/query",
            &[("query", query), ("time", &time)],
        )
    }
}

fn get(querier: &Peer, path: &str, parameters: &[(&str, &str)]) -> (u16, Value) {
    let answer = querier.query(path, parameters);
    (answer.status, serde_json::from_slice(&answer.body).unwrap())
}

fn texts(value: &Value) -> Vec<String> {
    let values = value.as_array().unwrap().iter();
    values
        .map(|value| value.as_str().unwrap().to_owned())
        .collect()
}

/// Q-28, X-44: two queriers that share the databases of one gateway by a hash of their labels have each of them once, in samples,
/// in label values and in their lists of stores.
#[test]
fn queriers_share_the_databases_of_a_store() {
    let clusters = Clusters::start("e2e-selector");
    let (mut sampled, mut valued, mut listed) = (Vec::new(), Vec::new(), Vec::new());
    for shard in ["0", "1"] {
        let rules = format!(
            "[{{action: hashmod, source_labels: [cluster], target_label: shard, modulus: 2}}, \
             {{action: keep, source_labels: [shard], regex: {shard}}}]"
        );
        let querier = clusters.querier(&["--selector.relabel-config", &rules]);
        let (status, body) = clusters.query(&querier, "up");
        assert_eq!(status, 200, "{body}");
        let series = body["data"]["result"].as_array().unwrap();
        let cluster = |series: &Value| series["metric"]["cluster"].as_str().unwrap().to_owned();
        assert!(!series.is_empty(), "{body}");
        sampled.extend(series.iter().map(cluster));

        let (_, body) = get(&querier, "/api/v1/label/cluster/values", &[]);
        valued.extend(texts(&body["data"]));
        let (_, body) = get(&querier, "/api/v1/stores", &[]);
        let sets = body["data"]["store"][0]["labelSets"].as_array().unwrap();
        listed.extend(
            sets.iter()
                .map(|set| set["cluster"].as_str().unwrap().to_owned()),
        );
    }
    for mut found in [sampled, valued, listed] {
        found.sort();
        assert_eq!(found, CLUSTERS);
    }
}

/// Q-32: an answer of the stores that is too large fails the query, even where partial answers are allowed.
#[test]
fn answers_over_the_limits_of_the_querier_fail() {
    let clusters = Clusters::start("e2e-querier-limits");
    for (flag, query, reason) in [
        ("--store.limits.request-series=4", "up", "series"),
        ("--store.limits.request-samples=500", "up", "chunks"),
    ] {
        let querier = clusters.querier(&[flag]);
        let (status, body) = clusters.query(&querier, query);
        let text = body["error"].as_str().unwrap_or_default();
        assert!(status >= 400 && text.contains("limit"), "{flag}: {body}");
        let dropped = "thanos_store_selects_dropped_total";
        let label = format!("reason=\"{reason}\"");
        assert_eq!(metrics::sum(&querier, dropped, &[&label]), 1.0);

        let (status, body) = clusters.query(&querier, "up{cluster!=\"ams\"}");
        assert_eq!(status, 200, "{flag}: {body}");
    }
}

/// Q-29, Q-38, X-47: what a querier counts, under Thanos' names.
#[test]
fn a_querier_counts_as_thanos_does() {
    let clusters = Clusters::start("e2e-querier-metrics");
    let querier = clusters.querier(&[
        "--query.max-concurrent=7",
        "--query.max-concurrent-select=2",
    ]);
    let query = "sum(up) + count(up) + max(up) + min(up) + avg(up{job=\"nobody\"})";
    let (status, body) = clusters.query(&querier, query);
    assert_eq!(status, 200, "{body}");
    let time = clusters.outside.query_time();
    let range = [
        ("query", "up"),
        ("start", &time),
        ("end", &time),
        ("step", "1"),
    ];
    assert_eq!(get(&querier, "/api/v1/query_range", &range).0, 200);

    for (name, expected) in [
        ("thanos_query_concurrent_gate_queries_max", 7.0),
        ("thanos_query_concurrent_gate_queries_total", 2.0),
        ("thanos_query_concurrent_gate_queries_in_flight", 0.0),
        (
            "thanos_query_concurrent_gate_queries_duration_seconds_count",
            2.0,
        ),
        ("thanos_query_concurrent_selects_gate_selects_max", 2.0),
        (
            "thanos_query_concurrent_selects_gate_selects_in_flight",
            0.0,
        ),
        (
            "thanos_query_range_requested_timespan_duration_seconds_count",
            1.0,
        ),
        ("thanos_query_heavy_queries_total", 0.0),
        ("thanos_query_heavy_queries_waiting", 0.0),
    ] {
        metrics::wait_for(&querier, name, &[], expected);
    }
    let selects = "thanos_query_concurrent_selects_gate_selects_total";
    metrics::wait_until(&querier, selects, &[], |count| count >= 3.0);
    let empty = "thanos_proxy_store_empty_stream_responses_total";
    metrics::wait_until(&querier, empty, &[], |count| count >= 1.0);
    let durations = "thanos_store_api_query_duration_seconds_count";
    let labels = [
        "samples_le=\"100\"",
        "series_le=\"10\"",
        "tenant=\"default-tenant\"",
    ];
    metrics::wait_until(&querier, durations, &labels, |count| count >= 1.0);
}

/// Q-23: both names of engines mean the same results, in a request and as a flag; others are refused.
#[test]
fn both_engines_give_the_same() {
    let clusters = Clusters::start("e2e-engines");
    let time = clusters.outside.query_time();
    let query = "sum by (cluster) (count_over_time(up[30m])) + on (cluster) up offset -1m @ end()";
    let mut answers = Vec::new();
    for flag in ["prometheus", "thanos"] {
        let flag = format!("--query.promql-engine={flag}");
        let querier = clusters.querier(&[&flag, "--query.disable-fallback"]);
        for engine in ["prometheus", "thanos", ""] {
            let parameters = [("query", query), ("time", &time), ("engine", engine)];
            let (status, body) = get(&querier, "/api/v1/query", &parameters);
            assert_eq!(status, 200, "{body}");
            answers.push(body["data"].clone());
        }
        let parameters = [("query", query), ("time", &*time), ("engine", "other")];
        let (status, body) = get(&querier, "/api/v1/query", &parameters);
        assert_eq!(
            (status, body["errorType"].as_str()),
            (400, Some("bad_data"))
        );
    }
    assert!(!answers[0]["result"].as_array().unwrap().is_empty());
    assert!(
        answers.iter().all(|answer| *answer == answers[0]),
        "{answers:?}"
    );
}

/// Q-24: the extended functions and the experimental ones are known where flags say so.
#[test]
fn more_functions_come_with_flags() {
    let clusters = Clusters::start("e2e-functions");
    let plain = clusters.querier(&[]);
    let more = clusters.querier(&[
        "--query.enable-x-functions",
        "--enable-feature=promql-experimental-functions",
    ]);
    for query in [
        "xrate(up[1h])",
        "xincrease(up[1h])",
        "xdelta(up[1h])",
        "limitk(1, up)",
        "mad_over_time(up[1h])",
    ] {
        let (status, body) = clusters.query(&plain, query);
        assert_eq!(
            (status, body["errorType"].as_str()),
            (400, Some("bad_data")),
            "{query}: {body}"
        );
        let (status, body) = clusters.query(&more, query);
        assert_eq!(status, 200, "{query}: {body}");
        assert!(
            !body["data"]["result"].as_array().unwrap().is_empty(),
            "{query}: {body}"
        );
    }
}

/// Q-40: the shards of a query over a gateway, which filters them itself, are disjoint, and together the whole.
#[test]
fn the_shards_of_a_query_are_the_whole() {
    let clusters = Clusters::start("e2e-shards");
    let querier = clusters.querier(&[]);
    let time = clusters.outside.query_time();
    let mut found = Vec::new();
    for shard in 0..3 {
        let info =
            format!(r#"{{"shard_index":{shard},"total_shards":3,"by":true,"labels":["cluster"]}}"#);
        let parameters = [("query", "up"), ("time", &*time), ("shard_info", &info)];
        let (status, body) = get(&querier, "/api/v1/query", &parameters);
        assert_eq!(status, 200, "{body}");
        let series = body["data"]["result"].as_array().unwrap();
        assert!(series.len() < CLUSTERS.len(), "{body}");
        found.extend(
            series
                .iter()
                .map(|series| series["metric"]["cluster"].as_str().unwrap().to_owned()),
        );
    }
    found.sort();
    assert_eq!(found, CLUSTERS);
}

/// The first node of the tree whose name starts like this.
fn node<'a>(tree: &'a Value, name: &str) -> Option<&'a Value> {
    if tree["name"].as_str()?.starts_with(name) {
        return Some(tree);
    }
    let children = tree["children"].as_array()?;
    children.iter().find_map(|child| node(child, name))
}

/// Q-03: explaining names the stores that would be asked and why not the others; analyzing says what each has given.
#[test]
fn stores_of_a_query_are_explained_and_analyzed() {
    let clusters = Clusters::start("e2e-explain");
    let other = Clusters::of("e2e-explain-other", &["far"]);
    let [here, there] = [&clusters, &other].map(|clusters| clusters.store.grpc_address.clone());
    let querier = querier(&[&here, &there], &[]);
    let time = clusters.outside.query_time();
    let query = ("query", "sum(rate(up{cluster=\"ams\"}[30m]))");
    let (status, body) = get(&querier, "/api/v1/query_explain", &[query, ("time", &time)]);
    assert_eq!(status, 200, "{body}");
    let source = node(&body["data"], "[seriesSource]").unwrap();
    let sources = source["sources"].as_array().unwrap();
    let of = |address: &str| {
        let found = sources.iter().find(|source| source["source"] == *address);
        found.unwrap().get("skipped").and_then(Value::as_str)
    };
    assert_eq!(of(&here), None, "{body}");
    let reason = "external labels does not match request label matchers: {cluster=\"far\"}";
    assert_eq!(of(&there), Some(reason), "{body}");

    let early = get(
        &querier,
        "/api/v1/query_explain",
        &[query, ("time", "1000")],
    )
    .1;
    let source = node(&early["data"], "[seriesSource]").unwrap();
    let sources = source["sources"].as_array().unwrap();
    let skipped = sources
        .iter()
        .find(|source| source["source"] == *here)
        .unwrap();
    let reason = skipped["skipped"].as_str().unwrap();
    assert!(
        reason.starts_with("does not have data within this time period: ["),
        "{early}"
    );

    let analyzing = [query, ("time", &*time), ("analyze", "true")];
    let (status, body) = get(&querier, "/api/v1/query", &analyzing);
    assert_eq!(status, 200, "{body}");
    let source = node(&body["data"]["analysis"], "[seriesSource]").unwrap();
    let fanout = source["fanout"].as_array().unwrap();
    let of_store = fanout
        .iter()
        .find(|one| one["endpointAddr"] == *here)
        .unwrap();
    for (name, least) in [
        ("numResponses", 1),
        ("series", 1),
        ("chunks", 1),
        ("samples", 10),
        ("bytesProcessed", 50),
    ] {
        assert!(of_store[name].as_u64() >= Some(least), "{name}: {body}");
    }
    assert!(
        of_store["duration"].as_str().unwrap().ends_with('s'),
        "{body}"
    );
    assert!(
        !fanout.iter().any(|one| one["endpointAddr"] == *there),
        "{body}"
    );
}

/// X-26: the calls of stores are counted with the names that Thanos' alerts look at, and those that fail by their code.
#[test]
fn calls_of_stores_are_counted() {
    let clusters = Clusters::start("e2e-calls");
    let querier = querier(&[&clusters.store.grpc_address, "127.0.0.1:1"], &[]);
    let (status, body) = clusters.query(&querier, "up");
    assert_eq!(status, 200, "{body}");
    let series = [
        "grpc_method=\"Series\"",
        "grpc_service=\"thanos.Store\"",
        "grpc_type=\"server_stream\"",
    ];
    let well: Vec<&str> = series.into_iter().chain(["grpc_code=\"OK\""]).collect();
    metrics::wait_for(&querier, "grpc_client_handled_total", &well, 1.0);
    for name in [
        "grpc_client_started_total",
        "grpc_client_handled_total",
        "grpc_client_handling_seconds_count",
    ] {
        assert_eq!(metrics::sum(&querier, name, &series), 1.0, "{name}");
    }
    let failed = ["grpc_method=\"Info\"", "grpc_code=\"Unavailable\""];
    metrics::wait_until(&querier, "grpc_client_handled_total", &failed, |count| {
        count > 0.0
    });
}
