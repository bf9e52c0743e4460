//! The series of one block as a stream: postings once, then window by window entries, chunks, batches.
//!
//! A window is bounded in series and in bytes, and the next one is fetched when its predecessor has been taken: the
//! memory of a request does not grow with the number of series, but for four bytes of postings each.

use std::collections::VecDeque;
use std::sync::Arc;

use thanos_core::budget::Lease;
use thanos_core::chunk::{Aggregate, Chunk, SeriesChunk};
use thanos_core::index::{ChunkMeta, LabelDecoder, RawSeries, decode_series_within, split_series};
use thanos_core::indexheader::IndexHeader;
use thanos_core::labels::{LabelsRef, Matcher};
use thanos_core::query::{
    BATCH_SERIES_TARGET, SeriesBatch, SeriesBatchBuilder, SeriesEvent, SeriesStream,
};
use thanos_core::time::TimeRange;
use thanos_core::{Error, Result};
use thanos_storeapi::aggregates::keep_aggregates;

use super::block::GatewayBlock;
use super::chunks::fetch_chunks;
use super::entries::{fetch_entries, take_window};
use super::postings::matching_series;
use super::query::QueryContext;

/// The most series of one window.
const WINDOW_SERIES_MAX: usize = 8 * BATCH_SERIES_TARGET;
/// The most chunks that are fetched at once; a window of series with more is fetched in several steps.
const STEP_CHUNKS_MAX: usize = 2048;

/// What is wanted from a block; matchers on external labels are dealt with already.
#[derive(Debug, Clone)]
pub(super) struct BlockQuery {
    pub(super) matchers: Vec<Matcher>,
    pub(super) range: TimeRange,
    pub(super) skip_chunks: bool,
    pub(super) aggregates: Vec<Aggregate>,
}

/// Returns the series of `block`, without its external labels, in label order. Postings and the series that are ready
/// are leased from the budget of `query`.
pub(super) fn block_series(
    block: Arc<GatewayBlock>,
    header: Arc<IndexHeader>,
    wanted: BlockQuery,
    query: Arc<QueryContext>,
) -> SeriesStream {
    let start = Walk {
        block,
        header,
        wanted,
        query,
        series: None,
        decoder: LabelDecoder::new(),
        window: Window::default(),
        ready: VecDeque::new(),
        postings_lease: None,
        ready_lease: None,
    };
    Box::pin(futures::stream::try_unfold(start, |mut walk| async move {
        let batch = walk.next().await?;
        Ok(batch.map(|batch| (SeriesEvent::Batch(batch), walk)))
    }))
}

struct Walk {
    block: Arc<GatewayBlock>,
    header: Arc<IndexHeader>,
    wanted: BlockQuery,
    query: Arc<QueryContext>,
    /// The series still to read; `None` before the postings are fetched.
    series: Option<(Vec<u32>, usize)>,
    decoder: LabelDecoder,
    /// The series whose entries are read and whose chunks are not.
    window: Window,
    ready: VecDeque<SeriesBatch>,
    postings_lease: Option<Lease>,
    ready_lease: Option<Lease>,
}

/// Decoded series, the first `done` of which are dealt with.
#[derive(Default)]
struct Window {
    keys: Vec<u8>,
    series: Vec<WindowSeries>,
    done: usize,
    /// Where the key of the next series starts.
    key_start: usize,
}

/// A decoded series of a window: where its key ends in the arena, and its wanted chunks.
struct WindowSeries {
    key_end: usize,
    chunks: Vec<ChunkMeta>,
}

impl Walk {
    async fn next(&mut self) -> Result<Option<SeriesBatch>> {
        loop {
            if let Some(batch) = self.ready.pop_front() {
                return Ok(Some(batch));
            }
            self.ready_lease = None;
            if self.window.done < self.window.series.len() {
                self.read_step().await?;
                continue;
            }
            let (series, mut done) = match self.series.take() {
                Some(state) => state,
                None => (self.find_series().await?, 0),
            };
            if done == series.len() {
                self.series = Some((series, done));
                return Ok(None);
            }
            let mut rest = &series[done..];
            let window = take_window(&self.block, &self.header, &mut rest, WINDOW_SERIES_MAX)?;
            done += window.len();
            let (keys, entries) = self.read_entries(window).await?;
            self.window = Window {
                keys,
                series: entries,
                ..Window::default()
            };
            self.series = Some((series, done));
        }
    }

    async fn find_series(&mut self) -> Result<Vec<u32>> {
        let series = matching_series(
            &self.block,
            &self.header,
            &self.wanted.matchers,
            &self.query,
        )
        .await?;
        self.query.block_ready();
        self.query.add_series(series.len() as u64)?;
        if series.is_empty() {
            let tenant = self.query.tenant_label();
            self.query.metrics().empty_postings(tenant);
        }
        self.postings_lease = Some(
            self.query
                .budget
                .lease(size_of_val(series.as_slice()) as u64)?,
        );
        Ok(series)
    }

    /// Fetches and decodes the entries of `window`; series without a chunk in the time range are left out.
    async fn read_entries(&mut self, window: &[u32]) -> Result<(Vec<u8>, Vec<WindowSeries>)> {
        let block = Arc::clone(&self.block);
        let in_index = |error: Error, offset| error.at(offset).in_file(block.index_object());
        let (mut keys, mut series) = (Vec::new(), Vec::with_capacity(window.len()));
        let mut raw = RawSeries::default();
        for entry in fetch_entries(&block, &self.header, window, &self.query).await? {
            let section = split_series(&entry.bytes, entry.offset);
            section
                .and_then(|section| decode_series_within(section, self.wanted.range, &mut raw))
                .map_err(|error| in_index(error, entry.offset))?;
            if raw.chunks.is_empty() {
                continue;
            }
            self.decoder
                .append_key(self.header.symbols(), &raw.labels, &mut keys)
                .map_err(|error| in_index(error, entry.offset))?;
            let chunks = if self.wanted.skip_chunks {
                Vec::new()
            } else {
                self.query.add_chunks(raw.chunks.len() as u64)?;
                raw.chunks.clone()
            };
            series.push(WindowSeries {
                key_end: keys.len(),
                chunks,
            });
        }
        Ok((keys, series))
    }

    /// Fetches the chunks of the next series of the window, as many as one step takes, and makes batches.
    async fn read_step(&mut self) -> Result<()> {
        let window = std::mem::take(&mut self.window);
        let mut step_end = window.done;
        let mut chunk_count = 0;
        while let Some(series) = window.series.get(step_end) {
            chunk_count += series.chunks.len();
            if step_end > window.done && chunk_count > STEP_CHUNKS_MAX {
                break;
            }
            step_end += 1;
        }
        let step = &window.series[window.done..step_end];
        let wanted: Vec<_> = step
            .iter()
            .flat_map(|series| &series.chunks)
            .map(|chunk| chunk.reference)
            .collect();
        let mut fetched = fetch_chunks(&self.block, &wanted, &self.query)
            .await?
            .into_iter();
        let mut key_start = window.key_start;
        let mut batch = SeriesBatchBuilder::new();
        for one in step {
            let mut chunks = Vec::with_capacity(one.chunks.len());
            for (meta, chunk) in one.chunks.iter().zip(fetched.by_ref()) {
                chunks.extend(self.series_chunk(meta, chunk)?);
            }
            let key = &window.keys[key_start..one.key_end];
            key_start = one.key_end;
            // A series none of whose chunks has a wanted aggregate is as good as absent.
            if !chunks.is_empty() || self.wanted.skip_chunks {
                batch.push(LabelsRef::from_trusted_key(key), chunks);
            }
            if batch.is_full() {
                self.ready.push_back(batch.finish());
            }
        }
        if !batch.is_empty() {
            self.ready.push_back(batch.finish());
        }
        self.window = Window {
            done: step_end,
            key_start,
            ..window
        };
        let bytes: usize = self.ready.iter().map(SeriesBatch::memory_bytes).sum();
        self.ready_lease = Some(self.query.budget.lease(bytes as u64)?);
        Ok(())
    }

    /// Returns the wanted parts of a chunk; `None` when a downsampled chunk has none of the wanted aggregates.
    fn series_chunk(&self, meta: &ChunkMeta, chunk: Chunk) -> Result<Option<SeriesChunk>> {
        let payload = thanos_core::chunk::payload(chunk).map_err(|error| {
            let object = self
                .block
                .segment_object(meta.reference.segment())
                .unwrap_or_default();
            error.at(u64::from(meta.reference.offset())).in_file(object)
        })?;
        let chunk = SeriesChunk {
            min_time: meta.min_time,
            max_time: meta.max_time,
            payload,
        };
        Ok(keep_aggregates(chunk, &self.wanted.aggregates))
    }
}
