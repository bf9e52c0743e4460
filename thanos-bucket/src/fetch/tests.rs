use futures::executor::block_on;
use object_store::memory::InMemory;
use thanos_core::ErrorKind;
use thanos_core::block::{BlockId, DeletionMark, Marker};
use thanos_core::testkit::{TempDir, TestRandom};
use thanos_core::time::{FixedClock, Timestamp};

use super::filter::{DeletionMarkFilter, DuplicateFilter, select};
use super::*;
use crate::{Bucket, RequestCounts};

const FIRST: &str = "01M81JDC7R8JKP7SEW1VN2HAQ9";
const SECOND: &str = "01M81M0FJ85NHPRPDAFDZ3PATT";

fn memory() -> Bucket {
    Bucket::new(Arc::new(InMemory::new()))
}

async fn bucket_with(objects: &[(&str, String)]) -> Bucket {
    let bucket = memory();
    for (name, text) in objects {
        bucket.put(name, text.clone().into()).await.unwrap();
    }
    bucket
}

fn meta_json(id: &str) -> String {
    format!(
        r#"{{"ulid":"{id}","minTime":0,"maxTime":10,"version":1,"compaction":{{"level":1}},"thanos":{{"labels":{{"a":"1"}}}}}}"#
    )
}

fn id(number: u32) -> BlockId {
    crate::testkit::block_id(number)
}

/// Puts a small whole block into `bucket`.
async fn put_block(bucket: &Bucket, id: BlockId) {
    for name in ["chunks/000001", "index"] {
        bucket
            .put(&format!("{id}/{name}"), "data".into())
            .await
            .unwrap();
    }
    let meta = meta_json(&id.to_string());
    bucket
        .put(&format!("{id}/meta.json"), meta.into())
        .await
        .unwrap();
}

async fn put_deletion_mark(bucket: &Bucket, id: BlockId, at: Timestamp) {
    let object = format!("{id}/{}", DeletionMark::FILE);
    let mark = DeletionMark::new(id, at, "").to_json();
    bucket.put(&object, mark.into()).await.unwrap();
}

fn strategies() -> [FetchOptions; 3] {
    let of = |strategy, listing_shards| FetchOptions {
        strategy,
        listing_shards,
        ..FetchOptions::default()
    };
    [
        of(DiscoveryStrategy::Recursive, 1),
        of(DiscoveryStrategy::Concurrent, 1),
        of(DiscoveryStrategy::Concurrent, 4),
    ]
}

/// The requests that `work` makes.
async fn requests_of<T>(bucket: &Bucket, work: impl Future<Output = T>) -> (T, RequestCounts) {
    let before = bucket.requests();
    let value = work.await;
    let after = bucket.requests();
    let counts = RequestCounts {
        gets: after.gets - before.gets,
        heads: after.heads - before.heads,
        lists: after.lists - before.lists,
        puts: after.puts - before.puts,
        deletes: after.deletes - before.deletes,
        bytes_read: after.bytes_read - before.bytes_read,
    };
    (value, counts)
}

#[test]
fn only_directories_with_a_readable_meta_are_blocks() {
    block_on(async {
        let bucket = bucket_with(&[
            (&format!("{FIRST}/meta.json"), meta_json(FIRST)),
            (&format!("{SECOND}/index"), "no meta yet".into()),
            ("debug/metas/x.json", "ignored".into()),
            ("stray-file", "ignored".into()),
        ])
        .await;
        for options in strategies() {
            let view = Fetcher::new(bucket.clone(), options).fetch().await.unwrap();
            let blocks: Vec<String> = view.blocks.keys().map(ToString::to_string).collect();
            assert_eq!(blocks, [FIRST]);
            let partial: Vec<_> = view
                .partial
                .iter()
                .map(|(id, e)| (id.to_string(), e.kind()))
                .collect();
            assert_eq!(partial, [(SECOND.to_owned(), ErrorKind::NotFound)]);
        }
    });
}

#[test]
fn a_damaged_or_misplaced_meta_is_partial_and_names_the_object() {
    block_on(async {
        let bucket = bucket_with(&[
            (&format!("{FIRST}/meta.json"), "{\"ulid\":".into()),
            (&format!("{SECOND}/meta.json"), meta_json(FIRST)),
        ])
        .await;
        let fetcher = Fetcher::new(bucket.clone(), FetchOptions::default());
        let view = fetcher.fetch().await.unwrap();
        assert!(view.blocks.is_empty());
        for (id, error) in &view.partial {
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
            assert_eq!(error.file(), Some(format!("{id}/meta.json").as_str()));
        }
        assert_eq!(view.partial.len(), 2);
        // They are not read again before they change.
        let (again, requests) = requests_of(&bucket, fetcher.fetch()).await;
        assert_eq!((again.unwrap().partial.len(), requests.gets), (2, 0));
        bucket
            .put(&format!("{FIRST}/meta.json"), meta_json(FIRST).into())
            .await
            .unwrap();
        assert_eq!(fetcher.fetch().await.unwrap().blocks.len(), 1);
    });
}

/// ST-08: unknown versions fail the view, and keep what is known.
#[test]
fn an_unknown_version_makes_the_view_incomplete() {
    block_on(async {
        let newer = meta_json(SECOND).replace("\"version\":1", "\"version\":2");
        let bucket = bucket_with(&[
            (&format!("{FIRST}/meta.json"), meta_json(FIRST)),
            (&format!("{SECOND}/meta.json"), newer),
        ])
        .await;
        let discovery = Discovery::new(bucket, FetchOptions::default(), Vec::new());
        let found = discovery.sync().await.unwrap();
        assert_eq!(found.selection.states.get(BlockState::Failed), 1);
        assert_eq!(found.selection.states.get(BlockState::Loaded), 1);
        let error = found.incomplete().unwrap().to_string();
        assert!(
            error.contains("unexpected meta file version 2") && error.contains(SECOND),
            "{error}"
        );
    });
}

/// ST-08: the warm sync makes no request per block, with either strategy.
#[test]
fn a_warm_sync_only_lists() {
    block_on(async {
        let bucket = memory();
        for number in 0..20 {
            put_block(&bucket, id(number)).await;
        }
        put_deletion_mark(&bucket, id(3), Timestamp::from_millis(5000)).await;
        for options in strategies() {
            let fetcher = Fetcher::new(bucket.clone(), options.clone());
            let (cold, requests) = requests_of(&bucket, fetcher.fetch()).await;
            let cold = cold.unwrap();
            assert_eq!(
                (requests.gets, requests.heads),
                (21, 0),
                "20 metas and a marker"
            );
            let entry = &cold.blocks[&id(3)];
            assert_eq!(entry.marks.deletion, Some(Timestamp::from_millis(5000)));
            let objects = entry.objects.as_ref().unwrap();
            assert_eq!(
                (objects.index_bytes, &objects.segment_bytes[..]),
                (4, &[4][..])
            );

            let (warm, requests) = requests_of(&bucket, fetcher.fetch()).await;
            assert_eq!((requests.gets, requests.heads), (0, 0));
            let shards = options.listing_shards.min(2) as u64;
            assert_eq!(
                requests.lists, shards,
                "20 blocks are one stretch, after the listing of directories"
            );
            assert_eq!(warm.unwrap().blocks, cold.blocks);
        }
    });
}

/// ST-13: a marker that appears costs one request and takes its block out once the delay is over.
#[tokio::test]
async fn a_block_marked_long_ago_is_dropped() {
    let bucket = memory();
    put_block(&bucket, id(1)).await;
    put_block(&bucket, id(2)).await;
    let fetcher = Fetcher::new(bucket.clone(), FetchOptions::default());
    fetcher.fetch().await.unwrap();
    put_deletion_mark(&bucket, id(1), Timestamp::from_millis(10_000)).await;
    let (view, requests) = requests_of(&bucket, fetcher.fetch()).await;
    let view = view.unwrap();
    assert_eq!(requests.gets, 1);
    for (now_ms, loaded) in [(10_000, 2), (15_000, 2), (15_001, 1)] {
        let clock = Arc::new(FixedClock(Timestamp::from_millis(now_ms)));
        let filters: [Arc<dyn filter::BlockFilter>; 1] =
            [Arc::new(DeletionMarkFilter::new(5000, clock))];
        let selected = select(&view, &filters).await.unwrap();
        assert_eq!(selected.blocks.len(), loaded, "{now_ms}");
        assert_eq!(
            selected.states.get(BlockState::MarkedForDeletion),
            2 - loaded
        );
        assert!(selected.blocks.contains_key(&id(2)));
    }
    // Taken away again.
    bucket
        .delete(&format!("{}/{}", id(1), DeletionMark::FILE))
        .await
        .unwrap();
    let (view, requests) = requests_of(&bucket, fetcher.fetch()).await;
    assert_eq!(
        (requests.gets, view.unwrap().blocks[&id(1)].marks.deletion),
        (0, None)
    );
}

/// ST-13: a marker whose upload stopped in the middle is none; one of another version is an error.
#[test]
fn damaged_markers_count_as_none_and_unknown_ones_fail_the_view() {
    block_on(async {
        let bucket = memory();
        put_block(&bucket, id(1)).await;
        let object = format!("{}/{}", id(1), DeletionMark::FILE);
        bucket.put(&object, "{\"id\":".into()).await.unwrap();
        let fetcher = Fetcher::new(bucket.clone(), FetchOptions::default());
        let view = fetcher.fetch().await.unwrap();
        assert_eq!(
            (view.blocks[&id(1)].marks.deletion, view.unread.len()),
            (None, 0)
        );
        let (_, requests) = requests_of(&bucket, fetcher.fetch()).await;
        assert_eq!(requests.gets, 0, "nor is it read again");

        let text = format!(r#"{{"id":"{}","version":7,"deletion_time":7}}"#, id(1));
        bucket.put(&object, text.into()).await.unwrap();
        let view = fetcher.fetch().await.unwrap();
        assert_eq!((view.blocks.len(), view.unread.len()), (1, 1));
    });
}

/// ST-08: a modified meta.json is read again only in recursive mode.
#[test]
fn a_rewritten_meta_is_read_again_by_the_recursive_strategy() {
    block_on(async {
        for options in strategies() {
            let bucket = memory();
            put_block(&bucket, id(1)).await;
            let fetcher = Fetcher::new(bucket.clone(), options.clone());
            fetcher.fetch().await.unwrap();
            let changed = meta_json(&id(1).to_string()).replace("\"maxTime\":10", "\"maxTime\":11");
            bucket
                .put(&format!("{}/meta.json", id(1)), changed.into())
                .await
                .unwrap();
            let (view, requests) = requests_of(&bucket, fetcher.fetch()).await;
            let max = view.unwrap().blocks[&id(1)].meta.max_time.as_millis();
            match options.strategy {
                DiscoveryStrategy::Recursive => assert_eq!((max, requests.gets), (11, 1)),
                DiscoveryStrategy::Concurrent => assert_eq!((max, requests.gets), (10, 0)),
            }
        }
    });
}

#[test]
fn a_block_that_vanished_is_forgotten() {
    block_on(async {
        let bucket = memory();
        put_block(&bucket, id(1)).await;
        let fetcher = Fetcher::new(bucket.clone(), FetchOptions::default());
        fetcher.fetch().await.unwrap();
        for (name, _) in bucket.objects_under(&id(1).to_string()).await.unwrap() {
            bucket.delete(&name).await.unwrap();
        }
        let view = fetcher.fetch().await.unwrap();
        assert!(view.blocks.is_empty() && view.partial.is_empty());
    });
}

/// ST-08: meta.json files are kept in the data directory as Thanos keeps them.
#[tokio::test]
async fn metas_are_kept_over_restarts() {
    let bucket = memory();
    for number in 1..=3 {
        put_block(&bucket, id(number)).await;
    }
    let dir = TempDir::new("meta-syncer");
    for strategy in [DiscoveryStrategy::Recursive, DiscoveryStrategy::Concurrent] {
        let options = FetchOptions {
            data_dir: Some(dir.path().to_owned()),
            strategy,
            ..FetchOptions::default()
        };
        let start = || Fetcher::new(bucket.clone(), options.clone());
        start().fetch().await.unwrap();
        let file = |number| {
            dir.path()
                .join(format!("meta-syncer/{}/meta.json", id(number)))
        };
        assert_eq!(
            std::fs::read_to_string(file(1)).unwrap(),
            meta_json(&id(1).to_string())
        );

        // Damaged: ignored. Of a block that is gone: removed.
        std::fs::write(file(2), "{").unwrap();
        std::fs::create_dir_all(file(9).parent().unwrap()).unwrap();
        std::fs::write(file(9), meta_json(&id(9).to_string())).unwrap();
        let fetcher = start();
        let (view, requests) = requests_of(&bucket, fetcher.fetch()).await;
        assert_eq!(
            (view.unwrap().blocks.len(), requests.gets),
            (3, 1),
            "{strategy:?}"
        );
        assert!(!file(9).exists() && file(2).exists());
        let (whole, requests) = requests_of(&bucket, fetcher.whole_meta(id(1))).await;
        assert_eq!((whole.unwrap().ulid, requests.gets), (id(1), 0));
    }
}

/// What a bucket may hold, drawn at random: whole blocks, pieces of blocks, markers, other things.
async fn random_bucket(random: &mut TestRandom) -> Bucket {
    let bucket = memory();
    let blocks = random.below(450);
    for number in 0..u32::try_from(blocks).unwrap() {
        let id = id(number * 7);
        match random.below(12) {
            0 => bucket
                .put(&format!("{id}/index"), "x".into())
                .await
                .unwrap(),
            1 => bucket
                .put(&format!("{id}/meta.json"), "{".into())
                .await
                .unwrap(),
            2 => {
                put_block(&bucket, id).await;
                bucket
                    .put(&format!("{id}/chunks/000003"), "gap".into())
                    .await
                    .unwrap();
            }
            3 => {
                put_block(&bucket, id).await;
                put_deletion_mark(&bucket, id, Timestamp::from_millis(1000)).await;
            }
            4 => bucket
                .put(&format!("stray-{number}"), "x".into())
                .await
                .unwrap(),
            _ => put_block(&bucket, id).await,
        }
    }
    bucket
}

/// ST-08: both strategies give the same view, however many listings they make, with a prefix or without.
#[test]
fn the_strategies_agree_on_random_buckets() {
    block_on(async {
        for seed in 0..12 {
            let mut random = TestRandom::new(seed);
            let bucket = random_bucket(&mut random).await;
            let mut views = Vec::new();
            for options in strategies() {
                views.push(Fetcher::new(bucket.clone(), options).fetch().await.unwrap());
            }
            for view in &views[1..] {
                assert_eq!(view.blocks, views[0].blocks, "seed {seed}");
                assert!(
                    view.partial.keys().eq(views[0].partial.keys()),
                    "seed {seed}"
                );
            }
        }
    });
}

fn entry_of(number: u32, sources: &[u32], label: &str) -> Arc<BlockEntry> {
    let mut meta = Meta {
        ulid: id(number),
        ..Meta::default()
    };
    meta.compaction.sources = sources.iter().map(|source| id(*source)).collect();
    let thanos = meta.thanos.get_or_insert_default();
    thanos.labels.insert("l".into(), label.into());
    Arc::new(BlockEntry::new(meta, None))
}

/// ST-09: the rule of upstream's filter, from its tests.
#[tokio::test]
async fn blocks_whose_sources_others_have_are_duplicates() {
    type Block<'a> = (u32, &'a [u32], &'a str);
    let cases: [(&[Block<'_>], &[u32]); 6] = [
        (&[(1, &[1], "a"), (2, &[2], "a")], &[]),
        (
            &[(1, &[1], "a"), (2, &[2], "a"), (3, &[1, 2], "a")],
            &[1, 2],
        ),
        (&[(1, &[1], "a"), (2, &[2], "b"), (3, &[1, 2], "a")], &[1]),
        (&[(1, &[5, 6], "a"), (2, &[6, 5, 5], "a")], &[2]),
        (
            &[
                (6, &[6], "a"),
                (1, &[1, 2, 3], "a"),
                (2, &[2, 3, 4], "a"),
                (3, &[2, 3], "a"),
            ],
            &[3],
        ),
        (&[(1, &[], "a"), (2, &[], "a"), (3, &[1], "a")], &[3]),
    ];
    for (blocks, expected) in cases {
        let blocks = blocks
            .iter()
            .map(|(number, sources, label)| (id(*number), entry_of(*number, sources, label)));
        let view = BucketView {
            blocks: blocks.collect(),
            ..BucketView::default()
        };
        let filter = Arc::new(DuplicateFilter::default());
        for _ in 0..2 {
            let filters: [Arc<dyn filter::BlockFilter>; 1] = [Arc::clone(&filter) as _];
            let selected = select(&view, &filters).await.unwrap();
            let mut gone: Vec<BlockId> = view.blocks.keys().copied().collect();
            gone.retain(|id| !selected.blocks.contains_key(id));
            let expected: Vec<BlockId> = expected.iter().map(|number| id(*number)).collect();
            assert_eq!(gone, expected);
            assert_eq!(filter.last_duplicates(), expected);
            assert_eq!(selected.states.get(BlockState::Duplicate), expected.len());
        }
    }
}

/// ST-09: against the definition.
#[test]
fn duplicates_are_those_of_the_plain_definition() {
    for seed in 0..40 {
        let mut random = TestRandom::new(seed);
        let blocks: Vec<Arc<BlockEntry>> = (0..60)
            .map(|number| {
                let sources: Vec<u32> = (0..random.below(6))
                    .map(|_| u32::try_from(random.below(12)).unwrap())
                    .collect();
                entry_of(
                    number,
                    &sources,
                    ["a", "b"][usize::try_from(random.below(2)).unwrap()],
                )
            })
            .collect();
        let set = |entry: &BlockEntry| {
            let mut set: std::collections::BTreeSet<_> =
                entry.meta.compaction.sources.iter().copied().collect();
            if set.is_empty() {
                set.insert(entry.meta.ulid);
            }
            set
        };
        let covers = |large: &Arc<BlockEntry>, small: &Arc<BlockEntry>| {
            let (large_set, small_set) = (set(large), set(small));
            large.meta.external_labels() == small.meta.external_labels()
                && small_set.is_subset(&large_set)
                && (large_set != small_set || large.meta.ulid < small.meta.ulid)
        };
        let expected: Vec<BlockId> = blocks
            .iter()
            .filter(|small| blocks.iter().any(|large| covers(large, small)))
            .map(|entry| entry.meta.ulid)
            .collect();
        assert_eq!(filter::duplicates(&blocks), expected, "seed {seed}");
    }
}

fn view_of(entries: Vec<BlockEntry>) -> BucketView {
    let blocks = entries
        .into_iter()
        .map(|entry| (entry.meta.ulid, Arc::new(entry)));
    BucketView {
        blocks: blocks.collect(),
        ..BucketView::default()
    }
}

fn block(number: u32, change: impl FnOnce(&mut Meta)) -> BlockEntry {
    let mut entry = BlockEntry::clone(&entry_of(number, &[number], "a"));
    entry.meta.min_time = Timestamp::from_millis(1000);
    entry.meta.max_time = Timestamp::from_millis(2000);
    change(&mut entry.meta);
    entry
}

/// ST-09: one block per reason; each is counted under the first reason in Thanos' order, and the gauge shows it.
#[tokio::test]
async fn each_exclusion_is_counted_in_the_gauge() {
    let now = id(1000).created();
    let bucket = memory();
    let put = async |entry: BlockEntry| {
        let object = format!("{}/meta.json", entry.meta.ulid);
        bucket
            .put(&object, entry.meta.to_json().into())
            .await
            .unwrap();
    };
    let thanos = |meta: &mut Meta| meta.thanos.clone().unwrap();
    let valid = |meta: &mut Meta| meta.version = 1;
    put(block(1, valid)).await;
    put(block(2, |meta| {
        valid(meta);
        meta.max_time = Timestamp::from_millis(1000);
        meta.min_time = Timestamp::from_millis(0);
    }))
    .await;
    put(block(3, |meta| {
        valid(meta);
        let mut section = thanos(meta);
        section.labels.insert("l".into(), "drop".into());
        meta.thanos = Some(section);
    }))
    .await;
    put(block(990, valid)).await;
    put(block(991, |meta| {
        valid(meta);
        let mut section = thanos(meta);
        section.source = "compactor".into();
        meta.thanos = Some(section);
    }))
    .await;
    put(block(4, valid)).await;
    put_deletion_mark(&bucket, id(4), Timestamp::from_millis(0)).await;
    put(block(5, |meta| {
        valid(meta);
        meta.compaction.sources = vec![id(1)];
    }))
    .await;
    bucket
        .put(&format!("{}/index", id(6)), "x".into())
        .await
        .unwrap();
    bucket
        .put(&format!("{}/meta.json", id(7)), "x".into())
        .await
        .unwrap();

    let clock: Arc<dyn Clock> = Arc::new(FixedClock(now));
    let filters = filter::StoreFilters {
        window: thanos_core::time::TimeWindow {
            min: thanos_core::time::TimeBound::At(Timestamp::from_millis(1001)),
            ..thanos_core::time::TimeWindow::ALL
        },
        relabel: filter::RelabelFilter::from_yaml(
            "- {action: drop, source_labels: [l], regex: drop}",
        )
        .unwrap(),
        consistency_delay_ms: 100,
        clock: Arc::clone(&clock),
        ..filter::StoreFilters::default()
    };
    let options = FetchOptions {
        clock,
        ..FetchOptions::default()
    };
    let metrics = options.metrics.clone();
    let discovery = Discovery::new(bucket.clone(), options, filters.build());
    let found = discovery.sync().await.unwrap();
    let kept: Vec<BlockId> = found.selection.blocks.keys().copied().collect();
    assert_eq!(kept, [id(1), id(991)]);

    let mut registry = prometheus_client::registry::Registry::default();
    metrics.register(&mut registry);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    for (state, blocks) in [
        ("loaded", 2),
        ("time-excluded", 1),
        ("label-excluded", 1),
        ("too-fresh", 1),
        ("marked-for-deletion", 1),
        ("duplicate", 1),
        ("no-meta-json", 1),
        ("corrupted-meta-json", 1),
        ("failed", 0),
        ("parquet-converted", 0),
    ] {
        let line = format!("thanos_blocks_meta_synced{{state=\"{state}\"}} {blocks}\n");
        assert!(text.contains(&line), "{line}{text}");
    }
    assert!(
        text.contains("thanos_blocks_meta_syncs_total 1\n"),
        "{text}"
    );
    assert!(
        text.contains("thanos_blocks_meta_base_syncs_total 1\n"),
        "{text}"
    );
}

/// ST-10.
#[tokio::test]
async fn blocks_that_touch_the_window_stay() {
    use thanos_core::time::{TimeBound, TimeWindow};
    let view = view_of(vec![block(1, |_| ())]);
    for (min, max, loaded) in [(2000, 3000, 1), (2001, 3000, 0), (0, 1000, 1), (0, 999, 0)] {
        let at = |ms| TimeBound::At(Timestamp::from_millis(ms));
        let window = TimeWindow {
            min: at(min),
            max: at(max),
        };
        let filter = filter::TimeWindowFilter::new(window, Arc::new(SystemClock));
        let selected = select(&view, &[Arc::new(filter) as _]).await.unwrap();
        assert_eq!(selected.blocks.len(), loaded, "{min} to {max}");
    }
}

/// ST-11: hashmod over the block's id splits the blocks between two gateways; nothing is lost or served twice.
#[tokio::test]
async fn two_shards_have_each_block_once() {
    let view = view_of((0..200).map(|number| block(number, |_| ())).collect());
    let mut seen = Vec::new();
    for shard in 0..2 {
        let yaml = format!(
            "- action: hashmod\n  source_labels: [__block_id]\n  target_label: shard\n  modulus: 2\n\
             - action: keep\n  source_labels: [shard]\n  regex: {shard}\n"
        );
        let filters = [Arc::new(filter::RelabelFilter::from_yaml(&yaml).unwrap()) as _];
        let selected = select(&view, &filters).await.unwrap();
        assert!(selected.blocks.len() > 60);
        let again = select(&view, &filters).await.unwrap();
        assert!(again.blocks.keys().eq(selected.blocks.keys()));
        seen.extend(selected.blocks.into_keys());
    }
    seen.sort_unstable();
    assert!(seen.iter().eq(view.blocks.keys()));
}

/// ST-11: other actions are refused at the start; no rules want everything.
#[test]
fn only_actions_that_choose_are_accepted() {
    for yaml in ["", "[]", "null"] {
        filter::RelabelFilter::from_yaml(yaml).unwrap();
    }
    let yaml = "- action: labeldrop\n  regex: a\n";
    let error = filter::RelabelFilter::from_yaml(yaml).unwrap_err();
    assert_eq!(error.message(), "unsupported relabel action: labeldrop");
    let error = filter::RelabelFilter::from_yaml("- action: explode\n")
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("parsing relabel configuration") && error.contains("explode"),
        "{error}"
    );
}

/// ST-12: by upload time, or by the time of the id when nobody knows it.
#[tokio::test]
async fn blocks_are_fresh_by_their_upload_time() {
    use thanos_core::block::UploadTime;
    let now = Timestamp::from_millis(1_800_000_000_000);
    let uploaded = |age_ms: i64, source: &str| {
        let source = source.to_owned();
        block(1, move |meta| {
            let thanos = meta.thanos.get_or_insert_default();
            thanos.upload_time = UploadTime::at(now + (-age_ms));
            thanos.source = source;
        })
    };
    let filter: Arc<dyn filter::BlockFilter> = Arc::new(filter::ConsistencyDelayFilter::new(
        60_000,
        Arc::new(FixedClock(now)),
    ));
    for (entry, loaded) in [
        (uploaded(59_999, "sidecar"), 0),
        (uploaded(60_000, "sidecar"), 1),
        (uploaded(1, "compactor"), 1),
        (uploaded(1, "compactor.repair"), 1),
        (uploaded(1, "bucket.repair"), 1),
        (uploaded(1, "receive"), 0),
        (block(1, |_| ()), 1),
    ] {
        let view = view_of(vec![entry]);
        let selected = select(&view, &[Arc::clone(&filter)]).await.unwrap();
        assert_eq!(selected.blocks.len(), loaded, "{view:?}");
    }
}

/// ST-32: blocks that say that they were migrated, and those that the Parquet bucket covers.
#[tokio::test]
async fn converted_blocks_are_not_served() {
    let day = 24 * 3600 * 1000;
    let of_day = |number: u32| {
        block(number, |meta| {
            meta.min_time = Timestamp::from_millis(0);
            meta.max_time = Timestamp::from_millis(day);
        })
    };
    let mut migrated = of_day(3);
    let thanos = migrated.meta.thanos.get_or_insert_default();
    thanos.extensions = Some(serde_json::json!({"parquet_migrated": true}));
    let view = view_of(vec![of_day(1), of_day(2), migrated]);

    let parquet = memory();
    let mut pb = vec![6 << 3 | 2, 26];
    pb.extend_from_slice(id(1).to_string().as_bytes());
    parquet.put("some/day/meta.pb", pb.into()).await.unwrap();
    let filters = filter::StoreFilters {
        parquet: Some(filter::ParquetConvertedFilter::new(parquet.clone(), 4)),
        ..filter::StoreFilters::default()
    };
    let filters = filters.build();
    for gets in [1, 0] {
        let (selected, requests) = requests_of(&parquet, select(&view, &filters)).await;
        let selected = selected.unwrap();
        assert!(selected.blocks.keys().eq([&id(2)]));
        assert_eq!(selected.states.get(BlockState::ParquetConverted), 1);
        assert_eq!(selected.states.get(BlockState::ParquetMigrated), 1);
        assert_eq!(requests.gets, gets, "what did not change is not read again");
    }
}

#[tokio::test]
async fn replica_labels_are_removed_and_counted() {
    let view = view_of(vec![
        block(1, |_| ()),
        block(2, |meta| {
            meta.thanos
                .get_or_insert_default()
                .labels
                .insert("r".into(), "0".into());
        }),
    ]);
    let remover = filter::ReplicaLabelRemover::new(vec!["r".into(), "l".into()]);
    let selected = select(&view, &[Arc::new(remover) as _]).await.unwrap();
    assert_eq!(selected.replica_labels_removed, 3);
    for entry in selected.blocks.values() {
        assert_eq!(entry.meta.external_labels().to_string(), r#"{r="deduped"}"#);
    }
}
