//! A Prometheus over a data set, as far as a sidecar asks it: label calls, series, and remote read in both forms.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use thanos_core::chunk::{Aggregate, SeriesChunk};
use thanos_core::labels::{Labels, LabelsBuilder, MatchOp, Matcher};
use thanos_core::time::{TimeRange, Timestamp};

use crate::net::http_client::{HttpClient, HttpClientConfig, HttpClientMetrics};
use crate::prometheus::read::frames::put_frame;
use crate::prometheus::{PrometheusClient, PrometheusServer};
use crate::testkit::Dataset;
use crate::testkit::http::{Asked, Ending, HttpFake, Reply};
use crate::wire::proto::{Cursor, VARINT, put_head, put_varint, tag};

/// How the fake behaves.
#[derive(Debug, Clone)]
pub(crate) struct Manners {
    pub(crate) version: &'static str,
    /// Whether remote read streams chunks.
    pub(crate) streams: bool,
    /// Whether the samples of a series come in frames of one chunk each.
    pub(crate) splits: bool,
    /// The lowest timestamp of its metrics.
    pub(crate) lowest: Option<i64>,
    /// Answers 503 to everything.
    pub(crate) is_down: bool,
    pub(crate) external_labels: Labels,
    pub(crate) ending: Ending,
    /// Instead of the frames of a read.
    pub(crate) read_body: Option<Vec<u8>>,
    /// Remote read and series come in reverse order.
    pub(crate) reversed: bool,
}

pub(crate) struct FakePrometheus {
    pub(crate) http: HttpFake,
    pub(crate) manners: Arc<Mutex<Manners>>,
}

impl FakePrometheus {
    pub(crate) async fn start(data: Dataset) -> Self {
        let manners = Arc::new(Mutex::new(Manners {
            version: "2.42.0",
            streams: true,
            splits: false,
            lowest: None,
            is_down: false,
            external_labels: data.external_labels.clone(),
            ending: Ending::Whole,
            read_body: None,
            reversed: false,
        }));
        let shared = Arc::clone(&manners);
        let http = HttpFake::start(move |asked| {
            let manners = shared.lock().clone();
            reply(&data, &manners, asked)
        });
        Self {
            http: http.await,
            manners,
        }
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut Manners)) {
        change(&mut self.manners.lock());
    }

    pub(crate) fn client(&self) -> PrometheusClient {
        let config = HttpClientConfig::default();
        let http = HttpClient::new(&config, "test", HttpClientMetrics::default()).unwrap();
        PrometheusClient::new(http, &self.http.url()).unwrap()
    }

    /// Returns the server with all that is to be known of it, and forgets that it was asked.
    pub(crate) async fn server(&self) -> PrometheusServer {
        let server = PrometheusServer::new(self.client());
        server.read_version().await.unwrap();
        server.refresh().await.unwrap();
        self.http.asked();
        server
    }
}

fn reply(data: &Dataset, manners: &Manners, asked: &Asked) -> Reply {
    if manners.is_down {
        return Reply::status(503, "Service Unavailable");
    }
    match asked.path.as_str() {
        "/api/v1/status/buildinfo" => match manners.version {
            "0" => Reply::status(404, "404 page not found"),
            version => Reply::data(&format!(r#"{{"version":"{version}"}}"#)),
        },
        "/api/v1/status/config" => {
            let mut yaml = String::from("global:\n  scrape_interval: 15s\n  external_labels:\n");
            for (name, value) in manners.external_labels.iter() {
                yaml += &format!("    {}: {}\n", quoted(&name), quoted(&value));
            }
            yaml += "scrape_configs:\n- job_name: x\n";
            Reply::data(&format!(r#"{{"yaml":{}}}"#, quoted(&yaml)))
        }
        "/metrics" => Reply {
            content_type: "text/plain",
            ..Reply::json(match manners.lowest {
                Some(ms) => {
                    format!(
                        "prometheus_tsdb_lowest_timestamp_seconds {}\n",
                        ms as f64 / 1000.0
                    )
                }
                None => "prometheus_tsdb_lowest_timestamp_seconds 9.223372036854776e+15\n".into(),
            })
        },
        "/api/v1/read" => remote_read(data, manners, asked),
        _ => label_call(data, manners, asked),
    }
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap()
}

fn label_call(data: &Dataset, manners: &Manners, asked: &Asked) -> Reply {
    let selectors: Vec<Vec<Matcher>> = asked.parameters("match[]").into_iter().map(parse).collect();
    if selectors
        .iter()
        .any(|matchers| matchers.iter().all(Matcher::matches_empty))
    {
        let error = "match[] must contain at least one non-empty matcher";
        let body = format!(r#"{{"status":"error","errorType":"bad_data","error":"{error}"}}"#);
        return Reply::status(400, &body);
    }
    let bound = |name: &str, default: Timestamp| match asked.parameter(name) {
        None => default,
        Some(text) => {
            let seconds: f64 = text.parse().unwrap();
            #[expect(clippy::cast_possible_truncation, reason = "tests ask for near times")]
            Timestamp::from_millis((seconds * 1000.0).round() as i64)
        }
    };
    let range = TimeRange {
        min: bound("start", Timestamp::MIN),
        max: bound("end", Timestamp::MAX),
    };
    let has_samples = |series: &&crate::testkit::DatasetSeries| {
        series.samples.iter().any(|sample| range.contains(sample.0))
    };
    let matches = |series: &&crate::testkit::DatasetSeries| {
        let all = |matchers: &Vec<Matcher>| {
            matchers
                .iter()
                .all(|matcher| matcher.matches_labels(series.labels.as_ref()))
        };
        selectors.is_empty() || selectors.iter().any(all)
    };
    let sets = data.series.iter().filter(has_samples).filter(matches);
    let mut sets: Vec<Labels> = sets.map(|series| series.labels.clone()).collect();
    if manners.reversed {
        sets.reverse();
    }
    let limit = asked
        .parameter("limit")
        .map_or(usize::MAX, |limit| limit.parse().unwrap());
    let strings: BTreeSet<String> = match asked.path.as_str() {
        "/api/v1/series" => {
            let sets = sets.iter().take(limit).map(|labels| {
                let pairs = labels
                    .iter()
                    .map(|(n, v)| format!("{}:{}", quoted(&n), quoted(&v)));
                format!("{{{}}}", pairs.collect::<Vec<_>>().join(","))
            });
            return Reply::data(&format!("[{}]", sets.collect::<Vec<_>>().join(",")));
        }
        "/api/v1/labels" => {
            let names = sets.iter().flat_map(|labels| labels.iter());
            names.map(|(name, _)| name.into_owned()).collect()
        }
        path => {
            let name = path.strip_prefix("/api/v1/label/").unwrap();
            let name = name.strip_suffix("/values").unwrap();
            let values = sets.iter().filter_map(|labels| labels.get(name));
            values.map(|value| value.into_owned()).collect()
        }
    };
    let strings = strings.iter().take(limit).map(|text| quoted(text));
    Reply::data(&format!("[{}]", strings.collect::<Vec<_>>().join(",")))
}

/// Reads a selector as our client writes it.
fn parse(selector: &str) -> Vec<Matcher> {
    let mut rest = selector
        .strip_prefix('{')
        .unwrap()
        .strip_suffix('}')
        .unwrap();
    let mut matchers = Vec::new();
    while !rest.is_empty() {
        let (name, after) = match rest.strip_prefix('"') {
            Some(_) => string(rest),
            None => {
                let end = rest.find(['=', '!']).unwrap();
                (rest[..end].to_owned(), &rest[end..])
            }
        };
        let (op, after) = [
            ("=~", MatchOp::Regex),
            ("!~", MatchOp::NotRegex),
            ("!=", MatchOp::NotEqual),
            ("=", MatchOp::Equal),
        ]
        .into_iter()
        .find_map(|(text, op)| Some((op, after.strip_prefix(text)?)))
        .unwrap();
        let (value, after) = string(after);
        matchers.push(Matcher::new(op, &name, &value).unwrap());
        rest = after.strip_prefix(',').unwrap_or(after);
    }
    matchers
}

fn string(text: &str) -> (String, &str) {
    let mut stream = serde_json::Deserializer::from_str(text).into_iter::<String>();
    let value = stream.next().unwrap().unwrap();
    let at = stream.byte_offset();
    (value, &text[at..])
}

/// What a read asks for.
pub(crate) fn read_request(body: &[u8]) -> (TimeRange, Vec<Matcher>, Vec<u64>) {
    let message = Bytes::from(snap::raw::Decoder::new().decompress_vec(body).unwrap());
    let (mut range, mut matchers, mut accepted) =
        (TimeRange::from_millis(0, 0), Vec::new(), Vec::new());
    let mut cursor = Cursor::new(&message);
    while let Some((field, wire_type)) = cursor.field().unwrap() {
        let mut inner = cursor.expect_message(wire_type).unwrap();
        if field == 2 {
            while !inner.is_empty() {
                accepted.push(inner.varint().unwrap());
            }
            continue;
        }
        while let Some((field, wire_type)) = inner.field().unwrap() {
            let mut time =
                || Timestamp::from_millis(inner.expect_varint(wire_type).unwrap().cast_signed());
            match field {
                1 => range.min = time(),
                2 => range.max = time(),
                _ => matchers.push(matcher(inner.expect_message(wire_type).unwrap())),
            }
        }
    }
    (range, matchers, accepted)
}

fn matcher(mut message: Cursor<'_>) -> Matcher {
    let (mut op, mut name, mut value) = (0, String::new(), String::new());
    while let Some((field, wire_type)) = message.field().unwrap() {
        match field {
            1 => op = message.expect_varint(wire_type).unwrap(),
            2 => name = message.expect_message(wire_type).unwrap().text().unwrap(),
            _ => value = message.expect_message(wire_type).unwrap().text().unwrap(),
        }
    }
    let ops = [
        MatchOp::Equal,
        MatchOp::NotEqual,
        MatchOp::Regex,
        MatchOp::NotRegex,
    ];
    Matcher::new(ops[usize::try_from(op).unwrap()], &name, &value).unwrap()
}

fn remote_read(data: &Dataset, manners: &Manners, asked: &Asked) -> Reply {
    let (range, matchers, accepted) = read_request(&asked.body);
    assert_eq!(accepted, [1, 0], "chunks are preferred");
    let matching = data.series.iter().filter(|series| {
        let labels = series.labels.as_ref();
        matchers
            .iter()
            .all(|matcher| matcher.matches_labels(labels))
    });
    let mut series: Vec<_> = matching.collect();
    if manners.reversed {
        series.reverse();
    }
    let mut body = Vec::new();
    let mut result = Vec::new();
    for series in series {
        let labels = with_external(&series.labels, &manners.external_labels);
        let chunks = series.to_chunks().into_iter();
        let chunks: Vec<_> = chunks
            .filter(|chunk| chunk.time_range().overlaps(range))
            .collect();
        if manners.streams {
            let parts = if manners.splits {
                1
            } else {
                chunks.len().max(1)
            };
            for part in chunks.chunks(parts) {
                put_frame(&mut body, &chunked_series(&labels, part));
            }
        } else {
            let samples = series
                .samples
                .iter()
                .filter(|sample| range.contains(sample.0));
            let samples: Vec<_> = samples.copied().collect();
            let message = time_series(&labels, &samples);
            put_head(&mut result, 1, message.len());
            result.extend(message);
        }
    }
    if !manners.streams {
        let mut message = Vec::new();
        put_head(&mut message, 1, result.len());
        message.extend(result);
        body = snap::raw::Encoder::new().compress_vec(&message).unwrap();
    }
    Reply {
        content_type: match manners.streams {
            true => "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse",
            false => "application/x-protobuf",
        },
        body: manners.read_body.clone().unwrap_or(body),
        ending: manners.ending,
        ..Reply::json("")
    }
}

/// Prometheus adds its external labels, and those of the series win.
fn with_external(labels: &Labels, external: &Labels) -> Labels {
    let mut builder = LabelsBuilder::from_labels(external.as_ref());
    for (name, value) in labels.iter() {
        builder.set(&name, &value);
    }
    builder.build()
}

fn put_labels(out: &mut Vec<u8>, labels: &Labels) {
    for (name, value) in labels.iter() {
        let mut label = Vec::new();
        for (field, text) in [(1, name), (2, value)] {
            put_head(&mut label, field, text.len());
            label.extend_from_slice(text.as_bytes());
        }
        put_head(out, 1, label.len());
        out.extend(label);
    }
}

pub(crate) fn chunked_series(labels: &Labels, chunks: &[SeriesChunk]) -> Vec<u8> {
    let mut series = Vec::new();
    put_labels(&mut series, labels);
    for chunk in chunks {
        let raw = chunk.get(Aggregate::Raw).unwrap();
        let mut message = Vec::new();
        let numbers = [
            chunk.min_time.as_millis().cast_unsigned(),
            chunk.max_time.as_millis().cast_unsigned(),
            u64::from(raw.encoding.0),
        ];
        for (field, number) in (1..).zip(numbers) {
            message.push(tag(field, VARINT));
            put_varint(&mut message, number);
        }
        put_head(&mut message, 4, raw.data.len());
        message.extend_from_slice(&raw.data);
        put_head(&mut series, 2, message.len());
        series.extend(message);
    }
    let mut message = Vec::new();
    put_head(&mut message, 1, series.len());
    message.extend(series);
    message
}

fn time_series(labels: &Labels, samples: &[(Timestamp, f64)]) -> Vec<u8> {
    let mut series = Vec::new();
    put_labels(&mut series, labels);
    for (time, value) in samples {
        let mut sample = vec![0x09];
        sample.extend(value.to_le_bytes());
        sample.push(tag(2, VARINT));
        put_varint(&mut sample, time.as_millis().cast_unsigned());
        put_head(&mut series, 2, sample.len());
        series.extend(sample);
    }
    series
}
