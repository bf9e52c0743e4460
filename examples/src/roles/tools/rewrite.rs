//! `thanos tools bucket rewrite`.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use clap::{ArgAction, Args};
use serde::Deserialize;
use thanos_bucket::layers::BucketMetrics;
use thanos_bucket::tools::{RewriteBlocksOptions, RewriteMode, RewrittenBlock, rewrite_block_in};
use thanos_bucket::transfer::HashFunc;
use thanos_core::block::{BlockId, META_FILE, Meta};
use thanos_core::labels::relabel::RelabelConfig;
use thanos_core::rewrite::{DeletionRequest, RewriteRules};
use thanos_core::time::TimeRange;
use thanos_core::{Error, Result};
use thanos_promql::parser::{Options, parse_selector};

use super::flags::{Report, block_id};
use super::output;
use super::progress::with_bar;
use crate::flags::{BucketFlags, content};

/// The largest `meta.json` that is read.
const META_BYTES_MAX: u64 = 64 << 20;

/// Flags of `thanos tools bucket rewrite`.
#[derive(Debug, Clone, Args)]
pub(super) struct RewriteFlags {
    #[command(flatten)]
    bucket: BucketFlags,
    /// ID (ULID) of the blocks for rewrite (repeated flag).
    #[arg(long = "id", value_name = "ID", action = ArgAction::Append, required = true, value_parser = block_id)]
    ids: Vec<BlockId>,
    /// Working directory for temporary files; what is in it is removed at the start. The default is thanos-rewrite in the
    /// system's directory for such.
    #[arg(id = "tmp.dir", long = "tmp.dir", value_name = "DIR")]
    tmp_dir: Option<PathBuf>,
    /// Write the new blocks. Without it the changes of series are only printed, and nothing is done.
    #[arg(id = "no-dry-run", long = "no-dry-run", action = ArgAction::SetTrue)]
    no_dry_run: bool,
    /// If specified, we assume the blocks to be uploaded are only used with Prometheus so we don't check external labels in
    /// this case.
    #[arg(long, action = ArgAction::SetTrue)]
    prom_blocks: bool,
    /// Whether to mark the original blocks for deletion after rewriting blocks successfully. Available in non dry-run mode
    /// only.
    #[arg(long, action = ArgAction::SetTrue)]
    delete_blocks: bool,
    /// Which checksums of the new files go into meta.json: '' or SHA256.
    #[arg(long, value_name = "NAME", default_value = "", value_parser = |text: &str| text.parse::<HashFunc>().map_err(|error| error.to_string()))]
    hash_func: HashFunc,
    #[command(flatten)]
    rules: RuleFlags,
    /// Do not write what is changed to change.log beside the new block in --tmp.dir.
    #[arg(id = "no-rewrite.add-change-log", long = "no-rewrite.add-change-log", action = ArgAction::SetTrue)]
    no_change_log: bool,
    /// Whether to print what was done.
    #[arg(long, value_name = "FORMAT", default_value = "log")]
    output: Report,
}

/// What is changed.
#[derive(Debug, Clone, Args)]
struct RuleFlags {
    /// Path to the YAML file with a list of deletions: matchers (a selector), intervals (mint, maxt), request_id.
    #[arg(
        id = "rewrite.to-delete-config-file",
        long = "rewrite.to-delete-config-file",
        value_name = "FILE"
    )]
    delete_file: Option<PathBuf>,
    /// The same YAML itself, instead of 'rewrite.to-delete-config-file'.
    #[arg(
        id = "rewrite.to-delete-config",
        long = "rewrite.to-delete-config",
        value_name = "CONTENT",
        allow_hyphen_values = true
    )]
    delete: Option<String>,
    /// Path to the YAML file with relabelling rules over the labels of series.
    #[arg(
        id = "rewrite.to-relabel-config-file",
        long = "rewrite.to-relabel-config-file",
        value_name = "FILE"
    )]
    relabel_file: Option<PathBuf>,
    /// The same YAML itself, instead of 'rewrite.to-relabel-config-file'.
    #[arg(
        id = "rewrite.to-relabel-config",
        long = "rewrite.to-relabel-config",
        value_name = "CONTENT",
        allow_hyphen_values = true
    )]
    relabel: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DeletionYaml {
    matchers: String,
    #[serde(default)]
    intervals: Vec<IntervalYaml>,
    #[serde(default)]
    request_id: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct IntervalYaml {
    mint: i64,
    maxt: i64,
}

impl RuleFlags {
    fn rules(&self) -> Result<RewriteRules> {
        let deletions = content("rewrite.to-delete-config", &self.delete, &self.delete_file)?;
        let relabels = content(
            "rewrite.to-relabel-config",
            &self.relabel,
            &self.relabel_file,
        )?;
        let rules = RewriteRules {
            deletions: deletions.map_or_else(|| Ok(Vec::new()), |yaml| parse_deletions(&yaml))?,
            relabels: relabels.map_or_else(|| Ok(Vec::new()), |yaml| parse_relabels(&yaml))?,
        };
        if rules.is_empty() {
            return Err(Error::invalid("rewrite configuration should be provided"));
        }
        Ok(rules)
    }
}

fn parse_relabels(yaml: &str) -> Result<Vec<RelabelConfig>> {
    let parsed: std::result::Result<Option<Vec<RelabelConfig>>, _> = serde_saphyr::from_str(yaml);
    let invalid = |error| Error::invalid(format!("parsing relabel configuration: {error}"));
    Ok(parsed.map_err(invalid)?.unwrap_or_default())
}

fn parse_deletions(yaml: &str) -> Result<Vec<DeletionRequest>> {
    let parsed: std::result::Result<Option<Vec<DeletionYaml>>, _> = serde_saphyr::from_str(yaml);
    let invalid = |error| Error::invalid(format!("parsing deletion requests: {error}"));
    let requests = parsed.map_err(invalid)?.unwrap_or_default();
    requests.into_iter().map(DeletionYaml::request).collect()
}

impl DeletionYaml {
    fn request(self) -> Result<DeletionRequest> {
        let invalid = |error: String| {
            Error::invalid(format!("parse metric selector {}: {error}", self.matchers))
        };
        let selector = parse_selector(&self.matchers, &Options::default());
        let selector = selector.map_err(|error| invalid(error.to_string()))?;
        let ranges = self.intervals.iter();
        let intervals: Vec<TimeRange> = ranges
            .map(|range| TimeRange::from_millis(range.mint, range.maxt))
            .collect();
        if let Some(empty) = intervals.iter().find(|range| range.is_empty()) {
            return Err(invalid(format!(
                "interval from {} ends before it begins, at {}",
                empty.min, empty.max
            )));
        }
        Ok(DeletionRequest {
            matchers: selector.compile_matchers()?,
            intervals,
            request_id: self.request_id.clone(),
        })
    }
}

pub(super) async fn run(flags: RewriteFlags) -> Result<()> {
    let rules = flags.rules.rules()?;
    let bucket = flags.bucket.open(BucketMetrics::default())?;
    let work_dir = flags
        .tmp_dir
        .clone()
        .unwrap_or_else(|| std::env::temp_dir().join("thanos-rewrite"));
    let in_dir = |error: std::io::Error| Error::from(error).in_file(work_dir.display().to_string());
    match std::fs::remove_dir_all(&work_dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(in_dir(error)),
        _ => std::fs::create_dir_all(&work_dir).map_err(in_dir)?,
    }
    let options = RewriteBlocksOptions {
        mode: match (flags.no_dry_run, flags.delete_blocks) {
            (false, _) => RewriteMode::DryRun,
            (true, false) => RewriteMode::Upload,
            (true, true) => RewriteMode::Replace,
        },
        change_log: !flags.no_change_log,
        without_labels_allowed: flags.prom_blocks,
        hash: flags.hash_func,
        ..RewriteBlocksOptions::new(rules, work_dir)
    };
    let mut done = Vec::with_capacity(flags.ids.len());
    for id in &flags.ids {
        let meta = bucket
            .read(&format!("{id}/{META_FILE}"), META_BYTES_MAX)
            .await;
        let total = Meta::parse(&meta?)?.stats.num_series;
        options.progress.store(0, Ordering::Relaxed);
        tracing::info!(source = %id, "starting rewrite for block");
        let work = rewrite_block_in(&bucket, *id, &options);
        let rewritten =
            with_bar(&id.to_string(), Arc::clone(&options.progress), total, work).await?;
        tell(&rewritten, &options, flags.output)?;
        done.push(rewritten);
    }
    if flags.output == Report::Json {
        output::print(&output::json(&done)?)?;
    }
    let ids: Vec<String> = flags.ids.iter().map(ToString::to_string).collect();
    tracing::info!(IDs = ids.join(","), "rewrite done");
    Ok(())
}

/// Logs what became of a block; a dry run prints the changes.
fn tell(block: &RewrittenBlock, options: &RewriteBlocksOptions, report: Report) -> Result<()> {
    let (source, stats) = (block.source, block.stats);
    if let Some(file) = &block.change_log {
        tracing::info!(file = %file.display(), "changelog will be available");
        if options.mode == RewriteMode::DryRun && report == Report::Log {
            output::print(&std::fs::read_to_string(file)?)?;
        }
    }
    let (deleted, relabelled) = (stats.deleted_series, stats.relabelled_series);
    let cut = stats.cut_series;
    match (&block.meta, options.mode) {
        (_, RewriteMode::DryRun) => {
            tracing::info!(%source, deleted, relabelled, cut, "dry run finished");
        }
        (Some(meta), _) => {
            tracing::info!(%source, new = %meta.ulid, deleted, relabelled, cut, "uploaded");
        }
        (None, _) => {
            tracing::warn!(%source, "nothing is left of the block, no new one was uploaded")
        }
    }
    Ok(())
}
