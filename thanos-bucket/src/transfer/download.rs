//! Downloading: `meta.json` is read first and written last.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use thanos_core::block::segment::{CHUNKS_DIR, SegmentFile, segment_file_name};
use thanos_core::block::{BlockFile, BlockId, INDEX_FILE, META_FILE, Meta, write_file_atomic};
use thanos_core::{Error, Result};

use super::{DownloadOptions, HashFunc, META_BYTES_MAX, files};
use crate::Bucket;

/// What comes is written when so much of it has come.
const WRITE_BYTES: usize = 4 << 20;
const TOMBSTONES_FILE: &str = "tombstones";

/// Downloads the block `id` into the directory `dir`, which becomes its block directory; returns its `meta.json`.
///
/// A file whose SHA-256 the `meta.json` knows and that `dir` has already is not read again. Files come to disk as they
/// come from the bucket, and `meta.json` last: a directory that has one has everything.
///
/// # Errors
///
/// `NotFound` when there is no such block, `Corrupt` when its objects are not those of its `meta.json`, `Unavailable`
/// when an object ends early, and what the file system and the bucket report. What came stays for the next attempt.
pub async fn download_block(
    bucket: &Bucket,
    id: BlockId,
    dir: &Path,
    options: &DownloadOptions,
) -> Result<Meta> {
    let (meta, text) = read_meta(bucket, id).await?;
    let objects = wanted_objects(bucket, &meta).await?;
    fetch_files(bucket, &meta, text, dir, objects, options).await?;
    Ok(meta)
}

/// A block of which all but the chunks is in a directory.
#[derive(Debug)]
pub(crate) struct BlockWithoutChunks {
    /// Its `meta.json`.
    pub(crate) meta: Meta,
    /// The segments in the order of their numbers, by the names of their objects.
    pub(crate) segments: Vec<SegmentFile>,
}

/// Downloads the block `id` but for its chunks into the directory `dir`, in which no chunks are then.
///
/// # Errors
///
/// As [`download_block`].
pub(crate) async fn download_without_chunks(
    bucket: &Bucket,
    id: BlockId,
    dir: &Path,
    options: &DownloadOptions,
) -> Result<BlockWithoutChunks> {
    let (meta, text) = read_meta(bucket, id).await?;
    let objects = wanted_objects(bucket, &meta).await?;
    let (segments, objects): (Vec<_>, Vec<_>) = objects
        .into_iter()
        .partition(|(path, _)| path.starts_with("chunks/"));
    let segments = numbered(id, segments)?;
    fetch_files(bucket, &meta, text, dir, objects, options).await?;
    Ok(BlockWithoutChunks { meta, segments })
}

/// Returns the segments in the order of their numbers, of which none is missing.
fn numbered(id: BlockId, objects: Vec<(String, u64)>) -> Result<Vec<SegmentFile>> {
    let number = |path: &str| path.strip_prefix("chunks/")?.parse::<u64>().ok();
    let mut found: Vec<(u64, SegmentFile)> = Vec::with_capacity(objects.len());
    for (path, len_bytes) in objects {
        let name = format!("{id}/{path}");
        let Some(number) = number(&path) else {
            return Err(Error::corrupt("name of a segment is no number").in_file(name));
        };
        found.push((number, SegmentFile { name, len_bytes }));
    }
    found.sort_unstable_by_key(|(number, _)| *number);
    for (position, (number, _)) in found.iter().enumerate() {
        // References count files: with one missing they would name the wrong ones.
        if *number != position as u64 + 1 {
            let missing = format!("{id}/{CHUNKS_DIR}/{}", segment_file_name(position));
            return Err(Error::corrupt("segment file is missing").in_file(missing));
        }
    }
    Ok(found.into_iter().map(|(_, segment)| segment).collect())
}

async fn read_meta(bucket: &Bucket, id: BlockId) -> Result<(Meta, Bytes)> {
    let object = format!("{id}/{META_FILE}");
    let text = bucket.read(&object, META_BYTES_MAX).await?;
    let meta = Meta::parse(&text).map_err(|error| error.in_file(object.clone()))?;
    if meta.ulid != id {
        let message = format!("meta.json is of block {}", meta.ulid);
        return Err(Error::corrupt(message).in_file(object));
    }
    Ok((meta, text))
}

/// Downloads `objects` into `dir`, and writes `meta.json` when all of them are there.
async fn fetch_files(
    bucket: &Bucket,
    meta: &Meta,
    text: Bytes,
    dir: &Path,
    objects: Vec<(String, u64)>,
    options: &DownloadOptions,
) -> Result<()> {
    let (made, wanted) = (dir.to_owned(), objects.clone());
    blocking(move || prepare(&made, &wanted)).await?;
    let fetch = |(name, size): (String, u64)| fetch_file(bucket, meta, dir, name, size, options);
    stream::iter(objects)
        .map(fetch)
        .buffer_unordered(options.concurrency.max(1))
        .try_collect::<()>()
        .await?;
    let into = dir.join(META_FILE);
    blocking(move || write_file_atomic(&into, &text)).await
}

/// Returns the objects of the block that are read, by their paths in it, with their sizes.
async fn wanted_objects(bucket: &Bucket, meta: &Meta) -> Result<Vec<(String, u64)>> {
    let id = meta.ulid;
    let prefix = format!("{id}/");
    let listed = bucket.objects_under(&id.to_string()).await?;
    let found: BTreeMap<String, u64> = listed
        .into_iter()
        .filter_map(|(name, size)| Some((name.strip_prefix(&prefix)?.to_owned(), size)))
        .filter(|(path, _)| is_read(path))
        .collect();
    for file in known_files(meta).filter(|file| is_read(&file.rel_path)) {
        let object = format!("{prefix}{}", file.rel_path);
        let Some(size) = found.get(&file.rel_path) else {
            let message = "meta.json lists the file, and the bucket does not have it";
            return Err(Error::corrupt(message).in_file(object));
        };
        if file.size_bytes != 0 && file.size_bytes != *size {
            let message = format!(
                "object has {size} bytes, meta.json says {}",
                file.size_bytes
            );
            return Err(Error::corrupt(message).in_file(object));
        }
    }
    if !found.contains_key(INDEX_FILE) {
        let message = "the block has no index";
        return Err(Error::corrupt(message).in_file(format!("{prefix}{INDEX_FILE}")));
    }
    Ok(found.into_iter().collect())
}

/// Reports whether the file of a block is one that is read; names come from outside and become paths.
fn is_read(path: &str) -> bool {
    let is_segment = |name: &str| name.len() >= 6 && name.bytes().all(|byte| byte.is_ascii_digit());
    path == INDEX_FILE
        || path == TOMBSTONES_FILE
        || path.strip_prefix("chunks/").is_some_and(is_segment)
}

fn known_files(meta: &Meta) -> impl Iterator<Item = &BlockFile> {
    meta.thanos.iter().flat_map(|thanos| &thanos.files)
}

/// Makes the directories and removes what an earlier attempt left and the block does not have.
fn prepare(dir: &Path, objects: &[(String, u64)]) -> Result<()> {
    let chunks = dir.join("chunks");
    let named = |error: std::io::Error| Error::from(error).in_file(dir.display().to_string());
    // An empty block has no chunk files, and its readers want the directory.
    std::fs::create_dir_all(&chunks).map_err(named)?;
    let remove = |path: &Path| match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(named(error)),
        _ => Ok(()),
    };
    remove(&dir.join(META_FILE))?;
    if !objects.iter().any(|(path, _)| path == TOMBSTONES_FILE) {
        remove(&dir.join(TOMBSTONES_FILE))?;
    }
    for entry in std::fs::read_dir(&chunks).map_err(named)? {
        let entry = entry.map_err(named)?;
        let path = format!("chunks/{}", entry.file_name().to_string_lossy());
        if !objects.iter().any(|(wanted, _)| *wanted == path) {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

async fn fetch_file(
    bucket: &Bucket,
    meta: &Meta,
    dir: &Path,
    rel_path: String,
    size: u64,
    options: &DownloadOptions,
) -> Result<()> {
    let path = dir.join(&rel_path);
    let known = known_files(meta).find(|file| file.rel_path == rel_path);
    let known = known.and_then(|file| file.hash.clone());
    let known = known.filter(|hash| hash.func == HashFunc::Sha256.as_str());
    if let Some(hash) = &known
        && std::fs::metadata(&path).is_ok_and(|found| found.len() == size)
    {
        let hashed = path.clone();
        let found = options
            .compute
            .run(move || files::sha256_of(&hashed))
            .await?;
        if found.is_ok_and(|found| found.eq_ignore_ascii_case(&hash.value)) {
            return Ok(());
        }
    }
    let object = format!("{}/{rel_path}", meta.ulid);
    stream_to_file(bucket, &object, size, path).await
}

/// Downloads the index of block `id`, and nothing else of it, into the directory `dir`; returns its path.
///
/// # Errors
///
/// As [`download_block`].
pub(crate) async fn download_index(bucket: &Bucket, id: BlockId, dir: &Path) -> Result<PathBuf> {
    let (made, path) = (dir.to_owned(), dir.join(INDEX_FILE));
    blocking(move || std::fs::create_dir_all(&made).map_err(|error| named(error, &made))).await?;
    let object = format!("{id}/{INDEX_FILE}");
    download_file(bucket, &object, path.clone()).await?;
    Ok(path)
}

/// Downloads one object into the file `path`.
///
/// # Errors
///
/// As [`download_block`].
pub(crate) async fn download_file(bucket: &Bucket, object: &str, path: PathBuf) -> Result<()> {
    let size = bucket.size(object).await?;
    stream_to_file(bucket, object, size, path).await
}

/// Writes the object to `path`, by way of another name; its length must be `size`.
async fn stream_to_file(bucket: &Bucket, object: &str, size: u64, path: PathBuf) -> Result<()> {
    let mut body = bucket.read_pieces(object).await?;
    let cut_short = |came: u64| {
        let message = format!("{came} of {size} bytes came");
        Error::unavailable(message).in_file(object)
    };
    if body.size != size {
        return Err(cut_short(body.size));
    }
    let tmp = path.with_extension("tmp");
    let mut file = blocking({
        let tmp = tmp.clone();
        move || File::create(&tmp).map_err(|error| named(error, &tmp))
    })
    .await?;
    let (mut came, mut waiting, mut waiting_bytes) = (0, Vec::new(), 0);
    while let Some(piece) = body.pieces.try_next().await? {
        came += piece.len() as u64;
        if came > size {
            return Err(cut_short(came));
        }
        waiting_bytes += piece.len();
        waiting.push(piece);
        if waiting_bytes >= WRITE_BYTES {
            file = write_pieces(file, std::mem::take(&mut waiting), &tmp).await?;
            waiting_bytes = 0;
        }
    }
    let file = write_pieces(file, waiting, &tmp).await?;
    if came != size {
        return Err(cut_short(came));
    }
    blocking(move || {
        let synced = file.sync_all().and_then(|()| std::fs::rename(&tmp, &path));
        synced.map_err(|error| named(error, &path))
    })
    .await
}

async fn write_pieces(mut file: File, pieces: Vec<Bytes>, path: &Path) -> Result<File> {
    let path = path.to_owned();
    blocking(move || {
        for piece in pieces {
            file.write_all(&piece)
                .map_err(|error| named(error, &path))?;
        }
        Ok(file)
    })
    .await
}

fn named(error: std::io::Error, path: &Path) -> Error {
    Error::from(error).in_file(path.display().to_string())
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let ended = tokio::task::spawn_blocking(work).await;
    ended.map_err(|_| Error::cancelled("the runtime shuts down"))?
}
