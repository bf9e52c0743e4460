//! Probes, metrics, flags and shutdown of the processes.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::programs::{Store, querier, testdata};
use crate::sidecar::eventually;

/// X-07, X-08, ST-03.
#[test]
fn probes_and_metrics_answer() {
    let store = Store::start(&testdata("thanos-core").join("block-1k-2h"));
    for path in ["/-/healthy", "/-/ready"] {
        let answer = store.http.get(path);
        assert_eq!(
            (answer.status, answer.body.as_slice()),
            (200, b"OK".as_slice()),
            "{path}"
        );
    }
    let metrics = String::from_utf8(store.http.get("/metrics").body).unwrap();
    for line in [
        r#"thanos_status{component="store",check="ready"} 1"#,
        r#"thanos_blocks_meta_synced{state="loaded"} 1"#,
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
}

/// X-09: what a process says of itself; the bucket's configuration may hold passwords.
#[test]
fn processes_tell_their_flags_and_no_passwords() {
    let blocks = testdata("thanos-core").join("block-1k-2h");
    let store = Store::start(&blocks);
    let querier = querier(&[], &["--selector.relabel-config", "[]"]);
    for (peer, flag) in [
        (&store.http, "objstore.config"),
        (&querier, "selector.relabel-config"),
    ] {
        let ask = |page: &str| {
            let answer = peer.get(&format!("/api/v1/status/{page}"));
            assert_eq!(answer.status, 200, "{page}");
            let mut body: Value = serde_json::from_slice(&answer.body).unwrap();
            assert_eq!(body["status"], "success", "{page}: {body}");
            body["data"].take()
        };
        let flags = ask("flags");
        assert_eq!(flags[flag], "<REDACTED>", "{flags}");
        assert_eq!(flags["log.level"], "info", "{flags}");
        let runtime = ask("runtimeinfo");
        for key in [
            "startTime",
            "CWD",
            "goroutineCount",
            "GOMAXPROCS",
            "GOGC",
            "GODEBUG",
            "GOMEMLIMIT",
        ] {
            assert!(!runtime[key].is_null(), "{key}: {runtime}");
        }
        let build = ask("buildinfo");
        for key in [
            "version",
            "revision",
            "branch",
            "buildUser",
            "buildDate",
            "goVersion",
        ] {
            assert!(build[key].is_string(), "{key}: {build}");
        }
        assert!(
            !peer.log().contains(&*blocks.to_string_lossy()),
            "{}",
            peer.log()
        );
    }
}

/// X-41, Q-15: an endpoint that cannot be reached is a warning, or an error when partial answers are refused.
#[test]
fn a_dead_endpoint_is_never_silent() {
    let store = Store::start(&testdata("thanos-core").join("block-1k-2h"));
    let querier = querier(
        &[&store.grpc_address],
        &["--endpoint-strict", "127.0.0.1:1"],
    );
    let parameters = [
        ("query", "count({__name__=~\".+\"})"),
        ("time", "1793496600"),
    ];

    let partial = querier.query("/api/v1/query", &parameters);
    let body = String::from_utf8(partial.body).unwrap();
    assert_eq!(partial.status, 200, "{body}");
    assert!(
        body.contains("\"998\"") && body.contains("\"warnings\":[") && body.contains("127.0.0.1:1"),
        "{body}"
    );

    let [query, time] = parameters;
    let refused = querier.query(
        "/api/v1/query",
        &[query, time, ("partial_response", "false")],
    );
    let body = String::from_utf8(refused.body).unwrap();
    assert!(refused.status >= 400, "{body}");
    assert!(body.contains("127.0.0.1:1"), "{body}");
}

/// X-17, X-12: flags whose values cannot be end the start.
#[test]
fn wrong_flags_end_with_a_message() {
    for (arguments, message) in [
        (vec!["store"], "--objstore.config"),
        (
            vec!["store", "--objstore.config", "type: S3"],
            "no s3 endpoint",
        ),
        (vec!["query", "--query.timeout", "soon"], "soon"),
        (
            vec!["query", "--auto-gomemlimit.ratio=0"],
            "--auto-gomemlimit.ratio must be greater than 0",
        ),
        (
            vec!["query", "--tracing.config=x", "--tracing.config-file=y"],
            "tracing.config",
        ),
        (
            vec!["standalone", "--data-dir", "/no/such/directory"],
            "/no/such/directory",
        ),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_thanos"))
            .args(&arguments)
            .args([
                "--http-address",
                "127.0.0.1:0",
                "--grpc-address",
                "127.0.0.1:0",
            ])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{arguments:?}");
        assert!(said.contains(message), "{arguments:?} said: {said}");
    }
}

/// X-13: SIGHUP is swallowed, SIGTERM ends with success.
#[test]
fn sigterm_ends_a_role_with_success_and_sighup_does_not() {
    let mut querier = querier(&[], &["--log.level=debug"]);
    querier.signal("HUP");
    eventually("the signal", || querier.log().contains("SIGHUP is ignored"));
    assert_eq!(querier.get("/-/ready").status, 200);
    let status = querier.terminate(Duration::from_secs(10));
    assert!(status.success(), "{status}\n{}", querier.log());
}
