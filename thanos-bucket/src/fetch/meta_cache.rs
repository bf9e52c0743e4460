//! `meta.json` files in the data directory, as Thanos keeps them: `meta-syncer/<block>/meta.json`.
//!
//! All of it is best effort: what cannot be read is read from the bucket, what cannot be written is read again after
//! a restart. The files are not forced to disk, since a damaged one does not parse.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use thanos_core::Result;
use thanos_core::block::{BlockId, META_FILE, Meta};
use thanos_core::time::Timestamp;

/// The directory in the data directory.
const DIRECTORY: &str = "meta-syncer";

/// The files.
#[derive(Debug, Clone)]
pub(super) struct MetaCache {
    directory: PathBuf,
}

/// A file and when its object was written.
#[derive(Debug)]
pub(super) struct CachedMeta {
    pub(super) text: Bytes,
    pub(super) modified: Timestamp,
}

impl MetaCache {
    pub(super) fn new(data_dir: &Path) -> Self {
        Self {
            directory: data_dir.join(DIRECTORY),
        }
    }

    /// Returns the blocks that have a file.
    pub(super) fn blocks(&self) -> BTreeSet<BlockId> {
        let Ok(entries) = fs::read_dir(&self.directory) else {
            return BTreeSet::new();
        };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        names.filter_map(|name| name.parse().ok()).collect()
    }

    /// Returns the file of block `id`; not one that is older than its object, which was written at `written`.
    ///
    /// The time of a file is that of its object. Files that Thanos wrote have the time of their writing, which is
    /// later.
    ///
    /// # Errors
    ///
    /// When the file is damaged.
    pub(super) fn read(&self, id: BlockId, written: Option<Timestamp>) -> Result<Option<Meta>> {
        let directory = self.directory.join(id.to_string());
        let Ok(info) = fs::metadata(directory.join(META_FILE)) else {
            return Ok(None);
        };
        let is_older =
            |written: Timestamp| info.modified().is_ok_and(|at| at < system_time(written));
        if written.is_some_and(is_older) {
            return Ok(None);
        }
        Meta::read_dir(&directory).map(Some)
    }

    /// Stores the file of block `id`.
    pub(super) fn write(&self, id: BlockId, meta: &CachedMeta) {
        let directory = self.directory.join(id.to_string());
        if let Err(error) = write(&directory, meta) {
            let directory = directory.display();
            tracing::warn!(%directory, %error, "cannot keep meta.json in the data directory, going on without");
        }
    }

    /// Removes the file of block `id`.
    pub(super) fn remove(&self, id: BlockId) {
        let directory = self.directory.join(id.to_string());
        match fs::remove_dir_all(&directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                let directory = directory.display();
                tracing::warn!(%directory, %error, "cannot remove a kept meta.json, going on");
            }
            _ => {}
        }
    }
}

fn write(directory: &Path, meta: &CachedMeta) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    let (file, tmp) = (
        directory.join(META_FILE),
        directory.join(format!("{META_FILE}.tmp")),
    );
    fs::write(&tmp, &meta.text)?;
    fs::File::options()
        .write(true)
        .open(&tmp)?
        .set_modified(system_time(meta.modified))?;
    fs::rename(tmp, file)
}

fn system_time(time: Timestamp) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(u64::try_from(time.as_millis()).unwrap_or(0))
}
