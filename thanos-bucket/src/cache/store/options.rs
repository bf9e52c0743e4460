//! What the caching bucket keeps, and for how long.

use std::time::Duration;

use object_store::path::Path;

use super::short::ShortReads;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);

/// What becomes of values in servers that have no checksum beside them: those that Thanos put, or whose checksum is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsummed {
    /// They are used, as Thanos does.
    Believed,
    /// They are misses: for servers that are not trusted and not shared.
    Missed,
}

/// Settings of a [`CachingStore`](super::CachingStore); the defaults are those of Thanos, except that short reads fetch no
/// whole parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CachingStoreOptions {
    /// The length of the parts of chunk files that are kept (`chunk_subrange_size`).
    pub subrange_bytes: u64,
    /// What is done with reads that are much shorter than those parts.
    pub short_reads: ShortReads,
    /// How many requests one read may become (`max_chunks_get_range_requests`); 0 means any number.
    pub range_requests_max: usize,
    /// A larger `meta.json` is not kept (`metafile_max_size`).
    pub content_bytes_max: u64,
    /// How long attributes of chunk files are kept (`chunk_object_attrs_ttl`).
    pub attributes_ttl: Duration,
    /// How long parts of chunk files are kept (`chunk_subrange_ttl`).
    pub subrange_ttl: Duration,
    /// How long listings are kept (`blocks_iter_ttl`).
    pub iter_ttl: Duration,
    /// How long it is kept that a file of metadata exists (`metafile_exists_ttl`).
    pub exists_ttl: Duration,
    /// How long it is kept that one does not (`metafile_doesnt_exist_ttl`).
    pub absent_ttl: Duration,
    /// How long its content is kept (`metafile_content_ttl`).
    pub content_ttl: Duration,
    /// What becomes of values in servers that have no checksum beside them.
    pub unsummed: Unsummed,
    /// Tells the listings of buckets apart that share servers.
    pub listing_hash: String,
    /// The prefix of the bucket, which is in the names of the store below but not in keys.
    pub prefix: Path,
}

impl Default for CachingStoreOptions {
    fn default() -> Self {
        Self {
            subrange_bytes: 16_000,
            short_reads: ShortReads::default(),
            range_requests_max: 3,
            content_bytes_max: 1 << 20,
            attributes_ttl: 24 * HOUR,
            subrange_ttl: 24 * HOUR,
            iter_ttl: 5 * MINUTE,
            exists_ttl: 2 * HOUR,
            absent_ttl: 15 * MINUTE,
            content_ttl: 24 * HOUR,
            unsummed: Unsummed::Believed,
            listing_hash: String::new(),
            prefix: Path::default(),
        }
    }
}
