//! `thanos compact`: keeps a bucket in order.

mod flags;
mod loops;
mod metrics;

use std::sync::Arc;

use axum::Router;
use thanos_bucket::Bucket;
use thanos_bucket::compact::Compactor;
use thanos_bucket::compute::Compute;
use thanos_bucket::http::BlockViewer;
use thanos_core::Result;

pub use self::flags::CompactFlags;
use self::loops::{OnError, ShowBlocks};
use self::metrics::RoleMetrics;
use crate::about::About;
use crate::process::Process;
use crate::requests::RequestLog;

/// Runs the role until everything is done or, with `--wait`, until it is told to stop.
///
/// # Errors
///
/// A wrong flag, an address in use, or what went wrong in an iteration.
pub async fn run(flags: CompactFlags, about: About) -> Result<()> {
    let metrics = RoleMetrics::default();
    let bucket = flags.bucket.open(metrics.bucket.clone())?;
    let compute = Compute::per_core();
    let viewer = flags.viewer(&bucket, compute.clone());
    let hooks = Arc::new(ShowBlocks(viewer.clone()));
    let options = flags.compactor(hooks, &metrics, compute.clone())?;
    let work = flags.work(&bucket, compute).await?;
    let compactor = Arc::new(Compactor::new(bucket, work, options)?);

    let router = flags.router(viewer.as_ref(), about);
    let log = RequestLog::default();
    let register = |registry: &mut _| metrics.register(registry);
    let mut process = Process::start_http("compact", &flags.http, log, router, register).await?;
    spawn(&mut process, &flags, compactor, viewer);
    tracing::info!("starting compact node");
    process.ready().await;
    process.run().await
}

fn spawn(
    process: &mut Process,
    flags: &CompactFlags,
    compactor: Arc<Compactor>,
    viewer: Option<BlockViewer>,
) {
    let (loops, shutdown) = (flags.loops.clone(), process.shutdown());
    let each = || (Arc::clone(&compactor), shutdown.clone());
    let (work, stop) = each();
    if !loops.wait {
        return process.spawn(loops::once(work, stop));
    }
    let on_error = match flags.debug.end_on_error {
        true => OnError::End,
        false => OnError::GoOn,
    };
    let interval = loops.wait_interval;
    process.spawn(loops::iterate(work, interval, on_error, stop));
    if !loops.cleanup_interval.is_zero() {
        let ((work, stop), interval) = (each(), loops.cleanup_interval);
        process.spawn(loops::clean(work, interval, stop));
    }
    if !loops.progress_interval.is_zero() {
        let ((work, stop), interval) = (each(), loops.progress_interval);
        process.spawn(loops::tell_progress(work, interval, stop));
    }
    if let Some(viewer) = viewer {
        let (work, stop) = each();
        let (interval, timeout) = (loops.viewer_interval, loops.viewer_timeout);
        process.spawn(loops::show_all(work, viewer, interval, timeout, stop));
    }
}

impl CompactFlags {
    /// Returns the block viewer, which there is only while the process waits for work.
    fn viewer(&self, bucket: &Bucket, compute: Compute) -> Option<BlockViewer> {
        let viewer = self.web.viewer.viewer(bucket.clone(), compute);
        viewer.filter(|_| self.loops.wait)
    }

    fn router(&self, viewer: Option<&BlockViewer>, about: About) -> Router {
        let router = viewer.map_or_else(Router::new, |viewer| {
            viewer.router().merge(about.router(self.web.viewer.cors()))
        });
        match self.web.route_prefix.trim_matches('/') {
            "" => router,
            prefix => Router::new().nest(&format!("/{prefix}"), router),
        }
    }
}
