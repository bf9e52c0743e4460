//! Writing chunks to segment files.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use super::format::{
    SEGMENT_HEADER_LEN, SEGMENT_LEN_MAX, append_chunk, chunk_len_bound, header, segment_file_name,
};
use crate::block::files::sync_dir;
use crate::chunk::Chunk;
use crate::error::{Error, Result};
use crate::index::ChunkRef;

/// The bytes that are gathered before they go to the file.
const BUFFER_BYTES: usize = 1 << 20;

/// Writes the chunks of series after series and cuts segments where Prometheus cuts them.
#[derive(Debug)]
pub struct ChunkWriter {
    dir: PathBuf,
    segment_len_max: u64,
    tail: Option<Tail>,
    finished: Vec<SegmentFile>,
    buffer: Vec<u8>,
    chunk_len_max: u64,
}

/// The segment that is being written.
#[derive(Debug)]
struct Tail {
    file: BufWriter<File>,
    path: PathBuf,
    len: u64,
}

/// A segment file that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentFile {
    /// Its name in the `chunks` directory.
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
        if segment_len_max > u64::from(u32::MAX) {
            return Err(Error::invalid("chunk segments are limited to 4 GiB"));
        }
        std::fs::create_dir_all(dir)
            .map_err(|error| Error::from(error).in_file(dir.display().to_string()))?;
        Ok(Self {
            dir: dir.to_owned(),
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
        let len_before = self.tail.as_ref().map_or(0, |tail| tail.len);
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
        if self.tail.is_none() {
            self.tail = Some(Tail::create(
                self.dir.join(segment_file_name(self.finished.len())),
            )?);
        }
        let tail = self
            .tail
            .as_mut()
            .expect("it was made above if there was none");
        let segment = u32::try_from(self.finished.len()).map_err(|_| too_many())?;
        let offset = u32::try_from(tail.len).map_err(|_| too_many())?;
        self.buffer.clear();
        append_chunk(&mut self.buffer, chunk);
        self.chunk_len_max = self.chunk_len_max.max(self.buffer.len() as u64);
        tail.write(&self.buffer)?;
        Ok(ChunkRef::new(segment, offset))
    }

    /// Returns the most bytes that any chunk takes in its segment.
    pub fn chunk_len_max(&self) -> u64 {
        self.chunk_len_max
    }

    fn finish_tail(&mut self) -> Result<()> {
        if let Some(tail) = self.tail.take() {
            let name = segment_file_name(self.finished.len());
            let len_bytes = tail.finish()?;
            self.finished.push(SegmentFile { name, len_bytes });
        }
        Ok(())
    }

    /// Forces everything to disk and returns the files; none when no chunk was written.
    ///
    /// # Errors
    ///
    /// What the file system reports.
    pub fn finish(mut self) -> Result<Vec<SegmentFile>> {
        self.finish_tail()?;
        sync_dir(&self.dir)
            .map_err(|error| Error::from(error).in_file(self.dir.display().to_string()))?;
        Ok(self.finished)
    }
}

impl Tail {
    fn create(path: PathBuf) -> Result<Self> {
        let file = File::create_new(&path)
            .map_err(|error| Error::from(error).in_file(path.display().to_string()))?;
        let file = BufWriter::with_capacity(BUFFER_BYTES, file);
        let mut tail = Self { file, path, len: 0 };
        tail.write(&header())?;
        Ok(tail)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.len += bytes.len() as u64;
        self.file
            .write_all(bytes)
            .map_err(|error| self.error(error))
    }

    fn finish(mut self) -> Result<u64> {
        let synced = self
            .file
            .flush()
            .and_then(|()| self.file.get_ref().sync_all());
        synced.map_err(|error| self.error(error))?;
        Ok(self.len)
    }

    fn error(&self, error: std::io::Error) -> Error {
        Error::from(error).in_file(self.path.display().to_string())
    }
}

fn too_many() -> Error {
    Error::internal("chunk reference does not fit: segments are cut too late")
}
