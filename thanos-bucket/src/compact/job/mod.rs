//! Jobs: compacting some blocks, or downsampling one.
//!
//! ```text
//! lease -> what a predecessor decided is carried out first
//!       -> download -> health check -> merge or downsample -> verify -> upload all but meta.json
//!          of what is compacted the indexes, while chunks go from bucket to bucket (transfer::stream)
//!       -> decide (a conditional write) -> publish meta.json -> mark the sources -> note that it is done
//! ```
//!
//! Up to the decision nothing is visible, and whatever is cut off is done again by the next attempt under other names.
//! From the decision on everything can be carried out by anybody, any number of times ([`lease`](super::lease)). A block
//! that cannot be worked with is put into [`quarantine`](super::quarantine), once a second download has shown that it is
//! the block and not the way here; a panic is an error of the job.

mod compact;
mod delete;
mod deletions;
mod downsample;
mod options;
mod predict;
mod publish;
mod sources;
mod streamed;
mod work_dir;

use std::collections::HashSet;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use futures::future::{BoxFuture, Either, select};
use thanos_core::block::BlockId;
use thanos_core::{Error, Result};
use tokio::sync::RwLock;

pub use options::{ChunkTransfer, JobOptions, OutOfOrderChunks, OutOfOrderLabels};
pub use predict::{FreeDisk, Prediction, SystemDisk};
use sources::Trouble;

use super::deletions::Deletion;
use super::group::{Group, GroupKey};
use super::lease::{Acquired, Commit, Lease, Leases};
use super::passes::Downsampling;
use super::planner::Plan;
use super::quarantine::Quarantine;
use super::work::{Hooks, NoHooks, Outcome, Work};
use crate::Bucket;

/// How long the end of the program waits for decisions that are being carried out.
const FINISH_TIMEOUT: Duration = Duration::from_secs(5 * 60);

/// Carries out jobs on the blocks of a bucket; clones share everything.
#[derive(Debug, Clone)]
pub struct JobRunner {
    bucket: Bucket,
    leases: Leases,
    quarantine: Quarantine,
    options: JobOptions,
    /// Shared by all decisions that are being carried out.
    carrying_out: Arc<RwLock<()>>,
}

/// What came of a job under its lease.
enum Step {
    /// There is a result, decided and not visible yet.
    Decided(Box<Commit>),
    /// There is nothing to publish.
    Ended(Outcome),
}

/// Who is asked and told about a compaction.
#[derive(Debug, Clone)]
struct Told {
    group: Group,
    hooks: Arc<dyn Hooks>,
}

impl JobRunner {
    /// Returns what carries out jobs on `bucket` under `leases`.
    pub fn new(bucket: Bucket, leases: Leases, options: JobOptions) -> Self {
        Self {
            quarantine: Quarantine::new(bucket.clone(), Arc::clone(&options.clock)),
            bucket,
            leases,
            options,
            carrying_out: Arc::default(),
        }
    }

    /// Returns where bad blocks are put.
    pub fn quarantine(&self) -> &Quarantine {
        &self.quarantine
    }

    /// Returns the leases.
    pub fn leases(&self) -> &Leases {
        &self.leases
    }

    /// Waits until all decisions are carried out that were begun, at the end of the program (row C-35 of the
    /// specification). What takes longer than five minutes is left to whoever works next.
    pub async fn finish(&self) {
        let finished = tokio::time::timeout(FINISH_TIMEOUT, self.carrying_out.write()).await;
        if finished.is_err() {
            tracing::error!("results are still being published, the next compactor will finish it");
        }
    }

    /// Removes the work directories of groups that are not among `groups`.
    ///
    /// # Errors
    ///
    /// What the file system reports.
    pub async fn remove_stale_dirs(&self, groups: &[GroupKey]) -> Result<()> {
        let kept: HashSet<String> = groups.iter().map(GroupKey::to_string).collect();
        let dir = self.options.data_dir.join("compact");
        let remove = move || work_dir::keep_only(&dir, |name| kept.contains(name));
        self.options.compute.run(remove).await?
    }

    fn group_dir(&self, key: GroupKey) -> PathBuf {
        self.options.data_dir.join("compact").join(key.to_string())
    }

    /// Takes the lease of `job`, lets `work` do it, and carries out what is decided.
    async fn under_lease(
        &self,
        job: &str,
        told: Option<Told>,
        work: impl FnOnce(Arc<Lease>) -> BoxFuture<'static, Result<Step>> + Send,
    ) -> Result<Outcome> {
        let lease = match self.leases.acquire(job).await? {
            Acquired::Held(lease) => Arc::<Lease>::from(lease),
            Acquired::Elsewhere => return Ok(Outcome::Elsewhere),
        };
        if let Some(commit) = lease.unfinished().cloned() {
            tracing::warn!(job, "a result is published that another compactor has left");
            return self
                .carry_out(lease, commit, told, publish::Whose::Another)
                .await;
        }
        let step = {
            let done = AssertUnwindSafe(work(Arc::clone(&lease))).catch_unwind();
            let lost = Box::pin(lease.lost());
            match select(done, lost).await {
                Either::Left((Ok(step), _)) => step,
                Either::Left((Err(panic), _)) => Err(panicked(panic.as_ref())),
                Either::Right(_) => {
                    tracing::warn!(job, "the lease was lost, another compactor has taken over");
                    Ok(Step::Ended(Outcome::Elsewhere))
                }
            }
        };
        match step {
            Ok(Step::Decided(commit)) => {
                self.carry_out(lease, *commit, told, publish::Whose::Ours)
                    .await
            }
            Ok(Step::Ended(outcome)) => {
                release(lease).await;
                Ok(outcome)
            }
            Err(error) => {
                release(lease).await;
                Err(error)
            }
        }
    }
}

/// Releases the lease, of which nobody else has a part any more.
async fn release(lease: Arc<Lease>) {
    if let Ok(lease) = Arc::try_unwrap(lease) {
        lease.release().await;
    }
}

/// C-33: a panic is our bug, and the other jobs go on.
fn panicked(panic: &(dyn std::any::Any + Send)) -> Error {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned());
    Error::internal(format!("panicked: {}", text.unwrap_or_default()))
}

#[async_trait]
impl Work for JobRunner {
    async fn compact(&self, group: &Group, plan: &Plan, hooks: &Arc<dyn Hooks>) -> Result<Outcome> {
        let told = Told {
            group: group.clone(),
            hooks: Arc::clone(hooks),
        };
        let job = format!("compact/{}", group.key);
        let (runner, asked, plan) = (self.clone(), told.clone(), plan.clone());
        let work = |lease| async move { runner.compact_leased(asked, plan, lease).await }.boxed();
        self.under_lease(&job, Some(told), work).await
    }

    async fn downsample(&self, downsampling: &Downsampling) -> Result<Outcome> {
        let id = downsampling.block.meta.ulid;
        let job = format!("downsample/{id}-{}", downsampling.to);
        let (runner, wanted) = (self.clone(), downsampling.clone());
        let work = |lease| async move { runner.downsample_leased(wanted, lease).await }.boxed();
        self.under_lease(&job, None, work).await
    }

    async fn tidy(&self, groups: &[GroupKey]) -> Result<()> {
        self.remove_stale_dirs(groups).await?;
        self.leases.sweep().await
    }

    async fn finish(&self) {
        Self::finish(self).await;
    }

    async fn delete(&self, deletion: &Deletion) -> Result<Outcome> {
        let meta = &deletion.block.meta;
        let key = deletion.group;
        let told = Told {
            group: Group {
                key,
                labels: meta
                    .thanos
                    .iter()
                    .flat_map(|thanos| thanos.labels.clone())
                    .collect(),
                blocks: vec![Arc::clone(&deletion.block)],
            },
            hooks: Arc::new(NoHooks),
        };
        // Not while the group is compacted: the result would have the samples again.
        let job = format!("compact/{key}");
        let (runner, asked, wanted) = (self.clone(), told.clone(), deletion.clone());
        let work = |lease| async move { runner.delete_leased(asked, wanted, lease).await }.boxed();
        self.under_lease(&job, Some(told), work).await
    }
}

/// Blocks that were damaged when they came: a second download tells the block from the way here.
#[derive(Debug, Default)]
struct Suspects(HashSet<BlockId>);

impl Suspects {
    /// Returns the block that is to be downloaded once more, or what is wrong for good.
    fn once_more(&mut self, trouble: Trouble) -> std::result::Result<BlockId, Trouble> {
        match trouble {
            Trouble::Damaged(id, error) if self.0.insert(id) => {
                tracing::warn!(block = %id, %error, "block is damaged, it is downloaded once more");
                Ok(id)
            }
            trouble => Err(trouble),
        }
    }
}
