//! Work for the processor, away from the threads that wait for the network.

use std::fmt;
use std::sync::Arc;

use thanos_core::{Error, Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinError, JoinHandle};

/// Runs bounded work on threads for blocking work: decoding, set operations, checksums, reads of mapped files.
///
/// Clones share the bound.
///
/// # Example
///
/// ```
/// use thanos_bucket::compute::Compute;
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let compute = Compute::new(2);
/// assert_eq!(compute.run(|| 6 * 7).await?, 42);
/// # Ok::<(), thanos_core::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct Compute {
    permits: Arc<Semaphore>,
    threads: usize,
}

impl Compute {
    /// Returns a pool that runs at most `threads` (at least 1) pieces of work at once.
    pub fn new(threads: usize) -> Self {
        let threads = threads.max(1);
        Self {
            permits: Arc::new(Semaphore::new(threads)),
            threads,
        }
    }

    /// Returns a pool with a thread for each processor.
    pub fn per_core() -> Self {
        Self::new(std::thread::available_parallelism().map_or(1, usize::from))
    }

    /// Returns a place in the pool, for work on a thread that is not of the runtime.
    ///
    /// # Errors
    ///
    /// `Cancelled` when the runtime shuts down.
    pub(crate) async fn place(&self) -> Result<OwnedSemaphorePermit> {
        let permits = Arc::clone(&self.permits);
        in_task(async move {
            let closed = |_| Error::cancelled("the pool for computation is closed");
            permits.acquire_owned().await.map_err(closed)
        })
        .await?
    }

    /// Returns further places, at most `count`, for whoever has one and can do with any number; it never waits, as
    /// waiting for more than one place could wait for somebody who does the same.
    pub(crate) fn spare_places(&self, count: usize) -> Vec<OwnedSemaphorePermit> {
        let place = |_| Arc::clone(&self.permits).try_acquire_owned().ok();
        (0..count).map_while(place).collect()
    }

    /// Runs `work` when a thread is free. Dropping the future drops work that has not begun.
    ///
    /// # Errors
    ///
    /// `Cancelled` when the runtime shuts down.
    ///
    /// # Panics
    ///
    /// When `work` panics, with its panic. Outside of a tokio runtime.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        if let Ok(place) = Arc::clone(&self.permits).try_acquire_owned() {
            return outcome(tokio::task::spawn_blocking(move || at(place, work)).await);
        }
        let permits = Arc::clone(&self.permits);
        in_task(async move {
            let closed = |_| Error::cancelled("the pool for computation is closed");
            let place = permits.acquire_owned().await.map_err(closed)?;
            outcome(tokio::task::spawn_blocking(move || at(place, work)).await)
        })
        .await?
    }
}

fn at<T>(place: OwnedSemaphorePermit, work: impl FnOnce() -> T) -> T {
    let _place = place;
    work()
}

/// Runs `future` as a task of its own, which ends when the returned future is dropped.
///
/// For whatever holds or waits for something that others wait for as well: an answer that its client does not take is
/// a future that nobody polls, and it must not keep a place or a lock meanwhile.
///
/// # Errors
///
/// `Cancelled` when the runtime shuts down.
///
/// # Panics
///
/// When `future` panics, with its panic. Outside of a tokio runtime.
pub(crate) async fn in_task<T: Send + 'static>(
    future: impl Future<Output = T> + Send + 'static,
) -> Result<T> {
    Task::spawn(future).join().await
}

/// A task that ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Task<T>(JoinHandle<T>);

impl<T: Send + 'static> Task<T> {
    /// Starts it.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub(crate) fn spawn(future: impl Future<Output = T> + Send + 'static) -> Self {
        Self(tokio::spawn(future))
    }

    /// Waits for its end.
    ///
    /// # Errors
    ///
    /// `Cancelled` when the runtime shuts down.
    ///
    /// # Panics
    ///
    /// When the task panics, with its panic.
    pub(crate) async fn join(mut self) -> Result<T> {
        outcome((&mut self.0).await)
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn outcome<T>(ended: std::result::Result<T, JoinError>) -> Result<T> {
    match ended {
        Ok(value) => Ok(value),
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(Error::cancelled("the runtime shuts down")),
    }
}

impl Default for Compute {
    fn default() -> Self {
        Self::per_core()
    }
}

impl fmt::Debug for Compute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compute")
            .field("threads", &self.threads)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::FutureExt;

    use super::*;

    /// A place is not kept by work whose owner stopped asking for it.
    #[tokio::test]
    async fn work_that_nobody_polls_keeps_no_place() {
        let compute = Compute::new(1);
        let (go_on, wait) = std::sync::mpsc::channel::<()>();
        let first = compute.run(move || wait.recv().is_ok());
        futures::pin_mut!(first);
        assert!(first.as_mut().now_or_never().is_none());
        // It waits for the place and is never polled again.
        let resting = compute.run(|| ());
        futures::pin_mut!(resting);
        assert!(resting.as_mut().now_or_never().is_none());
        go_on.send(()).unwrap();
        assert!(first.await.unwrap());
        let last = tokio::time::timeout(Duration::from_secs(10), compute.run(|| 7));
        assert_eq!(last.await.unwrap().unwrap(), 7);
    }

    #[tokio::test]
    async fn dropped_work_that_has_not_begun_never_begins() {
        let compute = Compute::new(1);
        let (go_on, wait) = std::sync::mpsc::channel::<()>();
        let first = compute.run(move || wait.recv().is_ok());
        futures::pin_mut!(first);
        assert!(first.as_mut().now_or_never().is_none());
        let (ran, has_run) = std::sync::mpsc::channel::<()>();
        let mut dropped = Box::pin(compute.run(move || ran.send(())));
        assert!(dropped.as_mut().now_or_never().is_none());
        drop(dropped);
        go_on.send(()).unwrap();
        assert!(first.await.unwrap());
        compute.run(|| ()).await.unwrap();
        assert!(has_run.recv().is_err(), "the work is gone, and its sender");
    }
}
