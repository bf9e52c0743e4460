//! Start timestamps in the bits of a chunk, the same for the three encodings that have them.
//!
//! ```text
//! header byte     top bit: sample 0 has a start | 7 bits: the index from which on samples have one, 0 = never
//! sample 0        varint (time - start), if the header says so
//! sample n        from the index on: varbit change of (time before - start), the first of them in full
//! ```
//!
//! Before the index the start of sample 0 counts on. The index is that of the first sample with another start, or
//! the last one that fits seven bits. Source: Prometheus chunkenc, st.

use crate::encoding::bits::{BitReader, BitWriter};
use crate::encoding::varint::{self, VARINT_BYTES_MAX, encode_uvarint, zigzag};
use crate::error::Result;

/// The flag of a start of sample 0.
const FIRST_KNOWN: u8 = 0x80;
/// The last index at which starts can begin.
const INDEX_MAX: u8 = 0x7F;

/// Writes the starts of a chunk.
#[derive(Debug, Clone, Default)]
pub(super) struct StartEncoder {
    header: u8,
    start: i64,
    distance: i64,
}

impl StartEncoder {
    /// Returns the header byte for the samples so far.
    pub(super) fn header(&self) -> u8 {
        self.header
    }

    /// Writes the start of the sample at `index`, after the rest of it; `before` is the time of the last sample.
    #[inline]
    pub(super) fn put(
        &mut self,
        writer: &mut BitWriter,
        index: u16,
        start: i64,
        (before, time): (i64, i64),
    ) {
        let distance = before.wrapping_sub(start);
        if index == 0 {
            if start != 0 {
                self.header = FIRST_KNOWN;
                put_varint(writer, time.wrapping_sub(start));
            }
        } else if self.header & INDEX_MAX != 0 {
            writer.put_varbit_int(distance.wrapping_sub(self.distance));
        } else if start != self.start || index == u16::from(INDEX_MAX) {
            self.header |= u8::try_from(index).expect("starts begin at sample 127 at the latest");
            writer.put_varbit_int(distance);
        }
        (self.start, self.distance) = (start, distance);
    }
}

/// Reads the starts of a chunk.
#[derive(Debug, Clone)]
pub(super) struct StartDecoder {
    first_known: bool,
    /// The index from which on samples have a start, 0 = never.
    index: usize,
    start: i64,
    distance: i64,
}

impl StartDecoder {
    pub(super) fn new(header: u8) -> Self {
        Self {
            first_known: header & FIRST_KNOWN != 0,
            index: usize::from(header & INDEX_MAX),
            start: 0,
            distance: 0,
        }
    }

    /// Reports whether any sample has a start.
    pub(super) fn is_any(&self) -> bool {
        self.first_known || self.index > 0
    }

    /// Returns the start of the last sample.
    pub(super) fn last(&self) -> i64 {
        self.start
    }

    /// Returns the number of samples whose bits have no start, from the sample at `index`, above 0, on.
    #[inline]
    pub(super) fn absent_from(&self, index: usize) -> usize {
        match self.index {
            0 => usize::MAX,
            begin => begin.saturating_sub(index),
        }
    }

    /// Returns the start of the sample at `index`, of which the rest was read; `before` is the time of the last one.
    #[inline]
    pub(super) fn read(
        &mut self,
        reader: &mut BitReader<'_>,
        index: usize,
        (before, time): (i64, i64),
    ) -> Result<i64> {
        if index == 0 {
            if self.first_known {
                self.start = time.wrapping_sub(read_varint(reader)?);
            }
        } else if self.index > 0 && index >= self.index {
            // The distance is zero until the first one, which is in full.
            self.distance = self.distance.wrapping_add(reader.read_varbit_int()?);
            self.start = before.wrapping_sub(self.distance);
        }
        Ok(self.start)
    }
}

fn put_varint(writer: &mut BitWriter, value: i64) {
    let (bytes, len) = encode_uvarint(zigzag(value));
    for &byte in &bytes[..len] {
        writer.put(u64::from(byte), 8);
    }
}

/// Reads a varint that need not begin at a byte.
#[cold]
fn read_varint(reader: &mut BitReader<'_>) -> Result<i64> {
    let mut bytes = [0; VARINT_BYTES_MAX];
    for byte in &mut bytes {
        *byte = reader.read_byte()?;
        if *byte < 0x80 {
            break;
        }
    }
    let (value, _) = varint::read_varint(&bytes).map_err(|e| reader.corrupt(e.message()))?;
    Ok(value)
}
