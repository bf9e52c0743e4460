//! The calls that Grafana's Prometheus data source makes, through a real server as Grafana's client sends them:
//! forms by POST, times as decimal seconds, gzip accepted.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};
use thanos_core::testkit::peer::Peer;

use crate::programs::{standalone, testdata};

/// The time range of a panel over the test data.
const FROM: &str = "1793491200";
const TO: &str = "1793498400.5";

struct Answer {
    status: u16,
    headers: String,
    body: Vec<u8>,
}

fn escape(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

fn form(params: &[(&str, &str)]) -> String {
    let pairs: Vec<String> = params
        .iter()
        .map(|(name, value)| format!("{}={}", escape(name), escape(value)))
        .collect();
    pairs.join("&")
}

/// HTTP/1.0, so that the body ends with the connection.
fn send(server: &Peer, head: &str, body: &str) -> Answer {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    write!(
        stream,
        "{head} HTTP/1.0\r\nHost: {}\r\nUser-Agent: Grafana/12\r\nAccept-Encoding: gzip\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
        server.address(),
        body.len()
    )
    .unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
    let end = end.unwrap() + 4;
    let headers = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
    let status = headers.split(' ').nth(1).unwrap().parse().unwrap();
    let mut body = bytes[end..].to_vec();
    if headers.contains("content-encoding: gzip") {
        let mut unpacked = Vec::new();
        let mut reader = flate2::read::GzDecoder::new(&body[..]);
        reader.read_to_end(&mut unpacked).unwrap();
        body = unpacked;
    }
    Answer {
        status,
        headers,
        body,
    }
}

fn data_of(what: &str, answer: &Answer) -> Value {
    let text = String::from_utf8_lossy(&answer.body);
    assert_eq!(answer.status, 200, "{what}: {text}");
    let json: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(json["status"], "success", "{what}: {text}");
    json["data"].clone()
}

fn post(server: &Peer, path: &str, params: &[(&str, &str)]) -> Value {
    let answer = send(server, &format!("POST {path}"), &form(params));
    data_of(path, &answer)
}

fn get(server: &Peer, path: &str, params: &[(&str, &str)]) -> Value {
    let target = match params {
        [] => path.to_owned(),
        params => format!("{path}?{}", form(params)),
    };
    data_of(path, &send(server, &format!("GET {target}"), ""))
}

fn names(values: &Value) -> Vec<&str> {
    let values = values.as_array().unwrap().iter();
    values.map(|value| value.as_str().unwrap()).collect()
}

/// Save & test.
fn check_health(server: &Peer) {
    let data = post(server, "/api/v1/query", &[("query", "1+1"), ("time", TO)]);
    let expected = json!({"resultType": "scalar", "result": [1_793_498_400.5, "2"]});
    assert_eq!(data, expected);
    let build = get(server, "/api/v1/status/buildinfo", &[]);
    assert_eq!(build["version"], env!("CARGO_PKG_VERSION"));
    for page in ["flags", "runtimeinfo"] {
        let page = get(server, &format!("/api/v1/status/{page}"), &[]);
        assert!(page.as_object().is_some_and(|page| !page.is_empty()));
    }
}

/// A panel, its exemplars, and a table.
fn check_panel(server: &Peer) {
    let query = ("query", "sum by (job) (rate(http_requests_total[5m]))");
    let range = [query, ("start", FROM), ("end", TO), ("step", "15")];
    let answer = send(server, "POST /api/v1/query_range", &form(&range));
    assert!(
        answer.headers.contains("content-encoding: gzip"),
        "{}",
        answer.headers
    );
    let data = data_of("query_range", &answer);
    assert_eq!(data["resultType"], "matrix");
    let points = data["result"][0]["values"].as_array().unwrap();
    assert!(points.len() > 400, "{}", points.len());
    let exemplars = post(server, "/api/v1/query_exemplars", &range);
    assert_eq!(exemplars, json!([]));
    let table = post(server, "/api/v1/query", &[query, ("time", "1793496600")]);
    assert_eq!(table["resultType"], "vector");
    let wrong = [("query", "sum(("), ("time", TO)];
    let answer = send(server, "POST /api/v1/query", &form(&wrong));
    let json: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(
        (answer.status, &json["errorType"]),
        (400, &json!("bad_data"))
    );
}

/// The query builder, the label browser and variables.
fn check_browser(server: &Peer) {
    let times = [("start", FROM), ("end", TO)];
    let metric = ("match[]", "{__name__=\"http_requests_total\"}");
    let matched = [&times[..], &[metric]].concat();
    let all = get(server, "/api/v1/labels", &times);
    let of_metric = post(server, "/api/v1/labels", &matched);
    assert!(names(&all).len() > names(&of_metric).len());
    assert!(names(&of_metric).contains(&"handler"));
    let limited = [&matched[..], &[("limit", "40000")]].concat();
    for name in ["__name__", "U__handler", "handler"] {
        let path = format!("/api/v1/label/{name}/values");
        let values = get(server, &path, &limited);
        assert!(!names(&values).is_empty(), "{name}");
    }
    let series = post(server, "/api/v1/series", &limited);
    let first = &series[0];
    assert_eq!(first["__name__"], "http_requests_total");
    let metadata = get(server, "/api/v1/metadata", &[("limit", "40000")]);
    assert_eq!(metadata, json!({}));
    let query = [("query", "sum by(job)(up)/2")];
    let pretty = post(server, "/api/v1/format_query", &query);
    assert_eq!(pretty, "sum by (job) (up) / 2");
    let tree = post(server, "/api/v1/parse_query", &query);
    assert_eq!(tree["type"], "binaryExpr");
}

///
#[test]
fn grafana_works_unchanged() {
    let server = standalone(&testdata("thanos-core").join("block-1k-2h"));
    check_health(&server);
    check_panel(&server);
    check_browser(&server);
}
