//! What components answer, as the JSON of Prometheus and Thanos.

use std::sync::Arc;

use async_trait::async_trait;
use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt;
use serde_json::{Value as Json, json};
use thanos_core::time::UtcTime;
use thanos_storeapi::apis::rules::{RuleGroup, RulesApi, RulesRequest};
use thanos_storeapi::apis::{Answer, Apis};
use thanos_storeapi::store::PartialResponse;
use thanos_storeapi::testkit::FixedApis;
use tower::ServiceExt;

use crate::engine::Engine;
use crate::http::{Api, Components, FixedSource};
use crate::testkit::MemoryQueryable;

/// The status, the header `cache-control` and the text of an answer.
async fn ask(components: Components, path: &str) -> (u16, Option<String>, String) {
    let data = MemoryQueryable::default().into_queryable();
    let api = Api::new(Engine::default(), Arc::new(FixedSource(data)));
    let router = api.with_components(components).router();
    let request = Request::get(format!("/api/v1/{path}")).body(Body::empty());
    let response = router.oneshot(request.unwrap()).await.unwrap();
    let status = response.status().as_u16();
    let caching = response.headers().get("cache-control");
    let caching = caching.map(|value| value.to_str().unwrap().to_owned());
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, caching, String::from_utf8(body.to_vec()).unwrap())
}

fn of(apis: Apis) -> Components {
    Components {
        apis,
        ..Components::default()
    }
}

async fn data(apis: &FixedApis, path: &str) -> Json {
    let (status, _, text) = ask(of(apis.clone().apis()), path).await;
    assert_eq!(status, 200, "{path}: {text}");
    let mut json: Json = serde_json::from_str(&text).unwrap();
    assert_eq!(json["status"], "success", "{text}");
    json["data"].take()
}

const TIME: &str = "2026-11-01T00:00:00.123456789Z";

fn alert() -> Json {
    json!({
        "labels": {"alertname": "Down", "replica": "a", "severity": "page"},
        "annotations": {"summary": "it is down"},
        "state": "firing",
        "activeAt": TIME,
        "value": "0",
        "partialResponseStrategy": "WARN",
    })
}

/// Q-07: the members of groups, rules and alerts, each in the type that Prometheus' documentation gives it.
#[tokio::test]
async fn rules_have_the_shape_of_thanos() {
    let recording = json!({
        "type": "recording",
        "name": "job:up:sum",
        "query": "sum by (job) (up)",
        "labels": {"replica": "a", "team": "core"},
        "health": "ok",
        "evaluationTime": 0.002,
        "lastEvaluation": TIME,
    });
    let alerting = json!({
        "type": "alerting",
        "state": "firing",
        "name": "Down",
        "query": "up == 0",
        "duration": 60,
        "keepFiringFor": 5,
        "labels": {"replica": "a", "severity": "page"},
        "annotations": {"summary": "it is down"},
        "alerts": [alert()],
        "health": "err",
        "lastError": "too many series",
        "evaluationTime": 0.5,
        "lastEvaluation": TIME,
    });
    let group = json!({
        "name": "availability",
        "file": "/rules/up.yaml",
        "rules": [recording, alerting],
        "interval": 30,
        "evaluationTime": 0.6,
        "lastEvaluation": TIME,
        "limit": 10,
        "partialResponseStrategy": "ABORT",
    });
    let sample = FixedApis::sample("a");
    assert_eq!(data(&sample, "rules").await, json!({"groups": [group]}));
    assert_eq!(data(&sample, "alerts").await, json!({"alerts": [alert()]}));
}

/// Q-07: nothing is an empty list, never `null`; what never happened is Go's zero time.
#[tokio::test]
async fn empty_answers_have_their_members() {
    let nothing = FixedApis::default();
    for (path, expected) in [
        ("rules", r#"{"groups":[]}"#),
        ("alerts", r#"{"alerts":[]}"#),
        ("targets", r#"{"activeTargets":[],"droppedTargets":[]}"#),
        ("metadata", "{}"),
        ("query_exemplars?query=up", "[]"),
        (
            "status/tsdb",
            concat!(
                r#"{"headStats":{"chunkCount":0,"maxTime":0,"minTime":0,"numLabelPairs":0,"numSeries":0},"#,
                r#""labelValueCountByLabelName":[],"memoryInBytesByLabelName":[],"#,
                r#""seriesCountByLabelValuePair":[],"seriesCountByMetricName":[]}"#
            ),
        ),
    ] {
        let (status, caching, text) = ask(of(nothing.clone().apis()), path).await;
        let wanted = format!(r#"{{"status":"success","data":{expected}}}"#);
        assert_eq!((status, caching, text), (200, None, wanted), "{path}");
    }

    let mut never = FixedApis::sample("a");
    never.rules[0].rules.clear();
    never.rules[0].last_evaluation = UtcTime::GO_ZERO;
    let groups = data(&never, "rules").await;
    assert_eq!(groups["groups"][0]["rules"], json!([]));
    assert_eq!(
        groups["groups"][0]["lastEvaluation"],
        "0001-01-01T00:00:00Z"
    );
}

/// Q-07.
#[tokio::test]
async fn targets_metadata_exemplars_and_statistics_have_the_shape_of_thanos() {
    let target = json!({
        "discoveredLabels": {"__address__": "10.0.0.1:9100", "replica": "a"},
        "labels": {"instance": "10.0.0.1:9100", "job": "node", "replica": "a"},
        "scrapePool": "node",
        "scrapeUrl": "http://10.0.0.1:9100/metrics",
        "globalUrl": "http://node-1:9100/metrics",
        "lastError": "",
        "lastScrape": TIME,
        "lastScrapeDuration": 0.01,
        "health": "up",
    });
    let dropped = json!({"discoveredLabels": {"__address__": "10.0.0.2:80", "replica": "a"}});
    let statistic = |name: &str, value: u64| json!([{"name": name, "value": value}]);
    for (path, expected) in [
        (
            "targets",
            json!({"activeTargets": [target], "droppedTargets": [dropped]}),
        ),
        (
            "metadata",
            json!({"up": [{"type": "gauge", "help": "Whether the last scrape went well.", "unit": ""}]}),
        ),
        (
            "query_exemplars?query=up",
            json!([{
                "seriesLabels": {"__name__": "requests_bucket", "replica": "a"},
                "exemplars": [
                    {"labels": {"trace_id": "4bf92f35"}, "value": "0.25", "timestamp": 1_793_491_200.123},
                ],
            }]),
        ),
        (
            "status/tsdb",
            json!({
                "headStats": {
                    "numSeries": 12,
                    "numLabelPairs": 34,
                    "chunkCount": 56,
                    "minTime": 1_793_491_200_000_i64,
                    "maxTime": 1_793_498_400_000_i64,
                },
                "seriesCountByMetricName": statistic("up", 7),
                "labelValueCountByLabelName": statistic("instance", 5),
                "memoryInBytesByLabelName": statistic("instance", 99),
                "seriesCountByLabelValuePair": statistic("job=node", 6),
            }),
        ),
    ] {
        let found = data(&FixedApis::sample("a"), path).await;
        assert_eq!(found, expected, "{path}");
    }
}

/// X-06: characters that mean something in HTML are written as Go writes them.
#[tokio::test]
async fn texts_are_escaped_as_by_go() {
    let mut apis = FixedApis::sample("a");
    apis.rules[0].name = "<b>&\"\u{e9}\n".into();
    let entries = apis.metadata.remove("up").unwrap();
    apis.metadata.insert("<up>".into(), entries);
    let (_, _, rules) = ask(of(apis.clone().apis()), "rules").await;
    assert!(rules.contains("\"name\":\"\\u003cb\\u003e\\u0026\\\"\u{e9}\\n\""));
    let (_, _, metadata) = ask(of(apis.apis()), "metadata").await;
    assert!(metadata.contains("{\"\\u003cup\\u003e\":["), "{metadata}");
}

/// Q-07, Q-43: parameters that mean nothing, in Thanos' words.
#[tokio::test]
async fn wrong_parameters_are_bad_data() {
    for (path, error) in [
        ("rules?type=x", "invalid rules parameter type='x'"),
        ("rules?match[]=%7B", "parse error"),
        ("targets?state=x", "invalid targets parameter state='x'"),
        ("status/tsdb?limit=x", "limit"),
        ("status/tsdb?match[]=sum(", "parse error"),
        ("metadata?limit=x", "limit must be a number"),
        ("query_exemplars?query=sum(", "parse error"),
    ] {
        let (status, caching, text) = ask(of(FixedApis::default().apis()), path).await;
        let json: Json = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (status, &json["errorType"]),
            (400, &json!("bad_data")),
            "{path}"
        );
        assert!(
            json["error"].as_str().unwrap().contains(error),
            "{path}: {text}"
        );
        assert_eq!(caching.as_deref(), Some("no-store"));
    }
}

/// Q-15, Q-16: what components warn of is said and not kept by caches; what they fail with is no fault of the request.
#[tokio::test]
async fn warnings_and_failures_are_passed_on() {
    let paths = [
        ("rules", "error retrieving rules: "),
        ("alerts", "error retrieving rules: "),
        ("targets", "retrieving targets: "),
        ("metadata", "retrieving metadata: "),
        ("query_exemplars?query=up", "retrieving exemplars: "),
        ("status/tsdb", "retrieving tsdb statistics: "),
    ];
    for (path, context) in paths {
        let warning = FixedApis {
            warnings: vec!["store-1: gone".into()],
            ..FixedApis::sample("a")
        };
        let (status, caching, text) = ask(of(warning.apis()), path).await;
        let json: Json = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (status, &json["warnings"]),
            (200, &json!(["store-1: gone"])),
            "{path}"
        );
        assert_eq!(caching.as_deref(), Some("no-store"), "{path}");

        let failing = FixedApis {
            failure: Some("gone".into()),
            ..FixedApis::default()
        };
        let (status, _, text) = ask(of(failing.apis()), path).await;
        let json: Json = serde_json::from_str(&text).unwrap();
        let found = (status, &json["errorType"], &json["error"]);
        let error = json!(format!("{context}gone"));
        assert_eq!(found, (500, &json!("internal"), &error), "{path}");
    }
}

/// Notes what it is asked for.
#[derive(Debug, Default)]
struct Noting(std::sync::Mutex<Vec<PartialResponse>>);

#[async_trait]
impl RulesApi for Noting {
    async fn rules(&self, request: RulesRequest) -> thanos_core::Result<Answer<Vec<RuleGroup>>> {
        self.0.lock().unwrap().push(request.partial_response);
        Ok(Answer::complete(Vec::new()))
    }
}

/// Q-15: each kind of answer has its own policy, whatever a request says.
#[tokio::test]
async fn policies_are_those_of_the_flags() {
    for policy in [PartialResponse::Warn, PartialResponse::Abort] {
        let noting = Arc::new(Noting::default());
        for path in [
            "rules?partial_response=true",
            "alerts?partial_response=false",
        ] {
            let components = Components {
                apis: Apis {
                    rules: Some(Arc::clone(&noting) as _),
                    ..Apis::default()
                },
                rules: policy,
                ..Components::default()
            };
            assert_eq!(ask(components, path).await.0, 200);
        }
        assert_eq!(*noting.0.lock().unwrap(), [policy, policy]);
    }
}
