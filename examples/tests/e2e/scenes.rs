//! Scenarios of a querier over several sources, as the specification's table of scenarios states them.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use thanos_core::chunk::Samples;
use thanos_core::labels::Labels;
use thanos_core::testkit::TempDir;
use thanos_core::testkit::peer::Peer;
use thanos_core::time::{Clock, SystemClock, Timestamp};

use crate::blocks::{Kind, OLD_MS, Outside};
use crate::metrics;
use crate::programs::{Store, directory_bucket, grpc_address, querier};
use crate::sidecar::pair::Pair;

const HOUR_SECS: i64 = 3600;

fn now_secs() -> i64 {
    SystemClock.now().as_millis() / 1000
}

/// What the API answers in `data`: whole, but for a limit that the request sets.
#[track_caller]
fn data_of(peer: &Peer, path: &str, parameters: &[(&str, &str)]) -> Value {
    data_as(peer, "Accept: */*", path, parameters)
}

#[track_caller]
fn data_as(peer: &Peer, header: &str, path: &str, parameters: &[(&str, &str)]) -> Value {
    let answer = peer.query_with(path, parameters, &[header]);
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    let mut body: Value = serde_json::from_str(&text).unwrap();
    let truncated = json!(["results truncated due to limit"]);
    let has_no_gap = body["warnings"].is_null() || body["warnings"] == truncated;
    let is_whole = body["status"] == "success" && has_no_gap;
    assert!(is_whole, "{path} {parameters:?}: {text}");
    body["data"].take()
}

#[track_caller]
fn instant(peer: &Peer, query: &str, secs: i64, more: &[(&str, &str)]) -> Vec<Value> {
    let time = secs.to_string();
    let parameters = [&[("query", query), ("time", &time)], more].concat();
    let mut data = data_of(peer, "/api/v1/query", &parameters);
    let Value::Array(mut series) = data["result"].take() else {
        panic!("{query}: {data}");
    };
    series.sort_by_key(|series| series["metric"].to_string());
    series
}

/// The labels of series, in the order of their text.
fn metrics_of(series: &[Value]) -> Vec<Value> {
    series
        .iter()
        .map(|series| series["metric"].clone())
        .collect()
}

#[track_caller]
fn matrix(peer: &Peer, query: &str, range: [i64; 3]) -> Value {
    let [start, end, step] = range.map(|number| number.to_string());
    let parameters = [
        ("query", query),
        ("start", &start),
        ("end", &end),
        ("step", &step),
    ];
    data_of(peer, "/api/v1/query_range", &parameters)["result"].take()
}

/// A server alone, one that also writes to a receiver, a pair of replicas; the block of a receiver in a bucket.
struct FiveSources {
    sidecars: Vec<Pair>,
    store: Store,
    querier: Peer,
    secs: i64,
    _directories: [TempDir; 2],
}

const UP: &str = r#"up{job="myself",instance="localhost:9090"}"#;

impl FiveSources {
    fn start() -> Option<Self> {
        let secs = now_secs() - 60;
        let samples = [
            (UP, 1.0),
            (r#"build{instance="localhost:9090"}"#, 1.0),
            (r#"scrape{instance="localhost:9090"}"#, 1.0),
        ];
        let servers = [
            (r#"prometheus: alone, replica: "0""#, &samples[..]),
            (r#"prometheus: both, replica: "1234""#, &samples[..1]),
            (r#"prometheus: ha, replica: "0""#, &samples[..1]),
            (r#"prometheus: ha, replica: "1""#, &samples[..1]),
        ];
        let start = |(labels, samples): (&str, &[(&str, f64)])| Pair::start(labels, samples, secs);
        let sidecars: Vec<Pair> = servers.into_iter().map_while(start).collect();
        if sidecars.is_empty() {
            return None;
        }
        let directories = [TempDir::new("e2e-five-bucket"), TempDir::new("e2e-five-sd")];
        let yaml = directory_bucket(directories[0].path());
        let mut outside = Outside::open(&yaml);
        outside.now = Timestamp::from_millis(secs * 1000);
        let series = [
            ("__name__", "up"),
            ("job", "myself"),
            ("instance", "localhost:9090"),
        ];
        let external = [
            ("prometheus", "both"),
            ("receive", "receive-1"),
            ("replica", "1234"),
            ("tenant_id", "default-tenant"),
        ];
        outside.upload(&series, Kind::Float, &external, OLD_MS);
        let store = Store::over(&yaml, &[]);

        let addresses: Vec<String> = sidecars.iter().map(Pair::grpc_address).collect();
        let targets = json!([{ "targets": &addresses[2..] }]);
        let file = directories[1].path().join("stores.json");
        std::fs::write(&file, targets.to_string()).unwrap();
        // One address stands in two flags and once more in the file.
        let endpoints = [&addresses[0], &addresses[1], &addresses[2]];
        let endpoints: Vec<&str> = endpoints.map(String::as_str).to_vec();
        let again = format!("--endpoint={}", addresses[0]);
        let files = format!("--store.sd-files={}", file.display());
        let receiver = format!("--endpoint-strict={}", store.grpc_address);
        let replica = "--query.replica-label=replica";
        let querier = querier(&endpoints, &[&again, &files, &receiver, replica]);
        Some(Self {
            sidecars,
            store,
            querier,
            secs,
            _directories: directories,
        })
    }

    /// The parameters of a time range `from` to `to` hours after now.
    fn hours(&self, from: i64, to: i64) -> [(&'static str, String); 2] {
        let at = |hours: i64| (self.secs + hours * HOUR_SECS).to_string();
        [("start", at(from)), ("end", at(to))]
    }

    #[track_caller]
    fn list(&self, path: &str, hours: [i64; 2], more: &[(&str, &str)]) -> Vec<Value> {
        let hours = self.hours(hours[0], hours[1]);
        let mut parameters = more.to_vec();
        parameters.extend(hours.iter().map(|(name, value)| (*name, value.as_str())));
        match data_of(&self.querier, path, &parameters) {
            Value::Array(found) => found,
            // An empty list.
            Value::Null => Vec::new(),
            other => panic!("{path}: {other}"),
        }
    }
}

const AROUND: [i64; 2] = [-1, 1];
const YESTERDAY: [i64; 2] = [-24, -23];

/// E-14, E-40, E-44, E-45, E-46: five sources given by flags and files, one of them several times: each is listed once,
/// and series, label names, label values and lists of series are those of all.
#[test]
fn five_sources_answer_as_one() {
    let Some(five) = FiveSources::start() else {
        return;
    };
    five.are_listed_once();
    five.have_these_series();
    five.have_these_names();
    five.have_these_values();
}

impl FiveSources {
    fn are_listed_once(&self) {
        let connections = "thanos_store_nodes_grpc_connections";
        metrics::wait_for(&self.querier, connections, &[], 5.0);
        let groups = data_of(&self.querier, "/api/v1/stores", &[]);
        let names: BTreeSet<&str> = groups.as_object().unwrap().keys().map(|k| &**k).collect();
        assert_eq!(names, BTreeSet::from(["sidecar", "store"]), "{groups}");
        let listed = |group: &str| {
            let stores = groups[group].as_array().unwrap().iter();
            let mut stores: Vec<_> = stores
                .map(|store| {
                    assert_eq!(store["lastError"], Value::Null, "{store}");
                    (store["name"].clone(), store["labelSets"].clone())
                })
                .collect();
            stores.sort_by_key(|(_, sets)| sets.to_string());
            stores
        };
        let sets = [("alone", "0"), ("both", "1234"), ("ha", "0"), ("ha", "1")];
        let expected: Vec<_> = (self.sidecars.iter().zip(sets))
            .map(|(sidecar, (prometheus, replica))| {
                let set = json!([{ "prometheus": prometheus, "replica": replica }]);
                (Value::from(sidecar.grpc_address()), set)
            })
            .collect();
        assert_eq!(listed("sidecar"), expected);
        let set = json!([{
            "prometheus": "both", "receive": "receive-1", "replica": "1234", "tenant_id": "default-tenant",
        }]);
        let address = Value::from(self.store.grpc_address.as_str());
        assert_eq!(listed("store"), [(address, set)]);
    }

    fn have_these_series(&self) {
        let query = "sum without (instance) (up)";
        let received = json!({
            "job": "myself", "prometheus": "both", "receive": "receive-1", "replica": "1234",
            "tenant_id": "default-tenant",
        });
        let of = |prometheus: &str, replica: &str| json!({ "job": "myself", "prometheus": prometheus, "replica": replica });
        let expected = [
            of("alone", "0"),
            received.clone(),
            of("both", "1234"),
            of("ha", "0"),
            of("ha", "1"),
        ];
        let found = instant(&self.querier, query, self.secs, &[("dedup", "false")]);
        assert_eq!(metrics_of(&found), expected);

        let without = |mut metric: Value| {
            metric.as_object_mut().unwrap().remove("replica");
            metric
        };
        let found = instant(&self.querier, query, self.secs, &[("dedup", "true")]);
        let expected = [
            of("alone", "0"),
            received,
            of("both", "1234"),
            of("ha", "0"),
        ];
        assert_eq!(metrics_of(&found), expected.map(without));
    }

    fn have_these_names(&self) {
        let path = "/api/v1/labels";
        let (up, nothing) = (("match[]", "up"), ("match[]", "foobar"));
        assert!(!self.list(path, AROUND, &[]).is_empty());
        assert_eq!(self.list(path, YESTERDAY, &[]), [Value::Null; 0]);
        let names = [
            "__name__",
            "instance",
            "job",
            "prometheus",
            "receive",
            "replica",
            "tenant_id",
        ];
        assert_eq!(self.list(path, AROUND, &[up]), names);
        assert_eq!(self.list(path, AROUND, &[up, ("limit", "3")]).len(), 3);
        assert_eq!(self.list(path, AROUND, &[nothing]), [Value::Null; 0]);
    }

    fn have_these_values(&self) {
        let (instance, name) = (
            "/api/v1/label/instance/values",
            "/api/v1/label/__name__/values",
        );
        let up = ("match[]", "up");
        assert_eq!(self.list(instance, AROUND, &[]), ["localhost:9090"]);
        assert_eq!(self.list(instance, YESTERDAY, &[]), [Value::Null; 0]);
        assert_eq!(self.list(name, AROUND, &[up]), ["up"]);
        assert_eq!(self.list(name, AROUND, &[]), ["build", "scrape", "up"]);
        assert_eq!(self.list(name, AROUND, &[("limit", "2")]).len(), 2);
        let nothing = ("match[]", "foobar");
        assert_eq!(self.list(name, AROUND, &[nothing]), [Value::Null; 0]);

        let path = "/api/v1/series";
        let three = [("match[]", "up{prometheus!=\"ha\"}"), ("dedup", "false")];
        assert_eq!(self.list(path, AROUND, &three).len(), 3);
        let one = [&three[..], &[("limit", "1")]].concat();
        assert_eq!(self.list(path, AROUND, &one).len(), 1);
    }
}

/// E-53, E-58: a querier over a querier, one store after the other and complete or not at all; and distributed.
#[test]
fn queriers_are_asked_by_queriers() {
    let secs = now_secs() - 60;
    let Some(pair) = Pair::start("prometheus: p1, replica: \"0\"", &[(UP, 1.0)], secs) else {
        return;
    };
    let flags = [
        "--grpc.proxy-strategy=lazy",
        "--no-query.partial-response",
        "--query.enable-x-functions",
    ];
    let below = querier(&[&pair.grpc_address()], &flags);
    let address = grpc_address(&below);
    let distributed = [&flags[..], &["--query.mode=distributed"]].concat();
    for flags in [&flags[..], &distributed] {
        let above = querier(&[&address], flags);
        let connections = "thanos_store_nodes_grpc_connections";
        metrics::wait_for(&above, connections, &[], 1.0);
        let found = instant(&above, "sum(up)", secs, &[]);
        assert_eq!(found.len(), 1, "{flags:?}");
        assert_eq!(found[0]["value"][1], "1", "{flags:?}");
        let nothing = instant(&above, "sum(metric_that_does_not_exist)", secs, &[]);
        assert_eq!(nothing, [Value::Null; 0], "{flags:?}");
        let rate = instant(&above, "sum(xrate(up[3m]))", secs, &[]);
        assert_eq!(rate.len(), 1, "{flags:?}: {rate:?}");
        assert_eq!(rate[0]["value"][1], "0", "{flags:?}");
    }
}

/// E-41, E-42: functions that are not Prometheus', each behind its flag.
#[test]
fn extended_and_experimental_functions_have_flags() {
    let secs = now_secs() - 60;
    let series = ["nginx-1", "nginx-2"]
        .map(|pod| ["1", "2"].map(|i| format!("requests_total{{pod=\"{pod}\",instance=\"{i}\"}}")));
    let samples: Vec<_> = (series.as_flattened().iter())
        .map(|series| (series.as_str(), 1.0))
        .collect();
    let Some(pair) = Pair::start("prometheus: p1", &samples, secs) else {
        return;
    };
    let (xrate, limitk) = (
        "xrate(requests_total{pod=\"nginx-1\",instance=\"1\"}[1m])",
        "limitk(1, requests_total) by (pod)",
    );
    let address = pair.grpc_address();
    let plain = querier(&[&address], &[]);
    for query in [xrate, limitk] {
        let parameters = [("query", query), ("time", &*secs.to_string())];
        let refused = plain.query("/api/v1/query", &parameters);
        assert_eq!(refused.status, 400, "{query}");
    }
    let flags = [
        "--query.enable-x-functions",
        "--enable-feature=promql-experimental-functions",
    ];
    let querier = querier(&[&address], &flags);
    let found = instant(&querier, xrate, secs, &[("dedup", "false")]);
    let expected = json!({ "instance": "1", "pod": "nginx-1", "prometheus": "p1" });
    assert_eq!(metrics_of(&found), [expected]);
    let found = instant(&querier, limitk, secs, &[("dedup", "false")]);
    let expected = ["nginx-1", "nginx-2"].map(|pod| {
        json!({ "__name__": "requests_total", "instance": "1", "pod": pod, "prometheus": "p1" })
    });
    assert_eq!(metrics_of(&found), expected);
}

/// E-57: only the series of the server that the rules keep.
#[test]
fn sources_are_selected_by_relabelling() {
    let secs = now_secs() - 60;
    let samples = [(r#"my_fake_metric{instance="i1"}"#, 1.0)];
    let Some(one) = Pair::start("prometheus: p1, replica: \"0\"", &samples, secs) else {
        return;
    };
    let two = Pair::start("prometheus: p2, replica: \"0\"", &samples, secs).unwrap();
    let rules = "[{source_labels: [prometheus], regex: p1, action: keep}]";
    let endpoints = [one.grpc_address(), two.grpc_address()];
    let endpoints = [endpoints[0].as_str(), endpoints[1].as_str()];
    let all = querier(&endpoints, &[]);
    assert_eq!(instant(&all, "my_fake_metric", secs, &[]).len(), 2);
    let kept = querier(&endpoints, &["--selector.relabel-config", rules]);
    let found = instant(&kept, "my_fake_metric", secs, &[]);
    let expected = json!({
        "__name__": "my_fake_metric", "instance": "i1", "prometheus": "p1", "replica": "0",
    });
    assert_eq!(metrics_of(&found), [expected]);
    assert_eq!(found[0]["value"][1], "1");
}

/// E-10: over two queriers, distributed and not: the same range, and the right sum.
#[test]
fn distributed_and_not_are_the_same() {
    let directory = TempDir::new("e2e-distributed");
    let yaml = directory_bucket(directory.path());
    let outside = Outside::open(&yaml);
    let start = outside.now.as_millis();
    for prometheus in ["prom1", "prom2"] {
        for (instance, first) in [("i1", 1.0), ("i2", 5.0), ("i3", 9.0)] {
            let mut samples = Samples::new();
            for number in 1..=3 {
                let time = Timestamp::from_millis(start + number * 30_000);
                samples.push_float(time, first + (number - 1) as f64);
            }
            let series = Labels::from_pairs([("__name__", "fake"), ("instance", instance)]);
            let external = [("prometheus", prometheus), ("replica", "0")];
            outside.upload_samples(&[series], &samples, &external, OLD_MS);
        }
    }
    let store = Store::over(&yaml, &[]);
    let leaf = |prometheus: &str| {
        let rules = format!("[{{source_labels: [prometheus], regex: {prometheus}, action: keep}}]");
        querier(
            &[&store.grpc_address],
            &["--selector.relabel-config", &rules],
        )
    };
    let leaves = ["prom1", "prom2"].map(leaf);
    let addresses = leaves.each_ref().map(grpc_address);
    let addresses = [addresses[0].as_str(), addresses[1].as_str()];
    let replica = "--query.replica-label=replica";
    let fanout = querier(&addresses, &[replica]);
    let distributed = querier(&addresses, &[replica, "--query.mode=distributed"]);
    let secs = start / 1000;
    for query in [
        "sum(sum_over_time(fake[2m]))",
        "sum by (instance) (fake)",
        "topk(2, fake)",
        "fake",
    ] {
        let range = [secs, secs + 300, 30];
        let expected = matrix(&fanout, query, range);
        assert!(!expected.as_array().unwrap().is_empty(), "{query}");
        assert_eq!(matrix(&distributed, query, range), expected, "{query}");
    }
    // 6 and 18 and 30 from each of two.
    let query = "sum(sum_over_time(fake[2m]))";
    let found = instant(&distributed, query, secs + 100, &[]);
    assert_eq!(found[0]["value"][1], "108");
}

/// E-11, E-12: what a querier has on both sides of a gap comes whole, with the flag and, unlike Thanos, without it.
#[test]
fn gaps_between_blocks_lose_nothing() {
    let now = now_secs();
    let Some(other) = Pair::start("prometheus: p2, replica: \"0\"", &[(UP, 1.0)], now - 60) else {
        return;
    };
    let directory = TempDir::new("e2e-gap");
    let yaml = directory_bucket(directory.path());
    let outside = Outside::open(&yaml);
    for hours_ago in [14, 4] {
        let mut samples = Samples::new();
        for minute in 0..120 {
            let secs = now - hours_ago * HOUR_SECS + minute * 60;
            samples.push_float(Timestamp::from_millis(secs * 1000), 1.0);
        }
        let series = Labels::from_pairs([("__name__", "foo"), ("instance", "foo_1")]);
        let external = [("prometheus", "p1"), ("replica", "0")];
        outside.upload_samples(&[series], &samples, &external, OLD_MS);
    }
    let store = Store::over(&yaml, &[]);
    let leaves = [
        querier(&[&store.grpc_address], &[]),
        querier(&[&other.grpc_address()], &[]),
    ];
    let addresses = leaves.each_ref().map(grpc_address);
    let addresses = [addresses[0].as_str(), addresses[1].as_str()];
    let distributed = "--query.mode=distributed";
    let overlap = "--query.distributed-with-overlapping-interval";
    for flags in [&[distributed, overlap][..], &[distributed]] {
        let above = querier(&addresses, flags);
        let found = matrix(&above, "foo", [now - 24 * HOUR_SECS, now, 60]);
        let values = found[0]["values"].as_array().unwrap();
        assert!(values.len() > 200, "{flags:?}: {}", values.len());
    }
}

/// E-48: calls of stores are counted by how much they gave, and by tenant.
#[test]
fn calls_of_stores_are_counted_by_their_size() {
    let directory = TempDir::new("e2e-store-metrics");
    let yaml = directory_bucket(directory.path());
    let outside = Outside::open(&yaml);
    for (name, count) in [("one", 1), ("thousand_one", 1001), ("inf_series", 10_001)] {
        let series: Vec<_> = (0..count)
            .map(|number| {
                let instance = format!("foo_{number:05}");
                Labels::from_pairs([("__name__", name), ("instance", &instance)])
            })
            .collect();
        let external = [("prometheus", "p1"), ("replica", "0")];
        outside.upload_series(&series, Kind::Float, &external, OLD_MS);
    }
    let store = Store::over(&yaml, &[]);
    let mut flags: Vec<String> = Vec::new();
    for (name, bounds) in [
        ("samples", [100, 1000, 10_000, 100_000]),
        ("series-seconds", [10, 100, 1000, 10_000]),
    ] {
        let flag = |bound: i64| format!("--query.telemetry.request-{name}-quantiles={bound}");
        flags.extend(bounds.map(flag));
    }
    let flags: Vec<_> = flags.iter().map(String::as_str).collect();
    let querier = querier(&[&store.grpc_address], &flags);
    let secs = outside.now.as_millis() / 1000 + 2 * HOUR_SECS;
    let one = "max_over_time(one{instance='foo_00000'}[2h])";
    for (query, count) in [
        (one, 1),
        ("max_over_time(thousand_one[2h])", 1001),
        ("max_over_time(inf_series[2h])", 10_001),
    ] {
        assert_eq!(instant(&querier, query, secs, &[]).len(), count, "{query}");
    }
    let time = secs.to_string();
    let parameters = [("query", one), ("time", &*time)];
    data_as(
        &querier,
        "THANOS-TENANT: test-tenant-1",
        "/api/v1/query",
        &parameters,
    );
    let counted = "thanos_store_api_query_duration_seconds_count";
    for (samples, series, tenant) in [
        ("100000", "10000", "default-tenant"),
        ("100", "10", "default-tenant"),
        ("+Inf", "+Inf", "default-tenant"),
        ("100", "10", "test-tenant-1"),
    ] {
        let labels = [
            format!("samples_le=\"{samples}\""),
            format!("series_le=\"{series}\""),
            format!("tenant=\"{tenant}\""),
        ];
        let labels = labels.each_ref().map(String::as_str);
        metrics::wait_for(&querier, counted, &labels, 1.0);
    }
}

type Pairs = &'static [(&'static str, &'static str)];

/// A case of deduplication over the blocks of a store gateway.
struct Replicas {
    name: &'static str,
    replica_labels: &'static [&'static str],
    /// The labels of the series of each block, and its external labels.
    blocks: &'static [(Pairs, Pairs)],
    expected: usize,
}

const REPLICAS: [Replicas; 6] = [
    Replicas {
        name: "external",
        replica_labels: &["replica"],
        blocks: &[(&[], &[("replica", "a")]), (&[], &[("replica", "b")])],
        expected: 1,
    },
    Replicas {
        name: "external, and sorted anew",
        replica_labels: &["a"],
        blocks: &[
            (&[], &[("a", "1"), ("b", "1")]),
            (&[], &[("a", "1"), ("b", "2")]),
            (&[], &[("a", "2"), ("b", "1")]),
            (&[], &[("a", "2"), ("b", "2")]),
        ],
        expected: 2,
    },
    Replicas {
        name: "internal",
        replica_labels: &["replica"],
        blocks: &[(&[("replica", "a")], &[]), (&[("replica", "b")], &[])],
        expected: 1,
    },
    Replicas {
        name: "internal, and sorted anew",
        replica_labels: &["a"],
        blocks: &[
            (&[("a", "1"), ("b", "1")], &[]),
            (&[("a", "1"), ("b", "2")], &[]),
            (&[("a", "2"), ("b", "1")], &[]),
            (&[("a", "2"), ("b", "2")], &[]),
        ],
        expected: 2,
    },
    Replicas {
        name: "internal, with another label",
        replica_labels: &["replica"],
        blocks: &[
            (&[("my_label", "1"), ("replica", "a")], &[]),
            (&[("my_label", "2"), ("replica", "a")], &[]),
            (&[("my_label", "1"), ("replica", "b")], &[]),
            (&[("my_label", "2"), ("replica", "b")], &[]),
        ],
        expected: 2,
    },
    Replicas {
        name: "internal and external",
        replica_labels: &["receive_replica", "replica"],
        blocks: &[
            (&[("replica", "a")], &[("replica", "a")]),
            (&[("replica", "b")], &[("replica", "b")]),
        ],
        expected: 1,
    },
];

/// E-49: replicas among blocks, wherever their labels are.
#[test]
fn replicas_among_blocks_are_joined() {
    let directory = TempDir::new("e2e-store-dedup");
    let yaml = directory_bucket(directory.path());
    let outside = Outside::open(&yaml);
    for (number, case) in REPLICAS.iter().enumerate() {
        let finder = number.to_string();
        for (inner, external) in case.blocks {
            let mut series = vec![("__name__", "simple_series"), ("block_finder", &*finder)];
            series.extend_from_slice(inner);
            outside.upload(&series, Kind::Float, external, OLD_MS);
        }
    }
    let store = Store::over(&yaml, &[]);
    let secs = outside.now.as_millis() / 1000 + 1;
    for (number, case) in REPLICAS.iter().enumerate() {
        let labels = case.replica_labels.join(",");
        let replica = format!("--query.replica-label={labels}");
        let flags = ["--grpc.proxy-strategy=lazy", &replica];
        let querier = querier(&[&store.grpc_address], &flags);
        let query = format!("max_over_time(simple_series{{block_finder='{number}'}}[2h])");
        for (dedup, expected) in [("true", case.expected), ("false", case.blocks.len())] {
            let found = instant(&querier, &query, secs, &[("dedup", dedup)]);
            assert_eq!(found.len(), expected, "{}: {found:?}", case.name);
        }
    }
}

/// E-59: samples of two replicas, by penalty, as a chain, and apart.
#[test]
fn replicas_are_joined_by_penalty_or_as_a_chain() {
    let directory = TempDir::new("e2e-chain");
    let yaml = directory_bucket(directory.path());
    let outside = Outside::open(&yaml);
    let start = outside.now.as_millis();
    for (receive, seconds) in [("receive-1", [0, 15, 45]), ("receive-2", [15, 30, 60])] {
        let mut samples = Samples::new();
        for second in seconds {
            let time = Timestamp::from_millis(start + second * 1000);
            samples.push_float(time, (second / 15 + 1) as f64);
        }
        let series = Labels::from_pairs([("__name__", "chain_dedup_test")]);
        let external = [("receive", receive), ("tenant_id", "default-tenant")];
        outside.upload_samples(&[series], &samples, &external, OLD_MS);
    }
    let store = Store::over(&yaml, &[]);
    let secs = start / 1000 + 91;
    let query = "sum_over_time(chain_dedup_test[2m])";
    for (func, joined) in [("penalty", "7"), ("chain", "15")] {
        let func = format!("--deduplication.func={func}");
        let querier = querier(
            &[&store.grpc_address],
            &["--query.replica-label=receive", &func],
        );
        for (dedup, expected) in [("true", &[joined][..]), ("false", &["7", "10"])] {
            let found = instant(&querier, query, secs, &[("dedup", dedup)]);
            let values: Vec<_> = found.iter().map(|series| &series["value"][1]).collect();
            assert_eq!(values, expected, "{func}, dedup {dedup}");
        }
    }
}
