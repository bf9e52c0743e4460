//! Traces of real processes, received by a collector in the test.

use std::process::Command;

use thanos_core::testkit::TempDir;
use thanos_core::testkit::peer::Peer;

use crate::blocks::{Kind, OLD_MS, Outside};
use crate::collector::{Collector, Span};
use crate::programs::{Store, directory_bucket, grpc_address, thanos};
use crate::raw;

/// The configuration of a process that calls itself `service`.
fn config(collector: &Collector, service: &str, rest: &str) -> String {
    let address = collector.address;
    format!(
        "type: OTLP\nconfig: {{service_name: {service}, endpoint: '{address}', insecure: true, {rest}}}\n"
    )
}

fn querier(endpoint: &str, tracing: &str, variables: &[(&str, &str)]) -> Peer {
    let start = |address: &str| {
        let mut command: Command = thanos(&["query", "--grpc-address=127.0.0.1:0"]);
        command.args(["--http-address", address, "--endpoint", endpoint]);
        command.args(["--tracing.config", tracing]);
        // Exports soon, so that the test need not wait.
        command.env("OTEL_BSP_SCHEDULE_DELAY", "100");
        command.envs(variables.iter().copied());
        command
    };
    Peer::start(start, "/-/ready")
}

fn query(querier: &Peer, time: &str, headers: &[&str]) -> raw::Answer {
    let path = format!("/api/v1/query?query=count(%7Ba%3D%221%22%7D)&time={time}");
    let answer = raw::get(querier.address(), &path, headers);
    assert_eq!(answer.status, 200, "{answer:?}");
    answer
}

fn named<'a>(spans: &'a [Span], service: &str, name: &str, trace: &str) -> Option<&'a Span> {
    let mut spans = spans.iter();
    spans.find(|span| span.service == service && span.name == name && span.trace == trace)
}

/// E-99, X-18, X-19, X-21: one trace has the spans of the querier and of the store, over both transports of OTLP.
#[test]
fn a_trace_spans_querier_and_store() {
    let collector = Collector::start();
    let directory = TempDir::new("e2e-tracing");
    let yaml = directory_bucket(directory.path());
    let outside = Outside::open(&yaml);
    outside.upload(&[("a", "1")], Kind::Float, &[("replica", "1")], OLD_MS);
    let time = outside.query_time();
    let of_store = config(
        &collector,
        "the-store",
        "client_type: http, compression: gzip, headers: {x-key: abc}, resource_attributes: {zone: z1}",
    );
    let store = Store::over(&yaml, &["--tracing.config", &of_store]);
    let of_querier = config(
        &collector,
        "the-querier",
        "client_type: grpc, compression: gzip, sampler_type: alwayssample",
    );
    let querier = querier(&store.grpc_address, &of_querier, &[]);

    let answer = query(&querier, &time, &["X-Request-ID: my-request"]);
    let trace = answer
        .header("x-thanos-trace-id")
        .expect("a trace is kept")
        .to_owned();
    drop(store.http.get("/-/ready"));
    let (root, client, server) = collector.wait_for(|spans| {
        let root = named(spans, "the-querier", "/query HTTP[server]", &trace)?;
        let clients = spans.iter().filter(|span| {
            span.service == "the-querier"
                && span.name == "/thanos.Store/Series"
                && span.trace == trace
        });
        let server = named(spans, "the-store", "/thanos.Store/Series", &trace)?;
        let mut clients = clients;
        let client = clients.find(|client| client.id == server.parent)?;
        for inner in ["query_gate_ismyturn", "query_exec", "querier_select"] {
            named(spans, "the-querier", inner, &trace)?;
        }
        named(spans, "the-store", "store_query_gate_ismyturn", &trace)?;
        named(spans, "the-store", "bucket_store_fetch", &trace)?;
        Some((root.clone(), client.clone(), server.clone()))
    });
    assert_eq!(root.parent, "", "{root:?}");
    assert_ne!(client.id, root.id);
    // the id of the request went along.
    for span in [&root, &server] {
        assert_eq!(span.attributes["request_id"], "my-request", "{span:?}");
    }
    assert_eq!(server.attributes["zone"], "z1");
    let paths = collector.paths();
    let grpc = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
    assert!(paths.iter().any(|path| path == grpc), "{paths:?}");
    assert!(paths.iter().any(|path| path == "/v1/traces"), "{paths:?}");
    assert!(collector.had_header("x-key", "abc"));

    // durations have the trace as their exemplar, where the format has exemplars.
    let open = raw::get(
        querier.address(),
        "/metrics",
        &["Accept: application/openmetrics-text"],
    );
    let exemplar = format!("# {{traceID=\"{trace}\"}}");
    assert!(open.text().contains(&exemplar), "{}", open.text());
    drop(grpc_address(&querier));
}

/// what a caller wants kept is kept, and what it is a part of goes on; X-19: samplers.
#[test]
fn callers_decide_what_is_kept() {
    let collector = Collector::start();
    let rest = "client_type: grpc, sampler_type: parentbasedneversample";
    let never = config(&collector, "q", rest);
    let querier = querier("127.0.0.1:1", &never, &[]);
    let ask = |headers: &[&str]| {
        let answer = query(&querier, "1", headers);
        answer.header("x-thanos-trace-id").map(str::to_owned)
    };
    assert_eq!(ask(&[]), None);
    let forced = ask(&["X-Thanos-Force-Tracing: 1"]).expect("a trace is kept");
    let parent = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let trace = "0af7651916cd43dd8448eb211c80319c".to_owned();
    assert_eq!(ask(&[parent]), Some(trace.clone()));
    let root = collector.wait_for(|spans| {
        named(spans, "q", "query_exec", &forced)?;
        named(spans, "q", "/query HTTP[server]", &trace).cloned()
    });
    assert_eq!(root.parent, "b7ad6b7169203331");
    let kept = [forced, trace];
    let spans = collector.spans();
    assert!(
        spans.iter().all(|span| kept.contains(&span.trace)),
        "{spans:#?}"
    );
}

/// E-37: what the configuration does not say, the environment may.
#[test]
fn the_environment_names_the_service_and_the_collector() {
    let collector = Collector::start();
    let endpoint = format!("http://{}", collector.address);
    let tracing = "type: OTLP\nconfig: {client_type: grpc}\n";
    let variables = [
        (
            "OTEL_RESOURCE_ATTRIBUTES",
            "service.name=thanos-query,team=t1",
        ),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
    ];
    let querier = querier("127.0.0.1:1", tracing, &variables);
    query(&querier, "1", &[]);
    let name = "/query HTTP[server]";
    let span = collector.wait_for(|spans| {
        let mut spans = spans.iter();
        spans.find(|span| span.name == name).cloned()
    });
    assert_eq!(
        (&*span.service, &*span.attributes["team"]),
        ("thanos-query", "t1")
    );
}

/// a wrong configuration ends the start.
#[test]
fn wrong_configurations_are_fatal() {
    for (yaml, expected) in [
        ("type: LIGHTSTEP\nconfig: {}\n", "use type OTLP"),
        ("type: JAEGER\nconfig: {endpoint: 'c:1'}\n", "endpoint"),
        ("type: JAEGER\nconfig: {sampler_type: x}\n", "sampler_type"),
        ("type: OTLP\nconfig: {client_type: grpc, nope: 1}\n", "nope"),
        ("type: $(NOT_SET_ANYWHERE)\n", "NOT_SET_ANYWHERE"),
        (
            "type: OTLP\nconfig: {client_type: grpc, tls_config: {ca_file: /no/such}}\n",
            "/no/such",
        ),
    ] {
        let output = thanos(&[
            "query",
            "--http-address=127.0.0.1:0",
            "--grpc-address=127.0.0.1:0",
        ])
        .args(["--tracing.config", yaml])
        .output()
        .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && said.contains(expected),
            "{yaml}: {said}"
        );
    }
}
