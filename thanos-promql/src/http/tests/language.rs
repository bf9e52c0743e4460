//! `parse_query` and `format_query`.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt;
use tower::ServiceExt;

use super::golden::{get, target};
use crate::engine::{Engine, EngineOptions};
use crate::http::{Api, FixedSource};
use crate::parser;
use crate::testkit::MemoryQueryable;

/// Trees that a Prometheus 3.16 library gives, one a line: `{"query": TEXT, "answer": TREE}`.
const TREES: &str = include_str!("../../../testdata/parse-query.jsonl");

fn whole_language() -> Router {
    let engine = Engine::new(EngineOptions {
        parser: parser::Options::all(),
        ..EngineOptions::default()
    });
    let data = MemoryQueryable::default().into_queryable();
    Api::new(engine, Arc::new(FixedSource(data))).router()
}

async fn post(path: &str, query: &str) -> (u16, String) {
    let encoded: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let request = Request::post(path)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Body::from(format!("query={encoded}")))
        .unwrap();
    let response = whole_language().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn trees_are_those_of_prometheus() {
    for line in TREES.lines() {
        let (query, answer) = line.split_once(",\"answer\":").unwrap();
        let query = query.strip_prefix("{\"query\":").unwrap();
        let query: String = serde_json::from_str(query).unwrap();
        let answer = answer.strip_suffix('}').unwrap();
        let (status, body) = post("/api/v1/parse_query", &query).await;
        let expected = format!("{{\"status\":\"success\",\"data\":{answer}}}");
        assert_eq!((status, body), (200, expected), "{query}");
    }
}

#[tokio::test]
async fn queries_are_formatted() {
    let (status, body) = post("/api/v1/format_query", "foo/bar>bool(1)").await;
    let expected = r#"{"status":"success","data":"foo / bar \u003e bool (1)"}"#;
    assert_eq!((status, body.as_str()), (200, expected));
}

#[tokio::test]
async fn wrong_queries_are_told() {
    for path in ["/api/v1/format_query", "/api/v1/parse_query"] {
        let (status, body) = get(&target(path, &[("query", "sum(".into())])).await;
        assert_eq!(status, 400);
        let error =
            r#""error":"invalid parameter \"query\": 1:5: parse error: unclosed left parenthesis""#;
        assert!(body.contains(error), "{body}");
    }
}

#[tokio::test]
async fn a_deep_query_does_not_exhaust_the_stack() {
    // What the parser allows: fewer levels of parentheses than of operators.
    let depth = 249;
    for query in [
        format!("{}1{}", "(".repeat(depth), ")".repeat(depth)),
        format!(
            "1{}",
            "+1".repeat(parser::Options::default().depth_max as usize - 1)
        ),
        format!("{}up{}", "abs(".repeat(depth), ")".repeat(depth)),
    ] {
        for path in ["/api/v1/format_query", "/api/v1/parse_query"] {
            let (status, body) = post(path, &query).await;
            assert_eq!(status, 200, "{path} {query:.20}: {body:.300}");
        }
    }
}
