//! Queriers over queriers, and queriers asked over gRPC by a client.

use std::time::{Duration, Instant};

use futures::TryStreamExt;
use serde_json::Value;
use thanos_core::error::{ErrorKind, Result};
use thanos_core::labels::Labels;
use thanos_core::testkit::peer::Peer;
use thanos_core::time::Timestamp;
use thanos_storeapi::apis::query::{QueryApi as _, QueryEvent, QueryRequest, QueryTimes};
use thanos_storeapi::client::{ClientSettings, RemoteStore};
use thanos_storeapi::store::PartialResponse;
use thanos_storeapi::tenant::TenantId;
use thanos_storeapi::testkit::{Dataset, DatasetSeries, Fault, FixedApis, MemStore};

use crate::fakes::component;
use crate::programs::{grpc_address, querier};

const TIME_MS: i64 = 1_700_000_000_000;
const DEDUP: &str = "--query.replica-label=replica";
/// Nobody listens there.
const NOBODY: &str = "127.0.0.1:1";

fn store(replica: &str) -> MemStore {
    let series = |name: &str| DatasetSeries {
        labels: Labels::from_pairs([("__name__", "x"), ("i", name)]),
        samples: vec![(Timestamp::from_millis(TIME_MS), 1.0)],
    };
    let external = Labels::from_pairs([("cluster", "eu"), ("replica", replica)]);
    Dataset::new(external, vec![series("1"), series("2")]).to_mem_store()
}

/// The addresses of two replicas.
fn replicas() -> [String; 2] {
    ["a", "b"].map(|replica| component(store(replica), FixedApis::sample(replica)))
}

fn ask(querier: &Peer, path: &str) -> (u16, Value) {
    let parameters = [
        ("query", "x"),
        ("match[]", "{cluster=\"eu\"}"),
        ("time", "1700000000"),
        ("start", "1699999990"),
        ("end", "1700000010"),
        ("step", "10"),
    ];
    let wanted = match path {
        "rules" | "status/tsdb" => &[][..],
        _ => &parameters,
    };
    let answer = querier.query(&format!("/api/v1/{path}"), wanted);
    (answer.status, serde_json::from_slice(&answer.body).unwrap())
}

/// what two queriers one above the other answer is what one answers, whichever of them knows that there
/// are replicas.
#[test]
fn two_levels_answer_like_one() {
    let [a, b] = replicas();
    let ends = [a.as_str(), b.as_str()];
    let one = querier(&ends, &[DEDUP]);
    let plain = querier(&ends, &[]);
    let over_plain = querier(&[&grpc_address(&plain)], &[DEDUP]);
    let over_one = querier(&[&grpc_address(&one)], &[DEDUP]);
    // Each replica behind a querier of its own.
    let alone = [a, b].map(|end| querier(&[&end], &[]));
    let alone = alone.each_ref().map(grpc_address);
    let over_alone = querier(&[&alone[0], &alone[1]], &[DEDUP]);
    for path in [
        "rules",
        "alerts",
        "targets",
        "metadata",
        "query_exemplars",
        "status/tsdb",
        "query",
        "query_range",
        "series",
        "labels",
        "label/i/values",
    ] {
        let (status, expected) = ask(&one, path);
        assert_eq!(status, 200, "{path}: {expected}");
        assert!(expected["warnings"].is_null(), "{path}: {expected}");
        let text = expected["data"].to_string();
        assert!(text.len() > 4, "{path}: {text}");
        // The alerts of a replica have its label, and statistics are of both.
        if !["alerts", "rules", "labels"].contains(&path) {
            assert!(!text.contains("replica"), "{path}: {text}");
        }
        for (name, querier) in [
            ("plain", &over_plain),
            ("one", &over_one),
            ("alone", &over_alone),
        ] {
            assert_eq!(
                ask(querier, path),
                (200, expected.clone()),
                "{path} over {name}"
            );
        }
    }
}

/// by default who fails is warned of; each kind of answer has a flag that makes it fail instead.
#[test]
fn each_kind_of_answer_has_its_policy() {
    let [a, _] = replicas();
    let kinds = [
        ("--no-rule.partial-response", &["rules", "alerts"][..]),
        ("--no-target.partial-response", &["targets"]),
        ("--no-metric-metadata.partial-response", &["metadata"]),
        ("--no-exemplar.partial-response", &["query_exemplars"]),
        ("--no-status.partial-response", &["status/tsdb"]),
    ];
    let flags = [None].into_iter().chain(kinds.map(|(flag, _)| Some(flag)));
    for flag in flags {
        let mut more = vec!["--endpoint-strict", NOBODY];
        more.extend(flag);
        let querier = querier(&[&a], &more);
        for (strict, paths) in kinds {
            for path in paths {
                let (status, answer) = ask(&querier, path);
                if flag == Some(strict) {
                    assert_eq!((status, &answer["errorType"]), (500, &"internal".into()));
                    let error = answer["error"].as_str().unwrap();
                    assert!(error.contains(NOBODY), "{path}: {error}");
                } else {
                    assert_eq!(status, 200, "{flag:?} {path}: {answer}");
                    let warnings = answer["warnings"].to_string();
                    assert!(warnings.contains(NOBODY), "{flag:?} {path}: {answer}");
                    assert!(answer["data"].to_string().len() > 10, "{path}: {answer}");
                }
            }
        }
    }
}

fn request(query: &str) -> QueryRequest {
    QueryRequest {
        query: query.into(),
        plan: None,
        times: QueryTimes::Instant(Timestamp::from_millis(TIME_MS)),
        timeout: None,
        max_resolution_ms: 0,
        replica_labels: Vec::new(),
        store_matchers: Vec::new(),
        dedup: true,
        partial_response: PartialResponse::Abort,
        skip_chunks: false,
        shard: None,
        lookback_delta: None,
        response_batch_size: 0,
        tenant: TenantId::default(),
    }
}

fn range(query: &str) -> QueryRequest {
    QueryRequest {
        times: QueryTimes::Range {
            start: Timestamp::from_millis(TIME_MS),
            end: Timestamp::from_millis(TIME_MS + 20_000),
            step_ms: 10_000,
        },
        ..request(query)
    }
}

/// A client of a querier.
struct Client {
    _querier: Peer,
    remote: RemoteStore,
    runtime: tokio::runtime::Runtime,
}

/// What is missing, and the series as text, sorted.
type Answered = (Vec<String>, Vec<String>);

impl Client {
    fn of(querier: Peer) -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let remote = RemoteStore::new(&grpc_address(&querier), ClientSettings::default()).unwrap();
        Self {
            _querier: querier,
            remote,
            runtime,
        }
    }

    fn ask(&self, request: QueryRequest) -> Result<Answered> {
        let events: Vec<QueryEvent> = self.runtime.block_on(async {
            let stream = self.remote.query(request).await?;
            stream.try_collect().await
        })?;
        let (mut missing, mut found) = (Vec::new(), Vec::new());
        for event in events {
            match event {
                QueryEvent::Missing(one) => missing.push(one.reason),
                QueryEvent::Warning(text) => missing.push(text),
                QueryEvent::Series(series) => found.extend(series.iter().map(|series| {
                    let values: Vec<_> = series.floats.iter().map(|(_, value)| value).collect();
                    format!("{} {values:?}", series.labels)
                })),
                QueryEvent::Stats(_) => {}
            }
        }
        found.sort();
        Ok((missing, found))
    }
}

/// Q-26, E-52: replicas are joined as the request says, and by the querier's own labels if it does not say which.
#[test]
fn a_client_chooses_replicas() {
    let [a, b] = replicas();
    let client = Client::of(querier(&[&a, &b], &[DEDUP]));
    for make in [request, range] {
        let answer = |change: &dyn Fn(&mut QueryRequest)| {
            let mut request = make("x{i=\"1\"}");
            change(&mut request);
            let (missing, found) = client.ask(request).unwrap();
            assert_eq!(missing, [""; 0]);
            found.len()
        };
        assert_eq!(answer(&|_| ()), 1);
        assert_eq!(answer(&|request| request.dedup = false), 2);
        assert_eq!(
            answer(&|request| request.replica_labels = vec!["replica".into()]),
            1
        );
        assert_eq!(
            answer(&|request| request.replica_labels = vec!["cluster".into()]),
            2
        );
        let (_, found) = client.ask(make("sum by (cluster) (x)")).unwrap();
        let values = if make("").times == request("").times {
            "[2.0]"
        } else {
            "[2.0, 2.0, 2.0]"
        };
        assert_eq!(found, [format!("{{cluster=\"eu\"}} {values}")]);
    }
}

/// a store that is gone is named, or fails the call as the request says.
#[test]
fn a_client_chooses_what_becomes_of_gaps() {
    let [a, _] = replicas();
    let client = Client::of(querier(&[&a], &["--endpoint-strict", NOBODY]));
    for make in [request, range] {
        let mut partial = make("count(x)");
        partial.partial_response = PartialResponse::Warn;
        let (missing, found) = client.ask(partial).unwrap();
        assert_eq!(found.len(), 1);
        assert!(
            missing.iter().any(|text| text.contains(NOBODY)),
            "{missing:?}"
        );
        let error = client.ask(make("count(x)")).unwrap_err();
        assert!(error.to_string().contains(NOBODY), "{error}");
        let error = client.ask(make("count(")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    }
}

/// a query ends with the timeout of its request, or with the querier's own if that is shorter.
#[test]
fn a_client_waits_no_longer_than_it_says() {
    let hanging = store("a").with_faults([Fault::HangAfter(0)]);
    let end = component(hanging, FixedApis::default());
    let patient = Client::of(querier(&[&end], &[]));
    let hurried = Client::of(querier(&[&end], &["--query.timeout=1s"]));
    for (client, timeout) in [
        (&patient, Some(Duration::from_secs(1))),
        (&hurried, None),
        (&hurried, Some(Duration::from_secs(3600))),
    ] {
        for make in [request, range] {
            let started = Instant::now();
            let mut request = make("x");
            request.timeout = timeout;
            let error = client.ask(request).unwrap_err();
            let waited = started.elapsed();
            assert!(waited >= Duration::from_millis(900), "{waited:?}: {error}");
            assert!(waited < Duration::from_secs(20), "{waited:?}: {error}");
            assert!(error.to_string().contains("timed out"), "{error}");
        }
    }
}
