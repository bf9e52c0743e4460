//! Frames to bytes.
//!
//! Protobuf wants the length of a message before its content. One pass over the series writes all labels into a
//! scratch buffer (their lengths are known then), hashes the chunks and sums up; a second pass writes.

use bytes::BufMut;
use thanos_core::chunk::{Aggregate, Chunk, ChunkPayload, SeriesChunk};
use thanos_core::error::{Error, Result};
use thanos_core::labels::LabelsRef;
use thanos_core::query::SeriesView;
use xxhash_rust::xxh64::xxh64;

use super::WARNING_DETAIL_FIELD;
use super::frame::{Frame, SeriesRun};
use super::proto::{
    self, LABEL_TAG, NAME_TAG, VALUE_TAG, VARINT, delimited_len, put_head, put_varint, varint_len,
};
use crate::store::Missing;

/// Encodes frames, keeping its buffers from one to the next.
///
/// # Example
///
/// ```
/// use thanos_core::labels::Labels;
/// use thanos_core::query::{SeriesBatchBuilder, SeriesEvent};
/// use thanos_storeapi::wire::{FrameDecoder, FrameEncoder, Frames};
///
/// let mut series = SeriesBatchBuilder::new();
/// series.push(Labels::from_pairs([("__name__", "up")]).as_ref(), []);
/// let mut frames = Frames::new(64);
/// frames.push(SeriesEvent::Batch(series.finish()));
/// let frame = frames.next_full().or_else(|| frames.flush());
///
/// let mut decoder = FrameDecoder::new("store-a:10901");
/// if let Some(frame) = frame {
///     let mut bytes = Vec::new();
///     FrameEncoder::default().encode(&frame, &mut bytes)?;
///     decoder.decode(&bytes.into(), &mut series)?;
/// }
/// assert_eq!(series.finish().get(0).labels.to_string(), r#"{__name__="up"}"#);
/// # Ok::<(), thanos_core::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct FrameEncoder {
    /// The label fields of all series of the frame, one after the other.
    labels: Vec<u8>,
    series: Vec<SeriesSize>,
    /// The hashes of all chunks of the frame, in the order in which they are written.
    hashes: Vec<u64>,
}

#[derive(Debug)]
struct SeriesSize {
    labels_len: usize,
    message_len: usize,
}

impl FrameEncoder {
    /// Appends `frame` to `out` as a `SeriesResponse` message.
    ///
    /// # Errors
    ///
    /// `Internal` when a chunk has no encoding; nothing was appended then.
    pub fn encode(&mut self, frame: &Frame, out: &mut impl BufMut) -> Result<()> {
        match frame {
            Frame::Series(run) => {
                self.measure(std::slice::from_ref(run))?;
                self.write_series(std::slice::from_ref(run), out);
            }
            Frame::Batch(runs) => {
                self.measure(runs)?;
                let len = self
                    .series
                    .iter()
                    .map(|size| delimited_len(size.message_len));
                put_head(out, 4, len.sum());
                self.write_series(runs, out);
            }
            Frame::Warning(text) => {
                put_text(out, 2, text);
                put_detail(out, &[proto::tag(1, VARINT), 1]);
            }
            Frame::Missing(missing) => {
                put_text(out, 2, &warning_text(missing));
                let mut detail = Vec::new();
                put_text(&mut detail, 2, &missing.source);
                put_text(&mut detail, 3, &missing.reason);
                put_detail(out, &detail);
            }
            Frame::Hints(any) => {
                put_head(out, 3, any.len());
                out.put_slice(any);
            }
        }
        Ok(())
    }

    /// Fills the buffers with the labels, hashes and lengths of the series.
    fn measure(&mut self, runs: &[SeriesRun]) -> Result<()> {
        self.labels.clear();
        self.series.clear();
        self.hashes.clear();
        for series in series_of(runs) {
            let labels_start = self.labels.len();
            append_labels(&mut self.labels, series.labels);
            let labels_len = self.labels.len() - labels_start;
            let mut message_len = labels_len;
            for chunk in series.chunks {
                for (_, part) in parts(chunk) {
                    if wire_type(part).is_none() {
                        let labels = series.labels;
                        return Err(Error::internal(format!(
                            "chunk of {labels} has no encoding"
                        )));
                    }
                    self.hashes.push(xxh64(&part.data, 0));
                }
                let parts = parts(chunk).count();
                let hashes = &self.hashes[self.hashes.len() - parts..];
                message_len += delimited_len(aggr_chunk_len(chunk, hashes));
            }
            self.series.push(SeriesSize {
                labels_len,
                message_len,
            });
        }
        Ok(())
    }

    /// Writes the measured series as fields 1; both kinds of frames have their series there.
    fn write_series(&self, runs: &[SeriesRun], out: &mut impl BufMut) {
        let (mut labels, mut hashes) = (self.labels.as_slice(), self.hashes.as_slice());
        for (series, size) in series_of(runs).zip(&self.series) {
            put_head(out, 1, size.message_len);
            let (own, rest) = labels.split_at(size.labels_len);
            out.put_slice(own);
            labels = rest;
            for chunk in series.chunks {
                let (own, rest) = hashes.split_at(parts(chunk).count());
                put_head(out, 2, aggr_chunk_len(chunk, own));
                put_aggr_chunk(out, chunk, own);
                hashes = rest;
            }
        }
    }
}

fn series_of(runs: &[SeriesRun]) -> impl Iterator<Item = SeriesView<'_>> {
    runs.iter()
        .flat_map(|run| run.range.clone().map(|index| run.batch.get(index)))
}

/// Returns what a peer sees that knows warnings only.
pub(crate) fn warning_text(missing: &Missing) -> String {
    match missing.source.as_str() {
        "" => missing.reason.clone(),
        source => format!("{source}: {}", missing.reason),
    }
}

/// Appends the labels as fields 1 of a series.
fn append_labels(out: &mut Vec<u8>, labels: LabelsRef<'_>) {
    out.reserve(2 * labels.key().len());
    for (name, value) in labels.iter_bytes() {
        let len = delimited_len(name.len()) + delimited_len(value.len());
        match [len, name.len(), value.len()].map(u8::try_from) {
            // Nearly always: all lengths are one byte.
            [Ok(len @ 0..0x80), Ok(name_len), Ok(value_len)] => {
                out.extend_from_slice(&[LABEL_TAG, len, NAME_TAG, name_len]);
                out.extend_from_slice(&name);
                out.extend_from_slice(&[VALUE_TAG, value_len]);
                out.extend_from_slice(&value);
            }
            _ => {
                put_head(out, 1, len);
                put_head(out, 1, name.len());
                out.extend_from_slice(&name);
                put_head(out, 2, value.len());
                out.extend_from_slice(&value);
            }
        }
    }
}

/// Returns the chunks of `chunk` with the fields they go to.
fn parts(chunk: &SeriesChunk) -> impl Iterator<Item = (u8, &Chunk)> {
    let (raw, set) = match &chunk.payload {
        ChunkPayload::Raw(raw) => (Some((RAW_FIELD, raw)), None),
        ChunkPayload::Aggregates(set) => (None, Some(set)),
    };
    let fields = RAW_FIELD..=RAW_FIELD + Aggregate::Counter as u8;
    let set = set
        .into_iter()
        .flat_map(move |set| fields.clone().zip(set.iter()));
    raw.into_iter()
        .chain(set.filter_map(|(field, part)| Some((field, part.as_ref()?))))
}

/// The field of the raw chunk; those of the aggregates follow in the order of [`Aggregate`].
const RAW_FIELD: u8 = 3;

/// Returns the encoding as the wire numbers it: one less than the TSDB does.
fn wire_type(chunk: &Chunk) -> Option<u8> {
    chunk.encoding.0.checked_sub(1)
}

fn aggr_chunk_len(chunk: &SeriesChunk, hashes: &[u64]) -> usize {
    let times = [chunk.min_time, chunk.max_time];
    let times_len: usize = times
        .iter()
        .map(|time| number_len(time.as_millis().cast_unsigned()))
        .sum();
    let parts_len: usize = parts(chunk)
        .zip(hashes)
        .map(|((_, part), hash)| delimited_len(chunk_len(part, *hash)))
        .sum();
    times_len + parts_len
}

fn chunk_len(chunk: &Chunk, hash: u64) -> usize {
    let data_len = match chunk.data.len() {
        0 => 0,
        len => delimited_len(len),
    };
    number_len(wire_type(chunk).unwrap_or_default().into()) + data_len + number_len(hash)
}

/// Returns the length of a number field below 16: nothing for zero, as proto3 wants it.
fn number_len(value: u64) -> usize {
    match value {
        0 => 0,
        _ => 1 + varint_len(value),
    }
}

fn put_number(out: &mut impl BufMut, field: u8, value: u64) {
    if value != 0 {
        out.put_u8(proto::tag(field, VARINT));
        put_varint(out, value);
    }
}

fn put_aggr_chunk(out: &mut impl BufMut, chunk: &SeriesChunk, hashes: &[u64]) {
    put_number(out, 1, chunk.min_time.as_millis().cast_unsigned());
    put_number(out, 2, chunk.max_time.as_millis().cast_unsigned());
    for ((field, part), hash) in parts(chunk).zip(hashes) {
        put_head(out, field, chunk_len(part, *hash));
        put_number(out, 1, wire_type(part).unwrap_or_default().into());
        if !part.data.is_empty() {
            put_head(out, 2, part.data.len());
            out.put_slice(&part.data);
        }
        put_number(out, 3, *hash);
    }
}

fn put_text(out: &mut impl BufMut, field: u8, text: &str) {
    put_head(out, field, text.len());
    out.put_slice(text.as_bytes());
}

fn put_detail(out: &mut impl BufMut, detail: &[u8]) {
    put_varint(
        out,
        u64::from(WARNING_DETAIL_FIELD) << 3 | u64::from(proto::LENGTH_DELIMITED),
    );
    put_varint(out, detail.len() as u64);
    out.put_slice(detail);
}
