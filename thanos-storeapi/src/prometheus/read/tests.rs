use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use thanos_core::ErrorKind;
use thanos_core::budget::MemoryBudget;
use thanos_core::query::{SeriesBatchBuilder, SeriesEvent};
use thanos_core::time::TimeRange;

use super::frames::{FrameCutter, MESSAGE_BYTES_MAX, put_frame};
use super::samples;
use super::series::{Order, Refused, SeriesReader};
use super::stream::StreamedAnswer;
use crate::prometheus::PrometheusStoreMetrics;
use crate::testkit::fuzz;

/// Cuts frames out of `pieces`.
fn cut(pieces: &[&[u8]], budget: &MemoryBudget) -> thanos_core::Result<Vec<Bytes>> {
    let mut cutter = FrameCutter::new(budget)?;
    let mut messages = Vec::new();
    for piece in pieces {
        cutter.push(Bytes::copy_from_slice(piece));
        while let Some(message) = cutter.next()? {
            messages.push(message);
        }
    }
    cutter.finish()?;
    Ok(messages)
}

fn framed(messages: &[&[u8]]) -> Vec<u8> {
    let mut body = Vec::new();
    messages
        .iter()
        .for_each(|message| put_frame(&mut body, message));
    body
}

/// SC-02: length, checksum, message, as Prometheus' own writer makes them.
#[test]
fn a_frame_is_a_length_a_checksum_and_a_message() {
    // storage/remote/chunked_test.go of Prometheus, TestChunkedReaderCanReadFromChunkedWriter: CRC32C of "test1".
    let body = framed(&[b"test1"]);
    assert_eq!(body[0], 5);
    assert_eq!(&body[5..], b"test1");
    let crc = thanos_core::encoding::crc::checksum(b"test1");
    assert_eq!(body[1..5], crc.to_be_bytes());
}

#[test]
fn a_length_over_the_limit_is_refused_before_memory_is_taken() {
    let budget = MemoryBudget::new("test", 100);
    let mut long = Vec::new();
    crate::wire::proto::put_varint(&mut long, MESSAGE_BYTES_MAX as u64 + 1);
    for bytes in [&long[..], &[0xFF; 6], &[0xFF; 20]] {
        let error = cut(&[bytes], &budget).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    }
}

#[test]
fn what_waits_for_the_rest_of_its_frame_is_on_lease() {
    let body = framed(&[&[7; 1000]]);
    let budget = MemoryBudget::new("test", 500);
    let error = cut(&[&body[..400], &body[400..]], &budget).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LimitExceeded, "{error}");
    assert_eq!(budget.used_bytes(), 0);
    // A frame that comes at once is not copied and needs none.
    assert_eq!(cut(&[&body], &budget).unwrap().len(), 1);
}

/// SC-03: an answer that says, or turns out, to be more than the budget is refused before memory is taken for it.
#[test]
fn bombs_of_snappy_end_at_the_budget() {
    let budget = MemoryBudget::new("answers", 1 << 20);
    let bomb = snap::raw::Encoder::new()
        .compress_vec(&vec![0; 32 << 20])
        .unwrap();
    assert!(bomb.len() < 2 << 20);
    // Four gigabytes, by its first bytes alone.
    let promise = [0xff, 0xff, 0xff, 0xff, 0x0f, 0];
    for compressed in [&bomb[..], &promise] {
        let error = samples::decompress(compressed, &budget).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LimitExceeded, "{error}");
        assert_eq!(budget.used_bytes(), 0);
    }
    // One that promises less than it is.
    let mut liar = bomb.clone();
    liar[..4].copy_from_slice(&[0x81, 0x80, 0x80, 0x00]);
    let error = samples::decompress(&liar, &budget).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert_eq!((budget.used_bytes(), budget.peak_bytes()), (0, 1));
}

#[test]
fn an_error_that_the_server_writes_into_the_body_is_shown() {
    let mut body = framed(&[b"first"]);
    body.extend(b"query processing would load too many samples\n");
    let error = cut(&[&body], &MemoryBudget::unlimited()).unwrap_err();
    assert!(error.to_string().contains("too many samples"), "{error}");
    assert_eq!(error.offset(), Some(10));
}

#[test]
fn a_body_that_ends_inside_a_frame_is_an_error() {
    let body = framed(&[b"first", b"second"]);
    for end in 1..body.len() {
        let cut = cut(&[&body[..end]], &MemoryBudget::unlimited());
        match end {
            10 => assert_eq!(cut.unwrap(), [Bytes::from_static(b"first")]),
            _ => assert_eq!(cut.unwrap_err().kind(), ErrorKind::Unavailable, "{end}"),
        }
    }
}

fn answer(pieces: Vec<Vec<u8>>) -> impl Iterator<Item = thanos_core::Result<SeriesEvent>> {
    let pieces = pieces.into_iter().map(|piece| Ok(Bytes::from(piece)));
    let answer = StreamedAnswer::new(
        futures::stream::iter(pieces),
        FrameCutter::new(&MemoryBudget::unlimited()).unwrap(),
        SeriesReader::new(TimeRange::ALL, Vec::new(), Order::ByLabels),
        "request".to_owned(),
        PrometheusStoreMetrics::default().frames,
        Arc::default(),
    );
    futures::executor::block_on_stream(answer)
}

#[test]
fn an_answer_ends_at_its_first_error() {
    let chunk = [0x08, 5, 0x10, 9, 0x18, 1];
    let mut body = framed(&[&message_of(&[("a", "1")], &chunk)]);
    body.extend(framed(&[&message_of(&[("a", "2")], &[0x08, 5])]));
    body.extend(framed(&[&message_of(&[("a", "3")], &chunk)]));
    let mut events = answer(vec![body]);
    assert!(matches!(events.next(), Some(Ok(SeriesEvent::Batch(batch))) if batch.len() == 1));
    let error = events.next().unwrap().unwrap_err();
    assert_eq!(
        (error.kind(), error.file()),
        (ErrorKind::Corrupt, Some("request"))
    );
    assert!(events.next().is_none());
}

#[test]
fn long_series_leave_in_batches_of_their_own() {
    let data = vec![7; 700_000];
    let mut chunk = vec![0x08, 5, 0x10, 9, 0x18, 1, 0x22];
    crate::wire::proto::put_varint(&mut chunk, data.len() as u64);
    chunk.extend(data);
    let mut body = Vec::new();
    for value in ["1", "2", "3", "4"] {
        let mut series = labels_of(&[("a", value)]);
        crate::wire::proto::put_head(&mut series, 2, chunk.len());
        series.extend_from_slice(&chunk);
        let mut message = Vec::new();
        crate::wire::proto::put_head(&mut message, 1, series.len());
        message.extend(series);
        put_frame(&mut body, &message);
    }
    let sizes = answer(vec![body]).map(|event| match event.unwrap() {
        SeriesEvent::Batch(batch) => batch.len(),
        other => panic!("{other:?}"),
    });
    assert_eq!(sizes.collect::<Vec<_>>(), [2, 2]);
}

fn len(bytes: &[u8]) -> u8 {
    u8::try_from(bytes.len()).unwrap()
}

fn labels_of(pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in pairs {
        let mut label = vec![0x0A, len(name.as_bytes())];
        label.extend_from_slice(name.as_bytes());
        label.extend([0x12, len(value.as_bytes())]);
        label.extend_from_slice(value.as_bytes());
        out.extend([0x0A, len(&label)]);
        out.extend(label);
    }
    out
}

fn message_of(pairs: &[(&str, &str)], chunk: &[u8]) -> Bytes {
    let mut series = labels_of(pairs);
    series.extend([0x12, len(chunk)]);
    series.extend_from_slice(chunk);
    let mut message = vec![0x0A, len(&series)];
    message.extend(series);
    message.into()
}

/// SC-02: the encoding of Prometheus' message is that of the TSDB, the data is not touched or copied.
#[test]
fn chunks_are_passed_through() {
    let chunk = [0x08, 5, 0x10, 9, 0x18, 3, 0x22, 3, b'x', b'y', b'z'];
    let message = message_of(&[("a", "1")], &chunk);
    let mut series = SeriesBatchBuilder::new();
    let mut reader = SeriesReader::new(TimeRange::ALL, Vec::new(), Order::ByLabels);
    reader.read(&message, &mut series).unwrap();
    let batch = series.finish();
    let chunk = &batch.get(0).chunks[0];
    assert_eq!(
        (chunk.min_time.as_millis(), chunk.max_time.as_millis()),
        (5, 9)
    );
    let raw = chunk.get(thanos_core::chunk::Aggregate::Raw).unwrap();
    assert_eq!((raw.encoding.0, &raw.data[..]), (3, &b"xyz"[..]));
    let range = message.as_ptr_range();
    assert!(range.contains(&raw.data.as_ptr()), "the data was copied");
}

#[test]
fn series_out_of_order_and_chunks_without_encoding_are_refused() {
    let chunk = [0x08, 5, 0x10, 9, 0x18, 1];
    let mut series = SeriesBatchBuilder::new();
    let mut reader = SeriesReader::new(TimeRange::ALL, vec!["z".into()], Order::ByLabels);
    let mut read = |pairs: &[(&str, &str)]| reader.read(&message_of(pairs, &chunk), &mut series);
    read(&[("a", "2"), ("z", "9")]).unwrap();
    // Equal without the label that is passed over: another part of the same series.
    read(&[("a", "2")]).unwrap();
    let refused = read(&[("a", "1")]);
    assert!(
        matches!(refused, Err(Refused::OutOfOrder(_))),
        "{refused:?}"
    );
    let refused = reader.read(&message_of(&[("b", "1")], &[0x08, 5, 0x10, 9]), &mut series);
    assert!(matches!(refused, Err(Refused::Damaged(_))), "{refused:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Wherever the body is cut into pieces, the frames are the same.
    #[test]
    fn frames_do_not_depend_on_pieces(
        messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..8),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let refs: Vec<&[u8]> = messages.iter().map(Vec::as_slice).collect();
        let body = framed(&refs);
        let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(body.len() + 1)).collect();
        ends.extend([0, body.len()]);
        ends.sort_unstable();
        let pieces: Vec<&[u8]> = ends.windows(2).map(|w| &body[w[0]..w[1]]).collect();
        let budget = MemoryBudget::new("test", 1000);
        prop_assert_eq!(cut(&pieces, &budget).unwrap(), messages);
        prop_assert_eq!(budget.used_bytes(), 0);
    }

    /// A changed byte is an error, never other data.
    #[test]
    fn damage_is_found(
        messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..60), 1..4),
        at in any::<prop::sample::Index>(),
        flip in 1_u8..,
    ) {
        let refs: Vec<&[u8]> = messages.iter().map(Vec::as_slice).collect();
        let mut body = framed(&refs);
        let at = at.index(body.len());
        body[at] ^= flip;
        prop_assert!(cut(&[&body], &MemoryBudget::unlimited()).is_err());
    }

    #[test]
    fn any_bytes_are_read_or_refused(data in prop::collection::vec(any::<u8>(), 0..300)) {
        fuzz::remote_read(&data);
    }
}
