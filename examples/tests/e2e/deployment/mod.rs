//! The deployment of Thanos' quick tutorial: an HA pair of real Prometheus servers with our sidecars, a store gateway, a
//! compactor and a querier over one bucket.

mod data;
mod queries;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Map, Value};
use thanos_bucket::testkit::servers::ObjectServer;
use thanos_core::testkit::TempDir;
use thanos_core::testkit::peer::{Peer, program, run};

use self::data::{LENGTH_SECS, Replica, SLOPES};
use self::queries::{Question, questions};
use crate::programs::{Store, directory_bucket, grpc_address, querier, thanos};

/// How far a value may be from that of another server, relative to it: sums are added up in other orders and ways.
const RELATIVE_ERROR_MAX: f64 = 1e-9;
/// How long a step of the deployment may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The rules of both Prometheus servers.
const RULES: &str = "groups:\n- name: availability\n  rules:\n  - record: job:up:sum\n    expr: sum by (job) (up)\n  \
                     - alert: Always\n    expr: vector(1)\n    labels: {severity: page}\n";

/// One of the pair, with its sidecar.
struct Half {
    prometheus: Peer,
    sidecar: Peer,
    _data: TempDir,
    _config: TempDir,
}

impl Half {
    /// Starts Prometheus over the blocks of `replica`, and the sidecar of it that uploads to the bucket of `yaml`.
    fn start(
        promtool: &Path,
        replica: Replica,
        start: i64,
        scraped: &[String],
        yaml: &str,
    ) -> Option<Self> {
        let data = TempDir::new("deployment-tsdb");
        data::write_blocks(promtool, replica, start, data.path());
        let config = TempDir::new("deployment-config");
        let prometheus = prometheus(config.path(), data.path(), replica, scraped)?;
        let sidecar = sidecar(&prometheus, data.path(), yaml);
        Some(Self {
            prometheus,
            sidecar,
            _data: data,
            _config: config,
        })
    }

    fn grpc_address(&self) -> String {
        grpc_address(&self.sidecar)
    }
}

/// Starts a Prometheus that scrapes itself and `scraped` every second.
fn prometheus(config: &Path, data: &Path, replica: Replica, scraped: &[String]) -> Option<Peer> {
    let binary = program("prometheus")?;
    let file = config.join("prometheus.yml");
    std::fs::write(config.join("rules.yml"), RULES).unwrap();
    let replica = replica.name();
    let node = scraped.join(", ");
    let start = |address: &str| {
        let yaml = format!(
            "global:\n  scrape_interval: 1s\n  evaluation_interval: 1s\n  \
             external_labels: {{cluster: eu, replica: {replica}}}\nrule_files: [rules.yml]\n\
             scrape_configs:\n- job_name: prometheus\n  static_configs:\n  - targets: [{address}]\n\
             - job_name: node\n  static_configs:\n  - targets: [{node}]\n"
        );
        std::fs::write(&file, yaml).unwrap();
        let mut command = Command::new(&binary);
        command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", data.display()))
            .arg(format!("--web.listen-address={address}"))
            .args([
                "--storage.tsdb.min-block-duration=2h",
                "--storage.tsdb.max-block-duration=2h",
            ])
            .args(["--web.enable-lifecycle", "--log.level=warn"]);
        command
    };
    Some(Peer::start(start, "/-/ready"))
}

fn sidecar(prometheus: &Peer, data: &Path, yaml: &str) -> Peer {
    let url = format!("http://{}", prometheus.address());
    Peer::start(
        |address| {
            let mut command = thanos(&["sidecar", "--prometheus.url", &url, "--tsdb.path"]);
            command.arg(data).args(["--objstore.config", yaml]);
            command.args(["--http-address", address, "--grpc-address", "127.0.0.1:0"]);
            command
        },
        "/-/ready",
    )
}

/// The Prometheus servers with their sidecars, and what they scrape.
struct Pair {
    a: Half,
    b: Half,
    _node_exporter: Peer,
    start: i64,
}

impl Pair {
    /// Starts the pair, or returns `None` when a program is not installed.
    fn start(yaml: &str) -> Option<Self> {
        let promtool = data::promtool()?;
        let exporter = program("prometheus-node-exporter")?;
        let node_exporter = Peer::start(
            |address| {
                let mut command = Command::new(&exporter);
                command.arg(format!("--web.listen-address={address}"));
                command
            },
            "/metrics",
        );
        let start = data::start_secs();
        let scraped = [node_exporter.address().to_owned()];
        let a = Half::start(&promtool, Replica::A, start, &scraped, yaml)?;
        let b = Half::start(&promtool, Replica::B, start, &scraped, yaml)?;
        Some(Self {
            a,
            b,
            _node_exporter: node_exporter,
            start,
        })
    }

    /// A querier over both sidecars that joins the replicas.
    fn querier(&self) -> Peer {
        let addresses = [self.a.grpc_address(), self.b.grpc_address()];
        querier(
            &[&addresses[0], &addresses[1]],
            &["--query.replica-label", "replica"],
        )
    }
}

/// Asks a question and returns its data; a warning or an error is a failure.
fn ask(server: &Peer, question: &Question, more: &[(&str, &str)]) -> Value {
    let answer = server.query(question.path, &question.with(more));
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_else(|error| {
        panic!(
            "{question:?}: {error}: {:?}",
            String::from_utf8_lossy(&answer.body)
        )
    });
    assert_eq!(answer.status, 200, "{question:?}: {body}");
    assert_eq!(body.get("warnings"), None, "{question:?}");
    body["data"].clone()
}

/// The series of an answer without the labels `removed`, sorted by their labels.
fn series(data: &Value, removed: &[&str]) -> Vec<(String, Value)> {
    let Some(result) = data["result"]
        .as_array()
        .filter(|_| data["resultType"] != "scalar")
    else {
        return vec![(String::new(), data["result"].clone())];
    };
    let one = |series: &Value| {
        let mut labels: Map<String, Value> = series["metric"].as_object().unwrap().clone();
        labels.retain(|name, _| !removed.contains(&name.as_str()));
        let samples = if series["values"].is_null() {
            &series["value"]
        } else {
            &series["values"]
        };
        (Value::Object(labels).to_string(), samples.clone())
    };
    let mut all: Vec<_> = result.iter().map(one).collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

/// The series of an answer, or why there are none: joins fail where replicas are two series.
fn outcome(server: &Peer, question: &Question, more: &[(&str, &str)]) -> Vec<(String, Value)> {
    let answer = server.query(question.path, &question.with(more));
    let body: Value = serde_json::from_slice(&answer.body).unwrap();
    match answer.status {
        200 => {
            assert_eq!(body.get("warnings"), None, "{question:?}");
            series(&body["data"], &[])
        }
        _ => vec![("error".to_owned(), body["error"].clone())],
    }
}

/// Whether two answers are equal but for the last bits of values.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Value::String(a), Value::String(b)) => a == b || same_float(a, b),
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (a, b) => a == b,
    }
}

fn same_float(a: &str, b: &str) -> bool {
    let (Ok(a), Ok(b)) = (a.parse::<f64>(), b.parse::<f64>()) else {
        return false;
    };
    (a - b).abs() <= RELATIVE_ERROR_MAX * a.abs().max(b.abs()).max(1e-3)
}

#[track_caller]
fn assert_same(question: &Question, ours: &[(String, Value)], theirs: &[(String, Value)]) {
    let labels = |all: &[(String, Value)]| all.iter().map(|one| one.0.clone()).collect::<Vec<_>>();
    assert_eq!(labels(ours), labels(theirs), "{question:?}");
    for ((labels, ours), (_, theirs)) in ours.iter().zip(theirs) {
        assert!(
            same(ours, theirs),
            "{question:?} {labels}\n{ours}\n{theirs}"
        );
    }
}

/// A querier over one sidecar answers as that Prometheus does.
fn querier_over_a_sidecar_answers_as_prometheus(pair: &Pair) {
    let querier = querier(&[&pair.a.grpc_address()], &[]);
    let all = questions(pair.start);
    assert!(all.len() >= 200);
    let mut with_data = 0;
    for question in &all {
        // Prometheus does not select by its own external labels.
        let mut direct = question.clone();
        direct.parameters[0].1 = direct.parameters[0].1.replace(r#"{cluster="eu"}"#, "");
        let theirs = series(&ask(&pair.a.prometheus, &direct, &[]), &[]);
        let ours = series(&ask(&querier, question, &[]), &["cluster", "replica"]);
        assert_same(question, &ours, &theirs);
        with_data += usize::from(!ours.is_empty());
    }
    assert!(
        with_data > all.len() * 9 / 10,
        "only {with_data} of {} answers have data",
        all.len()
    );
}

/// The series of the counter that grows steadily, as rates: from the first to the last step every rate is there and right
/// within `scrapes` of the window.
fn rates_are_those_of_one_clean_series(server: &Peer, start: i64, scrapes: f64) {
    let question = Question {
        path: "/api/v1/query_range",
        parameters: vec![
            ("query", "rate(shop_steady_total[2m])".to_owned()),
            ("start", (start + 5 * 60 + 7).to_string()),
            ("end", (start + LENGTH_SECS - 60).to_string()),
            ("step", "30".to_owned()),
        ],
    };
    let found = series(&ask(server, &question, &[]), &[]);
    assert_eq!(found.len(), SLOPES.len(), "{found:?}");
    let steps = (LENGTH_SECS - 60 - 5 * 60 - 7) / 30 + 1;
    for ((labels, values), slope) in found.iter().zip(SLOPES) {
        assert!(!labels.contains("replica"), "{labels}");
        let values = values.as_array().unwrap();
        assert_eq!(
            i64::try_from(values.len()).unwrap(),
            steps,
            "{labels} has gaps"
        );
        for value in values {
            let rate: f64 = value[1].as_str().unwrap().parse().unwrap();
            assert!(
                (rate - slope).abs() <= slope * scrapes * 15.0 / 120.0,
                "{labels}: {value} for {slope}"
            );
        }
    }
}

/// Waits until `done`.
#[track_caller]
fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(
            began.elapsed() < PATIENCE,
            "{what} did not happen within {PATIENCE:?}"
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The value of a metric without labels.
fn metric(server: &Peer, name: &str) -> f64 {
    let text = String::from_utf8(server.get("/metrics").body).unwrap();
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.map_or(0.0, |value| value.parse().unwrap())
}

/// Runs the compactor once over the bucket of `yaml`, joining replicas.
fn compact(yaml: &str) {
    let data = TempDir::new("deployment-compact");
    let directory = data.path().display().to_string();
    let arguments = [
        "compact",
        "--data-dir",
        &directory,
        "--objstore.config",
        yaml,
        "--consistency-delay",
        "0s",
        "--deduplication.replica-label",
        "replica",
        "--deduplication.func",
        "penalty",
        "--delete-delay",
        "0s",
        "--http-address",
        "127.0.0.1:0",
    ];
    let arguments: Vec<_> = arguments.iter().map(AsRef::as_ref).collect();
    run(Path::new(env!("CARGO_BIN_EXE_thanos")), &arguments);
}

/// Everything, over the bucket of `yaml`. Returns `false` when a program is not installed.
fn the_tutorial_works(yaml: &str) {
    let Some(pair) = Pair::start(yaml) else {
        return;
    };
    querier_over_a_sidecar_answers_as_prometheus(&pair);

    let over_sidecars = pair.querier();
    rates_are_those_of_one_clean_series(&over_sidecars, pair.start, 1.0);
    live_series_come_from_both(&pair);
    everything_beside_series_is_joined(&pair, &over_sidecars);
    // Of replicas that were joined, other samples may be chosen around an outage: Prometheus cuts chunks at the ends of a
    // request and a bucket does not, and chunks that do not overlap are those of one replica.
    let apart = [("dedup", "false")];
    let before: Vec<_> = questions(pair.start)
        .into_iter()
        .map(|question| (outcome(&over_sidecars, &question, &apart), question))
        .collect();

    for half in [&pair.a, &pair.b] {
        eventually("the upload of two blocks", || {
            metric(&half.sidecar, "thanos_shipper_uploads_total") >= 2.0
        });
    }
    drop(over_sidecars);
    let start = pair.start;
    drop(pair);
    let store = Store::over(yaml, &[]);
    let over_store = querier(
        &[&store.grpc_address],
        &["--query.replica-label", "replica"],
    );
    for (before, question) in &before {
        let after = outcome(&over_store, question, &apart);
        assert_same(question, &after, before);
    }
    rates_are_those_of_one_clean_series(&over_store, start, 1.0);

    compact(yaml);
    eventually("the view of the compacted blocks", || {
        let count = Question {
            path: "/api/v1/series",
            parameters: vec![
                ("match[]", "shop_info".to_owned()),
                ("dedup", "false".to_owned()),
            ],
        };
        ask(&over_store, &count, &[])
            .as_array()
            .is_some_and(|series| series.len() == SLOPES.len())
    });
    // The compactor joins samples by penalty, which waits for two scrapes before it takes the other replica.
    rates_are_those_of_one_clean_series(&over_store, start, 2.0);
}

/// What is scraped now is there at once: from the sidecars, for both replicas and as one.
fn live_series_come_from_both(pair: &Pair) {
    let querier = pair.querier();
    let count = |query: &str, dedup: &str| -> f64 {
        let question = Question {
            path: "/api/v1/query",
            parameters: vec![("query", query.to_owned())],
        };
        let found = series(&ask(&querier, &question, &[("dedup", dedup)]), &[]);
        found.first().map_or(0.0, |(_, value)| {
            value[1].as_str().unwrap().parse().unwrap()
        })
    };
    eventually("a scrape of everything by both", || {
        count(r#"count(up{job="node"} == 1)"#, "false") == 2.0
    });
    let joined = count(r#"count(up{job="node"} == 1)"#, "true");
    assert!((joined - 1.0).abs() < f64::EPSILON, "{joined}");
    assert!(count("count(node_cpu_seconds_total)", "true") > 0.0);
}

/// Returns the data of an answer, which warns of nothing.
fn told(server: &Peer, path: &str, parameters: &[(&str, &str)]) -> Value {
    let answer = server.query(path, parameters);
    let body: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(answer.status, 200, "{path}: {body}");
    assert_eq!(body.get("warnings"), None, "{path}");
    body["data"].clone()
}

/// E-15, E-16, E-17, E-20, Q-07, SC-25 to SC-29: rules, alerts, targets, metadata and statistics of the pair, replicas
/// joined.
fn everything_beside_series_is_joined(pair: &Pair, querier: &Peer) {
    eventually("an alert", || {
        let alerts = told(querier, "/api/v1/alerts", &[]);
        alerts["alerts"]
            .as_array()
            .is_some_and(|all| !all.is_empty())
    });
    let rules = told(querier, "/api/v1/rules", &[]);
    // The files of the two differ, and so do the groups.
    let groups = rules["groups"].as_array().unwrap();
    assert_eq!(groups.len(), 2, "{rules}");
    for group in groups {
        assert_eq!(group["name"], "availability");
        let names: Vec<_> = group["rules"]
            .as_array()
            .unwrap()
            .iter()
            .map(|rule| &rule["name"])
            .collect();
        assert_eq!(names, ["Always", "job:up:sum"]);
        for rule in group["rules"].as_array().unwrap() {
            assert_eq!(rule["labels"]["cluster"], "eu", "{rule}");
            assert!(rule["labels"].get("replica").is_none(), "{rule}");
        }
    }
    let recording = told(querier, "/api/v1/rules", &[("type", "record")]);
    assert!(!recording.to_string().contains("Always"), "{recording}");
    let bad = querier.query("/api/v1/rules", &[("type", "x")]);
    assert_eq!(bad.status, 400);

    let targets = told(querier, "/api/v1/targets", &[("state", "active")]);
    let active = targets["activeTargets"].as_array().unwrap();
    let of_job = |job: &str| {
        active
            .iter()
            .filter(|target| target["labels"]["job"] == job)
            .count()
    };
    assert_eq!((of_job("node"), of_job("prometheus")), (1, 2), "{targets}");
    assert!(
        active
            .iter()
            .all(|target| target["labels"]["cluster"] == "eu")
    );

    let name = ("metric", "node_cpu_seconds_total");
    let theirs = told(&pair.a.prometheus, "/api/v1/metadata", &[name]);
    assert!(!theirs.as_object().unwrap().is_empty());
    assert_eq!(told(querier, "/api/v1/metadata", &[name]), theirs);
    for (limit, count) in [("1", 1), ("10", 10), ("0", 0)] {
        let found = told(querier, "/api/v1/metadata", &[("limit", limit)]);
        assert_eq!(found.as_object().unwrap().len(), count, "{found}");
    }

    let series = |status: &Value| status["headStats"]["numSeries"].as_u64().unwrap();
    eventually("as many series again by the other one", || {
        let one = told(&pair.a.prometheus, "/api/v1/status/tsdb", &[]);
        let both = told(querier, "/api/v1/status/tsdb", &[]);
        series(&both) > series(&one) * 3 / 2
    });
    let none = told(
        querier,
        "/api/v1/status/tsdb",
        &[("match[]", r#"{cluster="us"}"#)],
    );
    assert_eq!(series(&none), 0);
}

/// The deployment of the quick tutorial over a directory: what the querier answers is what Prometheus answers, replicas
/// are one series, and answers stay as they are when the blocks have moved to the bucket.
#[test]
fn the_tutorial_works_over_a_directory() {
    let bucket = TempDir::new("deployment-bucket");
    the_tutorial_works(&directory_bucket(bucket.path()));
}

/// The same over S3.
#[test]
fn the_tutorial_works_over_s3() {
    let server = ObjectServer::s3();
    the_tutorial_works(&server.config("blocks", "deployment"));
}
