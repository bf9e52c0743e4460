//! One suite for all kinds of buckets, run through the YAML on servers that speak the real protocols, in memory and on a
//! file system.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use thanos_bucket::bucket::{PutCondition, ReadOutcome};
use thanos_bucket::config::BucketConfig;
use thanos_bucket::testkit::servers::ObjectServer;
use thanos_bucket::{Bucket, RequestCounts};
use thanos_core::ErrorKind;
use thanos_core::testkit::TempDir;

/// How many objects make several pages of a listing on the server that has the smallest ones.
const MANY: usize = 200;

fn open(yaml: &str) -> Bucket {
    BucketConfig::from_yaml(yaml).unwrap().open().unwrap()
}

/// What a kind of bucket cannot do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Conditions {
    All,
    /// A local directory has no write that depends on the version.
    OnlyAbsent,
}

/// X-27..X-31: what every bucket must do, whoever stores it.
async fn suite(bucket: &Bucket, conditions: Conditions) {
    reads_return_what_was_written(bucket).await;
    missing_objects_are_not_found(bucket).await;
    ranges_past_the_end_are_corrupt(bucket).await;
    conditions_hold(bucket, conditions).await;
    unchanged_objects_are_not_read_again(bucket).await;
    deleted_objects_are_gone(bucket).await;
    listings_have_all_pages(bucket).await;
}

async fn reads_return_what_was_written(bucket: &Bucket) {
    let data = Bytes::from_static(b"0123456789");
    bucket.put("a/index", data.clone()).await.unwrap();
    assert_eq!(bucket.read("a/index", 100).await.unwrap(), data);
    assert_eq!(bucket.read_range("a/index", 2..5).await.unwrap(), "234");
    assert_eq!(bucket.read_range("a/index", 9..10).await.unwrap(), "9");
    assert_eq!(bucket.size("a/index").await.unwrap(), 10);
    assert!(bucket.exists("a/index").await.unwrap());
    bucket
        .put("a/index", Bytes::from_static(b"new"))
        .await
        .unwrap();
    assert_eq!(bucket.read("a/index", 100).await.unwrap(), "new");
    bucket.put("a/empty", Bytes::new()).await.unwrap();
    assert_eq!(bucket.read("a/empty", 100).await.unwrap(), "");
    let error = bucket.read("a/index", 2).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LimitExceeded);
}

async fn missing_objects_are_not_found(bucket: &Bucket) {
    let kind = |error: thanos_core::Error| error.kind();
    let missing = "a/missing";
    assert_eq!(
        bucket.read(missing, 10).await.map_err(kind),
        Err(ErrorKind::NotFound)
    );
    assert_eq!(
        bucket.read_range(missing, 0..1).await.map_err(kind),
        Err(ErrorKind::NotFound)
    );
    assert_eq!(
        bucket.size(missing).await.map_err(kind),
        Err(ErrorKind::NotFound)
    );
    assert!(!bucket.exists(missing).await.unwrap());
}

async fn ranges_past_the_end_are_corrupt(bucket: &Bucket) {
    bucket
        .put("r/chunks", Bytes::from_static(b"0123456789"))
        .await
        .unwrap();
    assert_eq!(
        bucket.read_range_up_to("r/chunks", 8..20).await.unwrap(),
        "89"
    );
    for range in [8..11, 10..11, 500..600] {
        let error = bucket
            .read_range("r/chunks", range.clone())
            .await
            .unwrap_err();
        assert_eq!(
            (error.kind(), error.file()),
            (ErrorKind::Corrupt, Some("r/chunks")),
            "{range:?}: {error}"
        );
    }
}

async fn conditions_hold(bucket: &Bucket, conditions: Conditions) {
    let put = |text: &'static str, condition| {
        bucket.put_if("c/manifest", Bytes::from_static(text.as_bytes()), condition)
    };
    put("one", PutCondition::Absent).await.unwrap().unwrap();
    assert_eq!(put("two", PutCondition::Absent).await.unwrap(), None);
    assert_eq!(bucket.read("c/manifest", 10).await.unwrap(), "one");
    let read = bucket
        .read_if_changed("c/manifest", None, 10)
        .await
        .unwrap();
    let ReadOutcome::Changed { version, .. } = read else {
        panic!("nothing is known yet");
    };
    if conditions == Conditions::OnlyAbsent {
        let error = put("two", PutCondition::Unchanged(version))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        return;
    }
    let condition = PutCondition::Unchanged(version);
    let second = put("two", condition.clone()).await.unwrap().unwrap();
    assert_eq!(put("lost", condition).await.unwrap(), None);
    assert_eq!(bucket.read("c/manifest", 10).await.unwrap(), "two");
    let third = PutCondition::Unchanged(second);
    assert!(put("three", third).await.unwrap().is_some());
}

async fn unchanged_objects_are_not_read_again(bucket: &Bucket) {
    bucket
        .put("u/meta.json", Bytes::from_static(b"{}"))
        .await
        .unwrap();
    let read = bucket
        .read_if_changed("u/meta.json", None, 10)
        .await
        .unwrap();
    let ReadOutcome::Changed { bytes, version } = read else {
        panic!("nothing is known yet");
    };
    assert_eq!(bytes, "{}");
    let before = bucket.requests().bytes_read;
    let read = bucket
        .read_if_changed("u/meta.json", Some(&version), 10)
        .await
        .unwrap();
    assert_eq!(read, ReadOutcome::Unchanged);
    assert_eq!(bucket.requests().bytes_read, before);
    bucket
        .put("u/meta.json", Bytes::from_static(b"{\"a\":1}"))
        .await
        .unwrap();
    let read = bucket
        .read_if_changed("u/meta.json", Some(&version), 10)
        .await
        .unwrap();
    assert!(matches!(read, ReadOutcome::Changed { bytes, .. } if bytes == "{\"a\":1}"));
}

async fn deleted_objects_are_gone(bucket: &Bucket) {
    bucket.put("d/x", Bytes::from_static(b"x")).await.unwrap();
    bucket.delete("d/x").await.unwrap();
    assert!(!bucket.exists("d/x").await.unwrap());
    bucket.delete("d/x").await.unwrap();
    assert_eq!(bucket.objects_under("d").await.unwrap(), []);
}

async fn listings_have_all_pages(bucket: &Bucket) {
    let name = |i: usize| format!("blocks/{i:04}/meta.json");
    let names: Vec<String> = (0..MANY).map(name).collect();
    let put = |i: usize| bucket.put(&names[i], Bytes::from(vec![7; i % 5]));
    futures::stream::iter((0..MANY).map(put))
        .buffer_unordered(8)
        .try_collect::<()>()
        .await
        .unwrap();
    let found = bucket.objects_under("blocks").await.unwrap();
    let expected: Vec<_> = (0..MANY).map(|i| (name(i), (i % 5) as u64)).collect();
    assert_eq!(found, expected);
    let after: BTreeSet<String> = bucket
        .objects_after(&name(MANY / 2))
        .map_ok(|object| object.name)
        .try_filter(|name| futures::future::ready(name.starts_with("blocks/")))
        .try_collect()
        .await
        .unwrap();
    assert_eq!(after, (MANY / 2 + 1..MANY).map(name).collect());
    let top: BTreeSet<String> = bucket
        .top_directories()
        .await
        .unwrap()
        .into_iter()
        .collect();
    assert!(top.contains("blocks") && top.contains("a"), "{top:?}");
}

/// two users of one bucket under two prefixes do not see each other.
async fn prefixes_are_apart(one: &Bucket, other: &Bucket) {
    one.put("shared/name", Bytes::from_static(b"one"))
        .await
        .unwrap();
    assert!(!other.exists("shared/name").await.unwrap());
    other
        .put("shared/name", Bytes::from_static(b"other"))
        .await
        .unwrap();
    assert_eq!(one.read("shared/name", 10).await.unwrap(), "one");
    other.delete("shared/name").await.unwrap();
    assert!(one.exists("shared/name").await.unwrap());
    assert_eq!(
        other
            .objects_after("")
            .try_collect::<Vec<_>>()
            .await
            .unwrap(),
        []
    );
    assert_eq!(
        one.objects_under("shared").await.unwrap(),
        [("shared/name".to_owned(), 3)]
    );
}

async fn run_on(server: &ObjectServer) {
    suite(&open(&server.config("suite", "")), Conditions::All).await;
    suite(
        &open(&server.config("suite", "a/deep prefix")),
        Conditions::All,
    )
    .await;
    let one = open(&server.config("shared", "tenant"));
    let other = open(&server.config("shared", "tenant-b"));
    prefixes_are_apart(&one, &other).await;
}

///
#[tokio::test]
async fn s3_with_checked_signatures() {
    run_on(&ObjectServer::s3()).await;
}

///
#[tokio::test]
async fn s3_of_moto() {
    if let Some(server) = ObjectServer::moto() {
        run_on(&server).await;
    }
}

///
#[tokio::test]
async fn gcs() {
    run_on(&ObjectServer::gcs()).await;
}

///
#[tokio::test]
async fn azure() {
    if let Some(server) = ObjectServer::azurite() {
        run_on(&server).await;
    }
}

///
#[tokio::test]
async fn filesystem() {
    let dir = TempDir::new("bucket");
    let yaml = |prefix: &str| {
        let directory = dir.path().display();
        format!("type: FILESYSTEM\nconfig: {{directory: {directory}}}\nprefix: {prefix:?}\n")
    };
    suite(&open(&yaml("")), Conditions::OnlyAbsent).await;
    prefixes_are_apart(&open(&yaml("tenant")), &open(&yaml("tenant-b"))).await;
}

#[tokio::test]
async fn memory() {
    suite(&open("type: MEMORY\nprefix: tenant\n"), Conditions::All).await;
}

/// `part_size`; the parts of a large object are one object afterwards.
#[tokio::test]
async fn large_objects_are_written_in_parts() {
    let data: Vec<u8> = (0..11_000_000_u32).map(|i| i.to_le_bytes()[1]).collect();
    let data = Bytes::from(data);
    let (s3, gcs) = (ObjectServer::s3(), ObjectServer::gcs());
    for (server, setting) in [(&s3, "part_size"), (&gcs, "chunk_size_bytes")] {
        let setting = format!("config:\n  {setting}: 5242880\n");
        let bucket = open(&server.config("parts", "").replace("config:\n", &setting));
        bucket.put("big", data.clone()).await.unwrap();
        let tail = bucket
            .read_range("big", 10_999_000..11_000_000)
            .await
            .unwrap();
        assert_eq!(tail, data.slice(10_999_000..));
        assert_eq!(bucket.size("big").await.unwrap(), 11_000_000);
    }
}

/// wrong keys are an error that says so and shows none of them, and that nobody should try again.
#[tokio::test]
async fn a_wrong_key_is_refused() {
    let server = ObjectServer::s3();
    let yaml = server
        .config("keys", "")
        .replace("thanos-test-secret", "canary-secret");
    let error = open(&yaml).read("x", 10).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    let text = format!("{error} {error:?}");
    assert!(!text.contains("canary"), "{text}");
}

/// requests are counted per operation, and retried ones once.
#[tokio::test]
async fn requests_are_counted() {
    let server = ObjectServer::s3();
    let bucket = open(&server.config("counted", "p"));
    bucket
        .put("x", Bytes::from_static(b"0123456789"))
        .await
        .unwrap();
    bucket.read_range("x", 2..6).await.unwrap();
    bucket.read("x", 100).await.unwrap();
    bucket.size("x").await.unwrap();
    bucket.objects_under("").await.unwrap();
    bucket.delete("x").await.unwrap();
    let expected = RequestCounts {
        gets: 2,
        heads: 1,
        lists: 1,
        puts: 1,
        deletes: 1,
        bytes_read: 14,
    };
    assert_eq!(bucket.requests(), expected);
}

/// A server that is not there is an error that may go away, and not one that takes for ever.
#[tokio::test]
async fn an_absent_server_is_unavailable() {
    let server = ObjectServer::s3();
    let yaml = server
        .config("gone", "")
        .replace("config:\n", "config:\n  max_retries: 2\n");
    let bucket = open(&yaml);
    drop(server);
    let read = tokio::time::timeout(Duration::from_secs(20), bucket.read("x", 10));
    let error = read.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
}
