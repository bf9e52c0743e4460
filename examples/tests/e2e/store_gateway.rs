//! The life of a bucket under a store gateway and a querier: blocks come, break and go.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;
use thanos_bucket::testkit::servers::ObjectServer;
use thanos_core::block::BlockId;
use thanos_core::query::Queryable;
use thanos_core::testkit::TempDir;
use thanos_core::testkit::peer::Peer;
use thanos_promql::Engine;
use thanos_storeapi::client::{ClientSettings, RemoteStore};
use thanos_storeapi::queryable::{StoreQueryable, StoreQueryableOptions};
use thanos_storeapi::tenant::TenantId;

use crate::blocks::{Kind, OLD_MS, Outside};
use crate::metrics;
use crate::programs::{Store, directory_bucket, querier};

const DROP_VALUE2: &str =
    "--selector.relabel-config=- action: drop\n  regex: value2\n  source_labels: [ext1]\n";
const ASKED: &str = "{a=\"1\"} @ end()";

type Series = BTreeSet<BTreeMap<String, String>>;

/// The series in the answer to an instant query.
fn ask(querier: &Peer, query: &str, time: &str, dedup: &str) -> Series {
    let parameters = [("query", query), ("time", time), ("dedup", dedup)];
    let answer = querier.query("/api/v1/query", &parameters);
    let body: Value = serde_json::from_slice(&answer.body).unwrap();
    assert!(
        body["status"] == "success" && body["warnings"].is_null(),
        "{body}"
    );
    let found = body["data"]["result"].as_array().unwrap();
    let metric = |series: &Value| serde_json::from_value(series["metric"].clone()).unwrap();
    found.iter().map(metric).collect()
}

/// The series `a="1"` with these values of `b`, `ext1` and `replica`; an empty value means that there is no such label.
fn series(of: &[[&str; 3]]) -> Series {
    let labels = |values: &[&str; 3]| {
        let pairs = [
            ("b", values[0]),
            ("ext1", values[1]),
            ("replica", values[2]),
        ];
        let given = pairs.into_iter().filter(|(_, value)| !value.is_empty());
        let all = given.chain([("a", "1")]);
        all.map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    };
    of.iter().map(labels).collect()
}

/// A bucket, the gateway over it and the querier over that.
struct Scenario {
    outside: Outside,
    store: Store,
    querier: Peer,
    with_histograms: bool,
    /// Blocks that went.
    drops: f64,
}

impl Scenario {
    fn start(yaml: &str, flags: &[&str], with_histograms: bool) -> Self {
        let mut all = vec!["--consistency-delay=30m", DROP_VALUE2];
        all.extend(flags);
        let store = Store::over(yaml, &all);
        let querier = querier(&[&store.grpc_address], &["--query.replica-label=replica"]);
        Self {
            outside: Outside::open(yaml),
            store,
            querier,
            with_histograms,
            drops: 0.0,
        }
    }

    fn upload(&self, b: &str, kind: Kind, ext1: &str, replica: &str, age_ms: i64) -> BlockId {
        let external = [("ext1", ext1), ("replica", replica)];
        self.outside
            .upload(&[("a", "1"), ("b", b)], kind, &external, age_ms)
    }

    /// How many blocks have native histograms.
    fn histograms(&self) -> f64 {
        if self.with_histograms { 2.0 } else { 0.0 }
    }

    /// Checks what a sync counts.
    fn synced(&self, floats_loaded: f64, others: f64) {
        let loaded = floats_loaded + self.histograms();
        let store = &self.store.http;
        metrics::wait_for(store, "thanos_blocks_meta_synced", &[], loaded + others);
        metrics::wait_for(store, "thanos_bucket_store_blocks_loaded", &[], loaded);
        for (name, expected) in [
            ("thanos_blocks_meta_sync_failures_total", 0.0),
            ("thanos_bucket_store_block_load_failures_total", 0.0),
            ("thanos_bucket_store_block_drops_total", self.drops),
        ] {
            assert_eq!(metrics::sum(store, name, &[]), expected, "{name}");
        }
    }

    /// Checks that the querier sees these series of floats, and those of histograms.
    fn sees(&self, query: &str, time: &str, floats: &[[&str; 3]]) {
        let mut expected = series(floats);
        if self.with_histograms {
            expected.extend(series(&[["3", "value3", "1"], ["4", "value3", "2"]]));
        }
        assert_eq!(ask(&self.querier, query, time, "false"), expected);
    }

    /// Asks the gateway as `tenant`; returns what it touched and fetched for that tenant, and how many blocks it asked.
    fn ask_as(&self, tenant: &str) -> [f64; 3] {
        let _runtime = self.outside.runtime.enter();
        let store = RemoteStore::new(&self.store.grpc_address, ClientSettings::default()).unwrap();
        let options = StoreQueryableOptions {
            tenant: TenantId::parse(tenant).unwrap(),
            ..StoreQueryableOptions::default()
        };
        let source: Arc<dyn Queryable> = Arc::new(StoreQueryable::new(Arc::new(store), options));
        let engine = Engine::default();
        let time = self.outside.now + 1000;
        let answer = engine.instant(&source, "{a=\"1\"}", time);
        let _ = self.outside.runtime.block_on(answer).unwrap();
        let label = format!("tenant=\"{tenant}\"");
        ["data_touched", "data_fetched", "blocks_queried"].map(|what| {
            let name = format!("thanos_bucket_store_series_{what}_sum");
            metrics::sum(&self.store.http, &name, &[&label])
        })
    }

    /// The steps of Thanos' `TestStoreGateway` and `TestStoreGatewayNoCacheFile`.
    fn run(&mut self) {
        let first = self.upload("2", Kind::Float, "value1", "1", OLD_MS);
        let second = self.upload("2", Kind::Float, "value1", "2", OLD_MS);
        self.upload("2", Kind::Float, "value2", "3", OLD_MS);
        self.upload("2", Kind::Float, "value1", "1", 0);
        if self.with_histograms {
            self.upload("3", Kind::Histogram, "value3", "1", OLD_MS);
            self.upload("4", Kind::FloatHistogram, "value3", "2", OLD_MS);
        }
        let time = self.outside.query_time();

        // Besides those loaded, one is excluded by its labels and one is too fresh.
        self.synced(2.0, 2.0);
        for state in ["label-excluded", "too-fresh"] {
            let label = format!("state=\"{state}\"");
            let name = "thanos_blocks_meta_synced";
            assert_eq!(
                metrics::sum(&self.store.http, name, &[&label]),
                1.0,
                "{state}"
            );
        }
        self.check_tenants();
        self.sees(ASKED, &time, &[["2", "value1", "1"], ["2", "value1", "2"]]);
        let mut deduplicated = series(&[["2", "value1", ""]]);
        if self.with_histograms {
            deduplicated.extend(series(&[["3", "value3", ""], ["4", "value3", ""]]));
        }
        assert_eq!(ask(&self.querier, ASKED, &time, "true"), deduplicated);

        // Without its meta.json a block is gone, and the directory that is left counts.
        self.outside.delete(&format!("{first}/meta.json"));
        self.drops += 1.0;
        self.synced(1.0, 3.0);
        self.sees(ASKED, &time, &[["2", "value1", "2"]]);

        let similar = self.upload("2", Kind::Float, "value1", "3", OLD_MS);
        self.synced(2.0, 3.0);
        self.sees(ASKED, &time, &[["2", "value1", "2"], ["2", "value1", "3"]]);
        assert_ne!(similar, first);

        self.outside.delete_block(second);
        self.drops += 1.0;
        self.synced(1.0, 3.0);
        self.sees(ASKED, &time, &[["2", "value1", "3"]]);

        let earlier = self.outside.now + (1000 - 4 * 3_600_000);
        let earlier = thanos_core::time::UtcTime::from_timestamp(earlier).to_string();
        self.sees("{a=\"1\"} offset -4h", &earlier, &[["2", "value1", "3"]]);
    }

    /// ST-34: each block is touched for one list of postings, one series and one chunk, and each tenant has its own
    /// counts. The index cache answers the second time: only chunks are fetched again.
    fn check_tenants(&self) {
        let blocks = 2.0 + self.histograms();
        let all = 3.0 * blocks;
        assert_eq!(self.ask_as("tenant-1"), [all, all, blocks]);
        assert_eq!(self.ask_as("tenant-2"), [all, blocks, blocks]);
        let label = ["tenant=\"tenant-1\""];
        let touched = "thanos_bucket_store_series_data_touched_sum";
        assert_eq!(metrics::sum(&self.store.http, touched, &label), all);
    }
}

/// E-84, ST-02, ST-12 over an S3 server: what is uploaded is served after the next sync, what is too fresh is not.
#[test]
fn blocks_come_and_go_in_an_s3_bucket() {
    let server = ObjectServer::s3();
    let yaml = server.config("blocks", "some/prefix");
    Scenario::start(&yaml, &[], true).run();
}

/// E-84 over a directory.
#[test]
fn blocks_come_and_go_in_a_directory() {
    let directory = TempDir::new("e2e-gateway");
    Scenario::start(&directory_bucket(directory.path()), &[], true).run();
}

/// E-85, ST-05: without a cache of index-headers nothing is written to the data directory.
#[test]
fn blocks_come_and_go_without_a_data_directory() {
    let directory = TempDir::new("e2e-gateway-memory");
    let yaml = directory_bucket(directory.path());
    let mut scenario = Scenario::start(&yaml, &["--no-cache-index-header"], false);
    scenario.run();
    let mut files = std::fs::read_dir(scenario.store.data_dir.path()).unwrap();
    assert!(files.next().is_none());
}

fn served_by(store: &Store) -> BTreeSet<String> {
    let answer = store.http.get("/api/v1/blocks?view=loaded");
    let found: Value = serde_json::from_slice(&answer.body).unwrap();
    let blocks = found["data"]["blocks"].as_array().unwrap();
    let id = |block: &Value| block["ulid"].as_str().unwrap().to_owned();
    blocks.iter().map(id).collect()
}

/// ST-11: hashmod over `__block_id` splits the blocks between two gateways.
#[test]
fn two_gateways_share_the_blocks_of_a_bucket() {
    let directory = TempDir::new("e2e-hashmod");
    let yaml = directory_bucket(directory.path());
    let outside = Outside::open(&yaml);
    for replica in 0..20 {
        let external = [("replica", &*replica.to_string())];
        outside.upload(&[("a", "1")], Kind::Float, &external, OLD_MS);
    }
    let shares = ["0", "1"].map(|share| {
        let flag = format!(
            "--selector.relabel-config=\n- action: hashmod\n  source_labels: [__block_id]\n  target_label: shard\n  modulus: 2\n- action: keep\n  source_labels: [shard]\n  regex: {share}\n"
        );
        served_by(&Store::over(&yaml, &[&flag]))
    });
    assert!(shares[0].is_disjoint(&shares[1]));
    assert_eq!(shares[0].len() + shares[1].len(), 20);
    assert!(!shares[0].is_empty() && !shares[1].is_empty());
}

/// ST-10: a block outside of the window is excluded; the window may move with the clock.
#[test]
fn blocks_outside_of_the_time_window_are_excluded() {
    let directory = TempDir::new("e2e-window");
    let yaml = directory_bucket(directory.path());
    let outside = Outside::open(&yaml);
    outside.upload(&[("a", "1")], Kind::Float, &[("replica", "1")], OLD_MS);
    for (flags, loaded) in [
        (["--min-time=-1h", "--max-time=1h"], 1.0),
        (["--min-time=-2h", "--max-time=-1h"], 0.0),
        (["--min-time=3h", "--max-time=4h"], 0.0),
    ] {
        let store = Store::over(&yaml, &flags);
        let name = "thanos_blocks_meta_synced";
        metrics::wait_for(&store.http, name, &["state=\"loaded\""], loaded);
        let excluded = ["state=\"time-excluded\""];
        assert_eq!(metrics::sum(&store.http, name, &excluded), 1.0 - loaded);
    }
}
