//! Moving blocks between a local directory and a bucket, and marking and deleting them.
//!
//! A block is visible in a bucket when its `meta.json` is there. That decides every order here: an upload writes
//! `meta.json` last and only where there is none, a deletion removes it first and the deletion mark last, and a download
//! writes the local one last. So whatever is cut off at any moment leaves a whole block or a partial one that all readers
//! ignore and that cleaning up removes.
//!
//! Sources: Thanos' `pkg/block/block.go`.

mod delete;
mod download;
mod files;
mod mark;
mod options;
mod stream;
#[cfg(test)]
mod tests;
mod upload;

pub use delete::delete_block;
pub use download::download_block;
pub(crate) use download::{
    BlockWithoutChunks, download_file, download_index, download_without_chunks,
};
pub use mark::{mark_block, remove_mark};
pub use options::{DownloadOptions, HashFunc, UploadOptions};
pub(crate) use stream::{ChunkStream, OUTPUT_BYTES, SOURCE_BYTES};
pub(crate) use upload::{publish, stage_index};
pub use upload::{publish_block, stage_block, upload_block};

/// The longest `meta.json` that is read; it is the bound of local ones as well.
const META_BYTES_MAX: u64 = 64 << 20;
