//! Rewriting a block of a bucket: downloaded, rewritten, uploaded under a new name.
//!
//! The old block stays unless it is asked to go: then it is marked for deletion once the new one is there. What is
//! changed is written to `change.log` beside the new block, which is not uploaded.

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;
use thanos_core::block::{Block, BlockId, BlockWriterOptions, DeletionMark, Intervals, Meta};
use thanos_core::budget::MemoryBudget;
use thanos_core::labels::LabelsRef;
use thanos_core::rewrite::{
    ChangeLog, Changes, NoLog, RewriteOptions, RewriteRules, RewriteStats, preview_rewrite,
    rewrite_block,
};
use thanos_core::time::{Clock, SystemClock};
use thanos_core::{Error, Result};

use super::new_block_id;
use crate::Bucket;
use crate::compute::Compute;
use crate::transfer::{
    DownloadOptions, HashFunc, UploadOptions, download_block, mark_block, upload_block,
};

/// The `thanos.source` of a rewritten block.
const SOURCE: &str = "bucket.rewrite";
/// What the deletion mark of the old block says.
const DETAILS: &str = "block rewritten";
/// The name of the change log.
const CHANGE_LOG: &str = "change.log";

/// Whether anything is written to the bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RewriteMode {
    /// It only tells what it would change.
    #[default]
    DryRun,
    /// The new block is uploaded.
    Upload,
    /// And the old one is marked for deletion.
    Replace,
}

/// How blocks are rewritten.
#[derive(Debug, Clone)]
pub struct RewriteBlocksOptions {
    /// What is changed.
    pub rules: RewriteRules,
    /// Whether anything is written to the bucket.
    pub mode: RewriteMode,
    /// Where blocks are downloaded to and written.
    pub work_dir: PathBuf,
    /// Whether changes are logged.
    pub change_log: bool,
    /// Whether blocks may have no external labels: those of a Prometheus without Thanos.
    pub without_labels_allowed: bool,
    /// Which checksums go into the new `meta.json`.
    pub hash: HashFunc,
    /// Counts the series that are done, while it is at work.
    pub progress: Arc<AtomicU64>,
    /// Where memory for series that move is leased.
    pub budget: MemoryBudget,
    /// Where the time comes from.
    pub clock: Arc<dyn Clock>,
    /// Where blocks are read and written.
    pub compute: Compute,
}

impl RewriteBlocksOptions {
    /// Returns the options of a dry run of `rules` with `work_dir` for what is downloaded.
    pub fn new(rules: RewriteRules, work_dir: PathBuf) -> Self {
        Self {
            rules,
            mode: RewriteMode::default(),
            work_dir,
            change_log: true,
            without_labels_allowed: false,
            hash: HashFunc::None,
            progress: Arc::default(),
            budget: MemoryBudget::unlimited(),
            clock: Arc::new(SystemClock),
            compute: Compute::per_core(),
        }
    }
}

/// What became of a block.
#[derive(Debug, Clone, PartialEq)]
pub struct RewrittenBlock {
    /// The old block.
    pub source: BlockId,
    /// The name of the new one.
    pub new: BlockId,
    /// What the new one says of itself; `None` in a dry run, and when nothing is left of the block.
    pub meta: Option<Meta>,
    /// What was changed, or would be.
    pub stats: RewriteStats,
    /// Where the changes are logged.
    pub change_log: Option<PathBuf>,
}

/// Rewrites the block `id` of `bucket`.
///
/// # Errors
///
/// As [`rewrite_block`]; what the bucket and the file system report. The old block is untouched then.
pub async fn rewrite_block_in(
    bucket: &Bucket,
    id: BlockId,
    options: &RewriteBlocksOptions,
) -> Result<RewrittenBlock> {
    let source = options.work_dir.join(id.to_string());
    let downloads = DownloadOptions {
        compute: options.compute.clone(),
        ..DownloadOptions::default()
    };
    let downloaded = download_block(bucket, id, &source, &downloads).await;
    downloaded.map_err(|error| error.context(format_args!("download {id}")))?;
    let (new, mine) = (new_block_id(&*options.clock), options.clone());
    let work = options.compute.run(move || at_work(&source, new, &mine));
    let named = |error: Error| error.context(format_args!("writing series from {id} to {new}"));
    let (meta, stats, change_log) = work.await?.map_err(named)?;
    if let Some(meta) = &meta {
        upload(bucket, meta, options).await?;
    }
    if options.mode == RewriteMode::Replace {
        let mark = DeletionMark::new(id, options.clock.now(), DETAILS);
        mark_block(bucket, &mark).await?;
    }
    Ok(RewrittenBlock {
        source: id,
        new,
        meta,
        stats,
        change_log,
    })
}

async fn upload(bucket: &Bucket, meta: &Meta, options: &RewriteBlocksOptions) -> Result<()> {
    let uploads = UploadOptions {
        hash: options.hash,
        without_labels_allowed: options.without_labels_allowed,
        clock: Arc::clone(&options.clock),
        compute: options.compute.clone(),
        ..UploadOptions::default()
    };
    let dir = options.work_dir.join(meta.ulid.to_string());
    let uploaded = upload_block(bucket, &dir, &uploads).await;
    uploaded.map_err(|error| error.context("upload")).map(drop)
}

type Written = (Option<Meta>, RewriteStats, Option<PathBuf>);

/// Writes the new block and its log.
fn at_work(source: &Path, new: BlockId, options: &RewriteBlocksOptions) -> Result<Written> {
    let block = Block::open(source)?;
    if !options.change_log {
        let (meta, stats) = rewrite(&block, new, options, NoLog).map(|(done, _)| done)?;
        return Ok((meta, stats, None));
    }
    // The directory of the new block appears as a whole; its log is put there afterwards.
    let unfinished = options.work_dir.join(format!("{new}.{CHANGE_LOG}"));
    let in_log =
        |error: std::io::Error| Error::from(error).in_file(unfinished.display().to_string());
    let file = File::create(&unfinished).map_err(in_log)?;
    let log = ChangeLog::new(BufWriter::new(file));
    let ((meta, stats), log) = rewrite(&block, new, options, log)?;
    let flushed = log.into_inner().into_inner();
    flushed.map_err(|error| in_log(error.into_error()))?;
    let dir = options.work_dir.join(new.to_string());
    std::fs::create_dir_all(&dir).map_err(in_log)?;
    std::fs::rename(&unfinished, dir.join(CHANGE_LOG)).map_err(in_log)?;
    Ok((meta, stats, Some(dir.join(CHANGE_LOG))))
}

fn rewrite<C: Changes>(
    block: &Block,
    new: BlockId,
    options: &RewriteBlocksOptions,
    log: C,
) -> Result<((Option<Meta>, RewriteStats), C)> {
    let mut changes = Counted {
        log,
        progress: &options.progress,
    };
    let done = match options.mode {
        RewriteMode::DryRun => {
            let stats = preview_rewrite(block, &options.rules, &options.budget, &mut changes)?;
            (None, stats)
        }
        RewriteMode::Upload | RewriteMode::Replace => {
            let rewrite = RewriteOptions {
                block: BlockWriterOptions::new(new),
                source: SOURCE.to_owned(),
                budget: options.budget.clone(),
            };
            rewrite_block(
                block,
                &options.work_dir,
                &rewrite,
                &options.rules,
                &mut changes,
            )?
        }
    };
    Ok((done, changes.log))
}

/// Counts what goes through to a log.
struct Counted<'a, C> {
    log: C,
    progress: &'a AtomicU64,
}

impl<C: Changes> Changes for Counted<'_, C> {
    fn deleted(&mut self, labels: LabelsRef<'_>, intervals: &Intervals) -> Result<()> {
        self.log.deleted(labels, intervals)
    }

    fn relabelled(&mut self, old: LabelsRef<'_>, new: LabelsRef<'_>) -> Result<()> {
        self.log.relabelled(old, new)
    }

    fn processed(&mut self, series: u64) -> Result<()> {
        self.progress.fetch_add(series, Ordering::Relaxed);
        self.log.processed(series)
    }
}

/// What programs are told of a rewritten block.
impl Serialize for RewrittenBlock {
    fn serialize<S: serde::Serializer>(
        &self,
        serializer: S,
    ) -> std::result::Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let mut out = serializer.serialize_struct("RewrittenBlock", 8)?;
        out.serialize_field("source", &self.source)?;
        out.serialize_field("new", &self.meta.as_ref().map(|meta| meta.ulid))?;
        out.serialize_field("series", &self.stats.series)?;
        out.serialize_field("relabelled_series", &self.stats.relabelled_series)?;
        out.serialize_field("deleted_series", &self.stats.deleted_series)?;
        out.serialize_field("cut_series", &self.stats.cut_series)?;
        out.serialize_field("merged_series", &self.stats.merged_series)?;
        out.serialize_field("change_log", &self.change_log)?;
        out.end()
    }
}
