//! Chunks from bucket to bucket: which jobs do it so, and what that changes.

use std::path::Path;

use thanos_core::Result;
use thanos_core::block::segment::ChunkReader;
use thanos_core::block::{Block, BlockId, BlockWriterOptions, Meta};

use super::predict::{Kernel, Prediction};
use super::sources::{Trouble, trouble_of, trouble_of_download};
use super::{ChunkTransfer, JobRunner};
use crate::compact::planner::Plan;
use crate::transfer::{
    BlockWithoutChunks, ChunkStream, download_without_chunks, stage_block, stage_index,
};

/// Where the chunks of an attempt are.
#[derive(Debug)]
pub(super) enum Chunks {
    /// In files of the work directory.
    Files,
    /// In the bucket.
    Streamed(Box<ChunkStream>),
}

impl Chunks {
    /// Makes a block with `options` come to where its chunks are to go.
    pub(super) fn direct(&self, runner: &JobRunner, options: &mut BlockWriterOptions) {
        if let Self::Streamed(stream) = self {
            options.segments = Some(stream.place(runner.options.hash));
        }
    }
}

impl JobRunner {
    /// Returns how the chunks of `plan` are to come, and what that takes.
    pub(super) fn transfer_of(&self, plan: &Plan) -> (ChunkTransfer, Prediction) {
        let predict = |kernel| Prediction::new(plan.blocks.iter().map(AsRef::as_ref), kernel);
        if self.options.chunk_transfer == ChunkTransfer::Streamed {
            let outputs = plan.shards;
            let streamed = predict(Kernel::StreamedMerge { outputs });
            if streamed.memory_bytes <= self.options.budget.limit_bytes() {
                return (ChunkTransfer::Streamed, streamed);
            }
            tracing::info!("too little memory to stream chunks, blocks are downloaded");
        }
        (ChunkTransfer::Files, predict(Kernel::Merge))
    }

    /// Starts an attempt.
    pub(super) fn chunks(&self, transfer: ChunkTransfer) -> Chunks {
        match transfer {
            ChunkTransfer::Files => Chunks::Files,
            ChunkTransfer::Streamed => {
                let stream = ChunkStream::new(self.bucket.clone(), self.options.budget.clone());
                Chunks::Streamed(Box::new(stream))
            }
        }
    }

    /// Runs `kernel` where it can read the blocks of the attempt.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        chunks: &mut Chunks,
        kernel: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        match chunks {
            Chunks::Files => self.options.compute.run(kernel).await,
            Chunks::Streamed(stream) => stream.run(&self.options.compute, kernel).await,
        }
    }

    /// Downloads block `id` but for its chunks into `dir`.
    pub(super) async fn download_index_of(
        &self,
        id: BlockId,
        dir: &Path,
    ) -> std::result::Result<BlockWithoutChunks, Trouble> {
        let (block_dir, options) = (dir.join(id.to_string()), self.options.download());
        let downloaded = download_without_chunks(&self.bucket, id, &block_dir, &options).await;
        downloaded.map_err(|error| trouble_of_download(id, error))
    }

    /// Opens a block of `dir` whose chunks stay in the bucket.
    pub(super) async fn open_streamed(
        &self,
        block: BlockWithoutChunks,
        dir: &Path,
        chunks: &mut Chunks,
    ) -> std::result::Result<Block, Trouble> {
        let Chunks::Streamed(stream) = chunks else {
            let message = "a block without chunks is opened";
            return Err(Trouble::Other(thanos_core::Error::internal(message)));
        };
        let id = block.meta.ulid;
        let source = stream.source(block.segments)?;
        let block_dir = dir.join(id.to_string());
        let open = move || Block::open_with(&block_dir, || Ok(ChunkReader::from_source(source)));
        let opened = self.options.compute.run(open).await?;
        opened.map_err(|error| trouble_of(id, error))
    }

    /// Uploads what is in `dir` of a new block but for its `meta.json`; returns the one to publish.
    pub(super) async fn stage(&self, meta: &Meta, dir: &Path, chunks: &mut Chunks) -> Result<Meta> {
        let (block_dir, upload) = (dir.join(meta.ulid.to_string()), self.options.upload());
        match chunks {
            Chunks::Files => stage_block(&self.bucket, &block_dir, &upload).await,
            Chunks::Streamed(stream) => {
                let segments = stream.uploaded(meta.ulid);
                stage_index(&self.bucket, &block_dir, segments, &upload).await
            }
        }
    }

    /// Removes from the bucket what an attempt has left there that came to nothing.
    pub(super) async fn abandon(&self, chunks: &mut Chunks) {
        if let Chunks::Streamed(stream) = chunks {
            for id in stream.give_up().await {
                self.discard_block(id).await;
            }
        }
    }
}
