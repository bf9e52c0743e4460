//! The files of a local block: which there are, how long, and their checksums.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use sha2::{Digest, Sha256};
use thanos_core::block::{BlockFile, FileHash, INDEX_FILE, META_FILE};
use thanos_core::{Error, Result};

use super::HashFunc;

/// How much of a file is hashed at once.
const PIECE_BYTES: usize = 1 << 20;

/// Returns the chunk files, the index and `meta.json` of the block directory `dir` as `meta.json` lists them: sorted by
/// path, `meta.json` itself without a length.
///
/// # Errors
///
/// `NotFound` without an index or a directory of chunks, and what the file system reports.
pub(super) fn gather(dir: &Path, hash: HashFunc) -> Result<Vec<BlockFile>> {
    let mut segments = Vec::new();
    for name in chunk_files(dir)? {
        segments.push(stat(dir, format!("chunks/{name}"), hash)?);
    }
    gather_with(segments, dir, hash)
}

/// Returns what [`gather`] does of a block whose chunk files are `files`.
///
/// # Errors
///
/// As [`gather`].
pub(super) fn gather_with(
    mut files: Vec<BlockFile>,
    dir: &Path,
    hash: HashFunc,
) -> Result<Vec<BlockFile>> {
    files.push(stat(dir, INDEX_FILE.to_owned(), hash)?);
    files.push(BlockFile {
        rel_path: META_FILE.to_owned(),
        ..BlockFile::default()
    });
    files.sort_by(|a, b| a.rel_path.cmp(&b.rel_path));
    Ok(files)
}

fn chunk_files(dir: &Path) -> Result<Vec<String>> {
    let chunks = dir.join("chunks");
    let named = |error: std::io::Error| Error::from(error).in_file(chunks.display().to_string());
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&chunks).map_err(named)? {
        let entry = entry.map_err(named)?;
        if entry.file_type().map_err(named)?.is_file() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort_unstable();
    Ok(names)
}

fn stat(dir: &Path, rel_path: String, hash: HashFunc) -> Result<BlockFile> {
    let path = dir.join(&rel_path);
    let named = |error: std::io::Error| Error::from(error).in_file(path.display().to_string());
    let size_bytes = std::fs::metadata(&path).map_err(named)?.len();
    let hash = match hash {
        HashFunc::None => None,
        HashFunc::Sha256 => Some(FileHash {
            func: HashFunc::Sha256.as_str().to_owned(),
            value: sha256_of(&path)?,
        }),
    };
    Ok(BlockFile {
        rel_path,
        size_bytes,
        hash,
    })
}

/// Returns the SHA-256 of the file in lowercase hexadecimal.
pub(super) fn sha256_of(path: &Path) -> Result<String> {
    let hashed = || -> std::io::Result<String> {
        let mut file = File::open(path)?;
        let mut hasher = Sha256::new();
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            match file.read(&mut piece)? {
                0 => return Ok(hexadecimal(&hasher.finalize())),
                len => hasher.update(&piece[..len]),
            }
        }
    };
    hashed().map_err(|error| Error::from(error).in_file(path.display().to_string()))
}

/// Returns `bytes` in lowercase hexadecimal.
pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}
