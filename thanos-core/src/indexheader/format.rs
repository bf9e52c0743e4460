//! The layout of an index-header.
//!
//! ```text
//! header = magic 0xBAAAD792 (4) version 1 (1) version of the index (1) postings table's offset in the index (8)
//!          symbols   = index[toc.symbols .. toc.series]
//!          postings  = index[toc.postings_table .. end], so with the contents of the index
//!          offset of symbols (8) offset of postings (8) crc32c of these two (4)
//! ```
//!
//! Source: spec of Thanos' binary index-header, `pkg/block/indexheader/binary_reader.go`.

use std::ops::Range;

use crate::encoding::crc;
use crate::error::{Error, Result};
use crate::index::{
    INDEX_HEADER_LEN, INDEX_LEN_MAX, IndexVersion, TOC_LEN, Toc, decode_index_header,
};

/// The first four bytes of an index-header.
pub const HEADER_MAGIC: u32 = 0xBAAA_D792;
/// The only version of the format.
pub const HEADER_FORMAT_VERSION: u8 = 1;
/// The bytes before the symbols.
pub const HEADER_HEAD_LEN: usize = 14;
/// The bytes of the contents at the end.
pub const HEADER_TOC_LEN: usize = 20;

/// The bytes at the end of an index that tell it from others: the checksum of the postings table, and the contents.
pub const INDEX_TAIL_LEN: usize = crc::CRC_LEN + TOC_LEN;
/// The last bytes of an index.
pub type IndexTail = [u8; INDEX_TAIL_LEN];

/// Which ranges of an index make its header.
///
/// # Example
///
/// ```
/// use thanos_core::indexheader::{HeaderSource, HeaderWriter};
/// # use thanos_core::Result;
///
/// /// Builds the header of a remote index with four range reads.
/// fn fetch_header(index_len: u64, fetch: impl Fn(std::ops::Range<u64>) -> Vec<u8>) -> Result<Vec<u8>> {
///     let head = fetch(HeaderSource::head_range());
///     let toc = fetch(HeaderSource::toc_range(index_len)?);
///     let source = HeaderSource::decode(&head, &toc, index_len)?;
///     let mut writer = HeaderWriter::new(Vec::new(), source)?;
///     writer.write_symbols(&fetch(source.symbols()))?;
///     writer.write_postings_table(&fetch(source.postings_table()))?;
///     writer.finish()
/// }
/// # assert!(fetch_header(3, |_| Vec::new()).is_err());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeaderSource {
    /// The version of the index.
    pub version: IndexVersion,
    /// The contents of the index.
    pub toc: Toc,
    /// The bytes of the index.
    pub index_len: u64,
}

impl HeaderSource {
    /// Returns the range with magic and version.
    pub const fn head_range() -> Range<u64> {
        0..INDEX_HEADER_LEN as u64
    }

    /// Returns the range with the contents of an index of `index_len` bytes.
    ///
    /// # Errors
    ///
    /// `Corrupt` when the index is too short to have contents, `LimitExceeded` when it is too long.
    pub fn toc_range(index_len: u64) -> Result<Range<u64>> {
        if index_len > INDEX_LEN_MAX {
            return Err(Error::limit_exceeded(format!(
                "index of {index_len} bytes is longer than {INDEX_LEN_MAX}"
            )));
        }
        if index_len < (INDEX_HEADER_LEN + TOC_LEN) as u64 {
            return Err(Error::corrupt(format!(
                "index of {index_len} bytes has no room for a table of contents"
            ))
            .at(index_len));
        }
        Ok(index_len - TOC_LEN as u64..index_len)
    }

    /// Returns the range of the bytes that tell an index of `index_len` bytes from others
    /// ([`super::IndexHeader::index_tail`]).
    ///
    /// # Errors
    ///
    /// As for [`HeaderSource::toc_range`].
    pub fn tail_range(index_len: u64) -> Result<Range<u64>> {
        let toc = Self::toc_range(index_len)?;
        Ok(toc.start - crc::CRC_LEN as u64..toc.end)
    }

    /// Decodes what the two ranges hold.
    ///
    /// # Errors
    ///
    /// `Corrupt` when they are not head and contents of an index of this length.
    pub fn decode(head: &[u8], toc: &[u8], index_len: u64) -> Result<Self> {
        let version = decode_index_header(head)?;
        Self::toc_range(index_len)?;
        let toc = Toc::decode(toc, index_len)?;
        Ok(Self {
            version,
            toc,
            index_len,
        })
    }

    /// Returns the range of the symbols.
    pub fn symbols(&self) -> Range<u64> {
        self.toc.symbols..self.toc.series
    }

    /// Returns the range of the postings offset table and all that follows.
    pub fn postings_table(&self) -> Range<u64> {
        self.toc.postings_table..self.index_len
    }

    /// Returns the bytes of the header.
    pub fn header_len(&self) -> u64 {
        let (symbols, table) = (self.symbols(), self.postings_table());
        let copied = (symbols.end - symbols.start) + (table.end - table.start);
        (HEADER_HEAD_LEN + HEADER_TOC_LEN) as u64 + copied
    }
}
