#![cfg(any(feature = "client", feature = "server"))]

use bytes::Bytes;
use proptest::prelude::*;
use prost::Message;
use thanos_core::chunk::{Chunk, ChunkPayload, Encoding, SeriesChunk};
use thanos_core::error::ErrorKind;
use thanos_core::labels::Labels;
use thanos_core::query::SeriesBatchBuilder;
use thanos_core::time::Timestamp;
use xxhash_rust::xxh64::xxh64;

use super::*;
use crate::pb::thanos as pb;
use crate::store::{Missing, SeriesBatch, SeriesEvent};

/// The recorded `Series` answers of a real Thanos: sidecar, store gateways and querier.
const RECORDED: [&str; 10] = [
    "query-proxy-ha-dedup",
    "sidecar-head",
    "store-ds-1h",
    "store-ds-5m",
    "store-ds-raw",
    "store-ha-with-replica",
    "store-ha-without-replica",
    "store-limit",
    "store-raw-eq",
    "store-raw-regex",
];

fn recorded_frames(name: &str) -> Vec<Bytes> {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/storeapi");
    let mut rest = Bytes::from(std::fs::read(format!("{dir}/{name}.resp.bin")).unwrap());
    let mut frames = Vec::new();
    while !rest.is_empty() {
        let len = u32::from_le_bytes(rest.split_to(4)[..].try_into().unwrap());
        frames.push(rest.split_to(len as usize));
    }
    frames
}

fn encode(frame: &Frame) -> Bytes {
    let mut out = Vec::new();
    FrameEncoder::default().encode(frame, &mut out).unwrap();
    out.into()
}

fn frames_of(event: SeriesEvent, batch_size: u64) -> Vec<Bytes> {
    cut([event], batch_size).iter().map(encode).collect()
}

/// Returns all frames of `events`.
fn cut(events: impl IntoIterator<Item = SeriesEvent>, batch_size: u64) -> Vec<Frame> {
    let mut frames = Frames::new(batch_size);
    let mut all = Vec::new();
    for event in events {
        frames.push(event);
        all.extend(std::iter::from_fn(|| frames.next_full()));
    }
    all.extend(frames.flush());
    all
}

fn decode_all(frames: &[Bytes]) -> thanos_core::Result<(SeriesBatch, Vec<SeriesEvent>)> {
    let mut decoder = FrameDecoder::new("peer:1");
    let mut series = SeriesBatchBuilder::new();
    let mut events = Vec::new();
    for frame in frames {
        events.extend(decoder.decode(frame, &mut series)?);
    }
    Ok((series.finish(), events))
}

fn owned(batch: &SeriesBatch) -> Vec<(Labels, Vec<SeriesChunk>)> {
    let own = |index| (batch.labels(index), batch.get(index).chunks.to_vec());
    (0..batch.len()).map(own).collect()
}

#[test]
fn recorded_answers_are_read_and_written_byte_for_byte() {
    for name in RECORDED {
        let recorded = recorded_frames(name);
        let (batch, events) = decode_all(&recorded).unwrap();
        assert!(events.is_empty() && batch.len() == recorded.len(), "{name}");
        let written = frames_of(SeriesEvent::Batch(batch), 1);
        assert_eq!(written, recorded, "{name}");
    }
}

#[test]
fn an_answer_without_frames_is_an_empty_one() {
    assert!(recorded_frames("store-raw-extlabel-miss").is_empty());
}

#[test]
fn a_recorded_answer_without_chunks_is_read_and_written() {
    let recorded = recorded_frames("store-skip-chunks");
    let (batch, _) = decode_all(&recorded).unwrap();
    assert!(batch.iter().all(|series| series.chunks.is_empty()));
    assert_eq!(frames_of(SeriesEvent::Batch(batch), 0), recorded);
}

#[test]
fn recorded_chunks_have_the_encodings_times_and_aggregates_that_were_sent() {
    let (batch, _) = decode_all(&recorded_frames("store-ds-5m")).unwrap();
    let chunk = &batch.get(0).chunks[0];
    assert_eq!(chunk.min_time.as_millis(), 1_791_417_899_999);
    assert_eq!(chunk.max_time.as_millis(), 1_791_498_240_000);
    let ChunkPayload::Aggregates(set) = &chunk.payload else {
        panic!("{chunk:?}");
    };
    assert!(set[0].is_none() && set[1..].iter().all(Option::is_some));
    assert!(
        set.iter()
            .flatten()
            .all(|part| part.encoding == Encoding::XOR)
    );
}

#[test]
fn chunk_data_is_not_copied() {
    let frame = recorded_frames("store-raw-eq").remove(0);
    let (batch, _) = decode_all(std::slice::from_ref(&frame)).unwrap();
    let data = batch.get(0).chunks[0]
        .get(thanos_core::chunk::Aggregate::Raw)
        .unwrap();
    let frame_memory = frame.as_ptr_range();
    assert!(frame_memory.contains(&data.data.as_ptr()));
}

#[test]
fn batch_frames_hold_as_many_series_as_wanted() {
    let (batch, _) = decode_all(&recorded_frames("store-raw-regex")).unwrap();
    let count = batch.len();
    let expected = owned(&batch);
    for batch_size in [2, 64, 95, 96, 1000, u64::MAX] {
        let frames = frames_of(SeriesEvent::Batch(batch.clone()), batch_size);
        let per_frame = usize::try_from(batch_size).unwrap().min(count);
        assert_eq!(frames.len(), count.div_ceil(per_frame));
        for (index, frame) in frames.iter().enumerate() {
            let message = pb::SeriesResponse::decode(frame.clone()).unwrap();
            let Some(pb::series_response::Result::Batch(one)) = message.result else {
                panic!("not a batch: {message:?}");
            };
            assert_eq!(one.series.len(), per_frame.min(count - index * per_frame));
        }
        assert_eq!(owned(&decode_all(&frames).unwrap().0), expected);
    }
}

#[test]
fn small_batches_share_a_frame_and_other_events_close_it() {
    let batch = |values: &[&str]| {
        let mut series = SeriesBatchBuilder::new();
        for value in values {
            series.push(Labels::from_pairs([("a", value)]).as_ref(), []);
        }
        SeriesEvent::Batch(series.finish())
    };
    let events = [
        batch(&["1", "2"]),
        batch(&[]),
        batch(&["3", "4", "5"]),
        SeriesEvent::Warning("slow".into()),
        batch(&["6"]),
        batch(&["7"]),
    ];
    let frames = cut(events, 4);
    let counts: Vec<usize> = frames.iter().map(Frame::series_count).collect();
    assert_eq!(counts, [4, 1, 0, 2]);
    let bytes: Vec<Bytes> = frames.iter().map(encode).collect();
    let (batch, _) = decode_all(&bytes).unwrap();
    let values: Vec<_> = batch
        .iter()
        .map(|one| one.labels.get("a").unwrap().into_owned())
        .collect();
    assert_eq!(values.concat(), "1234567");
}

#[test]
fn a_batch_frame_is_closed_when_its_series_are_big() {
    let mut series = SeriesBatchBuilder::new();
    for index in 0..4 {
        let labels = Labels::from_pairs([("i", index.to_string())]);
        series.push(labels.as_ref(), [xor_chunk(&vec![0; 3 << 20])]);
    }
    let frames = frames_of(SeriesEvent::Batch(series.finish()), 64);
    assert_eq!(frames.len(), 2);
}

fn xor_chunk(data: &[u8]) -> SeriesChunk {
    let chunk = Chunk {
        encoding: Encoding::XOR,
        data: Bytes::copy_from_slice(data),
    };
    SeriesChunk::raw(Timestamp::from_millis(1), Timestamp::from_millis(2), chunk)
}

fn missing(source: &str, reason: &str) -> Missing {
    Missing {
        source: source.to_owned(),
        reason: reason.to_owned(),
    }
}

fn one_event(frame: Bytes) -> SeriesEvent {
    let (batch, mut events) = decode_all(&[frame]).unwrap();
    assert!(batch.is_empty() && events.len() == 1, "{events:?}");
    events.remove(0)
}

#[test]
fn remarks_and_losses_are_told_apart_between_our_peers() {
    let frame = frames_of(SeriesEvent::Warning("slow".into()), 64).remove(0);
    assert!(matches!(one_event(frame), SeriesEvent::Warning(text) if text == "slow"));

    let loss = missing("block 01ABC", "quarantined");
    let frame = frames_of(SeriesEvent::Missing(loss.clone()), 64).remove(0);
    let as_seen_by_go = pb::SeriesResponse::decode(frame.clone()).unwrap();
    let text = "block 01ABC: quarantined".to_owned();
    assert_eq!(
        as_seen_by_go.result,
        Some(pb::series_response::Result::Warning(text))
    );
    assert!(matches!(one_event(frame), SeriesEvent::Missing(found) if found == loss));
}

#[test]
fn a_warning_without_detail_is_missing_data_of_the_peer() {
    let warning = pb::series_response::Result::Warning("store x: unavailable".to_owned());
    let message = pb::SeriesResponse {
        result: Some(warning),
        warning_detail: None,
    };
    let event = one_event(message.encode_to_vec().into());
    let expected = missing("peer:1", "store x: unavailable");
    assert!(matches!(event, SeriesEvent::Missing(found) if found == expected));
}

#[test]
fn hints_pass_through_unchanged() {
    let any = Bytes::from_static(b"\x0a\x03a/b\x12\x02\x08\x01");
    let frame = frames_of(SeriesEvent::Hints(any.clone()), 64).remove(0);
    assert!(matches!(one_event(frame), SeriesEvent::Hints(found) if found == any));
}

#[test]
fn an_empty_frame_says_nothing() {
    let (batch, events) = decode_all(&[Bytes::new()]).unwrap();
    assert!(batch.is_empty() && events.is_empty());
}

fn pb_series(labels: &[(&str, &str)]) -> pb::Series {
    let label = |(name, value): &(&str, &str)| pb::Label {
        name: (*name).to_owned(),
        value: (*value).to_owned(),
    };
    pb::Series {
        labels: labels.iter().map(label).collect(),
        chunks: Vec::new(),
    }
}

fn series_frame(series: pb::Series) -> Bytes {
    let message = pb::SeriesResponse {
        result: Some(pb::series_response::Result::Series(series)),
        warning_detail: None,
    };
    message.encode_to_vec().into()
}

#[test]
fn damaged_frames_are_corrupt_and_name_the_peer_and_the_offset() {
    let chunk_type = |number: i32| {
        let mut series = pb_series(&[("a", "b")]);
        let raw = pb::Chunk {
            r#type: number,
            ..Default::default()
        };
        series.chunks.push(pb::AggrChunk {
            raw: Some(raw),
            ..Default::default()
        });
        series_frame(series)
    };
    let cut = recorded_frames("store-limit").remove(0);
    let cases = [
        (
            series_frame(pb_series(&[("b", "x"), ("a", "x")])),
            "\"a\" is not in order",
        ),
        (
            series_frame(pb_series(&[("a", "x"), ("a", "y")])),
            "\"a\" is not in order",
        ),
        (series_frame(pb_series(&[("", "x")])), "empty name"),
        (
            Bytes::from_static(b"\x0a\x08\x0a\x06\x0a\x01a\x12\x01\xC3"),
            "not UTF-8",
        ),
        (Bytes::from_static(b"\x08\x01"), "wire type 0, expected 2"),
        (Bytes::from_static(b"\x0b"), "wire type 3"),
        (Bytes::from_static(b"\x00"), "field number is zero"),
        (Bytes::from_static(b"\x12\x01\xFF"), "not UTF-8"),
        (chunk_type(255), "chunk type 255 is out of range"),
        (chunk_type(-1), "out of range"),
        (cut.slice(..cut.len() - 1), "are left"),
    ];
    for (frame, expected) in cases {
        let error = decode_all(std::slice::from_ref(&frame)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        let text = error.to_string();
        assert!(text.starts_with("peer:1: offset "), "{text}");
        assert!(text.contains(expected), "{text}, expected {expected}");
    }
}

#[test]
fn series_out_of_order_are_corrupt_within_and_across_frames() {
    let [first, second] = [&[("a", "1")], &[("a", "2")]].map(|labels| pb_series(labels));
    let frame = |series: &pb::Series| series_frame(series.clone());
    decode_all(&[frame(&first), frame(&first), frame(&second)]).unwrap();
    let error = decode_all(&[frame(&second), frame(&first)]).unwrap_err();
    assert!(
        error.to_string().contains(r#"{a="1"} is not in order"#),
        "{error}"
    );

    let batch = pb::SeriesBatch {
        series: vec![second, first],
    };
    let message = pb::SeriesResponse {
        result: Some(pb::series_response::Result::Batch(batch)),
        warning_detail: None,
    };
    decode_all(&[message.encode_to_vec().into()]).unwrap_err();
}

#[test]
fn a_chunk_without_encoding_is_refused() {
    let mut series = SeriesBatchBuilder::new();
    let mut chunk = xor_chunk(b"x");
    chunk.payload = ChunkPayload::Raw(Chunk {
        encoding: Encoding::NONE,
        data: Bytes::new(),
    });
    series.push(Labels::from_pairs([("a", "b")]).as_ref(), [chunk]);
    let frame = cut([SeriesEvent::Batch(series.finish())], 1).remove(0);
    let mut out = Vec::new();
    let error = FrameEncoder::default()
        .encode(&frame, &mut out)
        .unwrap_err();
    assert_eq!((error.kind(), out.len()), (ErrorKind::Internal, 0));
}

#[test]
fn what_a_frame_makes_us_hold_is_bounded_by_its_length() {
    // The worst frame: one empty chunk in each set of aggregates, four bytes with the heads.
    let empty_chunk = b"\x12\x02\x22\x00";
    let series: Vec<u8> = empty_chunk.repeat(10_000);
    let mut frame = vec![0x0a];
    proto::put_varint(&mut frame, series.len() as u64);
    frame.extend(series);
    let (batch, _) = decode_all(&[frame.clone().into()]).unwrap();
    let boxed = size_of::<[Option<Chunk>; 6]>();
    let held = batch.memory_bytes() + batch.get(0).chunks.len() * boxed;
    assert!(held <= 128 * frame.len(), "{held} for {}", frame.len());
}

fn arb_chunk() -> impl Strategy<Value = Chunk> {
    // Every encoding but the absent one, known or not.
    (1..=255_u8, prop::collection::vec(any::<u8>(), 0..200)).prop_map(|(encoding, data)| Chunk {
        encoding: Encoding(encoding),
        data: data.into(),
    })
}

fn arb_series_chunk() -> impl Strategy<Value = SeriesChunk> {
    let aggregates = prop::array::uniform6(prop::option::of(arb_chunk()))
        .prop_filter("only raw is the other form", |set| {
            set[0].is_none() || set[1..].iter().any(Option::is_some)
        })
        .prop_map(|set| ChunkPayload::Aggregates(Box::new(set)));
    let payload = prop_oneof![arb_chunk().prop_map(ChunkPayload::Raw), aggregates];
    (any::<i64>(), any::<i64>(), payload).prop_map(|(min, max, payload)| SeriesChunk {
        min_time: Timestamp::from_millis(min),
        max_time: Timestamp::from_millis(max),
        payload,
    })
}

fn arb_batch() -> impl Strategy<Value = SeriesBatch> {
    let labels = prop::collection::btree_map("[a-z_\0\u{e9}]{1,9}", "\\PC{1,200}|[\0x]{1,3}", 0..6)
        .prop_map(Labels::from_pairs);
    let chunks = prop::collection::vec(arb_series_chunk(), 0..4);
    prop::collection::vec((labels, chunks), 0..8).prop_map(|mut all| {
        all.sort_by(|a, b| a.0.cmp(&b.0));
        let mut series = SeriesBatchBuilder::new();
        for (labels, chunks) in all {
            series.push(labels.as_ref(), chunks);
        }
        series.finish()
    })
}

/// Returns the series as prost has it: the model that the hand-written code is compared with.
fn model(batch: &SeriesBatch) -> Vec<pb::Series> {
    let chunk = |chunk: &Chunk| pb::Chunk {
        r#type: i32::from(chunk.encoding.0) - 1,
        data: chunk.data.clone(),
        hash: xxh64(&chunk.data, 0),
    };
    let aggr_chunk = |one: &SeriesChunk| {
        let part = |aggregate| one.get(aggregate).map(chunk);
        use thanos_core::chunk::Aggregate;
        pb::AggrChunk {
            min_time: one.min_time.as_millis(),
            max_time: one.max_time.as_millis(),
            raw: part(Aggregate::Raw),
            count: part(Aggregate::Count),
            sum: part(Aggregate::Sum),
            min: part(Aggregate::Min),
            max: part(Aggregate::Max),
            counter: part(Aggregate::Counter),
        }
    };
    let series = batch.iter().map(|series| pb::Series {
        labels: series
            .labels
            .iter()
            .map(|(name, value)| pb::Label {
                name: name.into_owned(),
                value: value.into_owned(),
            })
            .collect(),
        chunks: series.chunks.iter().map(aggr_chunk).collect(),
    });
    series.collect()
}

fn recorded_frame() -> impl Strategy<Value = Bytes> {
    let frames: Vec<Bytes> = RECORDED
        .iter()
        .flat_map(|name| recorded_frames(name))
        .collect();
    prop::sample::select(frames)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn batches_are_written_as_prost_writes_them_and_read_back(batch in arb_batch()) {
        let expected = pb::SeriesResponse {
            result: Some(pb::series_response::Result::Batch(pb::SeriesBatch { series: model(&batch) })),
            warning_detail: None,
        };
        let frames = frames_of(SeriesEvent::Batch(batch.clone()), u64::MAX);
        if batch.is_empty() {
            prop_assert!(frames.is_empty());
        } else {
            prop_assert_eq!(&frames[0][..], &expected.encode_to_vec()[..]);
        }
        let (read, events) = decode_all(&frames).unwrap();
        prop_assert!(events.is_empty());
        prop_assert_eq!(owned(&read), owned(&batch));
    }

    #[test]
    fn single_series_are_written_as_prost_writes_them(batch in arb_batch()) {
        let expected: Vec<Bytes> = model(&batch).into_iter().map(series_frame).collect();
        prop_assert_eq!(frames_of(SeriesEvent::Batch(batch), 1), expected);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = decode_all(&[bytes.into()]);
    }

    #[test]
    fn mutated_frames_never_panic_and_never_invent_bytes(
        frame in recorded_frame(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        keep in any::<prop::sample::Index>(),
    ) {
        let mut bytes = frame.to_vec();
        for (at, value) in edits {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        bytes.truncate(keep.index(bytes.len() * 2).min(bytes.len()));
        let len = bytes.len();
        if let Ok((batch, _)) = decode_all(&[bytes.into()]) {
            let data: usize = batch.iter().flat_map(|series| series.chunks).map(SeriesChunk::data_len).sum();
            prop_assert!(data <= len);
        }
    }
}
