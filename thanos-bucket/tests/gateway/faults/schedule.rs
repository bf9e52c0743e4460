//! One schedule: syncs and concurrent calls on a failing bucket, and what their answers must be.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::join_all;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use thanos_bucket::Bucket;
use thanos_bucket::cache::{
    Backend, CachingStore, CachingStoreMetrics, CachingStoreOptions, InMemoryCache,
    InMemoryMetrics, InMemoryOptions, IndexCache, IndexCacheMetrics, IndexCacheOptions, Unsummed,
};
use thanos_bucket::gateway::{Gateway, GatewayOptions, SyncReport};
use thanos_bucket::testkit::{
    CacheFault, FaultPlan, FaultyCache, FaultyStore, LatencyModel, LatencyStore, StoreFault,
};
use thanos_core::budget::MemoryBudget;
use thanos_core::chunk::Aggregate;
use thanos_core::labels::{MatchOp, Matcher};
use thanos_core::testkit::{TempDir, TestRandom};
use thanos_core::time::TimeRange;
use thanos_core::{Error, ErrorKind, Result};
use thanos_storeapi::store::{
    LabelNamesRequest, LabelValuesRequest, PartialResponse, SeriesRequest, Store,
};
use thanos_storeapi::testkit::Answer;

use super::model::{HOUR_MS, Model, START_MS, Series, chunk_key};

/// Which faults a schedule has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Whatever a network and an overloaded store do.
    Network,
    /// Wrong bits. Not in meta.json: it has no checksum.
    FlippedBits,
    /// A bucket without faults, and caches that damage, lose, confuse and delay what they keep.
    Caches,
}

/// What happened in some schedules.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) schedules: usize,
    /// Calls by their outcome.
    pub(crate) complete: usize,
    pub(crate) partial: usize,
    pub(crate) failed: usize,
    pub(crate) cancelled: usize,
    pub(crate) failed_syncs: usize,
    pub(crate) injected: BTreeMap<StoreFault, usize>,
    pub(crate) in_caches: BTreeMap<CacheFault, usize>,
}

impl Report {
    pub(crate) fn add(&mut self, other: Self) {
        self.schedules += other.schedules;
        self.complete += other.complete;
        self.partial += other.partial;
        self.failed += other.failed;
        self.cancelled += other.cancelled;
        self.failed_syncs += other.failed_syncs;
        for (fault, count) in other.injected {
            *self.injected.entry(fault).or_default() += count;
        }
        for (fault, count) in other.in_caches {
            *self.in_caches.entry(fault).or_default() += count;
        }
    }

    fn count(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Complete => self.complete += 1,
            Outcome::Partial => self.partial += 1,
            Outcome::Failed => self.failed += 1,
            Outcome::Cancelled => self.cancelled += 1,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Complete,
    Partial,
    Failed,
    Cancelled,
}

impl Mode {
    pub(crate) fn faults(self) -> &'static [StoreFault] {
        match self {
            Self::Network => &[
                StoreFault::Spike,
                StoreFault::Throttled,
                StoreFault::Unavailable,
                StoreFault::ResetBeforeBody,
                StoreFault::ResetInBody,
                StoreFault::ShortBody,
                StoreFault::SilentlyShortBody,
                StoreFault::NotFound,
            ],
            Self::FlippedBits => &[StoreFault::FlippedBit],
            Self::Caches => &[],
        }
    }

    fn plan(self, random: &mut TestRandom) -> FaultPlan {
        let each = match self {
            Self::Network => [2, 8, 25, 60][below(random, 4)],
            Self::FlippedBits => [20, 100, 400][below(random, 3)],
            Self::Caches => 0,
        };
        FaultPlan {
            seed: random.next_u64(),
            per_mille: self.faults().iter().map(|fault| (*fault, each)).collect(),
            spike_max: Duration::from_secs(30),
            spared: vec![
                (StoreFault::FlippedBit, "meta.json"),
                // A block without meta.json is one whose upload has not ended.
                (StoreFault::NotFound, "meta.json"),
            ],
        }
    }
}

fn below(random: &mut TestRandom, bound: usize) -> usize {
    usize::try_from(random.below(bound as u64)).unwrap()
}

fn chance(random: &mut TestRandom, percent: u64) -> bool {
    random.below(100) < percent
}

/// The block that is uploaded, and the one that is deleted, while calls are under way.
const NEW_BLOCK: usize = 6;
const DELETED_BLOCK: usize = 1;
/// The block that takes the place of its sources, which are deleted while calls are under way.
const COMPACTED_BLOCK: usize = 7;
const SOURCES: [usize; 2] = [0, 1];

/// Runs the schedule of `seed` in simulated time.
///
/// # Panics
///
/// When an answer is wrong.
pub(crate) fn run(model: &Model, mode: Mode, seed: u64) -> Report {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    let schedule = Schedule::new(model, mode, seed);
    let within = Duration::from_secs(3600);
    runtime
        .block_on(async { tokio::time::timeout(within, schedule.run()).await })
        .expect("no call hangs")
}

/// Large enough for all, or so small that items come and go.
fn backend(random: &mut TestRandom, mode: Mode) -> (Arc<dyn Backend>, Option<Arc<FaultyCache>>) {
    let bytes_max = [1 << 20, 20_000][below(random, 2)];
    let options = InMemoryOptions {
        bytes_max,
        item_bytes_max: bytes_max / 2,
    };
    let memory = Arc::new(InMemoryCache::new(options, InMemoryMetrics::default()).unwrap());
    if mode != Mode::Caches {
        return (memory, None);
    }
    let per_mille = [5, 50, 200][below(random, 3)];
    let (seed, late_max) = (random.next_u64(), Duration::from_secs(1));
    let faulty = Arc::new(FaultyCache::new(memory, seed, per_mille, late_max));
    (faulty.clone(), Some(faulty))
}

/// A cache of chunks alone: one of listings and of metadata may tell of the past, by its settings.
fn caching_store(store: Arc<dyn ObjectStore>, backend: Arc<dyn Backend>) -> Arc<dyn ObjectStore> {
    let options = CachingStoreOptions {
        subrange_bytes: 1000,
        iter_ttl: Duration::ZERO,
        exists_ttl: Duration::ZERO,
        absent_ttl: Duration::ZERO,
        content_ttl: Duration::ZERO,
        unsummed: Unsummed::Missed,
        ..CachingStoreOptions::default()
    };
    let metrics = CachingStoreMetrics::default();
    Arc::new(CachingStore::new(store, backend, options, metrics))
}

struct Schedule<'a> {
    model: &'a Model,
    mode: Mode,
    random: TestRandom,
    memory: Arc<InMemory>,
    faulty: Arc<FaultyStore>,
    budget: MemoryBudget,
    _data_dir: Option<TempDir>,
    latency: Arc<LatencyStore>,
    faulty_caches: Vec<Arc<FaultyCache>>,
    gateway: Gateway,
    report: Report,
}

/// Which blocks a call may have seen: one of these sets, as a whole.
type Views = Vec<BTreeSet<usize>>;

impl<'a> Schedule<'a> {
    fn new(model: &'a Model, mode: Mode, seed: u64) -> Self {
        let mut random = TestRandom::new(seed ^ 0xFA17);
        let memory = Arc::new(InMemory::new());
        let faulty = Arc::new(FaultyStore::new(memory.clone()));
        let network = LatencyModel {
            request: Duration::from_millis(1 + random.below(50)),
            bytes_per_sec: 10_000_000,
            list_page_objects: 10,
        };
        let latency = Arc::new(LatencyStore::new(faulty.clone(), network));
        let budget_bytes = if chance(&mut random, 10) {
            1000 + random.below(100_000)
        } else {
            1 << 30
        };
        let budget = MemoryBudget::new("store memory", budget_bytes);
        let is_kept = mode == Mode::Caches;
        let mut faulty_caches = Vec::new();
        let index_cache = (is_kept || chance(&mut random, 50)).then(|| {
            let (backend, faulty) = backend(&mut random, mode);
            faulty_caches.extend(faulty);
            IndexCache::new(
                backend,
                IndexCacheOptions::default(),
                IndexCacheMetrics::default(),
            )
        });
        let data_dir = chance(&mut random, 10).then(|| TempDir::new("fault-headers"));
        let options = GatewayOptions {
            data_dir: data_dir.as_ref().map(|dir| dir.path().to_owned()),
            budget: budget.clone(),
            gap_bytes_max: [0, 1000, 512 << 10][below(&mut random, 3)],
            fetch_concurrency: 1 + below(&mut random, 8),
            index_cache,
            ..GatewayOptions::default()
        };
        let mut bucket = Bucket::new(latency.clone());
        if chance(&mut random, if is_kept { 70 } else { 30 }) {
            let (backend, faulty) = backend(&mut random, mode);
            faulty_caches.extend(faulty);
            bucket = bucket.layered(|store| caching_store(store, backend));
        }
        let gateway = Gateway::new(bucket, options);
        Self {
            model,
            mode,
            random,
            memory,
            faulty,
            budget,
            _data_dir: data_dir,
            latency,
            faulty_caches,
            gateway,
            report: Report::default(),
        }
    }

    async fn run(mut self) -> Report {
        let mut present: BTreeSet<usize> = (0..NEW_BLOCK).collect();
        for place in &present {
            self.upload(*place).await;
        }
        // Some schedules start well and some with a cold gateway in trouble; the empty view is what it has before.
        let mut views: Views = vec![BTreeSet::new()];
        if chance(&mut self.random, 50) {
            self.gateway.sync().await.unwrap();
            views = vec![present.clone()];
        }
        let plan = self.mode.plan(&mut self.random);
        self.faulty.start(plan);
        for place in &present {
            if chance(&mut self.random, 5) {
                self.faulty.hide(&self.name(*place));
            }
        }
        self.sync(&mut views, &present).await;
        self.calls(&views).await;

        if chance(&mut self.random, 30) {
            self.upload(NEW_BLOCK).await;
            present.insert(NEW_BLOCK);
        }
        let is_compacted = chance(&mut self.random, 30);
        if is_compacted {
            self.upload(COMPACTED_BLOCK).await;
            present.insert(COMPACTED_BLOCK);
        } else if chance(&mut self.random, 30) {
            let name = self.name(DELETED_BLOCK);
            if chance(&mut self.random, 50) {
                self.faulty.keep_listed(&name).await.unwrap();
            }
            self.delete(DELETED_BLOCK).await;
        }
        self.sync_among_calls(&mut views, &present, is_compacted)
            .await;
        let deleted = self.deleted().await;
        present = without_sources(&present - &deleted);
        self.check_recovery(&present).await;
        self.report.schedules = 1;
        self.report.injected = self.faulty.injected();
        for cache in &self.faulty_caches {
            for (fault, count) in cache.injected() {
                *self.report.in_caches.entry(fault).or_default() += count;
            }
        }
        self.report
    }

    fn name(&self, place: usize) -> String {
        self.model.blocks[place].spec.id.to_string()
    }

    async fn upload(&self, place: usize) {
        let block = &self.model.blocks[place];
        let bucket = Bucket::new(self.memory.clone());
        block.data.upload(&bucket, &block.spec).await.unwrap();
    }

    async fn delete(&self, place: usize) {
        let bucket = Bucket::new(self.memory.clone());
        for (object, _) in bucket.objects_under(&self.name(place)).await.unwrap() {
            bucket.delete(&object).await.unwrap();
        }
    }

    /// Returns those blocks that were there and are not any more.
    async fn deleted(&self) -> BTreeSet<usize> {
        let mut deleted = BTreeSet::new();
        for place in SOURCES {
            let meta = format!("{}/meta.json", self.name(place));
            if self.memory.head(&Path::from(meta)).await.is_err() {
                deleted.insert(place);
            }
        }
        deleted
    }

    /// Deletes what was compacted, one block after the other, in the midst of whatever goes on.
    async fn delete_sources(&self, mut random: TestRandom) {
        for place in SOURCES {
            tokio::time::sleep(Duration::from_millis(random.below(200))).await;
            self.delete(place).await;
        }
    }

    /// Syncs once; `views` become those that later calls may see.
    async fn sync(&mut self, views: &mut Views, present: &BTreeSet<usize>) {
        let before = views.clone();
        *views = self
            .synced(self.gateway.sync().await, before, present)
            .await;
    }

    /// Returns what the gateway may serve after a sync with this `outcome`: after an error what it served `before`, and
    /// of what is new what it could read.
    async fn synced(
        &mut self,
        outcome: Result<SyncReport>,
        before: Views,
        present: &BTreeSet<usize>,
    ) -> Views {
        let Err(error) = outcome else {
            return self.visible(present).await;
        };
        self.report.failed_syncs += 1;
        assert_clear(&error);
        let found: BTreeSet<_> = self
            .gateway
            .blocks()
            .iter()
            .map(|entry| entry.meta.ulid)
            .collect();
        let is_found = |place: &usize| found.contains(&self.model.blocks[*place].spec.id);
        let new: BTreeSet<usize> = present.iter().copied().filter(is_found).collect();
        // One that was never opened is not kept when it is gone.
        let deleted = self.deleted().await;
        let with_new = before.iter().map(|view| view | &new);
        let without_gone = before.iter().map(|view| &(view - &deleted) | &new);
        with_new.chain(without_gone).collect()
    }

    /// The sets of blocks that a sync may have come to. A block that was deleted but is still listed may be known from
    /// before, or not.
    async fn visible(&self, present: &BTreeSet<usize>) -> Views {
        let bucket = Bucket::new(self.faulty.clone());
        let listed = loop {
            // The question is asked until it meets no fault; what it shows is stale all the same.
            if let Ok(listed) = bucket.top_directories().await {
                break listed;
            }
        };
        let seen: BTreeSet<usize> = present
            .iter()
            .copied()
            .filter(|place| listed.contains(&self.name(*place)))
            .collect();
        let deleted = self.deleted().await;
        vec![
            without_sources(seen.clone()),
            without_sources(&seen - &deleted),
        ]
    }

    /// Some calls at once, some of which are given up.
    async fn calls(&mut self, views: &Views) {
        let count = 2 + below(&mut self.random, 4);
        let seeds: Vec<u64> = (0..count).map(|_| self.random.next_u64()).collect();
        let this = &*self;
        let calls = seeds
            .into_iter()
            .map(|seed| this.call(TestRandom::new(seed)));
        let answers = join_all(calls).await;
        for answer in answers {
            let outcome = answer.check(self.model, views);
            // What a cache has damaged, the bucket has whole.
            let is_seen = self.mode == Mode::Caches && format!("{answer:?}").contains("Corrupt");
            assert!(!is_seen, "damage of a cache is seen: {answer:?}");
            self.report.count(outcome);
        }
        self.check_nothing_is_left().await;
    }

    /// Calls while a sync is under way, and while sources of a compacted block go away: each sees the blocks of before or
    /// those of after.
    async fn sync_among_calls(
        &mut self,
        views: &mut Views,
        present: &BTreeSet<usize>,
        is_compacted: bool,
    ) {
        let count = 2 + below(&mut self.random, 4);
        let seeds: Vec<u64> = (0..count).map(|_| self.random.next_u64()).collect();
        let seed_of_deletions = self.random.next_u64();
        let this = &*self;
        let calls = seeds.into_iter().map(|seed| async move {
            let mut random = TestRandom::new(seed);
            tokio::time::sleep(Duration::from_millis(random.below(500))).await;
            this.call(random).await
        });
        let random = TestRandom::new(seed_of_deletions);
        let deletions = async {
            if is_compacted {
                this.delete_sources(random).await;
            }
        };
        let (synced, answers, ()) = tokio::join!(this.gateway.sync(), join_all(calls), deletions);
        let after = self.synced(synced, views.clone(), present).await;
        views.extend(after);
        for answer in answers {
            let outcome = answer.check(self.model, views);
            self.report.count(outcome);
        }
        self.check_nothing_is_left().await;
    }

    /// Cancelled or not: no request is under way any more, and all memory is given back.
    async fn check_nothing_is_left(&self) {
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(
            self.latency.in_flight(),
            0,
            "requests that nobody waits for"
        );
        assert_eq!(self.budget.used_bytes(), 0, "memory that nobody gave back");
    }

    /// When the store is well again, the next sync and the calls after it are as if nothing had been.
    async fn check_recovery(&mut self, present: &BTreeSet<usize>) {
        self.faulty.stop();
        let report = self.gateway.sync().await.unwrap();
        assert!(report.failed.is_empty(), "{:?}", report.failed);
        assert_eq!(report.loaded, present.len());
        if self.budget.limit_bytes() < 1 << 20 {
            return;
        }
        for _ in 0..3 {
            let mut random = TestRandom::new(self.random.next_u64());
            let answer = self.ask(Call::new(&mut random), None).await;
            let outcome = answer.check(self.model, &vec![present.clone()]);
            assert_eq!(outcome, Outcome::Complete, "after the faults: {answer:?}");
        }
    }

    async fn call(&self, mut random: TestRandom) -> CallAnswer {
        let call = Call::new(&mut random);
        let patience = chance(&mut random, 25).then(|| Patience::new(&mut random));
        self.ask(call, patience).await
    }

    async fn ask(&self, call: Call, patience: Option<Patience>) -> CallAnswer {
        let asked = async {
            match &call {
                Call::Series(request) => self.ask_series(request.clone(), patience).await,
                Call::Names(request) => {
                    let answer = self.gateway.label_names(request.clone()).await;
                    answer.map(Some).map(|answer| answer.map(Found::Labels))
                }
                Call::Values(request) => {
                    let answer = self.gateway.label_values(request.clone()).await;
                    answer.map(Some).map(|answer| answer.map(Found::Labels))
                }
            }
        };
        let found = match patience {
            Some(Patience::Time(time)) => {
                tokio::time::timeout(time, asked).await.unwrap_or(Ok(None))
            }
            _ => asked.await,
        };
        CallAnswer { call, found }
    }

    /// Returns `None` when whoever asked lost patience.
    async fn ask_series(
        &self,
        request: SeriesRequest,
        patience: Option<Patience>,
    ) -> Result<Option<Found>> {
        let mut stream = self.gateway.series(request).await?;
        if let Some(Patience::Events(events)) = patience {
            for _ in 0..events {
                if stream.next().await.is_none() {
                    break;
                }
            }
            return Ok(None);
        }
        let answer = Answer::collect(stream).await?;
        Ok(Some(Found::Series(answer)))
    }
}

/// Returns `view` as the filter of duplicates leaves it.
fn without_sources(mut view: BTreeSet<usize>) -> BTreeSet<usize> {
    if view.contains(&COMPACTED_BLOCK) {
        view.retain(|place| !SOURCES.contains(place));
    }
    view
}

/// When a call is given up.
#[derive(Debug, Clone, Copy)]
enum Patience {
    Time(Duration),
    Events(usize),
}

impl Patience {
    fn new(random: &mut TestRandom) -> Self {
        if chance(random, 50) {
            Self::Time(Duration::from_millis(random.below(400)))
        } else {
            Self::Events(below(random, 3))
        }
    }
}

#[derive(Debug)]
enum Call {
    Series(SeriesRequest),
    Names(LabelNamesRequest),
    Values(LabelValuesRequest),
}

#[derive(Debug)]
enum Found {
    Series(Answer),
    Labels(thanos_storeapi::store::LabelsResponse),
}

#[derive(Debug)]
struct CallAnswer {
    call: Call,
    found: Result<Option<Found>>,
}

impl Call {
    fn new(random: &mut TestRandom) -> Self {
        let partial_response = if chance(random, 50) {
            PartialResponse::Warn
        } else {
            PartialResponse::Abort
        };
        let matchers = matchers(random);
        let without_replica_labels = if chance(random, 40) {
            vec!["replica".to_owned()]
        } else {
            Vec::new()
        };
        match random.below(10) {
            0 => Self::Names(LabelNamesRequest {
                matchers: if chance(random, 50) {
                    matchers
                } else {
                    Vec::new()
                },
                partial_response,
                without_replica_labels,
                ..LabelNamesRequest::default()
            }),
            1 => Self::Values(LabelValuesRequest {
                label: ["__name__", "instance", "replica", "nothing"][below(random, 4)].to_owned(),
                matchers: if chance(random, 50) {
                    matchers
                } else {
                    Vec::new()
                },
                partial_response,
                without_replica_labels,
                ..LabelValuesRequest::default()
            }),
            _ => Self::Series(SeriesRequest {
                range: time_range(random),
                matchers,
                max_resolution_window_ms: [0, 0, 300_000, 3_600_000][below(random, 4)],
                aggregates: [
                    vec![],
                    vec![Aggregate::Count, Aggregate::Sum],
                    vec![Aggregate::Max],
                ][below(random, 3)]
                .clone(),
                partial_response,
                skip_chunks: chance(random, 15),
                without_replica_labels,
                ..SeriesRequest::default()
            }),
        }
    }
}

fn time_range(random: &mut TestRandom) -> TimeRange {
    if chance(random, 40) {
        return TimeRange::ALL;
    }
    let at =
        |random: &mut TestRandom| START_MS + random.below(5 * HOUR_MS.unsigned_abs()).cast_signed();
    let (a, b) = (at(random), at(random));
    TimeRange::from_millis(a.min(b), a.max(b))
}

fn matchers(random: &mut TestRandom) -> Vec<Matcher> {
    let new = |op, name, value| Matcher::new(op, name, value).unwrap();
    let all = new(MatchOp::Regex, "__name__", ".+");
    match random.below(8) {
        0..3 => vec![all],
        3 => vec![Matcher::equal("__name__", "up")],
        4 => vec![
            Matcher::equal("job", "api"),
            new(MatchOp::NotEqual, "__name__", "up"),
        ],
        5 => vec![new(MatchOp::Regex, "instance", "10.0.0.[12]:.*")],
        6 => vec![all, Matcher::equal("replica", "b")],
        _ => vec![all, new(MatchOp::NotRegex, "text", "x{1,100}")],
    }
}

/// An error names what could not be read.
fn assert_clear(error: &Error) {
    let text = format!("{error:?} {error}");
    let names = ["listing", "thanos-tombstones", "000000000", "01HF"];
    let is_named = names.iter().any(|name| text.contains(name));
    let is_limit = error.kind() == ErrorKind::LimitExceeded;
    assert!(
        is_named || is_limit,
        "an error that names nothing: {error:?}"
    );
}

impl CallAnswer {
    /// Checks that the answer is what one of `views` gives, or less and says so, or an error.
    fn check(&self, model: &Model, views: &Views) -> Outcome {
        let found = match &self.found {
            Ok(None) => return Outcome::Cancelled,
            Err(error) => {
                assert_clear(error);
                return Outcome::Failed;
            }
            Ok(Some(found)) => found,
        };
        match (&self.call, found) {
            (Call::Series(request), Found::Series(answer)) => {
                check_series(model, views, request, answer)
            }
            (Call::Names(request), Found::Labels(answer)) => {
                let names = |view: &BTreeSet<usize>| -> BTreeSet<String> {
                    let labels = model.labels(view, &request.matchers);
                    let names = labels.iter().flat_map(|labels| labels.iter());
                    names
                        .map(|(name, _)| name.into_owned())
                        .filter(|name| !request.without_replica_labels.contains(name))
                        .collect()
                };
                let views: Vec<_> = views.iter().map(names).collect();
                check_labels(&views, request.partial_response, answer)
            }
            (Call::Values(request), Found::Labels(answer)) => {
                let values = |view: &BTreeSet<usize>| -> BTreeSet<String> {
                    if request.without_replica_labels.contains(&request.label) {
                        return BTreeSet::new();
                    }
                    let labels = model.labels(view, &request.matchers);
                    let values = labels
                        .iter()
                        .filter_map(|labels| labels.get(&request.label));
                    values.map(|value| value.into_owned()).collect()
                };
                let views: Vec<_> = views.iter().map(values).collect();
                check_labels(&views, request.partial_response, answer)
            }
            (call, found) => panic!("{call:?} is no question for {found:?}"),
        }
    }
}

fn check_series(model: &Model, views: &Views, request: &SeriesRequest, answer: &Answer) -> Outcome {
    let labels = answer.labels();
    assert!(
        labels.is_sorted_by(|a, b| a < b),
        "in order, each series once"
    );
    let found: Series = answer
        .series
        .iter()
        .map(|series| {
            (
                series.labels.clone(),
                series.chunks().map(chunk_key).collect(),
            )
        })
        .collect();
    if answer.missing.is_empty() {
        let is_right = |view: &BTreeSet<usize>| model.series(view, request) == found;
        assert!(
            views.iter().any(is_right),
            "a wrong or silently partial answer to {request:?}:\n{}",
            difference(&found, &model.series(&views[0], request))
        );
        return Outcome::Complete;
    }
    assert_eq!(
        request.partial_response,
        PartialResponse::Warn,
        "{:?}",
        answer.missing
    );
    let is_part = |view: &BTreeSet<usize>| {
        let whole = model.everything(view, request);
        found
            .iter()
            .all(|(labels, chunks)| whole.get(labels).is_some_and(|all| all.is_superset(chunks)))
    };
    assert!(
        views.iter().any(is_part),
        "a partial answer with data that is not there: {request:?}"
    );
    Outcome::Partial
}

fn difference(found: &Series, wanted: &Series) -> String {
    let mut text = String::new();
    let names: BTreeSet<_> = found.keys().chain(wanted.keys()).collect();
    for labels in names {
        let none = BTreeSet::new();
        let (has, wants) = (
            found.get(labels).unwrap_or(&none),
            wanted.get(labels).unwrap_or(&none),
        );
        if has != wants || found.contains_key(labels) != wanted.contains_key(labels) {
            let (has, wants) = (has.len(), wants.len());
            text.push_str(&format!("{labels}: {has} chunks instead of {wants}\n"));
        }
    }
    text
}

fn check_labels(
    views: &[BTreeSet<String>],
    policy: PartialResponse,
    answer: &thanos_storeapi::store::LabelsResponse,
) -> Outcome {
    let found: BTreeSet<String> = answer.values.iter().cloned().collect();
    assert!(
        answer.values.is_sorted_by(|a, b| a < b),
        "{:?}",
        answer.values
    );
    if answer.completeness.is_complete() {
        assert!(views.contains(&found), "{found:?} is none of {views:?}");
        return Outcome::Complete;
    }
    assert_eq!(policy, PartialResponse::Warn, "{:?}", answer.completeness);
    assert!(
        views.iter().any(|view| view.is_superset(&found)),
        "{found:?} is part of none of {views:?}"
    );
    Outcome::Partial
}
