//! Whether a compacted block overlaps with what the bucket has of the same source.

use futures::{StreamExt, TryStreamExt, stream};
use thanos_core::block::{BlockId, META_FILE, Meta};
use thanos_core::labels::Labels;
use thanos_core::time::Timestamp;
use thanos_core::{Error, ErrorKind, Result};

use crate::Bucket;

/// How many `meta.json` are on their way at once.
const READS_MAX: usize = 32;
/// The longest `meta.json` that is read.
const META_BYTES_MAX: u64 = 64 << 20;

/// The blocks of the bucket with the external labels of a shipper; read when a block is checked first.
#[derive(Debug)]
pub(super) struct Overlaps {
    bucket: Bucket,
    external_labels: Labels,
    blocks: Option<Vec<Span>>,
}

/// The times of a block: `end` is the first one after it.
#[derive(Debug, Clone, Copy)]
struct Span {
    id: BlockId,
    start: Timestamp,
    end: Timestamp,
}

impl Span {
    fn of(meta: &Meta) -> Self {
        Self {
            id: meta.ulid,
            start: meta.min_time,
            end: meta.max_time,
        }
    }
}

impl Overlaps {
    pub(super) fn new(bucket: Bucket, external_labels: Labels) -> Self {
        Self {
            bucket,
            external_labels,
            blocks: None,
        }
    }

    /// Checks that the block of `meta` may be uploaded.
    ///
    /// # Errors
    ///
    /// `Invalid` when it overlaps with a block of the bucket; otherwise what the bucket reports.
    pub(super) async fn check(&mut self, meta: &Meta) -> Result<()> {
        let blocks = match self.blocks.take() {
            Some(blocks) => blocks,
            None => self.read().await?,
        };
        let new = Span::of(meta);
        let overlaps = |old: &&Span| old.start < new.end && new.start < old.end;
        let found: Vec<_> = blocks.iter().filter(overlaps).map(text).collect();
        self.blocks = Some(blocks);
        if found.is_empty() {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "shipping compacted block {} is blocked; overlap spotted: {} with {}",
            new.id,
            text(&new),
            found.join(", ")
        )))
    }

    /// Notes that the block of `meta` was uploaded.
    pub(super) fn add(&mut self, meta: &Meta) {
        if let Some(blocks) = &mut self.blocks {
            blocks.push(Span::of(meta));
        }
    }

    async fn read(&self) -> Result<Vec<Span>> {
        tracing::info!("gathering all existing blocks from the remote bucket for check");
        let directories = self.bucket.top_directories().await?;
        let ids: Vec<BlockId> = directories
            .iter()
            .filter_map(|name| name.trim_end_matches('/').parse().ok())
            .collect();
        let spans = stream::iter(ids).map(|id| self.span(id));
        let spans = spans.buffer_unordered(READS_MAX);
        spans
            .try_filter_map(|span| async move { Ok(span) })
            .try_collect()
            .await
    }

    /// Returns the times of a block of the bucket, if its external labels are ours.
    async fn span(&self, id: BlockId) -> Result<Option<Span>> {
        let object = format!("{id}/{META_FILE}");
        let text = match self.bucket.read(&object, META_BYTES_MAX).await {
            Ok(text) => text,
            // It is being uploaded or deleted: nobody sees it.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let meta = Meta::parse(&text).map_err(|error| error.in_file(object))?;
        let is_ours = meta.external_labels() == self.external_labels;
        Ok(is_ours.then(|| Span::of(&meta)))
    }
}

fn text(span: &Span) -> String {
    let (start, end) = (span.start.as_millis(), span.end.as_millis());
    format!("[mint: {start}, maxt: {end}, block: {}]", span.id)
}
