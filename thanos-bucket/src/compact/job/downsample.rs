//! Downsampling: a coarser copy of a block.

use std::path::Path;
use std::sync::Arc;

use thanos_core::block::{BlockId, HealthStats, Meta};
use thanos_core::downsample::{DownsampleBlockOptions, downsample_block};
use thanos_core::{Error, Result};

use super::predict::{Kernel, Prediction};
use super::sources::Trouble;
use super::streamed::Chunks;
use super::{JobRunner, Step, Suspects, work_dir};
use crate::compact::lease::Lease;
use crate::compact::passes::Downsampling;
use crate::compact::quarantine::KeptOutOf;
use crate::compact::work::Outcome;

impl JobRunner {
    /// Downsamples up to the decision.
    pub(super) async fn downsample_leased(
        &self,
        wanted: Downsampling,
        lease: Arc<Lease>,
    ) -> Result<Step> {
        let id = wanted.block.meta.ulid;
        if let Some(previous) = lease.previous()
            && self
                .are_visible(previous.blocks.iter().map(|meta| meta.ulid))
                .await?
        {
            return Ok(Step::Ended(Outcome::Elsewhere));
        }
        let dir = self.options.data_dir.join("downsample");
        let dir = dir.join(format!("{id}-{}", wanted.to));
        self.prepare_downsampling(&wanted, id, &dir).await?;
        let mut suspects = Suspects::default();
        let (id, error) = loop {
            let trouble = match self.try_downsample(&wanted, &lease, &dir).await {
                Ok(step) => {
                    self.options
                        .compute
                        .run(move || work_dir::remove(&dir))
                        .await??;
                    return Ok(step);
                }
                Err(trouble) => trouble,
            };
            match suspects.once_more(trouble) {
                Ok(id) => self.forget_download(id, &dir).await?,
                Err(Trouble::Other(error)) => return Err(error),
                Err(Trouble::Gone(_)) => return Ok(Step::Ended(Outcome::Elsewhere)),
                Err(
                    Trouble::Damaged(id, error)
                    | Trouble::Unfit(id, error)
                    | Trouble::OutOfOrderChunks(id, error)
                    | Trouble::Issue347(id, error),
                ) => break (id, error),
            }
        };
        let quarantine = &self.quarantine;
        quarantine
            .put_aside(id, KeptOutOf::Downsampling, &error)
            .await?;
        self.options
            .compute
            .run(move || work_dir::remove(&dir))
            .await??;
        Ok(Step::Ended(Outcome::PutAside(vec![id])))
    }

    async fn prepare_downsampling(
        &self,
        wanted: &Downsampling,
        id: BlockId,
        dir: &Path,
    ) -> Result<()> {
        let entry = std::iter::once(wanted.block.as_ref());
        let prediction = Prediction::new(entry, Kernel::Downsample);
        let (dir, options) = (dir.to_owned(), self.options.clone());
        let prepared = tokio::task::spawn_blocking(move || {
            work_dir::keep_only(&dir, |name| name == id.to_string())?;
            prediction.check(&options, &dir, work_dir::bytes_in(&dir))
        });
        prepared
            .await
            .map_err(|_| Error::cancelled("the runtime shuts down"))?
    }

    async fn try_downsample(
        &self,
        wanted: &Downsampling,
        lease: &Lease,
        dir: &Path,
    ) -> std::result::Result<Step, Trouble> {
        let block = self.download(wanted.block.meta.ulid, dir).await?;
        let mut options = DownsampleBlockOptions::new(lease.block_id(0), wanted.to.0);
        options.budget = self.options.budget.clone();
        let labels = wanted.block.meta.thanos.as_ref();
        let labels = labels.map(|thanos| thanos.labels.clone());
        let (source, parent) = (block.clone(), dir.to_owned());
        let kernel = move || -> Result<Meta> {
            let mut meta = downsample_block(&source, &parent, options)?;
            let new_dir = parent.join(meta.ulid.to_string());
            let checked = HealthStats::of_index_in(&new_dir, &meta)?.check_any();
            checked.map_err(|error| Error::internal(format!("invalid result block: {error}")))?;
            // The labels are those that the view gave the block: without those of replicas.
            if let (Some(thanos), Some(labels)) = (&mut meta.thanos, labels) {
                thanos.labels = labels;
                meta.write_dir(&new_dir)?;
            }
            Ok(meta)
        };
        match self.options.compute.run(kernel).await? {
            Ok(meta) => {
                drop(block);
                let commit = lease.decision();
                let mut chunks = Chunks::Files;
                let step = self.stage_and_decide(lease, dir, vec![meta], commit, &mut chunks);
                Ok(step.await?)
            }
            Err(error) => Err(self.blame(error, vec![block], &mut Chunks::Files).await),
        }
    }
}
