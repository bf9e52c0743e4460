//! Uploading the blocks of a local directory, as a sidecar would, once.
//!
//! Source: Thanos `pkg/shipper`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thanos_core::block::{BlockId, META_FILE, Meta, write_file_atomic};
use thanos_core::time::{Clock, SystemClock};
use thanos_core::{Error, Result};

use super::list::list_blocks;
use super::overlaps::overlapping_blocks;
use crate::Bucket;
use crate::compute::Compute;
use crate::fetch::{BlockEntry, FetchOptions};
use crate::transfer::{UploadOptions, upload_block};

/// The file in the directory of blocks that remembers which of them were uploaded.
pub const SHIPPER_FILE: &str = "thanos.shipper.json";
/// Where blocks are put together for an upload, under the directory of blocks.
const STAGING: &str = "thanos/upload";
/// The `thanos.source` of an uploaded block.
const SOURCE: &str = "bucket.upload";
const SHIPPER_VERSION: u32 = 1;
/// It lists one id for each local block.
const SHIPPER_BYTES_MAX: u64 = 16 << 20;

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

/// What [`SHIPPER_FILE`] holds.
#[derive(Debug, Default, Serialize, Deserialize)]
struct ShipperFile {
    version: u32,
    #[serde(default)]
    uploaded: Option<Vec<BlockId>>,
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
    let metas = local_blocks(&options.path)?;
    let known = read_shipper_file(&options.path);
    let mut done = Uploaded::default();
    let outcome = upload_all(bucket, &metas, &known, options, &mut done).await;
    let remembered: Vec<BlockId> = metas.iter().map(|meta| meta.ulid).collect();
    let is_there = |id: &BlockId| done.uploaded.contains(id) || done.already.contains(id);
    let remembered = remembered.into_iter().filter(is_there).collect();
    write_shipper_file(&options.path, remembered)?;
    outcome.map(|()| done)
}

async fn upload_all(
    bucket: &Bucket,
    metas: &[Meta],
    known: &BTreeSet<BlockId>,
    options: &UploadBlocksOptions,
    done: &mut Uploaded,
) -> Result<()> {
    for meta in metas {
        let id = meta.ulid;
        if known.contains(&id) {
            done.already.push(id);
            continue;
        }
        let is_compacted = meta.compaction.level > 1;
        if meta.stats.num_samples == 0 || (is_compacted && !options.upload_compacted) {
            done.ignored.push(id);
            continue;
        }
        if bucket.exists(&format!("{id}/{META_FILE}")).await? {
            done.already.push(id);
            continue;
        }
        let meta = labelled(meta, options);
        if is_compacted {
            check_overlaps(bucket, &meta).await?;
        }
        let uploaded = upload(bucket, &meta, options).await;
        uploaded.map_err(|error| error.context(format_args!("upload {id}")))?;
        done.uploaded.push(id);
    }
    Ok(())
}

fn labelled(meta: &Meta, options: &UploadBlocksOptions) -> Meta {
    let mut meta = meta.clone();
    let thanos = meta.thanos.get_or_insert_default();
    let labels = options.labels.iter();
    thanos
        .labels
        .extend(labels.map(|(name, value)| (name.clone(), value.clone())));
    SOURCE.clone_into(&mut thanos.source);
    thanos.version = 1;
    meta
}

/// Checks that a compacted block covers no time of its group in the bucket.
async fn check_overlaps(bucket: &Bucket, meta: &Meta) -> Result<()> {
    let listing = list_blocks(bucket, FetchOptions::default(), &[]).await?;
    let mut blocks = listing.blocks;
    blocks.insert(meta.ulid, Arc::new(BlockEntry::new(meta.clone(), None)));
    let is_ours = |entry: &Arc<BlockEntry>| entry.meta.ulid == meta.ulid;
    let overlap = overlapping_blocks(&blocks)
        .into_iter()
        .find(|overlap| overlap.blocks.iter().any(is_ours));
    match overlap {
        None => Ok(()),
        Some(overlap) => Err(Error::invalid(format!(
            "Found overlap or error during sync, cannot upload compacted block, details: shipping compacted block {} \
             is blocked; overlap spotted: {overlap}",
            meta.ulid
        ))),
    }
}

/// Uploads a block with its new `meta.json` from a directory of links, because the original is left as it is.
async fn upload(bucket: &Bucket, meta: &Meta, options: &UploadBlocksOptions) -> Result<()> {
    let (from, staging) = (
        options.path.join(meta.ulid.to_string()),
        options.path.join(STAGING).join(meta.ulid.to_string()),
    );
    stage(&from, &staging, meta)?;
    let uploads = UploadOptions {
        concurrency: options.concurrency,
        clock: Arc::clone(&options.clock),
        compute: options.compute.clone(),
        ..UploadOptions::default()
    };
    let uploaded = upload_block(bucket, &staging, &uploads).await;
    if let Err(error) = std::fs::remove_dir_all(&staging) {
        tracing::error!(dir = %staging.display(), %error, "failed to clean upload directory");
    }
    uploaded.map(drop)
}

fn stage(from: &Path, to: &Path, meta: &Meta) -> Result<()> {
    if to.exists() {
        std::fs::remove_dir_all(to).map_err(|error| named(error, to))?;
    }
    let chunks = to.join("chunks");
    std::fs::create_dir_all(&chunks).map_err(|error| named(error, &chunks))?;
    link(&from.join("index"), &to.join("index"))?;
    let segments = from.join("chunks");
    for entry in std::fs::read_dir(&segments).map_err(|error| named(error, &segments))? {
        let entry = entry.map_err(|error| named(error, &segments))?;
        link(&entry.path(), &chunks.join(entry.file_name()))?;
    }
    meta.write_dir(to)
}

/// Links a file, or copies it where the file system knows no links.
fn link(from: &Path, to: &Path) -> Result<()> {
    let linked = std::fs::hard_link(from, to);
    linked
        .or_else(|_| std::fs::copy(from, to).map(drop))
        .map_err(|error| named(error, from))
}

/// Returns the blocks of the directory, the oldest first.
fn local_blocks(path: &Path) -> Result<Vec<Meta>> {
    let unable = |error: std::io::Error| {
        named(error, path).context(format!("unable to access path '{}'", path.display()))
    };
    let mut metas = Vec::new();
    for entry in std::fs::read_dir(path).map_err(unable)? {
        let entry = entry.map_err(unable)?;
        let is_block = entry
            .file_name()
            .to_str()
            .is_some_and(|name| name.parse::<BlockId>().is_ok());
        if is_block && entry.path().is_dir() {
            metas.push(Meta::read_dir(&entry.path())?);
        }
    }
    metas.sort_by_key(|meta| (meta.min_time, meta.ulid));
    Ok(metas)
}

/// Returns the blocks that were uploaded before. A file that cannot be read only costs questions to the bucket.
fn read_shipper_file(path: &Path) -> BTreeSet<BlockId> {
    let file = path.join(SHIPPER_FILE);
    let read = || -> Result<ShipperFile> {
        let len = std::fs::metadata(&file)?.len();
        if len > SHIPPER_BYTES_MAX {
            return Err(Error::limit_exceeded(format!(
                "file of {len} bytes is too large"
            )));
        }
        let text = std::fs::read(&file)?;
        let found: ShipperFile =
            serde_json::from_slice(&text).map_err(|error| Error::corrupt(error.to_string()))?;
        match found.version {
            SHIPPER_VERSION => Ok(found),
            other => Err(Error::invalid(format!(
                "unexpected meta file version {other}"
            ))),
        }
    };
    match read() {
        Ok(found) => found.uploaded.unwrap_or_default().into_iter().collect(),
        Err(error) => {
            if error.kind() != thanos_core::ErrorKind::NotFound {
                tracing::error!(file = %file.display(), %error, "failed to read meta file, an empty one is written later");
            }
            BTreeSet::new()
        }
    }
}

fn write_shipper_file(path: &Path, uploaded: Vec<BlockId>) -> Result<()> {
    let file = ShipperFile {
        version: SHIPPER_VERSION,
        uploaded: Some(uploaded).filter(|uploaded| !uploaded.is_empty()),
    };
    let mut text = Vec::new();
    let layout = serde_json::ser::PrettyFormatter::with_indent(b"\t");
    let mut serializer = serde_json::Serializer::with_formatter(&mut text, layout);
    let written = file.serialize(&mut serializer);
    written.map_err(|error| Error::internal(error.to_string()))?;
    text.push(b'\n');
    write_file_atomic(&path.join(SHIPPER_FILE), &text)
}

fn named(error: std::io::Error, path: &Path) -> Error {
    Error::from(error).in_file(path.display().to_string())
}
