use futures::executor::block_on;
use object_store::memory::InMemory;

use super::*;
use crate::testkit::{FaultPlan, FaultyStore, StoreFault};

fn bucket() -> Bucket {
    Bucket::new(Arc::new(InMemory::new()))
        .with_prefix("tenant/a/")
        .unwrap()
}

async fn check_ranges(bucket: Bucket) {
    let content = Bytes::from_static(b"0123456789");
    bucket.put("b/index", content).await.unwrap();
    assert_eq!(bucket.read_range("b/index", 2..5).await.unwrap(), "234");
    let rest = bucket.read_range_up_to("b/index", 8..20).await;
    assert_eq!(rest.unwrap(), "89");
    let error = bucket.read_range("b/index", 8..20).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.file()),
        (ErrorKind::Corrupt, Some("b/index"))
    );
    let past = bucket.read_range_up_to("b/index", 10..20).await;
    let error = past.unwrap_err();
    assert_eq!(
        (error.kind(), error.offset()),
        (ErrorKind::Corrupt, Some(10))
    );
}

#[test]
fn a_range_past_the_end_is_corrupt_and_names_the_object() {
    block_on(check_ranges(bucket()));
}

/// Files are read on a thread of the runtime, or here when there is none.
#[cfg(feature = "filesystem")]
#[test]
fn ranges_of_files_are_those_of_objects() {
    let dir = thanos_core::testkit::TempDir::new("ranges-of-files");
    block_on(check_ranges(crate::directory::open(dir.path()).unwrap()));
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let check = check_ranges(crate::directory::open(dir.path()).unwrap());
    runtime.unwrap().block_on(check);
}

#[test]
fn names_are_relative_to_the_prefix() {
    block_on(async {
        let bucket = bucket();
        bucket
            .put("x/chunks/000001", Bytes::from_static(b"abc"))
            .await
            .unwrap();
        bucket
            .put("x/index", Bytes::from_static(b"i"))
            .await
            .unwrap();
        assert_eq!(bucket.top_directories().await.unwrap(), ["x"]);
        let objects = bucket.objects_under("x").await.unwrap();
        assert_eq!(
            objects,
            [("x/chunks/000001".to_owned(), 3), ("x/index".to_owned(), 1)]
        );
    });
}

#[test]
fn a_large_object_is_refused_before_it_is_read() {
    block_on(async {
        let bucket = bucket();
        bucket.put("big", Bytes::from(vec![0; 100])).await.unwrap();
        let error = bucket.read("big", 99).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LimitExceeded);
        assert_eq!(bucket.requests().bytes_read, 0);
    });
}

#[test]
fn a_missing_object_is_not_found() {
    let error = block_on(bucket().size("nope")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[test]
fn a_name_that_climbs_out_is_refused() {
    assert!(block_on(bucket().read("../secret", 10)).is_err());
    assert!(
        Bucket::new(Arc::new(InMemory::new()))
            .with_prefix("a/../b")
            .is_err()
    );
}

/// The half of a `meta.json` was taken for a damaged one, and remembered as such.
#[test]
fn a_body_that_ends_early_is_no_damaged_object() {
    block_on(async {
        let store = Arc::new(FaultyStore::new(Arc::new(InMemory::new())));
        let bucket = Bucket::new(store.clone());
        bucket.put("a", Bytes::from(vec![0; 100])).await.unwrap();
        store.start(FaultPlan {
            per_mille: vec![(StoreFault::SilentlyShortBody, 1000)],
            ..FaultPlan::default()
        });
        let error = bucket.read("a", 100).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert!(error.to_string().contains("of 100 bytes came"), "{error}");
    });
}

#[test]
fn a_server_without_conditional_writes_is_no_trouble_of_the_server() {
    let kind = |message: &str| without_conditions(Error::unavailable(message).in_file("a")).kind();
    let answer = "Server returned non-2xx status code: 501 Not Implemented: ";
    assert_eq!(kind(answer), ErrorKind::Invalid);
    assert_eq!(kind("<Code>NotImplemented</Code>"), ErrorKind::Invalid);
    assert_eq!(kind("503 Service Unavailable"), ErrorKind::Unavailable);
}
