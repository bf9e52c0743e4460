//! Sparse headers in the bucket, beside the blocks: ours alone, derived, and ignored by Thanos.
//!
//! ```text
//! sparse-index-header, whole    and at once    the last 56 bytes of the index        one round trip
//! ```
//!
//! Those bytes tell one index from another, so that a header of another index is never used. Thanos removes the object
//! with the block. When a block is deleted while its header is uploaded, the object stays behind: Thanos' compactor takes
//! the folder for an aborted upload and cleans it up.

use bytes::{Bytes, BytesMut};
use futures::{StreamExt, TryStreamExt};
use thanos_core::indexheader::{HeaderSource, IndexHeader};
use thanos_core::{Error, Result};

use super::files::is_of_index;
use crate::Bucket;
use crate::compute::Compute;

/// A header takes less than its index, but for what an empty one has too.
const LEN_OVER_INDEX_MAX: u64 = 4 << 10;
/// How many downloads of one header go on at once.
const PARTS_AT_ONCE: usize = 4;

/// A published header and the index that it must be of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Published<'a> {
    pub(super) bucket: &'a Bucket,
    pub(super) compute: &'a Compute,
    pub(super) object: &'a str,
    /// The length of `object`.
    pub(super) len: u64,
    pub(super) index_object: &'a str,
    pub(super) index_len: u64,
    /// The length of one download.
    pub(super) part_bytes: u64,
}

impl Published<'_> {
    /// Returns the header, whole, sound and of the index.
    ///
    /// # Errors
    ///
    /// `Corrupt` when it is not, or what the bucket reports.
    pub(super) async fn read(self) -> Result<Bytes> {
        if self.len > self.index_len.saturating_add(LEN_OVER_INDEX_MAX) {
            let message = format!(
                "sparse index-header of {} bytes is longer than its index of {}",
                self.len, self.index_len
            );
            return Err(Error::corrupt(message).in_file(self.object));
        }
        let tail_range = HeaderSource::tail_range(self.index_len)
            .map_err(|error| error.in_file(self.index_object))?;
        let tail = self.bucket.read_range(self.index_object, tail_range);
        let (bytes, tail) = futures::future::try_join(self.download(), tail).await?;
        let object = self.object.to_owned();
        let index_len = self.index_len;
        let check = move || check(&object, &bytes, index_len, &tail).map(|()| bytes);
        self.compute.run(check).await?
    }

    async fn download(self) -> Result<Bytes> {
        let part = self.part_bytes;
        if self.len <= part {
            return self.bucket.read_range(self.object, 0..self.len).await;
        }
        let starts = (0..self.len.div_ceil(part)).map(|i| i * part);
        let reads = starts.map(|start| {
            let end = self.len.min(start + part);
            self.bucket.read_range(self.object, start..end)
        });
        let mut parts = futures::stream::iter(reads).buffered(PARTS_AT_ONCE);
        let mut bytes = BytesMut::new();
        while let Some(part) = parts.try_next().await? {
            bytes.extend_from_slice(&part);
        }
        Ok(bytes.freeze())
    }
}

fn check(object: &str, bytes: &Bytes, index_len: u64, index_tail: &[u8]) -> Result<()> {
    let header = IndexHeader::open(object, bytes.clone())?;
    is_of_index(object, header.source().index_len, index_len)?;
    if !header.is_sparse() || header.index_tail() != index_tail {
        let message = "it is not the sparse index-header of the index beside it";
        return Err(Error::corrupt(message).in_file(object));
    }
    header.verify()
}
