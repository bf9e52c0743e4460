//! Keeping the served blocks up to date with the bucket: the first sync, which has to succeed, and all later ones.

use std::sync::Arc;
use std::time::Duration;

use thanos_bucket::fetch::ViewOrigin;
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
    /// Whether the gateway publishes the bucket's manifest.
    pub(super) publishes: bool,
}

impl Syncer {
    /// Syncs until it works once, and returns where the blocks were found.
    ///
    /// # Errors
    ///
    /// That of the last try, when none has worked for half a minute.
    pub(super) async fn first(&self) -> Result<ViewOrigin> {
        let started = Instant::now();
        let outcome = FIRST_SYNC.run(|| self.sync()).await;
        if outcome.is_ok() {
            tracing::info!(init_duration = ?started.elapsed(), "bucket store ready");
        }
        outcome.map_err(|error| error.context("bucket store initial sync"))
    }

    /// Publishes what the first sync has found at `first`, and syncs and publishes every `interval` until `shutdown`.
    ///
    /// Who publishes and has begun with a manifest lists the bucket at once: that manifest gets older meanwhile.
    ///
    /// # Errors
    ///
    /// Never: a sync that fails is logged, and what was served before still is.
    pub(super) async fn keep(
        self,
        first: ViewOrigin,
        interval: Duration,
        shutdown: Shutdown,
    ) -> Result<()> {
        let wait = match (first, self.publishes) {
            (ViewOrigin::Manifest, true) => Duration::ZERO,
            _ => interval,
        };
        let mut ticks = tokio::time::interval_at(Instant::now() + wait, interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let turn = async {
                self.publish().await;
                ticks.tick().await;
                self.sync().await
            };
            let synced = tokio::select! {
                () = shutdown.clone().wait() => return Ok(()),
                synced = turn => synced,
            };
            if let Err(error) = synced {
                tracing::warn!(%error, "syncing blocks failed, the blocks known before are still served");
            }
        }
    }

    async fn publish(&self) {
        match self.gateway.publish_manifest().await {
            Ok(None) => {}
            Ok(Some(outcome)) => tracing::debug!(?outcome, "manifest of the bucket"),
            Err(error) => {
                tracing::warn!(%error, "cannot publish the bucket's manifest, will retry after the next sync");
            }
        }
    }

    async fn sync(&self) -> Result<ViewOrigin> {
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
        Ok(report.origin)
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
    async fn run<T, F: Future<Output = Result<T>>>(self, work: impl Fn() -> F) -> Result<T> {
        let give_up = Instant::now() + self.timeout;
        let mut ticks = tokio::time::interval(self.every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            match work().await {
                Ok(value) => return Ok(value),
                Err(error) if Instant::now() + self.every > give_up => return Err(error),
                Err(error) => tracing::warn!(%error, "first sync failed, will retry"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use thanos_bucket::Bucket;
    use thanos_bucket::config::BucketConfig;
    use thanos_bucket::gateway::GatewayOptions;
    use thanos_bucket::manifest::{MANIFEST_OBJECT, ManifestMode, ManifestOptions};
    use thanos_bucket::testkit::{
        FaultPlan, FaultyStore, LatencyModel, LatencyStore, Outcome, RequestKind, StoreFault,
    };
    use thanos_core::Error;

    use super::*;
    use crate::shutdown;

    /// An interval that is over soon, and one that never is.
    const SHORT: Duration = Duration::from_millis(5);
    const LONG: Duration = Duration::from_secs(3600);

    /// Waits until `is_so`.
    async fn until(what: &str, is_so: impl Fn() -> bool) {
        let started = Instant::now();
        while !is_so() {
            assert!(started.elapsed() < Duration::from_secs(60), "never: {what}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// A store in memory, as slow as `model` says.
    fn slow(model: LatencyModel) -> (Arc<FaultyStore>, Arc<LatencyStore>) {
        let memory = BucketConfig::from_yaml("type: MEMORY\n").unwrap();
        let faulty = Arc::new(FaultyStore::new(memory.object_store().unwrap()));
        (
            Arc::clone(&faulty),
            Arc::new(LatencyStore::new(faulty, model)),
        )
    }

    fn syncer(bucket: &Bucket, mode: ManifestMode) -> Syncer {
        let manifest = ManifestOptions {
            mode,
            ..ManifestOptions::default()
        };
        let options = GatewayOptions {
            manifest: Some(manifest),
            ..GatewayOptions::default()
        };
        Syncer {
            gateway: Arc::new(Gateway::new(bucket.clone(), options)),
            viewer: None,
            publishes: mode == ManifestMode::Publish,
        }
    }

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

    /// ST-02: syncs that fail end nothing: the bucket is looked at again after each interval, until shutdown.
    #[tokio::test]
    async fn syncs_go_on_after_failures_and_end_at_shutdown() {
        let (faulty, store) = slow(LatencyModel::of_requests(Duration::ZERO));
        let syncer = syncer(&Bucket::new(store.clone()), ManifestMode::Read);
        faulty.start(FaultPlan {
            per_mille: vec![(StoreFault::Unavailable, 1000)],
            ..FaultPlan::default()
        });
        let (trigger, stop) = shutdown::channel();
        let kept = tokio::spawn(syncer.keep(ViewOrigin::Listing, SHORT, stop));
        let lists = |outcome| {
            let trace = store.trace();
            let requests = trace.requests.iter();
            requests
                .filter(|request| request.kind == RequestKind::List && request.outcome == outcome)
                .count()
        };
        until("three failures", || lists(Outcome::Failed) >= 3).await;
        faulty.stop();
        until("a success", || lists(Outcome::Done) >= 1).await;
        trigger.stop();
        kept.await.unwrap().unwrap();
    }

    /// A sync that waits for a store that does not answer is the only one, and does not hold up the end of the process.
    #[tokio::test]
    async fn a_sync_that_hangs_ends_at_shutdown() {
        let (_, store) = slow(LatencyModel::of_requests(LONG));
        let syncer = syncer(&Bucket::new(store.clone()), ManifestMode::Publish);
        let (trigger, stop) = shutdown::channel();
        let kept = tokio::spawn(syncer.keep(ViewOrigin::Listing, SHORT, stop));
        // The blocks and the tombstones are listed at once.
        until("a sync", || store.in_flight() == 2).await;
        tokio::time::sleep(SHORT * 10).await;
        assert_eq!(store.trace().requests.len(), 2, "syncs do not pile up");
        trigger.stop();
        kept.await.unwrap().unwrap();
        assert_eq!(store.in_flight(), 0);
    }

    /// What the first sync has listed is published at once; a store that began with a manifest lists at once.
    #[tokio::test]
    async fn a_publishing_store_keeps_the_manifest_fresh() {
        let (_, store) = slow(LatencyModel::of_requests(Duration::ZERO));
        let bucket = Bucket::new(store.clone());
        for (origin, first_request, requests) in [
            (ViewOrigin::Listing, RequestKind::Put, 1),
            // The blocks, and the tombstones.
            (ViewOrigin::Manifest, RequestKind::List, 2),
        ] {
            let syncer = syncer(&bucket, ManifestMode::Publish);
            assert_eq!(syncer.first().await.unwrap(), origin);
            store.take_trace();
            let (trigger, stop) = shutdown::channel();
            let kept = tokio::spawn(syncer.keep(origin, LONG, stop));
            until("a request", || {
                store.trace().count(first_request) == requests
            })
            .await;
            let trace = store.trace();
            let both = trace.count(RequestKind::Put) + trace.count(RequestKind::List);
            assert_eq!(both, requests, "{trace:#?}");
            until("an end", || store.in_flight() == 0).await;
            assert!(bucket.exists(MANIFEST_OBJECT).await.unwrap());
            trigger.stop();
            kept.await.unwrap().unwrap();
        }
    }
}
