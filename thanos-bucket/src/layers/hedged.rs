//! Asks again when an answer is late, and takes the first one that comes: `hedging_config`.
//!
//! Place in the stack: above the counting, so that each request is counted, below caches. Only reads are repeated, and
//! only until their answer begins. Thanos repeats writes too; it should not, because a late first write can undo what was
//! written after it.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::future::{Either, select};
use futures::stream::{BoxStream, FuturesUnordered};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result,
};
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::time::Instant;

/// How many of the last durations say what late means.
const REMEMBERED: usize = 512;
/// How many durations must be known before anything is late.
const KNOWN_MIN: usize = 20;
/// After how many new durations the quantile is computed again.
const FRESH_MAX: usize = 16;

/// When and how often to ask again, with Thanos' names and defaults.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HedgingOptions {
    /// Whether to ask again at all.
    pub enabled: bool,
    /// How many requests may run for one answer, the first included.
    pub up_to: usize,
    /// An answer is late when this share of the last answers came sooner.
    pub quantile: f64,
}

impl Default for HedgingOptions {
    fn default() -> Self {
        Self {
            enabled: false,
            up_to: 3,
            quantile: 0.9,
        }
    }
}

impl HedgingOptions {
    /// Reports settings that make no sense.
    ///
    /// # Errors
    ///
    /// `Invalid` for a quantile outside of 0 to 1 or no request at all.
    pub fn validate(&self) -> thanos_core::Result<()> {
        if !(0.0..=1.0).contains(&self.quantile) {
            return Err(thanos_core::Error::invalid(
                "hedging_config: quantile must be between 0 and 1",
            ));
        }
        if self.up_to == 0 {
            return Err(thanos_core::Error::invalid(
                "hedging_config: up_to must be at least 1",
            ));
        }
        Ok(())
    }
}

/// An object store that is asked again when it is late.
#[derive(Debug)]
pub struct Hedged {
    store: Arc<dyn ObjectStore>,
    options: HedgingOptions,
    durations: Mutex<Durations>,
}

/// The last durations until an answer began.
#[derive(Debug, Default)]
struct Durations {
    ring: Vec<Duration>,
    next: usize,
    fresh: usize,
    quantile: Option<Duration>,
}

impl Durations {
    fn add(&mut self, duration: Duration, quantile: f64) {
        if self.ring.len() < REMEMBERED {
            self.ring.push(duration);
        } else {
            self.ring[self.next] = duration;
        }
        self.next = (self.next + 1) % REMEMBERED;
        self.fresh += 1;
        let enough = self.ring.len() >= KNOWN_MIN;
        if enough && (self.quantile.is_none() || self.fresh >= FRESH_MAX) {
            self.fresh = 0;
            self.quantile = Some(self.compute(quantile));
        }
    }

    fn compute(&self, quantile: f64) -> Duration {
        let mut sorted = self.ring.clone();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 0 and the number of durations"
        )]
        let rank = ((sorted.len() - 1) as f64 * quantile).round() as usize;
        *sorted.select_nth_unstable(rank).1
    }
}

impl Hedged {
    /// Returns `store`, hedged. `options.enabled` is not looked at: whoever wraps a store means it.
    pub fn new(store: Arc<dyn ObjectStore>, options: HedgingOptions) -> Self {
        Self {
            store,
            options,
            durations: Mutex::default(),
        }
    }

    async fn attempt(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let started = Instant::now();
        let answer = self.store.get_opts(location, options).await;
        if answer.is_ok() {
            let mut durations = self.durations.lock();
            durations.add(started.elapsed(), self.options.quantile);
        }
        answer
    }
}

/// Reports whether another attempt could not answer otherwise.
fn is_final(answer: &Result<GetResult>) -> bool {
    use object_store::Error as E;
    matches!(
        answer,
        Ok(_)
            | Err(E::NotFound { .. }
                | E::NotModified { .. }
                | E::Precondition { .. }
                | E::PermissionDenied { .. }
                | E::InvalidPath { .. }
                | E::NotSupported { .. }
                | E::NotImplemented { .. })
    )
}

impl fmt::Display for Hedged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hedged({})", self.store)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectStore for Hedged {
    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let late = self.durations.lock().quantile;
        let mut attempts = FuturesUnordered::new();
        attempts.push(self.attempt(location, options.clone()));
        let mut sent = 1;
        loop {
            let answer = match late.filter(|_| sent < self.options.up_to) {
                None => attempts.next().await,
                Some(late) => {
                    let timer = std::pin::pin!(tokio::time::sleep(late));
                    match select(attempts.next(), timer).await {
                        Either::Left((answer, _)) => answer,
                        Either::Right(((), _)) => {
                            attempts.push(self.attempt(location, options.clone()));
                            sent += 1;
                            continue;
                        }
                    }
                }
            };
            match answer {
                // The attempts that are still on their way end when they are dropped.
                Some(answer) if is_final(&answer) || attempts.is_empty() => return answer,
                // Another attempt may still succeed.
                Some(_) => {}
                None => unreachable!("an attempt is on its way until an answer is returned"),
            }
        }
    }

    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        self.store.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.store.put_multipart_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.store.get_ranges(location, ranges).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.store.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.store.list(prefix)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.store.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.store.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.store.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.store.rename_opts(from, to, options).await
    }
}
