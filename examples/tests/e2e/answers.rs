//! The recorded answers of Prometheus 3.5.3 over a block, asked through store, gRPC and querier.

use serde_json::Value;
use thanos_core::testkit::peer::Peer;

use crate::programs::{Store, querier, standalone, testdata};

/// The time of the instant queries.
const INSTANT: &str = "1793496600";
/// How far a value may be from the recorded one, relative to it: versions of Prometheus differ by that among themselves.
const RELATIVE_ERROR_MAX: f64 = 1e-12;

/// Asks the recorded question `id` and returns status and answer.
fn ask(server: &Peer, query: &Value) -> (u16, Value) {
    let text = query["q"].as_str().unwrap();
    let answer = match query["range"].as_array() {
        None => server.query("/api/v1/query", &[("query", text), ("time", INSTANT)]),
        Some(range) => {
            let range: Vec<String> = range.iter().map(ToString::to_string).collect();
            let parameters = [
                ("query", text),
                ("start", &range[0]),
                ("end", &range[1]),
                ("step", &range[2]),
            ];
            server.query("/api/v1/query_range", &parameters)
        }
    };
    (answer.status, serde_json::from_slice(&answer.body).unwrap())
}

fn expected(name: &str) -> (u16, Value) {
    let file = testdata("thanos-promql")
        .join("promql-expected")
        .join(format!("{name}.json"));
    let text = std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let recorded: Value = serde_json::from_slice(&text).unwrap();
    let status = u16::try_from(recorded["http_status"].as_u64().unwrap()).unwrap();
    (status, recorded["answer"].clone())
}

/// Whether the two are equal but for the last bits of sample values.
fn same(ours: &Value, theirs: &Value) -> bool {
    match (ours, theirs) {
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len()
                && a.iter()
                    .all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        (Value::String(a), Value::String(b)) => a == b || same_float(a, b),
        (a, b) => a == b,
    }
}

fn same_float(a: &str, b: &str) -> bool {
    let (Ok(a), Ok(b)) = (a.parse::<f64>(), b.parse::<f64>()) else {
        return false;
    };
    (a - b).abs() <= RELATIVE_ERROR_MAX * a.abs().max(b.abs())
}

/// Sorts the result of an instant vector whose order nothing defines.
fn with_defined_order(query: &str, mut answer: Value) -> Value {
    let has_order = ["sort", "topk", "bottomk"]
        .iter()
        .any(|function| query.starts_with(function));
    let data = &mut answer["data"];
    if data["resultType"] == "vector" && !has_order {
        let result = data["result"].as_array_mut().unwrap();
        result.sort_by_key(|series| series["metric"].to_string());
    }
    answer
}

fn check_all(server: &Peer) {
    let queries =
        std::fs::read(testdata("thanos-promql").join("promql-expected/queries.json")).unwrap();
    let queries: Vec<Value> = serde_json::from_slice(&queries).unwrap();
    assert_eq!(queries.len(), 38);
    let mut differing = Vec::new();
    for query in &queries {
        let (id, text) = (query["id"].as_str().unwrap(), query["q"].as_str().unwrap());
        let (status, answer) = ask(server, query);
        let (expected_status, expected_answer) = expected(id);
        let ours = with_defined_order(text, answer);
        let theirs = with_defined_order(text, expected_answer);
        if status != expected_status || !same(&ours, &theirs) {
            differing.push(format!(
                "{id} {text}\n  ours   {ours:.600}\n  theirs {theirs:.600}"
            ));
        }
    }
    assert!(
        differing.is_empty(),
        "{} of 38 differ:\n{}",
        differing.len(),
        differing.join("\n")
    );
}

fn check_labels_and_series(server: &Peer) {
    let bounds = [("start", "1793491200"), ("end", "1793498400")];
    for (name, path, matcher) in [
        ("labels", "/api/v1/labels", None),
        ("label_values_name", "/api/v1/label/__name__/values", None),
        ("label_values_case", "/api/v1/label/case/values", None),
        (
            "series",
            "/api/v1/series",
            Some("edge{case=~\"u.*|q.*|l.*\"}"),
        ),
        (
            "label_values_matched",
            "/api/v1/label/handler/values",
            Some("http_requests_total{namespace=\"search\"}"),
        ),
    ] {
        let mut parameters = bounds.to_vec();
        parameters.extend(matcher.map(|matcher| ("match[]", matcher)));
        let answer = server.query(path, &parameters);
        let (status, expected) = expected(name);
        assert_eq!(answer.status, status, "{name}");
        let ours: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(ours, expected, "{name}");
    }
}

/// ST-01.
#[test]
fn store_and_querier_answer_as_prometheus_does() {
    let store = Store::start(&testdata("thanos-core").join("block-1k-2h"));
    let querier = querier(&[&store.grpc_address], &[]);
    check_all(&querier);
    check_labels_and_series(&querier);
}

#[test]
fn standalone_answers_as_prometheus_does() {
    let server = standalone(&testdata("thanos-core").join("block-1k-2h"));
    check_all(&server);
    check_labels_and_series(&server);
}
