//! `thanos tools`: what people do with a bucket by hand, and checks of rule files.

mod cleanup;
mod delete_series;
mod downsample;
mod flags;
mod inspect;
mod ls;
mod mark;
mod output;
mod progress;
mod replicate;
mod retention;
mod rewrite;
mod rules_check;
mod template;
mod upload_blocks;
mod verify;
mod web;

use clap::{Args, Subcommand};
use thanos_core::Result;

/// Flags of `thanos tools`.
#[derive(Debug, Clone, Args)]
pub struct ToolsFlags {
    #[command(subcommand)]
    tool: Tool,
}

#[derive(Debug, Clone, Subcommand)]
enum Tool {
    /// Bucket utility commands.
    Bucket {
        #[command(subcommand)]
        tool: Box<BucketTool>,
    },
    /// Check if the rule files are valid or not.
    RulesCheck(rules_check::RulesCheckFlags),
}

#[derive(Debug, Clone, Subcommand)]
enum BucketTool {
    /// Verify all blocks in the bucket against specified issues. Depending on the issue this downloads the blocks.
    Verify(verify::VerifyFlags),
    /// List all blocks in the bucket.
    Ls(ls::LsFlags),
    /// Inspect all blocks in the bucket in detailed, table-like way.
    Inspect(inspect::InspectFlags),
    /// Web interface for remote storage bucket.
    Web(web::WebFlags),
    /// Replicate data from one object storage to another, blocks with external labels only.
    Replicate(replicate::ReplicateFlags),
    /// Continuously downsamples blocks in an object store bucket.
    Downsample(downsample::DownsampleFlags),
    /// Cleans up all blocks marked for deletion.
    Cleanup(cleanup::CleanupFlags),
    /// Mark block for deletion or no-compact in a safe way. A compactor that works on the block right now does not see
    /// the mark.
    Mark(mark::MarkFlags),
    /// Ask for series to be deleted from all blocks, list such requests, or take one back. Stores hide the series at their
    /// next sync, and compactors leave them out of the blocks for good.
    DeleteSeries(delete_series::DeleteSeriesFlags),
    /// Rewrite chosen blocks in the bucket, while deleting or modifying series. The new block has other statistics and
    /// compaction sources, and tells under thanos.rewrites what was done. Stop the compactor meanwhile. The source block
    /// stays unless --delete-blocks is given: delete or mark it to avoid overlaps. This is not reversible once the source
    /// is deleted: back up your blocks first.
    Rewrite(rewrite::RewriteFlags),
    /// Apply retention policies on the given bucket. No compactor may run on the same bucket at the same time.
    Retention(retention::RetentionFlags),
    /// Upload blocks from the provided path to the object storage.
    UploadBlocks(upload_blocks::UploadBlocksFlags),
}

/// Runs the tool that the flags name.
///
/// # Errors
///
/// A wrong flag, or what the tool could not do.
pub async fn run(flags: ToolsFlags) -> Result<()> {
    let tool = match flags.tool {
        Tool::RulesCheck(flags) => return rules_check::run(&flags),
        Tool::Bucket { tool } => tool,
    };
    match *tool {
        BucketTool::Verify(flags) => verify::run(flags).await,
        BucketTool::Ls(flags) => ls::run(flags).await,
        BucketTool::Inspect(flags) => inspect::run(flags).await,
        BucketTool::Web(flags) => web::run(flags).await,
        BucketTool::Replicate(flags) => replicate::run(flags).await,
        BucketTool::Downsample(flags) => downsample::run(flags).await,
        BucketTool::Cleanup(flags) => cleanup::run(flags).await,
        BucketTool::Mark(flags) => mark::run(flags).await,
        BucketTool::DeleteSeries(flags) => delete_series::run(flags).await,
        BucketTool::Rewrite(flags) => rewrite::run(flags).await,
        BucketTool::Retention(flags) => retention::run(flags).await,
        BucketTool::UploadBlocks(flags) => upload_blocks::run(flags).await,
    }
}
