//! Bytes that are written once, in order, and then read: in memory while they are few, in a file without a name beyond.
//!
//! For what has to be kept while a block is written and grows with the block. The file loses its name as soon as it is
//! mapped, so that nothing is left of it however the process ends; before that it lies in a directory that is removed.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::budget::{Lease, MemoryBudget};
use crate::error::{Error, Result};
use crate::mmap::open_bytes;

/// The bytes that are kept in memory by default.
const MEMORY_BYTES: usize = 16 << 20;
/// The memory that is taken first.
const FIRST_BYTES: usize = 4 << 10;
/// What is gathered before it goes to the file.
const BUFFER_BYTES: usize = 128 << 10;

/// Where a [`Spool`] keeps its bytes.
#[derive(Debug, Clone)]
pub(crate) struct SpoolPlace {
    /// What memory is leased from.
    pub(crate) budget: MemoryBudget,
    /// The directory of files; without one everything stays in memory.
    pub(crate) dir: Option<PathBuf>,
    /// The bytes from which on a file is used.
    pub(crate) memory_bytes: usize,
}

impl SpoolPlace {
    /// Returns a place that uses files in `dir`.
    pub(crate) fn in_dir(budget: MemoryBudget, dir: &Path) -> Self {
        Self {
            budget,
            dir: Some(dir.to_owned()),
            memory_bytes: MEMORY_BYTES,
        }
    }

    /// Returns a place for one of `count` spools that may together take as much memory.
    pub(crate) fn shared_by(&self, count: usize) -> Self {
        Self {
            memory_bytes: self.memory_bytes / count.max(1),
            ..self.clone()
        }
    }

    /// Returns a place in memory.
    pub(crate) fn in_memory(budget: MemoryBudget) -> Self {
        Self {
            budget,
            dir: None,
            memory_bytes: usize::MAX,
        }
    }
}

/// Bytes in the making.
#[derive(Debug)]
pub(crate) struct Spool {
    place: SpoolPlace,
    name: String,
    memory: Vec<u8>,
    lease: Lease,
    file: Option<NamedFile>,
}

/// A file that is removed on drop.
#[derive(Debug)]
struct NamedFile {
    out: BufWriter<File>,
    path: PathBuf,
}

impl Drop for NamedFile {
    fn drop(&mut self) {
        // Best effort: the directory is removed as well.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Bytes that are complete.
#[derive(Debug)]
pub(crate) struct Spooled {
    bytes: Bytes,
    _lease: Lease,
}

impl Spooled {
    pub(crate) fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

impl Spool {
    /// Returns an empty spool; its file, if it comes to that, is called `name`.
    pub(crate) fn new(place: SpoolPlace, name: impl Into<String>) -> Result<Self> {
        Ok(Self {
            lease: place.budget.lease(0)?,
            place,
            name: name.into(),
            memory: Vec::new(),
            file: None,
        })
    }

    /// Appends `bytes`.
    ///
    /// # Errors
    ///
    /// What the file system reports; `LimitExceeded` where there is no directory and the budget is too small.
    #[inline]
    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<()> {
        if self.file.is_none() && bytes.len() <= self.memory.capacity() - self.memory.len() {
            self.memory.extend_from_slice(bytes);
            return Ok(());
        }
        self.append_slowly(bytes)
    }

    #[cold]
    fn append_slowly(&mut self, bytes: &[u8]) -> Result<()> {
        if self.file.is_none() && !self.grow(self.memory.len().saturating_add(bytes.len()))? {
            self.start_file()?;
        }
        match &mut self.file {
            Some(file) => (file.out.write_all(bytes)).map_err(|error| in_file(error, &file.path)),
            None => {
                self.memory.extend_from_slice(bytes);
                Ok(())
            }
        }
    }

    /// Makes room for `len` bytes in memory; reports whether they may stay there.
    fn grow(&mut self, len: usize) -> Result<bool> {
        if len > self.place.memory_bytes {
            return Ok(false);
        }
        let wanted = len.max(2 * self.memory.capacity()).max(FIRST_BYTES);
        // While the bytes move there are both.
        let both = (wanted + self.memory.capacity()) as u64;
        match (self.lease.resize(both), &self.place.dir) {
            (Ok(()), _) => {}
            (Err(_), Some(_)) => return Ok(false),
            (Err(error), None) => return Err(error),
        }
        self.memory.reserve_exact(wanted - self.memory.len());
        self.lease.resize(self.memory.capacity() as u64)?;
        Ok(true)
    }

    fn start_file(&mut self) -> Result<()> {
        let Some(dir) = &self.place.dir else {
            return Err(Error::internal("bytes without a directory outgrew memory"));
        };
        let path = dir.join(&self.name);
        let out = File::create_new(&path).map_err(|error| in_file(error, &path))?;
        let out = BufWriter::with_capacity(BUFFER_BYTES, out);
        let file = self.file.insert(NamedFile { out, path });
        let written = file.out.write_all(&self.memory);
        written.map_err(|error| in_file(error, &file.path))?;
        self.memory = Vec::new();
        self.lease.resize(0)
    }

    /// Returns all bytes.
    ///
    /// # Errors
    ///
    /// What the file system reports.
    pub(crate) fn finish(mut self) -> Result<Spooled> {
        let bytes = match &mut self.file {
            None => Bytes::from(std::mem::take(&mut self.memory)),
            Some(file) => {
                let flushed = file.out.flush();
                flushed.map_err(|error| in_file(error, &file.path))?;
                open_bytes(&file.path)?
            }
        };
        Ok(Spooled {
            bytes,
            _lease: self.lease,
        })
    }
}

fn in_file(error: std::io::Error, path: &Path) -> Error {
    Error::from(error).in_file(path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::testkit::TempDir;

    fn filled(place: SpoolPlace) -> Result<Spooled> {
        let mut spool = Spool::new(place, "spool")?;
        for number in 0..20_000_u32 {
            spool.append(&number.to_le_bytes())?;
        }
        spool.finish()
    }

    #[test]
    fn what_was_appended_is_read_from_memory_and_from_files() {
        let dir = TempDir::new("spool");
        let expected: Vec<u8> = (0..20_000_u32).flat_map(u32::to_le_bytes).collect();
        for memory_bytes in [0, 5_000, 80_000, usize::MAX] {
            for limit in [1_000, 30_000, u64::MAX] {
                let budget = MemoryBudget::new("test", limit);
                let mut place = SpoolPlace::in_dir(budget.clone(), dir.path());
                place.memory_bytes = memory_bytes;
                let spooled = filled(place).unwrap();
                assert!(spooled.bytes() == &expected, "{memory_bytes} {limit}");
                drop(spooled);
                assert_eq!(budget.used_bytes(), 0);
                assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
            }
        }
    }

    #[test]
    fn without_a_directory_the_budget_is_the_limit() {
        let place = |limit| SpoolPlace::in_memory(MemoryBudget::new("test memory", limit));
        assert_eq!(filled(place(1 << 20)).unwrap().bytes().len(), 80_000);
        let error = filled(place(50_000)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LimitExceeded);
        assert!(error.to_string().contains("test memory"), "{error}");
    }
}
