//! A copy of a block by hard links, which stays when the database deletes the block.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use thanos_core::block::{BlockId, INDEX_FILE, Meta};
use thanos_core::{Error, Result};

use super::in_directory;

/// The directory of the chunk files in that of a block.
const CHUNKS_DIR: &str = "chunks";
/// Where copies are, in the database directory. Prometheus leaves it alone.
const UPLOAD_DIR: &str = "thanos/upload";

/// A copy of a block.
#[derive(Debug)]
pub(super) struct Linked {
    path: PathBuf,
}

impl Linked {
    /// Makes a copy of the block that `meta` is of, with `meta` as its `meta.json`.
    ///
    /// # Errors
    ///
    /// `Corrupt` when the block has something else than files in it; otherwise what the file system reports. Nothing
    /// remains then.
    pub(super) fn new(directory: &Path, meta: &Meta) -> Result<Self> {
        let id = meta.ulid.to_string();
        let linked = Self {
            path: directory.join(UPLOAD_DIR).join(&id),
        };
        let made = linked.make(&directory.join(id), meta);
        match made {
            Ok(()) => Ok(linked),
            Err(error) => {
                // What cannot be removed now is removed with the next look through the directory.
                let _ = linked.remove();
                Err(error)
            }
        }
    }

    /// Returns the directory of the copy.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the copy.
    ///
    /// # Errors
    ///
    /// What the file system reports.
    pub(super) fn remove(self) -> Result<()> {
        remove_dir(&self.path)
    }

    fn make(&self, block: &Path, meta: &Meta) -> Result<()> {
        remove_dir(&self.path)?;
        let chunks = self.path.join(CHUNKS_DIR);
        let failed = |error: io::Error| in_directory(Error::from(error), &chunks);
        fs::create_dir_all(&chunks).map_err(failed)?;
        let source = block.join(CHUNKS_DIR);
        let listing = |error: io::Error| in_directory(Error::from(error), &source);
        for entry in fs::read_dir(&source).map_err(listing)? {
            let entry = entry.map_err(listing)?;
            link(&entry.path(), &chunks.join(entry.file_name()))?;
        }
        link(&block.join(INDEX_FILE), &self.path.join(INDEX_FILE))?;
        // Not a link: the database's own file stays as it is.
        meta.write_dir(&self.path)
    }
}

/// Removes all copies: nobody is uploading.
///
/// # Errors
///
/// What the file system reports.
pub(super) fn remove_all(directory: &Path) -> Result<()> {
    let uploads = directory.join(UPLOAD_DIR);
    let entries = match fs::read_dir(&uploads) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(in_directory(Error::from(error), &uploads)),
    };
    for entry in entries {
        let entry = entry.map_err(|error| in_directory(Error::from(error), &uploads))?;
        let is_copy = entry.file_name().to_string_lossy().parse::<BlockId>();
        if is_copy.is_ok() {
            remove_dir(&entry.path())?;
        }
    }
    Ok(())
}

fn remove_dir(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(in_directory(Error::from(error), path))
        }
        _ => Ok(()),
    }
}

/// Makes `to` the file at `from`.
fn link(from: &Path, to: &Path) -> Result<()> {
    let failed = |error: io::Error| {
        let error = in_directory(Error::from(error), from);
        error.context("hard link file")
    };
    let file = fs::symlink_metadata(from).map_err(failed)?;
    if !file.is_file() {
        let error = Error::corrupt("not a file, as what belongs to a block should be");
        return Err(in_directory(error, from));
    }
    match fs::hard_link(from, to) {
        // A file system without hard links.
        Err(error) if error.kind() == io::ErrorKind::Unsupported => {
            fs::copy(from, to).map(|_| ()).map_err(failed)
        }
        linked => linked.map_err(failed),
    }
}
