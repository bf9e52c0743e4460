//! The tools under faults: whatever fails at whatever request, visible blocks are whole, and running a tool again ends
//! what was begun.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use object_store::memory::InMemory;
use thanos_bucket::Bucket;
use thanos_bucket::cache::memory::{InMemoryCache, InMemoryMetrics, InMemoryOptions};
use thanos_bucket::cache::{CachingStore, CachingStoreMetrics, CachingStoreOptions};
use thanos_bucket::compact::{Compactor, CompactorOptions, ViewOptions};
use thanos_bucket::fetch::{DiscoveryStrategy, FetchOptions};
use thanos_bucket::testkit::{FaultPlan, FaultyStore, StoreFault};
use thanos_bucket::tools::{
    MarkOptions, MarkerKind, ReplicateOptions, RewriteBlocksOptions, RewriteMode,
    UploadBlocksOptions, mark_blocks, replicate_blocks, rewrite_block_in, upload_blocks,
};
use thanos_bucket::transfer::{DownloadOptions, download_block};
use thanos_core::ErrorKind;
use thanos_core::block::BlockId;
use thanos_core::labels::Matcher;
use thanos_core::rewrite::{DeletionRequest, RewriteRules};
use thanos_core::testkit::{TempDir, TestRandom};

use crate::model::{Lines, Model, Seen, visible};
use crate::{Hands, is_long};

/// How often a tool runs over a store that fails, before it runs over one that is well.
const ATTEMPTS: usize = 4;

fn schedules() -> u64 {
    if is_long() { 1000 } else { 25 }
}

/// Runs `schedule` with many seeds, each in virtual time.
fn for_seeds<F: Future<Output = usize>>(schedule: impl Fn(u64) -> F) {
    let mut failed = 0;
    for seed in 0..schedules() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        failed += runtime.block_on(schedule(seed));
    }
    let least = usize::try_from(schedules() / 2).unwrap();
    assert!(failed >= least, "only {failed} runs failed");
}

/// A bucket in memory, and the way there that fails.
struct Rig {
    well: Bucket,
    store: Arc<FaultyStore>,
    faulty: Bucket,
    random: TestRandom,
    clock: Arc<Hands>,
}

impl Rig {
    fn new(seed: u64) -> Self {
        let inner = Arc::new(InMemory::new());
        let store = Arc::new(FaultyStore::new(inner.clone()));
        Self {
            well: Bucket::new(inner),
            faulty: Bucket::new(store.clone()),
            store,
            random: TestRandom::new(seed),
            clock: Hands::new(),
        }
    }

    /// Makes the store fail as it likes, and perhaps die.
    fn fail(&mut self) {
        let often = u32::try_from(self.random.below(4)).unwrap();
        self.store.start(FaultPlan {
            seed: self.random.next_u64(),
            per_mille: vec![
                (StoreFault::Unavailable, 10 * often),
                (StoreFault::LostAnswer, 20 * often),
                (StoreFault::ResetInBody, 10 * often),
                (StoreFault::SilentlyShortBody, 10 * often),
                (StoreFault::Throttled, 10 * often),
                (StoreFault::Spike, 100),
            ],
            spike_max: Duration::from_secs(1),
            spared: Vec::new(),
        });
        self.store.die_after(self.random.below(120));
    }
}

/// Blocks of the bucket that stay, and what they hold.
async fn content(bucket: &Bucket, what: &str) -> BTreeMap<BlockId, Lines> {
    let mut found = BTreeMap::new();
    for (id, (_, is_marked)) in visible(bucket).await {
        if !is_marked {
            found.insert(id, Seen::default().block(bucket, id, what).await);
        }
    }
    found
}

/// T-15: a copy has whole blocks or none, and goes on where it stopped.
#[test]
fn a_copied_block_is_whole_or_not_there() {
    let model = Model::new();
    for_seeds(|seed| {
        let model = &model;
        async move {
            let (origin, mut target) = (Rig::new(seed), Rig::new(seed + 1_000_000));
            model.upload(&origin.well, 1).await;
            let wanted = content(&origin.well, "origin").await;
            let (mut failed, options) = (0, ReplicateOptions::default());
            for attempt in 0..ATTEMPTS {
                target.fail();
                let copied = replicate_blocks(&origin.well, &target.faulty, &options).await;
                failed += usize::from(copied.is_err());
                let what = format!("seed {seed} attempt {attempt}");
                for (id, lines) in content(&target.well, &what).await {
                    assert!(lines == wanted[&id], "{what}: {id}");
                }
            }
            let copied = replicate_blocks(&origin.well, &target.well, &options).await;
            let copied = copied.unwrap();
            assert_eq!(copied.copied.len() + copied.already.len(), wanted.len());
            assert!(content(&target.well, "at the end").await == wanted);
            failed
        }
    });
}

/// T-15: a block that is deleted while it is copied is no block of the target.
#[tokio::test]
async fn a_block_that_is_being_deleted_is_not_copied() {
    let memory = Arc::new(InMemory::new());
    let origin = Bucket::new(memory.clone());
    let ids = Model::new().upload(&origin, 0).await;
    // The origin as somebody sees it who has looked a moment ago.
    let backend = InMemoryCache::new(InMemoryOptions::default(), InMemoryMetrics::named("test"));
    let backend = Arc::new(backend.unwrap());
    let seen_before = origin.clone().layered(|store| {
        let options = CachingStoreOptions::default();
        Arc::new(CachingStore::new(
            store,
            backend,
            options,
            CachingStoreMetrics::default(),
        ))
    });
    let mut options = ReplicateOptions::default();
    options.fetch.strategy = DiscoveryStrategy::Recursive;
    let elsewhere = Bucket::new(Arc::new(InMemory::new()));
    replicate_blocks(&seen_before, &elsewhere, &options)
        .await
        .unwrap();
    for object in ["meta.json", "chunks/000001"] {
        origin
            .delete(&format!("{}/{object}", ids[0]))
            .await
            .unwrap();
    }
    let target = Bucket::new(Arc::new(InMemory::new()));
    let copied = replicate_blocks(&seen_before, &target, &options).await;
    assert_eq!(copied.unwrap_err().kind(), ErrorKind::NotFound);
    assert!(!visible(&target).await.contains_key(&ids[0]));
}

/// T-15: an object of another length in the target is not one that was copied.
#[tokio::test]
async fn half_an_object_in_the_target_is_copied_again() {
    let (origin, target) = (
        Bucket::new(Arc::new(InMemory::new())),
        Bucket::new(Arc::new(InMemory::new())),
    );
    let ids = Model::new().upload(&origin, 0).await;
    let index = format!("{}/index", ids[0]);
    target.put(&index, "half".into()).await.unwrap();
    let options = ReplicateOptions::default();
    replicate_blocks(&origin, &target, &options).await.unwrap();
    let wanted = content(&origin, "origin").await;
    assert!(content(&target, "target").await == wanted);
}

/// T-31: uploading a directory again and again ends with every block there once.
#[test]
fn uploads_of_a_directory_go_on_where_they_stopped() {
    let model = Model::new();
    for_seeds(|seed| {
        let model = &model;
        async move {
            let mut rig = Rig::new(seed);
            let origin = Rig::new(seed).well;
            let (ids, dir) = (model.upload(&origin, 1).await, TempDir::new("upload"));
            for id in &ids {
                let into = dir.path().join(id.to_string());
                let options = DownloadOptions::default();
                download_block(&origin, *id, &into, &options).await.unwrap();
            }
            let labels = [("group".to_owned(), "001".to_owned())].into();
            let options = UploadBlocksOptions::new(dir.path().to_owned(), labels);
            let wanted = content(&origin, "origin").await;
            let mut failed = 0;
            for attempt in 0..ATTEMPTS {
                rig.fail();
                failed += usize::from(upload_blocks(&rig.faulty, &options).await.is_err());
                let what = format!("seed {seed} attempt {attempt}");
                for (id, lines) in content(&rig.well, &what).await {
                    assert!(lines == wanted[&id], "{what}: {id}");
                }
            }
            upload_blocks(&rig.well, &options).await.unwrap();
            assert!(content(&rig.well, "at the end").await == wanted);
            failed
        }
    });
}

/// T-23, T-29: while a block is replaced by one without some series, all others are to be seen at any time.
#[test]
fn rewriting_a_block_loses_nothing_else() {
    let model = Model::new();
    for_seeds(|seed| {
        let model = &model;
        async move {
            let mut rig = Rig::new(seed);
            let id = model.upload(&rig.well, 1).await[0];
            let before = content(&rig.well, "before").await.remove(&id).unwrap();
            let kept = |line: &&String| !line.contains("series=\"1\"");
            let kept: Lines = before.iter().filter(kept).cloned().collect();
            assert!(kept.len() < before.len());
            let rules = RewriteRules {
                deletions: vec![DeletionRequest {
                    matchers: vec![Matcher::equal("series", "1")],
                    intervals: Vec::new(),
                    request_id: "x".to_owned(),
                }],
                ..RewriteRules::default()
            };
            let dir = TempDir::new("rewrite");
            let mut options = RewriteBlocksOptions::new(rules, dir.path().to_owned());
            options.mode = RewriteMode::Replace;
            let others = content(&rig.well, "others").await;
            let (mut failed, mut is_done) = (0, false);
            for attempt in 0..ATTEMPTS {
                rig.fail();
                let what = format!("seed {seed} attempt {attempt}");
                let rewritten = rewrite_block_in(&rig.faulty, id, &options).await;
                failed += usize::from(rewritten.is_err());
                is_done |= rewritten.is_ok();
                let all: Lines = content(&rig.well, &what)
                    .await
                    .into_values()
                    .flatten()
                    .collect();
                assert!(all.is_superset(&kept), "{what}: samples are lost");
                if is_done {
                    break;
                }
            }
            if !is_done {
                rewrite_block_in(&rig.well, id, &options).await.unwrap();
            }
            let what = "at the end";
            let all: Lines = content(&rig.well, what)
                .await
                .into_values()
                .flatten()
                .collect();
            let others = others.iter().filter(|(other, _)| **other != id);
            let others = others.flat_map(|(_, lines)| lines).cloned();
            assert!(all == kept.into_iter().chain(others).collect());
            failed
        }
    });
}

/// T-21, T-22: a marked block goes as a whole, and what stops in the middle is ended by the next run.
#[test]
fn cleaning_ends_what_it_began() {
    let model = Model::new();
    for_seeds(|seed| {
        let model = &model;
        async move {
            let mut rig = Rig::new(seed);
            let ids = model.upload(&rig.well, 1).await;
            let before = content(&rig.well, "before").await;
            let (gone, kept) = ids.split_at(2);
            let put = MarkOptions::put(MarkerKind::Deletion, "not wanted");
            mark_blocks(&rig.well, gone, &put).await.unwrap();
            let options = || CompactorOptions {
                view: ViewOptions {
                    fetch: FetchOptions {
                        clock: rig.clock.clone(),
                        ..FetchOptions::default()
                    },
                    delete_delay_ms: 0,
                    consistency_delay_ms: 0,
                    ..ViewOptions::default()
                },
                ..CompactorOptions::default()
            };
            let (broken, clean) = (options(), options());
            // Marks have the time of the system, and the clock of the test stands before it.
            rig.clock.forward(100 * 365 * 24 * 3_600_000);
            let compactor = |bucket: &Bucket, options| {
                Compactor::new(bucket.clone(), Arc::new(NoWork), options).unwrap()
            };
            let cleaning = compactor(&rig.faulty, broken);
            let mut failed = 0;
            for attempt in 0..ATTEMPTS {
                rig.fail();
                let cleaned = match cleaning.sync().await {
                    Ok(_) => cleaning.delete_marked().await.map(drop),
                    Err(error) => Err(error),
                };
                failed += usize::from(cleaned.is_err());
                let what = format!("seed {seed} attempt {attempt}");
                let now = content(&rig.well, &what).await;
                for id in kept {
                    assert!(now[id] == before[id], "{what}: {id}");
                }
            }
            let cleaning = compactor(&rig.well, clean);
            cleaning.sync().await.unwrap();
            cleaning.clean_partial().await;
            cleaning.delete_marked().await.unwrap();
            for id in gone {
                let left = rig.well.objects_under(&id.to_string()).await.unwrap();
                assert!(left.is_empty(), "seed {seed}: {left:?}");
            }
            let staying: Vec<BlockId> = visible(&rig.well).await.into_keys().collect();
            assert_eq!(staying, kept);
            failed
        }
    });
}

/// Cleaning needs nobody who compacts.
#[derive(Debug)]
struct NoWork;

#[async_trait::async_trait]
impl thanos_bucket::compact::Work for NoWork {
    async fn compact(
        &self,
        _: &thanos_bucket::compact::Group,
        _: &thanos_bucket::compact::Plan,
        _: &Arc<dyn thanos_bucket::compact::Hooks>,
    ) -> thanos_core::Result<thanos_bucket::compact::Outcome> {
        unreachable!("nothing is compacted")
    }

    async fn downsample(
        &self,
        _: &thanos_bucket::compact::passes::Downsampling,
    ) -> thanos_core::Result<thanos_bucket::compact::Outcome> {
        unreachable!("nothing is downsampled")
    }
}
