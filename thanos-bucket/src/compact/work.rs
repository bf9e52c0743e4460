//! What carries out decisions, and what embedders may change of it.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use thanos_core::block::{BlockId, Meta};
use thanos_core::{Error, Result};

use super::deletions::Deletion;
use super::group::{Group, GroupKey};
use super::passes::Downsampling;
use super::planner::Plan;
use super::view::CompactView;

/// Carries out one decision at a time: downloads, merges or downsamples, verifies, uploads, marks the sources.
///
/// Whoever implements it says in its answer what became of the blocks. What an error leaves behind is tried again by the
/// next iteration, so a decision must bear being carried out twice.
#[async_trait]
pub trait Work: fmt::Debug + Send + Sync + 'static {
    /// Makes one block, or one for each shard, of the blocks of `plan`, which are of `group`.
    ///
    /// # Errors
    ///
    /// What keeps the group from going on now. A block that is at fault is put aside instead.
    async fn compact(&self, group: &Group, plan: &Plan, hooks: &Arc<dyn Hooks>) -> Result<Outcome>;

    /// Makes a coarser copy of a block.
    ///
    /// # Errors
    ///
    /// As for [`Work::compact`].
    async fn downsample(&self, downsampling: &Downsampling) -> Result<Outcome>;

    /// Is told which groups there are, before they are worked on: what is kept for others can go.
    ///
    /// # Errors
    ///
    /// What cannot be removed; it is logged, and nothing else depends on it.
    async fn tidy(&self, groups: &[GroupKey]) -> Result<()> {
        let _ = groups;
        Ok(())
    }

    /// Waits for what was decided and is being carried out, at the end of the program.
    async fn finish(&self) {}

    /// Writes a block anew without the samples that are to be deleted.
    ///
    /// # Errors
    ///
    /// As for [`Work::compact`], and `Invalid` where series are never deleted.
    async fn delete(&self, deletion: &Deletion) -> Result<Outcome> {
        let block = deletion.block.meta.ulid;
        let message = format!("series of block {block} cannot be deleted here");
        Err(Error::invalid(message))
    }
}

/// What became of a decision.
#[derive(Debug, Clone, Default)]
pub enum Outcome {
    /// It was carried out.
    Done {
        /// The new blocks; none where no sample was left.
        new: Vec<Meta>,
        /// How many sources were marked for deletion.
        marked: u64,
    },
    /// Blocks were put aside because they cannot be worked with; there may be another plan without them.
    PutAside(Vec<BlockId>),
    /// Another compactor is at it.
    #[default]
    Elsewhere,
}

/// Where embedders are asked and told (row C-34 of the specification). The default agrees to everything.
#[async_trait]
pub trait Hooks: fmt::Debug + Send + Sync + 'static {
    /// Reports whether source `id` of a compaction of `group` may be marked for deletion.
    fn can_delete(&self, group: &Group, id: BlockId) -> bool {
        let _ = (group, id);
        true
    }

    /// Is told what the compactor has found in the bucket, or why that is not known, at each look.
    fn synced(&self, outcome: Result<&CompactView, &Error>) {
        let _ = outcome;
    }

    /// Is told before `plan` is carried out.
    ///
    /// # Errors
    ///
    /// Keeps it from being carried out; the group is tried again by the next iteration.
    async fn before_compaction(&self, group: &Group, plan: &Plan) -> Result<()> {
        let _ = (group, plan);
        Ok(())
    }

    /// Is told when the new block of `meta` is in the bucket, before its sources are marked.
    ///
    /// # Errors
    ///
    /// Keeps the sources from being marked; the group is tried again by the next iteration.
    async fn after_compaction(&self, group: &Group, meta: &Meta) -> Result<()> {
        let _ = (group, meta);
        Ok(())
    }
}

/// Hooks that agree to everything.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoHooks;

impl Hooks for NoHooks {}
