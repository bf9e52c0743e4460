//! What a listing of the whole bucket says about its blocks.
//!
//! The objects may come in any order, and those of one block from several listings. Only names are looked at here:
//! nothing is read.

use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use thanos_core::block::{
    BlockId, DeletionMark, META_FILE, Marker, NoCompactMark, NoDownsampleMark,
};
use thanos_core::time::Timestamp;
use thanos_core::{Error, Result};

use super::objects::ListedObjects;
use super::stamp::{Stamp, Stamps};
use crate::Bucket;
use crate::bucket::ObjectInfo;

/// The length of a ULID in text.
const ID_CHARS: usize = 26;
/// Fewer blocks than this are one stretch: about one page of a listing.
const SHARD_BLOCKS_MIN: usize = 200;

/// One block's directory.
#[derive(Debug, Clone, Default)]
pub(super) struct Listed {
    pub(super) stamps: Stamps,
    pub(super) objects: ListedObjects,
    /// When `meta.json` was written.
    pub(super) meta_modified: Timestamp,
}

/// Block directories, in the order of their first objects.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// Runs of objects of one block: a block has several when its objects do not come together.
    runs: Vec<(BlockId, Listed)>,
    /// The directory of the last run, which most objects share with the one before.
    directory: String,
}

impl Listing {
    /// Lists all objects of the bucket once.
    pub(super) async fn flat(bucket: &Bucket) -> Result<Self> {
        let mut listing = Self::default();
        let mut objects = bucket.objects_after("");
        while let Some(object) = objects.try_next().await? {
            listing.add(&object);
        }
        Ok(listing)
    }

    /// Lists the blocks, cuts them into at most `shards` stretches, and lists the objects of all stretches at once.
    ///
    /// A store that does not list in the order of names is found out, and listed flat.
    pub(super) async fn sharded(bucket: &Bucket, shards: usize) -> Result<Self> {
        let directories = bucket.top_directories().await?;
        let mut ids: Vec<BlockId> = directories
            .iter()
            .filter_map(|name| name.parse().ok())
            .collect();
        ids.sort_unstable();
        let shard_blocks = ids.len().div_ceil(shards.max(1)).max(SHARD_BLOCKS_MIN);
        let stretches = ids.chunks(shard_blocks).map(|blocks| {
            // A directory comes before all that is in it, and a name with '0', which follows '/', after it.
            let (first, last) = (blocks[0].to_string(), blocks[blocks.len() - 1]);
            stretch(bucket.objects_after(&first), format!("{last}0"))
        });
        let stretches: Vec<_> = stretches.collect();
        let found: Vec<Option<Self>> = futures::stream::iter(stretches)
            .buffer_unordered(shards.max(1))
            .try_collect()
            .await?;
        let mut whole = Self::default();
        for part in found {
            let Some(part) = part else {
                tracing::warn!("the store does not list in the order of names, listing it flat");
                return Self::flat(bucket).await;
            };
            whole.runs.extend(part.runs);
        }
        Ok(whole)
    }

    /// Takes note of an object, if it belongs to a block.
    fn add(&mut self, object: &ObjectInfo) {
        let Some((directory, name)) = object.name.split_once('/') else {
            return;
        };
        if directory.len() != ID_CHARS {
            return;
        }
        if directory != self.directory {
            let Ok(id) = directory.parse() else {
                return;
            };
            directory.clone_into(&mut self.directory);
            self.runs.push((id, Listed::default()));
        }
        if let Some((_, listed)) = self.runs.last_mut() {
            listed.add(name, object);
        }
    }

    /// Returns the block directories in the order of their names.
    pub(super) fn finish(mut self) -> Vec<(BlockId, Listed)> {
        self.runs.sort_by_key(|(id, _)| *id);
        let mut blocks: Vec<(BlockId, Listed)> = Vec::with_capacity(self.runs.len());
        for (id, listed) in self.runs {
            match blocks.last_mut() {
                Some((last, whole)) if *last == id => whole.merge(listed),
                _ => blocks.push((id, listed)),
            }
        }
        blocks
    }
}

impl Listed {
    fn add(&mut self, name: &str, object: &ObjectInfo) {
        let stamp = || Some(Stamp::of(object));
        match name {
            META_FILE => {
                self.stamps.meta = stamp();
                self.meta_modified = object.modified;
            }
            DeletionMark::FILE => self.stamps.deletion = stamp(),
            NoCompactMark::FILE => self.stamps.no_compact = stamp(),
            NoDownsampleMark::FILE => self.stamps.no_downsample = stamp(),
            _ => self.objects.add(name, object.size),
        }
    }

    fn merge(&mut self, other: Self) {
        if other.stamps.meta.is_some() {
            self.stamps.meta = other.stamps.meta;
            self.meta_modified = other.meta_modified;
        }
        self.stamps.deletion = other.stamps.deletion.or(self.stamps.deletion);
        self.stamps.no_compact = other.stamps.no_compact.or(self.stamps.no_compact);
        self.stamps.no_downsample = other.stamps.no_downsample.or(self.stamps.no_downsample);
        self.objects.merge(other.objects);
    }
}

/// Takes `objects` up to the name `end`; `None` when they are not in order, so that some may come after.
async fn stretch(
    mut objects: BoxStream<'static, Result<ObjectInfo>>,
    end: String,
) -> Result<Option<Listing>, Error> {
    let mut listing = Listing::default();
    let mut last = String::new();
    while let Some(object) = objects.next().await.transpose()? {
        if object.name < last {
            return Ok(None);
        }
        if object.name >= end {
            break;
        }
        listing.add(&object);
        last = object.name;
    }
    Ok(Some(listing))
}
