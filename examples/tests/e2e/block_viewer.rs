//! The block viewer of the store gateway.

use serde_json::Value;
use thanos_core::testkit::TempDir;

use crate::blocks::{Kind, OLD_MS, Outside};
use crate::programs::{Store, directory_bucket};

/// ST-33.
#[test]
fn the_block_viewer_shows_and_marks_blocks() {
    let directory = TempDir::new("e2e-viewer");
    let yaml = directory_bucket(directory.path());
    let outside = Outside::open(&yaml);
    let id = outside.upload(&[("a", "1")], Kind::Float, &[("cluster", "x")], OLD_MS);
    let store = Store::over(&yaml, &["--bucket-web-label=cluster"]);

    let page = store.http.get("/loaded");
    assert_eq!(page.status, 200);
    assert!(String::from_utf8(page.body).unwrap().contains("<title>"));
    let answer = store.http.get("/api/v1/blocks?view=loaded");
    let found: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(found["data"]["label"], "cluster");
    assert_eq!(found["data"]["blocks"][0]["ulid"], id.to_string());

    let mark = format!("/api/v1/blocks/mark?id={id}&action=NO_COMPACTION&detail=by+hand");
    let answer = store.http.post(&mark, b"");
    assert_eq!(answer.status, 204, "{:?}", String::from_utf8(answer.body));
    let file = directory.path().join(format!("{id}/no-compact-mark.json"));
    let written = std::fs::read_to_string(file).unwrap();
    assert!(written.contains("\"details\":\"by hand\""), "{written}");

    let refusing = Store::over(&yaml, &["--disable-admin-operations"]);
    let answer = refusing.http.post(&mark, b"");
    let body = String::from_utf8(answer.body).unwrap();
    assert_eq!(answer.status, 400);
    assert!(body.contains("Admin operations are disabled"), "{body}");

    let without = Store::over(&yaml, &["--web.disable"]);
    assert_eq!(without.http.get("/loaded").status, 404);
    let twice = ["--web.disable", "--no-web.disable"];
    assert_eq!(Store::over(&yaml, &twice).http.get("/loaded").status, 200);
}
