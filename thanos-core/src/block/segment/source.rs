//! Chunks of segments that are no files of this machine, read from wherever they are.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;

use super::SegmentFile;
use super::format::{
    CHUNK_LEN_MIN, SEGMENT_HEADER_LEN, check_header, chunk_entry_len, decode_chunk,
};
use crate::chunk::Chunk;
use crate::error::{Error, Result};

/// Where the bytes of segments come from, for a [`ChunkReader`](super::ChunkReader) that has no files.
///
/// Whoever goes through a whole block asks for ascending places, each chunk twice at most.
pub trait SegmentSource: fmt::Debug + Send + Sync + 'static {
    /// Returns the segments in the order of their numbers, without a gap; the names are for messages.
    fn segments(&self) -> &[SegmentFile];

    /// Returns the bytes of the segment at position `segment` from `offset` on: at least `len_min`, fewer only where
    /// the segment ends. It may block.
    ///
    /// # Errors
    ///
    /// Whatever keeps the bytes from coming.
    fn read(&self, segment: usize, offset: u64, len_min: usize) -> Result<Bytes>;
}

/// Segments elsewhere, with what is known of them.
#[derive(Debug)]
pub(super) struct Elsewhere {
    source: Arc<dyn SegmentSource>,
    /// Whether the header of each segment has been looked at.
    checked: Vec<AtomicBool>,
}

impl Elsewhere {
    pub(super) fn new(source: Arc<dyn SegmentSource>) -> Self {
        let checked = source.segments().iter().map(|_| AtomicBool::new(false));
        Self {
            checked: checked.collect(),
            source,
        }
    }

    pub(super) fn segments(&self) -> &[SegmentFile] {
        self.source.segments()
    }

    /// Returns the chunk at `offset` of the segment at `position`, and the bytes that it takes there; nothing when there
    /// is no such segment.
    pub(super) fn chunk(&self, position: usize, offset: usize) -> Option<Result<(Chunk, usize)>> {
        let segment = self.source.segments().get(position)?;
        let chunk = self.read(position, segment.len_bytes, offset as u64);
        Some(chunk.map_err(|error| error.in_file(&*segment.name)))
    }

    fn read(&self, position: usize, segment_len: u64, offset: u64) -> Result<(Chunk, usize)> {
        if offset < SEGMENT_HEADER_LEN as u64 || offset > segment_len {
            let message = format!("no chunk starts here: the file has {segment_len} bytes");
            return Err(Error::corrupt(message).at(offset));
        }
        if !self.checked[position].load(Ordering::Relaxed) {
            check_header(&self.source.read(position, 0, SEGMENT_HEADER_LEN)?)?;
            self.checked[position].store(true, Ordering::Relaxed);
        }
        let bytes = self.source.read(position, offset, CHUNK_LEN_MIN)?;
        let len = chunk_entry_len(&bytes, offset)?;
        if len <= bytes.len() {
            return decode_chunk(&bytes, offset);
        }
        let left = segment_len - offset;
        if len as u64 > left {
            let message = format!("chunk of {len} bytes is longer than the {left} bytes left");
            return Err(Error::corrupt(message).at(offset));
        }
        decode_chunk(&self.source.read(position, offset, len)?, offset)
    }

    /// Reads every chunk and returns their number.
    pub(super) fn verify(&self) -> Result<u64> {
        let mut chunks = 0;
        for (position, segment) in self.source.segments().iter().enumerate() {
            let mut offset = SEGMENT_HEADER_LEN as u64;
            while offset < segment.len_bytes {
                let chunk = self.read(position, segment.len_bytes, offset);
                offset += chunk.map_err(|error| error.in_file(&*segment.name))?.1 as u64;
                chunks += 1;
            }
        }
        Ok(chunks)
    }
}
