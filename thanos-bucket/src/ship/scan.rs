//! Looking through a database directory.

use std::fs;
use std::path::{Path, PathBuf};

use thanos_core::block::{BlockId, Meta};
use thanos_core::{Error, Result};

use super::in_directory;

/// What a database directory holds.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The blocks that can be read, oldest first.
    pub(super) blocks: Vec<Meta>,
    /// The directories that have the name of a block and cannot be read, and why.
    pub(super) corrupted: Vec<(PathBuf, Error)>,
}

/// Looks through `directory`.
///
/// # Errors
///
/// When the directory cannot be listed.
pub(super) fn scan(directory: &Path) -> Result<Found> {
    let listing = |error: std::io::Error| in_directory(Error::from(error), directory);
    let mut found = Found::default();
    for entry in fs::read_dir(directory).map_err(listing)? {
        let path = entry.map_err(listing)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let Ok(id) = name.parse::<BlockId>() else {
            continue;
        };
        match read(&path, id) {
            Ok(Some(meta)) => found.blocks.push(meta),
            Ok(None) => {}
            Err(error) => {
                tracing::error!(block = %path.display(), %error, "block cannot be read");
                found.corrupted.push((path, error));
            }
        }
    }
    found
        .blocks
        .sort_by_key(|meta| (meta.min_time, meta.max_time, meta.ulid));
    found.corrupted.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(found)
}

/// Reads what is at `path`, which is nothing to us when it is no directory.
fn read(path: &Path, id: BlockId) -> Result<Option<Meta>> {
    let failed = |error: Error| {
        let message = format!("read metadata for block {}", path.display());
        error.context(message)
    };
    let file = fs::metadata(path).map_err(|error| failed(Error::from(error)))?;
    if !file.is_dir() {
        return Ok(None);
    }
    let meta = Meta::read_dir(path).map_err(failed)?;
    if meta.ulid != id {
        let message = format!("meta.json is of block {}", meta.ulid);
        return Err(failed(Error::corrupt(message)));
    }
    Ok(Some(meta))
}
