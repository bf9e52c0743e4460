//! Where segments are written to: files, or whatever else takes their bytes in order.

use std::fmt;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::block::BlockId;
use crate::block::files::sync_dir;
use crate::error::{Error, Result};

/// The bytes that are gathered before they go to the file.
const BUFFER_BYTES: usize = 1 << 20;

/// What takes the segments of one block, one after the other.
///
/// Dropped before [`SegmentOutput::finish`] it undoes what it can.
pub trait SegmentOutput: fmt::Debug + Send {
    /// Begins the segment called `name`.
    ///
    /// # Errors
    ///
    /// Whatever keeps it from being written.
    fn begin(&mut self, name: &str) -> Result<()>;

    /// Appends to the segment that was begun. It may block.
    ///
    /// # Errors
    ///
    /// As [`SegmentOutput::begin`].
    fn write(&mut self, bytes: &[u8]) -> Result<()>;

    /// Ends the segment that was begun.
    ///
    /// # Errors
    ///
    /// As [`SegmentOutput::begin`].
    fn end(&mut self) -> Result<()>;

    /// Returns when all segments are where they are to stay.
    ///
    /// # Errors
    ///
    /// As [`SegmentOutput::begin`].
    fn finish(&mut self) -> Result<()>;
}

/// What takes the segments of new blocks.
pub trait SegmentPlace: fmt::Debug + Send + Sync + 'static {
    /// Returns what takes those of the block called `id`.
    ///
    /// # Errors
    ///
    /// Whatever keeps them from being taken.
    fn output(&self, id: BlockId) -> Result<Box<dyn SegmentOutput>>;
}

/// Segments as files of a directory.
#[derive(Debug)]
pub(super) struct SegmentFiles {
    dir: PathBuf,
    open: Option<(BufWriter<File>, PathBuf)>,
}

impl SegmentFiles {
    /// Returns what writes to `dir`, which is made.
    pub(super) fn create(dir: &Path) -> Result<Self> {
        std::fs::create_dir_all(dir).map_err(|error| in_file(error, dir))?;
        Ok(Self {
            dir: dir.to_owned(),
            open: None,
        })
    }
}

impl SegmentOutput for SegmentFiles {
    fn begin(&mut self, name: &str) -> Result<()> {
        let path = self.dir.join(name);
        let file = File::create_new(&path).map_err(|error| in_file(error, &path))?;
        self.open = Some((BufWriter::with_capacity(BUFFER_BYTES, file), path));
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let (file, path) = self.open.as_mut().ok_or_else(not_begun)?;
        file.write_all(bytes).map_err(|error| in_file(error, path))
    }

    fn end(&mut self) -> Result<()> {
        let (mut file, path) = self.open.take().ok_or_else(not_begun)?;
        let synced = file.flush().and_then(|()| file.get_ref().sync_all());
        synced.map_err(|error| in_file(error, &path))
    }

    fn finish(&mut self) -> Result<()> {
        sync_dir(&self.dir).map_err(|error| in_file(error, &self.dir))
    }
}

fn not_begun() -> Error {
    Error::internal("no segment was begun")
}

fn in_file(error: std::io::Error, path: &Path) -> Error {
    Error::from(error).in_file(path.display().to_string())
}
