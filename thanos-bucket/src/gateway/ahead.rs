//! Work of a request that goes on while its answer is taken: reads ahead of what is wanted next.
//!
//! ```text
//! blocks -> ReadAhead::start(work) -> pool -+
//!    ^                                      | polled whenever the answer is polled
//!    +------------- AheadTask <-------------+
//! ```
//!
//! The pool belongs to the stream of the answer, not to a runtime: dropping the stream drops all work at once, and
//! work of a block that rests in a merge still goes on, so that it cannot keep places that others wait for.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use futures::channel::mpsc;
use futures::future::{BoxFuture, RemoteHandle};
use futures::stream::FuturesUnordered;
use futures::{FutureExt, Stream, StreamExt};
use thanos_core::Result;
use thanos_core::query::{SeriesEvent, SeriesStream};

/// How many bytes all blocks of a request together may read before they are wanted.
const AHEAD_BYTES_MAX: u64 = 64 << 20;

/// What the blocks of a request start their work with; clones are of the same request.
#[derive(Debug, Clone)]
pub(super) struct ReadAhead {
    started: mpsc::UnboundedSender<BoxFuture<'static, ()>>,
    ahead_bytes: Arc<AtomicU64>,
}

impl ReadAhead {
    /// Returns what to start work with, and what has to drive it.
    pub(super) fn new() -> (Self, Driver) {
        let (started, incoming) = mpsc::unbounded();
        let ahead = Self {
            started,
            ahead_bytes: Arc::default(),
        };
        let driver = Driver {
            incoming,
            pool: FuturesUnordered::new(),
        };
        (ahead, driver)
    }

    /// Begins `work`; dropping the task drops it.
    pub(super) fn start<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T>> + Send + 'static,
        allowance: Option<Allowance>,
    ) -> AheadTask<T> {
        let (work, outcome) = work.remote_handle();
        // Without its driver the request is over, and nobody will ask for the outcome.
        let _ = self.started.unbounded_send(work.boxed());
        AheadTask {
            outcome,
            _allowance: allowance,
        }
    }

    /// Takes `bytes` of what the request may read ahead, `bytes_max` in all, if there are so many left.
    pub(super) fn allow(&self, bytes: u64, bytes_max: u64) -> Option<Allowance> {
        let fits = |taken: u64| {
            let sum = taken.saturating_add(bytes);
            (sum <= AHEAD_BYTES_MAX.min(bytes_max)).then_some(sum)
        };
        let relaxed = Ordering::Relaxed;
        self.ahead_bytes.fetch_update(relaxed, relaxed, fits).ok()?;
        Some(Allowance {
            ahead_bytes: Arc::clone(&self.ahead_bytes),
            bytes,
        })
    }
}

/// Bytes that may be read ahead; given back when dropped.
#[derive(Debug)]
pub(super) struct Allowance {
    ahead_bytes: Arc<AtomicU64>,
    bytes: u64,
}

impl Drop for Allowance {
    fn drop(&mut self) {
        self.ahead_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Work that was begun.
#[derive(Debug)]
pub(super) struct AheadTask<T> {
    outcome: RemoteHandle<Result<T>>,
    /// Held until the outcome is taken: what was read ahead is in memory until then.
    _allowance: Option<Allowance>,
}

impl<T: 'static> AheadTask<T> {
    /// Polls for the outcome, which is there once.
    pub(super) fn poll_outcome(&mut self, context: &mut Context<'_>) -> Poll<Result<T>> {
        self.outcome.poll_unpin(context)
    }
}

/// Drives the work of a request.
#[derive(Debug)]
pub(super) struct Driver {
    incoming: mpsc::UnboundedReceiver<BoxFuture<'static, ()>>,
    pool: FuturesUnordered<BoxFuture<'static, ()>>,
}

impl Driver {
    /// Returns `stream`, with the work that it waits for driven whenever it is polled.
    pub(super) fn drive(self, stream: SeriesStream) -> SeriesStream {
        Box::pin(Driven {
            stream,
            driver: self,
        })
    }

    /// Goes on with all work.
    fn poll_work(&mut self, context: &mut Context<'_>) {
        loop {
            let mut is_new = false;
            while let Poll::Ready(Some(work)) = self.incoming.poll_next_unpin(context) {
                self.pool.push(work);
                is_new = true;
            }
            let finished = matches!(self.pool.poll_next_unpin(context), Poll::Ready(Some(())));
            if !is_new && !finished {
                return;
            }
        }
    }
}

struct Driven {
    // Dropped first, so that work whose outcome nobody takes is not begun on the way out.
    stream: SeriesStream,
    driver: Driver,
}

impl Stream for Driven {
    type Item = Result<SeriesEvent>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        this.driver.poll_work(context);
        let event = ready!(this.stream.poll_next_unpin(context));
        // What the stream has just begun is on its way before the event is dealt with.
        this.driver.poll_work(context);
        Poll::Ready(event)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::time::Duration;

    use super::*;

    struct NotesDrop(Arc<AtomicBool>);

    impl Drop for NotesDrop {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn work_goes_on_while_its_block_rests() {
        let (ahead, driver) = ReadAhead::new();
        let later = |after: u64| async move {
            tokio::time::sleep(Duration::from_millis(after)).await;
            Ok(after)
        };
        let (mut slow, mut fast) = (ahead.start(later(20), None), ahead.start(later(10), None));
        let taken = futures::stream::poll_fn(move |context| {
            let slow = ready!(slow.poll_outcome(context));
            // Nobody has asked for this one before.
            let fast = fast.poll_outcome(context);
            assert!(matches!(fast, Poll::Ready(Ok(10))));
            Poll::Ready(Some(slow.map(|_| SeriesEvent::Warning("both".to_owned()))))
        });
        let mut driven = driver.drive(taken.boxed());
        assert!(matches!(driven.next().await, Some(Ok(_))));
    }

    /// Cancelled calls stop their work at once.
    #[tokio::test(start_paused = true)]
    async fn dropping_the_stream_or_the_task_drops_the_work() {
        for drops_task in [false, true] {
            let (ahead, driver) = ReadAhead::new();
            let is_dropped = Arc::new(AtomicBool::new(false));
            let guard = NotesDrop(Arc::clone(&is_dropped));
            let work = async move {
                std::future::pending::<()>().await;
                drop(guard);
                Ok(())
            };
            let task = ahead.start(work, None);
            let mut driven = driver.drive(futures::stream::pending().boxed());
            assert!(driven.next().now_or_never().is_none());
            assert!(!is_dropped.load(Ordering::Relaxed));
            if drops_task {
                drop(task);
                assert!(driven.next().now_or_never().is_none());
            } else {
                drop(driven);
            }
            assert!(is_dropped.load(Ordering::Relaxed), "{drops_task}");
        }
    }

    #[test]
    fn reading_ahead_is_bounded_and_given_back() {
        let (ahead, _driver) = ReadAhead::new();
        let first = ahead.allow(AHEAD_BYTES_MAX - 1, u64::MAX).unwrap();
        let _second = ahead.allow(1, u64::MAX).unwrap();
        assert!(ahead.allow(1, u64::MAX).is_none());
        drop(first);
        assert!(
            ahead.allow(11, 10).is_none(),
            "no more than memory has room for"
        );
        assert!(ahead.allow(AHEAD_BYTES_MAX - 1, u64::MAX).is_some());
    }
}
