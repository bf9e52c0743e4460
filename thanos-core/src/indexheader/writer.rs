//! Writing an index-header from ranges of its index.

use std::io::Write;

use bytes::Bytes;

use super::format::{HEADER_FORMAT_VERSION, HEADER_HEAD_LEN, HEADER_MAGIC, HeaderSource};
use crate::encoding::crc;
use crate::error::{Error, Result};
use crate::index::{INDEX_HEADER_LEN, TOC_LEN};

/// A writer of an index-header: takes the symbols and then the postings table, each in as many parts as they come.
///
/// It only appends. It copies what it is given, and [`super::IndexHeader::open`] checks it.
#[derive(Debug)]
pub struct HeaderWriter<W> {
    out: W,
    source: HeaderSource,
    symbols_missing: u64,
    table_missing: u64,
}

impl<W: Write> HeaderWriter<W> {
    /// Writes the head of the header.
    ///
    /// # Errors
    ///
    /// What the output reports.
    pub fn new(mut out: W, source: HeaderSource) -> Result<Self> {
        out.write_all(&HEADER_MAGIC.to_be_bytes())?;
        out.write_all(&[HEADER_FORMAT_VERSION, source.version.number()])?;
        out.write_all(&source.toc.postings_table.to_be_bytes())?;
        let (symbols, table) = (source.symbols(), source.postings_table());
        Ok(Self {
            out,
            source,
            symbols_missing: symbols.end - symbols.start,
            table_missing: table.end - table.start,
        })
    }

    /// Writes the next part of the range [`HeaderSource::symbols`].
    ///
    /// # Errors
    ///
    /// `Invalid` when there are more bytes than the range has, or what the output reports.
    pub fn write_symbols(&mut self, part: &[u8]) -> Result<()> {
        take(&mut self.symbols_missing, part, "symbols")?;
        Ok(self.out.write_all(part)?)
    }

    /// Writes the next part of the range [`HeaderSource::postings_table`].
    ///
    /// # Errors
    ///
    /// `Invalid` when symbols are missing or there are more bytes than the range has, or what the output reports.
    pub fn write_postings_table(&mut self, part: &[u8]) -> Result<()> {
        missing(self.symbols_missing, "symbols")?;
        take(&mut self.table_missing, part, "postings table")?;
        Ok(self.out.write_all(part)?)
    }

    /// Writes the contents and returns the output, not flushed.
    ///
    /// # Errors
    ///
    /// `Invalid` when bytes are missing, or what the output reports.
    pub fn finish(mut self) -> Result<W> {
        missing(self.symbols_missing, "symbols")?;
        missing(self.table_missing, "postings table")?;
        let symbols = self.source.symbols();
        let symbols_offset = HEADER_HEAD_LEN as u64;
        let table_offset = symbols_offset + (symbols.end - symbols.start);
        let mut toc = Vec::with_capacity(super::HEADER_TOC_LEN);
        toc.extend_from_slice(&symbols_offset.to_be_bytes());
        toc.extend_from_slice(&table_offset.to_be_bytes());
        let checksum = crc::checksum(&toc);
        toc.extend_from_slice(&checksum.to_be_bytes());
        self.out.write_all(&toc)?;
        Ok(self.out)
    }
}

fn take(left: &mut u64, part: &[u8], what: &str) -> Result<()> {
    let after = left.checked_sub(part.len() as u64);
    *left =
        after.ok_or_else(|| Error::invalid(format!("index-header: too many bytes of {what}")))?;
    Ok(())
}

fn missing(left: u64, what: &str) -> Result<()> {
    if left == 0 {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "index-header: {left} bytes of {what} are missing"
    )))
}

/// Returns the header of a whole index.
///
/// # Errors
///
/// `Corrupt` when the head or the contents of the index are damaged.
pub fn build_header(index: &Bytes) -> Result<Vec<u8>> {
    let head = index.get(..INDEX_HEADER_LEN).unwrap_or(index);
    let toc_start = index.len().saturating_sub(TOC_LEN);
    let toc = index.get(toc_start..).unwrap_or_default();
    let source = HeaderSource::decode(head, toc, index.len() as u64)?;
    let part = |range: std::ops::Range<u64>| {
        let bounds = (usize::try_from(range.start), usize::try_from(range.end));
        let bytes = match bounds {
            (Ok(start), Ok(end)) => index.get(start..end),
            _ => None,
        };
        bytes.ok_or_else(|| Error::corrupt("section lies beyond the index").at(range.start))
    };
    let mut writer = HeaderWriter::new(Vec::new(), source)?;
    writer.write_symbols(part(source.symbols())?)?;
    writer.write_postings_table(part(source.postings_table())?)?;
    writer.finish()
}
