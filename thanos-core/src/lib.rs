//! Prometheus TSDB data in Rust: the formats and the algorithms on them, over local files only.
//!
//! This crate knows labels, chunks, the block with its index, and the traits that PromQL is evaluated against.
//! It has no HTTP, no gRPC, no object storage and no async runtime.

pub mod block;
pub mod budget;
pub mod chunk;
pub mod dedup;
pub mod downsample;
pub mod encoding;
pub mod error;
pub mod histogram;
pub mod index;
pub mod indexheader;
pub mod labels;
pub mod merge;
pub mod mmap;
pub mod postings;
pub mod query;
pub mod re2;
#[cfg(feature = "relabel")]
pub mod rewrite;
mod spool;
#[cfg(any(test, feature = "testkit"))]
pub mod testkit;
pub mod text;
pub mod time;

pub use error::{Error, ErrorKind, Result};
