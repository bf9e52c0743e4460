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
        let directory = TempDir::new(name);
        let yaml = directory_bucket(directory.path());
        let outside = Outside::open(&yaml);
        for cluster in CLUSTERS {
            let series = [("__name__", "up"), ("job", cluster)];
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

/// two queriers that share the databases of one gateway by a hash of their labels have each of them once, in samples,
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

/// an answer of the stores that is too large fails the query, even where partial answers are allowed.
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

/// what a querier counts, under Thanos' names.
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
