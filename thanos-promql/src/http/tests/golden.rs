//! The recorded answers in `testdata/promql-expected`, see the README there.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt;
use serde_json::Value as Json;
use thanos_core::block::Block;
use thanos_core::query::Queryable;
use tower::ServiceExt;

use crate::Engine;
use crate::http::{Api, FixedSource};

fn expected_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/promql-expected")
}

pub(super) fn block() -> Arc<dyn Queryable> {
    let dir = "../thanos-core/testdata/block-1k-2h/01M81JDC7R8JKP7SEW1VN2HAQ9";
    Arc::new(Block::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join(dir)).unwrap())
}

pub(super) fn router() -> axum::Router {
    Api::new(Engine::default(), Arc::new(FixedSource(block()))).router()
}

/// Encodes a value of a parameter.
fn encode(value: &str) -> String {
    value.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

pub(super) fn target(path: &str, params: &[(&str, String)]) -> String {
    let pairs: Vec<String> = params
        .iter()
        .map(|(name, value)| format!("{}={}", encode(name), encode(value)))
        .collect();
    format!("{path}?{}", pairs.join("&"))
}

pub(super) async fn get(target: &str) -> (u16, String) {
    let request = Request::get(target).body(Body::empty()).unwrap();
    send(request).await
}

pub(super) async fn send(request: Request<Body>) -> (u16, String) {
    let response = router().oneshot(request).await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/json");
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

/// Returns the recorded status and answer.
fn recorded(id: &str) -> (u16, String) {
    let text = std::fs::read_to_string(expected_dir().join(format!("{id}.json"))).unwrap();
    let status = serde_json::from_str::<Json>(&text).unwrap()["http_status"]
        .as_u64()
        .unwrap();
    let (_, answer) = text.split_once(r#""answer":"#).unwrap();
    let answer = answer.trim_end().strip_suffix('}').unwrap();
    (u16::try_from(status).unwrap(), answer.to_owned())
}

/// Returns `json` with the characters that the recorder wrote as `\uXXXX` written plainly.
fn without_escapes(json: &str) -> String {
    let mut out = String::new();
    let mut rest = json;
    while let Some((before, after)) = rest.split_once("\\u") {
        out.push_str(before);
        let code = u32::from_str_radix(&after[..4], 16).unwrap();
        out.push(char::from_u32(code).unwrap());
        rest = &after[4..];
    }
    out + rest
}

/// How an answer may differ from the recorded one.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Order {
    /// Not at all.
    Defined,
    /// In the order of series: Prometheus takes it from the random order of a Go map.
    Random,
}

fn sorted_by_metric(json: &str) -> Json {
    let mut answer: Json = serde_json::from_str(json).unwrap();
    if let Some(series) = answer["data"]["result"].as_array_mut() {
        series.sort_by_key(|one| one["metric"].to_string());
    }
    answer
}

fn assert_same(id: &str, got: &(u16, String), order: Order) {
    let (status, answer) = recorded(id);
    assert_eq!(got.0, status, "{id}: {}", got.1);
    let (got, expected) = (without_escapes(&got.1), without_escapes(&answer));
    match order {
        Order::Defined => assert_eq!(got, expected, "{id}"),
        Order::Random => assert_eq!(sorted_by_metric(&got), sorted_by_metric(&expected), "{id}"),
    }
}

async fn ask(query: &Json) -> (u16, String) {
    let text = ("query", query["q"].as_str().unwrap().to_owned());
    match query.get("range").and_then(Json::as_array) {
        None => {
            get(&target(
                "/api/v1/query",
                &[text, ("time", "1793496600".into())],
            ))
            .await
        }
        Some(range) => {
            let params = [
                text,
                ("start", range[0].to_string()),
                ("end", range[1].to_string()),
                ("step", range[2].to_string()),
            ];
            get(&target("/api/v1/query_range", &params)).await
        }
    }
}

#[tokio::test]
async fn all_recorded_queries_have_the_recorded_answers() {
    let queries = std::fs::read(expected_dir().join("queries.json")).unwrap();
    let queries: Vec<Json> = serde_json::from_slice(&queries).unwrap();
    assert_eq!(queries.len(), 38);
    let mut failed = Vec::new();
    for query in &queries {
        let id = query["id"].as_str().unwrap();
        let order = match id {
            // histogram_quantile and count_values iterate over maps.
            "i05" | "i10" => Order::Random,
            _ => Order::Defined,
        };
        let got = ask(query).await;
        if std::panic::catch_unwind(|| assert_same(id, &got, order)).is_err() {
            failed.push(id);
        }
    }
    assert!(failed.is_empty(), "{failed:?}");
}

#[tokio::test]
async fn all_recorded_label_and_series_calls_have_the_recorded_answers() {
    let edge = r#"edge{case=~"u.*|q.*|l.*"}"#.to_owned();
    let search = r#"http_requests_total{namespace="search"}"#.to_owned();
    for (id, path, matcher) in [
        ("labels", "/api/v1/labels", None),
        ("label_values_name", "/api/v1/label/__name__/values", None),
        ("label_values_case", "/api/v1/label/case/values", None),
        ("series", "/api/v1/series", Some(edge)),
        (
            "label_values_matched",
            "/api/v1/label/handler/values",
            Some(search),
        ),
    ] {
        let mut params = vec![
            ("start", "1793491200".to_owned()),
            ("end", "1793498400".to_owned()),
        ];
        params.extend(matcher.map(|matcher| ("match[]", matcher)));
        let got = get(&target(path, &params)).await;
        assert_same(id, &got, Order::Defined);
    }
}
