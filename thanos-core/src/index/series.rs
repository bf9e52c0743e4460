//! Decoding of series entries: symbol references and chunk places.
//!
//! Works on the bytes of one entry, so that the reader of a local index and a gateway which fetched a range of a
//! remote one share it. Turning symbol references into labels is [`super::LabelDecoder`]'s part.

use super::format::{ChunkMeta, ChunkRef, SymbolRef};
use crate::encoding::{Cursor, Section};
use crate::error::Result;
use crate::time::{TimeRange, Timestamp};

/// The labels of a series as symbol references, and its chunks; meant to be reused for many series.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RawSeries {
    /// Name and value of each label, in the order of the entry.
    pub labels: Vec<(SymbolRef, SymbolRef)>,
    /// The chunks, in the order of the entry.
    pub chunks: Vec<ChunkMeta>,
}

/// Splits the entry off the front of `bytes`, which lie at `offset` of the index, and checks its checksum.
///
/// # Errors
///
/// `Corrupt` when the entry is cut short or damaged.
pub fn split_series(bytes: &[u8], offset: u64) -> Result<Section<'_>> {
    Cursor::at_offset(bytes, offset).uvarint_section("series entry")
}

/// Returns how many bytes the entry at the front of `bytes` takes in the index: length, entry and checksum.
///
/// For a gateway that guessed how much to fetch; `bytes` may end before the entry does.
///
/// # Errors
///
/// `Corrupt` when not even the length is there.
pub fn series_entry_len(bytes: &[u8], offset: u64) -> Result<u64> {
    let mut cursor = Cursor::at_offset(bytes, offset);
    let len = cursor.uvarint("length of series entry")?;
    let prefix = cursor.offset() - offset;
    Ok(len.saturating_add(prefix + crate::encoding::crc::CRC_LEN as u64))
}

/// Decodes labels and chunks of `entry` into `series`, which is cleared first.
///
/// # Errors
///
/// `Corrupt` when the entry does not have the format.
pub fn decode_series(entry: Section<'_>, series: &mut RawSeries) -> Result<()> {
    decode_series_within(entry, TimeRange::ALL, series)
}

/// Decodes like [`decode_series`], but keeps only the chunks that share a time with `range`.
///
/// # Errors
///
/// `Corrupt` when the entry does not have the format.
pub fn decode_series_within(
    entry: Section<'_>,
    range: TimeRange,
    series: &mut RawSeries,
) -> Result<()> {
    let cursor = decode_labels(entry, &mut series.labels)?;
    decode_chunks(cursor, range, &mut series.chunks)
}

/// Decodes the chunks at `cursor`, where an entry has them, and keeps those that share a time with `range`.
pub(super) fn decode_chunks(
    mut cursor: Cursor<'_>,
    range: TimeRange,
    chunks: &mut Vec<ChunkMeta>,
) -> Result<()> {
    chunks.clear();
    let count = cursor.uvarint_count(3, "number of chunks")?;
    let mut previous = ChunkMeta {
        reference: ChunkRef(0),
        min_time: Timestamp::default(),
        max_time: Timestamp::default(),
    };
    for i in 0..count {
        previous = decode_chunk(&mut cursor, previous, i == 0)?;
        if previous.time_range().overlaps(range) {
            chunks.push(previous);
        }
    }
    if !cursor.is_empty() {
        return Err(cursor.corrupt("series entry goes on after its last chunk"));
    }
    Ok(())
}

/// Decodes the symbol references of the labels and returns the cursor before the number of chunks.
pub(super) fn decode_labels<'a>(
    entry: Section<'a>,
    labels: &mut Vec<(SymbolRef, SymbolRef)>,
) -> Result<Cursor<'a>> {
    labels.clear();
    let mut cursor = entry.cursor();
    let count = cursor.uvarint_count(2, "number of labels")?;
    for _ in 0..count {
        let name = cursor.uvarint32("label name reference")?;
        let value = cursor.uvarint32("label value reference")?;
        labels.push((SymbolRef(name), SymbolRef(value)));
    }
    Ok(cursor)
}

/// Decodes the next chunk.
///
/// COMPAT: sums wrap as in Go (`index.Decoder.Series`), because writers of old and of repaired blocks let chunks
/// overlap or run backwards, which shows as a negative difference stored unsigned. The checksum guards the bytes.
fn decode_chunk(cursor: &mut Cursor<'_>, previous: ChunkMeta, first: bool) -> Result<ChunkMeta> {
    let (min_ms, max_ms, reference);
    if first {
        min_ms = cursor.varint("first chunk time")?;
        max_ms = min_ms.wrapping_add_unsigned(cursor.uvarint("chunk duration")?);
        reference = cursor.uvarint("first chunk reference")?;
    } else {
        let previous_max_ms = previous.max_time.as_millis();
        min_ms = previous_max_ms.wrapping_add_unsigned(cursor.uvarint("chunk time step")?);
        max_ms = min_ms.wrapping_add_unsigned(cursor.uvarint("chunk duration")?);
        let step = cursor.varint("chunk reference step")?;
        reference = previous.reference.0.wrapping_add_signed(step);
    }
    Ok(ChunkMeta {
        reference: ChunkRef(reference),
        min_time: Timestamp::from_millis(min_ms),
        max_time: Timestamp::from_millis(max_ms),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::entry::{append_entry, append_framed};
    use super::*;

    fn encode(labels: &[(SymbolRef, SymbolRef)], chunks: &[ChunkMeta]) -> Vec<u8> {
        let (mut entry, mut framed) = (Vec::new(), Vec::new());
        append_entry(&mut entry, labels, chunks);
        append_framed(&mut framed, &entry);
        framed
    }

    fn chunk_meta() -> impl Strategy<Value = ChunkMeta> {
        (any::<u64>(), any::<i64>(), any::<i64>()).prop_map(|(reference, min_ms, max_ms)| {
            ChunkMeta {
                reference: ChunkRef(reference),
                min_time: Timestamp::from_millis(min_ms),
                max_time: Timestamp::from_millis(max_ms),
            }
        })
    }

    fn raw_series() -> impl Strategy<Value = RawSeries> {
        let label = (any::<u32>(), any::<u32>()).prop_map(|(n, v)| (SymbolRef(n), SymbolRef(v)));
        let labels = proptest::collection::vec(label, 0..6);
        (labels, proptest::collection::vec(chunk_meta(), 0..6))
            .prop_map(|(labels, chunks)| RawSeries { labels, chunks })
    }

    proptest! {
        /// Even chunks that overlap or run backwards come back as written.
        #[test]
        fn entries_survive_encoding(series in raw_series()) {
            let bytes = encode(&series.labels, &series.chunks);
            let mut back = RawSeries::default();
            let section = split_series(&bytes, 160).unwrap();
            decode_series(section, &mut back).unwrap();
            prop_assert_eq!(&back, &series);
            prop_assert_eq!(series_entry_len(&bytes[..10.min(bytes.len())], 160).unwrap(), bytes.len() as u64);
        }

        #[test]
        fn any_entry_never_panics(content in proptest::collection::vec(any::<u8>(), 0..64)) {
            let mut series = RawSeries::default();
            if decode_series(Section { content: &content, offset: 16 }, &mut series).is_err() {
                return Ok(());
            }
            prop_assert!(series.labels.len() * 2 + series.chunks.len() * 3 <= content.len());
        }
    }

    #[test]
    fn chunks_outside_the_range_are_left_out() {
        let chunk = |n: u64, min_ms, max_ms| ChunkMeta {
            reference: ChunkRef(n),
            min_time: Timestamp::from_millis(min_ms),
            max_time: Timestamp::from_millis(max_ms),
        };
        let chunks = [chunk(8, 0, 9), chunk(50, 10, 19), chunk(90, 20, 29)];
        let bytes = encode(&[], &chunks);
        let mut series = RawSeries::default();
        let entry = split_series(&bytes, 0).unwrap();
        decode_series_within(entry, TimeRange::from_millis(9, 10), &mut series).unwrap();
        assert_eq!(series.chunks, chunks[..2]);
    }
}
