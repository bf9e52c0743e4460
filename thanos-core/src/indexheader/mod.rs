//! The index-header: the part of an index that a store gateway keeps locally, in the format of Thanos.
//!
//! It holds symbols and the postings offset table, enough to plan which lists and series to fetch.
//! [`HeaderSource`] says which ranges of the index to fetch and [`HeaderWriter`] joins them; [`IndexHeader`] reads
//! the result. Neither fetches: the gateway of the bucket crate does.

mod format;
mod reader;
mod writer;

pub use format::{
    HEADER_FORMAT_VERSION, HEADER_HEAD_LEN, HEADER_MAGIC, HEADER_TOC_LEN, HeaderSource,
};
pub use reader::IndexHeader;
pub use writer::{HeaderWriter, build_header};

#[cfg(test)]
mod tests;
