//! Settings of jobs.

use std::path::PathBuf;
use std::sync::Arc;

use thanos_core::budget::MemoryBudget;
use thanos_core::merge::MergeOverlaps;
use thanos_core::time::{Clock, SystemClock};

use super::predict::{FreeDisk, SystemDisk};
use crate::compute::Compute;
use crate::transfer::{DownloadOptions, HashFunc, UploadOptions};

/// What becomes of a block whose chunks are out of order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OutOfOrderChunks {
    /// Its group fails until somebody has looked at it.
    #[default]
    Fail,
    /// It is marked so that compaction leaves it alone (`--compact.skip-block-with-out-of-order-chunks`).
    Mark,
}

/// What becomes of a block whose labels are out of order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OutOfOrderLabels {
    /// Its group fails.
    #[default]
    Fail,
    /// It is worked with (`--debug.accept-malformed-index`).
    Accept,
}

/// How chunks come from the blocks that are compacted into the new ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ChunkTransfer {
    /// From bucket to bucket while they are merged: only indexes are on disk. Where the memory for it is missing, it is
    /// done as with [`ChunkTransfer::Files`].
    #[default]
    Streamed,
    /// By way of files: whole blocks are downloaded first and uploaded in the end, as Thanos does it.
    Files,
}

/// How jobs are carried out; the defaults are those of `thanos compact`.
#[derive(Debug, Clone)]
pub struct JobOptions {
    /// Where blocks are kept while they are worked with, in `compact/<group>` and `downsample` (`--data-dir`).
    pub data_dir: PathBuf,
    /// What becomes of samples of the same series at the same time (`--deduplication.func`).
    pub overlaps: MergeOverlaps,
    /// How many blocks of a job are downloaded at once (`--compact.blocks-fetch-concurrency`).
    pub blocks_fetch_concurrency: usize,
    /// How many files of a block are on their way at once (`--block-files-concurrency`).
    pub block_files_concurrency: usize,
    /// How chunks come from the blocks that are compacted into the new ones.
    pub chunk_transfer: ChunkTransfer,
    /// Which checksums new blocks have (`--hash-func`).
    pub hash: HashFunc,
    /// What becomes of blocks with chunks out of order.
    pub out_of_order_chunks: OutOfOrderChunks,
    /// What becomes of blocks with labels out of order.
    pub out_of_order_labels: OutOfOrderLabels,
    /// What memory is leased from.
    pub budget: MemoryBudget,
    /// How many bytes a job may take on disk; nothing for what is free.
    pub disk_bytes_max: Option<u64>,
    /// What tells how much is free.
    pub disk: Arc<dyn FreeDisk>,
    /// What tells the time.
    pub clock: Arc<dyn Clock>,
    /// Where merging and downsampling run.
    pub compute: Compute,
}

impl JobOptions {
    /// Returns the default options of jobs that work in `data_dir`.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            overlaps: MergeOverlaps::default(),
            blocks_fetch_concurrency: 1,
            block_files_concurrency: 1,
            chunk_transfer: ChunkTransfer::default(),
            hash: HashFunc::None,
            out_of_order_chunks: OutOfOrderChunks::default(),
            out_of_order_labels: OutOfOrderLabels::default(),
            budget: MemoryBudget::unlimited(),
            disk_bytes_max: None,
            disk: Arc::new(SystemDisk),
            clock: Arc::new(SystemClock),
            compute: Compute::default(),
        }
    }

    pub(super) fn upload(&self) -> UploadOptions {
        UploadOptions {
            concurrency: self.block_files_concurrency,
            hash: self.hash,
            clock: Arc::clone(&self.clock),
            compute: self.compute.clone(),
            ..UploadOptions::default()
        }
    }

    pub(super) fn download(&self) -> DownloadOptions {
        DownloadOptions {
            concurrency: self.block_files_concurrency,
            compute: self.compute.clone(),
        }
    }
}
