//! The shipper: uploads the blocks that a Prometheus, or another database on this disk, has written.
//!
//! A [`Shipper`] looks through a database directory, from the oldest block on, and uploads what the bucket does not have.
//! It reads from hard links, so that the database may compact or delete a block meanwhile. A block becomes visible by its
//! `meta.json`, which is uploaded last and only where there is none: whoever is killed at any moment and started again
//! neither loses a block nor publishes one twice.
//!
//! Sources: Thanos' `pkg/shipper/shipper.go`; rows SC-17 to SC-24 of the specification.

mod link;
mod metrics;
mod overlap;
mod record;
mod scan;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thanos_core::block::{BlockId, META_FILE, Meta, ThanosMeta};
use thanos_core::labels::Labels;
use thanos_core::{Error, Result};
use tokio::sync::Mutex;

pub use metrics::ShipperMetrics;
pub use record::{SHIPPER_FILE, ShipperRecord};

use crate::Bucket;
use crate::transfer::{UploadOptions, upload_block};
use link::Linked;
use overlap::Overlaps;
use scan::{Found, scan};

/// What users know from Thanos when a compacted block cannot be uploaded.
const OVERLAP: &str = "Found overlap or error during sync, cannot upload compacted block, details";

/// How a [`Shipper`] works. The defaults are those of `thanos sidecar`.
#[derive(Debug, Clone)]
pub struct ShipperOptions {
    /// What `meta.json` names as the source of its block: `sidecar`, `receive` or `rule`.
    pub source: String,
    /// The file in the database directory that says what was uploaded (`--shipper.meta-file-name`).
    pub record_file: String,
    /// Whether blocks that the database has compacted are uploaded, too (`--shipper.upload-compacted`). They must not
    /// overlap with what the bucket has of the same external labels.
    pub upload_compacted: bool,
    /// Whether newer blocks are uploaded when an older one could not be, and compacted ones without a look for overlaps
    /// (`--shipper.allow-out-of-order-uploads`).
    pub out_of_order_allowed: bool,
    /// Whether blocks that cannot be read are passed over (`--shipper.skip-corrupted-blocks`).
    pub skip_corrupted: bool,
    /// How blocks are uploaded.
    pub upload: UploadOptions,
    /// What is counted.
    pub metrics: ShipperMetrics,
}

impl Default for ShipperOptions {
    fn default() -> Self {
        Self {
            source: "sidecar".into(),
            record_file: SHIPPER_FILE.into(),
            upload_compacted: false,
            out_of_order_allowed: false,
            skip_corrupted: false,
            upload: UploadOptions::default(),
            metrics: ShipperMetrics::default(),
        }
    }
}

/// What one look through the directory has come to.
#[derive(Debug, Default)]
pub struct Shipped {
    /// The blocks that were uploaded, oldest data first.
    pub uploaded: Vec<BlockId>,
    /// The blocks that were uploaded before.
    pub already: Vec<BlockId>,
    /// The blocks that are not uploaded: those without samples, and compacted ones unless they are wanted.
    pub ignored: Vec<BlockId>,
    /// The blocks that could not be uploaded, and why; only when uploads may be out of order.
    pub failed: Vec<(BlockId, Error)>,
    /// The directories of blocks that cannot be read, and why; only when they are passed over.
    pub corrupted: Vec<(PathBuf, Error)>,
}

/// Uploads blocks from a database directory.
///
/// # Example
///
/// ```
/// use std::path::Path;
/// use thanos_bucket::Bucket;
/// use thanos_bucket::ship::{Shipper, ShipperOptions};
/// use thanos_core::labels::Labels;
///
/// async fn ship(bucket: Bucket, database: &Path) -> thanos_core::Result<()> {
///     let shipper = Shipper::new(bucket, database, ShipperOptions::default());
///     let external_labels = Labels::from_pairs([("cluster", "eu"), ("replica", "a")]);
///     for id in shipper.sync(&external_labels).await?.uploaded {
///         println!("uploaded {id}");
///     }
///     Ok(())
/// }
/// ```
#[derive(Debug)]
pub struct Shipper {
    bucket: Bucket,
    directory: PathBuf,
    options: Arc<ShipperOptions>,
    /// Held while the directory is looked through: two looks at once would upload a block twice.
    at_work: Mutex<()>,
}

impl Shipper {
    /// Returns a shipper of the blocks in `directory`.
    pub fn new(bucket: Bucket, directory: impl Into<PathBuf>, options: ShipperOptions) -> Self {
        Self {
            bucket,
            directory: directory.into(),
            options: Arc::new(options),
            at_work: Mutex::new(()),
        }
    }

    /// Returns what is counted.
    pub fn metrics(&self) -> &ShipperMetrics {
        &self.options.metrics
    }

    /// Looks through the directory once and uploads what the bucket does not have, with `external_labels`.
    ///
    /// Passed over are blocks without samples, those that were uploaded before, and, unless they are wanted, compacted
    /// ones. What was uploaded is recorded at once.
    ///
    /// # Errors
    ///
    /// The first block that cannot be read or uploaded, or overlaps with others, unless the options say to go on; and
    /// whatever the directory and the bucket report.
    pub async fn sync(&self, external_labels: &Labels) -> Result<Shipped> {
        let _at_work = self.at_work.lock().await;
        let outcome = self.look_through(external_labels).await;
        let metrics = &self.options.metrics;
        match &outcome {
            Ok(_) => metrics.dir_syncs.inc(),
            Err(_) => metrics.dir_sync_failures.inc(),
        };
        outcome
    }

    /// Reports whether all blocks of the directory are recorded as uploaded, whatever their level.
    ///
    /// # Errors
    ///
    /// What the file system reports, and blocks that cannot be read.
    pub async fn all_uploaded(&self) -> Result<bool> {
        let _at_work = self.at_work.lock().await;
        let found = self.scan().await?;
        if let Some((_, error)) = found.corrupted.into_iter().next() {
            return Err(error);
        }
        let recorded: HashSet<_> = self.recorded().await?.uploaded.into_iter().collect();
        let ids = found.blocks.iter().map(|meta| meta.ulid);
        Ok(ids.into_iter().all(|id| recorded.contains(&id)))
    }

    async fn look_through(&self, external_labels: &Labels) -> Result<Shipped> {
        let options = &*self.options;
        let found = self.scan().await?;
        let mut shipped = Shipped::default();
        if options.skip_corrupted {
            shipped.corrupted = found.corrupted;
        } else if let Some((_, error)) = found.corrupted.into_iter().next() {
            return Err(error);
        }
        self.remove_leftovers().await?;

        let before = self.recorded_or_empty().await;
        let before: HashSet<_> = before.uploaded.into_iter().collect();
        // Blocks that have gone from the directory leave the record.
        let mut record = ShipperRecord::default();
        let mut overlaps = Overlaps::new(self.bucket.clone(), external_labels.clone());
        let mut stopped = None;
        for meta in found.blocks {
            match self
                .ship(meta, &before, &mut overlaps, external_labels)
                .await
            {
                Ok(Step::PassedOver(id)) => shipped.ignored.push(id),
                Ok(Step::AlreadyThere(id)) => {
                    record.uploaded.push(id);
                    shipped.already.push(id);
                }
                Ok(Step::Uploaded(id)) => {
                    options.metrics.uploads.inc();
                    record.uploaded.push(id);
                    shipped.uploaded.push(id);
                    // Whoever is killed now need not ask the bucket about it again.
                    self.write_record(&record, &before).await;
                }
                Err((id, error)) if options.out_of_order_allowed => {
                    options.metrics.upload_failures.inc();
                    tracing::error!(block = %id, %error, "shipping failed");
                    shipped.failed.push((id, error));
                }
                Err((_, error)) => {
                    stopped = Some(error);
                    break;
                }
            }
        }
        if let Some(error) = stopped {
            return Err(error);
        }
        self.write_record(&record, &HashSet::new()).await;
        let corrupted = u64::try_from(shipped.corrupted.len()).unwrap_or(u64::MAX);
        options.metrics.corrupted_blocks.inc_by(corrupted);
        let is_whole = shipped.failed.is_empty() && shipped.corrupted.is_empty();
        options
            .metrics
            .upload_compacted_done
            .set(i64::from(options.upload_compacted && is_whole));
        Ok(shipped)
    }

    /// Uploads the block of `meta` unless there is a reason not to.
    async fn ship(
        &self,
        meta: Meta,
        before: &HashSet<BlockId>,
        overlaps: &mut Overlaps,
        external_labels: &Labels,
    ) -> std::result::Result<Step, (BlockId, Error)> {
        let id = meta.ulid;
        let failed = |error: Error| (id, error);
        if before.contains(&id) {
            // If the bucket does not have it any more, it was compacted there.
            return Ok(Step::AlreadyThere(id));
        }
        let is_compacted = meta.compaction.level > 1;
        if meta.stats.num_samples == 0 || (is_compacted && !self.options.upload_compacted) {
            return Ok(Step::PassedOver(id));
        }
        let object = format!("{id}/{META_FILE}");
        let is_there = self.bucket.exists(&object).await;
        if is_there.map_err(|error| failed(error.context("check exists")))? {
            return Ok(Step::AlreadyThere(id));
        }
        if is_compacted && !self.options.out_of_order_allowed {
            let checked = overlaps.check(&meta).await;
            checked.map_err(|error| failed(error.context(OVERLAP)))?;
        }
        let range = meta.clone();
        let uploaded = self.upload(meta, external_labels).await;
        uploaded.map_err(|error| failed(error.context(format!("upload {id}"))))?;
        overlaps.add(&range);
        Ok(Step::Uploaded(id))
    }

    async fn upload(&self, meta: Meta, external_labels: &Labels) -> Result<()> {
        tracing::info!(block = %meta.ulid, "upload new block");
        let meta = with_thanos(meta, external_labels, &self.options.source);
        let directory = self.directory.clone();
        let linked = self
            .blocking(move || Linked::new(&directory, &meta))
            .await?;
        let uploaded = upload_block(&self.bucket, linked.path(), &self.options.upload).await;
        self.blocking(move || linked.remove()).await?;
        uploaded.map(|_| ())
    }

    async fn scan(&self) -> Result<Found> {
        let directory = self.directory.clone();
        self.blocking(move || scan(&directory)).await
    }

    /// Removes what an upload that was cut off has left beside the blocks.
    async fn remove_leftovers(&self) -> Result<()> {
        let directory = self.directory.clone();
        self.blocking(move || link::remove_all(&directory)).await
    }

    fn record_path(&self) -> PathBuf {
        self.directory.join(&self.options.record_file)
    }

    async fn recorded(&self) -> Result<ShipperRecord> {
        let path = self.record_path();
        self.blocking(move || ShipperRecord::read(&path)).await
    }

    /// Returns what is recorded; a record that cannot be read only costs requests, as the bucket knows what it has.
    async fn recorded_or_empty(&self) -> ShipperRecord {
        match self.recorded().await {
            Ok(record) => record,
            Err(error) => {
                let path = self.record_path();
                tracing::warn!(file = %path.display(), %error, "no usable record of uploads, starting a new one");
                ShipperRecord::default()
            }
        }
    }

    /// Writes `record`, with what it does not know yet of `before`.
    async fn write_record(&self, record: &ShipperRecord, before: &HashSet<BlockId>) {
        let mut record = record.clone();
        let known: HashSet<_> = record.uploaded.iter().copied().collect();
        let mut rest: Vec<_> = before.difference(&known).copied().collect();
        rest.sort_unstable();
        record.uploaded.extend(rest);
        let path = self.record_path();
        let written = self.blocking(move || record.write(&path)).await;
        if let Err(error) = written {
            tracing::warn!(%error, "updating the record of uploads failed");
        }
    }

    /// Does work on files where it holds nobody up.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.options.upload.compute.run(work).await?
    }
}

/// What became of a block.
enum Step {
    PassedOver(BlockId),
    AlreadyThere(BlockId),
    Uploaded(BlockId),
}

/// Returns `meta` with the section that Thanos adds.
fn with_thanos(mut meta: Meta, external_labels: &Labels, source: &str) -> Meta {
    let thanos = meta.thanos.get_or_insert_with(ThanosMeta::default);
    thanos.version = 1;
    for (name, value) in external_labels.iter() {
        thanos.labels.insert(name.into_owned(), value.into_owned());
    }
    source.clone_into(&mut thanos.source);
    meta
}

/// Names what is wrong with the directory of a block.
fn in_directory(error: Error, directory: &Path) -> Error {
    error.in_file(directory.display().to_string())
}
