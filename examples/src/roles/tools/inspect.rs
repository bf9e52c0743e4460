//! `thanos tools bucket inspect`.

use std::time::Duration;

use clap::{ArgAction, Args, ValueEnum};
use thanos_bucket::fetch::FetchOptions;
use thanos_bucket::layers::BucketMetrics;
use thanos_bucket::tools::{BlockRow, Column, inspect_blocks, list_blocks};
use thanos_core::Result;

use super::flags::within;
use super::output;
use crate::flags::{BucketFlags, duration, label};

/// Flags of `thanos tools bucket inspect`.
#[derive(Debug, Clone, Args)]
pub(super) struct InspectFlags {
    #[command(flatten)]
    bucket: BucketFlags,
    /// Selects blocks based on label, e.g. '-l key1=\"value1\" -l key2=\"value2\"'. All key value pairs must match.
    #[arg(short = 'l', long = "selector", value_name = "NAME=\"VALUE\"", action = ArgAction::Append, value_parser = label)]
    selector: Vec<(String, String)>,
    /// Sort by columns. It's also possible to sort by multiple columns, e.g. '--sort-by FROM --sort-by UNTIL': equal rows
    /// are then further sorted by the second.
    #[arg(
        long,
        value_name = "COLUMN",
        action = ArgAction::Append,
        default_values = ["FROM", "UNTIL"],
        value_parser = column
    )]
    sort_by: Vec<Column>,
    /// Timeout to download metadata from remote storage.
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration)]
    timeout: Duration,
    /// Output format for result.
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    output: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Csv,
    Tsv,
    Json,
}

fn column(name: &str) -> std::result::Result<Column, String> {
    Column::from_name(name).ok_or_else(|| {
        let names = Column::ALL.map(Column::as_str).join(",");
        format!("enum value must be one of {names}, got '{name}'")
    })
}

pub(super) async fn run(flags: InspectFlags) -> Result<()> {
    let bucket = flags.bucket.open(BucketMetrics::default())?;
    let listing = list_blocks(&bucket, FetchOptions::default(), &[]);
    let listing = within(flags.timeout, listing).await?;
    let metas = listing.blocks.values().map(|entry| &entry.meta);
    let rows = inspect_blocks(metas, &flags.selector, &flags.sort_by);
    let header = Column::ALL.map(Column::as_str);
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row: &BlockRow| row.cells().to_vec())
        .collect();
    output::print(&match flags.output {
        Format::Table => output::table(&header, &cells),
        Format::Csv => output::separated(',', &header, &cells),
        Format::Tsv => output::separated('\t', &header, &cells),
        Format::Json => output::json(&rows)?,
    })
}
