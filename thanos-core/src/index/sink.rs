//! Where a writer puts its bytes: counts the position, pads, and sums checksums of sections.

use std::io::{BufWriter, Write};

use super::format::INDEX_LEN_MAX;
use crate::encoding::crc;
use crate::error::{Error, Result};

const BUFFER_BYTES: usize = 256 << 10;

/// A buffered output that only grows, with the position in the file.
#[derive(Debug)]
pub(super) struct Sink<W: Write> {
    out: BufWriter<W>,
    position: u64,
    section_crc: u32,
}

impl<W: Write> Sink<W> {
    pub(super) fn new(out: W) -> Self {
        Self {
            out: BufWriter::with_capacity(BUFFER_BYTES, out),
            position: 0,
            section_crc: 0,
        }
    }

    pub(super) fn position(&self) -> u64 {
        self.position
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.position += bytes.len() as u64;
        if self.position > INDEX_LEN_MAX {
            return Err(Error::limit_exceeded(format!(
                "index grows past {INDEX_LEN_MAX} bytes, the most that references can address"
            )));
        }
        Ok(self.out.write_all(bytes)?)
    }

    /// Writes zeros up to the next multiple of `align`, a power of two up to 16.
    pub(super) fn pad(&mut self, align: u64) -> Result<()> {
        const ZEROS: [u8; 16] = [0; 16];
        let missing = self.position.next_multiple_of(align) - self.position;
        let zeros = usize::try_from(missing).ok().and_then(|n| ZEROS.get(..n));
        self.write(zeros.unwrap_or_default())
    }

    /// Starts a section whose content is going to be `content_len` bytes long.
    pub(super) fn start_section(&mut self, content_len: u64, what: &str) -> Result<()> {
        let Ok(len) = u32::try_from(content_len) else {
            return Err(Error::limit_exceeded(format!(
                "{what} of {content_len} bytes does not fit the 32-bit length of its section"
            )));
        };
        self.section_crc = 0;
        self.write(&len.to_be_bytes())
    }

    /// Writes content of the section started last.
    pub(super) fn write_content(&mut self, bytes: &[u8]) -> Result<()> {
        self.section_crc = crc::extend(self.section_crc, bytes);
        self.write(bytes)
    }

    /// Writes the checksum of the section.
    pub(super) fn end_section(&mut self) -> Result<()> {
        let checksum = self.section_crc.to_be_bytes();
        self.write(&checksum)
    }

    /// Flushes and returns the output.
    pub(super) fn into_inner(self) -> Result<W> {
        let flushed = self.out.into_inner();
        flushed.map_err(|error| Error::from(error.into_error()))
    }
}
