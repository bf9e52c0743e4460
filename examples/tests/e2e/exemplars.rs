//! Exemplars of real Prometheus servers, through our sidecars and queriers.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::thread;

use serde_json::{Value, json};
use thanos_core::testkit::peer::Peer;

use crate::programs::{grpc_address, querier};
use crate::sidecar::eventually;
use crate::sidecar::pair::{Pair, Prometheus};

/// What the scraped program says: each series has an exemplar that is always the same.
const PAGE: &str = "\
# TYPE demo_requests counter
demo_requests_total{code=\"200\"} 5 # {trace_id=\"t200\"} 1 1700000000.5
demo_requests_total{code=\"500\"} 2 # {trace_id=\"t500\"} 1 1700000001
# TYPE demo_latency_seconds histogram
demo_latency_seconds_bucket{le=\"0.5\"} 1 # {trace_id=\"fast\"} 0.25 1700000002
demo_latency_seconds_bucket{le=\"+Inf\"} 3
demo_latency_seconds_count 3
demo_latency_seconds_sum 9
# EOF
";

/// Serves [`PAGE`] until the test process ends.
fn scraped_program() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let _ = stream.read(&mut [0; 8192]);
            let head = "HTTP/1.1 200 OK\r\nConnection: close\r\n\
                        Content-Type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n";
            let length = PAGE.len();
            let _ = write!(stream, "{head}Content-Length: {length}\r\n\r\n{PAGE}");
        }
    });
    address
}

/// A Prometheus that scrapes `target` and keeps exemplars, with its sidecar.
fn scraping(target: SocketAddr, external_labels: &str) -> Option<Pair> {
    let mut prometheus = Prometheus::new(external_labels)?;
    let scrape = format!(
        "scrape_configs:\n- job_name: demo\n  static_configs:\n  - targets: ['{target}']\n    labels: {{instance: demo}}\n"
    );
    prometheus.configure(external_labels, &scrape);
    prometheus.flag("--enable-feature=exemplar-storage".into());
    prometheus.start();
    Some(Pair::with(prometheus, &[]))
}

/// The data of an answer without warnings.
fn exemplars(querier: &Peer, query: &str) -> Value {
    let parameters = [("query", query), ("start", "1"), ("end", "9999999999")];
    let answer = querier.query("/api/v1/query_exemplars", &parameters);
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    assert_eq!(answer.status, 200, "{query}: {text}");
    let json: Value = serde_json::from_str(&text).unwrap();
    assert!(json["warnings"].is_null(), "{query}: {text}");
    json["data"].clone()
}

/// The trace ids of an answer, in its order.
fn traces(found: &Value) -> Vec<&str> {
    let series = found.as_array().unwrap().iter();
    let exemplars = series.flat_map(|series| series["exemplars"].as_array().unwrap());
    exemplars
        .map(|exemplar| exemplar["labels"]["trace_id"].as_str().unwrap())
        .collect()
}

/// E-13, Q-34, SC-28: exemplars of an HA pair are those of one Prometheus, external labels choose among them, and a selector
/// of external labels alone is answered; through one querier and through two.
#[test]
fn exemplars_of_a_pair_are_one() {
    let target = scraped_program();
    let Some(a) = scraping(target, "cluster: eu, replica: a") else {
        return;
    };
    let b = scraping(target, "cluster: eu, replica: b").unwrap();
    let endpoints = [&a, &b].map(Pair::grpc_address);
    let endpoints = [endpoints[0].as_str(), endpoints[1].as_str()];
    let dedup = ["--query.replica-label=replica"];
    let one = querier(&endpoints, &dedup);
    let below = querier(&endpoints, &[]);
    let two = querier(&[&grpc_address(&below)], &dedup);

    let of_pair = json!([{
        "seriesLabels": {
            "__name__": "demo_requests_total", "cluster": "eu", "code": "200", "instance": "demo", "job": "demo",
        },
        "exemplars": [{"labels": {"trace_id": "t200"}, "value": "1", "timestamp": 1_700_000_000.5}],
    }]);
    let ok = "demo_requests_total{code=\"200\"}";
    eventually("both have scraped", || {
        exemplars(&below, "demo_latency_seconds_bucket")
            .as_array()
            .unwrap()
            .len()
            == 2
    });
    for querier in [&one, &two] {
        assert_eq!(exemplars(querier, ok), of_pair);
        for (query, expected) in [
            ("demo_requests_total", &["t200", "t500"][..]),
            (
                "demo_requests_total{cluster=\"eu\",code=\"500\"}",
                &["t500"],
            ),
            ("demo_requests_total{cluster=\"us\"}", &[]),
            ("{cluster=\"eu\"}", &["fast", "t200", "t500"]),
            ("{cluster=\"eu\",replica=\"a\"}", &["fast", "t200", "t500"]),
            ("{cluster=~\"e.\",code!=\"200\"}", &["fast", "t500"]),
            ("{cluster=\"us\"}", &[]),
            (
                "demo_requests_total{code=\"200\"} / rate(demo_latency_seconds_bucket{cluster=\"eu\"}[5m])",
                &["fast", "t200"],
            ),
        ] {
            assert_eq!(traces(&exemplars(querier, query)), expected, "{query}");
        }
    }
}
