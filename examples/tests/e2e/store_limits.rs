//! Limits of the store gateway as a querier sees them.

use thanos_bucket::testkit::Sizes;
use thanos_core::testkit::TempDir;
use thanos_core::testkit::peer::Peer;

use crate::blocks::{Kind, OLD_MS, Outside};
use crate::metrics;
use crate::programs::{Store, directory_bucket, querier};

/// Asks for the series of the block, all or nothing; returns the status and the body.
fn ask(querier: &Peer, outside: &Outside) -> (u16, String) {
    let time = outside.query_time();
    let parameters = [
        ("query", "{a=\"1\"}"),
        ("time", &time),
        ("partial_response", "false"),
    ];
    let answer = querier.query("/api/v1/query", &parameters);
    (answer.status, String::from_utf8(answer.body).unwrap())
}

fn fetched_bytes(store: &Store, data_type: &str) -> f64 {
    let label = format!("data_type=\"{data_type}\"");
    let name = "thanos_bucket_store_series_data_size_fetched_bytes_sum";
    metrics::sum(&store.http, name, &[&label])
}

/// E-88, ST-22: the limit of bytes ends a request at each of its three stages, and says at which.
#[test]
fn a_limit_of_bytes_is_hit_at_each_stage() {
    let directory = TempDir::new("e2e-limits");
    let yaml = directory_bucket(directory.path());
    // A block that does not say how long its entries are is read with much room, which counts, too.
    let outside = Outside {
        sizes: Sizes::Known,
        ..Outside::open(&yaml)
    };
    let series = [("a", "1"), ("b", "2")];
    outside.upload(&series, Kind::Float, &[("replica", "1")], OLD_MS);

    let free = Store::over(&yaml, &[]);
    let (status, body) = ask(&querier(&[&free.grpc_address], &[]), &outside);
    assert_eq!(status, 200, "{body}");
    let of_index = fetched_bytes(&free, "postings") + fetched_bytes(&free, "series");
    let all = of_index + fetched_bytes(&free, "chunks");
    assert!(1.0 < of_index && of_index < all, "{of_index} of {all}");

    for (limit, stage) in [
        (1.0, "postings"),
        (of_index - 1.0, "series"),
        (all - 1.0, "chunks"),
    ] {
        let flag = format!("--store.grpc.downloaded-bytes-limit={limit}B");
        let store = Store::over(&yaml, &[&flag]);
        let (status, body) = ask(&querier(&[&store.grpc_address], &[]), &outside);
        let message =
            format!("exceeded bytes limit while fetching {stage}: limit {limit} violated");
        assert!(
            status >= 400 && body.contains(&message),
            "{stage}: {status} {body}"
        );
        let dropped = "thanos_bucket_store_queries_dropped_total";
        metrics::wait_for(&store.http, dropped, &["reason=\"bytes\""], 1.0);
    }
}

/// ST-22: the old names of the limits still set them.
#[test]
fn deprecated_names_of_limits_work() {
    let directory = TempDir::new("e2e-old-limits");
    let yaml = directory_bucket(directory.path());
    let outside = Outside::open(&yaml);
    for b in ["2", "3"] {
        let series = [("a", "1"), ("b", b)];
        outside.upload(&series, Kind::Float, &[("replica", b)], OLD_MS);
    }
    for (flag, message) in [
        (
            "--store.grpc.touched-series-limit=1",
            "exceeded series limit",
        ),
        (
            "--store.grpc.series-sample-limit=120",
            "exceeded chunks limit",
        ),
    ] {
        let store = Store::over(&yaml, &[flag]);
        let (status, body) = ask(&querier(&[&store.grpc_address], &[]), &outside);
        assert!(
            status >= 400 && body.contains(message),
            "{flag}: {status} {body}"
        );
    }
}
