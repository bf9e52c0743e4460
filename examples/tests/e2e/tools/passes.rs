//! `cleanup` and `retention`: one pass over a bucket.

use std::path::Path;

use thanos_core::block::{Block, BlockId, DeletionMark, Marker};
use thanos_core::time::{Clock, SystemClock, Timestamp};

use super::{
    HOUR_MS, START_MS, Spec, blocks_in, bucket_tool, dir, failed, id, logged, printed, write_block,
};
use crate::programs::{directory_bucket, thanos};

fn write(dir: &Path, number: u32, hours: (i64, i64)) -> BlockId {
    let spec = Spec {
        number,
        hours,
        ..Spec::default()
    };
    write_block(dir, &spec)
}

fn mark(dir: &Path, id: BlockId, age_ms: i64) {
    let mark = DeletionMark::new(id, SystemClock.now() + -age_ms, "");
    std::fs::write(dir.join(format!("{id}/deletion-mark.json")), mark.to_json()).unwrap();
}

/// T-21.
#[test]
fn cleanup_deletes_what_was_marked_long_ago() {
    let bucket = dir("cleanup");
    let [old, young, unmarked] =
        [1, 2, 3].map(|number| write(bucket.path(), number, (i64::from(number) * 2, 2)));
    mark(bucket.path(), old, 49 * HOUR_MS);
    mark(bucket.path(), young, 47 * HOUR_MS);
    printed(&bucket_tool("cleanup", bucket.path(), &[]));
    assert_eq!(blocks_in(bucket.path()), [young, unmarked]);
    assert!(!bucket.path().join(old.to_string()).join("index").exists());
    printed(&bucket_tool(
        "cleanup",
        bucket.path(),
        &["--delete-delay=1h"],
    ));
    assert_eq!(blocks_in(bucket.path()), [unmarked]);
}

/// T-30.
#[test]
fn retention_marks_what_is_too_old() {
    let bucket = dir("retention");
    let now_hours = (SystemClock.now() - Timestamp::from_millis(START_MS)) / HOUR_MS;
    let old = write(bucket.path(), 1, (now_hours - 100, 2));
    write(bucket.path(), 2, (now_hours - 10, 2));
    let delay = "--consistency-delay=0s";
    printed(&bucket_tool("retention", bucket.path(), &[delay]));
    let marks = || -> Vec<BlockId> {
        let is_marked = |id: &BlockId| {
            bucket
                .path()
                .join(format!("{id}/deletion-mark.json"))
                .exists()
        };
        blocks_in(bucket.path())
            .into_iter()
            .filter(is_marked)
            .collect()
    };
    assert!(marks().is_empty());
    let limits = [delay, "--retention.resolution-raw=1d", "--output=json"];
    let told = printed(&bucket_tool("retention", bucket.path(), &limits));
    assert_eq!(told, format!("[\n\t\"{old}\"\n]\n"));
    assert_eq!(marks(), [old]);
    let told = printed(&bucket_tool("retention", bucket.path(), &limits));
    assert_eq!(told, "[]\n", "a mark is put once");
    let text = std::fs::read_to_string(bucket.path().join(format!("{}/deletion-mark.json", id(1))))
        .unwrap();
    assert!(
        text.contains("block exceeding retention of 24h0m0s"),
        "{text}"
    );
}

/// Pain 20: a request is written, hides series, is carried out by the compactor, and can be taken back.
#[test]
fn series_are_deleted_on_request() {
    let bucket = dir("delete-series");
    let block = write(bucket.path(), 1, (2, 2));
    let tool = |more: &[&str]| bucket_tool("delete-series", bucket.path(), more);
    let error = failed(&tool(&["--match={job=\"a\"}"]));
    assert!(
        error.contains("required flag --request-id not provided"),
        "{error}"
    );
    let error = failed(&tool(&["--request-id=x", "--match={job=~\".*\"}"]));
    assert!(error.contains("at least one non-empty matcher"), "{error}");
    let wanted = [
        "--request-id=gdpr-7",
        "--match=up{job=\"a\",cluster=\"x\"}",
        "--author=jane",
        "--reason=erasure",
    ];
    assert!(printed(&tool(&wanted)).contains("request gdpr-7 is written"));
    let listed: serde_json::Value = serde_json::from_str(&printed(&tool(&["--list"]))).unwrap();
    assert_eq!(listed[0]["request_id"], "gdpr-7");
    assert_eq!(
        listed[0]["selectors"][0],
        "{job=\"a\",cluster=\"x\",__name__=\"up\"}"
    );
    assert!(printed(&tool(&["--request-id=gdpr-7", "--lift"])).contains("taken back"));
    assert!(failed(&tool(&["--request-id=gdpr-7", "--lift"])).contains("no active request"));
    printed(&tool(&wanted));

    let yaml = directory_bucket(bucket.path());
    let work = dir("delete-series-work");
    let data_dir = format!("--data-dir={}", work.path().display());
    let mut compact = thanos(&["compact", "--consistency-delay=0s", &data_dir]);
    let compacted = compact.args(["--objstore.config", &yaml]).output().unwrap();
    assert!(compacted.status.success(), "{}", logged(&compacted));
    let new: Vec<BlockId> = (blocks_in(bucket.path()).into_iter())
        .filter(|id| *id != block)
        .collect();
    let [new] = new[..] else { panic!("{new:?}") };
    let marked = bucket.path().join(format!("{block}/deletion-mark.json"));
    assert!(marked.exists());
    let rewritten = Block::open(&bucket.path().join(new.to_string())).unwrap();
    assert_eq!(rewritten.label_values("job", &[]).unwrap(), ["b"]);
}
