//! Marking blocks by hand, and taking marks away.

use std::sync::Arc;

use serde::Serialize;
use thanos_core::block::{
    BlockId, DeletionMark, Marker, NoCompactMark, NoDownsampleMark, no_compact_reason,
};
use thanos_core::time::{Clock, SystemClock};
use thanos_core::{Error, Result};

use crate::Bucket;
use crate::transfer::{mark_block, remove_mark};

/// A kind of marker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MarkerKind {
    /// `deletion-mark.json`
    Deletion,
    /// `no-compact-mark.json`
    NoCompact,
    /// `no-downsample-mark.json`
    NoDownsample,
}

impl MarkerKind {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Deletion, Self::NoCompact, Self::NoDownsample];

    /// Returns the name of the file.
    pub const fn file(self) -> &'static str {
        match self {
            Self::Deletion => DeletionMark::FILE,
            Self::NoCompact => NoCompactMark::FILE,
            Self::NoDownsample => NoDownsampleMark::FILE,
        }
    }
}

/// What is done to the markers of blocks.
#[derive(Debug, Clone)]
pub struct MarkOptions {
    /// Which marker.
    pub marker: MarkerKind,
    /// Why, in words, when it is put; `None` takes it away.
    pub details: Option<String>,
    /// Where the time of the mark comes from.
    pub clock: Arc<dyn Clock>,
}

impl MarkOptions {
    /// Returns the options that put `marker` because of `details`.
    pub fn put(marker: MarkerKind, details: impl Into<String>) -> Self {
        Self {
            marker,
            details: Some(details.into()),
            clock: Arc::new(SystemClock),
        }
    }

    /// Returns the options that take `marker` away.
    pub fn remove(marker: MarkerKind) -> Self {
        Self {
            marker,
            details: None,
            clock: Arc::new(SystemClock),
        }
    }
}

/// What became of the marker of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MarkOutcome {
    /// It was put, or taken away.
    Changed,
    /// It was there already and stays as it is, or was not there.
    Unchanged,
}

/// Puts a marker on `blocks` one after the other, or takes it away; whether there are such blocks nobody asks.
///
/// # Errors
///
/// What the bucket reports; blocks before that one are marked.
pub async fn mark_blocks(
    bucket: &Bucket,
    blocks: &[BlockId],
    options: &MarkOptions,
) -> Result<Vec<(BlockId, MarkOutcome)>> {
    let mut outcomes = Vec::with_capacity(blocks.len());
    for id in blocks {
        let marked = match &options.details {
            Some(details) => put(bucket, *id, options, details).await,
            None => remove(bucket, *id, options.marker).await,
        };
        let verb = if options.details.is_some() {
            "mark"
        } else {
            "remove mark"
        };
        let file = options.marker.file();
        let named = |error: Error| error.context(format_args!("{verb} {id} for {file}"));
        let outcome = match marked.map_err(named)? {
            true => MarkOutcome::Changed,
            false => MarkOutcome::Unchanged,
        };
        outcomes.push((*id, outcome));
    }
    Ok(outcomes)
}

async fn put(bucket: &Bucket, id: BlockId, options: &MarkOptions, details: &str) -> Result<bool> {
    let now = options.clock.now();
    match options.marker {
        MarkerKind::Deletion => mark_block(bucket, &DeletionMark::new(id, now, details)).await,
        MarkerKind::NoCompact => {
            let mark = NoCompactMark::new(id, now, no_compact_reason::MANUAL, details);
            mark_block(bucket, &mark).await
        }
        MarkerKind::NoDownsample => {
            mark_block(bucket, &NoDownsampleMark::new(id, now, details)).await
        }
    }
}

async fn remove(bucket: &Bucket, id: BlockId, marker: MarkerKind) -> Result<bool> {
    match marker {
        MarkerKind::Deletion => remove_mark::<DeletionMark>(bucket, id).await,
        MarkerKind::NoCompact => remove_mark::<NoCompactMark>(bucket, id).await,
        MarkerKind::NoDownsample => remove_mark::<NoDownsampleMark>(bucket, id).await,
    }
}
