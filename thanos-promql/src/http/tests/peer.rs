//! A real Prometheus beside ours, over the same block: many queries, the same answers.
//!
//! The packaged Prometheus is 2.42. Since then ranges and the lookback have become open on the left, so the
//! evaluation times here lie between the samples, where both mean the same; and sums are compensated in more
//! places, so the last digits may differ.

use std::path::Path;

use serde_json::Value as Json;
use thanos_core::testkit::TempDir;
use thanos_core::testkit::peer::Peer;

use super::golden::{get, target};

const BLOCK: &str = "01M81JDC7R8JKP7SEW1VN2HAQ9";

/// The queries, one a line; a line that starts with `#` is a comment.
const QUERIES: &str = include_str!("peer_queries.txt");

fn copy_block(to: &Path) {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../thanos-core/testdata/block-1k-2h");
    for file in ["index", "meta.json", "tombstones", "chunks/000001"] {
        let target = to.join(BLOCK).join(file);
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::copy(from.join(BLOCK).join(file), target).unwrap();
    }
}

fn is_close(a: &str, b: &str) -> bool {
    let [a, b]: [f64; 2] = [a, b].map(|text| text.parse().unwrap());
    a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-9 * a.abs().max(b.abs())
}

fn is_same_point(a: &Json, b: &Json) -> bool {
    a[0] == b[0] && is_close(a[1].as_str().unwrap(), b[1].as_str().unwrap())
}

/// Returns what differs between two series.
fn series_difference(ours: &Json, theirs: &Json) -> Option<String> {
    let points = |series: &Json| -> Vec<Json> {
        match series.get("values") {
            Some(values) => values.as_array().unwrap().clone(),
            None => vec![series["value"].clone()],
        }
    };
    if ours["metric"] != theirs["metric"] {
        return Some(format!(
            "{} instead of {}",
            ours["metric"], theirs["metric"]
        ));
    }
    let metric = &ours["metric"];
    let (ours, theirs) = (points(ours), points(theirs));
    let mut pairs = ours.iter().zip(&theirs);
    if let Some((ours, theirs)) = pairs.find(|(ours, theirs)| !is_same_point(ours, theirs)) {
        return Some(format!("{metric}: {ours} instead of {theirs}"));
    }
    (ours.len() != theirs.len()).then(|| {
        format!(
            "{metric}: {} points instead of {}",
            ours.len(),
            theirs.len()
        )
    })
}

/// Returns what differs.
fn difference(ours: &str, theirs: &str, is_ordered: bool) -> Option<String> {
    let [ours, theirs]: [Json; 2] = [ours, theirs].map(|text| serde_json::from_str(text).unwrap());
    if ours["status"] != theirs["status"] || ours["errorType"] != theirs["errorType"] {
        return Some(format!("{ours} instead of {theirs}"));
    }
    if ours["status"] == "error" {
        return None;
    }
    let (ours, theirs) = (&ours["data"], &theirs["data"]);
    if ours["resultType"] != theirs["resultType"] {
        return Some(format!(
            "{} instead of {}",
            ours["resultType"], theirs["resultType"]
        ));
    }
    if ours["resultType"] == "string" {
        return (ours != theirs).then(|| format!("{ours} instead of {theirs}"));
    }
    if ours["resultType"] == "scalar" {
        let is_same = is_same_point(&ours["result"], &theirs["result"]);
        return (!is_same).then(|| format!("{ours} instead of {theirs}"));
    }
    let [mut ours, mut theirs] =
        [ours, theirs].map(|data| data["result"].as_array().unwrap().clone());
    if !is_ordered {
        ours.sort_by_key(|series| series["metric"].to_string());
        theirs.sort_by_key(|series| series["metric"].to_string());
    }
    if ours.len() != theirs.len() {
        return Some(format!("{} series instead of {}", ours.len(), theirs.len()));
    }
    ours.iter()
        .zip(&theirs)
        .find_map(|(ours, theirs)| series_difference(ours, theirs))
}

/// Returns the difference between our answer and theirs, with the query.
async fn ask_both(prometheus: &Peer, kind: &str, query: &str) -> Option<String> {
    let text = ("query", query.to_owned());
    let own = |parameters: &[(&'static str, &str)]| -> Vec<(&'static str, String)> {
        parameters
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()))
            .collect()
    };
    let (path, times) = match kind {
        "instant" => ("/api/v1/query", own(&[("time", "1793496600.5")])),
        _ => {
            let times = [
                ("start", "1793495000.5"),
                ("end", "1793498900.5"),
                ("step", "137"),
            ];
            ("/api/v1/query_range", own(&times))
        }
    };
    let request = target(path, &[&[text][..], &times].concat());
    let theirs = String::from_utf8(prometheus.get(&request).body).unwrap();
    let (_, ours) = get(&request).await;
    let is_ordered = ["sort", "topk", "bottomk"]
        .iter()
        .any(|name| query.starts_with(name));
    let is_ordered =
        is_ordered && kind == "instant" && !query.contains("by") && !query.contains("without");
    let difference = difference(&ours, &theirs, is_ordered)?;
    let shown: String = difference.chars().take(600).collect();
    Some(format!("{kind} {query}: {shown}"))
}

#[tokio::test]
async fn queries_are_answered_as_by_a_real_prometheus() {
    let data = TempDir::new("promql-peer");
    copy_block(data.path());
    let Some(prometheus) = Peer::prometheus(data.path()) else {
        return;
    };
    let written = QUERIES
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut queries: Vec<String> = written.map(ToOwned::to_owned).collect();
    queries.extend(super::peer_workload::queries());
    assert!(queries.len() >= 500, "only {} queries", queries.len());
    let mut differences = Vec::new();
    for query in &queries {
        for kind in ["instant", "range"] {
            differences.extend(ask_both(&prometheus, kind, query).await);
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// samples count as in Prometheus.
#[tokio::test]
async fn samples_are_counted_as_by_a_real_prometheus() {
    let data = TempDir::new("promql-peer-stats");
    copy_block(data.path());
    let Some(prometheus) = Peer::prometheus(data.path()) else {
        return;
    };
    let mut differences = Vec::new();
    for query in [
        "process_open_fds",
        "process_open_fds offset 7m",
        "timestamp(process_open_fds)",
        "sum(rate(http_requests_total[5m]))",
        "rate(http_requests_total[30s])",
        "max_over_time(process_open_fds[10m]) + on(instance) process_open_fds",
        "process_open_fds @ 1793496600.5 + 1",
        "sum(rate(http_requests_total[5m] @ 1793496600.5))",
        "max_over_time(rate(http_requests_total[5m])[10m:1m])",
        "sum(max_over_time(sum(process_open_fds)[10m:37s]))",
        "quantile_over_time(scalar(max(process_open_fds)) / 100000, process_open_fds[5m])",
        "histogram_quantile(0.9, sum by (le) (rate(http_request_duration_seconds_bucket[5m])))",
        "time() + 1",
    ] {
        let text = ("query", query.to_owned());
        let stats = ("stats", "true".to_owned());
        let instant = [
            text.clone(),
            stats.clone(),
            ("time", "1793496600.5".to_owned()),
        ];
        let range = [
            text,
            stats,
            ("start", "1793493000.5".to_owned()),
            ("end", "1793498900.5".to_owned()),
            ("step", "137".to_owned()),
        ];
        for request in [
            target("/api/v1/query", &instant),
            target("/api/v1/query_range", &range),
        ] {
            let count = |body: &str| {
                let json: Json = serde_json::from_str(body).unwrap();
                json["data"]["stats"]["samples"]["totalQueryableSamples"].as_u64()
            };
            let theirs = prometheus.get(&request);
            let theirs = count(&String::from_utf8(theirs.body).unwrap());
            let ours = count(&get(&request).await.1);
            if ours != theirs || ours.is_none() {
                differences.push(format!("{query}: {ours:?} instead of {theirs:?}"));
            }
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
