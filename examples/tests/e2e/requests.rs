//! What is counted and logged of requests, and flags that ask for what there is not.

use std::process::Command;

use thanos_core::testkit::TempDir;

use crate::blocks::{Kind, OLD_MS, Outside};
use crate::metrics;
use crate::programs::{Store, directory_bucket, querier};

const LOG: &str = "--request.logging-config=\
http:
  options: {level: DEBUG, decision: {log_start: false, log_end: true}}
grpc:
  options: {level: INFO, decision: {log_start: true, log_end: true}}
  config: [{service: thanos.Store, method: Series}]
";

/// ST-37, X-16: calls and requests are counted, and logged where the configuration says so, under one id.
#[test]
fn requests_are_counted_and_logged() {
    let directory = TempDir::new("e2e-requests");
    let yaml = directory_bucket(directory.path());
    let outside = Outside::open(&yaml);
    outside.upload(&[("a", "1")], Kind::Float, &[("replica", "1")], OLD_MS);
    let store = Store::over(&yaml, &["--log.level=debug", LOG]);
    let querier = querier(&[&store.grpc_address], &[]);
    let time = outside.query_time();
    querier.query("/api/v1/query", &[("query", "{a=\"1\"}"), ("time", &time)]);
    store.http.get("/api/v1/blocks?view=loaded");
    store.http.get("/no/such/page");

    let series = ["grpc_method=\"Series\""];
    for (name, labels, expected) in [
        ("grpc_server_started_total", &series[..], 1.0),
        (
            "grpc_server_handled_total",
            &["grpc_method=\"Series\"", "grpc_code=\"OK\""],
            1.0,
        ),
        ("grpc_server_handling_seconds_count", &series, 1.0),
        ("grpc_server_msg_received_total", &series, 1.0),
        ("grpc_req_panics_recovered_total", &[], 0.0),
        ("thanos_store_server_series_requested_sum", &[], 1.0),
        ("thanos_store_server_chunks_requested_sum", &[], 1.0),
        ("thanos_store_server_pending_series_requests", &[], 0.0),
        (
            "http_requests_total",
            &["code=\"200\"", "handler=\"blocks\"", "method=\"get\""],
            1.0,
        ),
        ("http_requests_total", &[], 1.0),
        ("http_inflight_requests", &[], 0.0),
    ] {
        metrics::wait_for(&store.http, name, labels, expected);
    }
    assert!(metrics::sum(&store.http, "grpc_server_msg_sent_total", &series) >= 1.0);
    assert!(metrics::sum(&querier, "http_requests_total", &["handler=\"query\""]) >= 1.0);

    let log = store.http.log();
    let lines = |parts: &[&str]| -> Vec<String> {
        let has_all = |line: &&str| parts.iter().all(|part| line.contains(part));
        log.lines().filter(has_all).map(str::to_owned).collect()
    };
    let started = lines(&["\"started call\"", "grpc.method=Series"]);
    let finished = lines(&["\"finished call\"", "grpc.method=Series", "grpc.code=OK"]);
    assert_eq!((started.len(), finished.len()), (1, 1), "{log}");
    let id = |line: &str| line.split("requestID=").nth(1).map(str::to_owned);
    assert_eq!(id(&started[0]), id(&finished[0]));
    assert!(lines(&["call\"", "grpc.method=Info"]).is_empty(), "{log}");
    let http = lines(&[
        "\"finished call\"",
        "http.method=\"GET /api/v1/blocks?view=loaded\"",
    ]);
    assert_eq!(http.len(), 1, "{log}");
    for part in [
        "level=debug",
        "http.status_code=200",
        "http.time_ms=",
        "http.remote_addr=127.0.0.1",
        "http.user_agent=",
        "http.request_id=",
        "thanos.method_name=blocks",
    ] {
        assert!(http[0].contains(part), "{part} is not in {}", http[0]);
    }
    assert!(finished[0].contains("level=debug"), "{}", finished[0]);
    assert!(
        lines(&["\"started call\"", "http.method"]).is_empty(),
        "{log}"
    );
}

/// A flag of Thanos that cannot be honoured ends the start, and never does nothing in silence.
#[test]
fn flags_without_their_feature_are_refused() {
    let bucket = "--objstore.config=type: MEMORY\nconfig: {}\n";
    for (role, flag, message) in [
        (
            "store",
            "--http.config=web.yaml",
            "web.yaml: server could not be started",
        ),
        (
            "store",
            "--grpc-server-tls-cert=a.pem",
            "both server key and certificate must be provided",
        ),
        (
            "store",
            "--tracing.config=type: LIGHTSTEP",
            "tracing with type LIGHTSTEP is not supported here",
        ),
        ("store", "--debug.series-batch-size=1", "fixed to 10000"),
        (
            "store",
            "--request.logging-config=grpc: {level: x}",
            "level",
        ),
        (
            "store",
            "--objstore-parquet.config=type: NOPE",
            "--objstore-parquet.config",
        ),
        (
            "query",
            "--http.config=web.yaml",
            "web.yaml: server could not be started",
        ),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_thanos"));
        command.args([
            role,
            flag,
            "--http-address=127.0.0.1:0",
            "--grpc-address=127.0.0.1:0",
        ]);
        if role == "store" {
            command.args([bucket, "--no-cache-index-header"]);
        }
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && said.contains(message),
            "{flag} said: {said}"
        );
    }
}

/// Flags of Thanos' store that change nothing by their defaults are taken.
#[test]
fn flags_with_their_defaults_are_taken() {
    let directory = TempDir::new("e2e-flags");
    let yaml = directory_bucket(directory.path());
    let store = Store::over(
        &yaml,
        &[
            "--http.config=",
            "--grpc-server-tls-cert=",
            "--grpc-server-tls-min-version=1.3",
            "--no-enable-auto-gomemlimit",
            "--auto-gomemlimit.ratio=0.9",
            "--debug.series-batch-size=10000",
            "--debug.estimated-max-series-size=65536",
            "--debug.estimated-max-chunk-size=16000",
            "--objstore-parquet.config=",
            "--consistency-delay=90s",
        ],
    );
    metrics::wait_for(&store.http, "thanos_consistency_delay_seconds", &[], 90.0);
}
