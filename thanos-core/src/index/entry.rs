//! Encoding of series entries.

use super::format::{ChunkMeta, SymbolRef};
use crate::encoding::crc;
use crate::encoding::varint::{put_uvarint, put_varint};

/// Appends the entry of a series in its frame of length and checksum; alignment is the caller's part.
pub(crate) fn append_framed(out: &mut Vec<u8>, entry: &[u8]) {
    put_uvarint(out, entry.len() as u64);
    out.extend_from_slice(entry);
    out.extend_from_slice(&crc::checksum(entry).to_be_bytes());
}

/// Appends labels and chunks as the entry stores them.
pub(crate) fn append_entry(
    entry: &mut Vec<u8>,
    labels: &[(SymbolRef, SymbolRef)],
    chunks: &[ChunkMeta],
) {
    put_uvarint(entry, labels.len() as u64);
    for (name, value) in labels {
        put_uvarint(entry, u64::from(name.0));
        put_uvarint(entry, u64::from(value.0));
    }
    put_uvarint(entry, chunks.len() as u64);
    let mut previous: Option<&ChunkMeta> = None;
    for chunk in chunks {
        let (min_ms, max_ms) = (chunk.min_time.as_millis(), chunk.max_time.as_millis());
        match previous {
            None => put_varint(entry, min_ms),
            Some(previous) => {
                put_uvarint(entry, difference(min_ms, previous.max_time.as_millis()));
            }
        }
        put_uvarint(entry, difference(max_ms, min_ms));
        match previous {
            None => put_uvarint(entry, chunk.reference.0),
            Some(previous) => {
                let step = chunk.reference.0.wrapping_sub(previous.reference.0);
                put_varint(entry, step.cast_signed());
            }
        }
        previous = Some(chunk);
    }
}

/// COMPAT: wraps as the subtraction in Prometheus' `Writer.AddSeries` does.
fn difference(a: i64, b: i64) -> u64 {
    a.wrapping_sub(b).cast_unsigned()
}
