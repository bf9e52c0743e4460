use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use object_store::memory::InMemory;
use serde_json::{Value, json};
use thanos_core::block::Marker;
use thanos_core::block::{DeletionMark, NoCompactMark};
use thanos_core::time::{FixedClock, Timestamp};
use tower::ServiceExt;

use super::*;

const ID: &str = "01M81JDC7R8JKP7SEW1VN2HAQ9";

struct Answer {
    status: StatusCode,
    headers: axum::http::HeaderMap,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

fn bucket() -> Bucket {
    Bucket::new(Arc::new(InMemory::new()))
}

fn options() -> ViewerOptions {
    ViewerOptions {
        clock: Arc::new(FixedClock(Timestamp::from_millis(1_795_353_011_999))),
        ..ViewerOptions::default()
    }
}

async fn ask(viewer: &BlockViewer, request: Request<Body>) -> Answer {
    let router = viewer.router();
    let answer = router.oneshot(request).await.unwrap();
    let (parts, body) = answer.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    Answer {
        status: parts.status,
        headers: parts.headers,
        body: String::from_utf8(body.to_vec()).unwrap(),
    }
}

fn get_of(path: &str) -> Request<Body> {
    Request::get(path).body(Body::empty()).unwrap()
}

fn form(body: &str) -> Request<Body> {
    Request::post("/api/v1/blocks/mark")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Body::from(body.to_owned()))
        .unwrap()
}

fn entry() -> Arc<BlockEntry> {
    let meta = Meta {
        ulid: ID.parse().unwrap(),
        min_time: Timestamp::from_millis(5),
        max_time: Timestamp::from_millis(10),
        version: 1,
        ..Meta::default()
    };
    Arc::new(BlockEntry::new(meta, None))
}

/// ST-33.
#[tokio::test]
async fn each_view_has_its_blocks_in_the_shape_of_thanos() {
    let viewer = BlockViewer::new(
        bucket(),
        ViewerOptions {
            label: "cluster".into(),
            ..options()
        },
    );
    viewer.set(View::Loaded, Ok(vec![entry()]));

    let answer = ask(&viewer, get_of("/api/v1/blocks?view=loaded")).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.headers[header::CONTENT_TYPE], "application/json");
    let found = answer.json();
    assert_eq!(found["status"], "success");
    let data = &found["data"];
    assert_eq!(data["label"], "cluster");
    assert_eq!(data["err"], Value::Null);
    assert_eq!(data["refreshedAt"], "2026-11-22T13:10:11.999Z");
    let block = &data["blocks"][0];
    assert_eq!(
        (&block["ulid"], &block["maxTime"]),
        (&json!(ID), &json!(10))
    );
    assert!(
        block["thanos"]["downsample"]["resolution"].is_number(),
        "{block}"
    );

    let global = ask(&viewer, get_of("/api/v1/blocks")).await.json();
    let expected = json!({"label": "cluster", "blocks": [], "refreshedAt": "0001-01-01T00:00:00Z", "err": null});
    assert_eq!(global["data"], expected);
}

#[tokio::test]
async fn a_failed_refresh_is_told_and_keeps_the_blocks() {
    let viewer = BlockViewer::new(bucket(), options());
    viewer.set(View::Loaded, Ok(vec![entry()]));
    viewer.set(View::Loaded, Err(&Error::unavailable("no listing today")));
    let data = ask(&viewer, get_of("/api/v1/blocks?view=loaded"))
        .await
        .json()["data"]
        .clone();
    assert_eq!(data["blocks"].as_array().map(Vec::len), Some(1));
    assert!(
        data["err"].as_str().unwrap().contains("no listing today"),
        "{data}"
    );
}

/// ST-33: the marker files are those of Thanos.
#[tokio::test]
async fn marks_are_written_once() {
    let viewer = BlockViewer::new(bucket(), options());
    for detail in ["first+reason", "second"] {
        let request = form(&format!("id={ID}&action=DELETION&detail={detail}"));
        let answer = ask(&viewer, request).await;
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (StatusCode::NO_CONTENT, "")
        );
    }
    let request = Request::post(format!(
        "/api/v1/blocks/mark?id={ID}&action=NO_COMPACTION&detail=x"
    ));
    let answer = ask(&viewer, request.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT, "{}", answer.body);

    let bucket = &viewer.state.bucket;
    let read = async |file| bucket.read(&format!("{ID}/{file}"), 1 << 10).await.unwrap();
    let deletion = read(DeletionMark::FILE).await;
    let expected = format!(
        r#"{{"id":"{ID}","version":1,"details":"first reason","deletion_time":1795353011}}"#
    );
    assert_eq!(deletion, expected);
    let mark = NoCompactMark::parse(&read(NoCompactMark::FILE).await).unwrap();
    assert_eq!(
        (mark.reason.as_str(), mark.details.as_str()),
        ("manual", "x")
    );
}

#[tokio::test]
async fn each_wrong_mark_has_the_message_of_thanos() {
    let viewer = BlockViewer::new(bucket(), options());
    for (body, message) in [
        ("action=DELETION", "ID cannot be empty".to_owned()),
        (&format!("id={ID}"), "Action cannot be empty".to_owned()),
        (
            "id=x&action=DELETION",
            "ULID \"x\" is not valid: ulid: bad data size when unmarshaling".to_owned(),
        ),
        (
            "id=../../../../../../../../zz&action=DELETION",
            "ULID \"../../../../../../../../zz\" is not valid: ulid: bad data characters when unmarshaling".to_owned(),
        ),
        (&format!("id={ID}&action=NOPE"), "not supported marker NOPE".to_owned()),
    ] {
        let answer = ask(&viewer, form(body)).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body}");
        let expected = json!({"status": "error", "errorType": "bad_data", "error": message});
        assert_eq!(answer.json(), expected);
    }
    assert_eq!(viewer.state.bucket.requests().puts, 0);
}

#[tokio::test]
async fn nobody_marks_when_admin_operations_are_disabled() {
    let options = ViewerOptions {
        admin_operations: AdminOperations::Refused,
        ..options()
    };
    let viewer = BlockViewer::new(bucket(), options);
    let answer = ask(&viewer, form(&format!("id={ID}&action=DELETION"))).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert_eq!(answer.json()["error"], "Admin operations are disabled");
    assert_eq!(viewer.state.bucket.requests().puts, 0);
    let page = ask(&viewer, get_of("/")).await.body;
    assert!(page.contains("data-admin=\"refused\""));
}

#[tokio::test]
async fn other_origins_may_ask_unless_disabled() {
    let preflight = || {
        let request = Request::builder()
            .method(Method::OPTIONS)
            .uri("/api/v1/blocks/mark");
        request.body(Body::empty()).unwrap()
    };
    let viewer = BlockViewer::new(bucket(), options());
    let answer = ask(&viewer, preflight()).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT);
    assert_eq!(answer.headers[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*");
    let answer = ask(&viewer, get_of("/api/v1/blocks")).await;
    assert_eq!(answer.headers[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*");

    let off = ViewerOptions {
        cors: Cors::Off,
        ..options()
    };
    let answer = ask(&BlockViewer::new(bucket(), off), get_of("/api/v1/blocks")).await;
    assert!(
        !answer
            .headers
            .contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN)
    );
}

#[tokio::test]
async fn the_page_knows_its_view_and_prefix() {
    let by_header = ViewerOptions {
        prefix_header: "X-Forwarded-Prefix".into(),
        home: View::Loaded,
        ..options()
    };
    let viewer = BlockViewer::new(bucket(), by_header.clone());
    let request = Request::get("/").header("x-forwarded-prefix", "/proxy/store/");
    let answer = ask(&viewer, request.body(Body::empty()).unwrap()).await;
    assert!(
        answer
            .body
            .contains("data-prefix=\"/proxy/store\" data-view=\"loaded\"")
    );
    let hostile = Request::get("/").header("x-forwarded-prefix", "\"><script>");
    let answer = ask(&viewer, hostile.body(Body::empty()).unwrap()).await;
    assert!(answer.body.contains("data-prefix=\"\""));

    let fixed = ViewerOptions {
        external_prefix: "fixed".into(),
        ..by_header
    };
    let viewer = BlockViewer::new(bucket(), fixed);
    for (path, view) in [
        ("/blocks", "global"),
        ("/global", "global"),
        ("/loaded", "loaded"),
    ] {
        let request = Request::get(path).header("x-forwarded-prefix", "/proxy");
        let answer = ask(&viewer, request.body(Body::empty()).unwrap()).await;
        let expected = format!("data-prefix=\"/fixed\" data-view=\"{view}\"");
        assert!(answer.body.contains(&expected), "{path}");
        assert!(!answer.body.contains("http://") && !answer.body.contains("https://"));
    }
}
