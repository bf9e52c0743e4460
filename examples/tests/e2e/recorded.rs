//! Recorded answers of Thanos over replicas and over downsampled blocks, asked through store, gRPC and querier.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;
use thanos_core::block::{Meta, ThanosMeta};
use thanos_core::testkit::peer::Peer;
use thanos_core::testkit::{TempDir, copy_dir};
use thanos_core::time::Timestamp;

use crate::programs::{Store, directory_bucket, querier, testdata};

/// How far a value may be from the recorded one, relative to it: sums are added up in other orders.
const RELATIVE_ERROR_MAX: f64 = 1e-12;
const FIVE_MINUTES_MS: i64 = 300_000;
const HOUR_MS: i64 = 3_600_000;

/// Series by their labels as text, each with its times and values.
type Matrix = BTreeMap<String, Vec<(i64, f64)>>;

/// Puts the block in `from` into the bucket directory, with external labels and a resolution.
fn put_block(bucket: &Path, from: &Path, labels: &[(&str, &str)], resolution_ms: i64) {
    let mut meta = Meta::read_dir(from).unwrap();
    if resolution_ms > 0 {
        // What was made of a block covers its time, whatever its windows cover.
        (meta.min_time, meta.max_time) = FORTNIGHT_MS.map(Timestamp::from_millis).into();
    }
    let mut thanos = ThanosMeta {
        version: 1,
        source: "test".to_owned(),
        ..ThanosMeta::default()
    };
    thanos.downsample.resolution_ms = resolution_ms;
    let label = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    thanos.labels = labels.iter().map(label).collect();
    meta.thanos = Some(thanos);
    let to = bucket.join(meta.ulid.to_string());
    copy_dir(from, &to);
    meta.write_dir(&to).unwrap();
}

/// Puts all blocks in the directory `from` into the bucket.
fn put_blocks(bucket: &Path, from: &Path, labels: &[(&str, &str)], resolution_ms: i64) {
    for block in std::fs::read_dir(from).unwrap() {
        put_block(bucket, &block.unwrap().path(), labels, resolution_ms);
    }
}

/// A bucket with three blocks of each of two replicas.
fn replicas() -> TempDir {
    let bucket = TempDir::new("e2e-replicas");
    let blocks = testdata("thanos-core").join("live-ha-blocks");
    for replica in ["a", "b"] {
        let labels = [("cluster", "demo"), ("replica", replica)];
        let from = blocks.join(format!("replica-{replica}"));
        put_blocks(bucket.path(), &from, &labels, 0);
    }
    bucket
}

/// A bucket with a fortnight of series in the resolutions `of`.
fn downsampled(of: &[(&str, i64)]) -> TempDir {
    let bucket = TempDir::new("e2e-downsampled");
    for (name, resolution_ms) in of {
        let from = testdata("thanos-core").join("downsample").join(name);
        put_blocks(
            bucket.path(),
            &from,
            &[("prometheus", "bench")],
            *resolution_ms,
        );
    }
    bucket
}

/// The time of the downsampled blocks.
const FORTNIGHT_MS: [i64; 2] = [1_791_417_600_000, 1_792_627_096_057];
/// The last step of the questions about them, at which the recorded answers saw a sample of the block after them.
const LAST_STEP: i64 = 1_792_627_200;
const ALL: [(&str, i64); 3] = [("raw", 0), ("5m", FIVE_MINUTES_MS), ("1h", HOUR_MS)];

/// A store over a bucket directory and a querier over that.
struct Scenario {
    _bucket: TempDir,
    store: Store,
    querier: Peer,
}

impl Scenario {
    fn over(bucket: TempDir, flags: &[&str]) -> Self {
        let yaml = directory_bucket(bucket.path());
        let store = Store::over(&yaml, &[]);
        let querier = querier(&[&store.grpc_address], flags);
        Self {
            _bucket: bucket,
            store,
            querier,
        }
    }

    /// Asks a recorded question anew, with some parameters changed.
    fn ask(&self, recorded: &Value, changed: &[(&str, &str)]) -> Matrix {
        ask(&self.querier, recorded, changed)
    }
}

fn ask(querier: &Peer, recorded: &Value, changed: &[(&str, &str)]) -> Matrix {
    let mut parameters = BTreeMap::new();
    for (name, value) in recorded["params"].as_object().unwrap() {
        let text = value.as_str().map(ToOwned::to_owned);
        parameters.insert(name.as_str(), text.unwrap_or_else(|| value.to_string()));
    }
    for (name, value) in changed {
        parameters.insert(name, (*value).to_owned());
        if value.is_empty() {
            parameters.remove(name);
        }
    }
    let mut all = vec![("query", recorded["query"].as_str().unwrap())];
    all.extend(
        parameters
            .iter()
            .map(|(name, value)| (*name, value.as_str())),
    );
    let answer = querier.query("/api/v1/query_range", &all);
    let body: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(body["status"], "success", "{all:?}: {body}");
    matrix(&body)
}

fn matrix(answer: &Value) -> Matrix {
    let point = |point: &Value| {
        let value = point[1].as_str().unwrap();
        // Times are whole seconds here.
        (point[0].as_i64().unwrap(), value.parse().unwrap())
    };
    let series = |series: &Value| {
        let points = series["values"].as_array().unwrap().iter().map(point);
        let points: Vec<_> = points.filter(|(time, _)| *time != LAST_STEP).collect();
        (series["metric"].to_string(), points)
    };
    let result = answer["data"]["result"].as_array().unwrap();
    let all = result.iter().map(series);
    all.filter(|(_, points)| !points.is_empty()).collect()
}

fn recorded(path: &str) -> Value {
    let file = testdata("thanos-core").join("thanos-golden").join(path);
    let text = std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    serde_json::from_slice(&text).unwrap()
}

fn assert_same(ours: &Matrix, theirs: &Matrix, what: &str) {
    let names = |matrix: &Matrix| matrix.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(ours), names(theirs), "{what}");
    for (name, theirs) in theirs {
        let ours = &ours[name];
        let times = |points: &[(i64, f64)]| points.iter().map(|point| point.0).collect::<Vec<_>>();
        assert_eq!(times(ours), times(theirs), "{what} {name}");
        for (ours, theirs) in ours.iter().zip(theirs) {
            let error = (ours.1 - theirs.1).abs();
            let is_same = error <= RELATIVE_ERROR_MAX * ours.1.abs().max(theirs.1.abs());
            let both_nan = ours.1.is_nan() && theirs.1.is_nan();
            assert!(
                is_same || both_nan,
                "{what} {name}: {ours:?} for {theirs:?}"
            );
        }
    }
}

/// twelve queries over a pair of replicas, as one and as two.
#[test]
fn replicas_become_one_as_with_thanos() {
    let scenario = Scenario::over(replicas(), &["--query.replica-label=replica"]);
    for number in 1..=12 {
        for dedup in ["true", "false"] {
            let name = format!("ha-dedup/h{number:02}-dedup-{dedup}.json");
            let recorded = recorded(&name);
            let ours = scenario.ask(&recorded, &[]);
            assert_same(&ours, &matrix(&recorded["answer"]), &name);
        }
    }
}

/// which labels tell replicas apart is a flag, repeated or with commas, or a parameter of the request.
#[test]
fn replica_labels_come_from_flags_or_the_request() {
    let bucket = replicas();
    let yaml = directory_bucket(bucket.path());
    let store = Store::over(&yaml, &[]);
    let up = recorded("ha-dedup/h01-dedup-true.json");
    let (as_one, as_two) = (
        matrix(&up["answer"]),
        matrix(&recorded("ha-dedup/h01-dedup-false.json")["answer"]),
    );
    let querier = |flags: &[&str]| querier(&[&store.grpc_address], flags);
    for flags in [
        &["--query.replica-label=replica"][..],
        &["--query.replica-label=other,replica"],
        &[
            "--query.replica-label=other",
            "--query.replica-label=replica",
        ],
    ] {
        assert_same(
            &ask(&querier(flags), &up, &[]),
            &as_one,
            &format!("{flags:?}"),
        );
    }
    let without = querier(&[]);
    assert_same(&ask(&without, &up, &[]), &as_two, "no label");
    let given = [("replicaLabels[]", "replica")];
    assert_same(
        &ask(&without, &up, &given),
        &as_one,
        "a label of the request",
    );
}

/// the chain has the samples of both replicas.
#[test]
fn the_chain_has_every_sample_once() {
    let flags = [
        "--query.replica-label=replica",
        "--deduplication.func=chain",
    ];
    let scenario = Scenario::over(replicas(), &flags);
    let counts = recorded("ha-dedup/h11-dedup-false.json");
    let each = matrix(&counts["answer"]);
    let mut sums: BTreeMap<i64, f64> = BTreeMap::new();
    for (time, count) in each.values().flatten() {
        *sums.entry(*time).or_default() += count;
    }
    let chained = scenario.ask(&counts, &[("dedup", "true")]);
    let [points] = &chained.values().collect::<Vec<_>>()[..] else {
        panic!("{chained:?}")
    };
    assert!(points.iter().any(|point| point.1 > 20.0));
    // Replicas scrape at different times.
    assert_eq!(points.iter().copied().collect::<BTreeMap<_, _>>(), sums);
}

const QUESTIONS: [&str; 7] = ["d01", "d02", "d03", "d04", "d06", "d08", "d12"];
const RESOLUTIONS: [&str; 3] = ["0s", "5m", "1h"];

/// functions that read each aggregate, at each resolution.
#[test]
fn downsampled_blocks_are_read_as_with_thanos() {
    let scenario = Scenario::over(downsampled(&ALL), &[]);
    for question in QUESTIONS {
        for resolution in RESOLUTIONS {
            let name = format!("downsample-answers/{question}-{resolution}.json");
            let recorded = recorded(&name);
            let ours = scenario.ask(&recorded, &[]);
            assert_same(&ours, &matrix(&recorded["answer"]), &name);
        }
    }
    // Thanos counts windows: 12 an hour at 5m. We count samples, so that the answer is the same at all resolutions.
    let raw = recorded("downsample-answers/d05-0s.json");
    let mut counts = matrix(&raw["answer"]);
    for points in counts.values_mut() {
        // The first window does not end before the second step.
        points.remove(0);
    }
    for resolution in &RESOLUTIONS[1..] {
        let changed = [("max_source_resolution", *resolution)];
        assert_same(&scenario.ask(&raw, &changed), &counts, resolution);
    }
}

/// a fifth of the step by the flag or on request, and never so coarse that a rate lacks its two samples.
#[test]
fn the_resolution_follows_the_step_and_the_range() {
    let bucket = downsampled(&ALL);
    let store = Store::over(&directory_bucket(bucket.path()), &[]);
    let querier = |flags: &[&str]| querier(&[&store.grpc_address], flags);
    let (plain, automatic) = (querier(&[]), querier(&["--query.auto-downsampling"]));
    // A fifth of an hour is 12 minutes; these functions tell the resolutions apart.
    for question in ["d01", "d06"] {
        let name = |resolution| format!("downsample-answers/{question}-{resolution}.json");
        let five = recorded(&name("5m"));
        let expected = matrix(&five["answer"]);
        let auto = ask(&plain, &five, &[("max_source_resolution", "auto")]);
        assert_same(&auto, &expected, question);
        let unsaid = [("max_source_resolution", "")];
        assert_same(&ask(&automatic, &five, &unsaid), &expected, question);
        let raw = matrix(&recorded(&name("0s"))["answer"]);
        assert_same(&ask(&plain, &five, &unsaid), &raw, question);
    }
    let mut short = recorded("downsample-answers/d06-1h.json");
    short["query"] = Value::from("rate(edge{case=\"counter_5_resets\"}[9m])");
    let at = |resolution| ask(&plain, &short, &[("max_source_resolution", resolution)]);
    let raw = at("0s");
    assert!(raw.values().any(|points| points.len() > 300), "{raw:?}");
    assert_same(&at("1h"), &raw, "a range of nine minutes");
}

/// what instant queries allow is a flag of its own.
#[test]
fn instant_queries_have_a_resolution_of_their_own() {
    let bucket = downsampled(&ALL);
    let store = Store::over(&directory_bucket(bucket.path()), &[]);
    let value = |flags: &[&str], resolution: &str| -> String {
        let querier = querier(&[&store.grpc_address], flags);
        let query = "avg_over_time(edge{case=\"sin\"}[1h])";
        let mut parameters = vec![("query", query), ("time", "1791565200")];
        if !resolution.is_empty() {
            parameters.push(("max_source_resolution", resolution));
        }
        let answer = querier.query("/api/v1/query", &parameters);
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        let value = body["data"]["result"][0]["value"][1].as_str();
        value.unwrap_or_else(|| panic!("{body}")).to_owned()
    };
    let flag = ["--query.instant.default.max_source_resolution=1h"];
    let (raw, hour) = (value(&[], ""), value(&[], "1h"));
    assert_ne!(raw, hour);
    assert_eq!(value(&flag, ""), hour);
    assert_eq!(value(&flag, "0s"), raw);
}

/// Pain 12: where raw blocks have gone, what was made of them answers, whatever resolution is wanted.
#[test]
fn no_answer_is_empty_while_any_resolution_has_the_data() {
    for only in &ALL[1..] {
        let scenario = Scenario::over(downsampled(&[*only]), &[]);
        for question in QUESTIONS {
            let name = format!("downsample-answers/{question}-{}.json", only.0);
            let recorded = recorded(&name);
            let expected = scenario.ask(&recorded, &[]);
            assert!(!expected.is_empty(), "{name}");
            for resolution in RESOLUTIONS {
                let changed = [("max_source_resolution", resolution)];
                let mut found = scenario.ask(&recorded, &changed);
                // With a coarser resolution, the latest sample may lie further back.
                found.retain(|name, _| expected.contains_key(name));
                for (name, points) in &mut found {
                    let times: Vec<i64> = expected[name].iter().map(|point| point.0).collect();
                    points.retain(|point| times.contains(&point.0));
                }
                assert_same(&found, &expected, &format!("{name} at {resolution}"));
            }
        }
        assert!(scenario.store.http.get("/-/ready").status == 200);
    }
}
