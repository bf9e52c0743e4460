//! One block of a bucket: its index-header, and where its objects lie.

use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use thanos_core::block::{BlockId, Meta};
use thanos_core::index::{PostingsTable, SeriesRef, Symbols};
use thanos_core::indexheader::IndexHeader;
use thanos_core::labels::Labels;
use thanos_core::time::TimeRange;
use thanos_core::{Error, Result};

use super::header::load_header;
use crate::Bucket;

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

/// A block that is ready to be asked.
pub(super) struct GatewayBlock {
    bucket: Bucket,
    meta: Arc<Meta>,
    external_labels: Labels,
    header: IndexHeader,
    index_object: String,
    /// The objects of the chunk files, in the order of their numbers.
    segments: Vec<String>,
    limits: FetchLimits,
}

impl GatewayBlock {
    /// Reads what is needed to plan requests: the list of objects and the index-header.
    ///
    /// `data_dir` is where index-headers are kept between runs.
    pub(super) async fn open(
        bucket: Bucket,
        meta: Arc<Meta>,
        limits: FetchLimits,
        data_dir: Option<&Path>,
    ) -> Result<Self> {
        let id = meta.ulid;
        let index_object = format!("{id}/index");
        let objects = bucket.objects_under(&id.to_string()).await?;
        let chunks_dir = format!("{id}/chunks/");
        let segments = segments_in_sequence(&chunks_dir, objects.iter().map(|(name, _)| name))?;
        let size = objects
            .iter()
            .find(|(name, _)| *name == index_object)
            .map(|(_, size)| *size);
        let size = size.ok_or_else(|| {
            Error::not_found("the block has no index").in_file(index_object.as_str())
        })?;
        let header = load_header(
            &bucket,
            &index_object,
            size,
            data_dir.map(|dir| dir.join(id.to_string())).as_deref(),
        )
        .await?;
        let external_labels = meta.external_labels();
        Ok(Self {
            bucket,
            meta,
            external_labels,
            header,
            index_object,
            segments,
            limits,
        })
    }

    pub(super) fn id(&self) -> BlockId {
        self.meta.ulid
    }

    pub(super) fn bucket(&self) -> &Bucket {
        &self.bucket
    }

    pub(super) fn limits(&self) -> FetchLimits {
        self.limits
    }

    pub(super) fn index_object(&self) -> &str {
        &self.index_object
    }

    pub(super) fn external_labels(&self) -> &Labels {
        &self.external_labels
    }

    pub(super) fn time_range(&self) -> TimeRange {
        self.meta.time_range()
    }

    /// Returns what the store announces.
    ///
    /// COMPAT: the end is that of meta.json, although no sample has that time: adjacent blocks touch that way, as in
    /// Thanos (row ST-31 of the specification).
    pub(super) fn announced_range(&self) -> TimeRange {
        TimeRange {
            min: self.meta.min_time,
            max: self.meta.max_time,
        }
    }

    pub(super) fn resolution_ms(&self) -> i64 {
        self.meta.resolution_ms()
    }

    pub(super) fn symbols(&self) -> &Symbols {
        self.header.symbols()
    }

    pub(super) fn postings_table(&self) -> &PostingsTable {
        self.header.postings_table()
    }

    /// Returns the bytes of the index in which the entry of `series` is assumed to lie.
    pub(super) fn entry_range(&self, series: SeriesRef) -> Result<Range<u64>> {
        let start = self
            .header
            .index_version()
            .series_offset(series)
            .ok_or_else(|| {
                let message = format!("postings name {series:?}, which lies outside of any index");
                Error::corrupt(message).in_file(self.index_object.as_str())
            })?;
        let known = self
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
        let known = usize::try_from(segment)
            .ok()
            .and_then(|segment| self.segments.get(segment));
        known.cloned().ok_or_else(|| {
            let message = format!(
                "a series has chunks in file {segment} of {}",
                self.segments.len()
            );
            Error::corrupt(message).in_file(self.index_object.as_str())
        })
    }
}

/// Returns the chunk files among `objects`, which are sorted.
///
/// References count files, so a gap in their numbers would give a series the chunks of another: `Corrupt`.
fn segments_in_sequence<'a>(
    chunks_dir: &str,
    objects: impl Iterator<Item = &'a String>,
) -> Result<Vec<String>> {
    let mut segments = Vec::new();
    for object in objects {
        let number = object
            .strip_prefix(chunks_dir)
            .filter(|name| !name.is_empty());
        let Some(number) = number.filter(|name| name.bytes().all(|c| c.is_ascii_digit())) else {
            continue;
        };
        let expected = segments.len() + 1;
        if number.parse() != Ok(expected) {
            let message = format!("chunk file {expected} is missing: the next one is {number}");
            return Err(Error::corrupt(message).in_file(object.as_str()));
        }
        segments.push(object.clone());
    }
    Ok(segments)
}

impl fmt::Debug for GatewayBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "GatewayBlock({} {})",
            self.meta.ulid, self.external_labels
        )
    }
}
