//! What the store gateway does only when a query needs it: opening and fetching index-headers, expanding postings.

use serde_json::Value;
use thanos_bucket::testkit::Sizes;
use thanos_core::labels::Labels;
use thanos_core::testkit::TempDir;
use thanos_core::testkit::peer::Peer;

use crate::blocks::{Kind, OLD_MS, Outside};
use crate::metrics;
use crate::programs::{Store, directory_bucket, querier};

const LOADS: &str = "thanos_bucket_store_indexheader_lazy_load_total";
const UNLOADS: &str = "thanos_bucket_store_indexheader_lazy_unload_total";
const LAZY_POSTINGS: &str = "thanos_bucket_store_lazy_expanded_postings_total";

fn result_of(querier: &Peer, query: &str, time: &str) -> Value {
    let answer = querier.query("/api/v1/query", &[("query", query), ("time", time)]);
    let mut body: Value = serde_json::from_slice(&answer.body).unwrap();
    assert!(
        body["status"] == "success" && body["warnings"].is_null(),
        "{body}"
    );
    body["data"]["result"].take()
}

/// ST-06: an index-header is fetched when a query needs it, closed when it is idle, and opened again.
#[test]
fn index_headers_are_opened_by_queries_and_closed_when_idle() {
    let directory = TempDir::new("e2e-lazy-headers");
    let yaml = directory_bucket(directory.path());
    let outside = Outside::open(&yaml);
    let block = outside.upload(&[("a", "1")], Kind::Float, &[("replica", "1")], OLD_MS);
    let time = outside.query_time();
    for (strategy, is_fetched_at_sync) in [("eager", true), ("lazy", false)] {
        let store = Store::over(
            &yaml,
            &[
                "--store.enable-index-header-lazy-reader",
                "--store.index-header-lazy-reader-idle-timeout=300ms",
                &format!("--store.index-header-lazy-download-strategy={strategy}"),
            ],
        );
        let querier = querier(&[&store.grpc_address], &[]);
        let header = store
            .data_dir
            .path()
            .join(block.to_string())
            .join("index-header");
        assert_eq!(header.exists(), is_fetched_at_sync, "{strategy}");
        assert_eq!(metrics::sum(&store.http, LOADS, &[]), 0.0, "{strategy}");
        for times in [1.0, 2.0] {
            let found = result_of(&querier, "{a=\"1\"}", &time);
            assert_eq!(found[0]["metric"]["a"], "1", "{strategy}");
            assert_eq!(metrics::sum(&store.http, LOADS, &[]), times, "{strategy}");
            metrics::wait_for(&store.http, UNLOADS, &[], times);
        }
        assert!(header.exists(), "{strategy}");
        let failed = "thanos_bucket_store_indexheader_lazy_load_failed_total";
        assert_eq!(metrics::sum(&store.http, failed, &[]), 0.0);
    }
}

/// E-91: answers are the same with lazy postings and without, and only a selective query leaves postings out.
#[test]
fn lazy_postings_answer_as_eager_ones() {
    let directory = TempDir::new("e2e-lazy-postings");
    let yaml = directory_bucket(directory.path());
    // Series of unknown length count as long, and then postings are worth their bytes.
    let outside = Outside {
        sizes: Sizes::Known,
        ..Outside::open(&yaml)
    };
    let mut series: Vec<Labels> = (0..10_000)
        .map(|at| Labels::from_pairs([("a", &*at.to_string()), ("b", "1")]))
        .collect();
    series.sort();
    outside.upload_series(
        &series,
        Kind::Float,
        &[("ext1", "value1"), ("replica", "1")],
        OLD_MS,
    );
    let time = outside.query_time();
    let lazy = Store::over(&yaml, &["--store.enable-lazy-expanded-postings"]);
    let eager = Store::over(&yaml, &[]);
    let queriers = [&lazy, &eager].map(|store| querier(&[&store.grpc_address], &[]));

    for querier in &queriers {
        let found = result_of(querier, "count({b=\"1\"})", &time);
        assert_eq!(found[0]["value"][1], "10000", "{found}");
    }
    for store in [&lazy, &eager] {
        assert_eq!(metrics::sum(&store.http, LAZY_POSTINGS, &[]), 0.0);
    }

    let expected = serde_json::json!({"a": "1", "b": "1", "ext1": "value1", "replica": "1"});
    for querier in &queriers {
        let found = result_of(querier, "{a=\"1\", b=\"1\"}", &time);
        assert_eq!(found.as_array().unwrap().len(), 1, "{found}");
        assert_eq!(found[0]["metric"], expected);
    }
    assert!(metrics::sum(&lazy.http, LAZY_POSTINGS, &[]) >= 1.0);
    assert_eq!(metrics::sum(&eager.http, LAZY_POSTINGS, &[]), 0.0);
}
