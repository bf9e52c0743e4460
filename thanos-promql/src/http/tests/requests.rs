//! Parameters, their errors, and what goes around the data.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use axum::body::Body;
use axum::http::Request;
use futures::StreamExt;
use http_body_util::BodyExt;
use thanos_core::labels::Labels;
use thanos_core::query::{LabelQuery, LabelStrings, Missing, Queryable, Select, SeriesStream};
use tower::ServiceExt;

use super::golden::{get, send};
use crate::Engine;
use crate::http::{Api, ApiOptions, FixedSource};
use crate::testkit::MemoryQueryable;

async fn error_of(target: &str) -> (u16, String) {
    let (status, body) = get(target).await;
    let json: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(json["status"], "error", "{target}: {body}");
    let text = format!(
        "{}: {}",
        json["errorType"].as_str().unwrap(),
        json["error"].as_str().unwrap()
    );
    (status, text)
}

#[tokio::test]
async fn wrong_parameters_are_told_in_prometheus_words() {
    let range = "/api/v1/query_range?query=up";
    for (target, status, text) in [
        (
            "/api/v1/query?query=up&time=x".to_owned(),
            400,
            "bad_data: invalid parameter \"time\": invalid time value for 'time': cannot parse \"x\" to a valid timestamp",
        ),
        (
            "/api/v1/query?query=sum(".to_owned(),
            400,
            "bad_data: invalid parameter \"query\": 1:5: parse error: unclosed left parenthesis",
        ),
        (
            "/api/v1/query?query=up&timeout=x".to_owned(),
            400,
            "bad_data: invalid parameter \"timeout\": cannot parse \"x\" to a valid duration",
        ),
        (
            "/api/v1/query?query=up&limit=-1".to_owned(),
            400,
            "bad_data: invalid parameter \"limit\": limit must be non-negative",
        ),
        (
            "/api/v1/query?query=up&limit=x".to_owned(),
            400,
            "bad_data: invalid parameter \"limit\": strconv.Atoi: parsing \"x\": invalid syntax",
        ),
        (
            "/api/v1/query?query=up&lookback_delta=x".to_owned(),
            400,
            "bad_data: error parsing lookback delta duration: cannot parse \"x\" to a valid duration",
        ),
        (
            format!("{range}&start=2&end=1&step=1"),
            400,
            "bad_data: invalid parameter \"end\": end timestamp must not be before start time",
        ),
        (
            format!("{range}&end=1&step=1"),
            400,
            "bad_data: invalid parameter \"start\": cannot parse \"\" to a valid timestamp",
        ),
        (
            format!("{range}&start=1&end=2&step=0"),
            400,
            "bad_data: invalid parameter \"step\": zero or negative query resolution step widths are not accepted. Try a positive integer",
        ),
        (
            format!("{range}&start=0&end=11001&step=1"),
            400,
            "bad_data: exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)",
        ),
        (
            "/api/v1/query_range?query=up[5m]&start=1&end=2&step=1".to_owned(),
            400,
            "bad_data: invalid parameter \"query\": invalid expression type \"range vector\" for range query, must be Scalar or instant Vector",
        ),
        (
            "/api/v1/query?query=up&dedup=x".to_owned(),
            400,
            "bad_data: 'dedup' parameter: strconv.ParseBool: parsing \"x\": invalid syntax",
        ),
        (
            "/api/v1/series".to_owned(),
            400,
            "bad_data: no match[] parameter provided",
        ),
        (
            "/api/v1/series?match[]=%7B%7D".to_owned(),
            400,
            "bad_data: invalid parameter \"match[]\": match[] must contain at least one non-empty matcher",
        ),
    ] {
        assert_eq!(
            error_of(&target).await,
            (status, text.to_owned()),
            "{target}"
        );
    }
}

#[tokio::test]
async fn the_largest_resolution_is_allowed() {
    let (status, body) = get("/api/v1/query_range?query=vector(1)&start=0&end=11000&step=1").await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(body.matches(",\"1\"]").count(), 11_001);
}

#[tokio::test]
async fn a_form_counts_before_the_url() {
    let request = Request::post("/api/v1/query?query=1&time=5")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Body::from("query=2%2B2&x=%26"))
        .unwrap();
    let (status, body) = send(request).await;
    let expected = r#"{"status":"success","data":{"resultType":"scalar","result":[5,"4"]}}"#;
    assert_eq!((status, body.as_str()), (200, expected));
}

#[tokio::test]
async fn a_limit_truncates_with_a_warning() {
    let (_, body) = get("/api/v1/query?query=edge&time=1793496600&limit=2").await;
    assert_eq!(body.matches("\"metric\"").count(), 2);
    let warning = r#""warnings":["results truncated due to limit"]}"#;
    assert!(body.ends_with(warning), "{body}");
    let (_, body) = get("/api/v1/labels?limit=1").await;
    let expected =
        r#"{"status":"success","data":["__name__"],"warnings":["results truncated due to limit"]}"#;
    assert_eq!(body, expected);
    let (_, body) = get("/api/v1/series?match[]=edge&limit=1").await;
    assert_eq!(body.matches("__name__").count(), 1);
    assert!(body.ends_with(warning), "{body}");
}

#[tokio::test]
async fn several_matchers_are_joined() {
    let matchers = "match[]=process_open_fds&match[]=go_goroutines";
    let (_, body) = get(&format!("/api/v1/series?{matchers}")).await;
    assert_eq!(body.matches("process_open_fds").count(), 9);
    assert_eq!(body.matches("go_goroutines").count(), 9);
    let first = body.find("process_open_fds").unwrap();
    assert!(
        body.find("go_goroutines").unwrap() < first,
        "sorted by labels"
    );
    let (_, body) = get(&format!("/api/v1/label/__name__/values?{matchers}")).await;
    assert!(
        body.contains(r#"["go_goroutines","process_open_fds"]"#),
        "{body}"
    );
}

#[tokio::test]
async fn an_instant_query_without_time_is_about_now() {
    let (status, body) = get("/api/v1/query?query=time()").await;
    assert_eq!(status, 200);
    let json: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert!(
        json["data"]["result"][0].as_f64().unwrap() > 1.7e9,
        "{body}"
    );
}

async fn get_from(data: Arc<dyn Queryable>, target: &str) -> (u16, String) {
    let router = Api::new(Engine::default(), Arc::new(FixedSource(data))).router();
    let request = Request::get(target).body(Body::empty()).unwrap();
    let response = router.oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn an_answer_without_all_data_is_a_failure_unless_the_request_allows_it() {
    let mut data = MemoryQueryable::default();
    let labels = Labels::from_pairs([("__name__", "up")]);
    data.push(labels, [(0, 1.0)]);
    data.push_missing(Missing {
        source: "store-a".into(),
        reason: "timed out".into(),
    });
    let data = data.into_queryable();
    for path in ["query?query=up&time=0", "series?match[]=up"] {
        let target = format!("/api/v1/{path}");
        let (status, body) = get_from(Arc::clone(&data), &target).await;
        assert_eq!(status, 422, "{body}");
        assert!(
            body.contains("incomplete data: store-a: timed out"),
            "{body}"
        );
        let target = format!("{target}&partial_response=true");
        let (status, body) = get_from(Arc::clone(&data), &target).await;
        assert_eq!(status, 200, "{body}");
        assert!(
            body.ends_with(r#","warnings":["store-a: timed out"]}"#),
            "{body}"
        );
    }
}

#[tokio::test]
async fn every_source_that_is_missing_is_told_once() {
    let mut data = MemoryQueryable::default();
    data.push(Labels::from_pairs([("__name__", "up")]), [(0, 1.0)]);
    let sources: Vec<String> = (10..25).map(|i| format!("store-{i}")).collect();
    for source in &sources {
        data.push_missing(Missing {
            source: source.clone(),
            reason: "timed out".into(),
        });
    }
    let data = data.into_queryable();
    let mut expected: Vec<String> = sources
        .iter()
        .map(|source| format!("{source}: timed out"))
        .collect();
    let warnings = async |target: &str| -> Vec<String> {
        let target = format!("/api/v1/{target}&partial_response=true");
        let (_, body) = get_from(Arc::clone(&data), &target).await;
        let json: serde_json::Value = serde_json::from_str(&body).unwrap();
        let texts = json["warnings"].as_array().unwrap().iter();
        texts.map(|text| text.as_str().unwrap().into()).collect()
    };
    assert_eq!(warnings("series?match[]=up&match[]=up").await, expected);
    expected
        .push("PromQL warning: quantile value should be between 0 and 1, got 2 (1:10)".to_owned());
    assert_eq!(
        warnings("query?query=quantile(2,up)&time=0").await,
        expected
    );
    let (_, body) = get_from(Arc::clone(&data), "/api/v1/series?match[]=up&match[]=up").await;
    assert_eq!(body.matches("store-10").count(), 1, "{body}");
    let (_, body) = get_from(Arc::clone(&data), "/api/v1/query?query=up%2Bup&time=0").await;
    assert_eq!(body.matches("store-10").count(), 1, "{body}");
}

/// Data that never comes; holds a mark as long as somebody waits for it.
#[derive(Debug)]
struct Endless(Arc<()>);

#[async_trait]
impl Queryable for Endless {
    async fn select(&self, _: Select) -> thanos_core::Result<SeriesStream> {
        let mark = Arc::clone(&self.0);
        Ok(Box::pin(futures::stream::pending().map(move |event| {
            let _mark = &mark;
            event
        })))
    }

    async fn label_names(&self, _: LabelQuery) -> thanos_core::Result<LabelStrings> {
        Ok(LabelStrings::default())
    }

    async fn label_values(&self, _: &str, _: LabelQuery) -> thanos_core::Result<LabelStrings> {
        Ok(LabelStrings::default())
    }
}

async fn wait_until(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..1000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{what} did not happen");
}

#[tokio::test]
async fn a_client_that_goes_away_stops_the_evaluation() {
    let mark = Arc::new(());
    let data: Arc<dyn Queryable> = Arc::new(Endless(Arc::clone(&mark)));
    let request = tokio::spawn(async move { get_from(data, "/api/v1/query?query=sum(up)").await });
    wait_until("the evaluation", || Arc::strong_count(&mark) == 3).await;
    request.abort();
    wait_until("the end of the evaluation", || {
        Arc::strong_count(&mark) == 1
    })
    .await;
}

#[tokio::test]
async fn a_query_stops_at_the_timeout_of_the_request() {
    let mark = Arc::new(());
    let data: Arc<dyn Queryable> = Arc::new(Endless(Arc::clone(&mark)));
    let (status, body) = get_from(data, "/api/v1/query?query=up&timeout=10ms").await;
    assert_eq!(status, 503);
    let expected = r#"{"status":"error","errorType":"timeout","error":"query timed out in expression evaluation"}"#;
    assert_eq!(body, expected);
    wait_until("the end of the evaluation", || {
        Arc::strong_count(&mark) == 1
    })
    .await;
}

/// Data that holds its thread up until it is told not to, or for some seconds.
#[derive(Debug)]
struct Stuck(Arc<AtomicBool>);

#[async_trait]
impl Queryable for Stuck {
    async fn select(&self, _: Select) -> thanos_core::Result<SeriesStream> {
        for _ in 0..5000 {
            if !self.0.load(Ordering::Relaxed) {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(Box::pin(futures::stream::empty()))
    }

    async fn label_names(&self, _: LabelQuery) -> thanos_core::Result<LabelStrings> {
        Ok(LabelStrings::default())
    }

    async fn label_values(&self, _: &str, _: LabelQuery) -> thanos_core::Result<LabelStrings> {
        Ok(LabelStrings::default())
    }
}

#[tokio::test]
async fn an_evaluation_that_still_runs_after_its_timeout_keeps_its_slot() {
    let is_stuck = Arc::new(AtomicBool::new(true));
    let options = ApiOptions {
        queries_max: 1,
        ..ApiOptions::default()
    };
    let source = Arc::new(FixedSource(Arc::new(Stuck(Arc::clone(&is_stuck)))));
    let api = Api::with_options(Engine::default(), source, options);
    let answer = async || {
        let request = Request::get("/api/v1/query?query=up&timeout=50ms");
        let request = request.body(Body::empty()).unwrap();
        let response = api.clone().router().oneshot(request).await.unwrap();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(body.to_vec()).unwrap()
    };
    assert!(
        answer()
            .await
            .contains("timed out in expression evaluation")
    );
    assert_eq!(api.places.light_free(), 0);
    assert!(answer().await.contains("timed out in query queue"));
    is_stuck.store(false, Ordering::Relaxed);
    wait_until("the end of the evaluation", || api.places.light_free() == 1).await;
}
