//! The manifest: one object that lists all blocks of a bucket.
//!
//! Finding the blocks of a bucket takes a listing and, at first, one request per block. Whoever has done that can leave
//! the result in the bucket, and others learn it by one conditional read. The manifest is derived: it can be removed at
//! any time, and a reader that finds it missing, damaged or old goes on without. It lies in a directory of its own at
//! the top of the bucket; Thanos takes only directories whose names are ULIDs for blocks, and leaves others alone.
//!
//! Each manifest is a whole view: a writer that loses a race against another loses nothing but time.

mod format;
mod publisher;
mod reader;
#[cfg(test)]
mod tests;

use thanos_core::Result;
use thanos_core::time::Timestamp;

pub use format::FORMAT_VERSION;
pub use publisher::{ManifestPublisher, Published};
pub use reader::{ManifestOutcome, ManifestReader};

use crate::fetch::BucketView;

/// The name of the object. Another version of the format has another name, so that old and new readers get along.
pub const MANIFEST_OBJECT: &str = "thanos-manifest/v1";

/// The largest manifest that is read. With 100 sources each, 100,000 blocks take about 60 MB.
const MANIFEST_BYTES_MAX: u64 = 512 << 20;

/// What a role does with the manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ManifestOptions {
    /// How old a manifest may be to be used, in milliseconds.
    pub age_ms_max: i64,
    /// Whether the role writes it, too.
    pub mode: ManifestMode,
}

/// Whether a role writes the manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ManifestMode {
    /// It reads the manifest; it lists the bucket when there is none that is good enough.
    #[default]
    Read,
    /// It lists the bucket and publishes what it finds. It reads the manifest once, to begin with.
    Publish,
}

impl Default for ManifestOptions {
    /// Reads manifests of twice the interval at which `thanos store` syncs.
    fn default() -> Self {
        Self {
            age_ms_max: 2 * 15 * 60 * 1000,
            mode: ManifestMode::Read,
        }
    }
}

/// The blocks of a bucket at one time.
#[derive(Debug, Default)]
pub struct Manifest {
    /// When the bucket was looked at.
    pub made: Timestamp,
    /// What it held: `meta.json` in the detail for reading, markers, sizes of objects.
    pub view: BucketView,
}

impl Manifest {
    /// Returns the manifest in `bytes`.
    ///
    /// # Errors
    ///
    /// `Corrupt` when they are not one, `Invalid` when it is of another version.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        format::decode(bytes)
    }

    /// Returns the bytes of the manifest; of each `meta.json` they have what reading needs.
    ///
    /// # Errors
    ///
    /// `LimitExceeded` when they would be more than readers take.
    pub fn encode(&self) -> Result<Vec<u8>> {
        format::encode(&self.view, self.made)
    }
}
