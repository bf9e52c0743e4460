//! Local files as reference-counted bytes: mapped into memory with the `mmap` feature, read into it without.
//!
//! This is the one module with `unsafe` code. It is for files that are written once and renamed into place, as
//! the files of a block are: nobody changes them afterwards, and removing one keeps the mapping valid.

#![cfg_attr(
    feature = "mmap",
    allow(unsafe_code, reason = "mapping a file is unsafe and is done here only")
)]

use std::fs::File;
use std::path::Path;

use bytes::Bytes;

use crate::error::{Error, Result};

/// Returns the contents of the file at `path`; every slice of them keeps the whole file mapped.
///
/// The file must not be cut short or written to while the bytes live: cutting it kills the process when a lost
/// page is read (`SIGBUS`). Writers of this crate make a new file and rename it.
///
/// # Errors
///
/// What the file system reports, with the name of the file.
pub fn open_bytes(path: &Path) -> Result<Bytes> {
    open(path).map_err(|error| Error::from(error).in_file(path.display().to_string()))
}

#[cfg(feature = "mmap")]
fn open(path: &Path) -> std::io::Result<Bytes> {
    let file = File::open(path)?;
    if file.metadata()?.len() == 0 {
        return Ok(Bytes::new());
    }
    // SAFETY: the mapping is private and read-only, so writing through it is impossible, and the slice is valid
    // for as long as the `Mmap` that the `Bytes` owns. That the bytes do not change under the slice is what the
    // function asks of its callers: block files are immutable once they carry their final name.
    let map = unsafe { memmap2::Mmap::map(&file)? };
    Ok(Bytes::from_owner(map))
}

#[cfg(not(feature = "mmap"))]
fn open(path: &Path) -> std::io::Result<Bytes> {
    use std::io::Read;

    let mut contents = Vec::new();
    File::open(path)?.read_to_end(&mut contents)?;
    Ok(Bytes::from(contents))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::testkit::TempDir;

    #[test]
    fn bytes_outlive_the_name_of_the_file() {
        let dir = TempDir::new("mmap");
        let path = dir.path().join("file");
        std::fs::write(&path, b"hello").unwrap();
        let tail = open_bytes(&path).unwrap().slice(1..);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(tail, "ello");
        let error = open_bytes(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert_eq!(error.file(), path.to_str());
    }

    #[test]
    fn an_empty_file_is_no_bytes() {
        let dir = TempDir::new("mmap-empty");
        let path = dir.path().join("file");
        std::fs::write(&path, b"").unwrap();
        assert!(open_bytes(&path).unwrap().is_empty());
    }
}
