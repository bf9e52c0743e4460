//! One block of a bucket: its index-header, and where its objects lie.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use thanos_core::block::BlockId;
use thanos_core::index::{IndexVersion, SeriesRef};
use thanos_core::indexheader::IndexHeader;
use thanos_core::labels::Labels;
use thanos_core::time::TimeRange;
use thanos_core::{Error, Result};

use super::header::{BlockHeader, Headers};
use super::ranges::Reads;
use crate::Bucket;
use crate::compute::Compute;
use crate::fetch::{BlockEntry, BlockObjects};

/// How long a series entry is assumed to be when the block does not say.
const ENTRY_BYTES_ASSUMED: u64 = 64 << 10;
/// How long a chunk is assumed to be when the block does not say.
const CHUNK_BYTES_ASSUMED: u64 = 16_000;
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
    /// Reads what is missing: the list of objects, when the entry has none, and the index-header, unless it is kept or
    /// is to be fetched at use.
    pub(super) async fn open(shared: Arc<Shared>, entry: Arc<BlockEntry>) -> Result<Self> {
        let id = entry.meta.ulid;
        let objects = match &entry.objects {
            Some(objects) => objects.clone(),
            None => BlockObjects::list(&shared.bucket, id).await?,
        };
        let header = shared.headers.of_block(id, objects.index_bytes);
        header.prepare().await?;
        Ok(Self {
            external_labels: entry.meta.external_labels(),
            index_object: format!("{id}/index"),
            shared,
            entry,
            objects,
            header,
        })
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

    /// Returns the bytes of the index in which the entry of `series` is assumed to lie.
    pub(super) fn entry_range(
        &self,
        version: IndexVersion,
        series: SeriesRef,
    ) -> Result<Range<u64>> {
        let start = version.series_offset(series).ok_or_else(|| {
            let message = format!("postings name {series:?}, which lies outside of any index");
            Error::corrupt(message).in_file(self.index_object.as_str())
        })?;
        let known = self
            .entry
            .meta
            .thanos
            .as_ref()
            .map(|thanos| thanos.index_stats.series_max_size);
        let len = known
            .filter(|len| *len > 0)
            .map_or(ENTRY_BYTES_ASSUMED, |len| len.min(ENTRY_BYTES_ASSUMED));
        Ok(start..start.saturating_add(len))
    }

    /// Returns how many bytes the record of a chunk is assumed to take.
    pub(super) fn chunk_bytes_assumed(&self) -> u64 {
        let known = self
            .entry
            .meta
            .thanos
            .as_ref()
            .map(|thanos| thanos.index_stats.chunk_max_size);
        let len = known
            .filter(|len| *len > 0)
            .map_or(CHUNK_BYTES_ASSUMED, |len| len.min(CHUNK_BYTES_ASSUMED));
        len + CHUNK_FRAME_BYTES
    }

    /// Returns the object of the chunk file at position `segment`.
    pub(super) fn segment_object(&self, segment: u32) -> Result<String> {
        let count = self.objects.segment_bytes.len();
        if usize::try_from(segment).is_ok_and(|segment| segment < count) {
            return Ok(format!("{}/chunks/{:06}", self.id(), segment + 1));
        }
        let message = format!("a series has chunks in file {segment} of {count}");
        Err(Error::corrupt(message).in_file(self.index_object.as_str()))
    }
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
