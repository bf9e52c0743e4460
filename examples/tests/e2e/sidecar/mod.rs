//! Our sidecar beside real Prometheus servers, and our querier over it.

pub(crate) mod pair;

use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::Value;
use thanos_core::testkit::copy_dir;
use thanos_core::testkit::peer::Peer;
use thanos_core::time::{Clock, SystemClock};

use self::pair::{Pair, Prometheus};
use crate::metrics;
use crate::programs::{grpc_address, querier, testdata, thanos};

const PATIENCE: Duration = Duration::from_secs(60);

fn now_secs() -> i64 {
    SystemClock.now().as_millis() / 1000
}

/// The result of an instant query, sorted by labels: `labels => value`.
fn instant(querier: &Peer, query: &str, secs: i64) -> Vec<(String, Value)> {
    let time = secs.to_string();
    let answer = querier.query("/api/v1/query", &[("query", query), ("time", &time)]);
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    let json: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["status"], "success", "{query}: {text}");
    assert!(json["warnings"].is_null(), "{query}: {text}");
    let series = json["data"]["result"].as_array().unwrap().iter();
    let mut series: Vec<_> = series
        .map(|series| {
            let value = series.get("value").or(series.get("histogram")).unwrap();
            (series["metric"].to_string(), value[1].clone())
        })
        .collect();
    series.sort_by(|a, b| a.0.cmp(&b.0));
    series
}

pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < PATIENCE, "never came true: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// SC-12, SC-14, E-39: not ready and not reachable before Prometheus, ready while it answers.
#[test]
fn a_sidecar_is_ready_while_its_prometheus_answers() {
    let Some(mut prometheus) = Prometheus::new("cluster: eu, replica: a") else {
        return;
    };
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let grpc = free.local_addr().unwrap().to_string();
    drop(free);
    let sidecar = prometheus.sidecar("/-/healthy", &["--grpc-address", &grpc]);
    assert_eq!(sidecar.get("/-/ready").status, 503);
    assert!(TcpStream::connect(&grpc).is_err(), "gRPC is served");
    let up = "thanos_sidecar_prometheus_up";
    let beat = "thanos_sidecar_last_heartbeat_success_time_seconds";
    assert_eq!(metrics::sum(&sidecar, up, &[]), 0.0);

    prometheus.start();
    let ready = ["check=\"ready\""];
    for _ in 0..2 {
        metrics::wait_for(&sidecar, up, &[], 1.0);
        metrics::wait_for(&sidecar, "thanos_status", &ready, 1.0);
        assert_eq!(sidecar.get("/-/ready").status, 200);
        assert!(TcpStream::connect(&grpc).is_ok(), "gRPC is not served");
        assert!(metrics::sum(&sidecar, beat, &[]) > 1.6e9);

        prometheus.stop();
        metrics::wait_for(&sidecar, up, &[], 0.0);
        metrics::wait_for(&sidecar, "thanos_status", &ready, 0.0);
        assert_eq!(sidecar.get("/-/ready").status, 503);
        prometheus.start();
    }
    metrics::wait_for(&sidecar, up, &[], 1.0);
}

/// SC-13: data that cannot be told from that of others is not served.
#[test]
fn a_prometheus_without_external_labels_ends_the_sidecar() {
    let Some(mut prometheus) = Prometheus::new("") else {
        return;
    };
    prometheus.start();
    let url = format!("http://{}", prometheus.address);
    let mut command = thanos(&["sidecar", "--prometheus.url", &url]);
    command.args([
        "--http-address",
        "127.0.0.1:0",
        "--grpc-address",
        "127.0.0.1:0",
    ]);
    command.args(["--prometheus.get_config_interval", "200ms"]);
    let output = command.output().unwrap();
    assert!(!output.status.success());
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(
        said.contains("no external labels configured on Prometheus server"),
        "{said}"
    );
}

/// SC-15: labels that change while all runs arrive at the querier.
#[test]
fn external_labels_that_change_are_picked_up() {
    let secs = now_secs() - 60;
    let Some(pair) = Pair::start("cluster: eu", &[("m{a=\"1\"}", 7.0)], secs) else {
        return;
    };
    let querier = querier(&[&pair.grpc_address()], &[]);
    let labels = |cluster: &str| format!(r#"{{"__name__":"m","a":"1","cluster":"{cluster}"}}"#);
    assert_eq!(instant(&querier, "m", secs), [(labels("eu"), "7".into())]);
    pair.prometheus.configure("cluster: us", "");
    let reload = std::process::Command::new("curl")
        .args([
            "-sf",
            "-X",
            "POST",
            &format!("http://{}/-/reload", pair.prometheus.address),
        ])
        .status();
    assert!(reload.unwrap().success());
    eventually("the new label", || {
        instant(&querier, "m", secs) == [(labels("us"), "7".into())]
    });
}

/// E-47, SC-34: Prometheus behind basic auth.
#[test]
fn a_prometheus_behind_basic_auth_is_served() {
    let Some(mut prometheus) = Prometheus::new("cluster: eu") else {
        return;
    };
    let secs = now_secs() - 60;
    prometheus.fill(&[("m{a=\"1\"}", 7.0)], secs);
    let hash = bcrypt::hash("secret", 4).unwrap();
    let web = prometheus.config_file("web.yml");
    std::fs::write(&web, format!("basic_auth_users:\n  ann: {hash}\n")).unwrap();
    prometheus.flag(format!("--web.config.file={}", web.display()));
    prometheus.start();
    let refused = prometheus.sidecar("/-/healthy", &[]);
    eventually("a refusal", || refused.log().contains("status 401"));
    assert_eq!(refused.get("/-/ready").status, 503);
    let yaml = "basic_auth: {username: ann, password: secret}";
    let pair = Pair::with(prometheus, &["--prometheus.http-client", yaml]);
    let querier = querier(&[&pair.grpc_address()], &[]);
    assert_eq!(instant(&querier, "m", secs).len(), 1);
}

const FAKE: [(&str, f64); 4] = [
    ("my_fake_metric{a=\"1\",b=\"1\"}", 1.0),
    ("my_fake_metric{a=\"1\",b=\"2\"}", 1.0),
    ("my_fake_metric{a=\"2\",b=\"1\"}", 1.0),
    ("my_fake_metric{a=\"2\",b=\"2\"}", 1.0),
];

/// E-50: replicas told apart by external labels, by labels of their series, and by both.
#[test]
fn replicas_are_joined_by_any_label() {
    let secs = now_secs() - 60;
    let mut twice = Vec::new();
    for instance in ["1", "2"] {
        for (series, value) in FAKE {
            let labels = series.replace('}', &format!(",instance=\"{instance}\"}}"));
            twice.push((labels, value));
        }
    }
    let twice: Vec<_> = twice
        .iter()
        .map(|(series, value)| (series.as_str(), *value))
        .collect();
    let Some(one) = Pair::start("prometheus: p1, replica: \"0\"", &twice, secs) else {
        return;
    };
    let two = Pair::start("prometheus: p1, replica: \"1\"", &twice, secs).unwrap();
    let three = Pair::start("prometheus: p2, replica: \"0\"", &FAKE, secs).unwrap();
    let [one, two, three] = [&one, &two, &three].map(Pair::grpc_address);
    let both = [one.as_str(), two.as_str()];
    for (endpoints, replica_labels, series) in [
        (&both[..], &["replica", "instance"][..], 4),
        (&both, &["replica"], 8),
        (&both, &["instance"], 8),
        (&[three.as_str()], &["a"], 2),
    ] {
        let flags: Vec<_> = replica_labels
            .iter()
            .map(|label| format!("--query.replica-label={label}"))
            .collect();
        let flags: Vec<_> = flags.iter().map(String::as_str).collect();
        let querier = querier(endpoints, &flags);
        let found = instant(&querier, "my_fake_metric", secs);
        assert_eq!(found.len(), series, "{replica_labels:?}: {found:?}");
    }
}

/// E-51: evaluations over two servers.
#[test]
fn queries_are_evaluated_over_two_sidecars() {
    let secs = now_secs() - 60;
    let samples = |values: [f64; 3]| {
        let series = ["i1", "i2", "i3"].map(|i| format!("my_fake_metric{{instance=\"{i}\"}}"));
        series.into_iter().zip(values).collect::<Vec<_>>()
    };
    let start = |labels: &str, values| {
        let samples = samples(values);
        let samples: Vec<_> = samples
            .iter()
            .map(|(series, value)| (series.as_str(), *value))
            .collect();
        Pair::start(labels, &samples, secs)
    };
    let Some(one) = start("prometheus: p1", [1.0, 5.0, 9.0]) else {
        return;
    };
    let two = start("prometheus: p2", [3.0, 4.0, 10.0]).unwrap();
    let querier = querier(&[&one.grpc_address(), &two.grpc_address()], &[]);
    let of = |i: &str, value: &str| (format!(r#"{{"instance":"{i}"}}"#), Value::from(value));
    let of_server = |i: &str, p: &str, value: &str| {
        (
            format!(r#"{{"instance":"{i}","prometheus":"{p}"}}"#),
            Value::from(value),
        )
    };
    let each = [
        of_server("i1", "p1", "1"),
        of_server("i1", "p2", "3"),
        of_server("i2", "p1", "5"),
        of_server("i2", "p2", "4"),
        of_server("i3", "p1", "9"),
        of_server("i3", "p2", "10"),
    ];
    for (query, expected) in [
        (
            "max (my_fake_metric)",
            &[("{}".to_owned(), Value::from("10"))][..],
        ),
        (
            "max by (instance) (my_fake_metric)",
            &[of("i1", "3"), of("i2", "5"), of("i3", "10")],
        ),
        (
            "group by (instance) (my_fake_metric)",
            &[of("i1", "1"), of("i2", "1"), of("i3", "1")],
        ),
        ("max_over_time(my_fake_metric[10m])", &each),
        ("min_over_time(my_fake_metric[10m])", &each),
    ] {
        assert_eq!(instant(&querier, query, secs), expected, "{query}");
    }
}

/// E-54: the external label wins over a label of the series.
#[test]
fn external_labels_win() {
    let secs = now_secs() - 60;
    let samples = [("m{cluster=\"inner\",z=\"1\"}", 1.0), ("m{a=\"1\"}", 2.0)];
    let Some(pair) = Pair::start("cluster: outer", &samples, secs) else {
        return;
    };
    let querier = querier(&[&pair.grpc_address()], &[]);
    let found = instant(&querier, "m", secs);
    let labels: Vec<_> = found.iter().map(|(labels, _)| labels.as_str()).collect();
    let expected = [
        r#"{"__name__":"m","a":"1","cluster":"outer"}"#,
        r#"{"__name__":"m","cluster":"outer","z":"1"}"#,
    ];
    assert_eq!(labels, expected);
    assert_eq!(instant(&querier, "m{cluster=\"inner\"}", secs), []);
}

/// E-21: native histograms of an HA pair are those of Prometheus.
#[test]
fn native_histograms_are_those_of_prometheus() {
    const SECS: i64 = 1_795_350_400;
    let metric = "prometheus_http_request_duration_seconds";
    let start = |replica: &str| {
        let mut prometheus = Prometheus::new(&format!("prometheus: p1, replica: {replica}"))?;
        copy_dir(
            &testdata("thanos-core").join("live-native-histograms"),
            prometheus.data.path(),
        );
        prometheus.start();
        Some(Pair::with(prometheus, &[]))
    };
    let Some(a) = start("a") else {
        return;
    };
    let b = start("b").unwrap();
    let endpoints = [&a, &b].map(Pair::grpc_address);
    let endpoints = [endpoints[0].as_str(), endpoints[1].as_str()];
    let querier = querier(&endpoints, &["--query.replica-label=replica"]);
    let direct = |query: &str| {
        let url = format!("http://{}/api/v1/query", a.prometheus.address);
        let output = std::process::Command::new("curl")
            .args([
                "-sf",
                "-G",
                &url,
                "--data-urlencode",
                &format!("query={query}"),
            ])
            .args(["--data-urlencode", &format!("time={SECS}")])
            .output()
            .unwrap();
        let json: Value = serde_json::from_slice(&output.stdout).unwrap();
        json["data"]["result"].as_array().unwrap().clone()
    };
    for query in [
        format!("count({metric})"),
        format!("sum(histogram_count({metric}))"),
        format!("group({metric})"),
        format!("sum(histogram_count(rate({metric}[1m])))"),
        format!("sum(histogram_sum(rate({metric}[5m])))"),
    ] {
        let wanted = direct(&query);
        let found = instant(&querier, &query, SECS);
        assert_eq!((wanted.len(), found.len()), (1, 1), "{query}");
        let number = |value: &Value| value.as_str().unwrap().parse::<f64>().unwrap();
        let (wanted, found) = (number(&wanted[0]["value"][1]), number(&found[0].1));
        assert!(wanted > 0.0, "{query} is {wanted}");
        assert!(
            (found / wanted - 1.0).abs() < 1e-9,
            "{query}: {found}, {wanted}"
        );
    }
    assert_eq!(instant(&querier, metric, SECS).len(), direct(metric).len());
}

/// SC-35: an answer over the limit fails and is counted.
#[test]
fn an_answer_over_the_limit_fails() {
    let secs = now_secs() - 60;
    let Some(mut prometheus) = Prometheus::new("cluster: eu") else {
        return;
    };
    prometheus.fill(&FAKE, secs);
    prometheus.start();
    let pair = Pair::with(prometheus, &["--store.limits.request-series=3"]);
    let querier = querier(&[&pair.grpc_address()], &["--no-query.partial-response"]);
    let (query, time) = ("my_fake_metric", secs.to_string());
    let answer = querier.query("/api/v1/query", &[("query", query), ("time", &time)]);
    let text = String::from_utf8_lossy(&answer.body);
    assert!(
        answer.status >= 400 && text.contains("limit 3 violated"),
        "{text}"
    );
    let dropped = "thanos_store_selects_dropped_total";
    metrics::wait_for(&pair.sidecar, dropped, &["reason=\"series\""], 1.0);
    assert_eq!(instant(&querier, "my_fake_metric{a=\"1\"}", secs).len(), 2);
}

/// SC-11: what is older than the limit is not served.
#[test]
fn data_before_the_minimal_time_is_hidden() {
    let secs = now_secs() - 4 * 3600;
    let Some(mut prometheus) = Prometheus::new("cluster: eu") else {
        return;
    };
    prometheus.fill(&FAKE, secs);
    prometheus.start();
    let pair = Pair::with(prometheus, &["--min-time=-2h"]);
    let hidden = querier(&[&pair.grpc_address()], &[]);
    assert_eq!(instant(&hidden, "my_fake_metric", secs), []);
    let open = pair.prometheus.sidecar("/-/ready", &[]);
    let shown = querier(&[&grpc_address(&open)], &[]);
    assert_eq!(instant(&shown, "my_fake_metric", secs).len(), 4);
}
