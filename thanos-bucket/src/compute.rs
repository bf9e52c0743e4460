//! Work for the processor, away from the threads that wait for the network.

use std::fmt;
use std::sync::Arc;

use thanos_core::{Error, Result};
use tokio::sync::Semaphore;

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
        let closed = |_| Error::cancelled("the pool for computation is closed");
        let permit = Arc::clone(&self.permits)
            .acquire_owned()
            .await
            .map_err(closed)?;
        let task = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work()
        });
        match task.await {
            Ok(value) => Ok(value),
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => Err(Error::cancelled("the runtime shuts down")),
        }
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
