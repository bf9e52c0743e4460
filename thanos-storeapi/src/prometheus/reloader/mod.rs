//! Prometheus told to read its configuration and its rules again when their files change.
//!
//! A [`Reloader`] watches one configuration file, directories of configuration and directories of rules. What it is to
//! write elsewhere is unpacked if it is compressed, and its `$(VARIABLES)` get their values. Then the server is told, and
//! told again until it has taken what there is.
//!
//! Changes are found by looking at the files at a short interval, not by events of the file system: that also finds what
//! is swapped behind a symbolic link, as mounted ConfigMaps are, and files of remote file systems. The contents count;
//! now and then all are read again, whatever the files look like from outside.

mod content;
mod files;
mod metrics;
mod options;
mod signal;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use thanos_core::Result;
use thanos_core::error::Error;
use thanos_core::time::{Clock, SystemClock};
use tokio::time::{Instant, sleep, timeout};

use self::files::{Applied, Outputs};
pub use self::metrics::ReloaderMetrics;
pub use self::options::{ConfigDir, ReloadMethod, ReloaderOptions, UnsetVariables};
use super::PrometheusClient;

/// Tells one Prometheus to reload when the files change that it reads.
///
/// # Example
///
/// ```no_run
/// use thanos_storeapi::net::http_client::{HttpClient, HttpClientConfig, HttpClientMetrics};
/// use thanos_storeapi::prometheus::PrometheusClient;
/// use thanos_storeapi::prometheus::reloader::{ReloadMethod, Reloader, ReloaderOptions};
///
/// # async fn run() -> thanos_core::Result<()> {
/// let http = HttpClient::new(&HttpClientConfig::default(), "example", HttpClientMetrics::default())?;
/// let prometheus = PrometheusClient::new(http, "http://localhost:9090")?;
/// let options = ReloaderOptions {
///     rule_dirs: vec!["/etc/prometheus/rules".into()],
///     ..ReloaderOptions::default()
/// };
/// let mut reloader = Reloader::new(prometheus, ReloadMethod::Http, options)?;
/// reloader.begin().await?;
/// reloader.watch().await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Reloader {
    client: PrometheusClient,
    method: ReloadMethod,
    options: Arc<ReloaderOptions>,
    clock: Arc<dyn Clock>,
    /// What the files of the output directories came from.
    outputs: Outputs,
    /// What the server has taken; nothing before the first time, and after it has refused something.
    taken: Option<u64>,
}

impl Reloader {
    /// Returns a reloader of the server behind `client`.
    ///
    /// # Errors
    ///
    /// `Invalid` for settings that contradict each other.
    pub fn new(
        client: PrometheusClient,
        method: ReloadMethod,
        options: ReloaderOptions,
    ) -> Result<Self> {
        options.validate()?;
        options.metrics.method(method.name());
        Ok(Self {
            client,
            method,
            outputs: Outputs::new(&options),
            options: Arc::new(options),
            clock: Arc::new(SystemClock),
            taken: None,
        })
    }

    /// Returns the same reloader with another clock.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Reads all files once and writes the outputs, so that a server that starts next finds them. It is not told.
    ///
    /// # Errors
    ///
    /// `NotFound` for what is to be watched and is not there, `Invalid` for a variable without a value, and the errors of
    /// the file system.
    pub async fn begin(&mut self) -> Result<()> {
        self.prepare().await.map(drop)
    }

    /// Watches until dropped. What fails is logged, counted and tried again after the retry interval.
    ///
    /// With a watch interval of zero, or without anything to watch, it only waits.
    pub async fn watch(mut self) {
        if !self.options.watches() || self.options.watch_interval.is_zero() {
            tracing::info!("nothing to be watched");
            return std::future::pending().await;
        }
        self.log_start();
        let mut due = Instant::now();
        let mut seen = None;
        loop {
            // Before the files are read: what changes meanwhile is found the next time.
            let looks = self.look().await;
            if seen.is_some() && looks != seen {
                self.options.metrics.events.inc();
            }
            let is_changed = looks != seen;
            seen = looks;
            if is_changed || Instant::now() >= due {
                due = Instant::now() + self.round().await;
            }
            let rest = due.saturating_duration_since(Instant::now());
            sleep(self.options.poll_interval.min(rest)).await;
        }
    }

    fn log_start(&self) {
        let options = &self.options;
        let dirs = options.config_dirs.iter().map(|dir| &dir.dir);
        tracing::info!(
            method = self.method.name(),
            cfg = ?options.config_file,
            out = ?options.config_output,
            cfg_dirs = ?dirs.collect::<Vec<_>>(),
            dirs = ?options.rule_dirs,
            "started watching config file and directories for changes"
        );
    }

    /// Returns what the files look like from outside, or nothing if that cannot be said.
    async fn look(&self) -> Option<u64> {
        let options = Arc::clone(&self.options);
        let looks = blocking(move || files::looks(&options)).await;
        match looks {
            Ok((looks, watched)) => {
                self.options.metrics.watched(watched);
                Some(looks)
            }
            Err(_) => {
                // Reading the files fails as well, and says why.
                self.options.metrics.watch_errors.inc();
                None
            }
        }
    }

    /// Applies what there is and returns after how long to do so again.
    async fn round(&mut self) -> Duration {
        let metrics = self.options.metrics.clone();
        metrics.applies.inc();
        let digest = match self.prepare().await {
            Ok(digest) => digest,
            Err(error) => {
                metrics.apply_failures.inc();
                tracing::error!(%error, "apply error");
                return self.options.retry_interval;
            }
        };
        if self.taken == Some(digest) {
            return self.options.watch_interval;
        }
        self.taken = None;
        metrics.reloads.inc();
        match self.tell().await {
            Ok(()) => {
                metrics.succeeded(&*self.clock);
                tracing::info!("reload triggered");
                self.taken = Some(digest);
                self.options.watch_interval
            }
            Err(error) => {
                metrics.failed();
                tracing::error!(%error, "failed to trigger reload, will retry");
                self.options.retry_interval
            }
        }
    }

    /// Reads all files, writes the outputs and returns what was read.
    async fn prepare(&mut self) -> Result<u64> {
        let options = Arc::clone(&self.options);
        let outputs = self.outputs.clone();
        let Applied {
            outputs,
            unset,
            digest,
        } = blocking(move || Ok(files::apply(&options, outputs))).await?;
        self.outputs = outputs;
        self.options.metrics.unset(unset);
        digest
    }

    async fn tell(&self) -> Result<()> {
        let told = async {
            match &self.method {
                ReloadMethod::Http => self.client.reload().await,
                ReloadMethod::Signal { process_name } => {
                    signal::reload(&self.client, process_name, &*self.clock).await
                }
            }
        };
        let limit = self.options.watch_interval;
        timeout(limit, told).await.unwrap_or_else(|_| {
            let message = format!("{}: no end of the reload in {limit:?}", self.client.url());
            Err(Error::unavailable(message))
        })
    }
}

/// Runs work on files where it may wait.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(Error::internal(format!("reloader: {error}"))))
}
