//! Where lists of endpoints come from.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use thanos_core::error::{Error, Result};
use thanos_core::query::Missing;

use super::EndpointSpec;

/// What a source has found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// The endpoints.
    pub endpoints: Vec<EndpointSpec>,
    /// What there should be more, and why it is not known.
    pub gaps: Vec<Missing>,
}

/// A list of endpoints that may change.
pub trait Source: fmt::Debug + Send + 'static {
    /// Returns the list as it is now; asked about once a second, where blocking is allowed.
    fn find(&mut self) -> Found;
}

/// A list that does not change.
#[derive(Debug, Clone, Default)]
pub struct StaticSource(pub Vec<EndpointSpec>);

impl Source for StaticSource {
    fn find(&mut self) -> Found {
        Found {
            endpoints: self.0.clone(),
            gaps: Vec::new(),
        }
    }
}

/// A file that is read again when it looks different, and now and then even if it does not.
#[derive(Debug)]
pub(super) struct WatchedFile {
    path: PathBuf,
    interval: Duration,
    last: Option<(Option<Signature>, Instant)>,
}

/// What a file looks like without being read.
type Signature = (SystemTime, u64, u64);

impl WatchedFile {
    pub(super) fn new(path: PathBuf, interval: Duration) -> Self {
        Self {
            path,
            interval,
            last: None,
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the content if the file has to be read.
    pub(super) fn changed(&mut self) -> Option<Result<String>> {
        let signature = signature(&self.path);
        let is_known = self.last.is_some_and(|(known, read)| {
            known == signature && known.is_some() && read.elapsed() < self.interval
        });
        if is_known {
            return None;
        }
        self.last = Some((signature, Instant::now()));
        let content = std::fs::read_to_string(&self.path);
        Some(content.map_err(|error| Error::from(error).in_file(self.path.display().to_string())))
    }
}

fn signature(path: &Path) -> Option<Signature> {
    #[cfg(unix)]
    use std::os::unix::fs::MetadataExt;
    let metadata = std::fs::metadata(path).ok()?;
    #[cfg(unix)]
    let inode = metadata.ino();
    #[cfg(not(unix))]
    let inode = 0;
    Some((metadata.modified().ok()?, metadata.len(), inode))
}
