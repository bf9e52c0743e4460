//! What the hooks tell.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt;
use serde_json::{Value as Json, json};
use thanos_core::labels::Labels;
use thanos_core::time::Timestamp;
use tower::ServiceExt;

use super::golden::get;
use crate::engine::Engine;
use crate::error::Result;
use crate::http::{
    Api, BuildInfo, Exemplar, ExemplarRequest, FixedSource, Hooks, Metadata, MetadataRequest,
    MetricMetadata, RuntimeInfo, SeriesExemplars, Told,
};
use crate::testkit::MemoryQueryable;

#[derive(Debug)]
struct Talkative;

fn counter(help: &str) -> MetricMetadata {
    MetricMetadata {
        metric_type: "counter".into(),
        unit: String::new(),
        help: help.into(),
    }
}

#[async_trait]
impl Hooks for Talkative {
    async fn metadata(&self, _: &MetadataRequest) -> Result<Told<Metadata>> {
        Ok(Told {
            value: BTreeMap::from([
                ("a".into(), vec![counter("first"), counter("a < b")]),
                ("b".into(), vec![counter("")]),
            ]),
            warnings: vec!["store-1: timed out".into()],
        })
    }

    async fn exemplars(&self, request: &ExemplarRequest) -> Result<Told<Vec<SeriesExemplars>>> {
        assert_eq!(request.selectors.len(), 2);
        Ok(Told::new(vec![SeriesExemplars {
            labels: Labels::from_pairs([("__name__", "up")]),
            exemplars: vec![Exemplar {
                labels: Labels::from_pairs([("trace_id", "x")]),
                value: 6.5,
                time: Timestamp::from_millis(1_600_096_945_479),
            }],
        }]))
    }

    fn build_info(&self) -> BuildInfo {
        BuildInfo {
            version: "9.9.9".into(),
            ..BuildInfo::default()
        }
    }

    fn runtime_info(&self) -> RuntimeInfo {
        RuntimeInfo {
            start_time: Some(Timestamp::from_millis(0)),
            threads_max: 3,
            ..RuntimeInfo::default()
        }
    }

    fn flags(&self) -> BTreeMap<String, String> {
        BTreeMap::from([("query.timeout".into(), "2m".into())])
    }

    fn config_yaml(&self) -> String {
        "global: {}\n".into()
    }
}

async fn ask(path: &str) -> (u16, String) {
    let data = MemoryQueryable::default().into_queryable();
    let api = Api::new(Engine::default(), Arc::new(FixedSource(data)));
    let router = api.with_hooks(Arc::new(Talkative)).router();
    let request = Request::get(format!("/api/v1/{path}"));
    let response = router.oneshot(request.body(Body::empty()).unwrap()).await;
    let response = response.unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

async fn data(path: &str) -> Json {
    let (status, body) = ask(path).await;
    assert_eq!(status, 200, "{path}: {body}");
    serde_json::from_str::<Json>(&body).unwrap()["data"].clone()
}

/// Q-07.
#[tokio::test]
async fn metadata_is_cut_to_the_limits() {
    let (_, body) = ask("metadata").await;
    let expected = concat!(
        r#"{"status":"success","data":{"a":[{"help":"first","type":"counter","unit":""},"#,
        r#"{"help":"a \u003c b","type":"counter","unit":""}],"#,
        r#""b":[{"help":"","type":"counter","unit":""}]},"warnings":["store-1: timed out"]}"#
    );
    assert_eq!(body, expected);
    for (query, counts) in [
        ("limit=1", json!({"a": 2})),
        ("limit=0", json!({})),
        ("limit=-1", json!({"a": 2, "b": 1})),
        ("limit_per_metric=1", json!({"a": 1, "b": 1})),
        ("limit_per_metric=0", json!({"a": 2, "b": 1})),
        ("metric=b", json!({"b": 1})),
    ] {
        let found = data(&format!("metadata?{query}")).await;
        let found = found.as_object().unwrap();
        let found: serde_json::Map<String, Json> = found
            .iter()
            .map(|(name, entries)| (name.clone(), entries.as_array().unwrap().len().into()))
            .collect();
        assert_eq!(Json::from(found), counts, "{query}");
    }
    for name in ["limit", "limit_per_metric"] {
        let (status, body) = ask(&format!("metadata?{name}=x")).await;
        assert_eq!(status, 400);
        assert!(
            body.contains(&format!("\"{name} must be a number\"")),
            "{body}"
        );
    }
}

/// Q-07.
#[tokio::test]
async fn exemplars_are_those_of_the_selectors() {
    let (status, body) = ask("query_exemplars?query=up/rate(x[5m])").await;
    let expected = concat!(
        r#"{"status":"success","data":[{"seriesLabels":{"__name__":"up"},"exemplars":["#,
        r#"{"labels":{"trace_id":"x"},"value":"6.5","timestamp":1600096945.479}]}]}"#
    );
    assert_eq!((status, body.as_str()), (200, expected));
    assert_eq!(ask("query_exemplars?query=1").await, (204, String::new()));
    for (query, text) in [
        ("query=sum(", "1:5: parse error: unclosed left parenthesis"),
        (
            "query=up&start=2&end=1",
            "end timestamp must not be before start timestamp",
        ),
    ] {
        let (status, body) = ask(&format!("query_exemplars?{query}")).await;
        assert_eq!(status, 400);
        assert!(body.contains(&format!("\"error\":\"{text}\"")), "{body}");
    }
}

/// Q-07.
#[tokio::test]
async fn the_program_tells_about_itself() {
    assert_eq!(data("status/buildinfo").await["version"], "9.9.9");
    let runtime = data("status/runtimeinfo").await;
    assert_eq!(runtime["startTime"], "1970-01-01T00:00:00Z");
    assert_eq!(runtime["GOMAXPROCS"], 3);
    assert_eq!(data("status/flags").await, json!({"query.timeout": "2m"}));
    assert_eq!(data("status/config").await, json!({"yaml": "global: {}\n"}));
}

#[tokio::test]
async fn without_hooks_answers_are_empty() {
    for (path, body) in [
        ("metadata", r#"{"status":"success","data":{}}"#),
        (
            "query_exemplars?query=up",
            r#"{"status":"success","data":[]}"#,
        ),
        ("status/flags", r#"{"status":"success","data":{}}"#),
    ] {
        let answer = get(&format!("/api/v1/{path}")).await;
        assert_eq!(answer, (200, body.to_owned()), "{path}");
    }
    let (_, body) = get("/api/v1/status/buildinfo").await;
    let version = format!("\"version\":\"{}\"", env!("CARGO_PKG_VERSION"));
    assert!(body.contains(&version), "{body}");
}
