//! `thanos tools bucket upload-blocks`.

use std::path::PathBuf;

use clap::{ArgAction, Args};
use thanos_bucket::layers::BucketMetrics;
use thanos_bucket::tools::{UploadBlocksOptions, upload_blocks};
use thanos_core::Result;

use super::flags::Report;
use super::output;
use crate::flags::{BucketFlags, label};

/// Flags of `thanos tools bucket upload-blocks`.
#[derive(Debug, Clone, Args)]
pub(super) struct UploadBlocksFlags {
    #[command(flatten)]
    bucket: BucketFlags,
    /// Path to the directory containing blocks to upload.
    #[arg(long, value_name = "DIR", default_value = "./data")]
    path: PathBuf,
    /// External labels to add to the uploaded blocks (repeated).
    #[arg(long = "label", value_name = "KEY=\"VALUE\"", action = ArgAction::Append, value_parser = label)]
    labels: Vec<(String, String)>,
    /// If true shipper will try to upload compacted blocks as well.
    #[arg(id = "shipper.upload-compacted", long = "shipper.upload-compacted", action = ArgAction::SetTrue)]
    upload_compacted: bool,
    /// Number of files of a block that are uploaded at once.
    #[arg(
        id = "shipper.upload-concurrency",
        long = "shipper.upload-concurrency",
        value_name = "N",
        default_value_t = 5
    )]
    concurrency: usize,
    /// Whether to print what was done.
    #[arg(long, value_name = "FORMAT", default_value = "log")]
    output: Report,
}

pub(super) async fn run(flags: UploadBlocksFlags) -> Result<()> {
    let options = UploadBlocksOptions {
        upload_compacted: flags.upload_compacted,
        concurrency: flags.concurrency,
        ..UploadBlocksOptions::new(flags.path, flags.labels.into_iter().collect())
    };
    let bucket = flags.bucket.open(BucketMetrics::default())?;
    let done = upload_blocks(&bucket, &options).await;
    let done = done.map_err(|error| error.context("unable to sync blocks"))?;
    if flags.output == Report::Json {
        output::print(&output::json(&done)?)?;
    }
    tracing::info!(uploaded = done.uploaded.len(), "synced blocks");
    Ok(())
}
