//! Uploading: chunk files, then the index, then `meta.json`.
//!
//! An upload has two halves, so that something can be decided in between: [`stage_block`] brings everything that readers
//! do not see, [`publish_block`] makes it a block.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use thanos_core::block::{BlockFile, BlockId, INDEX_FILE, META_FILE, Meta, UploadTime};
use thanos_core::{Error, ErrorKind, Result};

use super::{META_BYTES_MAX, UploadOptions, files};
use crate::Bucket;
use crate::bucket::PutCondition;

/// Clouds take no smaller parts.
const PART_BYTES_MIN: u64 = 5 << 20;
/// More parts than this no cloud takes; larger files get larger parts.
const PARTS_MAX: u64 = 10_000;

/// Uploads the block in the directory `dir`, whose name is its id; returns its `meta.json` as it was published.
///
/// Only `chunks/*`, `index` and `meta.json` are uploaded, and `meta.json` only where there is none: two uploads of one
/// block publish it once. A block that is there already with the same contents is left as it is.
///
/// # Errors
///
/// `Invalid` when `dir` is no block directory, when the block has no external labels and must have some, and when the
/// bucket has another block of this name; otherwise what the file system and the bucket report. What was uploaded is
/// removed again, as far as that is possible, unless it may already be visible.
pub async fn upload_block(bucket: &Bucket, dir: &Path, options: &UploadOptions) -> Result<Meta> {
    let meta = checked_meta(dir, options)?;
    if let Some(published) = published(bucket, meta.ulid).await? {
        return same_block(&meta, published);
    }
    let staged = stage_block(bucket, dir, options).await?;
    publish_block(bucket, &staged).await
}

/// Uploads what belongs to the block in the directory `dir` but its `meta.json`; returns the one to publish.
///
/// # Errors
///
/// As for [`upload_block`]. What was uploaded is removed again, as far as that is possible.
pub async fn stage_block(bucket: &Bucket, dir: &Path, options: &UploadOptions) -> Result<Meta> {
    let meta = checked_meta(dir, options)?;
    let (gathered_in, hash) = (dir.to_owned(), options.hash);
    let gathered = options
        .compute
        .run(move || files::gather(&gathered_in, hash))
        .await?;
    let found = gathered.map_err(|error| error.context("gather meta file stats"))?;
    if let Err(error) = send_files(bucket, dir, meta.ulid, &found, options).await {
        remove_staged(bucket, meta.ulid, &found).await;
        return Err(error);
    }
    Ok(staged(meta, found, options))
}

/// Uploads the index of the block in the directory `dir`, of which `segments` are in the bucket already; returns the
/// `meta.json` to publish.
///
/// # Errors
///
/// As for [`stage_block`]; the segments are then removed, too.
pub(crate) async fn stage_index(
    bucket: &Bucket,
    dir: &Path,
    segments: Vec<BlockFile>,
    options: &UploadOptions,
) -> Result<Meta> {
    let meta = checked_meta(dir, options)?;
    let (gathered_in, hash) = (dir.to_owned(), options.hash);
    let gathered = options
        .compute
        .run(move || files::gather_with(segments, &gathered_in, hash))
        .await?;
    let found = gathered.map_err(|error| error.context("gather meta file stats"))?;
    if let Err(error) = send_index(bucket, dir, meta.ulid, &found, options).await {
        remove_staged(bucket, meta.ulid, &found).await;
        return Err(error);
    }
    Ok(staged(meta, found, options))
}

/// Returns the `meta.json` of a block with the files `found`.
fn staged(mut meta: Meta, found: Vec<BlockFile>, options: &UploadOptions) -> Meta {
    let thanos = meta.thanos.get_or_insert_default();
    thanos.segment_files = found
        .iter()
        .filter_map(|file| file.rel_path.strip_prefix("chunks/").map(str::to_owned))
        .collect();
    thanos.files = found;
    thanos.upload_time = UploadTime::at(options.clock.now());
    meta
}

/// Makes a block of what [`stage_block`] uploaded: writes its `meta.json` where there is none; returns the published one.
///
/// # Errors
///
/// `Invalid` when the bucket has another block of this name; `Unavailable` when nobody knows whether the block is
/// visible now: then nothing may be removed, and publishing again is safe.
pub async fn publish_block(bucket: &Bucket, meta: &Meta) -> Result<Meta> {
    publish(bucket, meta).await.map(|published| published.meta)
}

/// A visible block.
#[derive(Debug)]
pub(crate) struct PublishedBlock {
    /// Its `meta.json`.
    pub(crate) meta: Meta,
    /// Whether it is known that nobody else has made it visible.
    pub(crate) is_ours: bool,
}

/// Does what [`publish_block`] does, and says who has done it.
///
/// # Errors
///
/// As [`publish_block`].
pub(crate) async fn publish(bucket: &Bucket, meta: &Meta) -> Result<PublishedBlock> {
    let of = |meta: Meta, is_ours| PublishedBlock { meta, is_ours };
    let object = meta_object(meta.ulid);
    let text = Bytes::from(meta.to_json());
    let written = match bucket
        .put_if(&object, text.clone(), PutCondition::Absent)
        .await
    {
        // The store knows no conditions.
        Err(error) if error.kind() == ErrorKind::Invalid => {
            bucket.put(&object, text).await.map(|()| true)
        }
        Err(error) => Err(error),
        Ok(version) => Ok(version.is_some()),
    };
    let why = match written {
        Ok(true) => return Ok(of(meta.clone(), true)),
        Ok(false) => Error::unavailable("meta.json is there and is not there").in_file(object),
        Err(error) => error.context("upload meta file"),
    };
    // An answer that got lost is no write that got lost.
    match published(bucket, meta.ulid).await? {
        Some(found) => same_block(meta, found).map(|found| of(found, false)),
        None => Err(why),
    }
}

/// Returns the `meta.json` of the block in the bucket, or nothing where it is not visible.
async fn published(bucket: &Bucket, id: BlockId) -> Result<Option<Meta>> {
    let object = meta_object(id);
    let reader = bucket.clone().expecting_missing().past_caches();
    match reader.read(&object, META_BYTES_MAX).await {
        Ok(text) => Meta::parse(&text)
            .map(Some)
            .map_err(|error| error.in_file(object)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Returns `found` when it is the same block as `wanted`.
fn same_block(wanted: &Meta, found: Meta) -> Result<Meta> {
    let same = wanted.ulid == found.ulid
        && wanted.stats == found.stats
        && (wanted.min_time, wanted.max_time) == (found.min_time, found.max_time)
        && wanted.compaction == found.compaction
        && wanted.external_labels() == found.external_labels()
        && wanted.resolution_ms() == found.resolution_ms();
    if same {
        return Ok(found);
    }
    let message = "the bucket has another block of this name";
    Err(Error::invalid(message).in_file(meta_object(wanted.ulid)))
}

fn meta_object(id: BlockId) -> String {
    format!("{id}/{META_FILE}")
}

/// Returns the `meta.json` of the block directory once everything that is demanded of it holds.
fn checked_meta(dir: &Path, options: &UploadOptions) -> Result<Meta> {
    let in_dir = |error: Error| error.in_file(dir.display().to_string());
    if !dir.is_dir() {
        return Err(in_dir(Error::invalid("not a directory")));
    }
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    let id: BlockId = name
        .parse()
        .map_err(|error: Error| in_dir(error.context("not a block dir")))?;
    let meta = Meta::read_dir(dir).map_err(|error| error.context("read meta"))?;
    if meta.ulid != id {
        let message = format!("meta.json is of block {}", meta.ulid);
        return Err(in_dir(Error::invalid(message)));
    }
    let has_labels = meta
        .thanos
        .as_ref()
        .is_some_and(|thanos| !thanos.labels.is_empty());
    if !has_labels && !options.without_labels_allowed {
        let message = "empty external labels are not allowed for Thanos block.";
        return Err(Error::invalid(message));
    }
    Ok(meta)
}

/// Sends the chunk files at once and then the index.
async fn send_files(
    bucket: &Bucket,
    dir: &Path,
    id: BlockId,
    found: &[BlockFile],
    options: &UploadOptions,
) -> Result<()> {
    let chunks = found
        .iter()
        .filter(|file| file.rel_path.starts_with("chunks/"));
    let chunks: Vec<BlockFile> = chunks.cloned().collect();
    stream::iter(chunks)
        .map(|file| async move { send_file(bucket, dir, id, &file, options).await })
        .buffer_unordered(options.concurrency.max(1))
        .try_collect::<()>()
        .await
        .map_err(|error| error.context("upload chunks"))?;
    send_index(bucket, dir, id, found, options).await
}

async fn send_index(
    bucket: &Bucket,
    dir: &Path,
    id: BlockId,
    found: &[BlockFile],
    options: &UploadOptions,
) -> Result<()> {
    let index = found.iter().find(|file| file.rel_path == INDEX_FILE);
    let index = index.ok_or_else(|| Error::internal("a block without an index"))?;
    send_file(bucket, dir, id, index, options)
        .await
        .map_err(|error| error.context("upload index"))
}

async fn send_file(
    bucket: &Bucket,
    dir: &Path,
    id: BlockId,
    file: &BlockFile,
    options: &UploadOptions,
) -> Result<()> {
    let object = format!("{id}/{}", file.rel_path);
    let path = dir.join(&file.rel_path);
    let part_bytes = options
        .part_bytes
        .max(PART_BYTES_MIN)
        .max(file.size_bytes.div_ceil(PARTS_MAX));
    let parts = file_parts(path, file.size_bytes, part_bytes);
    if file.size_bytes > part_bytes {
        return bucket.put_parts(&object, parts).await;
    }
    futures::pin_mut!(parts);
    let whole = parts.try_next().await?.unwrap_or_default();
    bucket.put(&object, whole).await
}

/// Returns the first `size` bytes of a file in parts, each read when it is asked for.
fn file_parts(path: PathBuf, size: u64, part_bytes: u64) -> impl Stream<Item = Result<Bytes>> {
    let part = move |(file, rest): (Option<File>, u64)| {
        let path = path.clone();
        async move {
            if rest == 0 {
                return Ok(None);
            }
            let len = usize::try_from(rest.min(part_bytes)).unwrap_or(usize::MAX);
            let named = path.display().to_string();
            let read = move || -> std::io::Result<(Bytes, File)> {
                let mut file = match file {
                    Some(file) => file,
                    None => File::open(&path)?,
                };
                let mut part = vec![0; len];
                file.read_exact(&mut part)?;
                Ok((part.into(), file))
            };
            let ended = tokio::task::spawn_blocking(read).await;
            let (part, file) = ended
                .map_err(|_| Error::cancelled("the runtime shuts down"))?
                .map_err(|error| Error::from(error).in_file(named))?;
            Ok(Some((part, (Some(file), rest - len as u64))))
        }
    };
    stream::try_unfold((None, size), part)
}

/// Removes what a failed upload left: the error is told elsewhere, and cleaning up finds what stays behind.
async fn remove_staged(bucket: &Bucket, id: BlockId, found: &[BlockFile]) {
    // Whatever happened: what is visible is not ours to take apart.
    if !matches!(bucket.exists(&meta_object(id)).await, Ok(false)) {
        return;
    }
    for file in found.iter().filter(|file| file.rel_path != META_FILE) {
        let object = format!("{id}/{}", file.rel_path);
        if let Err(error) = bucket.delete(&object).await {
            tracing::warn!(block = %id, object, %error, "part of a failed upload stays in the bucket");
        }
    }
}
