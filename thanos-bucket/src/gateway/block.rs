//! One block of a bucket: its index-header, and where its objects lie.

use std::fmt;
use std::sync::{Arc, Weak};

use thanos_core::block::{BlockId, IndexStats};
use thanos_core::indexheader::IndexHeader;
use thanos_core::labels::Labels;
use thanos_core::time::TimeRange;
use thanos_core::{Error, Result};

use super::header::{BlockHeader, FolderUse, Headers};
use super::lazy::LazyPostings;
use super::ranges::Reads;
use crate::Bucket;
use crate::compute::Compute;
use crate::fetch::{BlockEntry, BlockObjects};

/// How long a series entry is assumed to be at most.
const ENTRY_BYTES_ASSUMED: u64 = 64 << 10;
/// How long a chunk is assumed to be at most.
const CHUNK_BYTES_ASSUMED: u64 = 16_000;
/// An item is assumed to be at most so many times as long as the mean, where that is known.
const MEANS_ASSUMED: u64 = 4;
/// No item is assumed to be shorter: `meta.json` may be wrong about their number.
const BYTES_ASSUMED_MIN: u64 = 1 << 10;
/// No more is taken for the mean length of chunks, whatever `meta.json` says.
const CHUNK_BYTES_MEAN_MAX: u64 = 1 << 20;
/// The longest record around a chunk: its length, its encoding and its checksum.
const CHUNK_FRAME_BYTES: u64 = 5 + 1 + 4;

/// How ranges of a block are fetched.
#[derive(Debug, Clone, Copy)]
pub(super) struct FetchLimits {
    /// Ranges with at most this many unwanted bytes between them are fetched together.
    pub(super) gap_bytes_max: u64,
    /// Requests of one step that are under way at once.
    pub(super) fetch_concurrency: usize,
}

/// What all blocks of a gateway share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) bucket: Bucket,
    pub(super) limits: FetchLimits,
    pub(super) headers: Arc<Headers>,
    pub(super) compute: Compute,
    pub(super) reads: Reads,
    /// Whether postings are left out that cost more than they save.
    pub(super) lazy_postings: Option<LazyPostings>,
}

/// A block that is ready to be asked.
pub(super) struct GatewayBlock {
    shared: Arc<Shared>,
    entry: Arc<BlockEntry>,
    objects: BlockObjects,
    external_labels: Labels,
    header: Arc<BlockHeader>,
    index_object: String,
}

impl GatewayBlock {
    /// Lists the objects, when the entry has no list of them. The index-header is not there yet:
    /// [`GatewayBlock::prepare`] fetches it, and so does its first use.
    pub(super) async fn open(shared: Arc<Shared>, entry: Arc<BlockEntry>) -> Result<Self> {
        let id = entry.meta.ulid;
        let objects = match &entry.objects {
            Some(objects) => objects.clone(),
            None => BlockObjects::list(&shared.bucket, id).await?,
        };
        let header = shared.headers.of_block(id, &objects);
        Ok(Self {
            external_labels: entry.meta.external_labels(),
            index_object: format!("{id}/index"),
            shared,
            entry,
            objects,
            header,
        })
    }

    /// Fetches the index-header, unless it is kept or is to be fetched at use.
    pub(super) async fn prepare(&self) -> Result<()> {
        self.header.prepare().await
    }

    /// Returns what is gone when nobody can write into the block's folder of the data directory any more.
    pub(super) fn folder_use(&self) -> Weak<FolderUse> {
        self.header.folder_use()
    }

    /// Reports whether the block is still what `entry` says; a sparse header that was published since changes nothing.
    pub(super) fn is_of(&self, entry: &Arc<BlockEntry>) -> bool {
        let is_same = |objects: &BlockObjects| {
            objects.index_bytes == self.objects.index_bytes
                && objects.segment_bytes == self.objects.segment_bytes
        };
        Arc::ptr_eq(&self.entry, entry)
            || (self.entry.meta == entry.meta && entry.objects.as_ref().is_some_and(is_same))
    }

    /// Returns the index-header, which may have to be opened or fetched first. Reading it may wait for the disk: do it
    /// on [`GatewayBlock::compute`].
    pub(super) async fn header(&self) -> Result<Arc<IndexHeader>> {
        self.header.get().await
    }

    /// Returns where work for the processor is done.
    pub(super) fn compute(&self) -> &Compute {
        &self.shared.compute
    }

    pub(super) fn id(&self) -> BlockId {
        self.entry.meta.ulid
    }

    pub(super) fn bucket(&self) -> &Bucket {
        &self.shared.bucket
    }

    pub(super) fn limits(&self) -> FetchLimits {
        self.shared.limits
    }

    /// Returns what the reads of all blocks share.
    pub(super) fn reads(&self) -> &Reads {
        &self.shared.reads
    }

    /// Returns the length of the index.
    pub(super) fn index_bytes(&self) -> u64 {
        self.objects.index_bytes
    }

    pub(super) fn index_object(&self) -> &str {
        &self.index_object
    }

    pub(super) fn external_labels(&self) -> &Labels {
        &self.external_labels
    }

    pub(super) fn time_range(&self) -> TimeRange {
        self.entry.meta.time_range()
    }

    /// Returns what the store announces.
    ///
    /// COMPAT: the end is that of meta.json, although no sample has that time: adjacent blocks touch that way, as in
    /// Thanos (row ST-31 of the specification).
    pub(super) fn announced_range(&self) -> TimeRange {
        TimeRange {
            min: self.entry.meta.min_time,
            max: self.entry.meta.max_time,
        }
    }

    pub(super) fn resolution_ms(&self) -> i64 {
        self.entry.meta.resolution_ms()
    }

    /// Returns how long a series entry is assumed to be, of an index whose entries take `section_bytes` in all.
    ///
    /// That is the length of the longest if it is known, but not far above the mean: one outlier would make every
    /// scattered read long. Longer ones are fetched again.
    pub(super) fn entry_bytes_assumed(&self, section_bytes: u64) -> u64 {
        let known = self.index_stats().map(|stats| stats.series_max_size);
        let series = self.entry.meta.stats.num_series;
        bytes_assumed(known, section_bytes, series, ENTRY_BYTES_ASSUMED)
    }

    /// Returns how many bytes the record of a chunk is assumed to take, as for entries.
    pub(super) fn chunk_bytes_assumed(&self) -> u64 {
        let known = self.index_stats().map(|stats| stats.chunk_max_size);
        let segment_bytes = self.objects.segment_bytes.iter().sum();
        let chunks = self.entry.meta.stats.num_chunks;
        bytes_assumed(known, segment_bytes, chunks, CHUNK_BYTES_ASSUMED) + CHUNK_FRAME_BYTES
    }

    /// Returns what a chunk takes in the mean.
    pub(super) fn chunk_bytes_mean(&self) -> u64 {
        let segment_bytes: u64 = self.objects.segment_bytes.iter().sum();
        let mean = segment_bytes.checked_div(self.entry.meta.stats.num_chunks);
        mean.filter(|mean| *mean > 0)
            .unwrap_or(CHUNK_BYTES_ASSUMED)
            .min(CHUNK_BYTES_MEAN_MAX)
    }

    /// Returns the number of series.
    pub(super) fn series_count(&self) -> u64 {
        self.entry.meta.stats.num_series
    }

    /// Returns the bytes of the chunks of `series` series, if they are as long as all others.
    pub(super) fn chunk_bytes_of(&self, series: u64) -> u64 {
        let all: u128 = self
            .objects
            .segment_bytes
            .iter()
            .map(|bytes| u128::from(*bytes))
            .sum();
        let bytes = all * u128::from(series) / u128::from(self.series_count().max(series).max(1));
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }

    fn index_stats(&self) -> Option<&IndexStats> {
        let thanos = self.entry.meta.thanos.as_ref()?;
        Some(&thanos.index_stats)
    }

    /// Returns how long a series entry can be, by what the block says.
    pub(super) fn series_bytes_max(&self) -> u64 {
        let known = self.index_stats().map(|stats| stats.series_max_size);
        known
            .filter(|known| *known > 0)
            .unwrap_or(ENTRY_BYTES_ASSUMED)
    }

    /// Returns whether postings are left out that cost more than they save.
    pub(super) fn lazy_postings(&self) -> Option<LazyPostings> {
        self.shared.lazy_postings
    }

    /// Returns the length of the chunk file at position `segment`, 0 when there is none.
    pub(super) fn segment_bytes(&self, segment: u32) -> u64 {
        let bytes = usize::try_from(segment).ok();
        let bytes = bytes.and_then(|segment| self.objects.segment_bytes.get(segment));
        bytes.copied().unwrap_or_default()
    }

    /// Returns the object of the chunk file at position `segment`.
    pub(super) fn segment_object(&self, segment: u32) -> Result<String> {
        let object = format!("{}/chunks/{:06}", self.id(), u64::from(segment) + 1);
        let count = self.objects.segment_bytes.len();
        if usize::try_from(segment).is_ok_and(|segment| segment < count) {
            return Ok(object);
        }
        let message =
            format!("a series has chunks in {object}, and the block has {count} chunk files");
        Err(Error::corrupt(message).in_file(self.index_object.as_str()))
    }
}

/// Returns how long one of `count` items is assumed to be that take `all_bytes` together and of which none takes more
/// than `known` bytes.
fn bytes_assumed(known: Option<u64>, all_bytes: u64, count: u64, bytes_max: u64) -> u64 {
    let known = known.filter(|known| *known > 0).unwrap_or(bytes_max);
    let mean = all_bytes.checked_div(count).unwrap_or(bytes_max);
    let usual = mean.saturating_mul(MEANS_ASSUMED).max(BYTES_ASSUMED_MIN);
    known.min(usual).min(bytes_max)
}

impl fmt::Debug for GatewayBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "GatewayBlock({} {})",
            self.entry.meta.ulid, self.external_labels
        )
    }
}
