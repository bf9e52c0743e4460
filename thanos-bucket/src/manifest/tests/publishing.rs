//! Publishers: what they write, when they do not, and what they do to each other.

use std::collections::BTreeMap;

use futures::TryStreamExt;
use thanos_core::testkit::TempDir;

use super::*;
use crate::testkit::{FaultPlan, FaultyStore, LatencyModel, LatencyStore, RequestKind, StoreFault};

const NOW_MS: i64 = 1_700_000_000_000;
const LIFETIME_MS: i64 = 30 * 60 * 1000;

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(NOW_MS + ms)
}

fn view_of(blocks: u32) -> Arc<BucketView> {
    Arc::new(random_view(5, blocks))
}

async fn in_bucket(bucket: &Bucket) -> Manifest {
    let bytes = bucket.read(MANIFEST_OBJECT, 1 << 20).await.unwrap();
    Manifest::decode(&bytes).unwrap()
}

/// All objects but the manifest, and which contents they have.
async fn others(bucket: &Bucket) -> BTreeMap<String, Option<String>> {
    let objects: Vec<_> = bucket.objects_after("").try_collect().await.unwrap();
    let version = |object: &crate::bucket::ObjectInfo| object.version.e_tag().map(str::to_owned);
    objects
        .iter()
        .filter(|object| object.name != MANIFEST_OBJECT)
        .map(|object| (object.name.clone(), version(object)))
        .collect()
}

#[tokio::test]
async fn a_manifest_that_says_the_same_is_written_again_only_when_it_gets_old() {
    let bucket = memory();
    let publisher = publisher(&bucket);
    let renewed_ms = LIFETIME_MS / 3;
    for (view, ms, expected) in [
        (view_of(9), 0, Published::Written),
        (view_of(9), 1000, Published::Unchanged),
        (view_of(9), renewed_ms - 1, Published::Unchanged),
        (view_of(9), renewed_ms, Published::Written),
        (view_of(8), renewed_ms + 1, Published::Written),
        (view_of(8), renewed_ms, Published::Superseded),
    ] {
        let before = bucket.requests();
        let outcome = publisher.publish(view, at(ms)).await.unwrap();
        let after = bucket.requests();
        assert_eq!(outcome, expected, "after {ms} ms");
        let writes = u64::from(expected == Published::Written);
        assert_eq!(
            (after.gets - before.gets, after.puts - before.puts),
            (1, writes)
        );
    }
    // One that has seen nothing yet comes to the same by reading.
    let other = super::publisher(&bucket);
    let outcome = other.publish(view_of(8), at(renewed_ms + 2)).await.unwrap();
    assert_eq!(outcome, Published::Unchanged);
}

#[tokio::test]
async fn what_is_in_the_way_is_replaced() {
    let bucket = memory();
    let publisher = publisher(&bucket);
    for rubbish in ["rubbish", ""] {
        bucket.put(MANIFEST_OBJECT, rubbish.into()).await.unwrap();
        let outcome = publisher.publish(view_of(3), at(0)).await.unwrap();
        assert_eq!(outcome, Published::Written);
        assert_eq!(in_bucket(&bucket).await.made, at(0));
    }
    // One of a clock that is wrong, which readers ignore.
    for (ahead_ms, expected) in [
        (LIFETIME_MS, Published::Superseded),
        (LIFETIME_MS + 1, Published::Written),
    ] {
        let future = format::encode(&view_of(4), at(ahead_ms)).unwrap();
        bucket.put(MANIFEST_OBJECT, future.into()).await.unwrap();
        let outcome = publisher.publish(view_of(3), at(0)).await.unwrap();
        assert_eq!(outcome, expected, "{ahead_ms}");
    }
}

#[tokio::test]
async fn an_incomplete_view_is_not_published() {
    let mut incomplete = BucketView::default();
    let error = Arc::new(Error::unavailable("503"));
    incomplete.unread.insert(block_id(1), error);
    let bucket = memory();
    let error = publish(&bucket, incomplete, at(0)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!(bucket.requests().puts, 0);
}

/// However their requests meet, the newest view is what the bucket has in the end, and each publisher knows.
#[tokio::test(start_paused = true)]
async fn publishers_that_race_leave_the_newest_view() {
    for (first_ms, second_ms) in [(0, 1), (1, 0), (0, 0)] {
        let store = Arc::new(LatencyStore::new(
            Arc::new(InMemory::new()),
            LatencyModel::default(),
        ));
        let bucket = Bucket::new(store.clone());
        let (first, second) = (publisher(&bucket), publisher(&bucket));
        for round in 0..3 {
            let ms = round * LIFETIME_MS;
            let (one, other) = tokio::join!(
                first.publish(view_of(5), at(ms + first_ms)),
                second.publish(view_of(6), at(ms + second_ms)),
            );
            let outcomes = [one.unwrap(), other.unwrap()];
            assert!(outcomes.contains(&Published::Written), "{outcomes:?}");
            let manifest = in_bucket(&bucket).await;
            assert_eq!(manifest.made, at(ms + first_ms.max(second_ms)));
            let newest = match first_ms.cmp(&second_ms) {
                std::cmp::Ordering::Less => view_of(6),
                std::cmp::Ordering::Greater => view_of(5),
                std::cmp::Ordering::Equal => continue,
            };
            assert_eq!(shape(&manifest.view), shape(&newest));
        }
        let puts = store.trace().count(RequestKind::Put);
        assert!(
            puts >= 6,
            "both have tried each time: they race ({puts} puts)"
        );
    }
}

#[tokio::test]
async fn a_store_without_conditional_writes_has_manifests_too() {
    let dir = TempDir::new("manifest");
    let bucket = crate::directory::open(dir.path()).unwrap();
    let publisher = publisher(&bucket);
    for (blocks, ms) in [(2, 0), (3, 1), (3, 2)] {
        let outcome = publisher.publish(view_of(blocks), at(ms)).await.unwrap();
        let expected = match ms {
            2 => Published::Unchanged,
            _ => Published::Written,
        };
        assert_eq!(outcome, expected);
    }
    assert_eq!(
        shape(&in_bucket(&bucket).await.view),
        shape(&random_view(5, 3))
    );
}

fn discovery(bucket: &Bucket, now_ms: i64) -> Discovery {
    let clock: Arc<dyn Clock> = Arc::new(FixedClock(at(now_ms)));
    let options = FetchOptions {
        clock,
        ..FetchOptions::default()
    };
    Discovery::new(bucket.clone(), options, Vec::new())
        .with_manifest(reader(bucket, NOW_MS + now_ms))
}

fn publishing(bucket: &Bucket, now_ms: i64) -> Discovery {
    discovery(bucket, now_ms).with_publisher(publisher(bucket))
}

fn counts(discovery: &Discovery) -> [u64; 4] {
    let counts = &discovery.fetcher().options().metrics.manifest;
    [
        counts.used.get(),
        counts.ignored.get(),
        counts.written.get(),
        counts.write_failures.get(),
    ]
}

/// A store that publishes lists the bucket; it begins with the manifest of its predecessor, so that it is ready soon.
#[tokio::test]
async fn a_publisher_begins_with_the_manifest_and_lists_from_then_on() {
    let bucket = memory();
    for number in 0..10 {
        put_block(&bucket, block_id(number)).await;
    }
    let first = publishing(&bucket, 0);
    assert_eq!(first.publish().await.unwrap(), None, "nothing was listed");
    assert_eq!(first.sync().await.unwrap().origin, ViewOrigin::Listing);
    assert_eq!(first.publish().await.unwrap(), Some(Published::Written));
    assert_eq!(first.publish().await.unwrap(), None, "each view once");
    assert_eq!(counts(&first), [0, 0, 1, 0]);

    put_block(&bucket, block_id(10)).await;
    let second = publishing(&bucket, 1000);
    let found = second.sync().await.unwrap();
    assert_eq!(
        (found.origin, found.selection.blocks.len()),
        (ViewOrigin::Manifest, 10)
    );
    assert_eq!(second.publish().await.unwrap(), None);
    let before = bucket.requests();
    let found = second.sync().await.unwrap();
    assert_eq!(
        (found.origin, found.selection.blocks.len()),
        (ViewOrigin::Listing, 11)
    );
    assert_eq!(
        bucket.requests().gets - before.gets,
        1,
        "the others are known from the manifest"
    );
    assert_eq!(second.publish().await.unwrap(), Some(Published::Written));
    assert_eq!(counts(&second), [1, 0, 1, 0]);
    assert_eq!(in_bucket(&bucket).await.view.blocks.len(), 11);
}

/// A manifest that is damaged or old is ignored, counted, and written anew; nothing else in the bucket changes, so that
/// Thanos sees what it saw before.
#[tokio::test]
async fn a_bad_manifest_is_rebuilt_and_no_other_object_changes() {
    let bucket = memory();
    for number in 0..3 {
        put_block(&bucket, block_id(number)).await;
    }
    let untouched = others(&bucket).await;
    let stale = format::encode(&view_of(9), at(-LIFETIME_MS - 1)).unwrap();
    for bad in [bytes::Bytes::from("damaged"), stale.into()] {
        bucket.put(MANIFEST_OBJECT, bad).await.unwrap();
        let role = publishing(&bucket, 0);
        let found = role.sync().await.unwrap();
        assert_eq!(
            (found.origin, found.selection.blocks.len()),
            (ViewOrigin::Listing, 3)
        );
        assert_eq!(role.publish().await.unwrap(), Some(Published::Written));
        assert_eq!(counts(&role), [0, 1, 1, 0]);
        assert_eq!(in_bucket(&bucket).await.view.blocks.len(), 3);
    }
    assert_eq!(others(&bucket).await, untouched);
}

/// What was listed is not forgotten for a manifest that is older: a block that came in between would vanish.
#[tokio::test]
async fn a_manifest_does_not_turn_back_time() {
    let bucket = memory();
    put_block(&bucket, block_id(1)).await;
    let old = Fetcher::new(bucket.clone(), FetchOptions::default());
    let old = old.fetch().await.unwrap();
    put_block(&bucket, block_id(2)).await;

    let role = discovery(&bucket, 0);
    assert_eq!(role.sync().await.unwrap().selection.blocks.len(), 2);
    publish(&bucket, old, at(-1)).await.unwrap();
    let found = role.sync().await.unwrap();
    assert_eq!(
        (found.origin, found.selection.blocks.len()),
        (ViewOrigin::Listing, 2)
    );
    assert_eq!(counts(&role), [0, 1, 0, 0]);
}

#[tokio::test]
async fn a_manifest_that_cannot_be_written_is_counted_and_fails_no_sync() {
    let store = Arc::new(FaultyStore::new(Arc::new(InMemory::new())));
    let bucket = Bucket::new(store.clone());
    put_block(&bucket, block_id(1)).await;
    let role = publishing(&bucket, 0);
    assert_eq!(role.sync().await.unwrap().selection.blocks.len(), 1);
    store.start(FaultPlan {
        per_mille: vec![(StoreFault::Unavailable, 1000)],
        ..FaultPlan::default()
    });
    assert!(role.publish().await.is_err());
    store.stop();
    assert_eq!(counts(&role), [0, 0, 0, 1]);
    role.sync().await.unwrap();
    assert_eq!(role.publish().await.unwrap(), Some(Published::Written));
}
