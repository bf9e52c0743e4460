//! Putting bad blocks aside, so that everything else goes on.
//!
//! Thanos stops all work when it meets a block that it cannot work with. Here the block gets marks that keep it out of
//! further work, for Thanos too, and an object that says why. It stays readable as far as it is. Whoever has looked at
//! it removes the marks, or the block.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thanos_core::block::{BlockId, NoCompactMark, NoDownsampleMark};
use thanos_core::time::Clock;
use thanos_core::{Error, Result};

use crate::Bucket;
use crate::transfer::mark_block;

/// The `reason` of the no-compact mark of a block in quarantine; Thanos counts words it does not know as they are.
pub const QUARANTINE_REASON: &str = "quarantined";
/// Where the records lie; Thanos looks only into directories that are called like blocks.
pub const QUARANTINE_DIRECTORY: &str = "thanos-quarantine/v1";
const RECORD_BYTES_MAX: u64 = 1 << 20;

/// Why a block was put aside, as it is kept in the bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuarantineRecord {
    /// The version of the record: 1.
    pub version: u32,
    /// The block.
    pub id: BlockId,
    /// What was to be done with it: `compact` or `downsample`.
    pub work: String,
    /// What is wrong with it, with the file and the place.
    pub error: String,
    /// When it was put aside, in seconds since the epoch.
    pub time: i64,
}

/// Which work a block is kept out of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeptOutOf {
    /// Compaction, and downsampling with it: it reads the same data.
    All,
    /// Downsampling.
    Downsampling,
}

/// Puts blocks of a bucket aside.
#[derive(Debug, Clone)]
pub struct Quarantine {
    bucket: Bucket,
    clock: Arc<dyn Clock>,
}

impl Quarantine {
    /// Returns the quarantine of `bucket`.
    pub fn new(bucket: Bucket, clock: Arc<dyn Clock>) -> Self {
        Self { bucket, clock }
    }

    /// Puts block `id` aside because of `error`; returns the kinds of marks that are new.
    ///
    /// The record comes first: a mark without a record says little, a record without a mark is written again.
    ///
    /// # Errors
    ///
    /// What the bucket reports; putting it aside again is no harm.
    pub async fn put_aside(&self, id: BlockId, kept: KeptOutOf, error: &Error) -> Result<()> {
        let now = self.clock.now();
        let record = QuarantineRecord {
            version: 1,
            id,
            work: match kept {
                KeptOutOf::All => "compact",
                KeptOutOf::Downsampling => "downsample",
            }
            .to_owned(),
            error: error.to_string(),
            time: now.as_millis().div_euclid(1000),
        };
        let text = serde_json::to_vec(&record).expect("strings and numbers are JSON");
        let object = format!("{QUARANTINE_DIRECTORY}/{id}.json");
        self.bucket.put(&object, text.into()).await?;
        let details = format!("quarantined: {error}");
        if kept == KeptOutOf::All {
            let mark = NoCompactMark::new(id, now, QUARANTINE_REASON, details.clone());
            mark_block(&self.bucket, &mark).await?;
        }
        mark_block(&self.bucket, &NoDownsampleMark::new(id, now, details)).await?;
        tracing::error!(block = %id, %error, "block was put into quarantine");
        Ok(())
    }

    /// Returns the records of all blocks that were put aside, by their ids.
    ///
    /// # Errors
    ///
    /// What the bucket reports. What is no record is left out.
    pub async fn records(&self) -> Result<Vec<QuarantineRecord>> {
        let mut records = Vec::new();
        for (object, _) in self.bucket.objects_under(QUARANTINE_DIRECTORY).await? {
            let text = self.bucket.read(&object, RECORD_BYTES_MAX).await?;
            match serde_json::from_slice(&text) {
                Ok(record) => records.push(record),
                Err(error) => tracing::warn!(object, %error, "record of a quarantine is damaged"),
            }
        }
        Ok(records)
    }

    /// Removes the record of a block that was looked at or is gone. The marks are removed as any others are.
    ///
    /// # Errors
    ///
    /// What the bucket reports.
    pub async fn forget(&self, id: BlockId) -> Result<()> {
        let object = format!("{QUARANTINE_DIRECTORY}/{id}.json");
        self.bucket.delete(&object).await
    }
}
