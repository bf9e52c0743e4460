//! Settings of transfers.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use thanos_core::time::{Clock, SystemClock};
use thanos_core::{Error, Result};

use crate::compute::Compute;

/// The checksums that an upload writes into `meta.json` (`--hash-func`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HashFunc {
    /// None.
    #[default]
    None,
    /// SHA-256 of every file.
    Sha256,
}

impl HashFunc {
    /// Returns its name in `meta.json` and on command lines; empty for none.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Sha256 => "SHA256",
        }
    }
}

impl fmt::Display for HashFunc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for HashFunc {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "" => Ok(Self::None),
            "SHA256" => Ok(Self::Sha256),
            _ => Err(Error::invalid(format!(
                "hash function {text} is not supported"
            ))),
        }
    }
}

/// How a block is uploaded.
#[derive(Debug, Clone)]
pub struct UploadOptions {
    /// How many chunk files are on their way at once (`--block-files-concurrency`).
    pub concurrency: usize,
    /// Which checksums of the files go into `meta.json`.
    pub hash: HashFunc,
    /// Whether a block without external labels may be uploaded: one of a Prometheus without Thanos.
    pub without_labels_allowed: bool,
    /// Files up to this many bytes are sent at once, larger ones in parts of this size; at least 5 MiB.
    pub part_bytes: u64,
    /// What tells the upload time.
    pub clock: Arc<dyn Clock>,
    /// Where checksums are computed.
    pub compute: Compute,
}

impl Default for UploadOptions {
    fn default() -> Self {
        Self {
            concurrency: 1,
            hash: HashFunc::None,
            without_labels_allowed: false,
            part_bytes: 16 << 20,
            clock: Arc::new(SystemClock),
            compute: Compute::default(),
        }
    }
}

/// How a block is downloaded.
#[derive(Debug, Clone)]
pub struct DownloadOptions {
    /// How many files are on their way at once (`--block-files-concurrency`).
    pub concurrency: usize,
    /// Where checksums are computed.
    pub compute: Compute,
}

impl Default for DownloadOptions {
    fn default() -> Self {
        Self {
            concurrency: 1,
            compute: Compute::default(),
        }
    }
}
