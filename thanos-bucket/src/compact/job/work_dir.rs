//! The directory of a job: what is in it is kept after a failure, so that it is not downloaded again.

use std::path::Path;

use thanos_core::{Error, Result};

/// Makes `dir`, and removes what is in it but for what `is_kept` says.
pub(super) fn keep_only(dir: &Path, is_kept: impl Fn(&str) -> bool) -> Result<()> {
    let named = |error: std::io::Error| Error::from(error).in_file(dir.display().to_string());
    std::fs::create_dir_all(dir).map_err(named)?;
    for entry in std::fs::read_dir(dir).map_err(named)? {
        let entry = entry.map_err(named)?;
        if !is_kept(&entry.file_name().to_string_lossy()) {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

/// Removes a file or a directory with all that is in it; nothing is no error.
pub(super) fn remove(path: &Path) -> Result<()> {
    let removed = match std::fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::from(error).in_file(path.display().to_string()))
        }
        _ => Ok(()),
    }
}

/// Returns the bytes of all files under `dir`.
pub(super) fn bytes_in(dir: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return 0;
    };
    let bytes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(found) if found.is_dir() => bytes_in(&entry.path()),
        Ok(found) => found.len(),
        Err(_) => 0,
    });
    bytes.fold(0, u64::saturating_add)
}
