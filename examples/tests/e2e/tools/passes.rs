//! `cleanup` and `retention`: one pass over a bucket.

use std::path::Path;

use thanos_core::block::{BlockId, DeletionMark, Marker};
use thanos_core::time::{Clock, SystemClock, Timestamp};

use super::{HOUR_MS, START_MS, Spec, blocks_in, bucket_tool, dir, id, printed, write_block};

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
    printed(&bucket_tool(
        "retention",
        bucket.path(),
        &[delay, "--retention.resolution-raw=1d"],
    ));
    assert_eq!(marks(), [old]);
    let text = std::fs::read_to_string(bucket.path().join(format!("{}/deletion-mark.json", id(1))))
        .unwrap();
    assert!(
        text.contains("block exceeding retention of 24h0m0s"),
        "{text}"
    );
}
