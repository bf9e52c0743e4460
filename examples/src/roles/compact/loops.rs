//! What goes on beside each other with `--wait`: iterations, cleaning, telling progress, and looking at all blocks for the
//! block viewer.

use std::sync::Arc;
use std::time::Duration;

use thanos_bucket::compact::{CompactView, Compactor, Hooks};
use thanos_bucket::http::{BlockViewer, View};
use thanos_core::{Error, Result};
use tokio::time::MissedTickBehavior;

use crate::shutdown::Shutdown;

/// How soon the view of all blocks is tried again after it failed.
const VIEW_RETRY: Duration = Duration::from_secs(60);

/// Shows the block viewer what the compactor has found.
#[derive(Debug)]
pub(super) struct ShowBlocks(pub(super) Option<BlockViewer>);

impl Hooks for ShowBlocks {
    fn synced(&self, outcome: Result<&CompactView, &Error>) {
        if let Some(viewer) = &self.0 {
            let blocks = outcome.map(|view| view.blocks.values().map(Arc::clone).collect());
            viewer.set(View::Loaded, blocks);
        }
    }
}

/// Whether an error that trying again will not cure ends the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OnError {
    GoOn,
    End,
}

/// Iterates once; told to shut down, drops what is under way and waits for the marks that are being written.
///
/// # Errors
///
/// What went wrong in the iteration.
pub(super) async fn once(compactor: Arc<Compactor>, shutdown: Shutdown) -> Result<()> {
    let outcome = tokio::select! {
        () = shutdown.wait() => Ok(()),
        outcome = compactor.iterate() => outcome,
    };
    compactor.finish().await;
    outcome
}

/// Iterates every `interval` until `shutdown`, and ends as [`once`] does.
///
/// # Errors
///
/// With [`OnError::End`], the first error that is not worth another try.
pub(super) async fn iterate(
    compactor: Arc<Compactor>,
    interval: Duration,
    on_error: OnError,
    shutdown: Shutdown,
) -> Result<()> {
    let outcome = every(interval, shutdown, || async {
        match compactor.iterate().await {
            Err(error) if on_error == OnError::End && !error.is_retryable() => {
                Err(error.context("critical error detected"))
            }
            Err(error) => {
                tracing::error!(%error, "an iteration failed in part, will retry after the wait interval");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    });
    let outcome = outcome.await;
    compactor.finish().await;
    outcome
}

/// Removes broken uploads every `interval` until `shutdown`.
pub(super) async fn clean(
    compactor: Arc<Compactor>,
    interval: Duration,
    shutdown: Shutdown,
) -> Result<()> {
    every(interval, shutdown, || async {
        compactor.clean_partial().await;
        Ok(())
    })
    .await
}

/// Tells the progress every `interval` until `shutdown`.
pub(super) async fn tell_progress(
    compactor: Arc<Compactor>,
    interval: Duration,
    shutdown: Shutdown,
) -> Result<()> {
    every(interval, shutdown, || async {
        if let Err(error) = compactor.show_progress().await {
            tracing::warn!(%error, "cannot tell the progress, will retry");
        }
        Ok(())
    })
    .await
}

/// Shows all blocks of the bucket every `interval` until `shutdown`; each look may take `timeout`.
pub(super) async fn show_all(
    compactor: Arc<Compactor>,
    viewer: BlockViewer,
    interval: Duration,
    timeout: Duration,
    shutdown: Shutdown,
) -> Result<()> {
    let look = || async {
        loop {
            let too_late = |_| Error::unavailable("looking at all blocks took too long");
            let found = tokio::time::timeout(timeout, compactor.all_blocks()).await;
            let found = found.map_err(too_late).flatten();
            let is_done = found.is_ok();
            match found {
                Ok(blocks) => viewer.set(View::Global, Ok(blocks)),
                Err(error) => {
                    tracing::warn!(%error, "cannot look at all blocks, will retry");
                    viewer.set(View::Global, Err(&error));
                }
            }
            if is_done {
                return Ok(());
            }
            tokio::time::sleep(VIEW_RETRY).await;
        }
    };
    every(interval, shutdown, look).await
}

/// Does `work` now and then every `interval`, until it fails or `shutdown` drops it.
async fn every<F: Future<Output = Result<()>>>(
    interval: Duration,
    shutdown: Shutdown,
    work: impl Fn() -> F,
) -> Result<()> {
    let turns = async {
        let mut ticks = tokio::time::interval(interval.max(Duration::from_millis(1)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            work().await?;
        }
    };
    tokio::select! {
        () = shutdown.wait() => Ok(()),
        outcome = turns => outcome,
    }
}
