//! What goes around the answers: status codes, headers, compression.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, Response};
use http_body_util::BodyExt;
use thanos_core::re2::GoRegex;
use thanos_core::time::Timestamp;
use tower::ServiceExt;

use super::golden::{block, send};
use crate::engine::Engine;
use crate::error::{Error, ErrorKind};
use crate::http::answer::Failure;
use crate::http::{Api, ApiOptions, Cors, Dialect, FixedSource};

fn api(options: ApiOptions) -> Api {
    Api::with_options(Engine::default(), Arc::new(FixedSource(block())), options)
}

async fn ask(options: ApiOptions, request: Request<Body>) -> Response<Body> {
    api(options).router().oneshot(request).await.unwrap()
}

fn request(method: Method, target: &str, headers: &[(&str, &str)]) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(target);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Body::empty()).unwrap()
}

async fn body_of(response: Response<Body>) -> Vec<u8> {
    let body = response.into_body().collect().await.unwrap();
    body.to_bytes().to_vec()
}

/// Q-43, X-06.
#[test]
fn errors_have_the_type_and_status_of_prometheus() {
    use axum::response::IntoResponse;
    for (kind, status) in [
        (ErrorKind::Invalid, 400),
        (ErrorKind::Execution, 422),
        (ErrorKind::LimitExceeded, 422),
        (ErrorKind::Storage, 422),
        (ErrorKind::Cancelled, 499),
        (ErrorKind::Timeout, 503),
        (ErrorKind::NotFound, 404),
        (ErrorKind::NotReady, 500),
        (ErrorKind::Internal, 500),
    ] {
        let response = Failure::from(Error::new(kind, "x")).into_response();
        assert_eq!(response.status().as_u16(), status, "{kind:?}");
        assert_eq!(response.headers()["cache-control"], "no-store");
        let in_thanos = match status {
            499 => 503,
            other => other,
        };
        let dialect = Dialect::Thanos {
            default_step: std::time::Duration::from_secs(1),
        };
        let response = crate::http::in_dialect(dialect, response);
        assert_eq!(response.status().as_u16(), in_thanos, "{kind:?}");
    }
}

fn cors_headers(headers: &HeaderMap) -> (Option<&str>, bool) {
    let allowed = headers.get("access-control-allow-origin");
    let allowed = allowed.map(|value| value.to_str().unwrap());
    (
        allowed,
        headers.contains_key("access-control-allow-methods"),
    )
}

#[tokio::test]
async fn pages_of_other_origins_may_read_what_the_options_allow() {
    let example = || GoRegex::new("https?://(a|b)\\.example").unwrap();
    let target = "/api/v1/query?query=1";
    for (cors, origin, expected) in [
        (Cors::Any, Some("https://a.example"), (Some("*"), true)),
        (Cors::Any, None, (None, false)),
        (Cors::Off, Some("https://a.example"), (None, false)),
        (
            Cors::Matching(example()),
            Some("https://a.example"),
            (Some("https://a.example"), true),
        ),
        (
            Cors::Matching(example()),
            Some("https://a.example.org"),
            (None, true),
        ),
    ] {
        let options = || ApiOptions {
            cors: cors.clone(),
            ..ApiOptions::default()
        };
        let headers: Vec<_> = origin.iter().map(|origin| ("origin", *origin)).collect();
        for method in [Method::GET, Method::OPTIONS] {
            let is_options = method == Method::OPTIONS;
            let response = ask(options(), request(method, target, &headers)).await;
            let status = response.status().as_u16();
            assert_eq!(status, if is_options { 204 } else { 200 });
            let found = cors_headers(response.headers());
            assert_eq!(found, expected, "{cors:?} {origin:?}");
        }
    }
}

#[tokio::test]
async fn answers_are_compressed_as_the_client_accepts() {
    let target =
        "/api/v1/query_range?query=process_open_fds&start=1793491200&end=1793498400&step=15";
    let plain = ask(ApiOptions::default(), request(Method::GET, target, &[])).await;
    assert!(!plain.headers().contains_key("content-encoding"));
    let plain = body_of(plain).await;
    for encoding in ["gzip", "zstd"] {
        let accepts = [("accept-encoding", encoding)];
        let response = ask(
            ApiOptions::default(),
            request(Method::GET, target, &accepts),
        )
        .await;
        assert_eq!(response.headers()["content-encoding"], encoding);
        let packed = body_of(response).await;
        assert!(
            packed.len() * 2 < plain.len(),
            "{encoding}: {}",
            packed.len()
        );
        let mut read = Vec::new();
        match encoding {
            "gzip" => {
                let mut reader = flate2::read::GzDecoder::new(&packed[..]);
                std::io::Read::read_to_end(&mut reader, &mut read).unwrap();
            }
            _ => read = zstd::decode_all(&packed[..]).unwrap(),
        }
        assert!(read == plain, "{encoding}");
    }
}

#[tokio::test]
async fn other_paths_and_methods_are_refused() {
    for (method, target, status) in [
        (Method::GET, "/api/v1/nothing", 404),
        (Method::GET, "/api/v1/label//values", 400),
        (Method::DELETE, "/api/v1/query", 405),
        (Method::POST, "/api/v1/label/x/values", 405),
        (Method::HEAD, "/api/v1/query?query=1", 200),
        (Method::OPTIONS, "/api/v1/nothing", 204),
    ] {
        let response = ask(ApiOptions::default(), request(method.clone(), target, &[])).await;
        assert_eq!(response.status().as_u16(), status, "{method} {target}");
        if status == 405 {
            assert!(
                response.headers().contains_key("allow"),
                "{method} {target}"
            );
            assert_eq!(body_of(response).await, b"Method Not Allowed\n");
        }
    }
}

#[tokio::test]
async fn label_names_that_are_not_utf8_are_refused() {
    let (status, body) = send(request(Method::GET, "/api/v1/label/%ff/values", &[])).await;
    assert_eq!(status, 400);
    assert!(body.contains("invalid label name: "), "{body}");
}

/// Q-02.
#[tokio::test]
async fn thanos_chooses_a_step() {
    let options = ApiOptions {
        dialect: Dialect::Thanos {
            default_step: std::time::Duration::from_secs(7),
        },
        ..ApiOptions::default()
    };
    for (end, times) in [
        (21, vec![0, 7, 14, 21]),
        (2500, (0..=250).map(|i| i * 10).collect()),
    ] {
        let target = format!("/api/v1/query_range?query=1&start=0&end={end}");
        let response = ask(options.clone(), request(Method::GET, &target, &[])).await;
        let json: serde_json::Value = serde_json::from_slice(&body_of(response).await).unwrap();
        let values = json["data"]["result"][0]["values"].as_array().unwrap();
        let found: Vec<i64> = values.iter().map(|one| one[0].as_i64().unwrap()).collect();
        assert_eq!(found, times);
    }
}

/// Q-01, Q-05, Q-07: what Thanos answers and Prometheus refuses, or leaves without a body.
#[tokio::test]
async fn thanos_asks_for_less() {
    let dialect = Dialect::Thanos {
        default_step: std::time::Duration::from_secs(1),
    };
    for (target, in_prometheus, in_thanos) in [
        ("labels?match[]=%7B%7D", 400, 200),
        ("label/job/values?match[]=%7B%7D", 400, 200),
        ("series?match[]=%7B%7D", 400, 400),
        ("labels?match[]=%7B", 400, 400),
        ("query_exemplars?query=1", 204, 200),
        ("query?query=1&shard_info=null", 200, 200),
        ("query?query=1&shard_info=5", 400, 400),
    ] {
        for (dialect, expected) in [(Dialect::Prometheus, in_prometheus), (dialect, in_thanos)] {
            let options = ApiOptions {
                dialect,
                ..ApiOptions::default()
            };
            let target = format!("/api/v1/{target}");
            let response = ask(options, request(Method::GET, &target, &[])).await;
            assert_eq!(response.status(), expected, "{dialect:?} {target}");
            if target.ends_with("exemplars?query=1") && expected == 200 {
                let body = body_of(response).await;
                assert_eq!(body, br#"{"status":"success","data":[]}"#);
            }
        }
    }
}

/// Q-30.
#[tokio::test]
async fn running_requests_are_listed() {
    let api = api(ApiOptions::default());
    let running = api.active.enter("sum(a < b)");
    let target = request(Method::GET, "/api/v1/status/active_queries", &[]);
    let response = api.clone().router().oneshot(target).await.unwrap();
    let json: serde_json::Value = serde_json::from_slice(&body_of(response).await).unwrap();
    assert_eq!(json["data"][0]["query"], "sum(a < b)");
    let started = api.active.list()[0].started;
    assert!(started > Timestamp::from_millis(0));
    drop(running);
    assert!(api.active.list().is_empty());
}

/// Q-06, Q-36: routes that a component adds, as the list of stores, are under the same path with the same headers.
#[tokio::test]
async fn added_routes_have_the_headers_of_all_others() {
    for (cors, allowed) in [(Cors::Any, Some("*")), (Cors::Off, None)] {
        let options = ApiOptions {
            cors,
            ..ApiOptions::default()
        };
        let stores = axum::Router::new().route("/stores", axum::routing::get(async || "stores"));
        let app = api(options).with_routes(stores).router();
        let origin = [("origin", "https://a.example")];
        let asked = request(Method::GET, "/api/v1/stores", &origin);
        let response = app.clone().oneshot(asked).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(cors_headers(response.headers()).0, allowed);
        assert_eq!(body_of(response).await, b"stores");
        let unknown = request(Method::GET, "/api/v1/nothing", &origin);
        assert_eq!(app.oneshot(unknown).await.unwrap().status(), 404);
    }
}
