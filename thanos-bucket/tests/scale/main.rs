//! The store gateway at the edge: ten thousand blocks, and requests made to exhaust its memory.
//!
//! Every allocation of the process is counted, so tests of this program run one after the other.
//! `THANOS_TEST_LONG` runs the full sizes, which want an optimised build.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![expect(
    clippy::print_stdout,
    reason = "what was measured is shown by --nocapture"
)]

mod hostile;
mod many_blocks;

use std::time::{Duration, Instant};

use peak_alloc::PeakAlloc;
use tokio::sync::Mutex;

#[global_allocator]
static ALLOCATED: PeakAlloc = PeakAlloc;

/// Whoever holds it is measured alone; others of this program wait.
static ALONE: Mutex<()> = Mutex::const_new(());

const MIB: usize = 1 << 20;

fn is_long() -> bool {
    std::env::var_os("THANOS_TEST_LONG").is_some()
}

fn in_mib(bytes: usize) -> f64 {
    bytes as f64 / MIB as f64
}

/// Runs `work` and returns its value with the wall time, which is that of the processor when nothing waits.
fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let value = work();
    (value, start.elapsed())
}
