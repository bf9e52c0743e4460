//! The index-header: the part of an index that a store gateway keeps locally.
//!
//! It holds symbols and the postings offset table, enough to plan which lists and series to fetch.
//! [`HeaderSource`] says which ranges of the index to fetch and [`HeaderWriter`] joins them to the file that Thanos
//! writes; [`write_sparse_header`] makes our own layout of it, which is opened without being read. [`IndexHeader`]
//! reads both. Neither fetches: the gateway of the bucket crate does.

mod format;
mod reader;
mod sparse;
mod writer;

pub use format::{
    HEADER_FORMAT_VERSION, HEADER_HEAD_LEN, HEADER_MAGIC, HEADER_TOC_LEN, HeaderSource,
    INDEX_TAIL_LEN, IndexTail,
};
pub use reader::IndexHeader;
#[cfg(any(test, feature = "testkit"))]
pub(crate) use sparse::reseal;
pub use sparse::{build_sparse_header, write_sparse_header};
pub use writer::{HeaderWriter, build_header};

#[cfg(test)]
mod tests;
