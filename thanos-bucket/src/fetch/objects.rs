//! Which objects a block consists of.

use thanos_core::block::BlockId;
use thanos_core::{Error, Result};

use crate::Bucket;

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

    /// Returns the objects of block `id` among `objects`: names in the bucket, sorted, with their lengths.
    ///
    /// # Errors
    ///
    /// `NotFound` without an index, `Corrupt` when a chunk file is missing between others: references count files,
    /// so a gap in their numbers would give a series the chunks of another.
    pub fn from_listing<'a>(
        id: BlockId,
        objects: impl Iterator<Item = (&'a str, u64)>,
    ) -> Result<Self> {
        let (index_object, chunks_dir) = (format!("{id}/index"), format!("{id}/chunks/"));
        let mut found = Self::default();
        let mut index_bytes = None;
        for (object, size) in objects {
            if object == index_object {
                index_bytes = Some(size);
            }
            let number = object
                .strip_prefix(&chunks_dir)
                .filter(|name| !name.is_empty() && name.bytes().all(|c| c.is_ascii_digit()));
            let Some(number) = number else {
                continue;
            };
            let expected = found.segment_bytes.len() + 1;
            if number.parse() != Ok(expected) {
                let message = format!("chunk file {expected} is missing: the next one is {number}");
                return Err(Error::corrupt(message).in_file(object));
            }
            found.segment_bytes.push(size);
        }
        found.index_bytes = index_bytes
            .ok_or_else(|| Error::not_found("the block has no index").in_file(index_object))?;
        Ok(found)
    }
}
