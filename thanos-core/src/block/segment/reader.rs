//! Reading chunks out of the segment files of a block.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::SegmentSource;
use super::format::{SEGMENT_HEADER_LEN, check_header, decode_chunk_at, segment_file_name};
use super::source::Elsewhere;
use crate::chunk::Chunk;
use crate::error::{Error, Result};
use crate::index::ChunkRef;
use crate::mmap::open_bytes;

/// The segment files of a block, opened.
///
/// Chunks share the bytes of the file that they lie in: reading one copies nothing, and it stays valid after the
/// reader is gone.
#[derive(Debug, Clone)]
pub struct ChunkReader {
    segments: Segments,
}

#[derive(Debug, Clone)]
enum Segments {
    Files(Vec<Segment>),
    Elsewhere(Arc<Elsewhere>),
}

#[derive(Debug, Clone)]
struct Segment {
    name: String,
    bytes: Bytes,
}

impl ChunkReader {
    /// Opens the segment files in `dir`, the `chunks` directory of a block. An empty directory has no chunks.
    ///
    /// # Errors
    ///
    /// `NotFound` without a directory; `Corrupt` when a file is not a segment or one is missing in the sequence.
    pub fn open(dir: &Path) -> Result<Self> {
        let files = segment_files(dir)
            .map_err(|error| Error::from(error).in_file(dir.display().to_string()))?;
        let mut segments = Vec::with_capacity(files.len());
        for (position, (number, path)) in files.into_iter().enumerate() {
            // References count files: with one missing they would name the wrong ones.
            if number != position as u64 + 1 {
                let missing = dir.join(segment_file_name(position));
                return Err(Error::corrupt("segment file is missing")
                    .at(0)
                    .in_file(missing.display().to_string()));
            }
            segments.push(Segment::open(&path)?);
        }
        Ok(Self {
            segments: Segments::Files(segments),
        })
    }

    /// Returns a reader of segments that `source` has. What of them is damaged is found when it is read.
    pub fn from_source(source: Arc<dyn SegmentSource>) -> Self {
        Self {
            segments: Segments::Elsewhere(Arc::new(Elsewhere::new(source))),
        }
    }

    /// Returns the chunk at `reference`, after a check of its checksum.
    ///
    /// # Errors
    ///
    /// `Corrupt` with file and offset when there is no sound chunk.
    pub fn chunk(&self, reference: ChunkRef) -> Result<Chunk> {
        let position = reference.segment() as usize;
        let offset = reference.offset() as usize;
        let found = match &self.segments {
            Segments::Files(files) => files.get(position).map(|segment| segment.chunk(offset)),
            Segments::Elsewhere(segments) => segments.chunk(position, offset),
        };
        let Some(chunk) = found else {
            return Err(Error::corrupt(format!(
                "{reference:?} lies in a segment beyond the last of {}",
                self.segment_count()
            ))
            .at(u64::from(reference.offset()))
            .in_file(segment_file_name(position)));
        };
        Ok(chunk?.0)
    }

    /// Adds to `error`, met while decoding the chunk at `reference`, where that chunk lies.
    ///
    /// The offset becomes that of the chunk: the one inside it counts from where its data begins.
    #[must_use]
    pub fn locate(&self, error: Error, reference: ChunkRef) -> Error {
        let place = u64::from(reference.offset());
        let position = reference.segment() as usize;
        let name = match &self.segments {
            Segments::Files(files) => files.get(position).map(|segment| &segment.name),
            Segments::Elsewhere(segments) => {
                let segment = segments.segments().get(position);
                segment.map(|segment| &segment.name)
            }
        };
        let name = name.map_or_else(|| segment_file_name(position), Clone::clone);
        error.shifted(place).at(place).in_file(name)
    }

    /// Returns the number of segment files.
    pub fn segment_count(&self) -> usize {
        match &self.segments {
            Segments::Files(files) => files.len(),
            Segments::Elsewhere(segments) => segments.segments().len(),
        }
    }

    /// Returns the length of all segment files together.
    pub fn len_bytes(&self) -> u64 {
        match &self.segments {
            Segments::Files(files) => {
                let lens = files.iter().map(|segment| segment.bytes.len() as u64);
                lens.sum()
            }
            Segments::Elsewhere(segments) => {
                let lens = segments.segments().iter().map(|segment| segment.len_bytes);
                lens.fold(0, u64::saturating_add)
            }
        }
    }

    /// Reads every chunk of every segment and returns their number.
    ///
    /// # Errors
    ///
    /// `Corrupt` at the first chunk that is not sound.
    pub fn verify(&self) -> Result<u64> {
        let files = match &self.segments {
            Segments::Files(files) => files,
            Segments::Elsewhere(segments) => return segments.verify(),
        };
        let mut chunks = 0;
        for segment in files {
            chunks += segment.verify()?;
        }
        Ok(chunks)
    }
}

impl Segment {
    fn open(path: &Path) -> Result<Self> {
        let segment = Self {
            name: path.display().to_string(),
            bytes: open_bytes(path)?,
        };
        check_header(&segment.bytes).map_err(|error| error.in_file(&*segment.name))?;
        Ok(segment)
    }

    fn chunk(&self, offset: usize) -> Result<(Chunk, usize)> {
        let read = || {
            if offset < SEGMENT_HEADER_LEN || offset > self.bytes.len() {
                let message = format!(
                    "no chunk starts here: the file has {} bytes",
                    self.bytes.len()
                );
                return Err(Error::corrupt(message).at(offset as u64));
            }
            decode_chunk_at(&self.bytes, offset, offset as u64)
        };
        read().map_err(|error| error.in_file(&*self.name))
    }

    fn verify(&self) -> Result<u64> {
        let (mut offset, mut chunks) = (SEGMENT_HEADER_LEN, 0);
        while offset < self.bytes.len() {
            offset += self.chunk(offset)?.1;
            chunks += 1;
        }
        Ok(chunks)
    }
}

/// Reads every chunk of the segment file with the contents `bytes` and returns their number.
///
/// # Errors
///
/// `Corrupt` with the offset of the first thing that is not sound.
pub fn check_segment(bytes: Bytes) -> Result<u64> {
    check_header(&bytes)?;
    let name = String::from("segment");
    Segment { name, bytes }.verify()
}

/// The files of `dir` whose names are numbers, by number; others are not ours.
fn segment_files(dir: &Path) -> std::io::Result<Vec<(u64, PathBuf)>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let number = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        if let Some(number) = number {
            files.push((number, entry.path()));
        }
    }
    files.sort_unstable();
    Ok(files)
}
