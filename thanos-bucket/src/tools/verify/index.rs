//! Disorder in an index: told from the index alone, repaired with the whole block.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thanos_core::block::{
    Block, BlockId, HealthStats, INDEX_FILE, Meta, RepairOptions, RepairedFaults, repair_block,
};
use thanos_core::budget::MemoryBudget;
use thanos_core::{Error, Result};

use super::backup::back_up_and_remove;
use super::{Finding, Issue, Outcome, RepairInto, VerifyOptions};
use crate::Bucket;
use crate::fetch::BlockEntry;
use crate::tools::new_block_id;
use crate::transfer::{
    DownloadOptions, UploadOptions, download_block, download_file, upload_block,
};

/// The `thanos.source` of a repaired block.
const SOURCE: &str = "bucket.repair";

pub(super) async fn verify(
    bucket: &Bucket,
    blocks: &BTreeMap<BlockId, Arc<BlockEntry>>,
    options: &VerifyOptions,
    tell: &mut impl FnMut(Finding),
) -> Result<()> {
    for (id, entry) in blocks {
        if options.ids.as_ref().is_some_and(|ids| !ids.contains(id)) {
            continue;
        }
        let work = WorkDir::create(options.work_dir.join(format!("verify-{id}")))?;
        let Err(problem) = check_index(bucket, &entry.meta, &work.path, options).await? else {
            continue;
        };
        let outcome = match &options.repair {
            None => Outcome::Reported,
            Some(into) => match repair(bucket, &entry.meta, &work.path, into, options).await {
                Ok(new) => Outcome::Repaired { new },
                Err(error) => Outcome::Failed {
                    error: error.to_string(),
                },
            },
        };
        tell(Finding {
            issue: Issue::IndexKnownIssues,
            group: None,
            blocks: vec![*id],
            problem: problem.message().to_owned(),
            outcome,
        });
    }
    Ok(())
}

/// Downloads the index and returns what is wrong with it. An index that cannot be had is an error of its own.
async fn check_index(
    bucket: &Bucket,
    meta: &Meta,
    dir: &Path,
    options: &VerifyOptions,
) -> Result<Result<()>> {
    let object = format!("{}/{INDEX_FILE}", meta.ulid);
    let downloaded = download_file(bucket, &object, dir.join(INDEX_FILE)).await;
    downloaded.map_err(|error| error.context(format_args!("download index file {object}")))?;
    let (dir, meta) = (dir.to_owned(), meta.clone());
    let checked = options.compute.run(move || {
        let health = HealthStats::of_index_in(&dir, &meta);
        let named = |error: Error| error.context(format_args!("gather index issues {}", meta.ulid));
        health.map_err(named)?.check_any()
    });
    checked.await
}

/// Replaces the block by a repaired one; returns that, unless nothing is left.
async fn repair(
    bucket: &Bucket,
    meta: &Meta,
    dir: &Path,
    into: &RepairInto,
    options: &VerifyOptions,
) -> Result<Option<BlockId>> {
    let id = meta.ulid;
    if meta.resolution_ms() > 0 {
        return Err(Error::invalid("cannot repair downsampled blocks"));
    }
    let old = dir.join(id.to_string());
    let downloads = DownloadOptions {
        compute: options.compute.clone(),
        ..DownloadOptions::default()
    };
    let downloaded = download_block(bucket, id, &old, &downloads).await;
    downloaded.map_err(|error| error.context(format_args!("download block {id}")))?;
    let (parent, source, new) = (dir.to_owned(), old.clone(), new_block_id(&*options.clock));
    let repaired = options.compute.run(move || {
        let options = RepairOptions {
            id: new,
            source: SOURCE.to_owned(),
            faults: RepairedFaults::ALL,
            budget: MemoryBudget::unlimited(),
        };
        repair_block(&Block::open(&source)?, &parent, &options)
    });
    let named = |error: Error| error.context(format_args!("repair failed for block {id}"));
    let repaired = repaired.await?.map_err(named)?;
    let uploads = UploadOptions {
        clock: Arc::clone(&options.clock),
        compute: options.compute.clone(),
        ..UploadOptions::default()
    };
    let new = repaired.meta.map(|meta| meta.ulid);
    if let Some(new) = new {
        let uploaded = upload_block(bucket, &dir.join(new.to_string()), &uploads).await;
        uploaded.map_err(|error| error.context(format_args!("upload of {new} failed")))?;
    }
    let removed = back_up_and_remove(bucket, id, &old, into, options).await;
    removed.map_err(|error| error.context(format_args!("safe deleting old block {id} failed")))?;
    Ok(new)
}

/// A directory that is removed when it is not needed any more.
pub(super) struct WorkDir {
    pub(super) path: PathBuf,
}

impl WorkDir {
    pub(super) fn create(path: PathBuf) -> Result<Self> {
        let named = |error: std::io::Error| Error::from(error).in_file(path.display().to_string());
        match std::fs::remove_dir_all(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(named(error)),
            _ => {}
        }
        std::fs::create_dir_all(&path).map_err(named)?;
        Ok(Self { path })
    }
}

impl Drop for WorkDir {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            tracing::warn!(dir = %self.path.display(), %error, "failed to delete dir");
        }
    }
}
