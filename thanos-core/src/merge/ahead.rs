//! The same merge on several threads: one reads and checks chunks ahead, some merge them, and the caller's writes.
//!
//! ```text
//! reader --(batch, where its result goes)--> mergers
//!    |                                          |
//!    +--(where its result comes from)--> writer <
//! ```
//!
//! The writer takes the results in the order in which the reader has made the batches, so that what is written, and which
//! error comes first, does not depend on the threads. Both queues are bounded, and what waits in them is on lease. A
//! thread that is gone is noticed by its neighbours at the end of a queue: the writer drops what it waits for, the
//! reader cannot send any more, and the mergers find no more work.

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Scope, ScopedJoinHandle, scope};

use super::chunks::{ChunkMerger, MergeOverlaps};
use super::sources::{LabelNames, MergedSeries, Sources};
use crate::budget::{Lease, MemoryBudget};
use crate::chunk::{Aggregate, SeriesChunk};
use crate::error::{Error, Result};
use crate::index::SymbolRef;

/// A batch is full with so many series, or so many bytes of chunks.
const BATCH_SERIES_MAX: usize = 64;
const BATCH_BYTES_MAX: usize = 256 << 10;
/// How many batches wait for each merger, or for the writer after it.
const BATCHES_PER_THREAD: usize = 2;
/// What is held of a chunk apart from its bytes.
const CHUNK_BYTES: usize = 96;

/// Series that were read.
struct Batch {
    series: Vec<(LabelNames, Vec<Vec<SeriesChunk>>)>,
    /// What went wrong after them.
    error: Option<Error>,
    lease: Option<Lease>,
}

/// Series that were merged.
struct Merged {
    series: Vec<(LabelNames, Result<Vec<SeriesChunk>>)>,
    error: Option<Error>,
    _lease: Option<Lease>,
}

/// A batch, and where its result goes; there is room for it.
type Work = (Batch, SyncSender<Merged>);

/// Calls `write` with the labels and the merged chunks of all series of `sources` in their order, or with what merging
/// them has met; merges on `threads` threads beside the caller's.
///
/// # Errors
///
/// Those of reading, and of `write`.
pub(super) fn merge_ahead(
    sources: &mut Sources,
    (overlaps, budget): (MergeOverlaps, &MemoryBudget),
    threads: usize,
    mut write: impl FnMut(&[(SymbolRef, SymbolRef)], Result<Vec<SeriesChunk>>) -> Result<()>,
) -> Result<()> {
    let mut mergers = Vec::with_capacity(threads);
    for _ in 0..threads {
        mergers.push(ChunkMerger::new(overlaps, budget.clone())?);
    }
    let waiting = BATCHES_PER_THREAD * threads;
    let (give, take) = sync_channel::<Work>(waiting);
    let (announce, results) = sync_channel::<Receiver<Merged>>(waiting);
    let take = Mutex::new(take);
    scope(|scope| {
        let reader = scope.spawn(move || read(sources, budget, &give, &announce));
        let mergers = spawn_mergers(scope, mergers, &take);
        let written = write_all(results, &mut write);
        // The queues end with the reader, and with them the mergers.
        let mut panics = vec![reader.join().err()];
        panics.extend(mergers.into_iter().map(|merger| merger.join().err()));
        match panics.into_iter().flatten().next() {
            Some(panic) => std::panic::resume_unwind(panic),
            None => written,
        }
    })
}

fn spawn_mergers<'scope, 'env>(
    scope: &'scope Scope<'scope, 'env>,
    mergers: Vec<ChunkMerger>,
    work: &'env Mutex<Receiver<Work>>,
) -> Vec<ScopedJoinHandle<'scope, ()>> {
    let spawn = |mut merger: ChunkMerger| {
        scope.spawn(move || {
            while let Some((batch, result)) = next(work) {
                // Nobody may wait for it any more.
                let _ = result.send(merge(&mut merger, batch));
            }
        })
    };
    mergers.into_iter().map(spawn).collect()
}

/// Returns the next batch. Whoever waits for one holds the lock, and so the others wait for their turn.
fn next(work: &Mutex<Receiver<Work>>) -> Option<Work> {
    work.lock().ok()?.recv().ok()
}

fn merge(merger: &mut ChunkMerger, batch: Batch) -> Merged {
    let merged = batch
        .series
        .into_iter()
        .map(|(labels, chunks)| (labels, merger.merge(chunks)));
    Merged {
        series: merged.collect(),
        error: batch.error,
        _lease: batch.lease,
    }
}

/// Reads until the end, or the first error, which is the last thing that is handed on.
fn read(
    sources: &mut Sources,
    budget: &MemoryBudget,
    give: &SyncSender<Work>,
    announce: &SyncSender<Receiver<Merged>>,
) {
    loop {
        let Some(batch) = read_batch(sources, budget) else {
            return;
        };
        let is_last = batch.error.is_some();
        let (result, coming) = sync_channel(1);
        let is_taken = announce.send(coming).is_ok() && give.send((batch, result)).is_ok();
        if is_last || !is_taken {
            return;
        }
    }
}

/// Returns the next series and what went wrong after them; nothing at the end.
fn read_batch(sources: &mut Sources, budget: &MemoryBudget) -> Option<Batch> {
    let mut batch = Batch {
        series: Vec::new(),
        error: None,
        lease: None,
    };
    let mut held = 0;
    while held < BATCH_BYTES_MAX && batch.series.len() < BATCH_SERIES_MAX {
        let read = sources.next().and_then(|next| {
            let Some(MergedSeries { labels, chunks }) = next else {
                return Ok(None);
            };
            held += chunks.iter().flatten().map(bytes_of).sum::<usize>();
            // What is made of them is held beside them.
            let bytes = 2 * held as u64;
            match &mut batch.lease {
                Some(lease) => lease.resize(bytes)?,
                None => batch.lease = Some(budget.lease(bytes)?),
            }
            Ok(Some((labels.to_vec(), chunks)))
        });
        match read {
            Ok(Some(series)) => batch.series.push(series),
            Ok(None) => break,
            Err(error) => {
                batch.error = Some(error);
                return Some(batch);
            }
        }
    }
    (!batch.series.is_empty()).then_some(batch)
}

fn bytes_of(chunk: &SeriesChunk) -> usize {
    let all = [Aggregate::Raw].iter().chain(&Aggregate::DOWNSAMPLED);
    let data = all.filter_map(|aggregate| Some(chunk.get(*aggregate)?.data.len()));
    CHUNK_BYTES + data.sum::<usize>()
}

fn write_all(
    results: Receiver<Receiver<Merged>>,
    write: &mut impl FnMut(&[(SymbolRef, SymbolRef)], Result<Vec<SeriesChunk>>) -> Result<()>,
) -> Result<()> {
    for coming in results {
        let gone = |_| Error::internal("a thread that merges series has ended");
        let merged = coming.recv().map_err(gone)?;
        for (labels, chunks) in merged.series {
            write(&labels, chunks)?;
        }
        if let Some(error) = merged.error {
            return Err(error);
        }
    }
    Ok(())
}
