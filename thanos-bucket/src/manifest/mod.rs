//! The manifest: one object that lists all blocks of a bucket.
//!
//! Finding the blocks of a bucket takes a listing and, at first, one request per block. Whoever has done that can leave
//! the result in the bucket, and others learn it by one conditional read. The manifest is derived: it can be removed at
//! any time, and a reader that finds it missing, damaged or old goes on without. It lies in a directory of its own at
//! the top of the bucket; Thanos takes only directories whose names are ULIDs for blocks, and leaves others alone.
//!
//! Each manifest is a whole view: a writer that loses a race against another loses nothing but time.

mod format;
mod reader;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use thanos_core::time::Timestamp;
use thanos_core::{Error, ErrorKind, Result};

pub use format::FORMAT_VERSION;
pub use reader::{ManifestOptions, ManifestOutcome, ManifestReader};

use crate::Bucket;
use crate::bucket::{PutCondition, ReadOutcome, Version};
use crate::fetch::BucketView;

/// The name of the object. Another version of the format has another name, so that old and new readers get along.
pub const MANIFEST_OBJECT: &str = "thanos-manifest/v1";

/// The largest manifest that is read. With 100 sources each, 100,000 blocks take about 60 MB.
const MANIFEST_BYTES_MAX: u64 = 512 << 20;
/// How often a writer tries again when another was faster.
const ATTEMPTS: usize = 5;

/// The blocks of a bucket at one time.
#[derive(Debug, Default)]
pub struct Manifest {
    /// When the bucket was looked at.
    pub made: Timestamp,
    /// What it held: `meta.json` in the detail for reading, markers, sizes of objects.
    pub view: BucketView,
}

/// What became of an attempt to publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// The bucket has this manifest now.
    Written,
    /// The bucket has one that is newer.
    Superseded,
}

impl Manifest {
    /// Writes `view`, which was `made` at that time, unless the bucket has a newer manifest.
    ///
    /// Views of a [`Fetcher`](crate::fetch::Fetcher) are cheap to bring up to date: publish one after each sync.
    ///
    /// # Errors
    ///
    /// `Invalid` for a view that is not complete: readers would take what it lacks for absent. `Unavailable` when others
    /// are faster again and again, and what the bucket reports.
    pub async fn publish(bucket: &Bucket, view: &BucketView, made: Timestamp) -> Result<Published> {
        if let Some((id, error)) = view.unread.first_key_value() {
            let message = format!("an incomplete view is not published: block {id}: {error}");
            return Err(Error::invalid(message));
        }
        let bytes = Bytes::from(format::encode(view, made)?);
        for _ in 0..ATTEMPTS {
            let condition = match current(bucket).await? {
                None => PutCondition::Absent,
                Some((_, other)) if other > made => return Ok(Published::Superseded),
                Some((version, _)) => PutCondition::Unchanged(version),
            };
            match bucket
                .put_if(MANIFEST_OBJECT, bytes.clone(), condition)
                .await
            {
                Ok(Some(_)) => return Ok(Published::Written),
                Ok(None) => {}
                // A store without conditional writes. Each manifest is whole, so the last writer does no harm.
                Err(error) if error.kind() == ErrorKind::Invalid => {
                    bucket.put(MANIFEST_OBJECT, bytes).await?;
                    return Ok(Published::Written);
                }
                Err(error) => return Err(error),
            }
        }
        let message = format!("others wrote it {ATTEMPTS} times meanwhile");
        Err(Error::unavailable(message).in_file(MANIFEST_OBJECT))
    }

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

/// Returns the version of the manifest that the bucket has and when it was made: never, when it is damaged.
async fn current(bucket: &Bucket) -> Result<Option<(Version, Timestamp)>> {
    match bucket
        .read_if_changed(MANIFEST_OBJECT, None, MANIFEST_BYTES_MAX)
        .await
    {
        Ok(ReadOutcome::Changed { bytes, version }) => {
            let made = format::made(&bytes).unwrap_or(Timestamp::MIN);
            Ok(Some((version, made)))
        }
        Ok(ReadOutcome::Unchanged) => Err(Error::internal("nothing was known to be unchanged")),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
