//! Looking for what is wrong with the blocks of a bucket, and repairing what can be.
//!
//! | issue | what it is | repair |
//! |---|---|---|
//! | `index_known_issues` | an index with chunks or labels out of order, or chunks outside of its block | a new block without them |
//! | `overlapped_blocks` | blocks of one group that cover the same time | none |
//! | `duplicated_compaction` | blocks that are the same but for their name | all but the first go |
//!
//! What is repaired or removed is in the backup bucket before. No compactor may run over the bucket meanwhile.
//!
//! Source: Thanos `pkg/verifier`.

mod backup;
mod duplicates;
mod index;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use serde::Serialize;
use thanos_core::block::BlockId;
use thanos_core::time::{Clock, SystemClock};
use thanos_core::{Error, Result};

use super::list::list_blocks;
use super::overlaps::overlapping_blocks;
use crate::Bucket;
use crate::compute::Compute;
use crate::fetch::filter::{BlockFilter, DeletionMarkFilter};
use crate::fetch::{BlockEntry, FetchOptions};

/// Something that can be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Issue {
    /// Disorder in an index.
    IndexKnownIssues,
    /// Blocks that cover the same time.
    OverlappedBlocks,
    /// Blocks that are there twice.
    DuplicatedCompaction,
}

impl Issue {
    /// All issues.
    pub const ALL: [Self; 3] = [
        Self::IndexKnownIssues,
        Self::OverlappedBlocks,
        Self::DuplicatedCompaction,
    ];

    /// Returns its name on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::IndexKnownIssues => "index_known_issues",
            Self::OverlappedBlocks => "overlapped_blocks",
            Self::DuplicatedCompaction => "duplicated_compaction",
        }
    }

    /// Returns the issue of this name.
    ///
    /// # Errors
    ///
    /// `Invalid` when there is none.
    pub fn from_name(name: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|issue| issue.as_str() == name);
        found.ok_or_else(|| Error::invalid(format!("no such issue ID {name}")))
    }
}

/// What is verified, and what becomes of what is found.
#[derive(Debug, Clone)]
pub struct VerifyOptions {
    /// What is looked for.
    pub issues: Vec<Issue>,
    /// Only these blocks; `None` for all.
    pub ids: Option<BTreeSet<BlockId>>,
    /// Whether what is found is repaired.
    pub repair: Option<RepairInto>,
    /// Where blocks are downloaded to; what is put there is removed again.
    pub work_dir: PathBuf,
    /// How the bucket is listed.
    pub fetch: FetchOptions,
    /// Where what happens is counted.
    pub metrics: VerifyMetrics,
    /// Where the time comes from.
    pub clock: Arc<dyn Clock>,
    /// Where indexes are read and blocks are written.
    pub compute: Compute,
}

impl VerifyOptions {
    /// Returns options that look for what Thanos looks for, with `work_dir` for what is downloaded.
    pub fn new(work_dir: PathBuf) -> Self {
        Self {
            issues: vec![Issue::IndexKnownIssues, Issue::OverlappedBlocks],
            ids: None,
            repair: None,
            work_dir,
            fetch: FetchOptions::default(),
            metrics: VerifyMetrics::default(),
            clock: Arc::new(SystemClock),
            compute: Compute::per_core(),
        }
    }
}

/// Where blocks go before they are removed, and how they are.
#[derive(Debug, Clone)]
pub struct RepairInto {
    /// The backup bucket.
    pub backup: Bucket,
    /// 0 removes blocks at once, anything else marks them for deletion: a compactor removes them later.
    pub delete_delay_ms: i64,
}

/// What verifying counts.
#[derive(Debug, Clone, Default)]
pub struct VerifyMetrics {
    /// Blocks that were marked for deletion.
    pub marked_for_deletion: Counter,
}

impl VerifyMetrics {
    /// Registers it.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "thanos_verify_blocks_marked_for_deletion",
            "Total number of blocks marked for deletion by verify",
            self.marked_for_deletion.clone(),
        );
    }
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// What kind of thing.
    pub issue: Issue,
    /// The group of the blocks, where it is about several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The blocks that it is about.
    pub blocks: Vec<BlockId>,
    /// What is wrong, in words.
    pub problem: String,
    /// What was done.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// What was done about a [`Finding`].
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// Nothing.
    Reported,
    /// The block was replaced, unless nothing was left of it.
    Repaired {
        /// The block in its place.
        new: Option<BlockId>,
    },
    /// Blocks were removed.
    Removed {
        /// Which.
        removed: Vec<BlockId>,
    },
    /// It was tried.
    Failed {
        /// What went wrong.
        error: String,
    },
}

/// Looks for `options.issues` in the blocks of `bucket` that are not marked for deletion, and tells `found` of each thing
/// at once; returns all of them.
///
/// # Errors
///
/// `Invalid` when single blocks are asked for that the issue cannot be seen in; when the bucket cannot be listed or a
/// block cannot be read. A repair that fails is a finding, not an error.
pub async fn verify_blocks(
    bucket: &Bucket,
    options: &VerifyOptions,
    mut found: impl FnMut(&Finding),
) -> Result<Vec<Finding>> {
    let mut all = Vec::new();
    let mut tell = |finding: Finding| {
        found(&finding);
        all.push(finding);
    };
    for issue in &options.issues {
        if options.ids.is_some() && *issue != Issue::IndexKnownIssues {
            let message = format!("verify {}: id matching is not supported", issue.as_str());
            return Err(Error::invalid(message));
        }
    }
    for issue in &options.issues {
        // Listed anew for each: the one before may have replaced blocks.
        let filter = DeletionMarkFilter::new(0, Arc::clone(&options.clock));
        let filters: [Arc<dyn BlockFilter>; 1] = [Arc::new(filter)];
        let listing = list_blocks(bucket, options.fetch.clone(), &filters).await?;
        let named = |error: Error| error.context(format_args!("verify {}", issue.as_str()));
        match issue {
            Issue::IndexKnownIssues => {
                let verified = index::verify(bucket, &listing.blocks, options, &mut tell).await;
                verified.map_err(named)?;
            }
            Issue::OverlappedBlocks => overlaps(&listing.blocks, &mut tell),
            Issue::DuplicatedCompaction => {
                duplicates::verify(bucket, &listing.blocks, options, &mut tell).await;
            }
        }
    }
    Ok(all)
}

fn overlaps(blocks: &BTreeMap<BlockId, Arc<BlockEntry>>, tell: &mut impl FnMut(Finding)) {
    for overlap in overlapping_blocks(blocks) {
        tell(Finding {
            issue: Issue::OverlappedBlocks,
            group: Some(overlap.group.to_string()),
            blocks: overlap.blocks.iter().map(|entry| entry.meta.ulid).collect(),
            problem: format!("found overlapped blocks: {overlap}"),
            outcome: Outcome::Reported,
        });
    }
}
