//! Copying blocks from one bucket into another one.
//!
//! A block is copied chunks first, then its index, then its `meta.json` with the very bytes of the origin: what stops in
//! the middle leaves no block, and the next run goes on. Markers are not copied.
//!
//! Source: Thanos `pkg/replicate`.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::stream::BoxStream;
use futures::{Stream, TryStreamExt, stream};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use serde::Serialize;
use thanos_core::block::{BlockId, INDEX_FILE, META_FILE, Meta};
use thanos_core::labels::Matcher;
use thanos_core::time::{Clock, SystemClock, TimeWindow};
use thanos_core::{Error, ErrorKind, Result};

use super::list::list_blocks;
use crate::Bucket;
use crate::fetch::FetchOptions;
use crate::fetch::filter::{BlockFilter, DeletionMarkFilter, TimeWindowFilter};

/// The largest `meta.json` that is read.
const META_BYTES_MAX: u64 = 64 << 20;
/// Larger objects are copied in parts of this size.
const PART_BYTES: usize = 16 << 20;
/// No cloud takes more parts of an object than this.
const PARTS_MAX: u64 = 10_000;

/// Which blocks are copied; the defaults are those of Thanos.
#[derive(Debug, Clone)]
pub struct ReplicateOptions {
    /// Which external labels they have.
    pub matchers: Vec<Matcher>,
    /// Which resolutions, in milliseconds.
    pub resolutions_ms: BTreeSet<i64>,
    /// Which compaction levels.
    pub levels: BTreeSet<u32>,
    /// These blocks and no others, whatever matchers, resolutions and levels say; empty for all.
    pub ids: BTreeSet<BlockId>,
    /// Which times.
    pub window: TimeWindow,
    /// Whether blocks with a deletion mark are left out.
    pub ignore_marked_for_deletion: bool,
    /// How the origin is listed.
    pub fetch: FetchOptions,
    /// Where what happens is counted.
    pub metrics: ReplicateMetrics,
    /// Where the time comes from.
    pub clock: Arc<dyn Clock>,
}

impl Default for ReplicateOptions {
    fn default() -> Self {
        Self {
            matchers: Vec::new(),
            resolutions_ms: [0, 300_000, 3_600_000].into(),
            levels: (1..=4).collect(),
            ids: BTreeSet::new(),
            window: TimeWindow::ALL,
            ignore_marked_for_deletion: false,
            fetch: FetchOptions::default(),
            metrics: ReplicateMetrics::default(),
            clock: Arc::new(SystemClock),
        }
    }
}

/// What copying counts, with Thanos' names.
#[derive(Debug, Clone, Default)]
pub struct ReplicateMetrics {
    /// Blocks that the target had already.
    pub already_replicated: Counter,
    /// Blocks that were copied.
    pub replicated: Counter,
    /// Objects that were copied.
    pub objects: Counter,
}

impl ReplicateMetrics {
    /// Registers all of them.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "thanos_replicate_blocks_already_replicated",
            "Total number of blocks skipped due to already being replicated",
            self.already_replicated.clone(),
        );
        registry.register(
            "thanos_replicate_blocks_replicated",
            "Total number of blocks replicated",
            self.replicated.clone(),
        );
        registry.register(
            "thanos_replicate_objects_replicated",
            "Total number of objects replicated",
            self.objects.clone(),
        );
    }
}

/// What one run did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Replicated {
    /// Blocks that were copied, in their order.
    pub copied: Vec<BlockId>,
    /// Blocks that the target had already.
    pub already: Vec<BlockId>,
}

/// Copies the wanted blocks of `from` that `to` does not have, the oldest data first, so that a compactor over `to`
/// never sees a gap that is filled later.
///
/// # Errors
///
/// What the buckets report; the blocks before that one are copied.
pub async fn replicate_blocks(
    from: &Bucket,
    to: &Bucket,
    options: &ReplicateOptions,
) -> Result<Replicated> {
    let clock = || Arc::clone(&options.clock);
    let mut filters: Vec<Arc<dyn BlockFilter>> =
        vec![Arc::new(TimeWindowFilter::new(options.window, clock()))];
    if options.ignore_marked_for_deletion {
        filters.push(Arc::new(DeletionMarkFilter::new(0, clock())));
    }
    let listing = list_blocks(from, options.fetch.clone(), &filters).await?;
    let mut wanted: Vec<&Meta> = listing.blocks.values().map(|entry| &entry.meta).collect();
    wanted.retain(|meta| options.wants(meta));
    wanted.sort_by_key(|meta| (meta.min_time, meta.ulid));
    let mut done = Replicated::default();
    for meta in wanted {
        let id = meta.ulid;
        let copied = copy_block(from, to, id, &options.metrics).await;
        match copied
            .map_err(|error| error.context(format_args!("ensure block {id} is replicated")))?
        {
            true => done.copied.push(id),
            false => done.already.push(id),
        }
    }
    Ok(done)
}

impl ReplicateOptions {
    fn wants(&self, meta: &Meta) -> bool {
        let labels = meta.external_labels();
        if labels.is_empty() {
            tracing::error!(block = %meta.ulid, "block is not replicated: labels should not be empty");
            return false;
        }
        if !self.ids.is_empty() {
            return self.ids.contains(&meta.ulid);
        }
        let value = |matcher: &Matcher| labels.get(matcher.name()).unwrap_or_default();
        self.matchers
            .iter()
            .all(|matcher| matcher.matches(&value(matcher)))
            && self.resolutions_ms.contains(&meta.resolution_ms())
            && self.levels.contains(&meta.compaction.level)
    }
}

/// Copies a block; returns whether there was anything to copy.
async fn copy_block(
    from: &Bucket,
    to: &Bucket,
    id: BlockId,
    metrics: &ReplicateMetrics,
) -> Result<bool> {
    let meta_object = format!("{id}/{META_FILE}");
    let meta = from.read(&meta_object, META_BYTES_MAX).await;
    let meta = meta.map_err(|error| error.context("get meta file from origin bucket"))?;
    let target = to.clone().expecting_missing();
    match target.read(&meta_object, META_BYTES_MAX).await {
        Ok(there) if there == meta => {
            metrics.already_replicated.inc();
            return Ok(false);
        }
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error.context("get meta file from target bucket")),
    }
    let chunks = from.objects_under(&format!("{id}/chunks")).await?;
    let index = format!("{id}/{INDEX_FILE}");
    let index_bytes = from.size(&index).await;
    let index_bytes = index_bytes.map_err(|error| error.context("look at the index"))?;
    for (object, size) in chunks.into_iter().chain([(index, index_bytes)]) {
        let copied = copy_object(from, to, &object, size).await;
        if copied.map_err(|error| error.context(format_args!("replicate object {object}")))? {
            metrics.objects.inc();
        }
    }
    // Whoever deletes a block begins with its `meta.json`: while that is there, so was all that has been copied.
    let origin = from.clone().past_caches();
    let still = origin.read(&meta_object, META_BYTES_MAX).await;
    let still = still.map_err(|error| error.context("block went while it was copied"))?;
    if still != meta {
        let message = "meta.json has changed while the block was copied";
        return Err(Error::unavailable(message).in_file(meta_object));
    }
    let written = to.put(&meta_object, meta).await;
    written.map_err(|error| error.context("upload meta file"))?;
    metrics.replicated.inc();
    Ok(true)
}

/// Copies an object of `size` bytes unless the target has one as long; returns whether it did.
async fn copy_object(from: &Bucket, to: &Bucket, object: &str, size: u64) -> Result<bool> {
    match to.clone().expecting_missing().size(object).await {
        Ok(there) if there == size => return Ok(false),
        Ok(there) => tracing::warn!(
            object,
            there,
            size,
            "target has an object of another length, it is copied again"
        ),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let body = from.read_pieces(object).await?;
    let part_bytes =
        PART_BYTES.max(usize::try_from(body.size.div_ceil(PARTS_MAX)).unwrap_or(PART_BYTES));
    let size = body.size;
    let parts = whole_parts(body.pieces, size, part_bytes, object);
    if size > part_bytes as u64 {
        to.put_parts(object, parts).await?;
    } else {
        futures::pin_mut!(parts);
        let whole = parts.try_next().await?.unwrap_or_default();
        to.put(object, whole).await?;
    }
    Ok(true)
}

/// Returns `size` bytes of `pieces` in parts of `part_bytes`, the last one shorter; another size is an error.
fn whole_parts(
    pieces: BoxStream<'static, Result<Bytes>>,
    size: u64,
    part_bytes: usize,
    object: &str,
) -> impl Stream<Item = Result<Bytes>> {
    let cut_short = move |came: u64, object: &str| {
        let message = format!("{came} of {size} bytes came");
        Error::unavailable(message).in_file(object)
    };
    let state = (pieces, BytesMut::new(), 0_u64, object.to_owned());
    stream::try_unfold(
        state,
        move |(mut pieces, mut part, mut came, object)| async move {
            let left = usize::try_from(size - came).unwrap_or(usize::MAX);
            let wanted = part_bytes.min(left);
            while part.len() < wanted {
                match pieces.try_next().await? {
                    Some(piece) => part.extend_from_slice(&piece),
                    None => return Err(cut_short(came + part.len() as u64, &object)),
                }
            }
            if wanted == 0 {
                let more = !part.is_empty()
                    || pieces
                        .try_next()
                        .await?
                        .is_some_and(|more| !more.is_empty());
                return match more {
                    true => Err(cut_short(size + 1, &object)),
                    false => Ok(None),
                };
            }
            let whole = part.split_to(wanted).freeze();
            came += wanted as u64;
            Ok(Some((whole, (pieces, part, came, object))))
        },
    )
}
