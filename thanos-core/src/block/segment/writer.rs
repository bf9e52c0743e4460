//! Writing chunks to segments, files mostly.

use std::path::Path;

use super::format::{
    SEGMENT_HEADER_LEN, SEGMENT_LEN_MAX, append_chunk, chunk_len_bound, header, segment_file_name,
};
use super::output::{SegmentFiles, SegmentOutput};
use crate::chunk::Chunk;
use crate::error::{Error, Result};
use crate::index::ChunkRef;

/// Writes the chunks of series after series and cuts segments where Prometheus cuts them.
#[derive(Debug)]
pub struct ChunkWriter {
    output: Box<dyn SegmentOutput>,
    segment_len_max: u64,
    /// The length of the segment that is being written.
    tail: Option<u64>,
    finished: Vec<SegmentFile>,
    buffer: Vec<u8>,
    chunk_len_max: u64,
}

/// A segment file: one that was written, or is to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentFile {
    /// Its name, of one that was written that in the `chunks` directory.
    pub name: String,
    /// Its length.
    pub len_bytes: u64,
}

impl ChunkWriter {
    /// Returns a writer to `dir`, which it creates and which must have no segments yet.
    ///
    /// # Errors
    ///
    /// What the file system reports.
    pub fn create(dir: &Path) -> Result<Self> {
        Self::with_segment_len_max(dir, SEGMENT_LEN_MAX)
    }

    /// Like [`ChunkWriter::create`] with another size of segments, at most 4 GiB.
    ///
    /// # Errors
    ///
    /// What the file system reports; `Invalid` for a size that references can not address.
    pub fn with_segment_len_max(dir: &Path, segment_len_max: u64) -> Result<Self> {
        Self::to(Box::new(SegmentFiles::create(dir)?), segment_len_max)
    }

    /// Returns a writer to `output` with segments of at most `segment_len_max` bytes.
    ///
    /// # Errors
    ///
    /// `Invalid` for a size that references can not address.
    pub fn to(output: Box<dyn SegmentOutput>, segment_len_max: u64) -> Result<Self> {
        if segment_len_max > u64::from(u32::MAX) {
            return Err(Error::invalid("chunk segments are limited to 4 GiB"));
        }
        Ok(Self {
            output,
            segment_len_max,
            tail: None,
            finished: Vec::new(),
            buffer: Vec::new(),
            chunk_len_max: 0,
        })
    }

    /// Writes the chunks of one series and appends their references to `references`.
    ///
    /// The chunks of a series are one call: where a segment ends depends on it, as in Prometheus
    /// (`chunks.Writer.WriteChunks`), which reckons with the longest possible length field of every chunk of the
    /// call and never with the bytes it has really written for it.
    ///
    /// # Errors
    ///
    /// What the file system reports; the files are of no use then.
    pub fn write(&mut self, chunks: &[Chunk], references: &mut Vec<ChunkRef>) -> Result<()> {
        let len_before = self.tail.unwrap_or(0);
        let header_len = SEGMENT_HEADER_LEN as u64;
        let mut fills_started_segment = len_before > header_len;
        let mut batch_len = 0;
        for (i, chunk) in chunks.iter().enumerate() {
            let bound = chunk_len_bound(chunk);
            batch_len += bound;
            let cut = if fills_started_segment {
                batch_len + len_before > self.segment_len_max
            } else {
                i > 0 && batch_len + header_len > self.segment_len_max
            };
            if cut {
                batch_len = bound;
                fills_started_segment = false;
                self.finish_tail()?;
            }
            references.push(self.write_chunk(chunk)?);
        }
        Ok(())
    }

    fn write_chunk(&mut self, chunk: &Chunk) -> Result<ChunkRef> {
        if u32::try_from(chunk.data.len()).is_err() {
            return Err(Error::invalid("a chunk is limited to 4 GiB"));
        }
        let len_before = match self.tail {
            Some(len) => len,
            None => self.begin()?,
        };
        let segment = u32::try_from(self.finished.len()).map_err(|_| too_many())?;
        let offset = u32::try_from(len_before).map_err(|_| too_many())?;
        self.buffer.clear();
        append_chunk(&mut self.buffer, chunk);
        self.chunk_len_max = self.chunk_len_max.max(self.buffer.len() as u64);
        self.output.write(&self.buffer)?;
        self.tail = Some(len_before + self.buffer.len() as u64);
        Ok(ChunkRef::new(segment, offset))
    }

    /// Returns the most bytes that any chunk takes in its segment.
    pub fn chunk_len_max(&self) -> u64 {
        self.chunk_len_max
    }

    /// Begins the next segment; returns its length.
    fn begin(&mut self) -> Result<u64> {
        self.output.begin(&segment_file_name(self.finished.len()))?;
        self.output.write(&header())?;
        Ok(SEGMENT_HEADER_LEN as u64)
    }

    fn finish_tail(&mut self) -> Result<()> {
        if let Some(len_bytes) = self.tail.take() {
            self.output.end()?;
            let name = segment_file_name(self.finished.len());
            self.finished.push(SegmentFile { name, len_bytes });
        }
        Ok(())
    }

    /// Forces everything to where it is to stay and returns the segments; none when no chunk was written.
    ///
    /// # Errors
    ///
    /// What the file system or the output reports.
    pub fn finish(mut self) -> Result<Vec<SegmentFile>> {
        self.finish_tail()?;
        self.output.finish()?;
        Ok(self.finished)
    }
}

fn too_many() -> Error {
    Error::internal("chunk reference does not fit: segments are cut too late")
}
