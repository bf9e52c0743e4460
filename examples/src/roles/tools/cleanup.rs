//! `thanos tools bucket cleanup`.

use clap::Args;
use thanos_bucket::compact::{Compactor, CompactorOptions};
use thanos_bucket::layers::BucketMetrics;
use thanos_core::Result;

use super::flags::{PassFlags, Report, no_work};
use super::output;
use crate::flags::BucketFlags;

/// Flags of `thanos tools bucket cleanup`.
#[derive(Debug, Clone, Args)]
pub(super) struct CleanupFlags {
    #[command(flatten)]
    bucket: BucketFlags,
    #[command(flatten)]
    pass: PassFlags,
    /// Whether to print which marked blocks were deleted.
    #[arg(long, value_name = "FORMAT", default_value = "log")]
    output: Report,
}

pub(super) async fn run(flags: CleanupFlags) -> Result<()> {
    let bucket = flags.bucket.open(BucketMetrics::default())?;
    let options = CompactorOptions {
        view: flags.pass.view()?,
        ..CompactorOptions::default()
    };
    let compactor = Compactor::new(bucket.clone(), no_work(bucket), options)?;
    tracing::info!("syncing blocks metadata");
    compactor.sync().await?;
    tracing::info!("synced blocks done");
    compactor.clean_partial().await;
    let gone = compactor.delete_marked().await;
    let gone = gone.map_err(|error| error.context("error cleaning blocks"))?;
    if flags.output == Report::Json {
        output::print(&output::json(&gone)?)?;
    }
    tracing::info!(deleted = gone.len(), "cleanup done");
    Ok(())
}
