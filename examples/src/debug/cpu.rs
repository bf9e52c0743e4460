//! Where the process spends time of processors.
//!
//! The crate `pprof` has the kernel interrupt whichever thread runs after every hundredth of a second that all threads
//! together have run, and walks that thread's stack. Between profiles nothing is interrupted.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, UNIX_EPOCH};

use pprof::{Frames, ProfilerGuardBuilder, Symbol, UnresolvedReport};

use super::profile::{Frame, Profile};

/// Samples per second of a processor. Source: Go runtime/pprof.
const FREQUENCY_HZ: i32 = 100;
/// Where stacks are not walked: in what walks them, which may hold a lock, and in code of the kernel, whose tables are
/// wrong on some systems. The C library is not among them; much is copied in there.
const NOT_WALKED: [&str; 3] = ["libgcc", "ld-linux", "vdso"];

/// Why there is no profile.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// Nobody waits for it any more.
    #[error("the client has gone away")]
    GoneAway,
    /// As Go says it.
    #[error("cpu profiling already in use")]
    InUse,
    #[error(transparent)]
    Profiler(pprof::Error),
    #[error("cannot write the profile: {0}")]
    Encoding(#[from] std::io::Error),
}

impl From<pprof::Error> for Failure {
    fn from(error: pprof::Error) -> Self {
        match error {
            pprof::Error::Running => Self::InUse,
            error => Self::Profiler(error),
        }
    }
}

/// Returns the profile of the next `duration`, for which this blocks, or less if the sender of `client` is dropped.
pub(super) fn profile(duration: Duration, client: &Receiver<()>) -> Result<Vec<u8>, Failure> {
    let found = sampled(duration, client)?;
    let frequency = i64::from(found.timing.frequency);
    let period = 1_000_000_000 / frequency;
    let program = std::env::current_exe().unwrap_or_default();
    let kinds = [("samples", "count"), ("cpu", "nanoseconds")];
    let mut profile = Profile::new(&program.to_string_lossy(), &kinds, period);
    let started = found.timing.start_time.duration_since(UNIX_EPOCH);
    profile.taken(
        nanos(started.unwrap_or_default()),
        nanos(found.timing.duration),
    );
    for (stack, count) in found.data {
        let count = count as i64;
        let resolved = Frames::from(stack);
        let stack: Vec<Vec<Frame>> = resolved
            .frames
            .iter()
            .map(|inlined| inlined.iter().map(frame).collect())
            .collect();
        profile.add(
            &stack,
            &resolved.thread_name_or_id(),
            &[count, count * period],
        );
    }
    // Symbols take much memory, and the next profile is far away.
    backtrace::clear_symbol_cache();
    Ok(profile.encoded()?)
}

fn sampled(duration: Duration, client: &Receiver<()>) -> Result<UnresolvedReport, Failure> {
    let sampling = ProfilerGuardBuilder::default()
        .frequency(FREQUENCY_HZ)
        .blocklist(&NOT_WALKED)
        .build()?;
    match client.recv_timeout(duration) {
        Err(RecvTimeoutError::Timeout) => {}
        Ok(()) | Err(RecvTimeoutError::Disconnected) => return Err(Failure::GoneAway),
    }
    // Sampling ends here: what follows is long, and is ours.
    Ok(sampling.report().build_unresolved()?)
}

fn frame(symbol: &Symbol) -> Frame {
    let file = symbol.filename.as_ref();
    Frame {
        name: symbol.name(),
        system_name: symbol.sys_name().into_owned(),
        file: file
            .map(|path| path.to_string_lossy().into_owned())
            .unwrap_or_default(),
        line: symbol.lineno(),
    }
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}
