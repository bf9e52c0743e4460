//! From the series of a selector to tiles, over all threads of the engine.
//!
//! ```text
//! SeriesSource -> batches of one tile's series -> RowMaker on the pool -> tiles in the order of the batches
//! ```
//!
//! Where a batch ends depends on the number of steps alone, and tiles leave in the order of the series. So the
//! result is the same for any number of threads.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use async_trait::async_trait;
use futures::channel::oneshot;

use super::context::Context;
use super::grid::Grid;
use super::meter::Meter;
use super::operator::Operator;
use super::samples::SampleBuffer;
use super::source::{ChunkedSeries, Popped, SeriesSource};
use super::tile::{TILE_CELLS, TILE_SERIES, Tile};
use crate::error::{Error, ErrorKind, Result};

/// Up to so many bytes the samples of a series are not worth a lease: each thread holds those of one.
const FREE_BYTES: u64 = 1 << 20;

/// Makes the row of one series: everything that a selector or a function over windows computes.
pub(crate) trait RowMaker: Debug + Send + Sync + 'static {
    /// Appends the row of `series` to `tile` when it has a value.
    fn add(&self, tile: &mut Tile, series: &ChunkedSeries, buffer: &mut SampleBuffer)
    -> Result<()>;
}

/// The tiles of a selector.
#[derive(Debug)]
pub(crate) struct SelectRows<M> {
    shared: Arc<Shared<M>>,
    source: SeriesSource,
    batch_len: usize,
    /// The most tiles that are computed at a time; a single one on the thread that wants it.
    ahead: usize,
    pending: VecDeque<oneshot::Receiver<Result<Tile>>>,
    is_at_end: bool,
}

#[derive(Debug)]
struct Shared<M> {
    cx: Arc<Context>,
    grid: Grid,
    maker: M,
    meter: Option<Arc<Meter>>,
    /// Those that no thread is using.
    buffers: Mutex<Vec<SampleBuffer>>,
}

impl<M: RowMaker> Shared<M> {
    fn tile(&self, batch: &[ChunkedSeries]) -> Result<Tile> {
        let started = self.meter.as_ref().map(|_| Instant::now());
        let mut buffer = self.lock().pop().unwrap_or_default();
        let mut tile = Tile::new(self.grid);
        let mut lease = self.cx.lease(0)?;
        for series in batch {
            self.cx.check()?;
            self.cx.count_series(1);
            self.maker.add(&mut tile, series, &mut buffer)?;
            // Of the longest series so far, whose samples the buffer has room for.
            let bytes = buffer.memory_bytes() as u64;
            if bytes > FREE_BYTES.max(lease.bytes()) {
                lease.resize(bytes)?;
            }
        }
        self.lock().push(buffer);
        if let (Some(meter), Some(started)) = (&self.meter, started) {
            meter.add_compute(started.elapsed());
        }
        Ok(tile)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<SampleBuffer>> {
        self.buffers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<M: RowMaker> SelectRows<M> {
    pub(crate) fn new(cx: Arc<Context>, grid: Grid, maker: M, source: SeriesSource) -> Self {
        let ahead = tiles_ahead(cx.pool.threads(), grid.len());
        Self {
            shared: Arc::new(Shared {
                cx,
                grid,
                maker,
                meter: source.meter(),
                buffers: Mutex::default(),
            }),
            source,
            batch_len: (TILE_CELLS / grid.len().max(1)).clamp(1, TILE_SERIES),
            ahead,
            pending: VecDeque::new(),
            is_at_end: false,
        }
    }

    /// Returns the series of one tile; fewer at the end.
    async fn batch(&mut self) -> Result<Vec<ChunkedSeries>> {
        let mut batch = Vec::with_capacity(self.batch_len);
        while batch.len() < self.batch_len && !self.is_at_end {
            match self.source.pop() {
                Popped::Series(series) => batch.push(series),
                Popped::Starved => self.source.fill().await?,
                Popped::End => self.is_at_end = true,
            }
        }
        Ok(batch)
    }

    /// Returns the next tile, which may be empty.
    async fn next_tile(&mut self) -> Result<Option<Tile>> {
        while !self.is_at_end && self.pending.len() < self.ahead {
            let batch = self.batch().await?;
            // A small query is not worth the way to another thread and back.
            let is_all = self.is_at_end && self.pending.is_empty();
            if self.ahead == 1 || is_all {
                return self.shared.tile(&batch).map(Some);
            }
            let shared = Arc::clone(&self.shared);
            let cx = &self.shared.cx;
            let job = cx.pool.run(&cx.turns, move || shared.tile(&batch));
            self.pending.push_back(job);
        }
        let Some(first) = self.pending.pop_front() else {
            return Ok(None);
        };
        let gone = |_| {
            Error::new(
                ErrorKind::Internal,
                "a thread of the engine gave up a series",
            )
        };
        first.await.map_err(gone)?.map(Some)
    }
}

/// Returns how many tiles over `steps` may be computed at a time.
///
/// Twice as many as there are threads, so that none idles while tiles are taken out in order; fewer where a single
/// row is longer than a tile, because nobody leases what waits.
fn tiles_ahead(threads: usize, steps: usize) -> usize {
    if threads == 1 {
        return 1;
    }
    (2 * threads / (steps / TILE_CELLS).max(1)).max(1)
}

#[async_trait]
impl<M: RowMaker> Operator for SelectRows<M> {
    fn grid(&self) -> Grid {
        self.shared.grid
    }

    async fn next(&mut self) -> Result<Option<Tile>> {
        self.shared.cx.turn().await?;
        while let Some(tile) = self.next_tile().await? {
            if !tile.is_empty() {
                return Ok(Some(tile));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_rows_do_not_pile_up() {
        for (threads, steps, expected) in [
            (1, 1, 1),
            (1, 50_000_000, 1),
            (8, 0, 16),
            (8, TILE_CELLS, 16),
            (8, 4 * TILE_CELLS, 4),
            (8, 50_000_000, 1),
        ] {
            assert_eq!(tiles_ahead(threads, steps), expected, "{threads} {steps}");
        }
    }
}
