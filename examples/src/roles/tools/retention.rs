//! `thanos tools bucket retention`.

use std::time::Duration;

use clap::Args;
use thanos_bucket::compact::{Compactor, CompactorOptions, Downsampling, Retention};
use thanos_bucket::layers::BucketMetrics;
use thanos_core::Result;

use super::flags::{PassFlags, Report, millis, no_work};
use super::output;
use crate::flags::{BucketFlags, duration};

/// Flags of `thanos tools bucket retention`.
#[derive(Debug, Clone, Args)]
pub(super) struct RetentionFlags {
    #[command(flatten)]
    bucket: BucketFlags,
    #[command(flatten)]
    pass: PassFlags,
    /// How long to retain raw samples in bucket. Setting this to 0d will retain samples of this resolution forever.
    #[arg(id = "retention.resolution-raw", long = "retention.resolution-raw", value_name = "DURATION", default_value = "0d", value_parser = duration)]
    raw: Duration,
    /// How long to retain samples of resolution 1 (5 minutes) in bucket. Setting this to 0d will retain samples of this
    /// resolution forever.
    #[arg(id = "retention.resolution-5m", long = "retention.resolution-5m", value_name = "DURATION", default_value = "0d", value_parser = duration)]
    five_minutes: Duration,
    /// How long to retain samples of resolution 2 (1 hour) in bucket. Setting this to 0d will retain samples of this
    /// resolution forever.
    #[arg(id = "retention.resolution-1h", long = "retention.resolution-1h", value_name = "DURATION", default_value = "0d", value_parser = duration)]
    hour: Duration,
    /// Whether to print which blocks were marked.
    #[arg(long, value_name = "FORMAT", default_value = "log")]
    output: Report,
}

pub(super) async fn run(flags: RetentionFlags) -> Result<()> {
    for (duration, what) in [
        (flags.raw, "raw samples"),
        (flags.five_minutes, "5 min aggregated samples"),
        (flags.hour, "1 hour aggregated samples"),
    ] {
        if !duration.is_zero() {
            tracing::info!(?duration, "retention policy of {what} is enabled");
        }
    }
    let bucket = flags.bucket.open(BucketMetrics::default())?;
    let options = CompactorOptions {
        view: flags.pass.view()?,
        retention: Retention {
            raw_ms: millis(flags.raw),
            five_minutes_ms: millis(flags.five_minutes),
            hour_ms: millis(flags.hour),
            // Nobody downsamples here: what is asked for is done, and nothing waits for coarser copies.
            downsampling: Downsampling::Off,
        },
        ..CompactorOptions::default()
    };
    let compactor = Compactor::new(bucket.clone(), no_work(bucket), options)?;
    tracing::warn!("GLOBAL COMPACTOR SHOULD __NOT__ BE RUNNING ON THE SAME BUCKET");
    let applied = compactor.apply_retention().await;
    compactor.finish().await;
    let marked = applied.map_err(|error| error.context("retention failed"))?;
    if flags.output == Report::Json {
        output::print(&output::json(&marked)?)?;
    }
    Ok(())
}
