//! Which objects a block consists of.

use thanos_core::block::BlockId;
use thanos_core::{Error, Result};

use crate::Bucket;

/// The name of our published sparse header in a block's directory. Thanos ignores it, and removes it with the block.
pub const SPARSE_HEADER_FILE: &str = "sparse-index-header";

/// The objects of a block that readers need.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BlockObjects {
    /// The length of the index in bytes.
    pub index_bytes: u64,
    /// The lengths of the chunk files, in the order of their numbers: the first is `chunks/000001`.
    pub segment_bytes: Vec<u64>,
    /// The length of our published sparse header, if there is one.
    pub sparse_header_bytes: Option<u64>,
}

/// The objects of a block as a listing shows them, whole or not.
#[derive(Debug, Clone, Default)]
pub(super) struct ListedObjects {
    index_bytes: Option<u64>,
    /// The number and the length of each chunk file.
    segments: Vec<(u64, u64)>,
    sparse_header_bytes: Option<u64>,
}

impl BlockObjects {
    /// Lists the directory of block `id`.
    ///
    /// # Errors
    ///
    /// `NotFound` without an index, `Corrupt` when a chunk file is missing between others.
    pub async fn list(bucket: &Bucket, id: BlockId) -> Result<Self> {
        let objects = bucket.objects_under(&id.to_string()).await?;
        Self::from_listing(
            id,
            objects.iter().map(|(name, size)| (name.as_str(), *size)),
        )
    }

    /// Returns the objects of block `id` among `objects`: names in the bucket with their lengths, in any order.
    ///
    /// # Errors
    ///
    /// `NotFound` without an index, `Corrupt` when a chunk file is missing between others: references count files,
    /// so a gap in their numbers would give a series the chunks of another.
    pub fn from_listing<'a>(
        id: BlockId,
        objects: impl Iterator<Item = (&'a str, u64)>,
    ) -> Result<Self> {
        let mut listed = ListedObjects::default();
        let directory = format!("{id}/");
        for (object, bytes) in objects {
            if let Some(name) = object.strip_prefix(&directory) {
                listed.add(name, bytes);
            }
        }
        listed.into_objects(id)
    }
}

impl ListedObjects {
    /// Takes note of the object `name`, relative to the block's directory.
    pub(super) fn add(&mut self, name: &str, bytes: u64) {
        match name {
            "index" => self.index_bytes = Some(bytes),
            SPARSE_HEADER_FILE => self.sparse_header_bytes = Some(bytes),
            _ => self.segments.extend(segment_number(name).zip(Some(bytes))),
        }
    }

    /// Takes note of all that `other`, which is of the same block, has noted.
    pub(super) fn merge(&mut self, other: Self) {
        self.index_bytes = other.index_bytes.or(self.index_bytes);
        self.sparse_header_bytes = other.sparse_header_bytes.or(self.sparse_header_bytes);
        self.segments.extend(other.segments);
    }

    /// Returns the objects when they make a whole block.
    pub(super) fn into_objects(mut self, id: BlockId) -> Result<BlockObjects> {
        let index_bytes = self.index_bytes.ok_or_else(|| {
            Error::not_found("the block has no index").in_file(format!("{id}/index"))
        })?;
        self.segments.sort_unstable();
        for (expected, (number, _)) in (1..).zip(&self.segments) {
            if *number != expected {
                let message = format!("chunk file {expected} is missing: the next one is {number}");
                return Err(Error::corrupt(message).in_file(format!("{id}/chunks/{number:06}")));
            }
        }
        Ok(BlockObjects {
            index_bytes,
            segment_bytes: self.segments.iter().map(|(_, bytes)| *bytes).collect(),
            sparse_header_bytes: self.sparse_header_bytes,
        })
    }
}

/// Returns the number of the chunk file `name`, if it is one. Only names as they are written count: `chunks/1` would
/// not be found again.
fn segment_number(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("chunks/")?;
    let is_number = digits.len() >= 6 && digits.bytes().all(|c| c.is_ascii_digit());
    is_number.then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use thanos_core::ErrorKind;

    use super::*;

    const ID: &str = "01M81JDC7R8JKP7SEW1VN2HAQ9";

    fn objects(names: &[&str]) -> Result<BlockObjects> {
        let full: Vec<String> = names.iter().map(|name| format!("{ID}/{name}")).collect();
        let listing = full
            .iter()
            .zip(1..)
            .map(|(name, size)| (name.as_str(), size));
        BlockObjects::from_listing(ID.parse().unwrap(), listing)
    }

    #[test]
    fn a_whole_block_has_an_index_and_all_chunk_files() {
        let found = objects(&[
            "chunks/000002",
            "index",
            "chunks/000001",
            "chunks/notes",
            SPARSE_HEADER_FILE,
            "meta.json",
        ]);
        let expected = BlockObjects {
            index_bytes: 2,
            segment_bytes: vec![3, 1],
            sparse_header_bytes: Some(5),
        };
        assert_eq!(found.unwrap(), expected);
        assert!(objects(&["index"]).unwrap().segment_bytes.is_empty());

        let error = objects(&["chunks/000001"]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        for gap in [["index", "chunks/000002"], ["chunks/000000", "index"]] {
            let error = objects(&gap).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt);
            assert!(
                error.to_string().contains("chunk file 1 is missing"),
                "{error}"
            );
        }
    }
}
