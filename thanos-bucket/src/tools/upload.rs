//! Uploading the blocks of a local directory, as a sidecar would, once.
//!
//! See [`crate::ship`] for doing so again and again.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;
use thanos_core::block::BlockId;
use thanos_core::labels::Labels;
use thanos_core::time::{Clock, SystemClock};
use thanos_core::{Error, Result};

use crate::Bucket;
use crate::compute::Compute;
use crate::ship::{Shipper, ShipperOptions};
use crate::transfer::UploadOptions;

/// The `thanos.source` of an uploaded block.
const SOURCE: &str = "bucket.upload";

/// How blocks are uploaded.
#[derive(Debug, Clone)]
pub struct UploadBlocksOptions {
    /// The directory of blocks.
    pub path: PathBuf,
    /// The external labels that the blocks get.
    pub labels: BTreeMap<String, String>,
    /// Whether blocks that were compacted are uploaded too.
    pub upload_compacted: bool,
    /// How many files of a block are on their way at once.
    pub concurrency: usize,
    /// Where the time comes from.
    pub clock: Arc<dyn Clock>,
    /// Where checksums are computed.
    pub compute: Compute,
}

impl UploadBlocksOptions {
    /// Returns the options that give the blocks in `path` the external `labels`.
    pub fn new(path: PathBuf, labels: BTreeMap<String, String>) -> Self {
        Self {
            path,
            labels,
            upload_compacted: false,
            concurrency: 5,
            clock: Arc::new(SystemClock),
            compute: Compute::per_core(),
        }
    }
}

/// What was done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Uploaded {
    /// Blocks that were uploaded, in their order.
    pub uploaded: Vec<BlockId>,
    /// Blocks that were uploaded before.
    pub already: Vec<BlockId>,
    /// Blocks that are not uploaded: those without samples, and compacted ones.
    pub ignored: Vec<BlockId>,
}

/// Uploads the blocks of a directory that were not uploaded yet, the oldest first.
///
/// # Errors
///
/// `Invalid` without labels, and when a compacted block covers the time of blocks in the bucket; `Corrupt` when a block
/// is damaged; what the bucket and the file system report. Blocks before that one are uploaded, and remembered.
pub async fn upload_blocks(bucket: &Bucket, options: &UploadBlocksOptions) -> Result<Uploaded> {
    if options.labels.is_empty() {
        return Err(Error::invalid(
            "no external labels configured, uniquely identifying external labels must be configured; see \
             https://thanos.io/tip/thanos/storage.md#external-labels for details.",
        ));
    }
    let upload = UploadOptions {
        concurrency: options.concurrency,
        clock: Arc::clone(&options.clock),
        compute: options.compute.clone(),
        ..UploadOptions::default()
    };
    let shipper = ShipperOptions {
        source: SOURCE.into(),
        upload_compacted: options.upload_compacted,
        upload,
        ..ShipperOptions::default()
    };
    let shipper = Shipper::new(bucket.clone(), &options.path, shipper);
    let labels = Labels::from_pairs(&options.labels);
    let shipped = shipper.sync(&labels).await?;
    Ok(Uploaded {
        uploaded: shipped.uploaded,
        already: shipped.already,
        ignored: shipped.ignored,
    })
}
