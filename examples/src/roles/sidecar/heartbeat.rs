//! Asking Prometheus who it is: at the start until it answers, then again and again.

use std::time::Duration;

use thanos_core::time::SystemClock;
use thanos_core::{Error, Result};
use thanos_storeapi::prometheus::PrometheusServer;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::metrics::HeartbeatMetrics;
use super::upload::Uploads;
use crate::process::ReadySwitch;
use crate::shutdown::Shutdown;

const NO_LABELS: &str = "no external labels configured on Prometheus server, uniquely identifying external labels must be \
                         configured; see https://thanos.io/tip/thanos/storage.md#external-labels for details.";

/// The link to Prometheus.
#[derive(Debug, Clone)]
pub(super) struct Heartbeat {
    pub(super) server: PrometheusServer,
    /// From one question to the next.
    pub(super) interval: Duration,
    /// How long an answer may take.
    pub(super) timeout: Duration,
    pub(super) metrics: HeartbeatMetrics,
}

impl Heartbeat {
    /// Waits until Prometheus has the flags that `uploads` need (row SC-16 of the specification).
    pub(super) async fn check(&self, uploads: &Uploads) {
        let what = "failed to validate prometheus flags. Is Prometheus running? Retrying";
        self.until_answered(what, async || uploads.check(&self.server).await)
            .await;
        tracing::info!("successfully validated prometheus flags");
    }

    /// Waits until Prometheus has told its version and its external labels (row SC-12 of the specification).
    ///
    /// # Errors
    ///
    /// `Invalid` when it has no external labels: its data could not be told from that of others.
    pub(super) async fn begin(&self) -> Result<()> {
        let what = "failed to fetch prometheus version. Is Prometheus running? Retrying";
        self.until_answered(what, async || self.server.read_version().await)
            .await;
        tracing::info!("successfully loaded prometheus version");
        let what = "failed to fetch initial external labels. Is Prometheus running? Retrying";
        self.until_answered(what, async || self.server.refresh().await)
            .await;
        let labels = &self.server.facts().external_labels;
        tracing::info!(external_labels = %labels, "successfully loaded prometheus external labels");
        if labels.is_empty() {
            return Err(Error::invalid(NO_LABELS));
        }
        self.metrics.beat(&SystemClock);
        Ok(())
    }

    /// Asks until there is an answer.
    async fn until_answered(&self, what: &str, ask: impl AsyncFn() -> Result<()>) {
        let mut ticks = interval(self.interval.max(Duration::from_millis(1)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            match self.in_time(ask()).await {
                Ok(()) => return,
                Err(error) => tracing::warn!(%error, "{what}"),
            }
        }
    }

    async fn in_time(&self, answer: impl Future<Output = Result<()>>) -> Result<()> {
        timeout(self.timeout, answer).await.unwrap_or_else(|_| {
            let limit = self.timeout;
            Err(Error::unavailable(format!("no answer within {limit:?}")))
        })
    }

    /// Asks for external labels and times until `shutdown`; the process is ready while Prometheus answers (rows SC-14,
    /// SC-15).
    ///
    /// # Errors
    ///
    /// None: a Prometheus that is down may come back.
    pub(super) async fn keep(self, switch: ReadySwitch, shutdown: Shutdown) -> Result<()> {
        let mut ticks = interval(self.interval.max(Duration::from_millis(1)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.clone().wait() => return Ok(()),
                _ = ticks.tick() => {}
            }
            let beat = tokio::select! {
                () = shutdown.clone().wait() => return Ok(()),
                beat = self.in_time(self.refresh()) => beat,
            };
            match &beat {
                Ok(()) => self.metrics.beat(&SystemClock),
                Err(error) => {
                    tracing::warn!(%error, "updating timestamps and labels failed");
                    self.metrics.miss();
                    self.server.set_down();
                }
            }
            switch.set(beat.is_ok()).await;
        }
    }

    async fn refresh(&self) -> Result<()> {
        self.server.refresh().await?;
        if self.server.facts().external_labels.is_empty() {
            return Err(Error::invalid(NO_LABELS));
        }
        // A new process may have another version.
        self.server.read_version().await
    }
}
