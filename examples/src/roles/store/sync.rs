//! Keeping the served blocks up to date with the bucket: the first sync, which has to succeed, and all later ones.

use std::sync::Arc;
use std::time::Duration;

use thanos_bucket::gateway::Gateway;
use thanos_bucket::http::{BlockViewer, View};
use thanos_core::Result;
use tokio::time::{Instant, MissedTickBehavior};

use crate::shutdown::Shutdown;

/// How a failing first sync is tried again (row ST-02 of the specification).
const FIRST_SYNC: Retry = Retry {
    every: Duration::from_secs(10),
    timeout: Duration::from_secs(30),
};

/// Syncs a gateway and tells the block viewer.
#[derive(Debug)]
pub(super) struct Syncer {
    pub(super) gateway: Arc<Gateway>,
    pub(super) viewer: Option<BlockViewer>,
}

impl Syncer {
    /// Syncs until it works once.
    ///
    /// # Errors
    ///
    /// That of the last try, when none has worked for half a minute.
    pub(super) async fn first(&self) -> Result<()> {
        let started = Instant::now();
        let outcome = FIRST_SYNC.run(|| self.sync()).await;
        if outcome.is_ok() {
            tracing::info!(init_duration = ?started.elapsed(), "bucket store ready");
        }
        outcome.map_err(|error| error.context("bucket store initial sync"))
    }

    /// Syncs every `interval` until `shutdown`.
    ///
    /// # Errors
    ///
    /// Never: a sync that fails is logged, and what was served before still is.
    pub(super) async fn keep(self, interval: Duration, shutdown: Shutdown) -> Result<()> {
        let mut ticks = tokio::time::interval_at(Instant::now() + interval, interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let sync = async {
                ticks.tick().await;
                self.sync().await
            };
            let synced = tokio::select! {
                () = shutdown.clone().wait() => return Ok(()),
                synced = sync => synced,
            };
            if let Err(error) = synced {
                tracing::warn!(%error, "syncing blocks failed, the blocks known before are still served");
            }
        }
    }

    async fn sync(&self) -> Result<()> {
        let synced = self.gateway.sync().await;
        if let Some(viewer) = &self.viewer {
            viewer.set(View::Loaded, synced.as_ref().map(|_| self.gateway.blocks()));
        }
        let report = synced?;
        for (block, error) in &report.failed {
            tracing::warn!(%block, %error, "block is not served");
        }
        tracing::info!(
            loaded = report.loaded,
            failed = report.failed.len(),
            "synchronized block metadata"
        );
        Ok(())
    }
}

/// How often, and for how long, something that fails is tried again.
#[derive(Debug, Clone, Copy)]
struct Retry {
    every: Duration,
    timeout: Duration,
}

impl Retry {
    /// Does `work` until it succeeds. The timeout stops further tries, not one that is under way.
    async fn run<F: Future<Output = Result<()>>>(self, work: impl Fn() -> F) -> Result<()> {
        let give_up = Instant::now() + self.timeout;
        let mut ticks = tokio::time::interval(self.every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            match work().await {
                Ok(()) => return Ok(()),
                Err(error) if Instant::now() + self.every > give_up => return Err(error),
                Err(error) => tracing::warn!(%error, "first sync failed, will retry"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use thanos_core::Error;

    use super::*;

    /// Tries work that first succeeds at try `succeeds_at`; returns the outcome and how often it was tried.
    async fn tries_of(retry: Retry, succeeds_at: u32) -> (Result<()>, u32) {
        let tries = Cell::new(0);
        let outcome = retry.run(|| async {
            tries.set(tries.get() + 1);
            if tries.get() == succeeds_at {
                return Ok(());
            }
            Err(Error::unavailable("no listing"))
        });
        (outcome.await, tries.get())
    }

    /// ST-02.
    #[tokio::test]
    async fn work_is_tried_again_until_it_succeeds_or_time_is_up() {
        let every = Duration::from_millis(1);
        let patient = Retry {
            every,
            timeout: Duration::from_secs(3600),
        };
        let (outcome, tries) = tries_of(patient, 4).await;
        assert!(outcome.is_ok());
        assert_eq!(tries, 4);

        let (timeout, never) = (Duration::ZERO, 0);
        let (outcome, tries) = tries_of(Retry { every, timeout }, never).await;
        assert!(outcome.is_err());
        assert_eq!(tries, 1);
    }
}
