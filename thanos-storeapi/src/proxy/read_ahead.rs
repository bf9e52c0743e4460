//! Reading a stream ahead of its consumer, within bounds.

use futures::{StreamExt, stream};
use thanos_core::budget::{Lease, MemoryBudget};
use thanos_core::error::{Error, Result};
use thanos_core::query::{SeriesEvent, SeriesStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// An event that waits for its consumer, with the memory it takes.
type Waiting = (Result<SeriesEvent>, Option<Lease>);

/// Returns `stream` read by a task of its own that stays at most `events` ahead and stops when the result is dropped.
///
/// Without a tokio runtime, or with 0 events, the stream is read when its consumer asks.
pub(super) fn read_ahead(
    stream: SeriesStream,
    events: usize,
    budget: MemoryBudget,
) -> SeriesStream {
    let runtime = tokio::runtime::Handle::try_current();
    let (Ok(runtime), true) = (runtime, events > 0) else {
        return stream;
    };
    let (sender, receiver) = mpsc::channel(events);
    let task = runtime.spawn(pump(stream, sender, budget));
    let reader = Reader {
        receiver,
        task: AbortOnDrop(task),
    };
    stream::unfold(Some(reader), |reader| async move { reader?.next().await }).boxed()
}

/// Sends all events and then `None`, which tells the end from a task that died.
async fn pump(
    mut stream: SeriesStream,
    sender: mpsc::Sender<Option<Waiting>>,
    budget: MemoryBudget,
) {
    while let Some(event) = stream.next().await {
        let waiting = match event {
            Ok(SeriesEvent::Batch(batch)) => {
                let bytes = u64::try_from(batch.memory_bytes()).unwrap_or(u64::MAX);
                match budget.lease(bytes) {
                    Ok(lease) => (Ok(SeriesEvent::Batch(batch)), Some(lease)),
                    Err(error) => (Err(error), None),
                }
            }
            other => (other, None),
        };
        let failed = waiting.0.is_err();
        if sender.send(Some(waiting)).await.is_err() || failed {
            return;
        }
    }
    // A consumer that is gone does not need to know.
    drop(sender.send(None).await);
}

struct Reader {
    receiver: mpsc::Receiver<Option<Waiting>>,
    task: AbortOnDrop,
}

impl Reader {
    async fn next(mut self) -> Option<(Result<SeriesEvent>, Option<Self>)> {
        match self.receiver.recv().await {
            Some(Some((event, _lease))) => {
                let rest = event.is_ok().then_some(self);
                Some((event, rest))
            }
            Some(None) => None,
            None => Some((Err(self.task.death().await), None)),
        }
    }
}

struct AbortOnDrop(JoinHandle<()>);

impl AbortOnDrop {
    async fn death(&mut self) -> Error {
        let reason = match (&mut self.0).await {
            Err(error) if error.is_panic() => "panicked",
            Ok(()) | Err(_) => "was stopped",
        };
        Error::internal(format!("the task that reads a store {reason}"))
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
