//! The layout of the `index` file of a block: constants, table of contents and references.
//!
//! ```text
//! index          = magic 0xBAAAD700 (4) version (1)
//!                  symbols { series } { label-index } { postings-list } label-index-table postings-table toc
//! symbols        = len (4) count (4) { uvarint-len text } crc32c (4)
//! series         = padding to 16 (version 2)  uvarint-len entry crc32c (4)
//! entry          = uvarint #labels { uvarint name-symbol  uvarint value-symbol }
//!                  uvarint #chunks [ varint min  uvarint max-min  uvarint ref
//!                                  { uvarint min-previous-max  uvarint max-min  varint ref-previous-ref } ]
//! label-index    = padding to 4  len (4) 1 (4) #values (4) { value-symbol (4) } crc32c (4)      optional, unused
//! postings-list  = padding to 4  len (4) #entries (4) { series-ref (4) } crc32c (4)
//! label-index-table = len (4) count (4) { 1 (1)  uvarint-len name  uvarint offset } crc32c (4)  optional, unused
//! postings-table = len (4) count (4) { 2 (1)  uvarint-len name  uvarint-len value  uvarint offset } crc32c (4)
//! toc            = symbols (8) series (8) label-indices (8) label-index-table (8) postings (8)
//!                  postings-table (8) crc32c (4)
//! ```
//!
//! All integers are big-endian, all lengths count the bytes up to the checksum. In version 2 a symbol is named by
//! its position in the sorted table and a series by its offset divided by 16; in version 1 both are file offsets.
//! The list of all series is stored under the empty name and value, first in the table.
//!
//! Source: Prometheus `tsdb/docs/format/index.md` and `tsdb/index` writer. Prometheus up to 3.6 still writes the
//! two unused sections; later ones leave them out and point both places of the contents at what follows.

use std::fmt;

use crate::encoding::{Cursor, crc};
use crate::error::{Error, Result};
use crate::time::{TimeRange, Timestamp};

/// The first four bytes of an index.
pub const INDEX_MAGIC: u32 = 0xBAAA_D700;
/// The bytes before the symbol table: magic and version.
pub const INDEX_HEADER_LEN: usize = 5;
/// The bytes of the table of contents at the end.
pub const TOC_LEN: usize = 6 * 8 + crc::CRC_LEN;
/// What the offsets of series are multiples of in version 2.
pub const SERIES_ALIGN: u64 = 16;
/// What the offsets of postings lists are multiples of.
pub const POSTINGS_ALIGN: u64 = 4;
/// Every how many symbols or label values a position is kept in memory.
pub const SAMPLING: usize = 32;
/// The largest file: beyond it a series reference does not fit 32 bits.
pub const INDEX_LEN_MAX: u64 = 16 * u32::MAX as u64;

/// How the index names symbols and series.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum IndexVersion {
    /// Symbols and series are named by their file offset; the postings table may be unsorted.
    V1 = 1,
    /// Symbols are named by their position, series by a sixteenth of their offset.
    V2 = 2,
}

impl IndexVersion {
    /// Returns the version with this number.
    ///
    /// # Errors
    ///
    /// `Corrupt` for an unknown one.
    pub fn from_number(number: u8) -> Result<Self> {
        match number {
            1 => Ok(Self::V1),
            2 => Ok(Self::V2),
            _ => Err(Error::corrupt(format!("unknown index version {number}"))),
        }
    }

    /// Returns the number in the file.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// Returns the file offset of a series, or nothing when that is beyond all files.
    pub fn series_offset(self, series: SeriesRef) -> Option<u64> {
        match self {
            Self::V1 => Some(series.0),
            Self::V2 => series.0.checked_mul(SERIES_ALIGN),
        }
    }
}

/// Checks magic and version, which the first [`INDEX_HEADER_LEN`] bytes of an index hold.
///
/// # Errors
///
/// `Corrupt` when this is not an index of a known version.
pub fn decode_index_header(bytes: &[u8]) -> Result<IndexVersion> {
    let mut cursor = Cursor::new(bytes);
    let magic = cursor.be32("index magic")?;
    if magic != INDEX_MAGIC {
        return Err(Error::corrupt(format!(
            "not an index: magic is {magic:08x}, expected {INDEX_MAGIC:08x}"
        ))
        .at(0));
    }
    let number = cursor.u8("index version")?;
    IndexVersion::from_number(number).map_err(|error| error.at(4))
}

/// The table of contents: where each section starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Toc {
    /// The symbol table.
    pub symbols: u64,
    /// The series.
    pub series: u64,
    /// The label indices, which nobody reads; where the series end.
    pub label_indices: u64,
    /// The table of the label indices, which nobody reads; where the postings end.
    pub label_index_table: u64,
    /// The postings lists.
    pub postings: u64,
    /// The table of the postings lists.
    pub postings_table: u64,
}

impl Toc {
    /// Decodes the contents from the last [`TOC_LEN`] bytes of an index of `index_len` bytes.
    ///
    /// # Errors
    ///
    /// `Corrupt` when the checksum is wrong or a section lies outside the file.
    pub fn decode(bytes: &[u8], index_len: u64) -> Result<Self> {
        let offset = index_len.saturating_sub(TOC_LEN as u64);
        if bytes.len() != TOC_LEN || index_len < (INDEX_HEADER_LEN + TOC_LEN) as u64 {
            return Err(Error::corrupt(format!(
                "index of {index_len} bytes has no room for a table of contents"
            ))
            .at(offset));
        }
        let mut cursor = Cursor::at_offset(bytes, offset);
        let what = "table of contents";
        let content = cursor.bytes(TOC_LEN - crc::CRC_LEN, what)?;
        let stored = cursor.be32(what)?;
        crc::verify(what, content, stored).map_err(|error| error.at(offset))?;
        let mut cursor = Cursor::at_offset(content, offset);
        let toc = Self {
            symbols: cursor.be64(what)?,
            series: cursor.be64(what)?,
            label_indices: cursor.be64(what)?,
            label_index_table: cursor.be64(what)?,
            postings: cursor.be64(what)?,
            postings_table: cursor.be64(what)?,
        };
        toc.check(offset)?;
        Ok(toc)
    }

    /// Checks that the sections which are read lie in the file, in their order.
    fn check(&self, toc_offset: u64) -> Result<()> {
        let ordered = [
            INDEX_HEADER_LEN as u64,
            self.symbols,
            self.series,
            self.postings,
            self.postings_table,
            toc_offset,
        ];
        if ordered.is_sorted() {
            return Ok(());
        }
        Err(Error::corrupt(format!(
            "sections are out of order or outside the file: {self:?}"
        ))
        .at(toc_offset))
    }

    /// Appends the contents with their checksum.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        for place in [
            self.symbols,
            self.series,
            self.label_indices,
            self.label_index_table,
            self.postings,
            self.postings_table,
        ] {
            out.extend_from_slice(&place.to_be_bytes());
        }
        let checksum = crc::checksum(&out[start..]);
        out.extend_from_slice(&checksum.to_be_bytes());
    }
}

/// What postings call a series: a sixteenth of its offset, or its offset in version 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesRef(pub u64);

impl From<u32> for SeriesRef {
    fn from(posting: u32) -> Self {
        Self(u64::from(posting))
    }
}

impl fmt::Debug for SeriesRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "series {}", self.0)
    }
}

/// What a series entry calls a symbol: its position in the table, or its offset in version 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SymbolRef(pub u32);

/// Where a chunk lies: the number of its segment file in the upper half, its offset there in the lower.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ChunkRef(pub u64);

impl ChunkRef {
    /// Returns the reference to `offset` in the segment file at position `segment` (counted from 0).
    pub const fn new(segment: u32, offset: u32) -> Self {
        Self(((segment as u64) << 32) | offset as u64)
    }

    /// Returns the position of the segment file, counted from 0: the file `000001` is 0.
    pub const fn segment(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// Returns the offset of the chunk's length in its segment file.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the lower half is what is wanted"
    )]
    pub const fn offset(self) -> u32 {
        self.0 as u32
    }
}

impl fmt::Debug for ChunkRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "chunk {}:{}", self.segment(), self.offset())
    }
}

/// What the index knows of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkMeta {
    /// Where the chunk lies.
    pub reference: ChunkRef,
    /// The time of its first sample.
    pub min_time: Timestamp,
    /// The time of its last sample.
    pub max_time: Timestamp,
}

impl ChunkMeta {
    /// Returns the first and last sample time.
    pub fn time_range(&self) -> TimeRange {
        TimeRange {
            min: self.min_time,
            max: self.max_time,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flipped_byte_of_the_contents_is_corrupt() {
        let toc = Toc {
            symbols: 5,
            series: 2185,
            label_indices: 65649,
            label_index_table: 102_964,
            postings: 66256,
            postings_table: 103_127,
        };
        let mut bytes = Vec::new();
        toc.encode(&mut bytes);
        assert_eq!(Toc::decode(&bytes, 106_235).unwrap(), toc);
        for i in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[i] ^= 1;
            let error = Toc::decode(&bad, 106_235).unwrap_err();
            assert_eq!(error.offset(), Some(106_235 - 52));
        }
        // Right checksum, but the sections do not fit a file this short.
        assert!(Toc::decode(&bytes, 50_000).is_err());
    }

    #[test]
    fn only_versions_1_and_2_are_known() {
        let header = |version| [0xBA, 0xAA, 0xD7, 0x00, version];
        assert_eq!(decode_index_header(&header(1)).unwrap(), IndexVersion::V1);
        assert_eq!(decode_index_header(&header(2)).unwrap(), IndexVersion::V2);
        for version in [0, 3, 0xFF] {
            let error = decode_index_header(&header(version)).unwrap_err();
            assert_eq!(error.offset(), Some(4));
        }
        assert!(decode_index_header(&[0xBA, 0xAA, 0xD7, 0x01, 2]).is_err());
        assert!(decode_index_header(&[0xBA]).is_err());
    }

    #[test]
    fn a_chunk_reference_is_segment_and_offset() {
        let reference = ChunkRef::new(3, 0xFFFF_FFFF);
        assert_eq!(reference.0, 0x3_FFFF_FFFF);
        assert_eq!((reference.segment(), reference.offset()), (3, u32::MAX));
        assert_eq!(format!("{reference:?}"), "chunk 3:4294967295");
    }
}
