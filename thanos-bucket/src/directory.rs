//! A bucket in a local directory.

use std::path::Path;
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use thanos_core::{Error, Result};

use crate::Bucket;

/// Opens `directory` as a bucket.
///
/// # Errors
///
/// `NotFound` when it does not exist.
pub fn open(directory: impl AsRef<Path>) -> Result<Bucket> {
    store(directory).map(Bucket::new)
}

/// Returns `directory`, which is made if it is not there, as an object store: who configures a bucket may be the first one
/// to write to it, as in Thanos.
pub(crate) fn store_made(directory: impl AsRef<Path>) -> Result<Arc<dyn ObjectStore>> {
    let directory = directory.as_ref();
    std::fs::create_dir_all(directory).map_err(|error| {
        Error::from(error)
            .context("cannot make the bucket directory")
            .in_file(directory.display().to_string())
    })?;
    store(directory)
}

/// Returns `directory` as an object store.
pub(crate) fn store(directory: impl AsRef<Path>) -> Result<Arc<dyn ObjectStore>> {
    let directory = directory.as_ref();
    let store = LocalFileSystem::new_with_prefix(directory).map_err(|error| {
        Error::not_found(format!("cannot open the bucket directory: {error}"))
            .in_file(directory.display().to_string())
            .with_source(error)
    })?;
    // A directory that lost its last file would go on to look like a block without a meta.json.
    Ok(Arc::new(store.with_automatic_cleanup(true)))
}
