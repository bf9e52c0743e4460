//! `prometheus.ChunkedReadResponse`: series with their chunks, read straight into batches.
//!
//! ```text
//! ChunkedReadResponse  1 ChunkedSeries ...  2 query_index
//! ChunkedSeries        1 Label ...  2 Chunk ...
//! Label                1 name  2 value
//! Chunk                1 min_time_ms  2 max_time_ms  3 type (the encoding)  4 data
//! ```

use bytes::Bytes;
use thanos_core::chunk::{Chunk, Encoding, SeriesChunk};
use thanos_core::labels::KeyReader;
use thanos_core::query::SeriesBatchBuilder;
use thanos_core::time::{TimeRange, Timestamp};
use thanos_core::{Error, Result};

use crate::wire::proto::Cursor;

/// Reads the messages of one answer. Chunk data shares the message.
#[derive(Debug)]
pub(in crate::prometheus) struct SeriesReader {
    range: TimeRange,
    /// Names of labels that are passed over.
    without: Vec<String>,
    order: Order,
    key: KeyReader,
    last_key: KeyReader,
    chunks: Vec<SeriesChunk>,
}

/// Whether series must come in label order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::prometheus) enum Order {
    /// They must.
    ByLabels,
    /// They are sorted later.
    Any,
}

/// Why a message was not read.
#[derive(Debug)]
pub(in crate::prometheus) enum Refused {
    /// A series came before its predecessor.
    OutOfOrder(String),
    /// The message is damaged.
    Damaged(Error),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Damaged(error)
    }
}

impl SeriesReader {
    /// Returns a reader of chunks that reach into `range`, of series without the labels `without`.
    pub(in crate::prometheus) fn new(range: TimeRange, without: Vec<String>, order: Order) -> Self {
        Self {
            range,
            without,
            order,
            key: KeyReader::default(),
            last_key: KeyReader::default(),
            chunks: Vec::new(),
        }
    }

    /// Appends the series of `message`; those without a chunk in the range are left out.
    pub(in crate::prometheus) fn read(
        &mut self,
        message: &Bytes,
        series: &mut SeriesBatchBuilder,
    ) -> std::result::Result<(), Refused> {
        let mut message = Cursor::new(message);
        while let Some((field, wire_type)) = message.field()? {
            match field {
                1 => self.read_series(message.expect_message(wire_type)?, series)?,
                _ => message.skip(wire_type)?,
            }
        }
        Ok(())
    }

    fn read_series(
        &mut self,
        mut message: Cursor<'_>,
        series: &mut SeriesBatchBuilder,
    ) -> std::result::Result<(), Refused> {
        let offset = message.offset();
        std::mem::swap(&mut self.key, &mut self.last_key);
        self.key.clear();
        self.chunks.clear();
        while let Some((field, wire_type)) = message.field()? {
            match field {
                1 => self.read_label(message.expect_message(wire_type)?)?,
                2 => {
                    let chunk = read_chunk(message.expect_message(wire_type)?)?;
                    if chunk.time_range().overlaps(self.range) {
                        self.chunks.push(chunk);
                    }
                }
                _ => message.skip(wire_type)?,
            }
        }
        let labels = self.key.finish().map_err(|error| error.at(offset))?;
        if self.order == Order::ByLabels && labels < self.last_key.key() {
            return Err(Refused::OutOfOrder(labels.to_string()));
        }
        if self.chunks.is_empty() {
            return Ok(());
        }
        let place = |chunk: &SeriesChunk| (chunk.min_time, chunk.max_time);
        if !self.chunks.is_sorted_by_key(place) {
            self.chunks.sort_by_key(place);
        }
        series.push(labels, self.chunks.drain(..));
        Ok(())
    }

    fn read_label(&mut self, message: Cursor<'_>) -> Result<()> {
        let offset = message.offset();
        let (name, value) = split_label(message)?;
        if self
            .without
            .iter()
            .any(|without| without.as_bytes() == name)
        {
            return Ok(());
        }
        self.key.push(name, value).map_err(|error| error.at(offset))
    }
}

/// Returns the name and the value of a label.
pub(super) fn split_label<'a>(mut message: Cursor<'a>) -> Result<(&'a [u8], &'a [u8])> {
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

fn read_chunk(mut message: Cursor<'_>) -> Result<SeriesChunk> {
    let offset = message.offset();
    let (mut min_time, mut max_time) = (0, 0);
    let mut encoding = 0;
    let mut data = Bytes::new();
    while let Some((field, wire_type)) = message.field()? {
        match field {
            1 => min_time = message.expect_varint(wire_type)?.cast_signed(),
            2 => max_time = message.expect_varint(wire_type)?.cast_signed(),
            3 => encoding = message.expect_varint(wire_type)?,
            4 => data = message.expect_message(wire_type)?.bytes(),
            _ => message.skip(wire_type)?,
        }
    }
    let known = u8::try_from(encoding).map(Encoding);
    let Some(encoding) = known.ok().filter(|encoding| *encoding != Encoding::NONE) else {
        let what = format!("chunk has encoding {encoding}, which no chunk has");
        return Err(Error::corrupt(what).at(offset));
    };
    Ok(SeriesChunk::raw(
        Timestamp::from_millis(min_time),
        Timestamp::from_millis(max_time),
        Chunk { encoding, data },
    ))
}
