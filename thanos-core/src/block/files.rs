//! Files that appear whole or not at all.
//!
//! What a block directory holds must survive a crash at any moment: a file is written under another name, forced
//! to disk, renamed, and the rename is forced to disk too.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use crate::error::{Error, Result};

/// Writes `bytes` to `path`, atomically and durably, by way of `<path>.tmp`.
///
/// # Errors
///
/// What the file system reports, with the name of the file.
pub fn write_file_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut tmp = path.as_os_str().to_owned();
    tmp.push(".tmp");
    let tmp = Path::new(&tmp);
    let written = write_synced(tmp, bytes)
        .and_then(|()| std::fs::rename(tmp, path))
        .and_then(|()| sync_parent(path));
    if written.is_err() {
        // Best effort: the error that matters is the first one.
        let _ = std::fs::remove_file(tmp);
    }
    written.map_err(|error| Error::from(error).in_file(path.display().to_string()))
}

fn write_synced(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn sync_parent(path: &Path) -> std::io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync_dir(parent),
        _ => sync_dir(Path::new(".")),
    }
}

/// Forces the names in the directory `path` to disk.
pub(crate) fn sync_dir(path: &Path) -> std::io::Result<()> {
    File::open(path)?.sync_all()
}

/// Reads the whole file at `path`, refusing one of more than `bytes_max` bytes before it is read.
pub(crate) fn read_capped(path: &Path, bytes_max: u64) -> Result<Vec<u8>> {
    let read = || -> Result<Vec<u8>> {
        let len = std::fs::metadata(path)?.len();
        if len > bytes_max {
            return Err(Error::limit_exceeded(format!(
                "file of {len} bytes is larger than the limit of {bytes_max} bytes"
            )));
        }
        Ok(std::fs::read(path)?)
    };
    read().map_err(|error| error.in_file(path.display().to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::testkit::TempDir;

    #[test]
    fn a_failed_write_leaves_the_old_file_and_no_tmp() {
        let dir = TempDir::new("files");
        let dir = dir.path();
        let path = dir.join("meta.json");
        write_file_atomic(&path, b"one").unwrap();
        write_file_atomic(&path, b"two").unwrap();
        assert_eq!(read_capped(&path, 3).unwrap(), b"two");
        assert_eq!(
            read_capped(&path, 2).unwrap_err().kind(),
            ErrorKind::LimitExceeded
        );
        // A directory in the place of the target makes the rename fail.
        let taken = dir.join("taken");
        std::fs::create_dir_all(taken.join("x")).unwrap();
        let error = write_file_atomic(&taken, b"three").unwrap_err();
        assert!(error.file().unwrap().ends_with("taken"));
        assert!(!dir.join("taken.tmp").exists());
    }
}
