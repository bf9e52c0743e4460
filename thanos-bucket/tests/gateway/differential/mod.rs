//! Random requests to a gateway over random blocks: it answers as the definition says, and as a store over the same
//! blocks in files.
//!
//! `PROPTEST_CASES` sets how many buckets are tried, `THANOS_TEST_LONG` tries many; `THANOS_DIFFERENTIAL_SEED` repeats
//! one.

mod naive;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use object_store::memory::InMemory;
use thanos_bucket::Bucket;
use thanos_bucket::cache::{InMemoryOptions, IndexCache};
use thanos_bucket::gateway::{
    Gateway, GatewayOptions, HeaderDownload, HeaderOptions, LazyPostings,
};
use thanos_core::budget::MemoryBudget;
use thanos_core::chunk::Aggregate;
use thanos_core::labels::{MatchOp, Matcher};
use thanos_core::testkit::{TempDir, TestRandom};
use thanos_core::time::TimeRange;
use thanos_storeapi::hints::{
    BLOCK_ID_LABEL, LabelCall, LabelsResponseHints, SeriesRequestHints, SeriesResponseHints,
};
use thanos_storeapi::store::{
    LabelNamesRequest, LabelValuesRequest, LabelsResponse, SeriesRequest, ShardInfo, Store,
};
use thanos_storeapi::stores::{LocalStore, LocalStoreOptions};
use thanos_storeapi::testkit::Answer;

use self::naive::{
    Found, GRID_MS, GRID_STEPS, NaiveBlock, START_MS, below, blocks, chance, chosen, chunk_key,
    one_of,
};

/// How many requests each bucket gets.
const REQUESTS: usize = 25;

/// A bucket with two gateways over it, and the same blocks in files.
struct Case {
    blocks: Vec<NaiveBlock>,
    gateways: [Gateway; 2],
    local: LocalStore,
    budget: MemoryBudget,
    _dirs: [TempDir; 2],
}

impl Case {
    async fn new(random: &mut TestRandom) -> Self {
        let blocks = blocks(random);
        let bucket = Bucket::new(Arc::new(InMemory::new()));
        let dirs = [
            TempDir::new("differential"),
            TempDir::new("differential-data"),
        ];
        let files = thanos_bucket::directory::open(dirs[0].path()).unwrap();
        for block in &blocks {
            block.data.upload(&bucket, &block.spec).await.unwrap();
            block.data.upload(&files, &block.spec).await.unwrap();
        }
        let budget = MemoryBudget::new("store memory", 1 << 30);
        let mut gateways = [0, 1].map(|_| {
            let data_dir = chance(random, 20).then(|| dirs[1].path().to_owned());
            let options = GatewayOptions {
                data_dir,
                ..options(random, &budget)
            };
            Gateway::new(bucket.clone(), options)
        });
        for gateway in &mut gateways {
            assert_eq!(gateway.sync().await.unwrap().loaded, blocks.len());
        }
        let local = LocalStore::open(dirs[0].path(), LocalStoreOptions::default()).unwrap();
        Self {
            blocks,
            gateways,
            local,
            budget,
            _dirs: dirs,
        }
    }

    async fn check_series(&self, gateway: &Gateway, request: &SeriesRequest) {
        let answer = gateway.series(request.clone()).await.unwrap();
        let answer = Answer::collect(answer).await.unwrap();
        let labels = answer.labels();
        assert!(labels.is_sorted_by(|a, b| a < b), "in order, each once");
        assert!(answer.missing.is_empty() && answer.warnings.is_empty());

        let hints = request.hints.as_ref().map(SeriesRequestHints::decode);
        let hints = hints.transpose().unwrap().unwrap_or_default();
        let is_wanted = |block: &&NaiveBlock| is_hinted(block, &hints.block_matchers);
        let read: Vec<&NaiveBlock> = chosen(&self.blocks, request).filter(is_wanted).collect();
        let expected = naive::series(read.iter().copied(), request);
        assert_same(&answer, &expected);

        let said = SeriesResponseHints::decode(&answer.hints[0]).unwrap();
        let said: BTreeSet<String> = said.queried_blocks.into_iter().collect();
        let read: BTreeSet<String> = read.iter().map(|block| block.id()).collect();
        assert_eq!(said, read, "the blocks that were read");

        if request.hints.is_none() {
            let local = self.local.series(request.clone()).await.unwrap();
            let local = Answer::collect(local).await.unwrap();
            assert_eq!(flat(&answer), flat(&local), "the store over files");
        }
    }

    async fn check_names(&self, gateway: &Gateway, request: &LabelNamesRequest) {
        let answer = gateway.label_names(request.clone()).await.unwrap();
        let mut names = BTreeSet::new();
        for block in &self.blocks {
            for labels in block.labelled(&request.matchers, request.range) {
                names.extend(labels.iter().map(|(name, _)| name.into_owned()));
            }
        }
        for name in &request.without_replica_labels {
            names.remove(name);
        }
        self.check_labels(&answer, names, request.limit, LabelCall::Names);
    }

    async fn check_values(&self, gateway: &Gateway, request: &LabelValuesRequest) {
        let answer = gateway.label_values(request.clone()).await.unwrap();
        let mut values = BTreeSet::new();
        for block in &self.blocks {
            for labels in block.labelled(&request.matchers, request.range) {
                values.extend(labels.get(&request.label).map(|value| value.into_owned()));
            }
        }
        if request.without_replica_labels.contains(&request.label) {
            values.clear();
        }
        self.check_labels(&answer, values, request.limit, LabelCall::Values);
    }

    fn check_labels(
        &self,
        answer: &LabelsResponse,
        expected: BTreeSet<String>,
        limit: u64,
        call: LabelCall,
    ) {
        let limit = usize::try_from(limit).unwrap();
        let limit = if limit == 0 { usize::MAX } else { limit };
        let expected: Vec<String> = expected.into_iter().take(limit).collect();
        assert_eq!(answer.values, expected);
        assert!(answer.completeness.is_complete());
        if let Some(hints) = &answer.hints {
            let hints = LabelsResponseHints::decode(hints, call).unwrap();
            let is_known = |id: &String| self.blocks.iter().any(|block| block.id() == *id);
            assert!(hints.queried_blocks.iter().all(is_known));
        }
    }
}

fn options(random: &mut TestRandom, budget: &MemoryBudget) -> GatewayOptions {
    let headers = HeaderOptions {
        download: one_of(random, &[HeaderDownload::AtSync, HeaderDownload::AtUse]),
        postings_sampling: one_of(random, &[1, 3, 32]).try_into().unwrap(),
        ..HeaderOptions::default()
    };
    let cache = |bytes_max: u64| {
        let item_bytes_max = bytes_max / 2;
        IndexCache::in_memory(InMemoryOptions {
            bytes_max,
            item_bytes_max,
        })
        .unwrap()
    };
    let lazy = |max_key_series_ratio| LazyPostings {
        max_key_series_ratio,
    };
    GatewayOptions {
        headers,
        lazy_postings: one_of(random, &[None, Some(0.0), Some(1.0), Some(100.0)]).map(lazy),
        gap_bytes_max: one_of(random, &[0, 100, 512 << 10]),
        fetch_concurrency: 1 + below(random, 8),
        index_cache: one_of(random, &[None, Some(20_000), Some(1 << 20)]).map(cache),
        series_response_hints: true,
        budget: budget.clone(),
        ..GatewayOptions::default()
    }
}

fn is_hinted(block: &NaiveBlock, matchers: &[Matcher]) -> bool {
    matchers.iter().all(|matcher| match matcher.name() {
        BLOCK_ID_LABEL => matcher.matches(&block.id()),
        name => matcher.matches(&block.external.get(name).unwrap_or_default()),
    })
}

type Flat = Vec<(String, Vec<naive::ChunkKey>)>;

fn flat(answer: &Answer) -> Flat {
    let series = answer.series.iter();
    let flat = series.map(|series| {
        let chunks = series.chunks().map(chunk_key).collect();
        (series.labels.to_string(), chunks)
    });
    flat.collect()
}

fn assert_same(answer: &Answer, expected: &Found) {
    let mut found = Found::new();
    for series in &answer.series {
        let chunks: Vec<_> = series.chunks().map(chunk_key).collect();
        assert!(
            chunks.is_sorted_by_key(|chunk| (chunk.0, chunk.1)),
            "{}",
            series.labels
        );
        let all = chunks.len();
        let set: BTreeSet<_> = chunks.into_iter().collect();
        assert_eq!(set.len(), all, "each chunk once: {}", series.labels);
        found.insert(series.labels.clone(), set);
    }
    let mut wrong = Vec::new();
    for labels in found.keys().chain(expected.keys()) {
        let count = |of: &Found| of.get(labels).map(BTreeSet::len);
        if found.get(labels) != expected.get(labels) {
            wrong.push(format!(
                "{labels}: {:?} chunks, not {:?}",
                count(&found),
                count(expected)
            ));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn matchers(random: &mut TestRandom) -> Vec<Matcher> {
    let count = one_of(random, &[1, 1, 2, 2, 3]);
    (0..count).map(|_| matcher(random)).collect()
}

fn matcher(random: &mut TestRandom) -> Matcher {
    let op = one_of(
        random,
        &[
            MatchOp::Equal,
            MatchOp::Regex,
            MatchOp::Regex,
            MatchOp::NotEqual,
            MatchOp::NotRegex,
        ],
    );
    let names = [
        "__name__", "__name__", "instance", "job", "text", "region", "replica", "pod", "no",
    ];
    let name = one_of(random, &names);
    let patterns: &[&str] = match name {
        "__name__" => &[
            ".+",
            ".+",
            "up",
            "up|go_goroutines",
            "(up|http).*",
            ".*_.*",
            "nothing",
        ],
        "instance" => &[
            ".+",
            "10.0.0.*",
            "10.0.0.1:9100",
            ".*:9100",
            "10[.]0[.]0[.](1|2|3):9100",
        ],
        "text" => &["x+", "x{0,500}", "", ".*"],
        _ => &[
            "",
            ".*",
            ".+",
            "a",
            "a|b",
            "api",
            "api|",
            "eu",
            "inner|eu",
            "node|api|nothing",
        ],
    };
    Matcher::new(op, name, one_of(random, patterns)).unwrap()
}

fn range(random: &mut TestRandom) -> TimeRange {
    if chance(random, 40) {
        return TimeRange::ALL;
    }
    let span = (GRID_STEPS + 8) * GRID_MS;
    let mut at = || START_MS + random.below(span.unsigned_abs()).cast_signed();
    let (a, b) = (at(), at());
    if chance(random, 10) {
        return TimeRange::from_millis(a, a);
    }
    TimeRange::from_millis(a.min(b), a.max(b))
}

fn without(random: &mut TestRandom) -> Vec<String> {
    let names = one_of(
        random,
        &[&[][..], &[], &["replica"], &["replica", "pod"], &["job"]],
    );
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn series_request(random: &mut TestRandom, blocks: &[NaiveBlock]) -> SeriesRequest {
    let shard = ShardInfo {
        shard_index: random.below(3),
        total_shards: 3,
        by: chance(random, 50),
        labels: vec![one_of(random, &["instance", "replica", "region"]).to_owned()],
    };
    let all = Aggregate::DOWNSAMPLED.to_vec();
    let few = vec![Aggregate::Count, Aggregate::Sum];
    let aggregates = [Vec::new(), few, vec![Aggregate::Max], all];
    let block = one_of(
        random,
        &blocks.iter().map(NaiveBlock::id).collect::<Vec<_>>(),
    );
    let hinted = SeriesRequestHints {
        block_matchers: vec![match chance(random, 50) {
            true => Matcher::equal(BLOCK_ID_LABEL, &block),
            false => Matcher::equal("region", "eu"),
        }],
        enable_query_stats: chance(random, 50),
    };
    SeriesRequest {
        range: range(random),
        matchers: matchers(random),
        max_resolution_window_ms: one_of(random, &[0, 0, 299_999, 300_000, 3_600_000, i64::MAX]),
        aggregates: one_of(random, &aggregates),
        skip_chunks: chance(random, 20),
        hints: chance(random, 10).then(|| hinted.encode()),
        shard: chance(random, 20).then_some(shard),
        without_replica_labels: without(random),
        limit: one_of(random, &[0, 0, 0, 1, 5, 300]),
        ..SeriesRequest::default()
    }
}

async fn check_one(case: &Case, random: &mut TestRandom) {
    let gateway = &case.gateways[below(random, 2)];
    let some_matchers = |random: &mut TestRandom| match chance(random, 30) {
        true => Vec::new(),
        false => matchers(random),
    };
    let limit = |random: &mut TestRandom| one_of(random, &[0, 0, 1, 3]);
    match random.below(10) {
        0 => {
            let request = LabelNamesRequest {
                range: range(random),
                matchers: some_matchers(random),
                without_replica_labels: without(random),
                limit: limit(random),
                ..LabelNamesRequest::default()
            };
            println!("{request:?}");
            case.check_names(gateway, &request).await;
        }
        1 => {
            let labels = [
                "__name__", "instance", "job", "region", "replica", "pod", "no",
            ];
            let request = LabelValuesRequest {
                label: one_of(random, &labels).to_owned(),
                range: range(random),
                matchers: some_matchers(random),
                without_replica_labels: without(random),
                limit: limit(random),
                ..LabelValuesRequest::default()
            };
            println!("{request:?}");
            case.check_values(gateway, &request).await;
        }
        _ => {
            let request = series_request(random, &case.blocks);
            println!("{request:?}");
            case.check_series(gateway, &request).await;
        }
    }
}

async fn run(seed: u64) {
    let mut random = TestRandom::new(seed ^ 0xD1FF);
    let case = Case::new(&mut random).await;
    for _ in 0..REQUESTS {
        check_one(&case, &mut random).await;
        all_given_back(&case.budget).await;
    }
}

/// A piece of work that has begun on the pool ends on its own when its answer was left early.
async fn all_given_back(budget: &MemoryBudget) {
    let is_free = async {
        while budget.used_bytes() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(60), is_free).await;
    waited.expect("memory that nobody gave back");
}

/// A number from the environment.
fn number_of(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// ST-14, ST-17, ST-18, ST-29, ST-30: whatever the blocks, the settings and the request.
#[test]
fn answers_are_those_of_the_definition_and_of_files() {
    let long = std::env::var_os("THANOS_TEST_LONG").is_some();
    let cases = number_of("PROPTEST_CASES").unwrap_or(if long { 2000 } else { 60 });
    let only = number_of("THANOS_DIFFERENTIAL_SEED");
    let seeds = only.map_or(0..cases, |seed| seed..seed + 1);
    for seed in seeds {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let ran = catch_unwind(AssertUnwindSafe(|| runtime.block_on(run(seed))));
        assert!(
            ran.is_ok(),
            "bucket {seed} failed, THANOS_DIFFERENTIAL_SEED={seed} repeats it"
        );
    }
}
