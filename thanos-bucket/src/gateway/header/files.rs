//! The files of a header in the block's folder of the data directory. Everything here waits for the disk.
//!
//! ```text
//! <data-dir>/<block>/index-header          as Thanos writes it: written when the header was made from the index
//!                    sparse-index-header   ours: written with it, or as it was published; opened first
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use thanos_core::block::write_file_atomic;
use thanos_core::indexheader::{IndexHeader, build_sparse_header};
use thanos_core::{Error, ErrorKind, Result, mmap};

use super::{FolderUse, HeaderOptions, SparseHeaders};
use crate::fetch::SPARSE_HEADER_FILE;

/// The name of Thanos' file in the block's folder of the data directory.
pub(in crate::gateway) const HEADER_FILE: &str = "index-header";

/// Where the files of a block lie, and what they must be of.
#[derive(Debug, Clone)]
pub(super) struct HeaderFiles {
    thanos: PathBuf,
    sparse: PathBuf,
    index_len: u64,
    options: HeaderOptions,
    _folder: Arc<FolderUse>,
}

/// A header that can be used, and its sparse form if that was made just now.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) header: IndexHeader,
    pub(super) made: Option<Bytes>,
}

impl HeaderFiles {
    /// Returns the files in the folder `dir` of a block whose index has `index_len` bytes.
    pub(super) fn new(
        dir: &Path,
        index_len: u64,
        options: &HeaderOptions,
        folder: &Arc<FolderUse>,
    ) -> Self {
        Self {
            thanos: dir.join(HEADER_FILE),
            sparse: dir.join(SPARSE_HEADER_FILE),
            index_len,
            options: options.clone(),
            _folder: Arc::clone(folder),
        }
    }

    /// Reports whether there is, by its head and its end, a header of the index.
    pub(super) fn is_kept(&self) -> bool {
        self.preferred().into_iter().any(|file| {
            let name = file.display().to_string();
            let found = mmap::open_bytes(file)
                .and_then(|bytes| IndexHeader::peek(&name, &bytes))
                .and_then(|source| is_of_index(&name, source.index_len, self.index_len));
            found.map_err(|error| warn_unusable(&error)).is_ok()
        })
    }

    /// Opens what is kept; `None` when it has to be made.
    pub(super) fn open(&self) -> Option<Opened> {
        let opened = self.preferred().into_iter().find_map(|file| {
            let opened = self.open_file(file);
            opened.map_err(|error| warn_unusable(&error)).ok()
        })?;
        let no_sparse = opened.is_sparse() || self.options.sparse == SparseHeaders::Off;
        if no_sparse {
            return Some(Opened {
                header: opened,
                made: None,
            });
        }
        Some(self.with_sparse(opened))
    }

    /// Writes Thanos' file with `bytes` and the sparse one, if they are sound and of the index, and opens the better.
    pub(super) fn write(&self, object: &str, bytes: &Bytes) -> Result<Opened> {
        let header = open_bytes(object, bytes.clone(), &self.options)?;
        write_file(&self.thanos, bytes)?;
        match self.options.sparse {
            SparseHeaders::Off => {
                let header = self.open_file(&self.thanos)?;
                Ok(Opened { header, made: None })
            }
            SparseHeaders::Use | SparseHeaders::Publish => Ok(self.with_sparse(header)),
        }
    }

    /// Writes the sparse file with `bytes`, which are known to be sound and of the index, and opens it.
    pub(super) fn write_sparse(&self, bytes: &[u8]) -> Result<Opened> {
        write_file(&self.sparse, bytes)?;
        let header = self.open_file(&self.sparse)?;
        Ok(Opened { header, made: None })
    }

    /// Removes the sparse file, which was found to be damaged.
    pub(super) fn remove_sparse(&self) {
        if let Err(error) = std::fs::remove_file(&self.sparse) {
            let file = self.sparse.display();
            tracing::warn!(%file, %error, "damaged sparse index-header cannot be removed");
        }
    }

    /// Writes the sparse file beside that of `header` and opens it; without, `header` does as well.
    fn with_sparse(&self, header: IndexHeader) -> Opened {
        let Some(made) = sparse_of(&header) else {
            return Opened { header, made: None };
        };
        match self.write_sparse(&made) {
            Ok(opened) => Opened {
                made: Some(made),
                ..opened
            },
            Err(error) => {
                tracing::warn!(%error, "sparse index-header cannot be kept");
                Opened {
                    header,
                    made: Some(made),
                }
            }
        }
    }

    /// Returns the files in the order in which they are tried.
    fn preferred(&self) -> Vec<&Path> {
        match self.options.sparse {
            SparseHeaders::Off => vec![&self.thanos],
            SparseHeaders::Use | SparseHeaders::Publish => vec![&self.sparse, &self.thanos],
        }
    }

    fn open_file(&self, file: &Path) -> Result<IndexHeader> {
        let name = file.display().to_string();
        let header = open_bytes(&name, mmap::open_bytes(file)?, &self.options)?;
        is_of_index(&name, header.source().index_len, self.index_len)?;
        Ok(header)
    }
}

/// Opens the header in `bytes`, which `name` names in errors.
pub(super) fn open_bytes(name: &str, bytes: Bytes, options: &HeaderOptions) -> Result<IndexHeader> {
    let start = Instant::now();
    let header = IndexHeader::open_sampled(name, bytes, options.postings_sampling)?;
    let seconds = &options.metrics.load_seconds;
    seconds.observe(start.elapsed().as_secs_f64());
    Ok(header)
}

/// Returns the sparse form of `header`, unless its index has none.
pub(super) fn sparse_of(header: &IndexHeader) -> Option<Bytes> {
    match build_sparse_header(header) {
        Ok(bytes) => Some(bytes.into()),
        Err(error) if error.kind() == ErrorKind::Invalid => {
            tracing::debug!(%error, "no sparse index-header");
            None
        }
        Err(error) => {
            tracing::warn!(%error, "no sparse index-header");
            None
        }
    }
}

fn write_file(file: &Path, bytes: &[u8]) -> Result<()> {
    if let Some(dir) = file.parent() {
        let created = std::fs::create_dir_all(dir);
        created.map_err(|error| Error::from(error).in_file(dir.display().to_string()))?;
    }
    write_file_atomic(file, bytes)
}

/// Checks that a header of an index of `found` bytes is of one of `index_len` bytes.
pub(super) fn is_of_index(name: &str, found: u64, index_len: u64) -> Result<()> {
    if found == index_len {
        return Ok(());
    }
    let message =
        format!("index-header is of an index of {found} bytes, that of the block has {index_len}");
    Err(Error::corrupt(message).in_file(name))
}

fn warn_unusable(error: &Error) {
    if error.kind() != ErrorKind::NotFound {
        tracing::warn!(%error, "index-header cannot be used");
    }
}
