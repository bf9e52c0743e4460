//! The series of one block as a stream: postings once, then windows of entries and steps of chunks, read ahead.
//!
//! ```text
//! postings -> window 1 (entries) -> step 1 (chunks), step 2 ... -> batches
//!             window 2 ......................................     at the same time, as far as may be read ahead
//! ```
//!
//! The first window is small, so that the first series come early, and later ones grow. A window and a step are bounded
//! in series and in bytes, and so is what is read ahead, for all blocks of a request together: the memory of a
//! request does not grow with the number of series, but for four bytes of postings each.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use futures::{Stream, TryStreamExt};
use thanos_core::Result;
use thanos_core::budget::Lease;
use thanos_core::chunk::Aggregate;
use thanos_core::index::ChunkMeta;
use thanos_core::indexheader::IndexHeader;
use thanos_core::labels::Matcher;
use thanos_core::query::{BATCH_SERIES_TARGET, SeriesBatch, SeriesEvent, SeriesStream};
use thanos_core::time::TimeRange;
use thanos_storeapi::label_edit::LabelEdit;
use thanos_storeapi::shard::ShardFilter;

use super::ahead::{AheadTask, ReadAhead};
use super::block::GatewayBlock;
use super::chunks::{Ready, Step};
use super::entries::{Decoded, EntryFilter, EntryReader, Layout};
use super::masks::{HasChunks, Mask, masked};
use super::postings::{Selection, matching_series};
use super::query::QueryContext;

/// The most series of the first window.
const FIRST_WINDOW_SERIES: usize = 2 * BATCH_SERIES_TARGET;
/// A window has at most so many times as many series as the one before.
const WINDOW_GROWTH: usize = 4;
/// The most series of a window, as in Thanos (`--debug.series-batch-size`, row ST-20 of the specification).
const WINDOW_SERIES_MAX: usize = 10_000;
/// The most windows of a block under way at once.
const WINDOWS_AHEAD: usize = 8;
/// So many times as much room must be left as is read ahead: labels are many times longer than the entries that refer
/// to them.
const ROOM_FOR_AHEAD: u64 = 16;
/// The most chunks of a step.
const STEP_CHUNKS_MAX: usize = 8192;
/// The most bytes of chunks of a step, by their mean length.
const STEP_BYTES_MAX: u64 = 4 << 20;

/// What is wanted from a block; matchers on external labels are dealt with already.
#[derive(Debug, Clone)]
pub(super) struct BlockQuery {
    pub(super) matchers: Vec<Matcher>,
    pub(super) range: TimeRange,
    pub(super) skip_chunks: bool,
    pub(super) aggregates: Arc<[Aggregate]>,
    /// The wanted shard, and what makes the labels that it goes by.
    pub(super) shard: Option<(ShardFilter, LabelEdit)>,
    /// How many series the whole request wants; 0 means all.
    pub(super) limit: u64,
    /// What tombstones hide.
    pub(super) mask: Option<Mask>,
}

/// Returns the series of `block`, without its external labels, in label order. Whatever grows with their number is
/// leased from the budget of `query`.
pub(super) fn block_series(
    block: Arc<GatewayBlock>,
    header: Arc<IndexHeader>,
    mut wanted: BlockQuery,
    query: Arc<QueryContext>,
    ahead: ReadAhead,
) -> SeriesStream {
    let Some(mask) = wanted.mask.take() else {
        return walk(block, header, wanted, query, ahead);
    };
    let compute = block.compute().clone();
    let has_chunks = match wanted.skip_chunks {
        true => HasChunks::No,
        false => HasChunks::Yes,
    };
    // How many series are needed is known only when it is known which are hidden.
    wanted.limit = 0;
    masked(
        walk(block, header, wanted, query, ahead),
        mask,
        has_chunks,
        compute,
    )
}

fn walk(
    block: Arc<GatewayBlock>,
    header: Arc<IndexHeader>,
    wanted: BlockQuery,
    query: Arc<QueryContext>,
    ahead: ReadAhead,
) -> SeriesStream {
    let started = async move { Walk::start(block, header, wanted, query, ahead).await };
    Box::pin(futures::stream::once(started).try_flatten())
}

struct Walk {
    reader: Arc<EntryReader>,
    aggregates: Arc<[Aggregate]>,
    ahead: ReadAhead,
    /// How many series the request wants; 0 means all.
    limit: u64,
    /// The position of the first series of the next window.
    next_series: usize,
    next_window_series: usize,
    /// In the order of their series.
    windows: VecDeque<AheadTask<Decoded>>,
    /// The window whose chunks are not all on their way.
    window: Option<Rest>,
    /// In the order of their series.
    steps: VecDeque<AheadTask<Ready>>,
    ready: Option<Ready>,
    _postings_lease: Lease,
    is_over: bool,
}

/// What is left of a window.
struct Rest {
    decoded: Decoded,
    /// How many series are dealt with.
    done: usize,
}

/// Series of a window, and the chunks of each as a [`Step`] has them.
struct Taken {
    batches: Vec<SeriesBatch>,
    chunk_ends: Vec<usize>,
    chunks: Vec<ChunkMeta>,
}

impl Walk {
    async fn start(
        block: Arc<GatewayBlock>,
        header: Arc<IndexHeader>,
        wanted: BlockQuery,
        query: Arc<QueryContext>,
        ahead: ReadAhead,
    ) -> Result<Self> {
        let selection = matching_series(&block, &header, &wanted.matchers, &query).await?;
        let Selection {
            series,
            lazy_matchers,
            lease,
        } = selection;
        query.block_ready();
        query.add_series(series.len() as u64)?;
        if series.is_empty() {
            query.metrics().empty_postings(query.tenant_label());
        }
        let filter = EntryFilter {
            range: wanted.range,
            skip_chunks: wanted.skip_chunks,
            matchers: lazy_matchers,
            shard: wanted.shard,
        };
        let reader = EntryReader {
            layout: Layout::new(&block, header),
            block,
            series,
            filter,
            query,
            scratch: parking_lot::Mutex::default(),
            places: OnceLock::new(),
        };
        let limit = usize::try_from(wanted.limit).unwrap_or(usize::MAX);
        let first = if limit == 0 { usize::MAX } else { limit };
        Ok(Self {
            reader: Arc::new(reader),
            aggregates: wanted.aggregates,
            ahead,
            limit: wanted.limit,
            next_series: 0,
            next_window_series: FIRST_WINDOW_SERIES.min(first),
            windows: VecDeque::new(),
            window: None,
            steps: VecDeque::new(),
            ready: None,
            _postings_lease: lease,
            is_over: false,
        })
    }

    fn poll_batch(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<SeriesBatch>>> {
        loop {
            let next = self.ready.as_mut();
            if let Some(batch) = next.and_then(|ready| ready.batches.pop_front()) {
                return Poll::Ready(Ok(Some(batch)));
            }
            self.ready = None;
            self.start_steps()?;
            self.start_windows()?;
            if self.window.is_none()
                && let Some(front) = self.windows.front_mut()
                && let Poll::Ready(decoded) = front.poll_outcome(context)
            {
                self.windows.pop_front();
                self.take_window(decoded?);
                continue;
            }
            let Some(front) = self.steps.front_mut() else {
                return match self.windows.is_empty() {
                    true => Poll::Ready(Ok(None)),
                    false => Poll::Pending,
                };
            };
            let done = ready!(front.poll_outcome(context));
            self.steps.pop_front();
            self.ready = Some(done?);
        }
    }

    /// Goes on with a window: its series are what is wanted, or their chunks are to be read.
    fn take_window(&mut self, decoded: Decoded) {
        if self.reader.filter.skip_chunks {
            self.ready = Some(Ready {
                batches: decoded.batches,
                _labels: decoded.lease,
                _chunks: None,
            });
        } else {
            self.window = Some(Rest { decoded, done: 0 });
        }
    }

    /// Begins to read entries: always those that are wanted next, others while they may be read ahead.
    fn start_windows(&mut self) -> Result<()> {
        let series = &self.reader.series;
        while self.next_series < series.len() && self.windows.len() < WINDOWS_AHEAD {
            let is_wanted =
                self.windows.is_empty() && self.window.is_none() && self.steps.is_empty();
            // Of a request for a few series the first window may be all.
            if !is_wanted && self.limit > 0 {
                break;
            }
            let size = self.next_window_series;
            let window = self.reader.layout.window(series, self.next_series, size);
            let object = self.reader.block.index_object();
            let window = window.map_err(|error| error.in_file(object))?;
            let allowance = self.allow(window.bytes);
            if !is_wanted && allowance.is_none() {
                break;
            }
            self.next_series = window.series.end;
            self.next_window_series = (size.saturating_mul(WINDOW_GROWTH)).min(WINDOW_SERIES_MAX);
            let read = Arc::clone(&self.reader).read(window);
            self.windows.push_back(self.ahead.start(read, allowance));
        }
        Ok(())
    }

    /// Begins to read chunks of the window: always those that are wanted next, others while they may be read ahead.
    fn start_steps(&mut self) -> Result<()> {
        let mean = self.reader.block.chunk_bytes_mean();
        while let Some(rest) = &mut self.window {
            let (end, chunks) = rest.step_end(mean);
            if end == rest.done {
                self.window = None;
                break;
            }
            let bytes = mean.saturating_mul(chunks as u64);
            let allowance = self.allow(bytes);
            if !self.steps.is_empty() && allowance.is_none() {
                break;
            }
            let Some(rest) = &mut self.window else {
                break;
            };
            let taken = rest.take(end);
            let step = Step {
                block: Arc::clone(&self.reader.block),
                batches: taken.batches,
                chunk_ends: taken.chunk_ends,
                chunks: taken.chunks,
                aggregates: Arc::clone(&self.aggregates),
                query: Arc::clone(&self.reader.query),
                lease: rest.decoded.lease.clone(),
            };
            self.steps
                .push_back(self.ahead.start(step.read(), allowance));
        }
        Ok(())
    }

    /// Takes `bytes` of what may be read ahead, if the memory of the request has much more room than that: what is read
    /// ahead takes more than its bytes when it is decoded, and must not take the room of what has to be read.
    fn allow(&self, bytes: u64) -> Option<super::ahead::Allowance> {
        let room_bytes = self.reader.query.budget.room_bytes();
        self.ahead.allow(bytes, room_bytes / ROOM_FOR_AHEAD)
    }
}

impl Rest {
    /// Returns where the next step ends, and how many chunks it has.
    fn step_end(&self, chunk_bytes_mean: u64) -> (usize, usize) {
        let ends = &self.decoded.chunk_ends;
        let first_chunk = self.first_chunk();
        let by_bytes = usize::try_from(STEP_BYTES_MAX / chunk_bytes_mean.max(1));
        let chunks_max = by_bytes.unwrap_or(usize::MAX).clamp(1, STEP_CHUNKS_MAX);
        let rest = ends.get(self.done..).unwrap_or_default();
        let fits = rest.partition_point(|end| end - first_chunk <= chunks_max);
        // One series is always read, however many chunks it has.
        let end = self.done + fits.max(1).min(rest.len());
        let last = end.checked_sub(1).map_or(first_chunk, |last| ends[last]);
        (end, last.saturating_sub(first_chunk))
    }

    fn first_chunk(&self) -> usize {
        let before = self.done.checked_sub(1);
        before.map_or(0, |before| self.decoded.chunk_ends[before])
    }

    /// Takes the series up to `end`.
    fn take(&mut self, end: usize) -> Taken {
        let first_chunk = self.first_chunk();
        let decoded = &mut self.decoded;
        let (mut batches, mut left) = (Vec::new(), end - self.done);
        while left > 0
            && let Some(batch) = decoded.batches.pop_front()
        {
            if batch.len() > left {
                decoded.batches.push_front(batch.slice(left..batch.len()));
                batches.push(batch.slice(0..left));
                break;
            }
            left -= batch.len();
            batches.push(batch);
        }
        let ends = &decoded.chunk_ends[self.done..end];
        let last_chunk = ends.last().copied().unwrap_or(first_chunk);
        self.done = end;
        Taken {
            batches,
            chunk_ends: ends.iter().map(|end| end - first_chunk).collect(),
            chunks: decoded.chunks[first_chunk..last_chunk].to_vec(),
        }
    }
}

impl Stream for Walk {
    type Item = Result<SeriesEvent>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.is_over {
            return Poll::Ready(None);
        }
        let batch = ready!(this.poll_batch(context)).transpose();
        if matches!(batch, None | Some(Err(_))) {
            this.is_over = true;
            // What is under way stops now, not when the stream is dropped.
            this.windows.clear();
            this.steps.clear();
            this.window = None;
        }
        Poll::Ready(batch.map(|batch| batch.map(SeriesEvent::Batch)))
    }
}
