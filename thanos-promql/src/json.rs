//! Results as JSON text, byte for byte as Prometheus writes it, in pieces.
//!
//! [`ResultJson`] yields the text of a result in pieces of about 32 KiB, so that a large answer is never held
//! as text. Prometheus writes labels as they are, but escapes `<`, `>` and `&` in messages and string values;
//! so is it here.

use bytes::Bytes;
use thanos_core::histogram::FloatHistogram;
use thanos_core::labels::LabelsRef;
use thanos_core::text::{FloatFormat, push_float};
use thanos_core::time::Timestamp;

use crate::value::{Point, Sample, SampleValue, Series, Value};

/// The bytes after which a piece is handed on.
const PIECE_BYTES: usize = 32 << 10;

/// Appends text.
trait Put {
    fn put(&mut self, text: &str);
}

impl Put for Vec<u8> {
    fn put(&mut self, text: &str) {
        self.extend_from_slice(text.as_bytes());
    }
}

/// Which characters are written as escapes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Escapes {
    /// Those that JSON wants: labels.
    Json,
    /// And those that Go escapes for the sake of HTML: messages, label values, strings.
    Html,
}

/// Writes `text` as a JSON string with Go's HTML escapes.
pub fn write_string(out: &mut Vec<u8>, text: &str) {
    write_escaped(out, text, Escapes::Html);
}

/// Writes `texts` as a JSON array of strings.
pub fn write_strings<'a>(out: &mut Vec<u8>, texts: impl IntoIterator<Item = &'a str>) {
    out.put("[");
    for (i, text) in texts.into_iter().enumerate() {
        if i > 0 {
            out.put(",");
        }
        write_string(out, text);
    }
    out.put("]");
}

fn write_escaped(out: &mut Vec<u8>, text: &str, escapes: Escapes) {
    out.put("\"");
    // Most texts have nothing to escape, which is seen many bytes at a time.
    match is_plain(text.as_bytes(), escapes) {
        true => out.put(text),
        false => write_by_char(out, text, escapes),
    }
    out.put("\"");
}

/// Reports whether no byte of `text` is, or begins, a character that is escaped.
fn is_plain(text: &[u8], escapes: Escapes) -> bool {
    let (blocks, rest) = text.as_chunks::<BLOCK_BYTES>();
    let mut last = [b'-'; BLOCK_BYTES];
    last[..rest.len()].copy_from_slice(rest);
    let mut blocks = blocks.iter().chain([&last]);
    blocks.all(|block| is_plain_block(block, escapes))
}

/// How many bytes are looked at together.
const BLOCK_BYTES: usize = 16;

/// As [`is_plain`]; without a way out of the loops, so that they become a few instructions.
fn is_plain_block(block: &[u8; BLOCK_BYTES], escapes: Escapes) -> bool {
    let is_json = |byte: u8| byte < b' ' || byte == b'"' || byte == b'\\';
    // The last one begins the separators of lines and paragraphs.
    let is_html = |byte: u8| matches!(byte, b'<' | b'>' | b'&' | 0xE2);
    let mut found = block
        .iter()
        .fold(false, |found, byte| found | is_json(*byte));
    if escapes == Escapes::Html {
        found = block
            .iter()
            .fold(found, |found, byte| found | is_html(*byte));
    }
    !found
}

fn write_by_char(out: &mut Vec<u8>, text: &str, escapes: Escapes) {
    let mut plain_from = 0;
    for (at, c) in text.char_indices() {
        let escape = match c {
            '"' => "\\\"",
            '\\' => "\\\\",
            '\n' => "\\n",
            '\r' => "\\r",
            '\t' => "\\t",
            '<' if escapes == Escapes::Html => "\\u003c",
            '>' if escapes == Escapes::Html => "\\u003e",
            '&' if escapes == Escapes::Html => "\\u0026",
            '\u{2028}' if escapes == Escapes::Html => "\\u2028",
            '\u{2029}' if escapes == Escapes::Html => "\\u2029",
            '\0'..='\x1f' => "",
            _ => continue,
        };
        out.put(&text[plain_from..at]);
        if escape.is_empty() {
            out.put(&format!("\\u{:04x}", u32::from(c)));
        } else {
            out.put(escape);
        }
        plain_from = at + c.len_utf8();
    }
    out.put(&text[plain_from..]);
}

/// Writes a label set as a JSON object.
pub fn write_labels(out: &mut Vec<u8>, labels: LabelsRef<'_>) {
    out.put("{");
    for (i, (name, value)) in labels.iter().enumerate() {
        if i > 0 {
            out.put(",");
        }
        write_escaped(out, &name, Escapes::Json);
        out.put(":");
        write_escaped(out, &value, Escapes::Json);
    }
    out.put("}");
}

/// Writes a time in seconds with up to three decimals.
pub(crate) fn write_time(out: &mut Vec<u8>, time: Timestamp) {
    let ms = time.as_millis();
    if ms < 0 {
        out.put("-");
    }
    let ms = ms.unsigned_abs();
    out.put(itoa::Buffer::new().format(ms / 1000));
    let fraction = ms % 1000;
    if fraction != 0 {
        let digits = [fraction / 100, fraction / 10 % 10, fraction % 10];
        out.put(".");
        for digit in digits {
            out.put(itoa::Buffer::new().format(digit));
        }
    }
}

/// Writes `[time,"value"]`.
fn write_point(out: &mut Vec<u8>, point: &Point) {
    write_point_start(out, point.time);
    push_float(out, point.value, FloatFormat::Json);
    out.extend_from_slice(b"\"]");
}

/// Writes `[time,"`.
fn write_point_start(out: &mut Vec<u8>, time: Timestamp) {
    out.put("[");
    write_time(out, time);
    out.put(",\"");
}

/// The bytes that the start of a point takes at most: a 64-bit time with sign and point, and four more.
const POINT_START_BYTES: usize = 32;
/// The most times that are remembered; with more steps the later ones are written anew.
const TIMES_MAX: usize = 16 << 10;

/// The starts of points, by time: the series of a result share their steps.
#[derive(Debug, Default)]
struct PointStarts {
    /// Ascending in time, the text filled up with spaces.
    known: Vec<(Timestamp, [u8; POINT_START_BYTES], usize)>,
    /// Where the next time is expected.
    next: usize,
}

impl PointStarts {
    /// Goes back to the first step: another series begins.
    fn rewind(&mut self) {
        self.next = 0;
    }

    /// Writes the start of a point.
    fn write(&mut self, out: &mut Vec<u8>, time: Timestamp) {
        while self.known.get(self.next).is_some_and(|one| one.0 < time) {
            self.next += 1;
        }
        let Some((known, text, len)) = self.known.get(self.next) else {
            return self.learn(out, time);
        };
        if *known != time {
            return write_point_start(out, time);
        }
        // A copy of known length is a few instructions, one of the exact length is a call.
        out.extend_from_slice(text);
        out.truncate(out.len() - (POINT_START_BYTES - len));
        self.next += 1;
    }

    /// Writes the start of a point that is later than all known ones, and remembers it.
    fn learn(&mut self, out: &mut Vec<u8>, time: Timestamp) {
        let from = out.len();
        write_point_start(out, time);
        let text = &out[from..];
        if self.known.len() < TIMES_MAX && text.len() <= POINT_START_BYTES {
            let mut filled = [b' '; POINT_START_BYTES];
            filled[..text.len()].copy_from_slice(text);
            self.known.push((time, filled, text.len()));
            self.next = self.known.len();
        }
    }
}

/// Writes the time of a scalar or a string, which Prometheus writes as a float: without trailing zeros.
fn write_time_as_float(out: &mut Vec<u8>, time: Timestamp) {
    let secs = crate::functions::math::millis_to_secs(time.as_millis());
    push_float(out, secs, FloatFormat::Json);
}

/// The JSON of a value, in pieces.
#[derive(Debug)]
pub struct ResultJson {
    value: Value,
    /// The next series, and the next of its points.
    next: (usize, usize),
    state: State,
    /// What follows the result inside the object, each member with a comma before it.
    members: Vec<u8>,
    starts: PointStarts,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Start,
    Series,
    Done,
}

impl ResultJson {
    /// Returns the pieces of `{"resultType":...,"result":...}`.
    pub fn new(value: Value) -> Self {
        Self {
            value,
            next: (0, 0),
            state: State::Start,
            members: Vec::new(),
            starts: PointStarts::default(),
        }
    }

    /// Adds a member to the object, whose value is JSON.
    #[must_use]
    pub fn with_member(mut self, name: &str, value: &[u8]) -> Self {
        self.members.put(",");
        write_string(&mut self.members, name);
        self.members.put(":");
        self.members.extend_from_slice(value);
        self
    }

    fn write_end(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.members);
        out.put("}");
        self.state = State::Done;
    }

    fn write_start(&mut self, out: &mut Vec<u8>) {
        out.put("{\"resultType\":\"");
        out.put(self.value.type_name());
        out.put("\",\"result\":");
        match &self.value {
            Value::Scalar(point) => {
                out.put("[");
                write_time_as_float(out, point.time);
                out.put(",\"");
                push_float(out, point.value, FloatFormat::Fixed);
                out.put("\"]");
                self.write_end(out);
            }
            Value::String(time, text) => {
                out.put("[");
                write_time_as_float(out, *time);
                out.put(",");
                write_string(out, text);
                out.put("]");
                self.write_end(out);
            }
            Value::Vector(_) | Value::Matrix(_) => {
                out.put("[");
                self.state = State::Series;
            }
        }
    }

    /// Writes the next series or part of it.
    fn write_more(&mut self, out: &mut Vec<u8>) {
        let (series, point) = self.next;
        if series == self.value.series_count() {
            out.put("]");
            return self.write_end(out);
        }
        if series > 0 && point == 0 {
            out.put(",");
        }
        self.next = match &self.value {
            Value::Vector(samples) => {
                write_sample(out, &samples[series]);
                (series + 1, 0)
            }
            Value::Matrix(all) => {
                let next = write_points(out, &mut self.starts, &all[series], point);
                if next == all[series].points.len() + all[series].histograms.len() {
                    (series + 1, 0)
                } else {
                    (series, next)
                }
            }
            Value::Scalar(_) | Value::String(..) => (series + 1, 0),
        };
    }
}

impl Iterator for ResultJson {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        if self.state == State::Done {
            return None;
        }
        let mut out = Vec::with_capacity(PIECE_BYTES + PIECE_BYTES / 4);
        while out.len() < PIECE_BYTES && self.state != State::Done {
            match self.state {
                State::Start => self.write_start(&mut out),
                State::Series | State::Done => self.write_more(&mut out),
            }
        }
        Some(Bytes::from(out))
    }
}

fn write_sample(out: &mut Vec<u8>, sample: &Sample) {
    out.put("{\"metric\":");
    write_labels(out, sample.labels.as_ref());
    match &sample.value {
        SampleValue::Float(value) => {
            out.put(",\"value\":");
            let time = sample.time;
            write_point(
                out,
                &Point {
                    time,
                    value: *value,
                },
            );
        }
        SampleValue::Histogram(histogram) => {
            out.put(",\"histogram\":");
            write_histogram_point(out, sample.time, histogram);
        }
    }
    out.put("}");
}

/// Writes floats and then histograms of `series` from `from` on until the piece is full and returns where it
/// stopped. At least one point follows the labels, so that they are not written again.
fn write_points(
    out: &mut Vec<u8>,
    starts: &mut PointStarts,
    series: &Series,
    from: usize,
) -> usize {
    if from == 0 {
        starts.rewind();
        out.put("{\"metric\":");
        write_labels(out, series.labels.as_ref());
    }
    let floats = series.points.len();
    let mut next = from;
    for point in series.points.get(from..).unwrap_or_default() {
        if next > from && out.len() >= PIECE_BYTES {
            return next;
        }
        out.put(if next == 0 { ",\"values\":[" } else { "," });
        starts.write(out, point.time);
        push_float(out, point.value, FloatFormat::Json);
        out.put("\"]");
        next += 1;
    }
    if floats > 0 && from < floats {
        out.put("]");
    }
    for point in &series.histograms[next - floats..] {
        if next > from && out.len() >= PIECE_BYTES {
            return next;
        }
        let is_first = next == floats;
        out.put(if is_first { ",\"histograms\":[" } else { "," });
        write_histogram_point(out, point.time, &point.histogram);
        next += 1;
    }
    out.put(if series.histograms.is_empty() {
        "}"
    } else {
        "]}"
    });
    next
}

/// Writes `[time,{histogram}]`; buckets without observations are left out.
fn write_histogram_point(out: &mut Vec<u8>, time: Timestamp, histogram: &FloatHistogram) {
    out.put("[");
    write_time(out, time);
    out.put(",{\"count\":");
    write_quoted_float(out, histogram.count);
    out.put(",\"sum\":");
    write_quoted_float(out, histogram.sum);
    let mut is_open = false;
    let buckets = histogram.all_buckets();
    for bucket in buckets.filter(|bucket| bucket.count != 0.0) {
        out.put(if is_open { ",[" } else { ",\"buckets\":[[" });
        is_open = true;
        out.put(itoa::Buffer::new().format(bucket.boundary_rule()));
        for number in [bucket.lower, bucket.upper, bucket.count] {
            out.put(",");
            write_quoted_float(out, number);
        }
        out.put("]");
    }
    if is_open {
        out.put("]");
    }
    out.put("}]");
}

fn write_quoted_float(out: &mut Vec<u8>, value: f64) {
    out.put("\"");
    push_float(out, value, FloatFormat::Json);
    out.put("\"");
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use thanos_core::histogram::{BucketLayout, CUSTOM_BUCKETS_SCHEMA, Span};
    use thanos_core::labels::Labels;

    use super::*;

    fn text(value: Value) -> String {
        let pieces: Vec<Bytes> = ResultJson::new(value).collect();
        String::from_utf8(pieces.concat()).unwrap()
    }

    fn point(ms: i64, value: f64) -> Point {
        Point {
            time: Timestamp::from_millis(ms),
            value,
        }
    }

    /// Wherever a character that is escaped stands, and whatever is around it.
    #[test]
    fn texts_are_escaped_at_every_place() {
        let special = [
            "\"", "\\", "\n", "\u{1}", "<", ">", "&", "\u{2028}", "\u{2029}", "\u{20ac}", "\u{e9}",
        ];
        for special in special {
            for before in 0..40 {
                for after in [0, 1, 15, 16, 17] {
                    let text = format!("{}{special}{}", "a".repeat(before), "b".repeat(after));
                    for escapes in [Escapes::Json, Escapes::Html] {
                        let (mut written, mut expected) = (Vec::new(), b"\"".to_vec());
                        write_escaped(&mut written, &text, escapes);
                        write_by_char(&mut expected, &text, escapes);
                        expected.push(b'"');
                        assert_eq!(written, expected, "{text:?}");
                        let read: String = serde_json::from_slice(&written).unwrap();
                        assert_eq!(read, text);
                    }
                }
            }
        }
    }

    #[test]
    fn values_are_written_as_prometheus_does() {
        let labels = Labels::from_pairs([("a", "<\"\u{e9}\n\x01>")]);
        for (value, json) in [
            (
                Value::Scalar(point(1500, f64::INFINITY)),
                r#"{"resultType":"scalar","result":[1.5,"+Inf"]}"#,
            ),
            (
                Value::Scalar(point(0, 1e21)),
                r#"{"resultType":"scalar","result":[0,"1000000000000000000000"]}"#,
            ),
            (
                Value::String(Timestamp::from_millis(2000), "a<b".into()),
                r#"{"resultType":"string","result":[2,"a\u003cb"]}"#,
            ),
            (
                Value::Vector(vec![Sample {
                    labels,
                    time: Timestamp::from_millis(-1001),
                    value: SampleValue::Float(1e21),
                }]),
                "{\"resultType\":\"vector\",\"result\":[{\"metric\":{\"a\":\"<\\\"\u{e9}\\n\\u0001>\"},\"value\":[-1.001,\"1e+21\"]}]}",
            ),
            (
                Value::Matrix(vec![Series {
                    labels: Labels::empty(),
                    points: vec![point(1010, 0.5), point(2000, f64::NAN)],
                    ..Series::default()
                }]),
                r#"{"resultType":"matrix","result":[{"metric":{},"values":[[1.010,"0.5"],[2,"NaN"]]}]}"#,
            ),
            (
                Value::Matrix(Vec::new()),
                r#"{"resultType":"matrix","result":[]}"#,
            ),
        ] {
            assert_eq!(text(value), json);
        }
    }

    /// Returns the JSON of a histogram with these counts.
    fn histogram_json(
        layout: BucketLayout,
        (positive, negative): (&[f64], &[f64]),
        [count, zero_count, sum]: [f64; 3],
    ) -> String {
        let mut histogram = FloatHistogram::new(Arc::new(layout), positive, negative).unwrap();
        histogram.count = count;
        histogram.zero_count = zero_count;
        histogram.sum = sum;
        text(Value::Vector(vec![Sample {
            labels: Labels::empty(),
            time: Timestamp::from_millis(1500),
            value: SampleValue::Histogram(Arc::new(histogram)),
        }]))
    }

    #[test]
    fn histograms_are_written_as_prometheus_does() {
        let spans = |offset, length| vec![Span { offset, length }];
        let json = [
            histogram_json(
                BucketLayout {
                    zero_threshold: 0.3,
                    positive_spans: spans(-1, 3),
                    negative_spans: spans(-1, 2),
                    ..BucketLayout::default()
                },
                (&[1.0, 0.0, 1e-7], &[3.0, 4.0]),
                [1e21, 2.5, f64::NAN],
            ),
            histogram_json(
                BucketLayout {
                    schema: CUSTOM_BUCKETS_SCHEMA,
                    positive_spans: spans(0, 3),
                    custom_values: vec![-0.5, 10.0],
                    ..BucketLayout::default()
                },
                (&[1.0, 2.0, 3.0], &[]),
                [6.0, 0.0, f64::NEG_INFINITY],
            ),
            histogram_json(
                BucketLayout {
                    positive_spans: spans(0, 1),
                    ..BucketLayout::default()
                },
                (&[0.0], &[]),
                [0.0, 0.0, -0.0],
            ),
            histogram_json(
                BucketLayout {
                    schema: -4,
                    positive_spans: spans(64, 2),
                    ..BucketLayout::default()
                },
                (&[-1.0, 3.0], &[]),
                [2.0, 0.0, 1e300],
            ),
        ];
        // What jsonutil.MarshalHistogram of Prometheus writes for them.
        let expected = [
            r#"{"count":"1e+21","sum":"NaN","buckets":[[1,"-1","-0.5","4"],[1,"-0.5","-0.3","3"],[3,"-0.3","0.3","2.5"],[0,"0.3","0.5","1"],[0,"1","2","1e-07"]]}"#,
            r#"{"count":"6","sum":"-Inf","buckets":[[3,"-Inf","-0.5","1"],[0,"-0.5","10","2"],[0,"10","+Inf","3"]]}"#,
            r#"{"count":"0","sum":"-0"}"#,
            r#"{"count":"2","sum":"1e+300","buckets":[[0,"2.7430620343968443e+303","1.7976931348623157e+308","-1"],[0,"1.7976931348623157e+308","+Inf","3"]]}"#,
        ];
        for (json, expected) in json.iter().zip(expected) {
            let whole = format!(
                r#"{{"resultType":"vector","result":[{{"metric":{{}},"histogram":[1.500,{expected}]}}]}}"#
            );
            assert_eq!(*json, whole);
        }
    }

    #[test]
    fn series_may_have_other_times_than_those_before() {
        let times: [&[i64]; 5] = [
            &[1000, 2000, 3000],
            &[500, 2000, 2500, 4000],
            &[],
            &[-1, 3123],
            &[1000, 2000, 3000, 4000, 5000],
        ];
        let series = times.map(|times| Series {
            points: times.iter().map(|ms| point(*ms, 1.5)).collect(),
            ..Series::default()
        });
        let json = text(Value::Matrix(series.to_vec()));
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        for (i, times) in times.into_iter().enumerate() {
            let values = json["result"][i]["values"].as_array();
            let found: Vec<f64> = values
                .into_iter()
                .flatten()
                .map(|one| one[0].as_f64().unwrap() * 1000.0)
                .collect();
            let expected: Vec<f64> = times.iter().map(|ms| *ms as f64).collect();
            assert_eq!(found, expected, "{json}");
        }
    }

    #[test]
    fn a_piece_may_end_anywhere() {
        for long in (PIECE_BYTES - 300..PIECE_BYTES + 10).step_by(7) {
            let series = |name: &str, len| Series {
                labels: Labels::from_pairs([("s", name)]),
                points: (0..len).map(|i| point(i * 1000, 0.1)).collect(),
                ..Series::default()
            };
            let value = Value::Matrix(vec![series(&"x".repeat(long), 2), series("b", 1)]);
            let json: serde_json::Value = serde_json::from_str(&text(value)).unwrap();
            let result = json["result"].as_array().unwrap();
            let lens = result
                .iter()
                .map(|one| one["values"].as_array().unwrap().len());
            assert_eq!(lens.collect::<Vec<_>>(), [2, 1], "{long}");
        }
    }

    #[test]
    fn large_results_come_in_pieces() {
        let series = |name: &str| Series {
            labels: Labels::from_pairs([("s", name)]),
            points: (0..11_000).map(|i| point(i * 1000, 0.1)).collect(),
            ..Series::default()
        };
        let value = Value::Matrix(vec![series("a"), series("b")]);
        let pieces: Vec<Bytes> = ResultJson::new(value).collect();
        assert!(pieces.len() > 5);
        assert!(pieces.iter().all(|piece| piece.len() < 2 * PIECE_BYTES));
        let all: serde_json::Value = serde_json::from_slice(&pieces.concat()).unwrap();
        let result = all["result"].as_array().unwrap();
        assert_eq!(result.len(), 2);
        for series in result {
            assert_eq!(series["values"].as_array().unwrap().len(), 11_000);
        }
    }
}
