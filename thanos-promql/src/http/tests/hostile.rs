//! Requests that want too much: an error that names the limit, soon, and little memory.

use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt;
use thanos_core::budget::MemoryBudget;
use thanos_core::labels::Labels;
use thanos_core::query::Queryable;
use tower::ServiceExt;

use super::golden::block;
use crate::engine::{Engine, EngineOptions};
use crate::http::{Api, ApiOptions, FixedSource};
use crate::parser;
use crate::testkit::MemoryQueryable;

/// What one query may hold here.
const QUERY_BYTES_MAX: u64 = 4 << 20;
/// Far more than any of this takes without optimisation on a busy machine, far less than doing what is asked.
const SOON: Duration = Duration::from_secs(10);

struct Target {
    router: Router,
    budget: MemoryBudget,
    /// What is set aside for queries.
    idle_bytes: u64,
}

impl Target {
    fn new(data: Arc<dyn Queryable>) -> Self {
        let budget = MemoryBudget::new("all queries", 64 << 20);
        let engine = Engine::new(EngineOptions {
            query_bytes_max: QUERY_BYTES_MAX,
            budget: budget.clone(),
            parser: parser::Options::all(),
            ..EngineOptions::default()
        });
        let options = ApiOptions {
            // The engine has to cope with more steps than the API lets pass.
            steps_max: u64::MAX,
            ..ApiOptions::default()
        };
        let router = Api::with_options(engine, Arc::new(FixedSource(data)), options).router();
        let idle_bytes = budget.used_bytes();
        Self {
            router,
            budget,
            idle_bytes,
        }
    }

    /// Sends the form `params` and returns the error, or nothing when there is an answer.
    async fn error(&self, path: &str, params: &[(&str, &str)]) -> Option<String> {
        let mut form = String::new();
        for (name, value) in params {
            write!(form, "&{name}=").unwrap();
            for byte in value.bytes() {
                write!(form, "%{byte:02X}").unwrap();
            }
        }
        let request = Request::post(format!("/api/v1/{path}"))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Body::from(form))
            .unwrap();
        let started = Instant::now();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let took = started.elapsed();
        let shown: String = params.iter().map(|(_, value)| *value).collect();
        let shown: String = shown.chars().take(60).collect();
        assert!(took < SOON, "{path} {shown}: {took:?}");
        let held = self.budget.peak_bytes() - self.idle_bytes;
        assert!(held <= QUERY_BYTES_MAX + (1 << 20), "{shown}: {held} bytes");
        let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
        json["error"].as_str().map(ToOwned::to_owned)
    }

    async fn assert_refused(&self, path: &str, params: &[(&str, &str)], limit: &str) {
        let error = self.error(path, params).await.unwrap_or_default();
        let shown: String = params[0].1.chars().take(60).collect();
        assert!(error.contains(limit), "{shown}: {error:.300}");
    }
}

#[tokio::test]
async fn long_and_deep_queries_are_refused() {
    let target = Target::new(block());
    let long_sum = format!("1{}", "+1".repeat(500_000));
    let parens = format!("{}1{}", "(".repeat(100_000), ")".repeat(100_000));
    let signs = format!("{}1", "-".repeat(100_000));
    let calls = format!("{}x{}", "abs(".repeat(100_000), ")".repeat(100_000));
    let subqueries = format!("x{}", "[1m:]".repeat(100_000));
    for query in [&long_sum, &parens, &calls, &subqueries] {
        for path in ["query", "format_query", "parse_query", "query_exemplars"] {
            let error = target.error(path, &[("query", query)]).await;
            assert!(error.is_some(), "{path} {query:.20}");
        }
    }
    for (query, limit) in [
        (&long_sum, "more than 1000 levels"),
        (&parens, "more than 250 levels"),
        (&calls, "more than 250 levels"),
    ] {
        target
            .assert_refused("query", &[("query", query)], limit)
            .await;
    }
    // Signs in a row may be folded into one; then there is an answer.
    target.error("query", &[("query", &signs)]).await;
    let huge = format!("{}1", " ".repeat(17 << 20));
    target
        .assert_refused("query", &[("query", &huge)], "")
        .await;
}

#[tokio::test]
async fn everything_at_once_is_refused_by_the_memory_limit() {
    let target = Target::new(block());
    let time = ("time", "1793496600");
    for query in [
        "{__name__=~\".+\"}[2h]",
        "{__name__=~\".+\"}[2h:1s]",
        "label_replace({__name__=~\".+\"}, \"x\", \"${1}${1}${1}\", \"__name__\", \"(.+)\")[2h:5s]",
    ] {
        target
            .assert_refused("query", &[("query", query), time], "query memory")
            .await;
    }
    let range = [
        ("start", "1793491200"),
        ("end", "1793498400"),
        ("step", "1"),
    ];
    for query in [
        "{__name__=~\".+\"}",
        "{__name__=~\".+\"} or {__name__=~\".*e.*\"}",
        "sort({__name__=~\".+\"}) + on(__name__, instance, job, handler, code) {__name__=~\".+\"}",
    ] {
        let params = [&[("query", query)][..], &range].concat();
        let error = target.error("query_range", &params).await;
        assert!(error.is_some(), "{query}");
    }
}

#[tokio::test]
async fn cross_products_are_refused() {
    let mut data = MemoryQueryable::default();
    for i in 0..2000 {
        let labels = Labels::from_pairs([("__name__", format!("m{i}")), ("i", format!("{i}"))]);
        data.push(labels, [(0, 1.0)]);
    }
    let target = Target::new(data.into_queryable());
    let all = "{__name__=~\".+\"}";
    for query in [
        format!("{all} * {all}"),
        format!("{all} * on() {all}"),
        format!("{all} * on() group_left() {all}"),
        format!("{all} * on() group_right(i) {all}"),
    ] {
        let params = [("query", query.as_str()), ("time", "0")];
        let error = target.error("query", &params).await;
        let is_self_match = query == format!("{all} * {all}");
        assert_eq!(error.is_some(), !is_self_match, "{query}: {error:?}");
    }
}

#[tokio::test]
async fn too_many_steps_are_refused() {
    let target = Target::new(block());
    let steps = [("start", "0"), ("end", "1000000000"), ("step", "1")];
    for query in [
        "1",
        "time()",
        "vector(1)",
        "process_open_fds",
        "sum(process_open_fds)",
    ] {
        let params = [&[("query", query)][..], &steps].concat();
        let error = target.error("query_range", &params).await;
        assert!(error.is_some(), "{query}");
    }
    for query in [
        "max_over_time(vector(1)[1000000000s:1s])",
        "count_over_time(process_open_fds[200y:1ms])",
        "sum_over_time(vector(time())[100y:1s])",
        "max_over_time(max_over_time(max_over_time(vector(1)[100y:1s])[100y:1s])[100y:1s])",
    ] {
        target
            .assert_refused("query", &[("query", query)], "evaluation steps limit")
            .await;
    }
    let query = "max_over_time(vector(1)[10000000s:1s])";
    target
        .assert_refused("query", &[("query", query)], "query memory")
        .await;
}

#[tokio::test]
async fn the_api_itself_limits_steps() {
    let router = Api::new(Engine::default(), Arc::new(FixedSource(block()))).router();
    let uri = "/api/v1/query_range?query=1&start=0&end=1000000000&step=1";
    let request = Request::get(uri).body(Body::empty()).unwrap();
    let response = router.oneshot(request).await.unwrap();
    assert_eq!(response.status().as_u16(), 400);
}

#[tokio::test]
async fn calls_for_labels_are_limited_too() {
    let mut data = MemoryQueryable::default();
    for i in 0..40_000 {
        let value = format!("{i:0>100}");
        data.push(Labels::from_pairs([("a", value.as_str())]), [(0, 1.0)]);
    }
    let target = Target::new(data.into_queryable());
    let everything = ("match[]", "{a=~\".+\"}");
    target
        .assert_refused("series", &[everything], "query memory")
        .await;
    assert_eq!(
        target.error("series", &[everything, ("limit", "10")]).await,
        None
    );
    let regex = ("match[]", "{a=~\"(((x{1000}){1000}){1000})\"}");
    let error = target.error("series", &[regex]).await;
    assert!(error.unwrap_or_default().contains("invalid repeat count"));
}
