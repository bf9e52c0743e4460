//! A block that is read and written again is the same block to a real Prometheus: it serves both with the same
//! answers, and promtool lists and analyses both with the same words.

#![expect(clippy::unwrap_used, reason = "test code outside of test functions")]

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use serde_json::Value;
use thanos_core::block::{Block, BlockId, BlockWriter, BlockWriterOptions, Meta};
use thanos_core::query::Select;
use thanos_core::testkit::peer::{self, HttpAnswer, Peer};
use thanos_core::testkit::{TempDir, copy_dir};

/// Instant queries over the two-hour block.
const INSTANT: [&str; 12] = [
    r#"count({__name__=~".+"})"#,
    "edge",
    "sort_desc(sum by (namespace, code) (rate(http_requests_total[5m])))",
    r#"topk(3, sum by (pod) (increase(http_requests_total{code="500"}[30m])))"#,
    "histogram_quantile(0.99, sum by (handler, le) (rate(http_request_duration_seconds_bucket[10m])))",
    "process_resident_memory_bytes > bool 8e7",
    r#"edge{case=~"gap_10m|sparse_6m|single_sample|starts_late"}[2h]"#,
    r#"count_values("v", app_build_info)"#,
    "quantile_over_time(0.9, app_temperature_celsius[1h])",
    r#"http_requests_total{handler="/",code="200",method="GET"} @ end()"#,
    r#"resets(edge{case="counter_5_resets"}[2h])"#,
    r#"sum({__name__!="",job!="api",case!="nan"})"#,
];

/// Range queries over it.
const RANGE: [&str; 6] = [
    "sum by (code) (rate(http_requests_total[5m]))",
    "histogram_quantile(0.9, sum by (le, namespace) (rate(http_request_duration_seconds_bucket[5m])))",
    "edge",
    "max_over_time(sum by (cluster) (irate(process_cpu_seconds_total[1m]))[10m:1m])",
    "group by (version) (app_build_info)",
    r#"present_over_time(edge{case="single_sample"}[10m])"#,
];

/// A time near the end of the block, and its range.
const TIME: &str = "1793496600";
const TIMES: (&str, &str) = ("1793491200", "1793498400");

fn testdata(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("testdata")
        .join(path)
}

/// A database directory with the block at `path` in it, for promtool with an empty log beside it.
fn database(path: &Path) -> TempDir {
    let dir = TempDir::new("database");
    copy_dir(path, &dir.path().join(path.file_name().unwrap()));
    std::fs::create_dir(dir.path().join("wal")).unwrap();
    dir
}

/// Reads the block at `path` and writes it again into a database directory.
fn written_again(path: &Path) -> (TempDir, Meta) {
    let dir = TempDir::new("database");
    std::fs::create_dir(dir.path().join("wal")).unwrap();
    let block = Block::open(path).unwrap();
    let options = BlockWriterOptions {
        time: Some((block.meta().min_time, block.meta().max_time)),
        compaction: Some(block.meta().compaction.clone()),
        ..BlockWriterOptions::new(block.id())
    };
    let symbols = block
        .index()
        .symbols()
        .iter()
        .map(|symbol| symbol.unwrap().1);
    let mut writer = BlockWriter::create(dir.path(), options, symbols).unwrap();
    for batch in block.select(&Select::default()).unwrap() {
        for series in batch.unwrap().iter() {
            writer.add_series(series.labels, series.chunks).unwrap();
        }
    }
    let meta = writer.finish().unwrap();
    (dir, meta)
}

/// Asks both servers the same and compares what they say.
fn assert_same_answer(servers: &[Peer; 2], path: &str, parameters: &[(&str, &str)]) {
    let [old, new] = servers
        .each_ref()
        .map(|server| server.query(path, parameters));
    assert_eq!(
        old.status,
        200,
        "{parameters:?}: {}",
        String::from_utf8_lossy(&old.body)
    );
    assert_eq!(in_order(&old), in_order(&new), "{path} {parameters:?}");
}

/// The answer with its elements in order: Prometheus returns groups in that of a Go map.
fn in_order(answer: &HttpAnswer) -> Value {
    let mut answer: Value = serde_json::from_slice(&answer.body).unwrap();
    if let Some(elements) = answer
        .pointer_mut("/data/result")
        .and_then(Value::as_array_mut)
    {
        elements.sort_by_cached_key(Value::to_string);
    }
    answer
}

fn serve(old: &TempDir, new: &TempDir) -> Option<[Peer; 2]> {
    Some([Peer::prometheus(old.path())?, Peer::prometheus(new.path())?])
}

#[test]
fn prometheus_serves_it_with_the_same_answers() {
    let path = testdata("block-1k-2h/01M81JDC7R8JKP7SEW1VN2HAQ9");
    let (old, (new, _)) = (database(&path), written_again(&path));
    let Some(servers) = serve(&old, &new) else {
        return;
    };
    assert_same_samples(&servers);
    assert_same_labels(&servers);
    let answer = servers[1].query("/api/v1/query", &[("query", "edge"), ("time", TIME)]);
    assert!(answer.body.len() > 1000, "the answer holds data");
}

fn assert_same_samples(servers: &[Peer; 2]) {
    for query in INSTANT {
        assert_same_answer(
            servers,
            "/api/v1/query",
            &[("query", query), ("time", TIME)],
        );
    }
    let (start, end) = TIMES;
    for query in RANGE {
        let parameters = [
            ("query", query),
            ("start", start),
            ("end", end),
            ("step", "60"),
        ];
        assert_same_answer(servers, "/api/v1/query_range", &parameters);
    }
}

fn assert_same_labels(servers: &[Peer; 2]) {
    let range = [("start", TIMES.0), ("end", TIMES.1)];
    assert_same_answer(servers, "/api/v1/labels", &range);
    assert_same_answer(servers, "/api/v1/label/case/values", &range);
    let matching = [
        ("match[]", r#"{handler=~"/api.*",le!=""}"#),
        range[0],
        range[1],
    ];
    assert_same_answer(servers, "/api/v1/series", &matching);
    assert_same_answer(servers, "/api/v1/label/pod/values", &matching);
}

#[test]
fn deleted_samples_are_gone_for_good() {
    let dir = TempDir::new("with-tombstones");
    let path = dir.path().join("01M81JDC7R8JKP7SEW1VN2HAQ9");
    copy_dir(&testdata("block-1k-2h/01M81JDC7R8JKP7SEW1VN2HAQ9"), &path);
    copy_dir(&testdata("block-1k-2h-tombstones"), &path);
    let (old, (new, meta)) = (database(&path), written_again(&path));
    assert_eq!(
        (meta.stats.num_samples, meta.stats.num_tombstones),
        (469_090, 0)
    );
    let Some(servers) = serve(&old, &new) else {
        return;
    };
    assert_same_samples(&servers);
}

#[test]
fn prometheus_serves_native_histograms_written_again() {
    let path = testdata("live-native-histograms/01M81M0FJ85NHPRPDAFDZ3PATT");
    let (old, (new, _)) = (database(&path), written_again(&path));
    let Some(servers) = serve(&old, &new) else {
        return;
    };
    for query in [
        r#"prometheus_http_request_duration_seconds{handler="/api/v1/query"}"#,
        r#"prometheus_http_request_duration_seconds{handler="/api/v1/labels"}[30s]"#,
        "histogram_quantile(0.9, sum(rate(prometheus_http_request_duration_seconds[2m])))",
        "sum by (handler) (rate(prometheus_http_request_duration_seconds[2m]))",
        "count({__name__=~\".+\"})",
    ] {
        assert_same_answer(
            &servers,
            "/api/v1/query",
            &[("query", query), ("time", "1795350300")],
        );
    }
}

#[test]
fn promtool_lists_and_analyses_it_with_the_same_words() {
    let Some(promtool) = peer::program("promtool") else {
        return;
    };
    for path in [
        "block-1k-2h/01M81JDC7R8JKP7SEW1VN2HAQ9",
        "compaction/vertical-out/01M81M8JDW22H3NMWT3BD73N4P",
        "live-native-histograms/01M81M0F7ATE6W4XQ32000GMCM",
    ] {
        let path = testdata(path);
        let (old, (new, meta)) = (database(&path), written_again(&path));
        let said = |dir: &TempDir, command: &str, id: Option<BlockId>| -> String {
            let id = id.map(|id| id.to_string());
            let mut arguments = vec![
                OsStr::new("tsdb"),
                OsStr::new(command),
                dir.path().as_os_str(),
            ];
            arguments.extend(id.as_deref().map(OsStr::new));
            let output = peer::run(&promtool, &arguments);
            String::from_utf8(output.stdout).unwrap()
        };
        let list = said(&new, "list", None);
        assert!(list.contains(&meta.ulid.to_string()), "{list}");
        let analysis = said(&new, "analyze", Some(meta.ulid));
        let before = said(&old, "analyze", Some(meta.ulid));
        // Of labels with equal counts promtool shows any.
        for line in [
            "Series: ",
            "Label names: ",
            "Postings entries (total label pairs): ",
        ] {
            let of = |text: &str| {
                text.lines()
                    .find(|found| found.starts_with(line))
                    .map(str::to_owned)
            };
            assert!(of(&before).is_some(), "{before}");
            assert_eq!(of(&analysis), of(&before));
        }
        let dump = said(&new, "dump", None);
        assert_eq!(dump, said(&old, "dump", None));
    }
}
