//! Bytes to series and events.

use std::sync::Arc;

use bytes::Bytes;
use thanos_core::chunk::{Aggregate, Chunk, ChunkPayload, Encoding, SeriesChunk};
use thanos_core::error::{Error, Result};
use thanos_core::labels::KeyReader;
use thanos_core::query::SeriesBatchBuilder;
use thanos_core::time::Timestamp;

use super::WARNING_DETAIL_FIELD;
use super::proto::{Cursor, NAME_TAG, VALUE_TAG};
use crate::store::{Missing, SeriesEvent};

/// Decodes the frames of one `Series` answer.
///
/// Chunk data is not copied: it shares the frame, which lives as long as one of its chunks. What a frame makes us
/// hold is bounded by a small multiple of its length.
#[derive(Debug)]
pub struct FrameDecoder {
    peer: Arc<str>,
    key: KeyReader,
    /// The labels of the series before: the next may not come before them.
    last_key: KeyReader,
    chunks: Vec<SeriesChunk>,
}

/// A warning and what the peer says about it.
#[derive(Debug, Default)]
struct Warning {
    text: String,
    detail: Option<WarningDetail>,
}

/// What a warning says about the data; see `proto/thanosrs/completeness.proto`.
#[derive(Debug, Default)]
pub(crate) struct WarningDetail {
    pub(crate) data_complete: bool,
    pub(crate) source: String,
    pub(crate) reason: String,
}

impl FrameDecoder {
    /// Returns a decoder for the answer of `peer`, which is named in errors and as the source of missing data.
    pub fn new(peer: impl Into<Arc<str>>) -> Self {
        Self {
            peer: peer.into(),
            key: KeyReader::default(),
            last_key: KeyReader::default(),
            chunks: Vec::new(),
        }
    }

    /// Decodes one `SeriesResponse` message: its series are appended to `series`, anything else is returned.
    ///
    /// # Errors
    ///
    /// `Corrupt` with the peer and the offset in the frame when the bytes are not such a message, when labels are
    /// not sorted or not UTF-8, and when a series comes before its predecessor. The stream is of no use then.
    pub fn decode(
        &mut self,
        frame: &Bytes,
        series: &mut SeriesBatchBuilder,
    ) -> Result<Option<SeriesEvent>> {
        let result = self.read_frame(Cursor::new(frame), series);
        result.map_err(|error| error.in_file(&*self.peer))
    }

    fn read_frame(
        &mut self,
        mut frame: Cursor<'_>,
        series: &mut SeriesBatchBuilder,
    ) -> Result<Option<SeriesEvent>> {
        let mut warning = Warning::default();
        let mut event = None;
        while let Some((field, wire_type)) = frame.field()? {
            match field {
                1 => self.read_series(frame.expect_message(wire_type)?, series)?,
                2 => warning.text = frame.expect_message(wire_type)?.text()?,
                3 => event = Some(SeriesEvent::Hints(frame.expect_message(wire_type)?.bytes())),
                4 => self.read_batch(frame.expect_message(wire_type)?, series)?,
                WARNING_DETAIL_FIELD => {
                    warning.detail = Some(read_detail(frame.expect_message(wire_type)?)?);
                }
                _ => frame.skip(wire_type)?,
            }
        }
        if !warning.text.is_empty() || warning.detail.is_some() {
            event = Some(warning_event(warning.text, warning.detail, &self.peer));
        }
        Ok(event)
    }

    fn read_batch(&mut self, mut batch: Cursor<'_>, series: &mut SeriesBatchBuilder) -> Result<()> {
        while let Some((field, wire_type)) = batch.field()? {
            match field {
                1 => self.read_series(batch.expect_message(wire_type)?, series)?,
                _ => batch.skip(wire_type)?,
            }
        }
        Ok(())
    }

    fn read_series(
        &mut self,
        mut message: Cursor<'_>,
        series: &mut SeriesBatchBuilder,
    ) -> Result<()> {
        let offset = message.offset();
        std::mem::swap(&mut self.key, &mut self.last_key);
        self.key.clear();
        self.chunks.clear();
        while let Some((field, wire_type)) = message.field()? {
            match field {
                1 => read_label(message.expect_message(wire_type)?, &mut self.key)?,
                2 => {
                    let chunk = read_aggr_chunk(message.expect_message(wire_type)?)?;
                    self.chunks.push(chunk);
                }
                _ => message.skip(wire_type)?,
            }
        }
        let labels = self.key.finish().map_err(|error| error.at(offset))?;
        if labels < self.last_key.key() {
            return Err(Error::corrupt(format!("series {labels} is not in order")).at(offset));
        }
        series.push(labels, self.chunks.drain(..));
        Ok(())
    }
}

/// Returns what a warning means: missing data, unless the peer says otherwise.
pub(crate) fn warning_event(
    text: String,
    detail: Option<WarningDetail>,
    peer: &str,
) -> SeriesEvent {
    match detail {
        Some(detail) if detail.data_complete => SeriesEvent::Warning(text),
        Some(detail) => SeriesEvent::Missing(Missing {
            source: detail.source,
            reason: detail.reason,
        }),
        None => SeriesEvent::Missing(Missing {
            source: peer.to_owned(),
            reason: text,
        }),
    }
}

fn read_detail(mut message: Cursor<'_>) -> Result<WarningDetail> {
    let mut detail = WarningDetail::default();
    while let Some((field, wire_type)) = message.field()? {
        match field {
            1 => detail.data_complete = message.expect_varint(wire_type)? != 0,
            2 => detail.source = message.expect_message(wire_type)?.text()?,
            3 => detail.reason = message.expect_message(wire_type)?.text()?,
            _ => message.skip(wire_type)?,
        }
    }
    Ok(detail)
}

#[inline]
fn read_label(message: Cursor<'_>, key: &mut KeyReader) -> Result<()> {
    let offset = message.offset();
    let (name, value) = match split_short_label(message.slice()) {
        Some(parts) => parts,
        None => split_label(message)?,
    };
    key.push(name, value).map_err(|error| error.at(offset))
}

/// Returns name and value of a label that has just these, in this order, with lengths of one byte: nearly all.
#[inline]
fn split_short_label(label: &[u8]) -> Option<(&[u8], &[u8])> {
    let [NAME_TAG, len @ 0..0x80, rest @ ..] = label else {
        return None;
    };
    let (name, rest) = rest.split_at_checked(usize::from(*len))?;
    match rest {
        [VALUE_TAG, len @ 0..0x80, value @ ..] if value.len() == usize::from(*len) => {
            Some((name, value))
        }
        _ => None,
    }
}

fn split_label<'a>(mut message: Cursor<'a>) -> Result<(&'a [u8], &'a [u8])> {
    let (mut name, mut value): (&[u8], &[u8]) = (&[], &[]);
    while let Some((field, wire_type)) = message.field()? {
        match field {
            1 => name = message.expect_message(wire_type)?.slice(),
            2 => value = message.expect_message(wire_type)?.slice(),
            _ => message.skip(wire_type)?,
        }
    }
    Ok((name, value))
}

fn read_aggr_chunk(mut message: Cursor<'_>) -> Result<SeriesChunk> {
    let (mut min_time, mut max_time) = (0, 0);
    let mut raw = None;
    let mut aggregates: Option<Box<[Option<Chunk>; 6]>> = None;
    while let Some((field, wire_type)) = message.field()? {
        match field {
            1 => min_time = message.expect_varint(wire_type)?.cast_signed(),
            2 => max_time = message.expect_varint(wire_type)?.cast_signed(),
            3 => raw = Some(read_chunk(message.expect_message(wire_type)?)?),
            4..=8 => {
                let chunk = read_chunk(message.expect_message(wire_type)?)?;
                aggregates.get_or_insert_default()[field as usize - 3] = Some(chunk);
            }
            _ => message.skip(wire_type)?,
        }
    }
    let payload = match (raw, aggregates) {
        (Some(raw), None) => ChunkPayload::Raw(raw),
        (raw, aggregates) => {
            let mut set = aggregates.unwrap_or_default();
            set[Aggregate::Raw as usize] = raw;
            ChunkPayload::Aggregates(set)
        }
    };
    Ok(SeriesChunk {
        min_time: Timestamp::from_millis(min_time),
        max_time: Timestamp::from_millis(max_time),
        payload,
    })
}

fn read_chunk(mut message: Cursor<'_>) -> Result<Chunk> {
    let mut chunk = Chunk {
        encoding: Encoding::XOR,
        data: Bytes::new(),
    };
    while let Some((field, wire_type)) = message.field()? {
        match field {
            1 => {
                let offset = message.offset();
                let number = message.expect_varint(wire_type)?;
                chunk.encoding = encoding(number).map_err(|error| error.at(offset))?;
            }
            2 => chunk.data = message.expect_message(wire_type)?.bytes(),
            // The hash serves to compare chunks without their data; we have the data.
            _ => message.skip(wire_type)?,
        }
    }
    Ok(chunk)
}

/// Returns the encoding of a chunk type: the wire counts from XOR = 0, the TSDB from no data = 0.
fn encoding(wire_type: u64) -> Result<Encoding> {
    wire_type
        .checked_add(1)
        .and_then(|number| u8::try_from(number).ok())
        .map(Encoding)
        .ok_or_else(|| Error::corrupt(format!("chunk type {wire_type} is out of range")))
}
