//! The index-header of a remote block: kept as a file in the data directory, or built from ranges of the index.
//!
//! The file is the one that Thanos writes, so that the two can share a data directory (row ST-04 of the specification).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use thanos_core::block::{BlockId, write_file_atomic};
use thanos_core::indexheader::{HeaderSource, HeaderWriter, IndexHeader};
use thanos_core::{Error, Result, mmap};

use crate::Bucket;

/// The name of the file in the block's folder of the data directory.
pub(super) const HEADER_FILE: &str = "index-header";
/// The length of one download; several go on at once.
const PART_BYTES: u64 = 16 << 20;
/// How many downloads of one header go on at once.
const PARTS_AT_ONCE: usize = 4;

/// Where index-headers come from and are kept.
#[derive(Debug)]
pub(super) struct Headers {
    /// Each block has a folder in it; `None` keeps headers in memory.
    pub(super) data_dir: Option<PathBuf>,
}

impl Headers {
    /// Returns the header of the index of block `id`, which has `index_len` bytes.
    pub(super) async fn load(
        &self,
        bucket: &Bucket,
        id: BlockId,
        index_len: u64,
    ) -> Result<Arc<IndexHeader>> {
        let dir = self.data_dir.as_ref().map(|dir| dir.join(id.to_string()));
        let header = load_header(bucket, &format!("{id}/index"), index_len, dir.as_deref()).await?;
        Ok(Arc::new(header))
    }
}

/// Returns the header of the index `object`, which has `index_len` bytes.
///
/// With a folder `dir`, a sound header found there is used, and one that is missing or damaged is built and stored.
async fn load_header(
    bucket: &Bucket,
    object: &str,
    index_len: u64,
    dir: Option<&Path>,
) -> Result<IndexHeader> {
    let Some(dir) = dir else {
        return IndexHeader::open(object, build(bucket, object, index_len).await?.into());
    };
    let file = dir.join(HEADER_FILE);
    match open(&file) {
        Ok(header) if header.source().index_len == index_len => return Ok(header),
        Ok(_) => {
            tracing::warn!(file = %file.display(), "index-header is of another index, building it anew")
        }
        Err(error) if error.kind() == thanos_core::ErrorKind::NotFound => {}
        Err(error) => tracing::warn!(%error, "index-header is damaged, building it anew"),
    }
    let bytes = build(bucket, object, index_len).await?;
    std::fs::create_dir_all(dir)
        .map_err(|error| Error::from(error).in_file(dir.display().to_string()))?;
    write_file_atomic(&file, &bytes)?;
    open(&file)
}

fn open(file: &Path) -> Result<IndexHeader> {
    IndexHeader::open(&file.display().to_string(), mmap::open_bytes(file)?)
}

async fn build(bucket: &Bucket, object: &str, index_len: u64) -> Result<Vec<u8>> {
    let in_index = |error: Error| error.in_file(object);
    let toc_range = HeaderSource::toc_range(index_len).map_err(in_index)?;
    let (head, toc) = futures::future::try_join(
        bucket.read_range(object, HeaderSource::head_range()),
        bucket.read_range(object, toc_range),
    )
    .await?;
    let source = HeaderSource::decode(&head, &toc, index_len).map_err(in_index)?;
    let capacity = usize::try_from(source.header_len())
        .map_err(|_| Error::limit_exceeded("index-header is too long"))?;
    let mut writer = HeaderWriter::new(Vec::with_capacity(capacity), source).map_err(in_index)?;
    let mut symbols = parts(bucket, object, source.symbols());
    while let Some(part) = symbols.try_next().await? {
        writer.write_symbols(&part).map_err(in_index)?;
    }
    let mut table = parts(bucket, object, source.postings_table());
    while let Some(part) = table.try_next().await? {
        writer.write_postings_table(&part).map_err(in_index)?;
    }
    writer.finish().map_err(in_index)
}

/// Downloads `range` in parts, in order, some ahead of the one that is wanted.
fn parts<'a>(
    bucket: &'a Bucket,
    object: &'a str,
    range: std::ops::Range<u64>,
) -> impl futures::Stream<Item = Result<Bytes>> + Unpin + 'a {
    let starts =
        (range.start..range.end).step_by(usize::try_from(PART_BYTES).unwrap_or(usize::MAX));
    let end = range.end;
    let reads =
        starts.map(move |start| bucket.read_range(object, start..end.min(start + PART_BYTES)));
    Box::pin(futures::stream::iter(reads).buffered(PARTS_AT_ONCE))
}
