//! Which blocks a bucket holds, and which of them are wanted.
//!
//! ```text
//! listing -> what each block directory holds -> meta.json and markers that are new -> view -> filters -> selection
//! ```
//!
//! A top-level directory whose name is a ULID is a block when it has a readable `meta.json`. One without is
//! partial: still being uploaded, or left by a broken upload. The listing alone tells which `meta.json` and markers
//! exist and whether they changed, so a block that did not change costs no request.

mod discovery;
mod fetcher;
pub mod filter;
mod listing;
mod meta_cache;
mod metrics;
mod objects;
mod stamp;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use thanos_core::Error;
use thanos_core::block::{BlockId, Meta};
use thanos_core::time::{Clock, SystemClock, Timestamp};

pub use discovery::{Discovered, Discovery, ViewOrigin};
pub use fetcher::Fetcher;
pub use metrics::{BlockState, FetchMetrics, StateCounts};
pub use objects::{BlockObjects, SPARSE_HEADER_FILE};
pub(crate) use stamp::{Stamp, Stamps};

use crate::compute::Compute;

/// The blocks of a bucket at one time, wanted or not.
#[derive(Debug, Default)]
pub struct BucketView {
    /// Blocks with a readable `meta.json`.
    pub blocks: BTreeMap<BlockId, Arc<BlockEntry>>,
    /// Directories without one, or with a damaged one: not served, and why.
    pub partial: BTreeMap<BlockId, Arc<Error>>,
    /// What could not be read, although it is there: with any of these the view is incomplete, and a block that is
    /// not in [`BucketView::blocks`] may exist nevertheless. A block whose last known `meta.json` is still good is in
    /// both.
    pub unread: BTreeMap<BlockId, Arc<Error>>,
}

/// A block, as far as its `meta.json`, its markers and a listing tell.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct BlockEntry {
    /// Its `meta.json`; what [`MetaDetail`] leaves out is empty.
    pub meta: Meta,
    /// Its objects; `None` when the listing shows no whole block.
    pub objects: Option<BlockObjects>,
    /// Its markers.
    pub marks: Marks,
    /// Which contents of `meta.json` and of the markers these are.
    pub(crate) stamps: Stamps,
}

impl BlockEntry {
    /// Returns the block of `meta` without markers.
    pub fn new(meta: Meta, objects: Option<BlockObjects>) -> Self {
        Self {
            meta,
            objects,
            ..Self::default()
        }
    }
}

/// When a block was marked, for each marker that it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Marks {
    /// The `deletion_time` of `deletion-mark.json`.
    pub deletion: Option<Timestamp>,
    /// The `no_compact_time` of `no-compact-mark.json`.
    pub no_compact: Option<Timestamp>,
    /// The `no_downsample_time` of `no-downsample-mark.json`.
    pub no_downsample: Option<Timestamp>,
}

/// How blocks are found (`--block-discovery-strategy`). Both find the same blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DiscoveryStrategy {
    /// One listing of all objects; a `meta.json` that was written again is read again.
    Recursive,
    /// The blocks are listed first, and then the objects of several stretches of blocks at once
    /// ([`FetchOptions::listing_shards`]). Blocks are immutable: a known `meta.json` is not read again.
    #[default]
    Concurrent,
}

/// How much of each `meta.json` stays in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MetaDetail {
    /// What reading the block needs; files, parents, rewrites, hints and unknown fields are left out.
    #[default]
    Reading,
    /// Everything.
    Whole,
}

/// How a [`Fetcher`] works; the defaults are those of `thanos store`.
#[derive(Debug, Clone)]
pub struct FetchOptions {
    /// How blocks are found.
    pub strategy: DiscoveryStrategy,
    /// How many listings the concurrent strategy makes at once; 1 means one flat listing. More only help where the
    /// store can begin a listing at a name and lists in the order of names (S3, GCS): others would list everything
    /// for each.
    pub listing_shards: usize,
    /// How many `meta.json` are read at once (`--block-meta-fetch-concurrency`).
    pub concurrency: usize,
    /// How much of each `meta.json` is kept.
    pub detail: MetaDetail,
    /// Where `meta.json` files are kept between runs, each as `meta-syncer/<block>/meta.json`; `None` means nowhere.
    pub data_dir: Option<PathBuf>,
    /// Where what happens is counted.
    pub metrics: FetchMetrics,
    /// Where the time comes from.
    pub clock: Arc<dyn Clock>,
    /// Where large files are parsed and local files are read.
    pub compute: Compute,
}

impl Default for FetchOptions {
    fn default() -> Self {
        Self {
            strategy: DiscoveryStrategy::default(),
            listing_shards: 1,
            concurrency: 32,
            detail: MetaDetail::default(),
            data_dir: None,
            metrics: FetchMetrics::default(),
            clock: Arc::new(SystemClock),
            compute: Compute::per_core(),
        }
    }
}

impl MetaDetail {
    /// Drops what this detail leaves out, and the memory that parsing took too much.
    pub(crate) fn trim(self, meta: &mut Meta) {
        if self == Self::Reading {
            meta.extra.clear();
            meta.stats.extra.clear();
            let compaction = &mut meta.compaction;
            compaction.parents = Vec::new();
            compaction.hints = Vec::new();
            compaction.extra.clear();
            if let Some(thanos) = &mut meta.thanos {
                thanos.segment_files = Vec::new();
                thanos.files = Vec::new();
                thanos.rewrites = Vec::new();
                thanos.extra.clear();
            }
        }
        meta.compaction.sources.shrink_to_fit();
    }
}
