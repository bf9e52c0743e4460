//! What answers say when something is wrong with a store: every kind of fault, with partial answers and without.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use thanos_core::labels::Labels;
use thanos_core::query::SeriesStream;
use thanos_core::testkit::TempDir;
use thanos_core::testkit::peer::Peer;
use thanos_core::time::{Clock, SystemClock, Timestamp};
use thanos_core::{ErrorKind, Result};
use thanos_storeapi::server::{ServerSettings, StoreServer, serve};
use thanos_storeapi::store::{
    LabelNamesRequest, LabelValuesRequest, LabelsResponse, SeriesRequest, Store as StoreApi,
    StoreInfo,
};
use thanos_storeapi::testkit::{Dataset, DatasetSeries, Fault, MemStore};
use tokio::runtime::Runtime;

use crate::blocks::{Kind, OLD_MS, Outside};
use crate::programs::{Store, directory_bucket, querier};
use crate::sidecar::eventually;

/// How many series each store has: more than one batch of an answer.
const SERIES: usize = 5;

/// What is wrong with one of two stores.
enum Wrong {
    /// Nothing, so that the table shows that a sound store is not blamed.
    Nothing,
    /// It misbehaves in one of these ways.
    Store(Vec<Fault>),
    /// Its name cannot be resolved.
    Name,
    /// Nobody listens.
    Nobody,
    /// The bucket has lost an object that its gateway counts on.
    LostObject(&'static str),
}

struct Case {
    what: &'static str,
    wrong: fn() -> Wrong,
    expect: Expect,
}

/// What a query must answer. Other calls may be whole where queries are not.
#[derive(Debug, Clone, Copy)]
enum Expect {
    /// Everything, without a word.
    Whole,
    /// The rest, and the name of what is missing; an error if partial answers are refused.
    Gap,
    /// One or the other: a store that says nothing of itself is asked all the same.
    Truth,
}

const fn broken(what: &'static str, wrong: fn() -> Wrong) -> Case {
    Case {
        what,
        wrong,
        expect: Expect::Gap,
    }
}

const fn sound(what: &'static str, wrong: fn() -> Wrong) -> Case {
    Case {
        what,
        wrong,
        expect: Expect::Whole,
    }
}

const fn unknown(what: &'static str, wrong: fn() -> Wrong) -> Case {
    Case {
        what,
        wrong,
        expect: Expect::Truth,
    }
}

const TOO_SLOW: Duration = Duration::from_secs(5);

const CASES: [Case; 13] = [
    sound("all is well", || Wrong::Nothing),
    sound("a store is slow, and fast enough", || {
        Wrong::Store(vec![Fault::Slow(Duration::from_millis(30))])
    }),
    broken("a name that cannot be resolved at the start", || {
        Wrong::Name
    }),
    broken("an address at which nobody listens", || Wrong::Nobody),
    unknown("Info fails", || Wrong::Store(vec![Fault::FailInfo])),
    unknown("Info never answers", || Wrong::Store(vec![Fault::HangInfo])),
    broken("a store refuses", || Wrong::Store(vec![Fault::FailStart])),
    broken("a store never answers", || {
        Wrong::Store(vec![Fault::HangStart])
    }),
    broken("a store dies in the middle", || {
        Wrong::Store(vec![Fault::FailAfter(1)])
    }),
    broken("a store stops in the middle", || {
        Wrong::Store(vec![Fault::HangAfter(1)])
    }),
    broken("a store is too slow", || {
        Wrong::Store(vec![Fault::Slow(TOO_SLOW)])
    }),
    broken("a store has lost what it wanted to send", || {
        Wrong::Store(vec![Fault::FailAfter(1), Fault::Kind(ErrorKind::NotFound)])
    }),
    broken("the bucket has lost a chunk", || {
        Wrong::LostObject("chunks/000001")
    }),
];

/// Stores in this process, served over sockets.
struct Served {
    runtime: Runtime,
    now: Timestamp,
}

impl Served {
    fn new() -> Self {
        Self {
            runtime: Runtime::new().unwrap(),
            now: SystemClock.now(),
        }
    }

    fn store(&self, name: &str) -> MemStore {
        let series = (0..SERIES)
            .map(|number| DatasetSeries {
                labels: series_labels(number),
                samples: vec![(self.now, 1.0)],
            })
            .collect();
        Dataset::new(Labels::from_pairs([("from", name)]), series).to_mem_store()
    }

    fn serve(&self, store: Arc<dyn StoreApi>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let settings = ServerSettings::default();
        let server = StoreServer::new(store, settings.clone());
        self.runtime.spawn(async move {
            let forever = std::future::pending();
            let served = serve(listener, server.router(), &settings, forever).await;
            served.unwrap();
        });
        address
    }

    fn time(&self) -> String {
        self.now
            .as_millis()
            .div_euclid(1000)
            .saturating_add(1)
            .to_string()
    }
}

fn series_labels(number: usize) -> Labels {
    Labels::from_pairs([("__name__", "m"), ("n", &*number.to_string())])
}

/// What is asked, and what came of it.
struct Answer {
    status: u16,
    body: Value,
}

impl Answer {
    fn to(querier: &Peer, path: &str, time: &str, partial: &str) -> Self {
        let parameters = match path {
            "/api/v1/query" => &[("query", "m"), ("time", time)][..],
            _ => &[("match[]", "m")],
        };
        let parameters = [parameters, &[("partial_response", partial)]].concat();
        let answer = querier.query(path, &parameters);
        Self {
            status: answer.status,
            body: serde_json::from_slice(&answer.body).unwrap(),
        }
    }

    /// The items of a query or of a list.
    fn items(&self) -> usize {
        let data = &self.body["data"];
        let items = data["result"].as_array().or(data.as_array());
        items.map_or(0, Vec::len)
    }

    fn warnings(&self) -> String {
        self.body
            .get("warnings")
            .map_or_else(String::new, Value::to_string)
    }

    fn error(&self) -> &str {
        self.body["error"].as_str().unwrap_or_default()
    }
}

impl Case {
    fn run(&self) {
        let served = Served::new();
        let healthy = served.serve(Arc::new(served.store("healthy")));
        let directory = TempDir::new("e2e-faults");
        let (mut gateway, mut named) = (None, None);
        let faulty = match (self.wrong)() {
            Wrong::Nothing => served.serve(Arc::new(served.store("faulty"))),
            Wrong::Store(faults) => {
                served.serve(Arc::new(served.store("faulty").with_faults(faults)))
            }
            // Longer than labels of names are: every resolver fails, and no network is needed.
            Wrong::Name => format!("dns+{}.example:10901", "a".repeat(64)),
            Wrong::Nobody => "127.0.0.1:1".to_owned(),
            Wrong::LostObject(object) => {
                let yaml = directory_bucket(directory.path());
                let mut outside = Outside::open(&yaml);
                outside.now = served.now;
                let series = (0..SERIES).map(series_labels).collect::<Vec<_>>();
                let external = [("from", "faulty")];
                let id = outside.upload_series(&series, Kind::Float, &external, OLD_MS);
                let store = Store::over(&yaml, &[]);
                outside.delete(&format!("{id}/{object}"));
                named = Some(format!("{id}/{object}"));
                gateway.insert(store).grpc_address.clone()
            }
        };
        let flags = [
            "--store.response-timeout=700ms",
            "--endpoint.info-timeout=700ms",
        ];
        let querier = querier(&[&healthy, &faulty], &flags);
        let name = faulty.strip_prefix("dns+").unwrap_or(&faulty);
        self.check(&querier, &served, named.as_deref().unwrap_or(name));
    }

    /// Asks in three ways; what is missing must be said by `name`.
    fn check(&self, querier: &Peer, served: &Served, name: &str) {
        let time = served.time();
        let of_two = [
            ("/api/v1/query", 2 * SERIES),
            ("/api/v1/series", 2 * SERIES),
            ("/api/v1/label/from/values", 2),
        ];
        for (path, all) in of_two {
            let expect = match self.expect {
                // Not every call needs what is broken.
                Expect::Gap if path != "/api/v1/query" => Expect::Truth,
                expect => expect,
            };
            let partial = Answer::to(querier, path, &time, "true");
            let strict = Answer::to(querier, path, &time, "false");
            let said = format!("{}, {path}: {} {}", self.what, partial.body, strict.body);
            assert_eq!(partial.status, 200, "{said}");
            let is_whole = |answer: &Answer| {
                answer.status == 200 && answer.items() == all && answer.warnings().is_empty()
            };
            let is_warned = partial.warnings().contains(name) && partial.items() >= all / 2;
            let is_refused = strict.status >= 400 && strict.error().contains(name);
            let (warned, refused) = match expect {
                Expect::Whole => (is_whole(&partial), is_whole(&strict)),
                Expect::Gap => (is_warned, is_refused),
                Expect::Truth => (
                    is_warned || is_whole(&partial),
                    is_refused || is_whole(&strict),
                ),
            };
            assert!(warned && refused, "{said}");
        }
    }
}

/// no answer that lacks data is said to be whole, and what is whole is not complained of.
#[test]
fn no_fault_is_silent() {
    std::thread::scope(|scope| {
        let cases = CASES.iter().map(|case| scope.spawn(|| case.run()));
        let cases: Vec<_> = cases.collect();
        for case in cases {
            case.join().unwrap();
        }
    });
}

/// A store that can become another one.
#[derive(Debug)]
struct Switch {
    stores: [MemStore; 2],
    is_turned: AtomicBool,
}

impl Switch {
    fn now(&self) -> &MemStore {
        &self.stores[usize::from(self.is_turned.load(Ordering::Relaxed))]
    }
}

#[async_trait]
impl StoreApi for Switch {
    async fn info(&self) -> Result<StoreInfo> {
        self.now().info().await
    }

    async fn series(&self, request: SeriesRequest) -> Result<SeriesStream> {
        self.now().series(request).await
    }

    async fn label_names(&self, request: LabelNamesRequest) -> Result<LabelsResponse> {
        self.now().label_names(request).await
    }

    async fn label_values(&self, request: LabelValuesRequest) -> Result<LabelsResponse> {
        self.now().label_values(request).await
    }
}

/// Labels of a store that change while it is known under others: a query that names neither has its series once, under
/// the old labels or the new ones, and one for the new ones finds them as soon as the querier has asked again.
#[test]
fn labels_that_change_leave_no_gap() {
    let served = Served::new();
    let switch = Arc::new(Switch {
        stores: ["before", "after"].map(|name| served.store(name)),
        is_turned: AtomicBool::new(false),
    });
    let address = served.serve(switch.clone());
    let querier = querier(&[&address], &[]);
    let time = served.time();
    let count = |query: &str| {
        let parameters = [("query", query), ("time", &*time)];
        let answer = querier.query("/api/v1/query", &parameters);
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        let is_whole = body["status"] == "success" && body["warnings"].is_null();
        assert!(is_whole, "{query}: {body}");
        body["data"]["result"].as_array().unwrap().len()
    };
    assert_eq!(count("m{from=\"before\"}"), SERIES);
    switch.is_turned.store(true, Ordering::Relaxed);
    eventually("the new labels", || {
        assert_eq!(count("m"), SERIES);
        count("m{from=\"after\"}") == SERIES
    });
    assert_eq!(count("m{from=\"before\"}"), 0);
}
