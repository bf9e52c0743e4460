//! The block: a directory with an immutable stretch of samples, as Prometheus and Thanos lay it out.
//!
//! ```text
//! 01M81JDC7R8JKP7SEW1VN2HAQ9/
//!   meta.json       what the block is; written last
//!   index           series, symbols, postings
//!   chunks/000001   samples; more segments when it grows past 512 MiB
//!   tombstones      deleted intervals per series
//! ```

mod blocks;
mod chain;
mod dump;
mod files;
mod filter;
mod health;
mod id;
mod intervals;
mod json;
mod marker;
mod meta;
mod order;
mod parts;
mod reader;
mod repair;
pub mod segment;
pub mod tombstones;
mod upload_time;
mod writer;

pub use blocks::{Blocks, MergedSeries, RefusedBlock};
pub use chain::chain_samples;
pub(crate) use chain::{GoHeap, chain_order};
pub use dump::dump;
pub use files::write_file_atomic;
pub use filter::without_deleted;
pub use health::{Examples as HealthExamples, HealthStats, Spread, verify_index};
pub use id::BlockId;
pub use intervals::Intervals;
pub use marker::{DeletionMark, Marker, NoCompactMark, NoDownsampleMark, no_compact_reason};
pub use meta::{
    BlockFile, Compaction, Downsample, FileHash, IndexStats, META_FILE, Meta, ParentBlock, Rewrite,
    Stats, ThanosMeta,
};
pub(crate) use order::{OrderedSeries, SeriesOrder};
pub use reader::{Block, BlockSeries, INDEX_FILE};
pub use repair::{RepairOptions, Repaired, RepairedFaults, repair_block};
pub use upload_time::UploadTime;
pub(crate) use writer::UnfinishedBlock;
pub use writer::{BlockWriter, BlockWriterOptions};
