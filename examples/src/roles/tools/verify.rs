//! `thanos tools bucket verify`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args};
use thanos_bucket::Bucket;
use thanos_bucket::config::BucketConfig;
use thanos_bucket::layers::BucketMetrics;
use thanos_bucket::tools::{Finding, Issue, Outcome, RepairInto, VerifyOptions, verify_blocks};
use thanos_core::block::BlockId;
use thanos_core::{Error, Result};

use super::flags::{Report, block_id, millis};
use super::output;
use crate::flags::{BucketFlags, content, duration};

/// Flags of `thanos tools bucket verify`.
#[derive(Debug, Clone, Args)]
pub(super) struct VerifyFlags {
    #[command(flatten)]
    bucket: BucketFlags,
    /// Path to the YAML file of the bucket into which blocks are backed up before they are removed.
    #[arg(
        id = "objstore-backup.config-file",
        long = "objstore-backup.config-file",
        value_name = "FILE"
    )]
    backup_file: Option<PathBuf>,
    /// The same YAML itself, instead of 'objstore-backup.config-file'.
    #[arg(
        id = "objstore-backup.config",
        long = "objstore-backup.config",
        value_name = "CONTENT"
    )]
    backup: Option<String>,
    /// Attempt to repair blocks for which issues were detected.
    #[arg(short = 'r', long, action = ArgAction::SetTrue)]
    repair: bool,
    /// Issues to verify (and optionally repair). Possible issue to verify, without repair: [overlapped_blocks]; Possible
    /// issue to verify and repair: [index_known_issues duplicated_compaction].
    #[arg(
        short = 'i',
        long,
        value_name = "ISSUE",
        action = ArgAction::Append,
        default_values = ["index_known_issues", "overlapped_blocks"]
    )]
    issues: Vec<String>,
    /// Block IDs to verify (and optionally repair) only. If none is specified, all blocks will be verified. Repeated field.
    #[arg(long = "id", value_name = "ID", action = ArgAction::Append, value_parser = block_id)]
    ids: Vec<BlockId>,
    /// Duration after which blocks marked for deletion would be deleted permanently from source bucket by compactor
    /// component. If it is 0, blocks will be deleted straight away: queries can fail while a store gateway still has the
    /// block loaded.
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration)]
    delete_delay: Duration,
    /// Whether to print what was found.
    #[arg(long, value_name = "FORMAT", default_value = "log")]
    output: Report,
}

impl VerifyFlags {
    fn backup(&self) -> Result<Option<Bucket>> {
        let flag = "objstore-backup.config";
        let yaml = content(flag, &self.backup, &self.backup_file)?;
        let open = |yaml: String| BucketConfig::from_yaml(&yaml)?.open();
        let opened = yaml.map(open).transpose();
        opened.map_err(|error| error.context(format!("--{flag}")))
    }

    fn options(&self) -> Result<VerifyOptions> {
        let repair = match (self.repair, self.backup()?) {
            (false, _) => None,
            (true, Some(backup)) => Some(RepairInto {
                backup,
                delete_delay_ms: millis(self.delete_delay),
            }),
            (true, None) => {
                let message = "repair is specified, so backup client is required";
                return Err(Error::invalid(message));
            }
        };
        let issues = self.issues.iter().map(|name| Issue::from_name(name));
        let ids = self.ids.iter().copied().collect();
        let work_dir = std::env::temp_dir().join(format!("thanos-verify-{}", std::process::id()));
        Ok(VerifyOptions {
            issues: issues.collect::<Result<_>>()?,
            ids: Some(ids).filter(|_| !self.ids.is_empty()),
            repair,
            ..VerifyOptions::new(work_dir)
        })
    }
}

pub(super) async fn run(flags: VerifyFlags) -> Result<()> {
    let options = flags.options()?;
    let bucket = flags.bucket.open(BucketMetrics::default())?;
    if options.repair.is_some() {
        tracing::warn!("GLOBAL COMPACTOR SHOULD __NOT__ BE RUNNING ON THE SAME BUCKET");
    }
    tracing::info!(verifiers = flags.issues.join(","), "Starting verify task");
    let found = verify_blocks(&bucket, &options, log).await;
    // Whatever was downloaded is of no use any more, and nothing may be there.
    let _ = std::fs::remove_dir_all(&options.work_dir);
    let found = found?;
    if flags.output == Report::Json {
        output::print(&output::json(&found)?)?;
    }
    tracing::info!(found = found.len(), "verify task completed");
    Ok(())
}

fn log(finding: &Finding) {
    let verifier = finding.issue.as_str();
    let ids: Vec<String> = finding.blocks.iter().map(ToString::to_string).collect();
    let (blocks, group) = (ids.join(","), finding.group.as_deref().unwrap_or_default());
    tracing::warn!(
        verifier,
        group,
        id = blocks,
        err = finding.problem,
        "detected issue"
    );
    match &finding.outcome {
        Outcome::Reported => {}
        Outcome::Repaired { new: Some(new) } => {
            tracing::info!(verifier, id = blocks, newID = %new, "repaired block");
        }
        Outcome::Repaired { new: None } => {
            tracing::info!(
                verifier,
                id = blocks,
                "nothing was left of the block, it was removed"
            );
        }
        Outcome::Removed { removed } => {
            tracing::info!(verifier, ids = ?removed, "removed duplicated blocks");
        }
        Outcome::Failed { error } => {
            tracing::error!(verifier, id = blocks, error, "could not repair")
        }
    }
}
