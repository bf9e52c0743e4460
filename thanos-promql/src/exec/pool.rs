//! The threads of an engine: they decode series and fold windows, and never wait for data or for each other.

use std::collections::VecDeque;
use std::fmt;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::thread;

use futures::channel::oneshot;

type Job = Box<dyn FnOnce() + Send>;

/// Of so many jobs one is the oldest that waits, whatever its query had already.
const OLDEST_EVERY: u64 = 4;

/// Some threads that run jobs for all queries of an engine.
///
/// The next job is that of the query that had the fewest so far: one with little to compute does not wait until others
/// with much to compute are through. Every fourth is the oldest, so that these get on beside any number of small ones. The
/// jobs of one query run in the order in which they were given. The threads start with the first job and end when the pool is
/// dropped.
pub(crate) struct Pool {
    threads: NonZeroUsize,
    queue: OnceLock<Arc<Queue>>,
}

/// How many jobs of a query a pool has started; clones count for the same query.
#[derive(Debug, Clone, Default)]
pub(crate) struct Turns(Arc<AtomicU64>);

impl Pool {
    /// Returns a pool of `threads` threads; with one thread, jobs are better done by whoever has them.
    pub(crate) fn new(threads: NonZeroUsize) -> Self {
        Self {
            threads,
            queue: OnceLock::new(),
        }
    }

    /// Returns the number of threads.
    pub(crate) fn threads(&self) -> usize {
        self.threads.get()
    }

    /// Runs `work` of the query with these `turns` on a thread of the pool, unless nobody waits for its result any more.
    ///
    /// The receiver ends without a result when the work panics.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        turns: &Turns,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> oneshot::Receiver<T> {
        let (sender, receiver) = oneshot::channel();
        let job = Box::new(move || {
            if !sender.is_canceled() {
                // Nobody listens when the query was dropped in the meantime.
                let _ = sender.send(work());
            }
        });
        let queue = self.queue.get_or_init(|| Queue::start(self.threads));
        if let Some(job) = queue.push(turns, job) {
            job();
        }
        receiver
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if let Some(queue) = self.queue.get() {
            queue.close();
        }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("threads", &self.threads)
            .finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    has_news: Condvar,
}

#[derive(Default)]
struct State {
    /// In the order in which they were given; there are only as many as queries compute tiles ahead.
    jobs: VecDeque<(Turns, Job)>,
    started: u64,
    workers: usize,
    is_closed: bool,
}

impl State {
    /// Takes out the job whose turn it is.
    fn take(&mut self) -> Option<Job> {
        let at = match self.started % OLDEST_EVERY {
            0 => 0,
            _ => {
                let turns = |at: &usize| self.jobs[*at].0.0.load(Ordering::Relaxed);
                // The first of those with the fewest.
                (0..self.jobs.len()).min_by_key(turns)?
            }
        };
        let (turns, job) = self.jobs.remove(at)?;
        turns.0.fetch_add(1, Ordering::Relaxed);
        self.started += 1;
        Some(job)
    }
}

impl Queue {
    fn start(threads: NonZeroUsize) -> Arc<Self> {
        let queue = Arc::new(Self::default());
        for number in 0..threads.get() {
            let worker = Arc::clone(&queue);
            let name = format!("promql-{number}");
            let started = thread::Builder::new()
                .name(name)
                .spawn(move || worker.work());
            // With fewer threads, or none, evaluation is slower and not wrong.
            if started.is_ok() {
                queue.lock().workers += 1;
            }
        }
        queue
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a job, or gives it back when there is no thread for it.
    fn push(&self, turns: &Turns, job: Job) -> Option<Job> {
        let mut state = self.lock();
        if state.workers == 0 {
            return Some(job);
        }
        state.jobs.push_back((turns.clone(), job));
        drop(state);
        self.has_news.notify_one();
        None
    }

    fn close(&self) {
        self.lock().is_closed = true;
        self.has_news.notify_all();
    }

    fn work(&self) {
        while let Some(job) = self.next() {
            // The sender of a job that panics is dropped, which its query sees; the thread goes on.
            let _ = catch_unwind(AssertUnwindSafe(job));
        }
    }

    fn next(&self) -> Option<Job> {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.take() {
                return Some(job);
            }
            if state.is_closed {
                return None;
            }
            let woken = self.has_news.wait(state);
            state = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::executor::block_on;

    use super::*;

    fn pool(threads: usize) -> Pool {
        Pool::new(NonZeroUsize::new(threads).unwrap())
    }

    #[test]
    fn results_come_back_and_a_panic_ends_only_its_job() {
        let pool = pool(2);
        let turns = Turns::default();
        let failing = pool.run(&turns, || -> u32 { panic!("on purpose") });
        let all: Vec<_> = (0..100_u32)
            .map(|n| pool.run(&turns, move || n * n))
            .collect();
        assert!(block_on(failing).is_err());
        for (n, result) in (0..100).zip(all) {
            assert_eq!(block_on(result).unwrap(), n * n);
        }
    }

    #[test]
    fn jobs_that_nobody_waits_for_are_not_run() {
        let pool = pool(1);
        let (open, gate) = std::sync::mpsc::channel::<()>();
        let turns = Turns::default();
        let blocked = pool.run(&turns, move || gate.recv());
        let flag = Arc::new(Mutex::new(false));
        let in_job = Arc::clone(&flag);
        drop(pool.run(&turns, move || *in_job.lock().unwrap() = true));
        let last = pool.run(&turns, || ());
        open.send(()).unwrap();
        block_on(last).unwrap();
        assert_eq!(block_on(blocked).unwrap(), Ok(()));
        assert!(!*flag.lock().unwrap());
    }

    /// A small query gets its turn before the rest of a large one, and the large one gets on beside many small ones.
    #[test]
    fn the_query_that_had_least_is_next_and_the_oldest_job_every_fourth_time() {
        let pool = pool(1);
        let order = Arc::new(Mutex::new(String::new()));
        let (open, gate) = std::sync::mpsc::channel::<()>();
        let first = pool.run(&Turns::default(), move || gate.recv());
        let large = Turns::default();
        let job = |turns: &Turns, name: char| {
            let order = Arc::clone(&order);
            pool.run(turns, move || order.lock().unwrap().push(name))
        };
        let mut jobs: Vec<_> = (0..6).map(|_| job(&large, 'L')).collect();
        for small in ['a', 'b', 'c', 'd', 'e', 'f'] {
            let turns = Turns::default();
            jobs.extend((0..2).map(|_| job(&turns, small)));
        }
        open.send(()).unwrap();
        block_on(first).unwrap().unwrap();
        for job in jobs {
            block_on(job).unwrap();
        }
        assert_eq!(*order.lock().unwrap(), "LabLcdeLfabLcdeLfL");
    }
}
