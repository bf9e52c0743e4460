//! `prometheus.ReadRequest`: what is asked.
//!
//! ```text
//! ReadRequest   1 Query ...  2 accepted response type ... (0 samples, 1 streamed chunks)
//! Query         1 start_timestamp_ms  2 end_timestamp_ms  3 LabelMatcher ...
//! LabelMatcher  1 type (= != =~ !~)  2 name  3 value
//! ```

use bytes::{BufMut, Bytes};
use thanos_core::labels::{MatchOp, Matcher};
use thanos_core::time::TimeRange;
use thanos_core::{Error, Result};

use crate::wire::proto::{VARINT, delimited_len, put_head, put_varint, tag, varint_len};

const SAMPLES: u64 = 0;
const STREAMED_CHUNKS: u64 = 1;

/// Returns the compressed request for the series that match, preferably as streamed chunks.
///
/// # Errors
///
/// `Invalid` for matchers that are too long to be sent.
pub(in crate::prometheus) fn encode(range: TimeRange, matchers: &[Matcher]) -> Result<Bytes> {
    let message = request(range, matchers);
    let compressed = snap::raw::Encoder::new().compress_vec(&message);
    let compressed = compressed.map_err(|error| {
        Error::invalid("the matchers are too long for Prometheus").with_source(error)
    })?;
    Ok(compressed.into())
}

fn request(range: TimeRange, matchers: &[Matcher]) -> Vec<u8> {
    let mut query = Vec::new();
    for (field, time) in [(1, range.min), (2, range.max)] {
        put_number(&mut query, field, time.as_millis().cast_unsigned());
    }
    for matcher in matchers {
        put_matcher(&mut query, matcher);
    }
    let mut message = Vec::with_capacity(query.len() + 16);
    put_head(&mut message, 1, query.len());
    message.extend_from_slice(&query);
    // A packed list; the server takes the first that it knows.
    let accepted = [STREAMED_CHUNKS, SAMPLES];
    put_head(&mut message, 2, accepted.len());
    accepted
        .iter()
        .for_each(|kind| put_varint(&mut message, *kind));
    message
}

fn put_number(out: &mut Vec<u8>, field: u8, value: u64) {
    if value != 0 {
        out.put_u8(tag(field, VARINT));
        put_varint(out, value);
    }
}

fn put_matcher(out: &mut Vec<u8>, matcher: &Matcher) {
    let op: u64 = match matcher.op() {
        MatchOp::Equal => 0,
        MatchOp::NotEqual => 1,
        MatchOp::Regex => 2,
        MatchOp::NotRegex => 3,
    };
    let texts = [matcher.name(), matcher.value()];
    let number_len = if op == 0 { 0 } else { 1 + varint_len(op) };
    let texts_len: usize = texts.iter().map(|text| delimited_len(text.len())).sum();
    put_head(out, 3, number_len + texts_len);
    put_number(out, 1, op);
    for (field, text) in [2, 3].into_iter().zip(texts) {
        put_head(out, field, text.len());
        out.extend_from_slice(text.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes are those of Go's generated code for the same request, but for empty values, which it leaves out.
    #[test]
    fn the_message_has_the_fields_of_prometheus() {
        let matchers = [
            Matcher::equal("a", "1"),
            Matcher::new(MatchOp::NotRegex, "job", "x.*").unwrap(),
        ];
        let message = request(TimeRange::from_millis(-1, 300), &matchers);
        let mut expected = vec![0x0A, 36, 0x08];
        expected.extend([0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01]);
        expected.extend([0x10, 0xAC, 0x02]);
        expected.extend(b"\x1A\x06\x12\x01a\x1A\x011");
        expected.extend(b"\x1A\x0C\x08\x03\x12\x03job\x1A\x03x.*");
        expected.extend([0x12, 2, 1, 0]);
        assert_eq!(message, expected);
    }
}
