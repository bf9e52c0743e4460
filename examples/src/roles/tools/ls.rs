//! `thanos tools bucket ls`.

use std::sync::Arc;
use std::time::Duration;

use clap::{ArgAction, Args};
use thanos_bucket::fetch::FetchOptions;
use thanos_bucket::fetch::filter::DeletionMarkFilter;
use thanos_bucket::layers::BucketMetrics;
use thanos_bucket::tools::list_blocks;
use thanos_core::Result;
use thanos_core::block::Meta;
use thanos_core::time::{SignedDuration, SystemClock, Timestamp, UtcTime};

use super::flags::{SelectorFlags, WindowFlags, within};
use super::output;
use super::template::MetaTemplate;
use crate::flags::{BucketFlags, duration};

/// Flags of `thanos tools bucket ls`.
#[derive(Debug, Clone, Args)]
pub(super) struct LsFlags {
    #[command(flatten)]
    bucket: BucketFlags,
    #[command(flatten)]
    selector: SelectorFlags,
    #[command(flatten)]
    window: WindowFlags,
    /// Optional format in which to print each block's information. Options are 'json', 'wide' or a custom template of
    /// fields, such as '{{.ULID}} {{.Thanos.Labels}}'.
    #[arg(short = 'o', long, value_name = "FORMAT", default_value = "")]
    output: String,
    /// Exclude blocks marked for deletion.
    #[arg(long, action = ArgAction::SetTrue)]
    exclude_delete: bool,
    /// Timeout to download metadata from remote storage.
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration)]
    timeout: Duration,
}

pub(super) async fn run(flags: LsFlags) -> Result<()> {
    let template = match flags.output.as_str() {
        "" | "wide" | "json" => None,
        text => Some(MetaTemplate::parse(text)?),
    };
    let bucket = flags.bucket.open(BucketMetrics::default())?;
    let mut filters = vec![flags.selector.filter()?, flags.window.filter()?];
    if flags.exclude_delete {
        filters.push(Arc::new(DeletionMarkFilter::new(0, Arc::new(SystemClock))));
    }
    let listing = list_blocks(&bucket, FetchOptions::default(), &filters);
    let listing = within(flags.timeout, listing).await?;
    let mut text = String::new();
    for entry in listing.blocks.values() {
        let meta = &entry.meta;
        text.push_str(&match (&template, flags.output.as_str()) {
            (Some(template), _) => template.apply(meta)? + "\n",
            (None, "json") => shown_json(meta)?,
            (None, "wide") => wide(meta),
            (None, _) => format!("{}\n", meta.ulid),
        });
    }
    output::print(&text)?;
    tracing::info!(objects = listing.blocks.len(), "ls done");
    Ok(())
}

/// Thanos' types always have its section.
fn shown_json(meta: &Meta) -> Result<String> {
    let mut meta = meta.clone();
    meta.thanos.get_or_insert_default();
    output::json(&meta)
}

fn wide(meta: &Meta) -> String {
    let secs = |time: Timestamp| time.as_millis() / 1000;
    let shown = |time| UtcTime::from_unix_secs(secs(time));
    let source = meta.thanos.as_ref().map_or("", |thanos| &thanos.source);
    format!(
        "{} -- {} - {} Diff: {}, Compaction: {}, Downsample: {}, Source: {source}\n",
        meta.ulid,
        shown(meta.min_time),
        shown(meta.max_time),
        SignedDuration::from_secs(secs(meta.max_time) - secs(meta.min_time)).go(),
        meta.compaction.level,
        meta.resolution_ms(),
    )
}
