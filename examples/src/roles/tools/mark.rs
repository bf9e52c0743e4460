//! `thanos tools bucket mark`.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::{ArgAction, Args};
use thanos_bucket::layers::BucketMetrics;
use thanos_bucket::tools::{MarkOptions, MarkerKind, mark_blocks};
use thanos_core::block::BlockId;
use thanos_core::{Error, Result};

use super::flags::{Report, block_id, within};
use super::output;
use crate::flags::BucketFlags;

/// How long all marks together may take.
const TIMEOUT: Duration = Duration::from_secs(120);

/// Flags of `thanos tools bucket mark`.
#[derive(Debug, Clone, Args)]
pub(super) struct MarkFlags {
    #[command(flatten)]
    bucket: BucketFlags,
    /// ID (ULID) of the blocks to be marked for deletion (repeated flag).
    #[arg(long = "id", value_name = "ID", action = ArgAction::Append, required = true, value_parser = block_id)]
    ids: Vec<BlockId>,
    /// Marker to be put.
    #[arg(long, value_name = "FILE", value_parser = marker)]
    marker: MarkerKind,
    /// Human readable details to be put into marker.
    #[arg(long, value_name = "TEXT", default_value = "")]
    details: String,
    /// Remove the marker.
    #[arg(long, action = ArgAction::SetTrue)]
    remove: bool,
    /// Whether to print what became of the marker of each block.
    #[arg(long, value_name = "FORMAT", default_value = "log")]
    output: Report,
}

fn marker(name: &str) -> std::result::Result<MarkerKind, String> {
    let found = MarkerKind::ALL.into_iter().find(|kind| kind.file() == name);
    found.ok_or_else(|| {
        let names = MarkerKind::ALL.map(MarkerKind::file).join(",");
        format!("enum value must be one of {names}, got '{name}'")
    })
}

pub(super) async fn run(flags: MarkFlags) -> Result<()> {
    let options = match (flags.remove, flags.details.is_empty()) {
        (true, _) => MarkOptions::remove(flags.marker),
        (false, false) => MarkOptions::put(flags.marker, flags.details),
        (false, true) => return Err(Error::invalid("required flag --details not provided")),
    };
    let bucket = flags.bucket.open(BucketMetrics::default())?;
    let outcomes = within(TIMEOUT, mark_blocks(&bucket, &flags.ids, &options)).await?;
    if flags.output == Report::Json {
        let outcomes: BTreeMap<_, _> = outcomes.into_iter().collect();
        output::print(&output::json(&outcomes)?)?;
    }
    let ids: Vec<String> = flags.ids.iter().map(ToString::to_string).collect();
    tracing::info!(
        marker = flags.marker.file(),
        IDs = ids.join(","),
        "marking done"
    );
    Ok(())
}
