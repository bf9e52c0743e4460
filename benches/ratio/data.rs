//! The data: web services in pods, as one block and as lines for an import.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use thanos_core::block::{BlockId, BlockWriter, BlockWriterOptions};
use thanos_core::chunk::{SeriesChunk, XorEncoder};
use thanos_core::labels::Labels;
use thanos_core::testkit::TestRandom;
use thanos_core::time::Timestamp;

use crate::Request;
use crate::server::Server;

const START_MS: i64 = 1_793_491_200_000;
const STEP_MS: i64 = 30_000;
const CHUNK_SAMPLES: usize = 120;
/// The bytes of one request of an import.
const IMPORT_BYTES: usize = 8 << 20;
const BOUNDS: [&str; 12] = [
    "0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10", "+Inf",
];

/// How much data there is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) series: usize,
    pub(crate) hours: usize,
}

/// A series: its labels, and which one it is in its pod.
struct Series {
    labels: Labels,
    pod: usize,
    number: usize,
}

impl Shape {
    fn samples(self) -> usize {
        self.hours * 120
    }

    /// Returns all series, sorted by labels.
    fn all_series(self) -> Vec<Series> {
        let mut all = Vec::with_capacity(self.series);
        for pod in 0.. {
            for (number, pairs) in pod_series().into_iter().enumerate() {
                if all.len() == self.series {
                    all.sort_by(|a: &Series, b: &Series| a.labels.cmp(&b.labels));
                    return all;
                }
                let name = format!("web-{pod}");
                let instance = format!("10.0.{}.{}:8080", pod / 250, pod % 250);
                let own = [("pod", &*name), ("instance", &*instance), ("job", "web")];
                let pairs = pairs.iter().map(|(name, value)| (*name, &**value));
                all.push(Series {
                    labels: Labels::from_pairs(pairs.chain(own)),
                    pod,
                    number,
                });
            }
        }
        all
    }

    /// Returns times and values of a series: gauges wander, everything else counts.
    ///
    /// No time is a multiple of a second, so that it makes no difference whether the edges of a window belong to it,
    /// in which versions of Prometheus differ.
    fn points(self, series: &Series) -> impl Iterator<Item = (i64, f64)> {
        let mut random = TestRandom::new((series.pod * 1000 + series.number) as u64);
        let offset =
            1 + i64::try_from(TestRandom::new(series.pod as u64).below(29_000)).unwrap_or(0);
        let offset = offset + i64::from(offset % 1000 == 0);
        let name = series.labels.get("__name__").unwrap_or_default();
        let is_gauge = !["_total", "_bucket", "_sum", "_count"]
            .iter()
            .any(|suffix| name.ends_with(suffix));
        let mut value = random.below(1000) as f64;
        (0..self.samples()).map(move |i| {
            let time = START_MS + offset + STEP_MS * i64::try_from(i).unwrap_or(0);
            value += match (is_gauge, random.below(3)) {
                (true, _) => (random.below(200) as f64 - 100.0) / 4.0,
                (false, 0) => 0.0,
                (false, _) => random.below(50) as f64,
            };
            (time, value)
        })
    }

    /// Writes everything as one block into the database directory `parent`.
    pub(crate) fn write_block(self, parent: &Path) {
        let all = self.all_series();
        let mut symbols = BTreeSet::new();
        for (name, value) in all.iter().flat_map(|series| series.labels.iter()) {
            symbols.insert(name.into_owned());
            symbols.insert(value.into_owned());
        }
        let id = BlockId::from_parts(Timestamp::from_millis(START_MS), 1);
        let options = BlockWriterOptions::new(id);
        let mut writer = BlockWriter::create(parent, options, &symbols)
            .expect("a fresh directory can be written");
        for series in &all {
            let chunks = chunks(self.points(series));
            writer
                .add_series(series.labels.as_ref(), &chunks)
                .expect("the series are sorted");
        }
        writer.finish().expect("a fresh directory can be written");
    }

    /// Gives everything to VictoriaMetrics.
    pub(crate) fn import(self, server: &Server) {
        let mut body = String::new();
        for series in self.all_series() {
            body.push_str("{\"metric\":{");
            for (i, (name, value)) in series.labels.iter().enumerate() {
                let comma = if i == 0 { "" } else { "," };
                let _ = write!(body, "{comma}\"{name}\":\"{value}\"");
            }
            let points: Vec<(i64, f64)> = self.points(&series).collect();
            body.push_str("},\"values\":[");
            join(&mut body, points.iter().map(|point| point.1));
            body.push_str("],\"timestamps\":[");
            join(&mut body, points.iter().map(|point| point.0));
            body.push_str("]}\n");
            if body.len() >= IMPORT_BYTES {
                server.post("/api/v1/import", body.as_bytes());
                body.clear();
            }
        }
        server.post("/api/v1/import", body.as_bytes());
        server.post("/internal/force_flush", b"");
        server.post("/internal/force_merge", b"");
    }

    /// Returns the parameters of a request over all the time that there is data for.
    pub(crate) fn parameters(self, request: &Request) -> Vec<(&'static str, String)> {
        let start = START_MS / 1000 + 600;
        let end = START_MS / 1000 + i64::try_from(self.hours).unwrap_or(0) * 3600;
        let query = if request.path.ends_with("series") {
            "match[]"
        } else {
            "query"
        };
        vec![
            (query, request.query.to_owned()),
            ("start", start.to_string()),
            ("end", end.to_string()),
            ("step", "60".to_owned()),
        ]
    }
}

fn join<T: std::fmt::Display>(body: &mut String, values: impl Iterator<Item = T>) {
    for (i, value) in values.enumerate() {
        let comma = if i == 0 { "" } else { "," };
        let _ = write!(body, "{comma}{value}");
    }
}

fn chunks(points: impl Iterator<Item = (i64, f64)>) -> Vec<SeriesChunk> {
    let points: Vec<(i64, f64)> = points.collect();
    let chunk = |part: &[(i64, f64)]| {
        let mut encoder = XorEncoder::new();
        for (ms, value) in part {
            encoder.append(Timestamp::from_millis(*ms), *value);
        }
        let [first, last] = [part[0].0, part[part.len() - 1].0].map(Timestamp::from_millis);
        SeriesChunk::raw(first, last, encoder.finish())
    };
    points.chunks(CHUNK_SAMPLES).map(chunk).collect()
}

/// Returns the labels of the series that every pod has.
fn pod_series() -> Vec<Vec<(&'static str, String)>> {
    let mut all = Vec::new();
    for handler in [
        "/",
        "/api/v1/query",
        "/api/v1/query_range",
        "/metrics",
        "/login",
    ] {
        let at = |name: &str| {
            vec![
                ("__name__", name.to_owned()),
                ("handler", handler.to_owned()),
            ]
        };
        for method in ["GET", "POST"] {
            for code in ["200", "404", "500"] {
                let mut labels = at("http_requests_total");
                labels.push(("method", method.to_owned()));
                labels.push(("code", code.to_owned()));
                all.push(labels);
            }
        }
        for bound in BOUNDS {
            let mut labels = at("http_request_duration_seconds_bucket");
            labels.push(("le", bound.to_owned()));
            all.push(labels);
        }
        all.push(at("http_request_duration_seconds_sum"));
        all.push(at("http_request_duration_seconds_count"));
    }
    for name in [
        "process_cpu_seconds_total",
        "process_open_fds",
        "process_resident_memory_bytes",
        "process_start_time_seconds",
        "go_goroutines",
        "go_gc_duration_seconds_count",
        "go_memstats_alloc_bytes",
        "go_memstats_alloc_bytes_total",
    ] {
        all.push(vec![("__name__", name.to_owned())]);
    }
    all
}
