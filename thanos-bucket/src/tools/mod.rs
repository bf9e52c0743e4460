//! What people do with a bucket by hand: list, inspect, verify, repair, copy, mark, rewrite and clean it.
//!
//! Each tool is a function over a [`Bucket`](crate::Bucket) with a struct of options and a result that says what was
//! done; nothing here prints, parses flags or logs what the result tells. `thanos tools bucket` is a thin program over
//! this.

mod ids;
mod inspect;
mod list;
mod mark;
mod overlaps;
mod replicate;
mod rewrite;
mod upload;
mod verify;

pub use ids::new_block_id;
pub use inspect::{BlockRow, Column, inspect_blocks, sort_rows};
pub use list::{Listing, list_blocks};
pub use mark::{MarkOptions, MarkOutcome, MarkerKind, mark_blocks};
pub use overlaps::{Overlap, overlapping_blocks};
pub use replicate::{ReplicateMetrics, ReplicateOptions, Replicated, replicate_blocks};
pub use rewrite::{RewriteBlocksOptions, RewriteMode, RewrittenBlock, rewrite_block_in};
pub use upload::{UploadBlocksOptions, Uploaded, upload_blocks};
pub use verify::{
    Finding, Issue, Outcome, RepairInto, VerifyMetrics, VerifyOptions, verify_blocks,
};
